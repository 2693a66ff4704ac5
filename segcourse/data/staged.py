"""Small images first, large ones later: batches in stages, each a function of the step alone.

A step on images of half the size costs a quarter, and most of what a network learns at first can
be seen at that size. Used by `segcourse bench speedrun`, which book/results.ipynb reports.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.data.batches import Batches
from segcourse.data.resident import ResidentSet
from segcourse.labels import IGNORE


class StagedBatches:
    """Batches of one stream after those of another.

    Args:
        stages: (first step, batches) in order, the first from step 0. A step keeps its number in
            every stage, so the order of the images goes on.

    Raises:
        ValueError: no stage begins at step 0, stages are out of order, or their batches differ in
            the number of images.
    """

    def __init__(self, stages: Sequence[tuple[int, Batches]]):
        starts = [first for first, _ in stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"stages begin at {starts}: give rising steps, the first of them 0")
        sizes = {batches.images_per_batch for _, batches in stages}
        if len(sizes) > 1:
            raise ValueError(f"stages have batches of {sorted(sizes)} images: give one size")
        self.stages = tuple(stages)
        self.images_per_batch = sizes.pop()
        self.steps_per_epoch = stages[0][1].steps_per_epoch

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's slice of the batch of `step`, from its stage; see `Batches.batch`."""
        *_, batches = (batches for first, batches in self.stages if first <= step)
        return batches.batch(step, rank, world)

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.stream`."""
        return (self.batch(step, rank, world) for step in count(start))


def halved(resident: ResidentSet, at_once: int = 64) -> ResidentSet:
    """A set at half the size: means of 2x2 pixels, and a label where all four agree.

    Where they do not, the pixel is void: at half the size it belongs to no class alone.

    Args:
        resident: a last row or column of an odd size is left out.
        at_once: images in a piece of the work, which bounds its memory.

    Returns:
        The set on the same device, in the same order.
    """
    images, labels = [], []
    for pixels in resident.images.split(at_once):
        images.append(F.avg_pool2d(pixels.float(), 2).round().to(torch.uint8))
    h, w = images[0].shape[2:]
    for y in resident.labels.split(at_once):
        blocks = y[:, : 2 * h, : 2 * w].unflatten(2, (w, 2)).unflatten(1, (h, 2))
        first = blocks[:, :, :1, :, :1]
        agree = (blocks == first).all(4).all(2)
        labels.append(first[:, :, 0, :, 0].masked_fill(~agree, IGNORE))
    return ResidentSet(torch.cat(images), torch.cat(labels), resident.classes)
