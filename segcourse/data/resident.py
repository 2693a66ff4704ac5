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
            DataError: the set is empty, its images differ in size, or a label is outside the
                classes; the text names the image.
        """
        N = len(data)
        if N == 0:
            raise DataError(f"{data.name} {data.split} holds no image: at least one is needed")
        size = tuple(data[0][0].shape[1:])
        images = torch.empty(N, 3, *size, dtype=torch.uint8)
        labels = torch.empty(N, *size, dtype=torch.uint8)
        other: dict[tuple[int, int], list[str]] = {}
        for i, (image, target) in enumerate(_read(data, threads)):
            try:
                check_labels(target, len(data.classes))
            except ValueError as error:
                raise DataError(f"{data.stem(i)} of {data.name} {data.split}: {error}") from error
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
    """
    for i in range(rank, len(data), world):
        image, labels = data[i]
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
