"""The tables of what a clock measured: speedrun, throughput, profile (book/results.ipynb).

A time belongs to a machine. So each record is a table or a column of its own, and none is a mean
over machines.
"""

from collections.abc import Callable, Sequence

from segcourse.scoreboard import ABSENT, NOT_RUN, markdown_table, provenance

EPOCH_AIM = 5.0
"""An epoch is so many times as fast as with the torchvision pipeline, on a GPU."""
STEP_AIM = 1.0
"""A step takes at most this share of the seconds of the other library's, on a GPU."""
FED, PEER = "torchvision_pipeline", "smp"


def speedruns(records: Sequence[dict]) -> str:
    """A column for each record of `segcourse bench speedrun`, a row for each part of its time.

    Args:
        records: as the command writes them, reached or not.
    """
    found = [record["metrics"] for record in records]
    heads = [_recipe(r) for r in records]
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
        ["the clock", *(_clock(metrics) for metrics in found)],
    ]
    return markdown_table(["seconds", *heads], rows)


def margin(record: dict) -> str:
    """Whether val overstated in a speedrun, and whether the rule ended training at the right time.

    The rule ends training where val is a margin above the target. The gap between val and test is
    known only afterwards: a margin of just this gap is what hindsight would have chosen.
    """
    found, margin = record["metrics"], record["config"]["margin"]
    val, test, target = found["val"]["miou"], found["test"]["miou"], found["target"]
    gap, last = val - test, found["checks"][-1]
    said = (
        f"At the end val was {100 * val:.1f} and test {100 * test:.1f}: val was "
        f"{100 * abs(gap):.1f} points {'above' if gap > 0 else 'below'} test, and the rule's "
        f"margin is {100 * margin:.1f}."
    )
    enough = [one for one in found["checks"] if (one["val_miou"] or 0.0) >= target + gap]
    if not found["ended_by_val"]:
        return f"{said} Val never reached the target and the margin: it ended nothing."
    if not found["reached"]:
        return f"{said} The margin was too small: training ended before test had the target."
    if not enough or enough[0]["step"] == last["step"]:
        return f"{said} A margin of just this gap would have ended training at the same check."
    first = enough[0]
    return (
        f"{said} A margin of just this gap would have ended training at step {first['step']:,} in "
        f"place of {last['step']:,}, after {first['seconds']:.0f} s in place of "
        f"{last['seconds']:.0f} s."
    )


def throughput(record: dict) -> str:
    """Images a second of every network and way of one record, and its share of a large product."""
    rate, rows = record["metrics"]["matrix_operations_per_second"], []
    workers = record["config"]["workers"]
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
                    way.replace("_", " ") + (f", {workers} workers" if way == FED else ""),
                    _rate(training),
                    _rate(network["inference"].get(way, {})),
                    ABSENT if reached is None else f"{100 * reached / rate:.0f}",
                    ABSENT if memory is None else f"{memory / 2**30:.1f}",
                ]
            )
    heads = ["training, images/s", "inference, images/s", "% of the matrix rate", "peak GiB"]
    return markdown_table(["network", "way", *heads], rows, 2)


def aims(record: dict) -> str:
    """The ratios of one record that the benchmark has an aim for, and whether it was reached.

    The rule: the median of the turns decides. An epoch has to be EPOCH_AIM times as fast as with
    the torchvision pipeline, a step may take STEP_AIM of the peer's seconds, both on a GPU.
    """
    on_gpu, rows = "gpu" in record["hardware"], []
    for network in record["metrics"]["networks"]:
        if "error" in network:
            rows.append([network["model"], ABSENT, ABSENT, ABSENT, ABSENT, network["error"]])
            continue
        rows.append(
            [
                network["model"],
                f"an epoch: torchvision pipeline ({record['config']['workers']} workers) over ours",
                ABSENT,
                *_judged(network, FED, "ours", EPOCH_AIM, on_gpu),
            ]
        )
        peer = network["peer"]
        called = peer.get("name", "the other library's network")
        adds = ABSENT
        if "name" in peer:
            share = peer["multiply_adds_forward"] / network["multiply_adds_forward"]
            adds = f"{share:.2f}"
        for end in ("", "_compiled"):
            if end and PEER + end not in network["training"]:
                continue
            told = f"a step{', both compiled' if end else ''}: ours over {called}"
            verdict = _judged(network, PEER + end, "ours" + end, STEP_AIM, on_gpu)
            rows.append([network["model"], told, adds, *verdict])
    heads = ["multiply-adds, theirs over ours", "seconds, median (range)", "aim", "verdict"]
    return markdown_table(["network", "ratio", *heads], rows, 2)


