"""Generated cells that touch: one or two pixels of membrane are all that keeps two apart.

For U-Net's question (book/unet.ipynb): labels say background or cell, as in microscopy, and a
network that misses a few pixels of membrane makes one cell of two. Membranes differ in contrast,
some hardly show, and streaks inside of cells look like pieces of membrane. Seed and index give
the same bytes on every machine, by the rules of `shapes`.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segcourse.data.base import SPLITS
from segcourse.data.colonies import (
    NODE,
    Body,
    fill,
    membranes,
    noise,
    pair_table,
    place,
    whole_cells,
)
from segcourse.data.generated import Generated, check_arguments
from segcourse.data.shapes import Draws, soften
from segcourse.labels import CELLS

CELL_LENGTHS = {"train": 30, "val": 20, "test": 50}
"""Images in each split of `open_data("cells", ...)`: 30 to learn from, as U-Net had."""


class CellImage(NamedTuple):
    """A picture of cells.

    image: (3, H, W) uint8, grey. labels: (H, W) int64, 0 background, membranes included, 1 cell.
    instances: (H, W) int64, k where cell k is, 0 on background.
    """

    image: Tensor
    labels: Tensor
    instances: Tensor


class Cells(Generated):
    """A data set of generated cells: nothing to download, nothing on disk.

    Args:
        length: number of images.
        size: (H, W) in pixels, both at least 32.
        seed: 0..2^32-1; another seed gives other images.
        split: "train", "val" or "test", which share no image.

    Raises:
        ValueError: an argument outside what is said above.
    """

    def __init__(
        self, length: int, size: tuple[int, int] = (128, 128), seed: int = 0, split: str = "train"
    ) -> None:
        super().__init__("cells", CELLS, length, size, seed, split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        made = self.cells(index)
        return made.image, made.labels

    def cells(self, index: int) -> CellImage:
        """Return item `index` with its instances.

        Raises:
            IndexError: the index is outside 0..length-1 (negative ones count from the end).
        """
        return cell_image(self.seed, self.index_of(index), self.size, self.split)


def cell_image(
    seed: int, index: int, size: tuple[int, int] = (128, 128), split: str = "train"
) -> CellImage:
    """Render one image of cells.

    Args:
        seed: 0..2^32-1.
        index: 0..2^32-1; images of one seed do not depend on each other.
        size: (H, W) in pixels, both at least 32.
        split: "train", "val" or "test".

    Raises:
        ValueError: an argument outside what is said above.
    """
    check_arguments(seed, index, size, split)
    # The first number keeps these streams apart from others that start from the same seed.
    draws = Draws(1665, SPLITS.index(split), seed, index, *size)
    bodies = place(draws, size)
    owners = fill(draws, bodies, size)
    across = membranes(draws, owners)
    instances = whole_cells(np.where(across > 0, 0, owners), bodies)
    image = _photograph(draws, _paint(draws, bodies, instances, owners, across))
    labels = (instances > 0).astype(np.int64)
    return CellImage(*(torch.from_numpy(part) for part in (image, labels, instances)))


def _paint(
    draws: Draws,
    bodies: list[Body],
    instances: np.ndarray,
    owners: np.ndarray,
    across: np.ndarray,
) -> np.ndarray:
    """Grey levels (H, W) float64: bright background, mottled cells, membranes in between."""
    size = instances.shape
    ground = draws.uniform(150, 190)
    levels = np.array([ground] + [ground - draws.uniform(45, 80) for _ in bodies])
    texture = 12 * noise(draws, size) + 12 * noise(draws, size, NODE // 2)
    paint = np.where(instances > 0, levels[owners] + texture, ground + 0.5 * texture)
    for body in bodies:
        _streak(draws, paint, body, instances)
    # From hardly to be seen to as bright as the background.
    contrast = 0.1 + 0.8 / 255 * pair_table(draws, len(bodies) + 1)
    between = (levels[owners] + levels[across]) * 0.5
    line = between + (ground - between) * contrast[owners, across] + texture
    return np.where(across > 0, line, paint)


def _streak(draws: Draws, paint: np.ndarray, body: Body, instances: np.ndarray) -> None:
    """Draw a short bright line into a cell: it looks like membrane and parts nothing."""
    H, W = paint.shape
    c, s = draws.rotation()
    row, col = (at + draws.uniform(-0.4, 0.4) * body.radius for at in body.centre)
    length, bright = draws.uniform(0, 0.8) * body.radius, draws.uniform(15, 45)
    for step in range(int(length)):
        i, j = int(np.floor(row + step * s)), int(np.floor(col + step * c))
        if 0 <= i < H and 0 <= j < W and instances[i, j]:
            paint[i, j] += bright


def _photograph(draws: Draws, paint: np.ndarray) -> np.ndarray:
    """Add what a microscope adds: uneven light, a soft lens, noise. Returns (3, H, W) uint8."""
    H, W = paint.shape
    c, s = draws.rotation()
    y = (np.arange(H) * (2 / H) - 1)[:, None]
    x = (np.arange(W) * (2 / W) - 1)[None, :]
    soft = paint * (1 + 0.1 * (s * y + c * x))
    soft = soften(soften(soft).T).T
    grain = (draws.bytes((H, W)) & 15).astype(np.float64) - (draws.bytes((H, W)) & 15)
    levels = np.clip(np.floor(soft + grain + 0.5), 0, 255).astype(np.uint8)
    return np.repeat(levels[None], 3, axis=0)
