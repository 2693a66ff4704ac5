"""Where generated cells lie: bodies side by side, cut by their neighbours, parted by membranes.

The geometry behind `cells`, by the rules of `shapes`: the same bytes on every machine.
"""

from dataclasses import dataclass

import numpy as np

from segcourse.data.shapes import Draws

LONG = (7.0, 13.0)
"""The longer half axis of a cell, in pixels."""

SMALLEST = 24
"""Pixels of the smallest cell; what is smaller is background."""

NODE = 8
"""Distance in pixels between the nodes of the noise that bends outlines."""


@dataclass(frozen=True)
class Body:
    """An ellipse, before it is bent and cut by its neighbours; lengths in pixels."""

    centre: tuple[float, float]
    axes: tuple[float, float]
    rotation: tuple[float, float]

    @property
    def radius(self) -> float:
        """Of the disc of the same area."""
        return float(np.sqrt(self.axes[0] * self.axes[1]))


def place(draws: Draws, size: tuple[int, int]) -> list[Body]:
    """Put cells side by side: most next to one that is there, some anywhere, for new colonies."""
    H, W = size
    wanted = H * W // 300
    bodies: list[Body] = []
    taken = np.empty((wanted, 3))  # row, column, radius
    for _ in range(12 * wanted):
        row, col = draws.uniform(0, H), draws.uniform(0, W)
        long = draws.uniform(*LONG)
        axes, rotation = (long, long * draws.uniform(0.6, 1)), draws.rotation()
        radius = float(np.sqrt(axes[0] * axes[1]))
        c, s = draws.rotation()
        if bodies and draws.below(10):
            beside = bodies[draws.below(len(bodies))]
            step = 0.85 * (beside.radius + radius)
            row, col = beside.centre[0] + step * s, beside.centre[1] + step * c
        if not (0 <= row < H and 0 <= col < W):
            continue
        rows, cols, radii = taken[: len(bodies)].T
        rows, cols, reach = rows - row, cols - col, 0.75 * (radii + radius)
        if (rows * rows + cols * cols > reach * reach).all():
            taken[len(bodies)] = row, col, radius
            bodies.append(Body((row, col), axes, rotation))
        if len(bodies) == wanted:
            break
    return bodies


def fill(draws: Draws, bodies: list[Body], size: tuple[int, int]) -> np.ndarray:
    """Give each pixel to the ellipse that it lies deepest in: (H, W) int64, 0 where there is none.

    Outlines wobble, as the pixel grid is bent by up to 3 px before it is compared.
    """
    y = np.arange(size[0])[:, None] + 3 * noise(draws, size)
    x = np.arange(size[1])[None, :] + 3 * noise(draws, size)
    owners, depth = np.zeros(size, dtype=np.int64), np.ones(size)
    for k, body in enumerate(bodies, start=1):
        near = tuple(
            slice(max(0, int(at) - 18), max(0, int(at) + 19)) for at in body.centre
        )  # 13 px of axis, 3 px of bending
        c, s = body.rotation
        rows, cols = y[near] - body.centre[0], x[near] - body.centre[1]
        u = (c * cols + s * rows) / body.axes[0]
        v = (c * rows - s * cols) / body.axes[1]
        own = u * u + v * v
        nearer = own < depth[near]
        owners[near][nearer], depth[near][nearer] = k, own[nearer]
    return owners


def membranes(draws: Draws, owners: np.ndarray) -> np.ndarray:
    """Draw membranes where two cells meet: their pixels hold the cell across, others 0.

    Of two pixels that touch, at an edge or a corner, and belong to two cells, the one of the first
    cell becomes membrane, 1 px in all; between half of the pairs the other one does too, 2 px.
    """
    H, W = owners.shape
    wide = pair_table(draws, int(owners.max()) + 1) >= 128
    framed = np.pad(owners, 1, mode="edge")
    across = np.zeros_like(owners)
    for i in range(3):
        for j in range(3):
            other = framed[i : i + H, j : j + W]
            met = (owners > 0) & (other > 0) & (other != owners)
            met &= (owners < other) | wide[owners, other]
            across = np.where(met & (across == 0), other, across)
    return across


def whole_cells(cells: np.ndarray, bodies: list[Body]) -> np.ndarray:
    """Keep of each cell what hangs together with its middle, if that is large enough.

    Returns:
        (H, W) int64: cells numbered from 1 without a gap, 0 elsewhere.
    """
    reached = np.zeros_like(cells)
    for k, body in enumerate(bodies, start=1):
        # The middle may have been bent away: start from a pixel of the cell near it.
        top, left = (max(0, int(at) - 2) for at in body.centre)
        own = np.argwhere(cells[top : top + 5, left : left + 5] == k)
        if len(own):
            i, j = own[len(own) // 2]
            reached[top + i, left + j] = k
    before = None
    while not np.array_equal(before, reached):
        before, framed = reached, np.pad(reached, 1)
        for part in (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]):
            reached = np.where((part == cells) & (cells > 0), cells, reached)
    kept = np.bincount(reached.ravel(), minlength=len(bodies) + 1) >= SMALLEST
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[reached]


def pair_table(draws: Draws, count: int) -> np.ndarray:
    """Draw a number of 0..255 for each pair of `count` cells: (count, count) int64, symmetric."""
    upper = np.triu(draws.bytes((count, count)).astype(np.int64), 1)
    return upper + upper.T


def noise(draws: Draws, size: tuple[int, int], node: int = NODE) -> np.ndarray:
    """Smooth noise in -1..1, (H, W): random nodes, linear in between along rows and columns."""
    H, W = size
    values = draws.bytes((H // node + 2, W // node + 2)).astype(np.float64) * (2 / 255) - 1
    (i, down), (j, right) = (
        (np.arange(side) // node, (np.arange(side) % node) / node) for side in size
    )
    rows = values[i] + (values[i + 1] - values[i]) * down[:, None]
    return rows[:, j] + (rows[:, j + 1] - rows[:, j]) * right
