"""Streams of training batches that are a function of the step alone (book/sliding_window.ipynb).

Nothing is remembered between steps: a run resumes by naming its step, and the slices of several
processes put together are the batch of one. `order` says which images a step shows, `augment` how.
"""

from collections.abc import Iterator
from itertools import count
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segcourse.data.augment import Augmentation, Params, apply, draw, normalise, send
from segcourse.data.base import SegmentationData
from segcourse.data.order import VIEWS, generator_for, sample_indices, share
from segcourse.data.patches import PatchBatches
from segcourse.data.resident import ResidentSet, check_item
from segcourse.errors import DataError

__all__ = ["Batches", "LoaderBatches", "PatchBatches", "ResidentBatches"]


class Batches(Protocol):
    """What the training loop needs to know of its data.

    Attributes:
        steps_per_epoch: steps after which every image has been seen at least once.
        images_per_batch: images (or windows) in a step, over all processes.
    """

    steps_per_epoch: int
    images_per_batch: int

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's slice of the batch of `step`: the same bytes whenever it is asked for.

        Args:
            step: 0 or more.
            rank, world: of `world` processes, this is number `rank`.

        Returns:
            Images (n, 3, h, w) float32 normalised, and labels (n, h, w) int64.

        Raises:
            ValueError: `world` does not divide the batch.
        """
        ...

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """`batch(start)`, `batch(start + 1)` and so on, without end."""
        ...


class ResidentBatches:
    """Batches cut from a set that lies on the device, augmented there.

    Args:
        resident: the set.
        batch_size: images in a step, over all processes; at most the set's.
        augmentation: what may happen to an image.
        seed: of the run, 0 or more.

    Raises:
        ValueError: the batch is larger than the set or below 1, or the seed is negative.
    """

    def __init__(
        self, resident: ResidentSet, batch_size: int, augmentation: Augmentation, seed: int
    ):
        _check(len(resident), batch_size, seed)
        self.resident, self.augmentation, self.seed = resident, augmentation, seed
        self.images_per_batch = batch_size
        self.steps_per_epoch = -(-len(resident) // batch_size)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's slice of the batch of `step`, on the set's device; see `Batches.batch`."""
        indices, params = _plan(self, len(self.resident), step, rank, world)
        at = send(torch.tensor(indices), self.resident.device)
        out_size = self.augmentation.crop or self.resident.size
        images, labels = apply(params, self.resident.images[at], self.resident.labels[at], out_size)
        return normalise(images), labels

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.stream`."""
        return (self.batch(step, rank, world) for step in count(start))


class LoaderBatches:
    """The batches of `ResidentBatches`, read from files by worker processes, on the CPU.

    For sets that do not fit on the device or whose images differ in size (then a crop is needed).
    Each worker makes whole batches, ahead of the training loop.

    Args:
        data: the set; it is sent to the workers, so it has to pickle where they are not forked.
        batch_size: images in a step, over all processes; at most the set's.
        augmentation: what may happen to an image.
        seed: of the run, 0 or more.
        workers: processes; 0 reads in this one.
        pin_memory: whether workers' batches lie in pinned memory, which is what makes the copy to
            a GPU overlap with the work there; of no use to a run on the CPU.

    Raises:
        ValueError: the batch is larger than the set or below 1, or the seed or the number of
            workers is negative.
    """

    def __init__(
        self,
        data: SegmentationData,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        workers: int = 0,
        pin_memory: bool = False,
    ):
        _check(len(data), batch_size, seed)
        if workers < 0:
            raise ValueError(f"workers is {workers}: give 0 or more processes")
        self.data, self.augmentation, self.seed = data, augmentation, seed
        self.workers, self.pin_memory = workers, pin_memory
        self.images_per_batch = batch_size
        self.steps_per_epoch = -(-len(data) // batch_size)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's slice of the batch of `step`, on the CPU; see `Batches.batch`.

        Raises:
            DataError: the images differ in size and there is no crop, or an item is not what
                `SegmentationData` promises.
            ValueError: `world` does not divide the batch.
        """
        indices, params = _plan(self, len(self.data), step, rank, world)
        images, labels = zip(*(self._read(i) for i in indices), strict=True)
        sizes = {tuple(y.shape) for y in labels}
        if len(sizes) == 1:
            out_size = self.augmentation.crop or sizes.pop()
            views, targets = apply(params, torch.stack(images), torch.stack(labels), out_size)
            return normalise(views), targets
        if self.augmentation.crop is None:
            raise DataError(
                f"images of {len(sizes)} sizes meet in one batch, {sorted(sizes)[:4]}: one size is "
                "needed; crop them (--crop H W, Augmentation(crop=(H, W))), or resize them "
                "(--height H --width W, open_data(size=(H, W)))"
            )
        pairs = [
            apply(params[k : k + 1], image[None], y[None], self.augmentation.crop)
            for k, (image, y) in enumerate(zip(images, labels, strict=True))
        ]
        views, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return normalise(views), targets

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.stream`. The workers end when the stream is dropped."""
        if self.workers == 0:
            return (self.batch(step, rank, world) for step in count(start))
        loader = DataLoader(
            _Steps(self, rank, world),
            batch_size=None,
            sampler=count(start),
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            # Without its own generator the loader would draw from the global one.
            generator=torch.Generator(),
        )
        # `iter` is called here and now, so the workers start before the first batch is asked for.
        return (_raise_or_pass(found) for found in loader)

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.data[index]
        check_item(self.data, index, image, labels)
        return image, labels


class _Steps(Dataset):
    """A data set whose element number t is the batch of step t, or what is wrong with its files.

    An exception that leaves a worker comes out with the worker's traceback as its message.
    """

    def __init__(self, batches: LoaderBatches, rank: int, world: int):
        self.batches, self.rank, self.world = batches, rank, world

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor] | ValueError | OSError:
        try:
            return self.batches.batch(step, self.rank, self.world)
        except (ValueError, OSError) as error:
            return error


def _raise_or_pass(found: tuple[Tensor, Tensor] | Exception) -> tuple[Tensor, Tensor]:
    if isinstance(found, Exception):
        raise found
    return found


def _plan(
    batches: ResidentBatches | LoaderBatches, n: int, step: int, rank: int, world: int
) -> tuple[list[int], Params]:
    """Which images rank shows at `step`, and how: its slice of the plan for all processes."""
    size = batches.images_per_batch
    mine = share(size, rank, world)
    params = draw(batches.augmentation, size, generator_for(batches.seed, VIEWS, step))
    return sample_indices(batches.seed, n, step * size, step * size + size)[mine], params[mine]


def _check(n: int, batch_size: int, seed: int) -> None:
    if not 1 <= batch_size <= n:
        raise ValueError(
            f"a batch of {batch_size} images from a set of {n}: give a batch size of 1 to {n}"
        )
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
