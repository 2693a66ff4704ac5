"""Class by class, for the results page: the mean over classes hides them (book/results.ipynb)."""

from collections.abc import Mapping, Sequence
from statistics import mean

from segcourse.scoreboard import ABSENT, average, cell, markdown_table, short_names

Runs = Mapping[str, Sequence[dict]]


def by_class(names: Sequence[str], runs: Runs) -> tuple[list[str], list[list[float]]]:
    """IoU on test of every network and class, means over the seeds.

    Returns:
        The classes in their order, and a row of shares for each name, nan where a class does not
        occur.
    """
    first = runs[names[0]][0]
    # Keys of a record are sorted; the order of the classes stands with the label maps.
    classes = first.get("maps", {}).get("classes") or list(first["metrics"]["test"]["iou"])
    path = "metrics.test.iou."
    return classes, [[average(runs[name], path + one) for one in classes] for name in names]


def classes_table(names: Sequence[str], runs: Runs) -> str:
    """IoU on test of every network and class, means with their spread."""
    kinds, _ = by_class(names, runs)
    titles, path = short_names(names), "metrics.test.iou."
    rows = [[titles[n], *(cell(runs[n], path + kind, digits=0) for kind in kinds)] for n in names]
    return markdown_table(["IoU on test, %", *kinds], rows)


def class_summary(names: Sequence[str], runs: Runs) -> str:
    """For every class its best and its worst network, and the mean over networks, in percent."""
    kinds, shares = by_class(names, runs)
    titles, path, rows = short_names(names), "metrics.test.iou.", []
    for i, kind in enumerate(kinds):
        known = {name: row[i] for name, row in zip(names, shares, strict=True) if row[i] == row[i]}
        if not known:
            rows.append([kind, ABSENT, ABSENT, ABSENT])
            continue
        order = sorted(known, key=lambda name: -known[name])
        ends = (f"{cell(runs[n], path + kind)}, {titles[n]}" for n in (order[0], order[-1]))
        rows.append([kind, f"{100 * mean(known.values()):.1f}", *ends])
    return markdown_table(["class", "mean of the networks", "best", "worst"], rows)
