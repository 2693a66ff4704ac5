"""The permutohedral lattice in a plane: what one pixel sends, step by step (book/crf.ipynb).

The numbers are given; `segcourse.permutohedral` computes them, and its tests hold them.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from segcourse.plotting.colors import GREY, INK, TEAL, WARM
from segcourse.plotting.figures import WIDTH, HouseFigure, styled, subplots
from segcourse.plotting.pixels import as_array

EDGE = 1.001  # sides of the lattice's triangles are 1 long; a little more for rounding
LARGEST = {"o": 260.0, "s": 70.0}  # area of a panel's largest mark, in square points


@styled
def lattice_steps(
    points: object,
    corners: object,
    at: int,
    steps: Mapping[str, object],
    units: tuple[float, float],
    labels: tuple[str, str],
) -> HouseFigure:
    """Pixels among the corners of triangles, and numbers on either, one panel for each step.

    Args:
        points: (P, 2) pixels, in standard deviations; a small dot each.
        corners: (M, 2) lattice points, in the same units. Those that are neighbours are joined.
        at: the pixel that sends; it has a ring in every panel.
        steps: title to numbers, M of them for corners or P for pixels: a disc for each corner, a
            square for each pixel, whose area is in proportion to the number. The largest mark of
            a panel has one size in all panels.
        units: what one standard deviation is along each axis, for the numbers on the axes.
        labels: of the two axes.

    Raises:
        ValueError: numbers that are neither one for each corner nor one for each pixel, or points
            that do not lie in a plane.
    """
    pixels, places = (as_array(one).astype(np.float64) for one in (points, corners))
    for name, one in (("points", pixels), ("corners", places)):
        if one.ndim != 2 or one.shape[1] != 2:
            raise ValueError(f"{name} have shape {one.shape}: a plane needs (count, 2)")
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    sides = [(i, j) for i, j in np.argwhere(apart < EDGE) if i < j]
    scale = np.array(units)
    figure, axes = subplots(len(steps), 1, size=(WIDTH, 2.2 * len(steps) + 0.5))
    for (title, numbers), ax in zip(steps.items(), axes[:, 0], strict=True):
        found = as_array(numbers).astype(np.float64)
        if found.shape not in ((len(places),), (len(pixels),)):
            raise ValueError(
                f"{title}: {found.shape} numbers for {len(places)} corners and {len(pixels)} "
                "pixels, give one for each of either"
            )
        lines = [places[[i, j]] * scale for i, j in sides]
        ax.add_collection(LineCollection(lines, colors="#c9d2d0", linewidths=0.8, zorder=1))
        ax.plot(*(pixels * scale).T, ".", color=GREY, markersize=4, zorder=2)
        _marks(ax, (places if len(found) == len(places) else pixels) * scale, found, len(places))
        ax.plot(*(pixels[at] * scale), "o", ms=11, mfc="none", mec=INK, mew=1.8, zorder=4)
        ax.set_title(title)
        ax.set(ylabel=labels[1])
        ax.grid(False)
        ax.margins(x=0.03, y=0.12)
        ax.tick_params(labelbottom=ax is axes[-1, 0])
    ax.set_xlabel(labels[0])
    return figure


def _marks(ax: Axes, places: np.ndarray, numbers: np.ndarray, corners: int) -> None:
    color, mark = (TEAL, "o") if len(places) == corners else (WARM, "s")
    shown = numbers > 0.002 * numbers.max()
    area = LARGEST[mark] * numbers[shown] / numbers.max()
    ax.scatter(*places[shown].T, s=area, c=color, marker=mark, ec="white", lw=0.6, zorder=3)
