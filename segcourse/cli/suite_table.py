"""What `segcourse bench suite` prints: its list, its plan with minutes, and its table."""

from collections.abc import Sequence
from statistics import mean, median

import torch
from torch import nn

from segcourse import cost
from segcourse.cli.memory import readable_bytes, readable_count
from segcourse.cli.models import MODELS, as_dense, trains_on_patches
from segcourse.cli.suite_ladder import gains, rungs, small_rungs
from segcourse.cli.suite_place import DONE, FAILED, IN_HAND, NO_DATA, PENDING, Job, State
from segcourse.cli.suite_runs import Entry
from segcourse.labels import CAMVID, ISBI, SCENES

CLASSES = {"camvid": len(CAMVID), "isbi": len(ISBI), "scenes": len(SCENES)}
SIZES = {"camvid": (360, 480), "isbi": (512, 512)}
"""(H, W) in pixels of the files, where a run keeps it; generated images are 128x128."""

ASSUMED = {"cuda": 1e14, "cpu": 2e10}
"""Multiply-adds in a second of training, where no record in the folder says better. A guess."""


def listing(entries: Sequence[Entry], seeds: Sequence[int]) -> str:
    """The list: every entry with its flags, in order of worth."""
    lines = []
    for entry in entries:
        start = f", from the weights of {entry.start}" if entry.start else ""
        change = f": {entry.change}" if entry.change else ""
        if entry.of:
            change = f": {entry.of} with the steps that fit into {entry.seconds:g} s of training"
        lines += [
            f"{entry.name}{start}{change}",
            f"    segcourse train {' '.join(entry.flags.split())}",
        ]
    told = f"Each with seeds {' '.join(map(str, seeds))}: the first seed of all, then the next;"
    told += " those with a budget in seconds after all others."
    return "\n".join([*lines, told])


def plan(jobs: Sequence[Job], states: dict[str, State], device: torch.device) -> str:
    """What is done, and how long the rest may take."""
    # A budget in seconds needs no work to be counted.
    works = {job.entry.name: training_work(job) for job in jobs if not job.of}
    done = [(job, states[job.label].found) for job in jobs if states[job.label].word == DONE]
    rates = [works[job.entry.name] / record["seconds"] for job, record in done if not job.of]
    rate = median(rates) if rates else ASSUMED.get(device.type, ASSUMED["cpu"])
    rows, minutes = [("run", "state", "10^12 multiply-adds", "minutes")], 0.0
    for job in jobs:
        state, name = states[job.label], job.entry.name
        own = [record["seconds"] for other, record in done if other.entry.name == name]
        whole = job.entry.seconds or (mean(own) if own else works[name] / rate)
        seconds = whole * (1 - state.step / job.config.steps)
        waits = state.word in (PENDING, IN_HAND)
        minutes += seconds / 60 if waits else 0
        shown = f"{seconds / 60:.1f}" if waits else ""
        work = "" if job.of else f"{works[name] / 1e12:,.2f}"
        rows.append((job.label, _word(job, state), work, shown))
    basis = (
        "minutes are scaled from the records in the folder"
        if rates
        else f"no run was timed yet: minutes assume {readable_count(rate)} multiply-adds a second"
    )
    told = f"about {minutes:.0f} minutes are left on {device}; {basis}, without evaluations and CRF"
    return "\n".join([_layout(rows), told, "This was the plan: nothing was trained."])


def training_work(job: Job) -> float:
    """Multiply-adds of a whole run: forward, and twice as many backward."""
    config = job.config
    with torch.device("meta"):
        model = MODELS[config.model](CLASSES.get(config.data, 2))
    height, width = SIZES.get(config.data, (128, 128))
    if max(config.crop) or config.height:
        height, width = config.crop if max(config.crop) else (config.height, config.width)
    dense: nn.Module = as_dense(model)
    if trains_on_patches(model):
        # Windows are as many separate images; a dense pass over one shares what they share.
        dense, height, width = model, model.window, model.window
    dense.eval()  # batch norm refuses to learn from one value
    forward, _ = cost.measured_multiply_adds(dense, torch.empty(1, 3, height, width, device="meta"))
    return 3.0 * forward * config.batch * config.steps


