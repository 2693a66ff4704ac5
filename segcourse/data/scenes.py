"""Generated street-like scenes in which colour says nothing and shape says everything.

Objects from 6 px to more than half of the image, bars 2 px thin, and one pair of classes (pond,
plaza) that only their surroundings tell apart: each claim of the course can fail here. Seed and
index give the same bytes on every machine (book/index.ipynb shows a few).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segcourse.data.base import SegmentationData
from segcourse.data.shapes import (
    BAR,
    CROSS,
    DISC,
    SQUARE,
    TRIANGLE,
    Color,
    Draws,
    Rotation,
    Shape,
    rasterize,
)
from segcourse.labels import IGNORE, SCENES

GROUND, BAR_LABEL, POND, PLAZA = 0, 5, 6, 7
SHAPES: dict[int, Shape] = {
    1: DISC,
    2: SQUARE,
    3: TRIANGLE,
    4: CROSS,
    BAR_LABEL: BAR,
    POND: DISC,
    PLAZA: DISC,
}
SPLITS = ("train", "val", "test")
LENGTHS = {"train": 1000, "val": 200, "test": 200}

SMALLEST = 6.0
LARGEST = 0.6
"""Diameters go from SMALLEST pixels to LARGEST of the image's shorter side."""

# An 11x11 window around a pixel of the pond reaches 5 * sqrt(2) = 7.1 px away, and the lens mixes
# in one more pixel (1.4 px). Markers start beyond both.
MARKER_GAP = 8.6
MARKER_RADIUS = 2.9
TREE = np.array(
    [[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]]
)
HOUSE = np.array(
    [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
)


@dataclass(frozen=True)
class Instance:
    """One object as it was placed, before anything covered it.

    Args:
        label: its class.
        centre: (row, col) in pixels.
        diameter: in pixels, of the disc of the same area; for a bar its length.
        rotation: (cosine, sine) of its angle.
    """

    label: int
    centre: tuple[float, float]
    diameter: float
    rotation: Rotation


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


class Scenes(SegmentationData):
    """A data set of generated scenes: nothing to download, nothing on disk.

    Args:
        length: number of scenes.
        size: (H, W) in pixels, both at least 32.
        seed: non-negative; another seed gives other scenes.
        split: "train", "val" or "test", which share no scene.

    Raises:
        ValueError: an argument outside what is said above.
    """

    def __init__(
        self, length: int, size: tuple[int, int] = (128, 128), seed: int = 0, split: str = "train"
    ) -> None:
        super().__init__("scenes", split, SCENES)
        if length < 0:
            raise ValueError(f"length is {length}, need 0 or more scenes")
        _check_arguments(seed, 0, size, split)
        self.length = length
        self.size = size
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        made = self.scene(index)
        return made.image, made.labels

    def scene(self, index: int) -> Scene:
        """Return item `index` with its instances and specs.

        Raises:
            IndexError: the index is outside 0..length-1 (negative ones count from the end).
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        return scene(self.seed, index % self.length, self.size, self.split)

    def stem(self, index: int) -> str:
        """Name item `index`, for reports and output files."""
        return f"scene-{self.split}-{self.seed}-{index:05d}"


def scene(
    seed: int,
    index: int,
    size: tuple[int, int] = (128, 128),
    split: str = "train",
    swap_context: bool = False,
) -> Scene:
    """Render one scene.

    Args:
        seed: non-negative.
        index: non-negative; scenes of one seed do not depend on each other.
        size: (H, W) in pixels, both at least 32.
        split: "train", "val" or "test".
        swap_context: turn every pond into a plaza and the reverse, and change nothing else.

    Raises:
        ValueError: an argument outside what is said above.
    """
    _check_arguments(seed, index, size, split)
    draws = Draws(2015, SPLITS.index(split), seed, index, *size)
    specs = _layout(draws, size)
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


def _check_arguments(seed: int, index: int, size: tuple[int, int], split: str) -> None:
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed}, index {index}: both are 0 or more")
    if len(size) != 2 or min(size) < 32:
        raise ValueError(f"size is {size}, need (H, W) with both at least 32 pixels")
    if split not in SPLITS:
        raise ValueError(f'split is "{split}", need one of {", ".join(SPLITS)}')


def clearing_radius(diameter: float) -> float:
    """Radius in pixels of the free disc around a pond or plaza, markers included."""
    return diameter / 2 + MARKER_GAP + 2 * MARKER_RADIUS + 1


def _layout(draws: Draws, size: tuple[int, int]) -> list[Instance]:
    """Choose the objects and their places, largest first, so that nothing is buried."""
    H, W = size
    short = min(size)
    wanted: list[tuple[float, int, float]] = []  # (room that it takes, label, diameter)

    # Classes take turns, so that each is about as frequent, and none knows its size.
    budget = draws.uniform(0.36, 0.56) * H * W
    turn: list[int] = []
    count = 0
    while budget > 0 or count < 4:
        turn = turn or draws.shuffled([1, 2, 3, 4])
        label = turn.pop()
        diameter = draws.log_uniform(SMALLEST, LARGEST * short)
        wanted.append((diameter, label, diameter))
        budget -= 0.785 * diameter * diameter
        count += 1
    for _ in range(2 + draws.below(2) if short >= 64 else 1):
        length = draws.uniform(0.25, 0.75) * short
        wanted.append((length / 2, BAR_LABEL, length))
    pairs = min(4, H * W // 8192) if short >= 64 else draws.below(2)
    for _ in range(max(pairs, 0)):
        diameter = 2 * draws.uniform(6, 12 if short >= 64 else 7)
        wanted.append((2 * clearing_radius(diameter), POND + draws.below(2), diameter))
    wanted.sort(key=lambda item: -item[0])

    specs: list[Instance] = []
    for _, label, diameter in wanted:
        placed = _place(draws, specs, label, diameter, size)
        if placed is None:
            continue
        specs.append(placed)
        # A third of the shapes get a touching twin: two instances, one region.
        if label < BAR_LABEL and draws.below(3) == 0:
            twin = _twin(draws, placed)
            if _fits(specs[:-1], twin, size):
                specs.append(twin)
    # Ponds take much room but are small: draw by what is seen.
    specs.sort(key=lambda s: -(s.diameter / 2 if s.label == BAR_LABEL else s.diameter))
    return specs


def _place(
    draws: Draws, specs: list[Instance], label: int, diameter: float, size: tuple[int, int]
) -> Instance | None:
    """Try 60 places; None where nothing is free."""
    margin = 0.3 * diameter if label < BAR_LABEL else 0.0
    if label in (POND, PLAZA):
        # The whole clearing where there is room for it, else at least the pond.
        margin = min(clearing_radius(diameter), 0.45 * min(size))
    for _ in range(60):
        centre = (draws.uniform(margin, size[0] - margin), draws.uniform(margin, size[1] - margin))
        candidate = Instance(label, centre, diameter, draws.rotation())
        if _fits(specs, candidate, size):
            return candidate
    return None


def _twin(draws: Draws, first: Instance) -> Instance:
    """Put a like object beside the first one, close enough to touch at any angle."""
    diameter = max(SMALLEST, first.diameter * draws.uniform(0.7, 1.0))
    c, s = draws.rotation()
    step = 0.4 * (first.diameter + diameter)
    centre = (first.centre[0] + s * step, first.centre[1] + c * step)
    return Instance(first.label, centre, diameter, draws.rotation())


def _fits(specs: list[Instance], new: Instance, size: tuple[int, int]) -> bool:
    """Say whether a place is free: clearings stay clear, shapes overlap but do not bury."""
    if not (0 <= new.centre[0] < size[0] and 0 <= new.centre[1] < size[1]):
        return False
    if new.label == BAR_LABEL:
        return True  # bars cross everything
    for old in specs:
        if old.label == BAR_LABEL:
            continue
        clear = old.label >= POND or new.label >= POND
        least = _room(old) + _room(new) if clear else 0.36 * (old.diameter + new.diameter)
        dy, dx = old.centre[0] - new.centre[0], old.centre[1] - new.centre[1]
        if dy * dy + dx * dx < least * least:
            return False
    return True


def _room(spec: Instance) -> float:
    if spec.label >= POND:
        return clearing_radius(spec.diameter)
    return SHAPES[spec.label].reach * spec.diameter


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
    (c, s), half, root = draws.rotation(), 0.5, 0.8660254037844386
    for y, x in [(0.0, 1.0), (half, root), (root, half)]:
        for _ in range(4):
            row = int(np.floor(spec.centre[0] + radius * (c * y + s * x) + 0.5))
            col = int(np.floor(spec.centre[1] + radius * (c * x - s * y) + 0.5))
            for i, j in np.argwhere(marker) - 2:
                if 0 <= row + i < H and 0 <= col + j < W:
                    paint[row + i, col + j] = color
            y, x = x, -y
    return


def _photograph(draws: Draws, paint: np.ndarray) -> np.ndarray:
    """Add what a camera adds: uneven light, a soft lens, noise. Returns (3, H, W) uint8."""
    H, W, _ = paint.shape
    c, s = draws.rotation()
    y = (np.arange(H) * (2 / H) - 1)[:, None]
    x = (np.arange(W) * (2 / W) - 1)[None, :]
    light = 1 + draws.uniform(0.08, 0.26) * 0.7071067811865476 * (s * y + c * x)
    soft = paint * light[:, :, None]
    soft = _blur(_blur(soft).transpose(1, 0, 2)).transpose(1, 0, 2)
    # The difference of two uniform numbers: a triangle 15 levels wide to each side.
    noise = draws.bytes((H, W, 3)) & 15
    noise = noise.astype(np.float64) - (draws.bytes((H, W, 3)) & 15)
    levels = np.clip(np.floor(soft + noise + 0.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def _blur(values: np.ndarray) -> np.ndarray:
    """Mix in an eighth of each neighbour along the first axis; the ends repeat."""
    before = np.concatenate([values[:1], values[:-1]])
    after = np.concatenate([values[1:], values[-1:]])
    return values * 0.75 + (before + after) * 0.125


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
