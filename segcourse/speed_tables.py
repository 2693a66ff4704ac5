"""A speedrun's record as a table: where the seconds went (book/results.ipynb)."""

from collections.abc import Sequence

from segcourse.scoreboard import ABSENT, markdown_table


def speedruns(records: Sequence[dict]) -> str:
    """A column for each record of `segcourse bench speedrun`, a row for each part of its time.

    Args:
        records: as the command writes them, reached or not.
    """
    found = [record["metrics"] for record in records]
    heads = [f"{r['config']['recipe']['model']}, seed {r['seed']}" for r in records]
    spent = [{one["part"]: one["seconds"] for one in metrics["timeline"]} for metrics in found]
    parts = dict.fromkeys(part for run in spent for part in run)
    rows = [[part, *(_seconds(run.get(part)) for run in spent)] for part in parts]
    rows += [
        ["**all**", *(f"**{_seconds(metrics['seconds'])}**" for metrics in found)],
        ["all but compiling", *(_seconds(metrics["seconds_without_compile"]) for metrics in found)],
        ["test mIoU", *(f"{100 * metrics['test']['miou']:.1f}" for metrics in found)],
        ["the target", *(_target(metrics) for metrics in found)],
        ["test was looked at", *(_times(metrics["test_measurements"]) for metrics in found)],
    ]
    return markdown_table(["seconds", *heads], rows)


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _target(metrics: dict) -> str:
    return f"{100 * metrics['target']:.1f}, {'' if metrics['reached'] else 'not '}reached"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
