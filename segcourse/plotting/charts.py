"""Charts of measurements: curves and bars over seeds, and the confusion matrix.

A spread is always the lowest to the highest seed, and the seeds themselves are drawn: with three
or five runs a standard deviation says less than the runs do.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segcourse.labels import Classes
from segcourse.plotting.colors import GREY, INK, SERIES, text_on
from segcourse.plotting.figures import SEQUENTIAL, WIDTH, axes_or_new, styled
from segcourse.plotting.pixels import as_array

MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
FEW = 30  # with more positions than this, markers and seeds would fill the chart


def _seeds(name: str, values: object, length: int) -> np.ndarray:
    """(S, length) float64 from (length,) or (S, length)."""
    array = np.atleast_2d(as_array(values).astype(np.float64))
    if array.ndim != 2 or array.shape[1] != length or not array.shape[0]:
        raise ValueError(
            f"{name or 'the series'} has shape {as_array(values).shape}, ({length},) or "
            f"(seeds, {length}) is needed: one row for each seed, one column for each position"
        )
    return array


def _named(values: object) -> dict[str, object]:
    named = dict(values) if isinstance(values, Mapping) else {"": values}
    if not 1 <= len(named) <= len(SERIES):
        raise ValueError(
            f"{len(named)} series were given, 1 to {len(SERIES)} can be told apart: split the chart"
        )
    return named


@styled
def curves(
    x: object,
    series: Mapping[str, object] | Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Lines against x: the mean over seeds, a band from lowest to highest, and the seeds.

    Args:
        x: (n,) positions.
        series: (n,) or (seeds, n) numbers, or a mapping from name to such. A nan is a gap.
        xlabel: with its unit, "window side (px)".
        ylabel: with its unit.
        title: one line above.
        ax: where to draw, a new figure without it.

    Returns:
        The figure. Seeds and markers are drawn up to 30 positions.

    Raises:
        ValueError: a series that does not fit x, no series, or more than 7.
    """
    positions = as_array(x).astype(np.float64)
    if positions.ndim != 1:
        raise ValueError(f"x has shape {positions.shape}, (n,) is needed")
    rows = {name: _seeds(name, y, len(positions)) for name, y in _named(series).items()}
    ax = axes_or_new(ax, (WIDTH, 4.2))
    for i, (name, y) in enumerate(rows.items()):
        colour, few = SERIES[i], len(positions) <= FEW
        marker = MARKERS[i] if few else ""
        # The mean of the seeds that have a value; a position without any stays a gap.
        count = np.isfinite(y).sum(0)
        total = np.where(np.isfinite(y), y, 0).sum(0)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        if len(y) > 1:
            low = np.where(count > 0, np.where(np.isfinite(y), y, np.inf).min(0), np.nan)
            high = np.where(count > 0, np.where(np.isfinite(y), y, -np.inf).max(0), np.nan)
            ax.fill_between(positions, low, high, color=colour, alpha=0.18, linewidth=0)
            if few:
                where = np.broadcast_to(positions, y.shape)
                ax.plot(where.ravel(), y.ravel(), ".", color=colour, alpha=0.7, markersize=5)
        ax.plot(positions, mean, color=colour, linestyle=DASHES[i], marker=marker, label=name)
    if any(rows):
        ax.legend()
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return ax.figure


@styled
def bars(
    names: Sequence[str],
    values: Mapping[str, object] | Sequence[float],
    *,
    xlabel: str,
    title: str = "",
    digits: int = 2,
    ax: Axes | None = None,
) -> Figure:
    """Horizontal bars with their number, grouped when there are several series.

    Args:
        names: one for each bar (group), top to bottom.
        values: (n,) or (seeds, n) numbers, or a mapping from series to such. The bar is the mean;
            with several seeds each is a point.
        xlabel: with its unit.
        title: one line above.
        digits: decimals of the written numbers.
        ax: where to draw, a new figure without it.

    Raises:
        ValueError: a series that does not fit the names, no series, more than 7, or not finite.
    """
    rows = {name: _seeds(name, v, len(names)) for name, v in _named(values).items()}
    if not all(np.isfinite(v).all() for v in rows.values()):
        raise ValueError("the values hold nan or inf: leave those bars out, and say so in the text")
    ax = axes_or_new(
        ax,
        (WIDTH, 1.0 + 0.3 * bool(title) + 0.3 * any(rows) + len(names) * (0.2 + 0.3 * len(rows))),
    )
    thick = 0.8 / len(rows)
    for i, (name, v) in enumerate(rows.items()):
        place = np.arange(len(names)) - 0.4 + (i + 0.5) * thick
        mean = v.mean(0)
        ax.barh(place, mean, thick * 0.9, color=SERIES[i], label=name)
        if len(v) > 1:
            where = np.broadcast_to(place, v.shape)
            ax.plot(v.ravel(), where.ravel(), "o", color=INK, markersize=4, markerfacecolor="white")
        for y, number, edge in zip(place, mean, np.maximum(v.max(0), 0), strict=True):
            ax.annotate(
                f"{number:.{digits}f}", (edge, y), xytext=(6, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
    ax.set_yticks(range(len(names)), list(names))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.margins(x=0.12)
    ax.set_xlabel(xlabel)
    ax.set_title(title, pad=34 if any(rows) else 8)
    if any(rows):
        # Above the bars: inside, it would cover numbers.
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(rows), borderaxespad=0.2)
    return ax.figure


@styled
def confusion_heat_map(
    matrix: object, classes: Classes, *, title: str = "", ax: Axes | None = None
) -> Figure:
    """A confusion matrix in percent of each true class, coloured and written.

    Args:
        matrix: (K, K) pixel counts, rows truth, columns prediction.
        classes: names of the K classes.
        title: one line above.
        ax: where to draw, a new figure without it.

    Returns:
        The figure. A class without a pixel has a row of dashes. Whole percents, so a row may add
        to 99 or 101.

    Raises:
        ValueError: not (K, K) for these classes, or negative counts.
    """
    counts = as_array(matrix).astype(np.float64)
    K = len(classes)
    if counts.shape != (K, K) or counts.min() < 0:
        raise ValueError(
            f"the matrix has shape {counts.shape}, ({K}, {K}) counts of 0 or more are needed "
            f"for {K} classes"
        )
    total = counts.sum(1, keepdims=True)
    percent = np.divide(100 * counts, total, out=np.zeros_like(counts), where=total > 0)
    ax = axes_or_new(ax, (WIDTH, WIDTH * 0.92))
    ax.imshow(percent, cmap=SEQUENTIAL, vmin=0, vmax=100)
    size = min(13.0, 120 / K)
    for r in range(K):
        for c in range(K):
            background = np.array(SEQUENTIAL(percent[r, c] / 100)[:3]) * 255
            text = f"{percent[r, c]:.0f}" if total[r] else "–"
            ax.text(c, r, text, ha="center", va="center", fontsize=size, color=text_on(background))
    ax.set_xticks(range(K), list(classes.names), rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(K), list(classes.names))
    ax.tick_params(length=0, labelsize=min(13.0, 160 / K))
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_edgecolor(GREY)
    ax.set(xlabel="predicted class (% of the true class)", ylabel="true class", title=title)
    return ax.figure
