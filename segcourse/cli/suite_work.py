"""One run of a suite: trained or gone on with, measured on val and test, and recorded.

Everything is written so that a kill at any moment leaves the run in hand, or done.
"""

import hashlib
import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from segcourse import checkpoints, distributed, resuming
from segcourse.checkpoints import write_bytes
from segcourse.cli import running
from segcourse.cli.deadline import Deadline
from segcourse.cli.models import build
from segcourse.cli.runs import FILE
from segcourse.cli.starting import start_from
from segcourse.cli.suite_data import SuiteData
from segcourse.cli.suite_measure import chosen_of, measured, seconds_to_measure
from segcourse.cli.suite_place import DONE, Job, Place
from segcourse.config import Config
from segcourse.records import peak_memory_mib, write_record
from segcourse.training import History

PEAK = "peak_memory.json"

BYTES_PER_SECOND = 300e6
"""Assumed of a checkpoint: copied from the GPU, hashed, written, and forced to disk."""


def work(
    job: Job, place: Place, data: SuiteData, deadline: Deadline, words: Sequence[str]
) -> dict | None:
    """Begin a run or go on with it, until it is recorded or the deadline stops it.

    Args:
        job: the run.
        place: where it is kept.
        data: with the run's data in use.
        deadline: asked between log lines, and before the measurement at the end.
        words: of the suite's command line that repeat its data and device.

    A run whose record is there is trained for its weights alone: the record stays as it is.

    Returns:
        The record; None where the run is still in hand.

    Raises:
        Whatever makes the run fail: its weights diverge, memory runs out, its model refuses.
    """
    out = place.run(job.label)
    config = replace(
        job.config,
        root=data.root(job.config.data),
        out=str(out),
        start=str(place.trained(job.start)) if job.start else "",
        device=str(data.device),
    )
    with distributed.processes(config.device) as device:
        model = build(config.model, len(data.sets.classes), config.seed)
        running.check(config, data.sets, model, device)
        resume, start = resuming.holds_run(out), None
        if job.start and not resume:
            given = place.jobs[job.start].config
            start = {"run": job.start, "config": asdict(given), **start_from(model, config.start)}
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        deadline.begin(seconds_to_save(config, model))
        trained = running.train(
            config,
            data.sets,
            model,
            device,
            resume=resume,
            start=start,
            load=data.load,
            stop=deadline.stop,
        )
        peak = peak_of_training(out, trained.history, device)
        if trained.history.steps < config.steps:
            return None
        state = place.state(job)
        if state.word == DONE:
            chosen = chosen_of(out)
            checkpoints.load_weights(model, chosen.path)
            _keep_weights(job, place, config, model, chosen.step, chosen.score)
            place.failed(job.label).unlink(missing_ok=True)
            place.drop_run(job.label)
            return state.found
        if not deadline.allows(seconds_to_measure(job, config, model, data, trained)):
            return None
        made = measured(job, place, config, model, data, trained, peak, device)
        made["command"] = command(job, words)
        _keep(job, place, config, model, made)
        return made


def peak_of_training(out: Path, history: History, device: torch.device) -> float | None:
    """The most memory that a run's training has taken, over the parts that took a step.

    Args:
        out: of the run; the number is kept there from part to part.
        history: of the part that has just ended, with nothing measured after it.
        device: of the run.

    Returns:
        MiB, as `segcourse.records` has them; None where no part that ended in order took a step.
    """
    file = out / PEAK
    found = json.loads(file.read_text("utf-8")) if file.is_file() else None
    if history.steps > history.first_step:
        now = peak_memory_mib(device)
        found = now if found is None or now is None else max(found, now)
        write_bytes(file, json.dumps(found).encode())
    return found


def seconds_to_save(config: Config, model: nn.Module) -> float:
    """About how long a checkpoint takes: the weights, their average, and the optimizer's state."""
    copies = 1 + bool(config.ema) + (2 if config.optimizer == "adamw" else 1)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    return copies * size / BYTES_PER_SECOND


def command(job: Job, words: Sequence[str]) -> str:
    """The command that makes one run again, and the runs that it starts from, in a new folder."""
    only = ["--only", job.entry.name, "--seeds", str(job.seed)]
    return shlex.join(["segcourse", "bench", "suite", *only, *words, "--out", "again"])


def _keep(job: Job, place: Place, config: Config, model: nn.Module, made: dict) -> None:
    """Keep log and best weights under trained/, write the record, and drop the rest."""
    chosen = made["metrics"]["chosen"]
    sha256 = _keep_weights(job, place, config, model, chosen["step"], chosen["val_miou"])
    made["weights"] = {"sha256": sha256}
    write_record(place.record(job.label), made)
    place.failed(job.label).unlink(missing_ok=True)
    place.drop_run(job.label)


def _keep_weights(
    job: Job, place: Place, config: Config, model: nn.Module, step: int, score: float | None
) -> str:
    run, kept = place.run(job.label), place.trained(job.label)
    shutil.rmtree(kept, ignore_errors=True)
    # run.json is what makes it a run to start from: it goes last.
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("checkpoints", FILE, PEAK))
    path = checkpoints.save(kept / "checkpoints", step, model, None, {}, asdict(config), score)
    shutil.copy(run / FILE, kept / FILE)
    with (path / checkpoints.WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
