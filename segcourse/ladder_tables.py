"""A ladder to the best run from its records: what each change gave on val, and what was kept.

Rows for the figure, the table and the sentences of book/results.ipynb. A gain is over the rung that
a change stands on, seed by seed. Test stands beside it and decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Protocol

from segcourse.result_tables import Runs
from segcourse.scoreboard import ABSENT, average, cell, markdown_table, seeds, values

VAL, TEST, VIEWS = "metrics.val.miou", "metrics.test.miou", "metrics.test_views.miou"


class Rung(Protocol):
    """What is needed of a rung: see `segcourse.cli.suite_ladder`."""

    name: str
    short: str
    change: str
    on: str
    kept: bool
    with_next: bool


@dataclass(frozen=True)
class Row:
    """What became of one rung.

    rung: as the list has it. runs: its records, by seed; none where it was not run. before: val
    mIoU of the rung that it stands on, of the seeds that both have; nan for the first rung.
    scores: its own val mIoU with these seeds, with all where it stands on nothing. gains: of val,
    for each of these seeds. test_gains: of test. together: gains of val over the rung below both,
    where it is judged with the one before it.
    """

    rung: Rung
    runs: Sequence[dict]
    before: float
    scores: tuple[float, ...]
    gains: tuple[float, ...]
    test_gains: tuple[float, ...]
    together: tuple[float, ...]

    @property
    def test(self) -> float:
        """Its test mIoU, the mean over its seeds; nan where it was not run."""
        return average(self.runs, TEST)

    @property
    def gain(self) -> float:
        """The mean of its gains; nan where there is none."""
        return mean(self.gains) if self.gains else float("nan")


def rows(rungs: Sequence[Rung], runs: Runs) -> list[Row]:
    """The rungs in their order, with what was measured.

    Args:
        rungs: of `suite_ladder.rungs` or `small_rungs`.
        runs: records by entry; what is no rung is left alone.
    """
    found = []
    below = {rung.name: rung.on for rung in rungs if rung.with_next}
    for rung in rungs:
        now = list(runs.get(rung.name, ()))
        pairs = _pairs(now, runs.get(rung.on, ()))
        together = _over(_pairs(now, runs.get(below.get(rung.on, ""), ())), VAL)
        stands = average([other for _, other in pairs], VAL)
        scores = tuple(values([one for one, _ in pairs] or now, VAL))
        gains, test_gains = _over(pairs, VAL), _over(pairs, TEST)
        found.append(Row(rung, now, stands, scores, gains, test_gains, together))
    return found


def marks(
    found: Sequence[Row],
) -> tuple[list[str], list[list[float]], list[float], list[bool], list[float]]:
    """What `plotting.ladder` draws of the rungs that were run, in percent.

    Returns:
        Names; val with every seed; val of the rung that each stands on; whether it was kept; test.
    """
    ran = [row for row in found if row.runs]
    return (
        [row.rung.short for row in ran],
        [[100 * score for score in row.scores] for row in ran],
        [100 * row.before for row in ran],
        [row.rung.kept for row in ran],
        [100 * row.test for row in ran],
    )


def table(found: Sequence[Row]) -> str:
    """The recipe, one change at a time: val, its gain, whether it was kept, and test."""
    lines = []
    for row in found:
        lines.append(
            [
                row.rung.short,
                row.rung.change,
                seeds(row.runs),
                cell(row.runs, VAL) if row.runs else "",
                _gains(row.gains) if row.gains else ABSENT,
                _kept(row.rung) if row.runs else ABSENT,
                cell(row.runs, TEST) if row.runs else "",
            ]
        )
    heads = ["step", "what changed", "seeds", "val mIoU", "gain on val", "kept", "test mIoU"]
    return markdown_table(heads, lines, 3)


def told(found: Sequence[Row]) -> str:
    """The ladder in a list of sentences: what was kept, what was not, and where it came to."""
    measured = [row for row in found if row.gains]
    if not measured:
        return "No change of this ladder was run yet."
    kept = [row for row in measured if row.rung.kept]
    left = [row for row in measured if not row.rung.kept]
    said = [f"{len(kept)} of {len(measured)} changes were kept: {_named(kept)}."]
    if left:
        said.append(f"Not kept: {_named(left)}.")
    for row in measured:
        if row.together:
            (first,) = (one.rung.short for one in found if one.rung.name == row.rung.on)
            gains = _gains(row.together)
            said.append(f"Judged as one change: {first} and {row.rung.short}, {gains}.")
    alone = [row for row in measured if not row.rung.with_next]
    other = [row for row in alone if (row.gain > 0) != row.rung.kept]
    if other:
        said.append(f"The mean over the seeds that are there says otherwise of {_named(other)}.")
    fell = [row for row in kept if mean(row.test_gains) < 0]
    if fell:
        named = ", ".join(f"{row.rung.short} {_gains(row.test_gains)}" for row in fell)
        said.append(f"Kept, and test fell: {named}.")
    if whole := climbed(found):
        said.append(whole)
    for row in found:
        if average(row.runs, VIEWS) == average(row.runs, VIEWS):
            said.append(
                f"With several views at test time, which is another protocol: {row.rung.short} "
                f"{cell(row.runs, VIEWS)} on test in place of {cell(row.runs, TEST)}."
            )
    return "\n".join(f"- {one}" for one in said)


def climbed(found: Sequence[Row]) -> str:
    """Val and test of the first rung and of the last one kept; nothing where one was not run."""
    first, top = found[0], [row for row in found if row.runs and row.rung.kept][-1:]
    if not first.runs or top == [first]:
        return ""
    return (
        f"From {first.rung.short} to {top[0].rung.short}: val {cell(first.runs, VAL)} to "
        f"{cell(top[0].runs, VAL)}, test {cell(first.runs, TEST)} to {cell(top[0].runs, TEST)}."
    )


def _pairs(some: Sequence[dict], others: Sequence[dict]) -> list[tuple[dict, dict]]:
    """The runs of two rungs with one seed."""
    by_seed = {run["seed"]: run for run in others}
    return [
        (run, by_seed[run["seed"]])
        for run in sorted(some, key=lambda run: run["seed"])
        if run["seed"] in by_seed
    ]


def _over(pairs: Sequence[tuple[dict, dict]], path: str) -> tuple[float, ...]:
    return tuple(average([one], path) - average([other], path) for one, other in pairs)


def _kept(rung: Rung) -> str:
    return ("yes" if rung.kept else "no") + (", with the next" if rung.with_next else "")


def _named(some: Sequence[Row]) -> str:
    return ", ".join(f"{row.rung.short} {_gains(row.gains)}" for row in some) or "none"


def _gains(gains: Sequence[float]) -> str:
    """In points, with the lowest and the highest seed where there are several."""
    said = f"{100 * mean(gains):+.1f}"
    if len(gains) > 1:
        said += f" ({100 * min(gains):+.1f} to {100 * max(gains):+.1f})"
    return said.replace("-", "\N{MINUS SIGN}")
