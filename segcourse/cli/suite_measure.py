"""The measurement at the end of a run of a suite.

The checkpoint with the highest mIoU on val is the run's result; test is measured with it, once,
after training.
"""

from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from segcourse import checkpoints, cost, training
from segcourse.cli import objects, running, suite_crf, suite_maps
from segcourse.cli.models import as_dense, trains_on_patches
from segcourse.cli.report import always, summary
from segcourse.cli.runs import start_of
from segcourse.cli.suite_data import SuiteData
from segcourse.cli.suite_place import Job, Place
from segcourse.config import Config
from segcourse.data.resident import ResidentSet, evaluation_batches
from segcourse.labels import IGNORE
from segcourse.metrics import mean_iou, trimap
from segcourse.records import record
from segcourse.views import AveragedViews

TRIMAP_WIDTH = 3
"""In pixels, as `segcourse eval` has it."""


def measured(
    job: Job,
    place: Place,
    config: Config,
    model: nn.Module,
    data: SuiteData,
    trained: running.Trained,
    peak: float | None,
    device: torch.device,
) -> dict:
    """Measure a run that has been trained, and put its record together.

    Args:
        job: the run.
        place: where it is kept.
        config: the job's, with the places that the suite gave it.
        model: as trained; it gets the chosen weights.
        data: with the run's data in use.
        trained: what training left.
        peak: the most memory that training took, in MiB; None where that is not known.
        device: of the run.

    Returns:
        The record, without its command and the hash of its weights.
    """
    out = place.run(job.label)
    history, chosen = trained.history, chosen_of(out)
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
    metrics["crf"] = None
    if job.entry.crf:
        val, test = data.resident("val"), data.resident("test")
        metrics["crf"] = suite_crf.measure(dense, val, test, config.precision, TRIMAP_WIDTH)
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
    if job.entry.change:
        made["recipe"] = {"step": job.entry.step, "change": job.entry.change}
    if job.of:
        seconds, of = job.entry.seconds, job.entry.of
        made["budget"] = {"seconds": seconds, "steps": config.steps, "of": of}
    return made | {
        "name": job.entry.name,
        "peak_memory_mib": peak,  # not what measuring took, with views and CRF
        "data": data.use(config),
        "parameters": cost.parameters(model),
        "epochs": None if trains_on_patches(model) else epochs,
        "start": start_of(out),
        "maps": suite_maps.write(place, job, dense, data, config.precision),
    }


def chosen_of(out: Path) -> checkpoints.Checkpoint:
    """The checkpoint of a run with the highest mIoU on val; the last, where none was evaluated."""
    folder = out / "checkpoints"
    return checkpoints.best(folder) or checkpoints.latest(folder)


def seconds_to_measure(
    job: Job, config: Config, model: nn.Module, data: SuiteData, trained: running.Trained
) -> float:
    """About how long `measured` takes, by the run's last evaluation and, with a CRF, one image."""
    val, test = (len(data.resident(split) or ()) for split in ("val", "test"))
    passes = 2 * sum(scale**2 for scale in job.entry.views)  # in passes at the image's size
    # Val and test are measured twice: whole, and near borders.
    images = 2 * (val + test + passes * test)
    seconds = trained.evaluation_seconds * images / len(data.sets.val)
    if job.entry.crf:
        dense = as_dense(model)
        one = suite_crf.seconds_an_image(dense, data.resident("val"), config.precision)
        seconds += one * suite_crf.refinements(val, test)
    return seconds


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
