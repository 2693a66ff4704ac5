"""`segcourse train`: from a command line to a trained run with its record."""

import argparse
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from segcourse import distributed, losses, resuming, training
from segcourse.checkpoints import latest
from segcourse.cli.flags import GROUPS, add_config_flags, add_debug, config_from
from segcourse.cli.models import MODELS, as_dense, build, trains_on_patches
from segcourse.cli.plan import plan
from segcourse.cli.report import always, summary, table
from segcourse.cli.runs import checkpoints_of, claim, saved_config
from segcourse.cli.sources import DATASETS, Sets, open_sets
from segcourse.config import Config
from segcourse.data.augment import Augmentation
from segcourse.data.batches import LoaderBatches, PatchBatches, ResidentBatches
from segcourse.data.resident import ResidentSet, evaluation_batches, evaluation_images
from segcourse.errors import UsageError
from segcourse.records import record, write_record

EVALUATED_AT_ONCE = 4
"""Images in a batch of the evaluation; without gradients it matters little for speed."""

DESCRIPTION = """\
Train a model on the train split of a data set and measure it on the val split; the test split is
not touched. Under --out it keeps checkpoints, a log (log.jsonl, and TensorBoard's), run.json, and
at the end record.json: the numbers, with everything that is needed to make them again.

A run that was stopped or killed goes on with --resume: its flags are taken from the run itself.
Several GPUs: torchrun --nproc-per-node 4 -m segcourse train ..."""

EPILOG = """\
examples:
  segcourse train --steps 300 --batch 4 --out runs/first
  segcourse train --data camvid --root CamVid --height 90 --width 120 --steps 300 --out runs/x
  segcourse train --model patch --batch 256 --steps 1000 --out runs/patch
  segcourse train --out runs/x --resume

The patch model trains on --batch windows around random labelled pixels, and is slid over whole
images to be measured; --crop, --scale, --flip and --jitter do not apply to it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse train`: one for each field of Config, and a few more."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=functools.partial(run, parser))
    add_config_flags(parser, {"data": DATASETS, "model": tuple(MODELS)})
    group = parser.add_argument_group("this call")
    group.add_argument("--resume", action="store_true", help="go on with the run in --out")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan (data, model, steps, memory, output folder) and do nothing",
    )
    add_debug(group)


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Train and report; or print the plan."""
    command = ["segcourse", "train", *args.words]
    if args.resume:
        args = _with_saved_values(parser, args)
    config = config_from(args)
    out = Path(config.out or f"runs/{config.data}-{config.model}")
    config = replace(config, out=str(out))
    with distributed.processes(config.device) as device:
        distributed.from_first(lambda: _check_folder(out, args.resume))
        sets = open_sets(config)
        model = build(config.model, len(sets.classes), config.seed)
        _check_patch_options(config, model)
        distributed.check_precision(config.precision, device)
        distributed.check_batch(config.batch)
        _check_batch(config, model, len(sets.train))
        if args.dry_run:
            if distributed.rank() == 0:
                print(plan(config, sets, model, device, _loss(config, None)))
        else:
            _train(command, config, sets, model, device, args.resume)
    return 0


def _train(
    command: list[str],
    config: Config,
    sets: Sets,
    model: nn.Module,
    device: torch.device,
    resume: bool,
) -> None:
    out, K = Path(config.out), len(sets.classes)
    if config.workers == 0:
        train, val = ResidentSet.load(sets.train, device), ResidentSet.load(sets.val, device)
        pixels, val_pixels = (losses.label_counts(s.labels, K) for s in (train, val))
        batches = _batches(config, model, train)
        whole_images = functools.partial(evaluation_batches, val, EVALUATED_AT_ONCE)
    else:
        pixels, val_pixels = (losses.label_statistics(s) for s in (sets.train, sets.val))
        batches = LoaderBatches(
            sets.train, config.batch, _augmentation(config), config.seed, config.workers
        )
        whole_images = functools.partial(evaluation_images, sets.val, device)

    def evaluate(dense: nn.Module) -> Tensor:
        return training.evaluate(dense, whole_images, K, config.precision)

    distributed.from_first(lambda: claim(out, config, sets, resume))
    try:
        history = training.fit(
            config,
            model,
            batches,
            out,
            loss=_loss(config, _class_weights(config, pixels.to(device))),
            evaluate=evaluate,
            as_dense=as_dense,
            resume=resume,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_where_to_go_on(out)) from None
    cm = history.confusion if history.confusion is not None else evaluate(as_dense(model))
    if distributed.rank() == 0:
        _report(command, config, sets, history, cm, pixels.sum(0), val_pixels.sum(0), device)