def table(jobs: Sequence[Job], states: dict[str, State]) -> str:
    """Everything: done, in hand, pending and failed; and the spread over seeds."""
    rows = [("run", "state", "val mIoU", "test mIoU", "epochs", "minutes", "images/s", "memory")]
    for job in jobs:
        state = states[job.label]
        cells = _cells(state.found) if state.word == DONE else ()
        rows.append((job.label, _word(job, state), *cells))
    lines = ["", _layout(rows), ""]
    for name in dict.fromkeys(job.entry.name for job in jobs):
        found = [states[job.label] for job in jobs if job.entry.name == name]
        records = [state.found for state in found if state.word == DONE]
        scores = [s for r in records if (s := _miou(r, "test" if r["metrics"]["test"] else "val"))]
        if len(scores) > 1:
            split = "test" if records[0]["metrics"]["test"] else "val"
            spread = f"{mean(scores):.4f} ({min(scores):.4f} to {max(scores):.4f})"
            lines.append(f"{name}: {split} mIoU {spread} over {len(scores)} seeds")
    val: dict[str, dict[int, float]] = {}
    for job in jobs:
        state = states[job.label]
        if state.word == DONE and (score := _miou(state.found, "val")) is not None:
            val.setdefault(job.entry.name, {})[job.seed] = score
    lines += gains(val, [*rungs(), *small_rungs()])
    lines.append(_left(jobs, states))
    return "\n".join(lines)


def result(record: dict) -> str:
    """One line on a run that has just been recorded."""
    test = _miou(record, "test")
    told = "" if test is None else f", test mIoU {test:.4f}"
    return f"val mIoU {_miou(record, 'val') or 0:.4f}{told}, {record['seconds']:.0f} s"


def first_line(error: BaseException) -> str:
    """An error in one line of a table."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]


def _left(jobs: Sequence[Job], states: dict[str, State]) -> str:
    by_word = {
        word: [job.label for job in jobs if states[job.label].word == word]
        for word in (IN_HAND, PENDING, FAILED, NO_DATA)
    }
    told = []
    if waiting := by_word[IN_HAND] + by_word[PENDING]:
        told.append(f"pending: {', '.join(waiting)}. The same command goes on with them.")
    if by_word[FAILED]:
        told.append(f"failed: {', '.join(by_word[FAILED])}. --retry tries them again.")
    if by_word[NO_DATA]:
        needed = sorted({j.config.data for j in jobs if states[j.label].word == NO_DATA})
        told.append(f"left out, since --data-pack does not give {', '.join(needed)}: ")
        told[-1] += ", ".join(by_word[NO_DATA])
    return "\n".join(told) or "Nothing is pending."


def _word(job: Job, state: State) -> str:
    if state.word == IN_HAND:
        return f"step {state.step} of {job.config.steps}"
    if state.word == FAILED:
        return f"failed: {first_line(ValueError(state.found['reason']))[:60]}"
    return state.word


def _cells(record: dict) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    memory = record["peak_memory_mib"]
    return (
        number(_miou(record, "val"), ".4f"),
        number(_miou(record, "test"), ".4f"),
        number(record["epochs"], ".0f"),
        number(record["seconds"] / 60, ".1f"),
        number(record["images_per_second"], ".0f"),
        "" if memory is None else readable_bytes(int(memory * 2**20)),
    )


def _miou(record: dict, split: str) -> float | None:
    return (record["metrics"][split] or {}).get("miou")


def _layout(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns, the first two to the left and the numbers to the right."""
    width = max(map(len, rows))
    full = [row + ("",) * (width - len(row)) for row in rows]
    sizes = [max(len(row[i]) for row in full) for i in range(width)]
    return "\n".join(
        "  ".join(
            cell.ljust(size) if i < 2 else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ).rstrip()
        for row in full
    )
