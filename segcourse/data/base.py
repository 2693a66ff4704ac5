"""One interface to every data set: an image and its label map, void = 255 (book/index.ipynb).

Files differ in layout, format and void value. All of that ends here: item i is always a uint8
image (3, H, W) and an int64 label map (H, W), and a bad file is a DataError that names it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from segcourse.data.photos import as_seen, mismatch, turn
from segcourse.errors import DataError
from segcourse.labels import IGNORE, Classes, describe_values

SPLITS = ("train", "val", "test")
GENERATED = ("scenes", "cells")
"""Data sets that come from a seed: they need no files, and are rendered at any size."""

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")


MASK_MODES = ("1", "L", "P", "I", "I;16")
"""PIL's modes with one integer a pixel."""


class SegmentationData(Dataset[tuple[Tensor, Tensor]], ABC):
    """What every data set offers; `data[i]` is an (image, labels) pair.

    The image is (3, H, W) uint8 and the labels are (H, W) int64 in 0..K-1, or IGNORE. An index
    past the end is an IndexError, so a plain `for` loop ends.

    Args:
        name: as in DATASETS.
        split: "train", "val" or "test".
        classes: names and palette of the K classes.
    """

    def __init__(self, name: str, split: str, classes: Classes) -> None:
        self.name = name
        self.split = split
        self.classes = classes

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def stem(self, index: int) -> str:
        """Name item `index` without folder and suffix, for reports and output files."""


class Resized(SegmentationData):
    """The same data at one size: images smoothly (antialiased bilinear), labels by nearest.

    Args:
        data: what to resize.
        size: (H, W) in pixels.
    """

    def __init__(self, data: SegmentationData, size: tuple[int, int]) -> None:
        super().__init__(data.name, data.split, data.classes)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size is {size}, need (H, W) in pixels, both at least 1")
        self.data = data
        self.size = (int(size[0]), int(size[1]))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.data[index]
        return resize_image(image, self.size), resize_labels(labels, self.size)

    def stem(self, index: int) -> str:
        """Name item `index` without folder and suffix."""
        return self.data.stem(index)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a (3, H, W) uint8 image to `size` by antialiased bilinear interpolation."""
    if tuple(image.shape[-2:]) == size:
        return image
    # Through float32: torch interpolates uint8 with coarser weights on some processors.
    smooth = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    return smooth.round().clamp(0, 255).to(torch.uint8)


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an (H, W) label map to `size` by nearest neighbour: a mean of two classes is neither.

    "nearest-exact" samples at pixel centres, as the bilinear image does; plain "nearest" would
    shift the labels by up to half a pixel against it.
    """
    if tuple(labels.shape) == size:
        return labels
    # Floats hold 0..255 exactly; integers have no interpolation in torch.
    nearest = F.interpolate(labels[None, None].float(), size, mode="nearest-exact")
    return nearest[0, 0].to(labels.dtype)


def read_image(path: Path, stream: BinaryIO | None = None) -> Tensor:
    """Read a picture as a person sees it, as a (3, H, W) uint8 tensor.

    A turn that the camera noted (EXIF) is applied, grey becomes three equal channels, transparent
    parts become white.

    Args:
        path: of the file, or its name in the errors where `stream` holds the content.
        stream: the file's content; None opens `path`.

    Raises:
        DataError: the file is missing, unreadable, or has more than 8 bits a channel.
    """
    picture = open_picture(path, stream)
    if picture.mode.startswith(("I", "F")):
        # PIL would clip such values at 255 without a word.
        raise DataError(
            f"{path} is a {picture.mode} image, need 8 bits a channel: scale its values to "
            "0..255 and save it again"
        )
    return torch.from_numpy(np.array(as_seen(picture))).permute(2, 0, 1).contiguous()


def read_mask(path: Path) -> np.ndarray:
    """Read an index mask as an (H, W) integer array (mostly uint8) of the values in the file.

    A palette PNG gives its indices, as VOC's masks want.

    Raises:
        DataError: the file is missing, unreadable, or holds colours instead of indices.
    """
    picture = open_picture(path)
    if picture.mode not in MASK_MODES:
        raise DataError(
            f"{path} is a {picture.mode} image, but a mask holds one class index a pixel: convert "
            "it with `segcourse data convert`"
        )
    values = np.array(picture)
    return values.astype(np.uint8) if picture.mode == "1" else values


def open_picture(path: Path, stream: BinaryIO | None = None) -> Image.Image:
    """Open and fully decode a picture, as `read_image`.

    Raises:
        DataError: the file is missing or unreadable; the text says which.
    """
    if stream is None and not path.is_file():
        raise DataError(f"{path} does not exist: put the file there or check the path")
    try:
        with Image.open(stream or path) as picture:
            picture.load()
            turn(picture)  # is asked while the file is open
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}): it is damaged or cut short, so fetch "
            "it again"
        ) from error


def decode(values: np.ndarray, table: np.ndarray, num_classes: int, path: Path) -> Tensor:
    """Map the values of a mask file to labels.

    Args:
        values: (H, W) integers as in the file.
        table: (256,) int64; table[v] is the label of file value v, or -1 where v means nothing.
        num_classes: K, for the error text.
        path: of the mask, for the error text.

    Returns:
        (H, W) int64 in 0..K-1, or IGNORE.

    Raises:
        DataError: a value that the table does not know.
    """
    if values.dtype == np.uint8:
        labels = table[values]
    else:
        known = (values >= 0) & (values < 256)
        labels = np.where(known, table[np.where(known, values, 0)], -1)
    wrong = labels < 0
    if wrong.any():
        found = describe_values(torch.from_numpy(values[wrong].astype(np.int64)))
        void = np.flatnonzero(table == IGNORE).tolist()
        raise DataError(
            f"{path} holds {found}, which is no class: {num_classes} classes are known here, and "
            f"void is {' or '.join(map(str, void)) if void else 'not used'}. Give the right "
            "classes or correct the mask"
        )
    return torch.from_numpy(labels)


def identity_table(num_classes: int, void: int = IGNORE) -> np.ndarray:
    """Build the (256,) table for files that hold class indices already; `void` becomes IGNORE."""
    table = np.full(256, -1, dtype=np.int64)
    table[:num_classes] = np.arange(num_classes)
    table[void] = IGNORE
    table[IGNORE] = IGNORE
    return table


class PairedFiles(SegmentationData):
    """Pairs of an image file and a mask file.

    Args:
        name: as in DATASETS.
        split: "train", "val" or "test".
        classes: names and palette.
        pairs: (image path, mask path), in order.
        table: (256,) int64 from file values to labels, -1 where a value means nothing.
        read: reads a mask file as (H, W) integers.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: Classes,
        pairs: list[tuple[Path, Path]],
        table: np.ndarray,
        read: Callable[[Path], np.ndarray] = read_mask,
    ) -> None:
        super().__init__(name, split, classes)
        self.pairs = pairs
        self.table = table
        self.read = read

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path)
        labels = decode(self.read(mask_path), self.table, len(self.classes), mask_path)
        if image.shape[1:] != labels.shape:
            text = mismatch(tuple(labels.shape), tuple(image.shape[1:]), image_path)
            raise DataError(f"{mask_path} {text}")
        return image, labels

    def stem(self, index: int) -> str:
        """Name item `index` without folder and suffix."""
        return self.pairs[index][0].stem