def _report(
    command: list[str],
    config: Config,
    sets: Sets,
    history: training.History,
    cm: Tensor,
    pixels: Tensor,
    val_pixels: Tensor,
    device: torch.device,
) -> None:
    majority = int(pixels.argmax())
    name = sets.classes.names[majority]
    numbers = summary(cm, sets.classes)
    baseline = summary(always(majority, val_pixels), sets.classes)
    # Worker processes read files as they are, so their sizes may differ.
    size = f" of {sets.size[0]}x{sets.size[1]}" if config.height or not config.workers else ""
    print(f"\nafter {history.steps} steps, on val ({len(sets.val)} images{size}):")
    print(table(numbers, baseline, f"always {name}"))
    if history.best_step not in (None, history.steps):
        print(f"\nthe best val mIoU was {history.best_miou:.4f}, at step {history.best_step}")
    numbers["always_majority"] = {"class": name, **baseline}
    numbers["best"] = {"step": history.best_step, "miou": history.best_miou}
    path = Path(config.out) / "record.json"
    if history.first_step == config.steps and path.exists():
        print(f"\nnothing was left to do: all {config.steps} steps are taken; the record is {path}")
        return
    speed = history.images_per_second
    write_record(
        path,
        record(
            command, config, config.seed, numbers, history.curve, history.seconds, speed, device
        ),
    )
    shown = "windows" if config.model == "patch" else "images"
    told = "" if speed is None else f", {speed:.1f} {shown}/s"
    print(f"\n{history.seconds:.0f} s{told}; the record is {path}")


def _with_saved_values(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> argparse.Namespace:
    """Read the command line again with the run's own values as defaults."""
    out = Path(args.out or f"runs/{args.data}-{args.model}")
    saved = saved_config(out)
    if saved is None:
        raise UsageError(
            f"{out} holds no run to resume: give the --out of one, or start without --resume"
        )
    parser.set_defaults(**(saved | {"out": str(out)}))
    return parser.parse_args(args.words)


def _check_folder(out: Path, resume: bool) -> None:
    # `fit` refuses too, but only when the data have been read.
    if not resume and resuming.holds_run(out):
        raise UsageError(
            f"{out} already holds a run: give --resume to go on with it, or another --out to "
            "keep both"
        )


def _check_patch_options(config: Config, model: nn.Module) -> None:
    if not trains_on_patches(model):
        return
    defaults = Config()
    for name in (*GROUPS["augmentation"], "workers"):
        if getattr(config, name) != getattr(defaults, name):
            raise UsageError(
                f"--{name} does not apply to the {config.model} model, which trains on windows "
                f"of {model.window}x{model.window} around random pixels of whole images in "
                "memory: leave it out"
            )


def _check_batch(config: Config, model: nn.Module, images: int) -> None:
    if config.batch > images and not trains_on_patches(model):
        raise UsageError(
            f"--batch {config.batch} is more than the {images} images of the train split: "
            f"give 1 to {images}"
        )


def _batches(config: Config, model: nn.Module, train: ResidentSet) -> training.Batches:
    if trains_on_patches(model):
        return PatchBatches(train, config.batch, model.window, config.seed)
    return ResidentBatches(train, config.batch, _augmentation(config), config.seed)


def _augmentation(config: Config) -> Augmentation:
    return Augmentation(
        crop=config.crop if max(config.crop) else None,
        scale=config.scale,
        flip=config.flip,
        brightness=config.jitter,
        contrast=config.jitter,
        saturation=config.jitter,
    )


def _class_weights(config: Config, pixels: Tensor) -> Tensor | None:
    """(K,) or None; `pixels` is (N, K), each training image's pixels by class."""
    return losses.median_frequency_weights(pixels) if config.class_weights == "median" else None


def _loss(config: Config, weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a run asks for, with class weights (K,) or none."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        value = losses.cross_entropy(logits, labels, weights)
        return value + losses.dice(logits, labels) if config.loss == "ce+dice" else value

    return loss


def _where_to_go_on(out: Path) -> str:
    saved = latest(checkpoints_of(out))
    if saved is None:
        return "no checkpoint was written yet: give the same command again to start over"
    return (
        f"the last checkpoint is {saved.path}; go on with\n  segcourse train --out {out} --resume"
    )
