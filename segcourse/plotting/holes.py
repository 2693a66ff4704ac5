"""Kernels with holes: their taps on a picture, and which cells a stack of them reads.

Every figure of a series has one size, so that a slider does not make the page jump. The numbers
are given: what computes them is tested in `tests/test_gridding.py`.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from segcourse.plotting.colors import GREY, INK, PALE, SERIES, WARM, text_on
from segcourse.plotting.figures import SEQUENTIAL, SIGNED, WIDTH, HouseFigure, styled, subplots
from segcourse.plotting.pictures import bare, show_image
from segcourse.plotting.pixels import as_array


@styled
def taps_figure(
    image: object, response: object, at: tuple[int, int], kernel_size: int, dilation: int
) -> HouseFigure:
    """A picture with the taps of one kernel on it, and the response of this kernel everywhere.

    Args:
        image: uint8, (3, H, W) or (H, W, 3).
        response: (H, W) numbers; white is zero, teal positive, warm negative.
        at: (row, col) of the output that is traced back, a pixel of the picture.
        kernel_size: k, odd.
        dilation: pixels from tap to tap.

    Raises:
        TypeError, ValueError: see `show_image`; taps outside the picture.
    """
    values = as_array(response).astype(np.float64)
    H, W = values.shape
    steps = (np.arange(kernel_size) - kernel_size // 2) * dilation
    rows, cols = np.meshgrid(at[0] + steps, at[1] + steps, indexing="ij")
    if rows.min() < 0 or cols.min() < 0 or rows.max() >= H or cols.max() >= W:
        raise ValueError(
            f"taps at rate {dilation} around {at} leave a picture of {H} x {W}: move the centre or "
            "lower the rate"
        )
    figure, grid = subplots(1, 2, size=(WIDTH, WIDTH / 2 * H / W + 0.4))
    side = kernel_size + (kernel_size - 1) * (dilation - 1)
    show_image(grid[0, 0], image, f"{kernel_size * kernel_size} taps in {side} × {side} pixels")
    corner = (cols.min() - 0.5, rows.min() - 0.5)
    for color, line in (("white", 4.5), (WARM, 2)):
        grid[0, 0].add_patch(Rectangle(corner, side, side, fill=False, ec=color, lw=line))
    grid[0, 0].plot(cols, rows, "o", color=WARM, markersize=6, mec="white", mew=1.2)
    largest = float(np.abs(values).max()) or 1.0
    grid[0, 1].imshow(values, cmap=SIGNED, vmin=-largest, vmax=largest)
    grid[0, 1].plot(at[1], at[0], "o", color=INK, markersize=6, mec="white", mew=1.2)
    bare(grid[0, 1], f"output at rate {dilation}")
    return figure


@styled
def taps_star(side: int, at: tuple[int, int], rates: Sequence[int]) -> HouseFigure:
    """The taps of one 3x3 kernel for each rate around a cell; hollow where they leave the map.

    Args:
        side: cells of the square map along each side.
        at: (row, col) of the cell, on the map.
        rates: a colour and a mark for each, at most four.

    Raises:
        ValueError: a cell off the map, or more rates.
    """
    if not (min(at) >= 0 and max(at) < side):
        raise ValueError(f"the cell {at} is not on a map of {side} x {side}: give one that is")
    if not 1 <= len(rates) <= 4:
        raise ValueError(f"{len(rates)} rates: give one to four, each has a mark of its own")
    room = 30  # cells around the map; taps further out are not drawn
    figure, ((ax,),) = subplots(size=(5.2, 5.8))
    ax.add_patch(Rectangle((-0.5, -0.5), side, side, facecolor=PALE, edgecolor=INK, lw=1.5))
    for rate, color, mark in zip(rates, SERIES, "os^D", strict=False):
        steps = np.array([-rate, 0, rate])
        rows, cols = (axis.ravel() for axis in np.meshgrid(at[0] + steps, at[1] + steps))
        on = (rows >= 0) & (rows < side) & (cols >= 0) & (cols < side)
        ax.plot(cols[on], rows[on], mark, color=color, markersize=7, label=f"rate {rate}")
        ax.plot(cols[~on], rows[~on], mark, color=color, markersize=7, markerfacecolor="white")
    ax.plot(at[1], at[0], "o", color=INK, markersize=6)
    ax.set(xlim=(-room, side + room), ylim=(side + room, -room), aspect="equal")
    bare(ax, "")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, borderaxespad=0.2)
    return figure


@styled
def valid_taps_map(counts: object, title: str = "") -> HouseFigure:
    """How many taps lie on the map, by position: darker for more, with the numbers written in.

    Args:
        counts: (S, S) integers in 1..9, alike along bands as `segcourse.aspp.valid_taps` gives.
        title: one line above.

    Raises:
        ValueError: counts that are not square.
    """
    cells = as_array(counts)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1]:
        raise ValueError(f"counts of shape {cells.shape} are not a square map: give (S, S)")
    side = len(cells)
    figure, ((ax,),) = subplots(size=(4.6, 5.0))
    ax.imshow(cells, cmap=SEQUENTIAL, vmin=0, vmax=11, extent=(0, side, side, 0))
    first = cells[side // 2]
    cuts = [0, *(np.flatnonzero(np.diff(first)) + 1), side]
    wide = [(a, b) for a, b in pairwise(cuts) if (b - a) / side > 0.07]
    for top, bottom in wide:
        for left, right in wide:
            value = int(cells[(top + bottom) // 2, (left + right) // 2])
            tint = np.array(SEQUENTIAL(value / 11)[:3]) * 255
            where = (left + right) / 2, (top + bottom) / 2
            ax.text(*where, str(value), ha="center", va="center", color=text_on(tint))
    bare(ax, title)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=GREY)
    return figure


@styled
def coverage_grid(ax: Axes, counts: object, title: str = "", room: int = 0) -> Axes:
    """Paths from one output to each input cell: a colour for their number, hatched where none.

    Args:
        ax: where to draw.
        counts: (S, S) integers of 0 or more.
        title: one line above.
        room: cells a side of the frame, at least S; further cells stay empty.

    Raises:
        ValueError: counts that are not square, or larger than their room.
    """
    cells = as_array(counts)
    side = max(room, len(cells))
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or (room and len(cells) > room):
        raise ValueError(f"counts of shape {cells.shape} do not fit a square of {room or 'any'}")
    before = (side - len(cells)) / 2
    edges = (before - 0.5, before + len(cells) - 0.5)
    shown = np.sqrt(cells / cells.max())  # few paths in the corners, many in the middle
    square = (edges[0], edges[0]), len(cells), len(cells)
    # One hatched square behind, seen through the cells that are not read: a patch for each is slow.
    ax.add_patch(Rectangle(*square, fc="white", hatch="////", ec=WARM, lw=0, zorder=0))
    seen = np.ma.masked_where(cells == 0, shown)
    extent = (*edges, edges[1], edges[0])
    ax.imshow(seen, cmap=SEQUENTIAL, vmin=0, vmax=1.1, extent=extent, zorder=1)
    ax.set_facecolor(PALE)
    if side <= 9:  # more numbers could not be read on a phone
        for (row, col), value in np.ndenumerate(cells):
            if value:
                tint = np.array(SEQUENTIAL(shown[row, col] / 1.1)[:3]) * 255
                where = before + col, before + row
                ax.text(
                    *where, str(value), ha="center", va="center", fontsize=9, color=text_on(tint)
                )
    ax.add_patch(Rectangle(*square, fill=False, ec=INK, lw=1.5, zorder=2))
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), aspect="equal")
    bare(ax, title)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=GREY)
    return ax
