"""One run of a suite: trained or gone on with, measured on val and test, and recorded.

The checkpoint with the highest mIoU on val is the run's result; test is measured with it, once,
after training. Everything is written so that a kill at any moment leaves the run in hand, or done.
"""

import hashlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from segcourse import checkpoints, cost, distributed, resuming, training
from segcourse.cli import objects, running
from segcourse.cli.deadline import Deadline
from segcourse.cli.models import as_dense, build, trains_on_patches
from segcourse.cli.report import always, summary
from segcourse.cli.runs import FILE, start_of
from segcourse.cli.starting import start_from
from segcourse.cli.suite_data import SuiteData
from segcourse.cli.suite_place import Job, Place
from segcourse.config import Config
from segcourse.data.resident import ResidentSet, evaluation_batches
from segcourse.labels import IGNORE
from segcourse.metrics import mean_iou, trimap
from segcourse.records import record, write_record
from segcourse.views import AveragedViews

TRIMAP_WIDTH = 3
"""In pixels, as `segcourse eval` has it."""


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
        if trained.history.steps < config.steps:
            return None
        # Val and test are measured twice: whole, and near borders.
        images = sum(len(data.resident(split) or ()) for split in ("val", "test"))
        passes = 2 * sum(scale**2 for scale in job.entry.views)  # in passes at the image's size
        images += passes * len(data.resident("test") or ())
        if not deadline.allows(2 * trained.evaluation_seconds * images / len(data.sets.val)):
            return None
        made = _measured(job, out, config, model, data, trained, device)
        made["command"] = command(job, words)
        _keep(job, place, config, model, made)
        return made


def command(job: Job, words: Sequence[str]) -> str:
    """The command that makes one run again, and the runs that it starts from, in a new folder."""
    only = ["--only", job.entry.name, "--seeds", str(job.seed)]
    return shlex.join(["segcourse", "bench", "suite", *only, *words, "--out", "again"])


def measure(dense: nn.Module, split: ResidentSet, precision: str, name: str) -> dict:
    """Every metric of a model on a split, and the mean IoU near borders.

    Args:
        dense: (N, 3, H, W) to (N, K, H, W), on the split's device.
        split: what it is measured on.
        precision: "fp32" or "bf16".
        name: of the data set.

    Returns:
        As `report.summary`, with `trimap`, `images` and `images_per_second` of the measurement, and
        `objects` where the data set has cells.
    """
    K = len(split.classes)

    def batches(rank: int, world: int):
        return evaluation_batches(split, running.EVALUATED_AT_ONCE, rank, world)

    def near_borders(rank: int, world: int):
        for images, labels in batches(rank, world):
            yield images, labels.where(trimap(labels, TRIMAP_WIDTH), IGNORE)

    started = perf_counter()
    cm = training.evaluate(dense, batches, K, precision).cpu()  # .cpu() waits for the device
    seconds = perf_counter() - started
    near = training.evaluate(dense, near_borders, K, precision)
    cells = objects.scores_for(name)
    scored = {} if cells is None else objects.measure_objects(dense, batches(0, 1), cells)
    return {
        **summary(cm, split.classes),
        "trimap": {"width": TRIMAP_WIDTH, "miou": mean_iou(near)},
        "images": len(split),
        "images_per_second": len(split) / seconds,
        **({"objects": scored} if scored else {}),
    }


def _measured(
    job: Job,
    out: Path,
    config: Config,
    model: nn.Module,
    data: SuiteData,
    trained: running.Trained,
    device: torch.device,
) -> dict:
    history, folder = trained.history, out / "checkpoints"
    chosen = checkpoints.best(folder) or checkpoints.latest(folder)
    checkpoints.load_weights(model, chosen.path)
    dense = as_dense(model)
    metrics: dict = {"chosen": {"step": chosen.step, "val_miou": chosen.score}}
    test = data.resident("test")
    if job.entry.views:
        metrics["test_views"] = None
        if test is not None:
            views = AveragedViews(dense, job.entry.views)
            scored = measure(views, test, config.precision, config.data)
            metrics["test_views"] = scored | {"scales": job.entry.views, "flip": True}
    majority = int(trained.pixels.argmax())
    for split in ("val", "test"):
        resident = data.resident(split)
        metrics[split] = None
        if resident is not None:
            metrics[split] = measure(dense, resident, config.precision, config.data)
    metrics["always_majority"] = {
        "class": data.sets.classes.names[majority],
        "val_miou": mean_iou(always(majority, trained.val_pixels)),
    }
    shown = replace(config, root=Path(config.root).name, out="", start=job.start)
    made = record(
        "",
        shown,
        config.seed,
        metrics,
        history.curve,
        history.seconds,
        history.images_per_second,
        device,
    )
    epochs = config.steps * config.batch / len(data.sets.train)
    return made | {
        "name": job.entry.name,
        "data": data.use(config),
        "parameters": cost.parameters(model),
        "epochs": None if trains_on_patches(model) else epochs,
        "start": start_of(out),
    }


def _keep(job: Job, place: Place, config: Config, model: nn.Module, made: dict) -> None:
    """Keep log and best weights under trained/, write the record, and drop the rest."""
    run, kept = place.run(job.label), place.trained(job.label)
    shutil.rmtree(kept, ignore_errors=True)
    # run.json is what makes it a run to start from: it goes last.
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("checkpoints", FILE))
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
