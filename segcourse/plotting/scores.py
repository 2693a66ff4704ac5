"""Results of many networks in one picture: verdicts, IoU by class, cost against score, curves.

A dozen names do not fit into a legend that can be read: they stand beside what they name.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from segcourse.plotting.colors import GREY, PALE, SERIES, TEAL, WARM, text_on
from segcourse.plotting.figures import SEQUENTIAL, WIDTH, HouseFigure, styled, subplots
from segcourse.plotting.pixels import as_array

PARTS = ((TEAL, ""), (SERIES[4], "//"), (WARM, ".."), (PALE, ""))
"""Colour and hatch of the parts of a bar, first to last."""


@styled
def part_bars(names: Sequence[str], parts: Mapping[str, Sequence[int]], *, xlabel: str) -> Figure:
    """Horizontal bars in parts that are counted, with the count written into each part.

    Args:
        names: one for each bar, top to bottom.
        parts: one to four, from what a part is called to its count in every bar.
        xlabel: of the counts.

    Raises:
        ValueError: a part that does not fit the names, none, or more than four.
    """
    if not 1 <= len(parts) <= len(PARTS):
        raise ValueError(f"{len(parts)} parts were given, 1 to {len(PARTS)} can be told apart")
    figure, grid = subplots(1, 1, size=(WIDTH, 1.6 + 0.42 * len(names)))
    ax, left = grid[0, 0], np.zeros(len(names))
    for (part, counts), (colour, hatch) in zip(parts.items(), PARTS, strict=False):
        if len(counts) != len(names):
            raise ValueError(f"{part!r} has {len(counts)} counts for {len(names)} names")
        y = np.arange(len(names))
        ax.barh(y, counts, 0.7, left, color=colour, hatch=hatch, edgecolor="white", label=part)
        for row, count in enumerate(counts):
            if count:
                box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
                at = (left[row] + count / 2, row)
                ax.text(*at, str(count), ha="center", va="center", fontsize=12, bbox=box)
        left = left + np.asarray(counts)
    ax.set_yticks(range(len(names)), list(names))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(xlabel)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return figure


@styled
def score_grid(names: Sequence[str], columns: Sequence[str], scores: object) -> Figure:
    """Scores of rows by columns, coloured and written in percent; a nan is a dash.

    Args:
        names: of the rows.
        columns: of the columns.
        scores: (rows, columns) shares in 0..1.

    Raises:
        ValueError: a table of another shape.
    """
    table = 100 * as_array(scores).astype(np.float64)
    if table.shape != (len(names), len(columns)):
        raise ValueError(
            f"the scores have shape {table.shape}, ({len(names)}, {len(columns)}) is needed: "
            "a row for each name, a column for each class"
        )
    figure, grid = subplots(1, 1, size=(WIDTH, 1.5 + 0.4 * len(names)))
    ax = grid[0, 0]
    ax.imshow(np.nan_to_num(table), cmap=SEQUENTIAL, vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        colour = np.array(SEQUENTIAL(np.nan_to_num(value) / 100)[:3]) * 255
        said = "–" if np.isnan(value) else f"{value:.0f}"
        ax.text(column, row, said, ha="center", va="center", color=text_on(colour), fontsize=13)
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), list(names))
    ax.tick_params(length=0)
    ax.grid(False)
    return figure


@styled
def named_points(
    points: Mapping[str, tuple[float, float]],
    *,
    xlabel: str,
    ylabel: str,
    logarithmic: bool = True,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> HouseFigure:
    """Points with their names at the right, each joined to its point by a thin line.

    Args:
        points: from a name to (x, y).
        xlabel: with its unit.
        ylabel: with its unit.
        logarithmic: whether x grows by factors.
        ranges: from a name to the lowest and the highest y, drawn as a line through the point.

    Raises:
        ValueError: no point, or one that is not finite (or not positive where x is logarithmic).
    """
    found = np.array(list(points.values()), np.float64).reshape(-1, 2)
    if not len(found) or not np.isfinite(found).all() or (logarithmic and found[:, 0].min() <= 0):
        raise ValueError(
            "points must be finite, and there must be one: leave out what was not measured, "
            "and say so in the text"
        )
    figure, grid = subplots(1, 1, size=(WIDTH, max(4.0, 0.36 * len(found) + 1.2)))
    ax = grid[0, 0]
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
    for name, (low, high) in (ranges or {}).items():
        ax.plot([points[name][0]] * 2, [low, high], color=TEAL, lw=2, alpha=0.6, zorder=2)
    ax.plot(found[:, 0], found[:, 1], "o", color=TEAL, markersize=8, zorder=3)
    order = np.argsort(found[:, 1], kind="stable")
    heights = (np.arange(len(found)) + 0.5) / len(found)
    names = list(points)
    for place, height in zip(order, heights, strict=True):
        ax.annotate(
            names[place],
            found[place],
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6, "relpos": (0, 0.5)},
        )
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return figure


@styled
def one_among(
    panels: Mapping[str, Mapping[str, Sequence[tuple[object, object]]]], name: str, *, ylabel: str
) -> HouseFigure:
    """Curves of many networks in grey, those of one of them in colour; panels one below another.

    Args:
        panels: from the label of x to the curves: from a name to (x, y) for each seed. A panel may
            lack a name.
        name: of the one to show, in one panel at least.
        ylabel: with its unit.

    Raises:
        ValueError: no panel has this name.
    """
    if not any(name in series for series in panels.values()):
        known = sorted({other for series in panels.values() for other in series})
        raise ValueError(f"there is no curve of {name!r}: there are {', '.join(known) or 'none'}")
    figure, grid = subplots(len(panels), 1, size=(WIDTH, 2.5 * len(panels) + 0.4))
    for ax, (xlabel, series) in zip(grid[:, 0], panels.items(), strict=True):
        for curves in series.values():
            for x, y in curves:
                ax.plot(x, y, color=PALE, lw=1.0)
        for x, y in series.get(name, ()):
            ax.plot(x, y, color=TEAL, lw=2.0, marker="o", markersize=4)
        ax.set(xlabel=xlabel, ylabel=ylabel)
    grid[0, 0].set_title(name)
    return figure
