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
from segcourse.cli.suite_measure import measured, seconds_to_measure
from segcourse.cli.suite_place import Job, Place
from segcourse.config import Config
from segcourse.records import peak_memory_mib, write_record
from segcourse.training import History

PEAK = "peak_memory.json"


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
        deadline.begin()
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


def command(job: Job, words: Sequence[str]) -> str:
    """The command that makes one run again, and the runs that it starts from, in a new folder."""
    only = ["--only", job.entry.name, "--seeds", str(job.seed)]
    return shlex.join(["segcourse", "bench", "suite", *only, *words, "--out", "again"])


def _keep(job: Job, place: Place, config: Config, model: nn.Module, made: dict) -> None:
    """Keep log and best weights under trained/, write the record, and drop the rest."""
    run, kept = place.run(job.label), place.trained(job.label)
    shutil.rmtree(kept, ignore_errors=True)
    # run.json is what makes it a run to start from: it goes last.
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("checkpoints", FILE, PEAK))
    chosen = made["metrics"]["chosen"]
    path = checkpoints.save(
        kept / "checkpoints",
        chosen["step"],
        model,
        None,
        {},
        asdict(config),
        chosen["val_miou"],
    )
    shutil.copy(run / FILE, kept / FILE)
    with (path / checkpoints.WEIGHTS).open("rb") as file:
        made["weights"] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    write_record(place.record(job.label), made)
    place.failed(job.label).unlink(missing_ok=True)
    place.drop_run(job.label)
