"""Generated scenes in which colour says nothing and shape says everything.

Objects from 6 px to more than half of the image, bars 2 px thin, and one pair of classes (pond,
plaza) that only their surroundings tell apart: each claim of the course can fail here. Seed and
index give the same bytes on every machine (book/index.ipynb shows a few).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcourse.data.base import SPLITS
from segcourse.data.generated import Generated, check_arguments
from segcourse.data.layout import (
    GROUND,
    MARKER_GAP,
    MARKER_RADIUS,
    PLAZA,
    POND,
    SHAPES,
    Instance,
    layout,
)
from segcourse.data.shapes import Color, Draws, rasterize, soften
from segcourse.labels import IGNORE, SCENES

LENGTHS = {"train": 1000, "val": 200, "test": 200}
"""Scenes in each split of `open_data("scenes", ...)`."""

# Pixels of a marker around its centre. Both are outlines, so that neither looks like the smallest
# cross or square.
TREE = [(i, 0) for i in range(-2, 3)] + [(0, j) for j in (-2, -1, 1, 2)]
HOUSE = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if 2 in (abs(i), abs(j))]


@dataclass(frozen=True)
class Scene:
    """A picture with its labels and what it was made from.

    Args:
        image: (3, H, W) uint8.
        labels: (H, W) int64 in 0..7, or IGNORE in the void band.
        instances: (H, W) int64; k where specs[k - 1] is seen, 0 where the ground is.
        specs: the objects, in drawing order: later ones cover earlier ones.
    """

    image: Tensor
    labels: Tensor
    instances: Tensor
    specs: tuple[Instance, ...]


class Scenes(Generated):
    """A data set of generated scenes: nothing to download, nothing on disk.

    Args:
        length: number of scenes.
        size: (H, W) in pixels, both at least 32.
        seed: 0..2^32-1; another seed gives other scenes.
        split: "train", "val" or "test", which share no scene.

    Raises:
        ValueError: an argument outside what is said above.
    """

    def __init__(
        self, length: int, size: tuple[int, int] = (128, 128), seed: int = 0, split: str = "train"
    ) -> None:
        super().__init__("scenes", SCENES, length, size, seed, split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        made = self.scene(index)
        return made.image, made.labels

    def scene(self, index: int) -> Scene:
        """Return item `index` with its instances and specs.

        Raises:
            IndexError: the index is outside 0..length-1 (negative ones count from the end).
        """
        return scene(self.seed, self.index_of(index), self.size, self.split)


def scene(
    seed: int,
    index: int,
    size: tuple[int, int] = (128, 128),
    split: str = "train",
    swap_context: bool = False,
) -> Scene:
    """Render one scene.

    Args:
        seed: 0..2^32-1.
        index: 0..2^32-1; scenes of one seed do not depend on each other.
        size: (H, W) in pixels, both at least 32.
        split: "train", "val" or "test".
        swap_context: turn every pond into a plaza and the reverse, and change nothing else.

    Raises:
        ValueError: an argument outside what is said above.
    """
    check_arguments(seed, index, size, split)
    # The first number keeps these streams apart from others that start from the same seed.
    draws = Draws(2015, SPLITS.index(split), seed, index, *size)
    specs = layout(draws, size)
    if swap_context:
        swapped = {POND: PLAZA, PLAZA: POND}
        specs = [
            Instance(swapped.get(s.label, s.label), s.centre, s.diameter, s.rotation) for s in specs
        ]
    paint, instances = _paint(draws, specs, size)
    image = _photograph(draws, paint)
    labels = _label(instances, specs)
    return Scene(
        torch.from_numpy(image), torch.from_numpy(labels), torch.from_numpy(instances), tuple(specs)
    )


def _paint(
    draws: Draws, specs: list[Instance], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Fill the objects in order: colours (H, W, 3) float64 and instances (H, W) int64."""
    instances = np.zeros(size, dtype=np.int64)
    paint = np.empty((*size, 3))
    colors: list[list[Color]] = [[draws.ground_color()]]
    paint[:] = colors[0][0]
    for spec in specs:
        if spec.label >= POND:
            _paint_markers(draws, paint, spec, draws.color_on(colors[0]))
    for k, spec in enumerate(specs, start=1):
        window, mask, along = rasterize(
            SHAPES[spec.label], spec.centre, spec.diameter, spec.rotation, size
        )
        below = [c for i in np.unique(instances[window][mask]) for c in colors[i]]
        own = [draws.color_on(below)]
        paint[window][mask] = own[0]
        if spec.label >= POND:
            own.append(draws.color_on([*below, own[0]]))
            stripes = mask & (np.floor(along / 2) % 2 == 0)
            paint[window][stripes] = own[1]
        instances[window][mask] = k
        colors.append(own)
    return paint, instances


def _paint_markers(draws: Draws, paint: np.ndarray, spec: Instance, color: Color) -> None:
    """Stand twelve trees around a pond, or twelve houses around a plaza."""
    H, W, _ = paint.shape
    marker = TREE if spec.label == POND else HOUSE
    radius = spec.diameter / 2 + MARKER_GAP + MARKER_RADIUS + 0.8
    c, s = draws.rotation()
    # Twelve directions, 30 degrees apart: (sine, cosine) of three, each in four quarter turns.
    for y, x in [(0.0, 1.0), (0.5, 0.8660254037844386), (0.8660254037844386, 0.5)]:
        for v, u in [(y, x), (x, -y), (-y, -x), (-x, y)]:
            row = int(np.floor(spec.centre[0] + radius * (c * v + s * u) + 0.5))
            col = int(np.floor(spec.centre[1] + radius * (c * u - s * v) + 0.5))
            for i, j in marker:
                if 0 <= row + i < H and 0 <= col + j < W:
                    paint[row + i, col + j] = color


def _photograph(draws: Draws, paint: np.ndarray) -> np.ndarray:
    """Add what a camera adds: uneven light, a soft lens, noise. Returns (3, H, W) uint8."""
    H, W, _ = paint.shape
    c, s = draws.rotation()
    y = (np.arange(H) * (2 / H) - 1)[:, None]
    x = (np.arange(W) * (2 / W) - 1)[None, :]
    light = 1 + draws.uniform(0.08, 0.26) * 0.7071067811865476 * (s * y + c * x)
    soft = paint * light[:, :, None]
    soft = soften(soften(soft).transpose(1, 0, 2)).transpose(1, 0, 2)
    # The difference of two uniform numbers: a triangle 15 levels wide to each side.
    noise = draws.bytes((H, W, 3)) & 15
    noise = noise.astype(np.float64) - (draws.bytes((H, W, 3)) & 15)
    levels = np.clip(np.floor(soft + noise + 0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def _label(instances: np.ndarray, specs: list[Instance]) -> np.ndarray:
    """Turn instances into classes, with a void band 1 px wide around whatever lies on top.

    A pixel is void where one of its eight neighbours has another class and lies above it. The
    upper object keeps all of its pixels, so bars survive; instances of one class get no band.
    """
    H, W = instances.shape
    label_of = np.array([GROUND] + [s.label for s in specs], dtype=np.int64)
    classes = label_of[instances]
    order = np.pad(instances, 1, mode="edge")
    framed = np.pad(classes, 1, mode="edge")
    void = np.zeros((H, W), dtype=bool)
    for i in range(3):
        for j in range(3):
            above = order[i : i + H, j : j + W] > instances
            void |= above & (framed[i : i + H, j : j + W] != classes)
    return np.where(void, IGNORE, classes)
