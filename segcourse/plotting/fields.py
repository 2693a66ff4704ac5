"""Receptive fields over a picture, and how FCN adds its score maps up (book/fcn.ipynb).

A field may be larger than the picture: what lies outside is padding, and is drawn as such.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from segcourse.plotting.colors import GREY, INK, PALE, TEAL, WARM
from segcourse.plotting.figures import SEQUENTIAL, HouseFigure, styled, subplots
from segcourse.plotting.pictures import bare
from segcourse.plotting.pixels import as_array, as_picture

HALO = 5.0  # points of white around a frame, so that it shows on any picture


@styled
def show_field(
    ax: Axes,
    image: object,
    box: tuple[float, float, float, float],
    *,
    centres: tuple[Sequence[float], Sequence[float]] | None = None,
    margin: int = 0,
    title: str = "",
) -> Axes:
    """Frame one receptive field on a picture, and mark where all the others have their centres.

    Args:
        ax: where to draw.
        image: uint8, (3, H, W) or (H, W, 3).
        box: (top, left, bottom, right), rows and columns of the field's first and last pixels,
            which may lie outside the picture.
        centres: rows and columns of the score map's cells, in pixels: a dot for each pair.
        margin: pixels of padding that are drawn around the picture.
        title: one line above, wrapped when it does not fit.

    Raises:
        TypeError, ValueError: see `as_picture`; a box whose end lies before its start.
    """
    top, left, bottom, right = (float(edge) for edge in box)
    if bottom < top or right < left:
        raise ValueError(f"the box is {box}: give (top, left, bottom, right), ends after starts")
    picture = as_picture(image)
    H, W = picture.shape[:2]
    ax.imshow(picture)
    ax.set_facecolor(PALE)
    bare(ax, title)
    ax.set(xlim=(-0.5 - margin, W - 0.5 + margin), ylim=(H - 0.5 + margin, -0.5 - margin))
    if centres is not None:
        rows, cols = np.meshgrid(*(as_array(c) for c in centres), indexing="ij")
        ax.plot(cols.ravel(), rows.ravel(), "o", color=TEAL, markersize=4.5, mec="white", mew=0.8)
    corner, width, height = (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1
    for color, line in (("white", HALO), (WARM, 2.5)):
        ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=line))
    middle = (left + right) / 2, (top + bottom) / 2
    ax.plot(*middle, "s", color=WARM, markersize=8, mec="white", mew=1.5)
    return ax


@styled
def show_grid(
    ax: Axes,
    image: object,
    values: object,
    first: tuple[float, float],
    stride: float,
    title: str = "",
) -> Axes:
    """Lay a coarse grid of numbers over its picture: each cell a square around its centre.

    Args:
        ax: where to draw.
        image: uint8, (3, H, W) or (H, W, 3); drawn in pale greys.
        values: (h, w) numbers in 0..1, such as probabilities. White is 0.
        first: (row, col) of cell (0, 0)'s centre, in pixels.
        stride: pixels from one centre to the next.
        title: one line above, wrapped when it does not fit.

    Raises:
        TypeError, ValueError: see `as_picture`; values that are not (h, w).
    """
    grid = as_array(values)
    if grid.ndim != 2:
        raise ValueError(f"the values have shape {grid.shape}, (h, w) is needed: take one channel")
    picture = as_picture(image)
    H, W = picture.shape[:2]
    ax.imshow(picture.mean(2), cmap="gray", vmin=-80, vmax=255)
    top, left = (at - stride / 2 for at in first)
    bottom, right = top + stride * grid.shape[0], left + stride * grid.shape[1]
    ax.imshow(grid, cmap=SEQUENTIAL, vmin=0, vmax=1, alpha=0.75, extent=(left, right, bottom, top))
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=GREY))
    bare(ax, title)
    ax.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5))
    return ax


@styled
def skip_diagram(size: int = 128) -> HouseFigure:
    """How FCN-32s, 16s and 8s make their scores from maps of strides 32, 16 and 8.

    Args:
        size: side of the square image in pixels; the maps' sides are written for it.

    Raises:
        ValueError: `size` is no multiple of 32.
    """
    if size < 32 or size % 32:
        raise ValueError(f"size is {size}: give a multiple of 32, such as 128")
    figure, ((ax,),) = subplots(size=(7.0, 5.2))
    ax.set(xlim=(0, 30), ylim=(0, 22))
    ax.set_axis_off()
    columns = {8: 5.0, 16: 15.0, 32: 25.0}
    for stride, x in columns.items():
        side = size // stride
        _box(ax, x, 20, f"features, stride {stride}\n{side} × {side}", PALE)
        _arrow(ax, (x, 18.5), (x, 16.3))
        _note(ax, x + 0.3, 17.3, "1×1")
        _box(ax, x, 14.8, f"class scores\n{side} × {side}", "#cfe8e6")
        if stride > 8:
            _arrow(ax, (x - 5.8, 20), (x - 4.2, 20))
    for stride, x in columns.items():
        y = 9.2
        if stride < 32:
            _arrow(ax, (x, 13.2), (x, y + 0.9))
            ax.text(
                x, y, "+", ha="center", va="center", fontsize=20, color=INK,
                bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": INK},
            )  # fmt: skip
            # From the next coarser map: of the sum, or of the coarsest scores.
            start = (x + 9.2, y) if stride == 8 else (columns[32], y)
            _arrow(ax, start, (x + 1.0, y))
            _note(ax, x + 4.2, y + 0.8, "up ×2")
        low = 13.2 if stride == 32 else y - 0.9
        _arrow(ax, (x, low), (x, 4.1))
        _note(ax, x + 0.3, 6.2, f"up ×{stride}")
        _box(ax, x, 2.6, f"FCN-{stride}s\n{size} × {size}", "white")
    return figure


def _box(ax: Axes, x: float, y: float, text: str, color: str) -> None:
    ax.add_patch(Rectangle((x - 4.2, y - 1.5), 8.4, 3.0, facecolor=color, edgecolor=GREY))
    ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=12.5, linespacing=1.3)


def _note(ax: Axes, x: float, y: float, text: str) -> None:
    ax.text(x, y, text, ha="left", va="center", color=INK, fontsize=12.5)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=16, color=INK, lw=1.5, shrinkA=0, shrinkB=0
        )
    )