def by_device(
    title: str, table: Callable[[Sequence[dict]], str], records: Sequence[dict], *devices: str
) -> str:
    """A kind of record, a table for each kind of device with its source, or a line that says no.

    Args:
        title: of the kind.
        table: from the records of one kind of device to their table.
        records: of all devices.
        devices: "GPU", "CPU": in this order.
    """
    told = []
    for device in devices:
        some = [one for one in records if ("gpu" in one["hardware"]) == (device == "GPU")]
        head = f"**{title}, {device}**"
        told.append(
            f"{head}\n\n{with_source(table(some), some)}" if some else f"{head}: {NOT_RUN}."
        )
    return "\n\n".join(told)


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


def dense_crf(records: Sequence[dict]) -> str:
    """What `segcourse bench crf` measured: a row for each setting of each record."""
    rows = []
    for record in records:
        config, metrics = record["config"], record["metrics"]
        for name, found in metrics["parameters"].items():
            rows.append(
                [
                    f"{name}, {config['width']}×{config['height']}, {config['labels']} labels, "
                    f"{config['iterations']} rounds",
                    f"{1000 * found['total_seconds']:.2f}",
                    f"{1000 * found['build_seconds']:.2f}",
                    f"{1000 * found['rounds_seconds']:.2f}",
                    f"{100 * found['fraction_of_copy_bandwidth']:.0f}",
                ]
            )
    heads = ["all of it, ms", "lattices, ms", "rounds, ms", "of a copy's bandwidth, %"]
    return markdown_table(["setting", *heads], rows)


def with_source(table: str, records: Sequence[dict]) -> str:
    """A table with the machine, versions, dates and commands of its records."""
    commands = "\n".join(f"- `{record['command']}`" for record in records)
    return f"{table}\n\n{provenance(records)} Made by\n\n{commands}"


def _rate(row: dict) -> str:
    if "images_per_second" not in row:
        return row.get("error", ABSENT)
    speed = row["images_per_second"]
    return f"{speed['median']:,.1f} ({speed['lowest']:,.1f} to {speed['highest']:,.1f})"


def _judged(network: dict, theirs: str, ours: str, aim: float, on_gpu: bool) -> list[str]:
    """A ratio with its range, its aim and the verdict; or why there is no ratio."""
    at_least = theirs == FED
    wanted = f"at least {aim:g}" if at_least else f"at most {aim:g}"
    found = network["ratios"].get(f"{theirs}_over_{ours}")
    if found is None:
        said = [network["training"].get(way, {}).get("error") for way in (theirs, ours)]
        reasons = [network["peer"].get("missing") if theirs.startswith(PEER) else None, *said]
        why = next((reason for reason in reasons if reason), "no turn was timed")
        return [ABSENT, wanted, f"not measured: {why}"]
    spread = found["training"]
    median, low, high = spread["median"], spread["lowest"], spread["highest"]
    if not at_least:  # the record has theirs over ours
        median, low, high = 1 / median, 1 / high, 1 / low
    reached = median >= aim if at_least else median <= aim
    verdict = ("reached" if reached else "not reached") if on_gpu else "the aim is for a GPU"
    return [f"{median:.2f} ({low:.2f} to {high:.2f})", wanted, verdict]


def _recipe(record: dict) -> str:
    recipe = record["config"]["recipe"]
    size = f", {recipe['height']}×{recipe['width']}" if recipe.get("height") else ""
    return f"{recipe['model']}{size}, seed {record['seed']}"


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _target(metrics: dict) -> str:
    return f"{100 * metrics['target']:.1f}, {'' if metrics['reached'] else 'not '}reached"


def _clock(metrics: dict) -> str:
    if metrics.get("clock") != "the processor":
        return "the wall's"
    return f"the processor's; the wall's said {metrics['wall_seconds']:.0f}"


def _ended(metrics: dict) -> str:
    return "val" if metrics["ended_by_val"] else "its last step or the limit"
