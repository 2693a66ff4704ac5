"""Grids of numbers: inputs, kernels, outputs and matrices with every value in its cell.

What a student works by hand is drawn here with the same numbers that the code computed.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segcourse.plotting.colors import GREY, INK
from segcourse.plotting.figures import WIDTH, HouseFigure, styled, subplots
from segcourse.plotting.pixels import as_array

MARKED, FAINT = "#cfe8e6", "#eef0f2"  # ink on them: 11:1 and 13:1


def _cells(values: object) -> np.ndarray:
    array = as_array(values)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"the values have shape {array.shape}, (H, W) or (W,) is needed: take one channel"
        )
    return array


def _text(value: object) -> str:
    if isinstance(value, str | np.str_):
        return str(value)
    number = float(value)
    if np.isnan(number):
        return ""
    text = f"{number:.3g}"
    return "0" if text == "-0" else text.replace("-", "−")


def _mask(which: object, shape: tuple[int, int], name: str) -> np.ndarray:
    """A bool mask from nothing, a mask, or a list of (row, col)."""
    mask = np.zeros(shape, bool)
    if which is None:
        return mask
    array = as_array(which)
    if array.dtype == bool:
        array = np.atleast_2d(array)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, the grid has {shape}")
        return array
    for row, col in array.reshape(-1, 2):
        if not (0 <= row < shape[0] and 0 <= col < shape[1]):
            raise ValueError(f"{name} names cell ({row}, {col}), outside a grid of {shape}")
        mask[row, col] = True
    return mask


@styled
def matrix_grid(
    ax: Axes,
    values: object,
    title: str = "",
    *,
    highlight: object = None,
    faint: object = None,
) -> Axes:
    """Draw a grid with a value in every cell.

    Args:
        ax: where to draw; it is cleared.
        values: (H, W) or (W,) numbers or strings. Numbers have three significant digits, nan is
            an empty cell.
        title: above the grid.
        highlight: cells to mark: a bool mask, or (row, col) pairs. Marked by colour and a thick
            border.
        faint: cells to hold back, such as padding. Marked by grey and a dashed border.

    Raises:
        ValueError: values that are no grid, or a mark outside it.
    """
    cells = _cells(values)
    H, W = cells.shape
    marked, held = _mask(highlight, (H, W), "highlight"), _mask(faint, (H, W), "faint")
    ax.clear()
    for (row, col), value in np.ndenumerate(cells):
        strong, weak = marked[row, col], held[row, col]
        ax.add_patch(
            Rectangle(
                (col, row), 1, 1,
                facecolor=MARKED if strong else FAINT if weak else "white",
                edgecolor=INK if strong else GREY,
                linewidth=2.5 if strong else 1,
                linestyle="--" if weak and not strong else "-",
                zorder=2 if strong else 1,
            )
        )  # fmt: skip
        ax.text(col + 0.5, row + 0.5, _text(value), ha="center", va="center", color=INK, zorder=3)
    ax.set(xlim=(-0.06, W + 0.06), ylim=(H + 0.06, -0.06), aspect="equal")
    ax.set_axis_off()
    ax.set_title(title, loc="center", fontsize=13)
    return ax


def grid_row(
    panels: Sequence[tuple[str, object, object]], symbols: Sequence[str] = ()
) -> HouseFigure:
    """Grids side by side with a symbol between each pair, cells of one size throughout.

    Args:
        panels: (title, values, cells to mark or None), see `matrix_grid`.
        symbols: one fewer than the panels, such as "∗" and "="; none for no symbols.

    Raises:
        ValueError: no panels, or another number of symbols.
    """
    return _row([(t, v, h, None) for t, v, h in panels], symbols)


@styled
def _row(
    panels: Sequence[tuple[str, object, object, object]], symbols: Sequence[str]
) -> HouseFigure:
    if not panels:
        raise ValueError("no panels were given: pass at least one (title, values, None)")
    if symbols and len(symbols) != len(panels) - 1:
        raise ValueError(
            f"{len(panels)} panels and {len(symbols)} symbols: give {len(panels) - 1}, or none"
        )
    shapes = [_cells(values).shape for _, values, _, _ in panels]
    gap, margin = 0.7, 0.1
    # A title line of 13 points takes about a fifth of a cell for each character.
    longest = [max(map(len, title.split("\n"))) for title, _, _, _ in panels]
    spans = [max(w, 0.2 * n) for (_, w), n in zip(shapes, longest, strict=True)]
    across = sum(spans) + gap * (len(panels) - 1)
    down = max(h for h, _ in shapes)
    cell = min(0.55, (WIDTH - 2 * margin) / across)
    figure, _ = subplots(size=(across * cell + 2 * margin, down * cell + 0.75 + margin))
    figure.clear()
    figure.set_layout_engine("none")
    # Placed by hand: a layout engine would give small kernels larger cells than large inputs.
    width, height = figure.get_size_inches()
    left, low = margin / cell, margin / cell
    for i, ((title, values, highlight, faint), (h, w)) in enumerate(
        zip(panels, shapes, strict=True)
    ):
        span = spans[i]
        bottom = (low + (down - h) / 2) * cell
        ax = figure.add_axes(
            ((left + (span - w) / 2) * cell / width, bottom / height, w * cell / width,
             h * cell / height)
        )  # fmt: skip
        matrix_grid(ax, values, title, highlight=highlight, faint=faint)
        left += span
        if symbols and i < len(symbols):
            figure.text(
                (left + gap / 2) * cell / width, (low + down / 2) * cell / height, symbols[i],
                ha="center", va="center", fontsize=18,
            )  # fmt: skip
        left += gap
    return figure


def convolution_figure(
    image: object,
    kernel: object,
    output: object,
    *,
    at: tuple[int, int] | None = None,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> Figure:
    """Input, kernel and output of a convolution, labelled, with one output cell traced back.

    Args:
        image: (H, W) or (W,) numbers, without its padding.
        kernel: (h, w) or (w,) numbers.
        output: (H', W') or (W',) numbers.
        at: (row, col) of an output cell; the input cells that it reads are marked. None marks
            nothing.
        stride: step of the window, in input cells.
        dilation: distance of the taps, in input cells.
        padding: rows and columns of zeros around the input, drawn faint. A one-row input is
            padded at its ends only.

    Raises:
        ValueError: `at` outside the output, or a window outside the padded input.
    """
    cells, taps, result = _cells(image), _cells(kernel), _cells(output)
    ends = 0 if as_array(image).ndim == 1 else padding
    edges = ((ends, ends), (padding, padding))
    faint = np.pad(np.zeros(cells.shape, bool), edges, constant_values=True)
    cells = np.pad(cells, edges)
    marked = np.zeros(cells.shape, bool)
    if at is not None:
        _mask([at], result.shape, "at")
        for i in range(taps.shape[0]):
            for j in range(taps.shape[1]):
                row, col = at[0] * stride + i * dilation, at[1] * stride + j * dilation
                if row >= cells.shape[0] or col >= cells.shape[1]:
                    raise ValueError(
                        f"output cell {at} reads input cell ({row}, {col}), outside the padded "
                        f"input {cells.shape}: check stride {stride}, dilation {dilation} and "
                        f"padding {padding} against the output {result.shape}"
                    )
                marked[row, col] = True
    sizes = [" × ".join(map(str, _cells(v).shape)) for v in (image, kernel, output)]
    around = f", padding {padding}" if padding else ""
    return _row(
        [
            (f"input\n{sizes[0]}{around}", cells, marked, faint),
            (f"kernel\n{sizes[1]}", taps, None, None),
            (f"output\n{sizes[2]}", result, [at] if at is not None else None, None),
        ],
        ("∗", "="),
    )
