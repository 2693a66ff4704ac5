"""The parts of a generated scene: reproducible numbers, colours and filled shapes.

Everything here is the same to the last bit on every machine: numbers come from PCG64's raw
words, whose stream numpy promises to keep, and only + - * / and square roots touch them, which
IEEE 754 rounds in one way (sines, exponentials and normal deviates differ between libraries).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]
Rotation = tuple[float, float]

BAR_WIDTH = 2.0
CONTRAST = 44.0
"""Least difference in lightness (0..255) between a thing and what it lies on."""


class Draws:
    """Numbers from one seed.

    Args:
        entropy: non-negative integers; different lists give independent streams.
    """

    def __init__(self, *entropy: int) -> None:
        self._words = np.random.PCG64(np.random.SeedSequence(entropy))

    def uniform(self, low: float, high: float) -> float:
        """Draw from [low, high), in steps of 2^-53 of the range."""
        return low + (high - low) * ((self._words.random_raw() >> 11) * 2.0**-53)

    def below(self, count: int) -> int:
        """Draw an integer from 0..count-1."""
        return int(self.uniform(0, count))

    def shuffled(self, items: list[int]) -> list[int]:
        """Return the items in random order (Fisher and Yates)."""
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items

    def log_uniform(self, low: float, high: float) -> float:
        """Draw so that every doubling between low and high is equally likely.

        The power (high / low)^u is built from square roots, one for each of 12 bits of u.
        """
        value, factor = low, high / low
        for _ in range(12):
            factor = float(np.sqrt(factor))
            if self.below(2):
                value *= factor
        return value

    def rotation(self) -> Rotation:
        """Draw (cosine, sine) of an angle all round, from a rational point of the circle."""
        t = self.uniform(0, 1)
        c, s = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        for _ in range(self.below(4)):
            c, s = -s, c
        return c, s

    def color(self) -> Color:
        """Draw a muted colour. Every colour of a scene comes from here, whatever it paints."""
        light = self.uniform(52, 208)
        red, green, blue = (light + self.uniform(-40, 40) for _ in range(3))
        return red, green, blue

    def color_on(self, others: list[Color]) -> Color:
        """Draw a colour that stands out from all the others, or the best of 40 tries."""
        best, best_gap = (0.0, 0.0, 0.0), -1.0
        for _ in range(40):
            candidate = self.color()
            gap = min((abs(lightness(candidate) - lightness(o)) for o in others), default=256.0)
            if gap >= CONTRAST:
                return candidate
            if gap > best_gap:
                best, best_gap = candidate, gap
        return best

    def ground_color(self) -> Color:
        """Draw the ground's colour: one of a pair that stand out from each other.

        Keeping one of a symmetric pair makes ground and what lies on it follow one distribution;
        a ground drawn alone would be mid-grey more often than its objects.
        """
        while True:
            ground, other = self.color(), self.color()
            if abs(lightness(ground) - lightness(other)) >= CONTRAST:
                return ground

    def bytes(self, shape: tuple[int, ...]) -> np.ndarray:
        """Draw a uint8 array."""
        count = 1
        for side in shape:
            count *= side
        words = self._words.random_raw(-(-count // 8))
        # Little-endian everywhere, so that the bytes come in one order.
        return words.astype("<u8").view(np.uint8)[:count].reshape(shape)


def lightness(color: Color) -> float:
    """Weigh the channels as the eye does (ITU-R BT.601)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def soften(values: np.ndarray) -> np.ndarray:
    """Mix in an eighth of each neighbour along the first axis, as a lens does; the ends repeat."""
    before = np.concatenate([values[:1], values[:-1]])
    after = np.concatenate([values[1:], values[-1:]])
    return values * 0.75 + (before + after) * 0.125


def disc(u: np.ndarray, v: np.ndarray, diameter: float) -> np.ndarray:
    """Fill a disc."""
    return u * u + v * v <= diameter * diameter / 4


def square(u: np.ndarray, v: np.ndarray, diameter: float) -> np.ndarray:
    """Fill a square of the disc's area: side = diameter * sqrt(pi) / 2."""
    return np.maximum(np.abs(u), np.abs(v)) <= 0.443113 * diameter


def triangle(u: np.ndarray, v: np.ndarray, diameter: float) -> np.ndarray:
    """Fill an equilateral triangle of the disc's area."""
    inner = 0.388814 * diameter
    return (v <= inner) & (np.abs(u) * 0.8660254037844386 - v * 0.5 <= inner)


def cross(u: np.ndarray, v: np.ndarray, diameter: float) -> np.ndarray:
    """Fill a cross of five equal squares and the disc's area."""
    half = 0.198167 * diameter
    a, b = np.abs(u), np.abs(v)
    return (np.minimum(a, b) <= half) & (np.maximum(a, b) <= 3 * half)


def bar(u: np.ndarray, v: np.ndarray, length: float) -> np.ndarray:
    """Fill a bar 2 px wide. Half-open across, so that a level one is 2 px and never 3."""
    return (np.abs(u) <= length / 2) & (v > -BAR_WIDTH / 2) & (v <= BAR_WIDTH / 2)


Fill = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Shape:
    """A fill and how far its farthest point lies from its centre, in diameters."""

    fill: Fill
    reach: float


DISC = Shape(disc, 0.5)
SQUARE = Shape(square, 0.626657)
TRIANGLE = Shape(triangle, 0.777628)
CROSS = Shape(cross, 0.626657)
BAR = Shape(bar, 0.75)


def rasterize(
    shape: Shape,
    centre: tuple[float, float],
    diameter: float,
    rotation: Rotation,
    size: tuple[int, int],
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Fill a shape on the pixel grid; pixel (row, col) has its centre at those coordinates.

    Args:
        shape: what to fill.
        centre: (row, col) in pixels.
        diameter: in pixels; of the disc of the same area, or the length of a bar.
        rotation: (cosine, sine).
        size: (H, W) of the image, which clips the shape.

    Returns:
        The (rows, cols) window that the shape may touch, its mask there (h, w) bool, and the
        coordinate u along the shape's own first axis (h, w), for stripes.
    """
    reach = shape.reach * diameter + 1
    rows, cols = (
        slice(max(0, int(c - reach)), max(0, min(side, int(c + reach) + 2)))
        for c, side in zip(centre, size, strict=True)
    )
    y = np.arange(rows.start, rows.stop)[:, None] - centre[0]
    x = np.arange(cols.start, cols.stop)[None, :] - centre[1]
    c, s = rotation
    u = c * x + s * y
    v = c * y - s * x
    return (rows, cols), shape.fill(u, v, diameter), u
