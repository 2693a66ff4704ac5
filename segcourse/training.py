"""The training loop of every run: forward, loss, backward, step, read from top to bottom.

`fit` trains, and `evaluate` counts one confusion matrix over a set; book/sliding_window.ipynb is
the first page that uses them. A run can be killed at any moment and resumed: on a CPU it ends
with the same weights to the bit.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from segcourse import checkpoints, distributed, metrics, optim, resuming
from segcourse.averaging import RunningAverage
from segcourse.config import Config
from segcourse.data.batches import Batches
from segcourse.labels import check_labels
from segcourse.progress import Progress
from segcourse.records import RunLog, plain
from segcourse.resuming import DivergedError

__all__ = ["Batches", "Config", "DivergedError", "History", "evaluate", "fit"]

LOG_EVERY = 10
"""Steps between log lines; reading the loss at every step would make a GPU wait at every step."""


@dataclass(frozen=True)
class History:
    """What a run measured.

    curve: one dict a log line, in order of the steps: `step`, `loss` (mean since the line before),
        `lr` and `images_per_second`; after an evaluation `step`, `miou`, `pixel_accuracy`, `iou`.
    steps: optimizer steps taken in all, those before a resume included; fewer than the
        configuration asks for where the run was told to stop.
    best_step, best_miou: the evaluation with the highest mean IoU; None where there was none.
    first_step: steps that were already taken when this call began.
    confusion: (K, K) pixel counts of the last evaluation in this call; None where there was none.
    seconds: wall clock of the run, the parts before a resume included up to their checkpoint.
    images_per_second: images trained on, per second outside of evaluations, over all parts; None
        where no step was taken.
    """

    curve: list[dict]
    steps: int
    best_step: int | None
    best_miou: float | None
    first_step: int
    confusion: Tensor | None
    seconds: float
    images_per_second: float | None


def identity(model: nn.Module) -> nn.Module:
    """The model itself: it already maps (N, 3, H, W) to (N, K, H, W)."""
    return model


def fit(
    config: Config,
    model: nn.Module,
    batches: Batches,
    out: str | Path | None,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    evaluate: Callable[[nn.Module], Tensor] | None = None,
    as_dense: Callable[[nn.Module], nn.Module] = identity,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
) -> History:
    """Train `model` in place for `config.steps` steps.

    Args:
        config: the run; data, root, model, crop and such are for the caller who built the rest.
        model: (N, 3, H, W) to (N, K, H, W), on any device; it is moved to the run's.
        batches: the stream of training batches; each process takes its part of every step.
        out: folder for checkpoints, log.jsonl and TensorBoard; None writes nothing. Of several
            processes only the first writes; all read it when they resume.
        loss: (logits, labels) of the whole batch to a scalar, the mean over labelled pixels.
        evaluate: (dense model) to a (K, K) confusion matrix, as
            `partial(training.evaluate, source=..., num_classes=...)`; None: no evaluation.
        as_dense: what turns the trained model into one that meets the model contract.
        resume: go on from the last good checkpoint in `out`.
        stop: asked whenever a line is logged, at least every LOG_EVERY steps; at True the run
            writes a checkpoint and ends there, to be resumed as if it had not stopped.

    Returns:
        The run's history. With `config.ema` the model holds the averaged weights at the end.

    Raises:
        UsageError: `out` already holds a run, or another process trains there; `resume` finds
            none, or one with another configuration; the device is not there or has no bf16; the
            batch does not divide among the processes.
        DivergedError: the loss or the weights became nan or infinite.
        DataError: every checkpoint is damaged.
        ValueError: logits and labels do not fit each other; the loss is not one number; or
            `batches` is no such stream.
    """
    started = perf_counter()
    out = None if out is None else Path(out)
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(distributed.processes(config.device))
        gpus = [device.index] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=gpus))  # the caller's random state stays
        rank, world = distributed.rank(), distributed.world()
        distributed.check_precision(config.precision, device)
        if not hasattr(batches, "images_per_batch"):
            raise ValueError(
                f"batches is a {type(batches).__name__}: give ResidentBatches or LoaderBatches of "
                "segcourse.data.batches, or an object with images_per_batch and stream as theirs"
            )
        distributed.check_batch(batches.images_per_batch)
        bf16 = config.precision == "bf16"
        layout = torch.channels_last if config.channels_last else torch.preserve_format

        model.to(device, memory_format=layout)
        averaged = RunningAverage(model, config.ema) if config.ema else None
        optimizer = optim.optimizer(config, model)
        schedule = optim.schedule(config, optimizer)

        first, saved, spent = 0, None, resuming.Spent()
        if out is not None:
            stack.callback(resuming.release, out)
            saved = distributed.from_first(lambda: resuming.open_folder(out, config, resume))
        if saved is not None:
            first = saved.step
            spent = resuming.restore(saved, model, averaged, optimizer, schedule)
        started -= spent.seconds
        log = RunLog(out if rank == 0 else None, first)
        stack.callback(log.close)

        net = distributed.wrap(model, device)
        if config.compile:
            net = torch.compile(net)
        dense = as_dense(model if averaged is None else averaged.module)
        progress = Progress(config.steps, first, shown=rank == 0)
        stack.callback(progress.close)

        model.train()
        stream = batches.stream(first, rank, world)
        pending: list[Tensor] = []  # losses not yet read from the device
        cm, clock, done, saving = None, perf_counter(), first, 0.0
        for step in range(first, config.steps):
            _seed_step(device, config.seed, step, rank)
            images, labels = next(stream)
            images = images.to(device, memory_format=layout, non_blocking=True)  # (n, 3, h, w)
            labels = labels.to(device, non_blocking=True)  # (n, h, w)

            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = net(images)  # (n, K, h, w)
            if step == first:
                _check_fit(logits, labels)
            # A softmax over thousands of pixels needs float32, whatever the network computes in.
            logits = logits.float() if bf16 else logits
            value = loss(*distributed.whole_batch(logits, labels))
            if value.ndim:
                raise ValueError(
                    f"the loss is of shape {tuple(value.shape)}, need one number: take its mean "
                    "over labelled pixels"
                )
            optimizer.zero_grad()
            (value * world).backward()  # times world, since gradients are averaged over processes
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            rate = schedule.get_last_lr()[0]
            schedule.step()
            if averaged is not None:
                averaged.update(model)

            done = step + 1
            pending.append(value.detach())
            progress.step()
            evaluates = evaluate is not None and _due(done, config.eval_every, config.steps)
            saves = _due(done, config.checkpoint_every, config.steps)
            if not (evaluates or saves or _due(done, LOG_EVERY, config.steps)):
                continue

            losses = torch.stack(pending).tolist()  # waits for the device
            pending.clear()
            for i, number in enumerate(losses):
                if not math.isfinite(number):
                    wrong = done - len(losses) + i
                    raise resuming.diverged(f"the loss is {number}", wrong, config, out)
            took = perf_counter() - clock
            images_seen = len(losses) * batches.images_per_batch
            speed = images_seen / took
            spent.training += took
            spent.images += images_seen
            log.write(step=done, loss=sum(losses) / len(losses), lr=rate, images_per_second=speed)

            score = None
            if evaluates:
                cm = evaluate(dense)  # (K, K), the same in every process
                score = plain(metrics.mean_iou(cm))
                improves = score is not None and score > resuming.best(log.lines)[1]
                log.write(
                    step=done,
                    miou=score,
                    pixel_accuracy=metrics.pixel_accuracy(cm),
                    iou=metrics.iou(cm),
                )
                saves = saves or improves
            stops = stop is not None and distributed.from_first(stop)
            saves = saves or stops
            progress.show(done, log.lines, evaluates)
            if saves and out is not None and rank == 0:
                # A finite loss may have been followed by an update that was not.
                if not all(t.isfinite().all() for t in model.state_dict().values()):
                    raise resuming.diverged("a weight is nan or infinite", step, config, out)
                log.sync()
                begun = perf_counter()
                # What this checkpoint takes is not known yet: as long as the one before.
                spent.seconds = begun - started + saving
                state = {
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "averaged": 0 if averaged is None else averaged.updates,
                    "spent": asdict(spent),
                }
                checkpoints.save(
                    out / "checkpoints",
                    done,
                    model,
                    None if averaged is None else averaged.module,
                    state,
                    asdict(config),
                    score,
                )
                saving = perf_counter() - begun
            if stops:
                break
            clock = perf_counter()

        if averaged is not None:
            model.load_state_dict(averaged.module.state_dict())
        best_step, best_miou = resuming.best(log.lines)
        return History(
            curve=log.lines,
            steps=done,
            best_step=best_step,
            best_miou=best_miou if best_step is not None else None,
            first_step=first,
            confusion=cm,
            seconds=perf_counter() - started,
            images_per_second=spent.images / spent.training if spent.images else None,
        )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    source: Iterable[tuple[Tensor, Tensor]] | Callable[[int, int], Iterable[tuple[Tensor, Tensor]]],
    num_classes: int,
    precision: str = "fp32",
) -> Tensor:
    """Count one confusion matrix over a whole set, in eval mode and without gradients.

    Under torchrun each process takes its share of the batches and the counts are summed. Batch
    norm's statistics become those of the first process, whose weights are the ones that are saved.

    Args:
        model: (N, 3, H, W) to (N, K, H, W); its device is used, its modes are put back.
        source: batches of images (N, 3, H, W) float, normalised, and labels (N, H, W) int64; or
            (rank, world) to the batches of process `rank`, which then makes no others.
        num_classes: K.
        precision: "fp32", or "bf16" for autocast.

    Returns:
        (K, K) int64 pixel counts: rows are truth, columns prediction; void is left out.

    Raises:
        ValueError: logits do not have K classes or the labels' size, or a label is outside 0..K-1.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    cm = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
    modes = {module: module.training for module in model.modules()}
    rank, world = distributed.rank(), distributed.world()
    share = source(rank, world) if callable(source) else islice(source, rank, None, world)
    distributed.share_buffers(model)
    model.eval()
    try:
        for images, labels in share:
            images, labels = images.to(device), labels.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = model(images)  # (N, K, H, W)
            if logits.shape[1] != num_classes:
                raise ValueError(
                    f"the model gives {logits.shape[1]} classes and the set has {num_classes}: "
                    "build the model for this set"
                )
            cm += metrics.confusion_matrix(logits.argmax(1), labels, num_classes)
    finally:
        for module, training in modes.items():
            module.training = training
    return distributed.total(cm)


def _seed_step(device: torch.device, seed: int, step: int, rank: int) -> None:
    """Make dropout a function of seed, step and rank, so that resuming needs no random state."""
    number = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":  # torch.manual_seed would also touch GPUs that are not the run's
        torch.cuda.default_generators[device.index].manual_seed(number)


def _check_fit(logits: Tensor, labels: Tensor) -> None:
    """Raise ValueError where the first batch shows that model and labels are not for each other."""
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the model gives a {type(logits).__name__}, need the logits (N, K, H, W) alone: wrap "
            'it in a module that returns them, as model(images)["out"] of torchvision\'s'
        )
    if logits.ndim != 4 or logits.shape[-2:] != labels.shape[-2:] or len(logits) != len(labels):
        raise ValueError(
            f"the model gives logits {tuple(logits.shape)} for labels {tuple(labels.shape)}: "
            "it must return (N, K, H, W) at the labels' N, H and W"
        )
    check_labels(labels, logits.shape[1])


def _due(done: int, every: int, steps: int) -> bool:
    """Whether something that happens every so many steps, and after the last, happens now."""
    return done == steps or (every > 0 and done % every == 0)
