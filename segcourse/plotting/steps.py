"""A ladder of changes in one picture: where each one starts, where it ends, and which were kept."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from segcourse.plotting.colors import GREY, INK, TEAL, WARM
from segcourse.plotting.figures import WIDTH, styled, subplots

MINUS = "\N{MINUS SIGN}"


@styled
def ladder(
    names: Sequence[str],
    scores: Sequence[Sequence[float]],
    before: Sequence[float],
    kept: Sequence[bool],
    others: Sequence[float],
    *,
    xlabel: str,
    other: str,
) -> Figure:
    """A row for each change, top to bottom: a line from the score that it stands on to its own.

    Kept changes are filled circles, the others crosses: colour is not the only cue. The gain
    stands at the right.

    Args:
        names: of the changes.
        scores: of every change, one number for each seed, in percent.
        before: what it stands on; nan for the first.
        kept: whether later changes build on it.
        others: a second score, drawn as a small diamond; nan where there is none.
        xlabel: of the scores.
        other: what the second score is called.

    Raises:
        ValueError: lists of several lengths, no change, or a change without a score.
    """
    lengths = {len(one) for one in (names, scores, before, kept, others)}
    if len(lengths) != 1 or not len(names) or not all(len(one) for one in scores):
        raise ValueError(
            f"{len(names)} names, {len(scores)} scores, {len(before)} starts, {len(kept)} marks "
            f"and {len(others)} second scores: give as many of each, and a score for each seed"
        )
    figure, grid = subplots(1, 1, size=(WIDTH, 1.7 + 0.46 * len(names)))
    ax, on = grid[0, 0], 0
    for y, (seeds, start, stays) in enumerate(zip(scores, before, kept, strict=True)):
        at, colour = float(np.mean(seeds)), TEAL if stays else WARM
        if np.isfinite(start):
            ax.plot([start, start], [on, y], ":", color=GREY, linewidth=1.2)
            ax.plot([start, at], [y, y], "-", color=colour, linewidth=3)
        if len(seeds) > 1:
            ax.plot(seeds, [y] * len(seeds), "|", color=colour, markersize=12)
        ax.plot(at, y, "o" if stays else "X", color=colour, markersize=10, zorder=3)
        said = f"{at - start:+.1f} {'kept' if stays else 'not kept'}".replace("-", MINUS)
        said = said if np.isfinite(start) else f"{at:.1f}"
        on = y if stays else on
        ax.text(1.02, y, said, color=INK, va="center", transform=ax.get_yaxis_transform())
    hollow = {"color": GREY, "markerfacecolor": "white", "zorder": 4}
    ax.plot(others, range(len(names)), "D", markersize=5, **hollow)
    ax.plot([], [], "o", color=TEAL, markersize=8, label="kept")
    ax.plot([], [], "X", color=WARM, markersize=8, label="not kept")
    ax.plot([], [], "D", markersize=6, label=other, **hollow)
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.set_xlabel(xlabel)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return figure
