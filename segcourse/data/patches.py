"""Windows around random labelled pixels, to train a patch classifier (book/sliding_window.ipynb).

One window a labelled pixel would be millions a street scene; training needs only a sample. As in
`batches`, what a step draws depends on the seed and the step alone.
"""

from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from segcourse.data.augment import normalise, send
from segcourse.data.order import WINDOWS, generator_for, share
from segcourse.data.resident import ResidentSet
from segcourse.labels import IGNORE


class PatchBatches:
    """Square windows around random labelled pixels, for a classifier of the centre pixel.

    Pixels are drawn with replacement, all alike, or with `balanced` a class first, each that
    occurs alike, then a pixel of it. Outside the image its mirror image goes on, without
    repeating the border pixel (`reflect` of torch's pad). Keeps an int32 index of every labelled
    pixel on the set's device, 4 bytes each, as much as the set itself (int64 above 2^31 pixels).

    Args:
        resident: the set.
        patches_per_batch: windows in a step, over all processes.
        window: side in px; its centre is row and column window // 2.
        seed: of the run, 0 or more.
        balanced: draw every class equally often.

    An epoch is a convention here: as many steps as there are images.

    Raises:
        ValueError: a number is out of range, the window needs more than one reflection, or no
            pixel has a label.
    """

    def __init__(
        self,
        resident: ResidentSet,
        patches_per_batch: int,
        window: int,
        seed: int,
        balanced: bool = False,
    ):
        if patches_per_batch < 1 or seed < 0:
            raise ValueError(
                f"patches_per_batch is {patches_per_batch} and seed is {seed}: give at least 1 "
                "window a step and a seed of 0 or more"
            )
        H, W = resident.size
        if not 1 <= window <= 2 * min(H, W) - 1:
            raise ValueError(
                f"window is {window} px on images of {H}x{W}: give 1 to {2 * min(H, W) - 1}, as "
                "a larger one reaches past the mirror image of the whole image"
            )
        self.resident, self.window, self.seed = resident, window, seed
        self.images_per_batch = patches_per_batch
        self.steps_per_epoch = len(resident)
        flat = resident.labels.flatten()
        dtype = torch.int32 if flat.numel() < 2**31 else torch.int64
        if balanced:
            groups = (flat == c for c in flat.unique().tolist() if c != IGNORE)
        else:
            groups = [flat != IGNORE]
        # Group after group, so that the pixels of a class are one stretch of the index.
        found = [g.nonzero()[:, 0].to(dtype) for g in groups]
        if not sum(len(p) for p in found):
            raise ValueError("every pixel of the set is void: no window has a label to learn")
        self._pixels = torch.cat(found)
        self._counts = torch.tensor([len(p) for p in found])
        self._starts = self._counts.cumsum(0) - self._counts

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """Rank's windows (n, 3, P, P), normalised, and their labels (n, 1, 1), on the device."""
        mine = share(self.images_per_batch, rank, world)
        generator = generator_for(self.seed, WINDOWS, step)
        u = torch.rand(self.images_per_batch, 2, generator=generator, dtype=torch.float64)[mine]
        group = (u[:, 0] * len(self._counts)).long()
        chosen = self._starts[group] + (u[:, 1] * self._counts[group]).long()
        pixel = self._pixels[send(chosen, self.resident.device)].long()
        H, W = self.resident.size
        image, row, col = pixel // (H * W), pixel // W % H, pixel % W
        reach = torch.arange(self.window, device=pixel.device) - self.window // 2
        rows = _reflect(row[:, None] + reach, H)[:, :, None]
        cols = _reflect(col[:, None] + reach, W)[:, None, :]
        windows = self.resident.images[image[:, None, None], :, rows, cols].movedim(-1, 1)
        labels = self.resident.labels.flatten()[pixel].long()
        return normalise(windows.float() / 255), labels[:, None, None]

    def stream(
        self, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches.stream`."""
        return (self.batch(step, rank, world) for step in count(start))


def _reflect(index: Tensor, size: int) -> Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()
