"""A whole data set on the device, as bytes: no worker processes and no copies while training.

A pixel costs 4 bytes (R, G, B and its label), so CamVid's 367 training images of 360x480 take
254 MB. Sets that do not fit, or whose images differ in size, are read as needed instead:
`LoaderBatches`. First used in book/sliding_window.ipynb.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import torch
from torch import Tensor

from segcourse.data.augment import normalise
from segcourse.data.base import SegmentationData
from segcourse.errors import DataError
from segcourse.labels import Classes, check_labels


@dataclass(frozen=True)
class ResidentSet:
    """N images of one size and their labels, on one device.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N, H, W) uint8 in 0..K-1, or IGNORE.
        classes: the names and colours of the K classes.
    """

    images: Tensor
    labels: Tensor
    classes: Classes

    @classmethod
    def load(
        cls, data: SegmentationData, device: torch.device | str = "cpu", threads: int = 1
    ) -> "ResidentSet":
        """Read a data set through once, check its labels, and keep it on `device`.

        Args:
            data: images uint8 (3, H, W) of one size, labels (H, W).
            device: where the bytes will lie; N * H * W * 4 of them.
            threads: that read at the same time. Decoding a picture leaves Python to the others.

        Returns:
            The set, in the order of `data`.

        Raises:
            DataError: the set is empty, its images differ in size, an item is not what
                `SegmentationData` promises, or a label is outside the classes; the text names it.
        """
        N = len(data)
        if N == 0:
            raise DataError(f"{data.name} {data.split} holds no image: at least one is needed")
        image, target = data[0]
        check_item(data, 0, image, target)
        size = tuple(image.shape[1:])
        images = torch.empty(N, 3, *size, dtype=torch.uint8)
        labels = torch.empty(N, *size, dtype=torch.uint8)
        other: dict[tuple[int, int], list[str]] = {}
        for i, (image, target) in enumerate(_read(data, threads)):
            check_item(data, i, image, target)
            if image.shape[1:] != size:
                other.setdefault(tuple(image.shape[1:]), []).append(data.stem(i))
                continue
            images[i], labels[i] = image, target
        if other:
            raise DataError(_sizes_differ(data, size, other))
        return cls(images.to(device), labels.to(device), data.classes)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """The device that holds the set."""
        return self.images.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every image, in px."""
        return tuple(self.images.shape[2:])

    @property
    def nbytes(self) -> int:
        """Bytes that the set takes on its device."""
        return self.images.nbytes + self.labels.nbytes


def check_item(data: SegmentationData, index: int, image: Tensor, labels: Tensor) -> None:
    """Refuse an item that would be trained on without being what it seems.

    Images of floats in 0..1 would be cut to bytes, all of them black.

    Raises:
        DataError: the image is not uint8 (3, H, W), the labels are not integers (H, W), or a label
            is outside the classes; the text names the item.
    """
    name = f"{data.stem(index)} of {data.name} {data.split}"
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise DataError(
            f"{name}: the image is {tuple(image.shape)} {image.dtype}, need (3, H, W) torch.uint8, "
            "red, green and blue in 0..255"
        )
    if labels.shape != image.shape[1:]:
        raise DataError(
            f"{name}: the labels are {tuple(labels.shape)} and the image {tuple(image.shape)}: "
            "give one label a pixel, (H, W)"
        )
    try:
        check_labels(labels, len(data.classes))
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: {error}") from error


def _read(data: SegmentationData, threads: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every item in order."""
    if threads == 1:
        yield from (data[i] for i in range(len(data)))
        return
    with ThreadPool(threads) as pool:
        yield from pool.imap(data.__getitem__, range(len(data)))


def evaluation_batches(
    resident: ResidentSet, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, unchanged and in order; the last batch may be smaller.

    Args:
        resident: the set.
        batch_size: images in a batch.
        rank, world: of `world` processes, number `rank` gets every `world`-th image from `rank`
            on, so their confusion matrices add up to that of the set.

    Yields:
        Images (n, 3, H, W) float32 normalised, labels (n, H, W) int64, on the set's device.

    Raises:
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: at least 1 image is needed")
    images, labels = resident.images[rank::world], resident.labels[rank::world]
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        yield normalise(images[part].float() / 255), labels[part].long()


def evaluation_images(
    data: SegmentationData, device: torch.device | str, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `evaluation_batches`, one image at a time from files, so that sizes may differ.

    Args:
        data: the set; it is not kept in memory.
        device: where each image goes.
        rank, world: as in `evaluation_batches`.

    Yields:
        Images (1, 3, H, W) float32 normalised, labels (1, H, W) int64, on `device`.

    Raises:
        DataError: as `check_item`.
    """
    for i in range(rank, len(data), world):
        image, labels = data[i]
        check_item(data, i, image, labels)
        image = image[None].to(device)
        yield normalise(image.float() / 255), labels[None].to(device).long()


def _sizes_differ(data, size: tuple[int, int], other: dict[tuple[int, int], list[str]]) -> str:
    counts = Counter({other_size: len(stems) for other_size, stems in other.items()})
    counts[size] = len(data) - counts.total()
    listed = ", ".join(f"{h}x{w} ({n} images)" for (h, w), n in counts.most_common(4))
    more = f" and {len(counts) - 4} more sizes" if len(counts) > 4 else ""
    first = next(iter(other.values()))[0]
    return (
        f"{data.name} {data.split} holds images of {listed}{more}; {first} is the first that "
        f"differs from {size[0]}x{size[1]}: one size is needed here. Resize them (--height H "
        "--width W; size=(H, W) in open_data), or cut crops from them as they are read (--crop H W "
        "--workers 1; LoaderBatches)"
    )
