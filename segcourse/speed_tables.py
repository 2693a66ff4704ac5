"""The tables of what a clock measured: speedrun, throughput, profile (book/results.ipynb).

A time belongs to a machine. So each record is a table or a column of its own, and none is a mean
over machines.
"""

from collections.abc import Sequence

from segcourse.scoreboard import ABSENT, markdown_table, provenance


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
        ["val mIoU", *(f"{100 * metrics['val']['miou']:.1f}" for metrics in found)],
        ["test mIoU", *(f"{100 * metrics['test']['miou']:.1f}" for metrics in found)],
        ["the target", *(_target(metrics) for metrics in found)],
        ["training was ended by", *(_ended(metrics) for metrics in found)],
    ]
    return markdown_table(["seconds", *heads], rows)


def throughput(record: dict) -> str:
    """Images a second of every network and way of one record, and its share of a large product."""
    rate, rows = record["metrics"]["matrix_operations_per_second"], []
    for network in record["metrics"]["networks"]:
        if "error" in network:
            rows.append([network["model"], ABSENT, network["error"], ABSENT, ABSENT, ABSENT])
            continue
        for way, training in network["training"].items():
            reached = training.get("operations_per_second")
            memory = training.get("peak_bytes")
            rows.append(
                [
                    network["model"],
                    way.replace("_", " "),
                    _rate(training),
                    _rate(network["inference"].get(way, {})),
                    ABSENT if reached is None else f"{100 * reached / rate:.0f}",
                    ABSENT if memory is None else f"{memory / 2**30:.1f}",
                ]
            )
    heads = ["training, images/s", "inference, images/s", "% of the matrix rate", "peak GiB"]
    return markdown_table(["network", "way", *heads], rows, 2)


def profiles(records: Sequence[dict]) -> str:
    """Where the time of a training step goes: a column for each record, shares in percent."""
    groups = dict.fromkeys(g["group"] for r in records for g in r["metrics"]["groups"])
    heads = [
        f"{r['config']['model']}, {r['config']['precision']}, "
        f"{r['config']['batch']} of {r['config']['height']}×{r['config']['width']}"
        for r in records
    ]
    shares = [{g["group"]: g["share"] for g in r["metrics"]["groups"]} for r in records]
    rows = [
        [group, *(f"{100 * one[group]:.1f}" if group in one else ABSENT for one in shares)]
        for group in groups
    ]
    step = ["a step, ms", *(f"{1000 * r['metrics']['seconds_per_step']:.1f}" for r in records)]
    return markdown_table(["% of a step", *heads], [*rows, step])


def with_source(table: str, records: Sequence[dict]) -> str:
    """A table with the machine, versions, dates and commands of its records."""
    commands = "\n".join(f"- `{record['command']}`" for record in records)
    return f"{table}\n\n{provenance(records)} Made by\n\n{commands}"


def _rate(row: dict) -> str:
    if "images_per_second" not in row:
        return row.get("error", ABSENT)
    speed = row["images_per_second"]
    return f"{speed['median']:,.1f} ({speed['lowest']:,.1f} to {speed['highest']:,.1f})"


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _target(metrics: dict) -> str:
    return f"{100 * metrics['target']:.1f}, {'' if metrics['reached'] else 'not '}reached"


def _ended(metrics: dict) -> str:
    return "val" if metrics["ended_by_val"] else "its last step or the limit"
