"""Where the objects of a generated scene stand (pixels: scenes.py; shapes: shapes.py).

Sizes spread evenly over the doublings from 6 px to more than half of the image. Shapes overlap but
never bury each other, and nothing but a bar enters the clearing around a pond or plaza.
"""

from dataclasses import dataclass

import numpy as np

from segcourse.data.shapes import (
    BAR,
    CROSS,
    DISC,
    SQUARE,
    TRIANGLE,
    Draws,
    Rotation,
    Shape,
    rasterize,
)

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

SMALLEST = 6.0
LARGEST = 0.6
"""Diameters go from SMALLEST pixels to LARGEST of the image's shorter side."""

# An 11x11 window around a pixel of the pond reaches 5 * sqrt(2) = 7.1 px away, and the lens mixes
# in one more pixel (1.4 px). Markers start beyond both.
MARKER_GAP = 8.6
MARKER_RADIUS = 2.9


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


def clearing_radius(diameter: float) -> float:
    """Radius in pixels of the free disc around a pond or plaza, markers included."""
    return diameter / 2 + MARKER_GAP + 2 * MARKER_RADIUS + 1


def layout(draws: Draws, size: tuple[int, int]) -> list[Instance]:
    """Choose the objects and their places, largest first, so that nothing is buried."""
    H, W = size
    short = min(size)
    wanted: list[tuple[float, int, float]] = []  # (room that it takes, label, diameter)

    # Classes take turns, so that each is about as frequent, and none knows its size.
    budget = draws.uniform(0.28, 0.48) * H * W
    turn: list[int] = []
    count = 0
    while budget > 0 or count < 4:
        turn = turn or draws.shuffled([1, 2, 3, 4])
        label = turn.pop()
        diameter = draws.log_uniform(SMALLEST, LARGEST * short)
        wanted.append((diameter, label, diameter))
        budget -= 0.785 * diameter * diameter
        count += 1
    for _ in range(2 + draws.below(2) + H * W // 32768 if short >= 64 else 1):
        length = draws.uniform(0.25, 0.75) * short
        wanted.append((length / 2, BAR_LABEL, length))
    # Where there is room, a pond or plaza is placed before everything else: the rarest classes
    # would lose every quarrel over room otherwise.
    for i in range(min(4, H * W // 8192) or draws.below(2)):
        diameter = 2 * draws.uniform(6, 12 if short >= 96 else 7)
        room = 2 * clearing_radius(diameter) if i else float(short)
        wanted.append((room, POND + draws.below(2), diameter))
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
        if old.label >= POND and new.label >= POND:
            free = _apart(old, new, clearing_radius(old.diameter) + clearing_radius(new.diameter))
        elif old.label >= POND:
            free = _clears(old, new, size)
        elif new.label >= POND:
            free = _clears(new, old, size)
        else:
            free = _apart(old, new, 0.36 * (old.diameter + new.diameter))
        if not free:
            return False
    return True


def _apart(a: Instance, b: Instance, least: float) -> bool:
    dy, dx = a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]
    return dy * dy + dx * dx >= least * least


def _clears(clearing: Instance, shape: Instance, size: tuple[int, int]) -> bool:
    """Say whether a shape stays out of a clearing: by circles if they decide, else by pixels."""
    radius = clearing_radius(clearing.diameter)
    if _apart(clearing, shape, radius + SHAPES[shape.label].reach * shape.diameter):
        return True
    if not _apart(clearing, shape, radius + 0.28 * shape.diameter):
        return False
    (rows, cols), mask, _ = rasterize(
        SHAPES[shape.label], shape.centre, shape.diameter, shape.rotation, size
    )
    y = np.arange(rows.start, rows.stop)[:, None] - clearing.centre[0]
    x = np.arange(cols.start, cols.stop)[None, :] - clearing.centre[1]
    return not (mask & (y * y + x * x < radius * radius)).any()
