"""Stamps of a transposed convolution on their way, and how many of them lie where.

Every figure of a series has one size, so that a slider does not make the page jump. The numbers
are given: what computes them is tested in `tests/test_transposed.py`.
"""

import numpy as np
from matplotlib.patches import Rectangle

from segcourse.plotting.colors import GREY, INK, WARM, text_on
from segcourse.plotting.figures import SEQUENTIAL, WIDTH, HouseFigure, styled, subplots
from segcourse.plotting.grids import matrix_grid
from segcourse.plotting.pixels import as_array


@styled
def stamp_figure(
    image: object, kernel: object, sums: object, counts: object, last: int, corner: tuple[int, int],
    room: int,
) -> HouseFigure:  # fmt: skip
    """Input, stamp and output of a transposed convolution after some of its stamps.

    Args:
        image: (h, w) numbers, stamped in reading order.
        kernel: (kh, kw) numbers.
        sums: (H, W) numbers: the output after the stamp of pixel `last`.
        counts: (H, W) integers: stamps on each output cell; cells with 2 or more are hatched.
        last: the pixel whose stamp was put down last, marked in all three grids.
        corner: (row, col) of the output where this stamp begins.
        room: cells a side that are kept for the output, so that all figures have one size.

    Raises:
        ValueError: an output larger than its room.
    """
    cells, taps, out = (as_array(v) for v in (image, kernel, sums))
    if max(out.shape) > room:
        raise ValueError(f"the output {out.shape} does not fit {room} cells: give more room")
    h, w = cells.shape
    row, col = divmod(last, w)
    margin, gap = 0.1, 0.75
    across = w + taps.shape[1] + room + 2 * gap
    cell = (WIDTH - 2 * margin) / across
    figure, _ = subplots(size=(WIDTH, room * cell + 0.65))
    figure.clear()
    figure.set_layout_engine("none")
    width, height = figure.get_size_inches()
    middle = margin + room * cell / 2

    def grid(left: float, values: np.ndarray, title: str, **marks: object):
        rows, cols = values.shape
        box = (margin + left * cell, middle - rows * cell / 2, cols * cell, rows * cell)
        ax = figure.add_axes([a / b for a, b in zip(box, (width, height) * 2, strict=True)])
        return matrix_grid(ax, values, title, **marks)

    waiting = (np.arange(h * w) > last).reshape(h, w)
    grid(0, cells, "input", highlight=[(row, col)], faint=waiting)
    grid(w + gap, cells[row, col] * taps, f"{_number(cells[row, col])} × kernel")
    stamp = [(corner[0] + i, corner[1] + j) for i, j in np.ndindex(*taps.shape)]
    left = w + taps.shape[1] + 2 * gap + (room - out.shape[1]) / 2
    untouched = as_array(counts) == 0
    ax = grid(left, np.where(untouched, np.nan, out), "output so far", highlight=stamp)
    for r, c in np.argwhere(as_array(counts) > 1):
        ax.add_patch(
            Rectangle((c, r), 1, 1, fill=False, hatch="///", ec=WARM, lw=0, alpha=0.55, zorder=2.5)
        )
    for place in (w + gap / 2, w + taps.shape[1] + 1.5 * gap):
        x = (margin + place * cell) / width
        figure.text(x, middle / height, "→", ha="center", va="center", fontsize=18)
    return figure


def _number(value: float) -> str:
    return f"{float(value):.3g}".replace("-", "−")


@styled
def overlap_figure(counts: object, title: str = "") -> HouseFigure:
    """How many stamps lie on each output pixel: a number and a colour in every cell.

    Args:
        counts: (H, W) integers of 0 or more.
        title: one line above.
    """
    values = as_array(counts)
    H, W = values.shape
    top = max(int(values.max()), 1)
    figure, ((ax,),) = subplots(size=(0.2 + 0.45 * W, 0.2 + 0.45 * H + (0.4 if title else 0)))
    ax.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1.15 * top)
    for (r, c), value in np.ndenumerate(values):
        colour = np.array(SEQUENTIAL(value / (1.15 * top))[:3]) * 255
        ax.text(c, r, str(value), ha="center", va="center", color=text_on(colour))
    ax.set_xticks(np.arange(-0.5, W), [""] * (W + 1))
    ax.set_yticks(np.arange(-0.5, H), [""] * (H + 1))
    ax.tick_params(length=0)
    ax.grid(True, color=GREY, linewidth=0.6)
    ax.set_axisbelow(False)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=INK)
    if title:
        ax.set_title(title)
    return figure
