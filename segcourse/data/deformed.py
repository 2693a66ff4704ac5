"""Batches whose images are bent once more, after everything else that augments them.

How to bend is handed in (`segcourse.elastic`, book/unet.ipynb), so that data know no chapter. As
in `batches`, what happens at a step depends on the seed and the step alone.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from segcourse.data.augment import send
from segcourse.data.batches import Batches
from segcourse.data.order import DEFORMATIONS, generator_for, share


class DeformedBatches:
    """The batches of another stream, each image with its labels deformed.

    Args:
        batches: what is deformed.
        draw: (n, generator) to the numbers of n deformations, a tensor (n, ...) on the CPU.
        deform: (images, labels, numbers on their device) to images and labels of the same shapes.
        seed: of the run, 0 or more.
    """

    def __init__(
        self,
        batches: Batches,
        draw: Callable[[int, torch.Generator], Tensor],
        deform: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
        seed: int,
    ):
        self.batches, self.draw, self.deform, self.seed = batches, draw, deform, seed
        self.images_per_batch = batches.images_per_batch
        self.steps_per_epoch = batches.steps_per_epoch

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's slice of the batch of `step`; see `Batches.batch`."""
        return self._deformed(self.batches.batch(step, rank, world), step, rank, world)

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.stream`; images from worker processes are deformed in this one."""
        # Called here and now, as it may start workers.
        inner = self.batches.stream(start, rank, world)
        return (self._deformed(pair, step, rank, world) for step, pair in enumerate(inner, start))

    def _deformed(
        self, pair: tuple[Tensor, Tensor], step: int, rank: int, world: int
    ) -> tuple[Tensor, Tensor]:
        images, labels = pair
        size = self.images_per_batch
        # Drawn for the whole batch, so that several processes together are one.
        numbers = self.draw(size, generator_for(self.seed, DEFORMATIONS, step))
        mine = numbers[share(size, rank, world)]
        return self.deform(images, labels, send(mine, images.device))
