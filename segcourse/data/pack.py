"""A data set as one file, small enough to carry to a machine without a network.

The file is a zip: the pictures as they were, or as lossless PNG where they had to be resized; the
labels as PNG, 255 for void; and pack.json, which says what they are. What it opens to is equal,
pixel by pixel and label by label, to what the folder gave.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segcourse.data.base import (
    PairedFiles,
    SegmentationData,
    open_picture,
    read_image,
    resize_image,
    resize_labels,
)
from segcourse.errors import DataError, UsageError
from segcourse.labels import Classes

FORMAT = "segcourse pack 1"
INDEX = "pack.json"
LIMIT = 60_000_000
"""Bytes; a pack is made to travel."""

EPOCH = (1980, 1, 1, 0, 0, 0)  # the same data give the same file, whenever it is made


@dataclass(frozen=True)
class Contents:
    """What a pack says of itself.

    name: as in DATASETS. classes: of its labels. size: (H, W) that it was resized to, None where
    the pictures are as they were. splits: split to its (image, labels) members. sha256: split to
    `content_hash`.
    """

    name: str
    classes: Classes
    size: tuple[int, int] | None
    splits: dict[str, list[list[str]]]
    sha256: dict[str, str]


class Packed(SegmentationData):
    """One split of a pack.

    Args:
        path: the pack.
        split: "train", "val" or "test".

    Raises:
        DataError: the file is no pack, or has no such split.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        self.path = Path(path)
        contents = read_contents(self.path)
        super().__init__(contents.name, split, contents.classes)
        if split not in contents.splits:
            there = ", ".join(contents.splits)
            raise DataError(f"{path} holds no {split} split of {contents.name} (it holds: {there})")
        self.members = contents.splits[split]
        self._zip: zipfile.ZipFile | None = None
        self._process = 0

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.members[index]
        picture = open_picture(self.path / labels, self._read(labels))
        values = torch.from_numpy(np.array(picture).astype(np.int64))
        return read_image(self.path / image, self._read(image)), values

    def stem(self, index: int) -> str:
        """Name item `index` without folder and suffix."""
        return Path(self.members[index][0]).stem

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_zip": None}

    def _read(self, member: str) -> io.BytesIO:
        # Processes that were forked share the place in an open file: each opens its own.
        if self._zip is None or self._process != os.getpid():
            self._zip, self._process = zipfile.ZipFile(self.path), os.getpid()
        try:
            return io.BytesIO(self._zip.read(member))
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise _damaged(self.path, error) from error


def is_pack(path: str | Path) -> bool:
    """Whether a path is a file that `write_pack` may have made."""
    return Path(path).is_file() and zipfile.is_zipfile(path)


def read_contents(path: str | Path) -> Contents:
    """Read what a pack says of itself.

    Raises:
        DataError: the file is no pack, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as file:
            found = json.loads(file.read(INDEX))
        if found["format"] != FORMAT:
            raise DataError(
                f"{path} is a {found['format']!r}, need {FORMAT!r}: make it again with this "
                "version's `segcourse data pack`"
            )
        names, palette, void = (found["classes"][key] for key in ("names", "palette", "void"))
        classes = Classes(tuple(names), tuple(tuple(color) for color in palette), tuple(void))
        size = None if found["size"] is None else tuple(found["size"])
        return Contents(found["name"], classes, size, found["splits"], found["sha256"])
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the file of `segcourse data pack`") from None
    except (zipfile.BadZipFile, KeyError, TypeError, OSError) as error:
        raise _damaged(path, error) from error
    except ValueError as error:
        raise error if isinstance(error, DataError) else _damaged(path, error) from error


def write_pack(
    splits: dict[str, SegmentationData],
    out: str | Path,
    size: tuple[int, int] | None = None,
    limit: int = LIMIT,
) -> Contents:
    """Write a data set as one file, and read it back to see that it is equal.

    Args:
        splits: "train", "val", "test" to their data; all of one data set.
        out: the file; replaced at once when it is whole.
        size: (H, W) in pixels to resize to, as `Resized` does; None keeps what there is.
        limit: bytes that it may have.

    Returns:
        What the pack says of itself.

    Raises:
        DataError: a picture or mask is bad, or what was read back differs.
        UsageError: the file would be larger than `limit`.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    first = next(iter(splits.values()))
    members: dict[str, list[list[str]]] = {}
    hashes: dict[str, str] = {}
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
            for split, data in splits.items():
                members[split], hashed = [], hashlib.sha256()
                for i in range(len(data)):
                    image, labels, content, suffix = _item(data, i, size)
                    _hash(hashed, image, labels)
                    stem = data.stem(i)
                    names = [f"{split}/{stem}{suffix}", f"{split}annot/{stem}.png"]
                    members[split].append(names)
                    _add(file, names[0], content)
                    _add(file, names[1], _png(labels.to(torch.uint8).numpy()))
                    _check_size(partial, limit, out)
                hashes[split] = hashed.hexdigest()
            contents = Contents(first.name, first.classes, size, members, hashes)
            index = {"format": FORMAT, **asdict(contents)}
            _add(file, INDEX, (json.dumps(index) + "\n").encode())
        _check_size(partial, limit, out)
        for split in splits:
            packed = Packed(partial, split)
            if content_hash(packed[i] for i in range(len(packed))) != hashes[split]:
                raise DataError(
                    f"the {split} split read back from {partial} differs from its source: is the "
                    "disk full, or damaged? Nothing was kept"
                )
        os.replace(partial, out)
        return contents
    finally:
        partial.unlink(missing_ok=True)


def content_hash(pairs: Iterable[tuple[Tensor, Tensor]]) -> str:
    """Name images and labels by their content, however they are stored.

    Args:
        pairs: images (3, H, W) uint8 and labels (H, W), in order.

    Returns:
        sha256 over every pair's size, pixels and labels (as bytes).
    """
    hashed = hashlib.sha256()
    for image, labels in pairs:
        _hash(hashed, image, labels)
    return hashed.hexdigest()


def _hash(hashed, image: Tensor, labels: Tensor) -> None:
    hashed.update(f"{labels.shape[0]} {labels.shape[1]}\n".encode())
    hashed.update(image.contiguous().cpu().numpy())
    hashed.update(labels.to(torch.uint8).contiguous().cpu().numpy())


def _item(data: SegmentationData, i: int, size: tuple[int, int] | None):
    """Image, labels, and the bytes and suffix that stand for the image in the pack."""
    original, labels = data[i]
    image = original
    if size is not None:
        image, labels = resize_image(original, size), resize_labels(labels, size)
    # Bytes of a file that was not resized are smaller than any lossless copy of a lossy picture.
    if isinstance(data, PairedFiles) and image is original:
        path = data.pairs[i][0]
        return image, labels, path.read_bytes(), path.suffix
    return image, labels, _png(image.permute(1, 2, 0).numpy()), ".png"


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _add(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    file.writestr(zipfile.ZipInfo(name, EPOCH), content)


def _check_size(partial: Path, limit: int, out: Path) -> None:
    if partial.stat().st_size > limit:
        raise UsageError(
            f"{out} would be larger than {limit / 1e6:g} MB, and was not written: pack smaller "
            "images (--height, --width), or save the pictures as WebP or JPEG first, which "
            "changes their pixels a little"
        )


def _damaged(path: str | Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read as a pack ({error}): give the file that `segcourse data pack` "
        "wrote, or write it again"
    )
