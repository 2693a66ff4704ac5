"""Copy-paste: rare things of one image are laid into another, pixels and labels together.

A class with few pixels is seen in few places. Laid into other images of its batch it appears in
more, in front of what it never stood before (Ghiasi et al. 2021 do it with whole objects; here a
class's pixels are taken as they are labelled). As in `batches`, what happens at a step depends on
the seed and the step alone. Read by book/results.ipynb.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.data.augment import send
from segcourse.data.batches import Batches
from segcourse.data.order import PASTES, generator_for, share
from segcourse.labels import IGNORE

KEPT = 0.5
"""Probability that a class takes part in one paste, so that not always the same ones meet."""


class Pastes(NamedTuple):
    """What n images are given: `donor` (n,) int64, the image of the batch that gives, never the
    image itself; `taken` (n, K) bool, the classes whose pixels are taken from it."""

    donor: Tensor
    taken: Tensor


def draw(n: int, pasted: Tensor, probability: float, generator: torch.Generator) -> Pastes:
    """Draw who gives what to whom.

    Args:
        n: images in the batch, at least 2.
        pasted: (K,) bool, the classes that may be pasted.
        probability: that an image is given anything.
        generator: on the CPU.

    Returns:
        Pastes of length n, on the CPU.
    """
    u = torch.rand(n, 2 + len(pasted), generator=generator, dtype=torch.float64)
    donor = (torch.arange(n) + 1 + (u[:, 0] * (n - 1)).long()) % n
    taken = (u[:, 1:2] < probability) & (u[:, 2:] < KEPT) & pasted.cpu()
    return Pastes(donor, taken)


def paste(images: Tensor, labels: Tensor, pastes: Pastes) -> tuple[Tensor, Tensor]:
    """Lay pixels of one image of a batch over another, at the place where they were.

    All images give what they had before anything was pasted. Void is never taken; where something
    is laid over void, its label is known from then on.

    Args:
        images: (n, C, H, W), normalised or not.
        labels: (n, H, W) integer in 0..K-1, or IGNORE.
        pastes: n of them, on the device of the images.

    Returns:
        New images and labels of the same shapes.

    Raises:
        ValueError: the numbers of images, labels and pastes differ.
    """
    n = len(pastes.taken)
    if labels.shape != (n, *images.shape[2:]) or len(images) != n:
        raise ValueError(
            f"{n} pastes, images {tuple(images.shape)} and labels {tuple(labels.shape)} do not "
            "fit: one paste and one (H, W) map of labels an image are needed"
        )
    given = labels[pastes.donor]  # (n, H, W)
    known = given != IGNORE
    classes = given.long().where(known, 0).flatten(1)
    over = pastes.taken.gather(1, classes).view_as(given) & known
    return images[pastes.donor].where(over[:, None], images), given.where(over, labels)


class PastedBatches:
    """The batches of another stream, with classes of one image pasted into another.

    The giver is an image of the same step, already augmented, so it may come from another process's
    part. Where there are several, each therefore makes the whole batch and keeps its part.

    Args:
        batches: what is pasted into; at least 2 images a step.
        pasted: (K,) bool, the classes that may be pasted.
        probability: that an image is given anything.
        seed: of the run, 0 or more.

    Raises:
        ValueError: a step has a single image.
    """

    def __init__(self, batches: Batches, pasted: Tensor, probability: float, seed: int):
        if batches.images_per_batch < 2:
            raise ValueError(
                "copy-paste takes from another image of the batch, and the batch has 1: give 2 or "
                "more"
            )
        self.batches, self.pasted = batches, pasted.cpu()
        self.probability, self.seed = probability, seed
        self.images_per_batch = batches.images_per_batch
        self.steps_per_epoch = batches.steps_per_epoch

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's slice of the batch of `step`; see `Batches.batch`."""
        return self._pasted(self.batches.batch(step), step, rank, world)

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.stream`."""
        share(self.images_per_batch, rank, world)  # refuses before workers start
        inner = self.batches.stream(start)  # here and now, as it may start workers
        return (self._pasted(pair, step, rank, world) for step, pair in enumerate(inner, start))

    def _pasted(
        self, pair: tuple[Tensor, Tensor], step: int, rank: int, world: int
    ) -> tuple[Tensor, Tensor]:
        n = self.images_per_batch
        pastes = draw(n, self.pasted, self.probability, generator_for(self.seed, PASTES, step))
        device = pair[0].device
        pastes = Pastes(send(pastes.donor, device), send(pastes.taken, device))
        images, labels = paste(*pair, pastes)
        mine = share(n, rank, world)
        return images[mine], labels[mine]
