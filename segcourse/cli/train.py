"""`segcourse train`: from a command line to a trained run with its record."""

import argparse
import functools
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from segcourse import distributed, resuming
from segcourse.checkpoints import latest
from segcourse.cli import objects, running
from segcourse.cli.flags import add_config_flags, add_debug, check_folder, config_from
from segcourse.cli.models import MODELS, as_dense, build
from segcourse.cli.plan import plan
from segcourse.cli.report import always, summary, table
from segcourse.cli.runs import checkpoints_of, saved_config, start_of
from segcourse.cli.sources import DATASETS, Sets, open_sets
from segcourse.cli.starting import start_from
from segcourse.config import Config
from segcourse.errors import UsageError
from segcourse.records import record, write_record

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
  segcourse train --data isbi --root ISBI --elastic 10 --border-weight 10 --out runs/cells
  segcourse train --out runs/x --resume
  segcourse train --start runs/x --lr 0.0001 --out runs/longer

The patch model trains on --batch windows around random labelled pixels, and is slid over whole
images to be measured; --crop, --scale, --flip, --jitter and --elastic do not apply to it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse train`: one for each field of Config, and a few more."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.usage = "%(prog)s [--data NAME] [--root DIR] [--model NAME] [--out DIR] [option ...]"
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
        running.check(config, sets, model, device)
        start = None
        if config.start and not resuming.holds_run(out):  # else its own checkpoint has the weights
            start = start_from(model, config.start)
        if args.dry_run:
            if distributed.rank() == 0:
                # Finding the cells needs labels, and a plan has none; their weights are one map an
                # image, little beside the network's.
                loss = running.loss_of(replace(config, border_weight=0.0), None)
                print(plan(config, sets, model, device, loss))
        else:
            _train(command, config, sets, model, device, args.resume, start)
    return 0


def _train(
    command: list[str],
    config: Config,
    sets: Sets,
    model: nn.Module,
    device: torch.device,
    resume: bool,
    start: dict | None,
) -> None:
    if start and distributed.rank() == 0:
        print(f"weights from {config.start}{_left_new(start['new'])}")
    try:
        trained = running.train(config, sets, model, device, resume=resume, start=start)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_where_to_go_on(Path(config.out))) from None
    cm = trained.history.confusion
    cm = trained.evaluate(as_dense(model)) if cm is None else cm
    if distributed.rank() == 0:
        _report(command, config, sets, trained, cm, as_dense(model), device)


def _report(
    command: list[str],
    config: Config,
    sets: Sets,
    trained: running.Trained,
    cm: Tensor,
    model: nn.Module,
    device: torch.device,
) -> None:
    history = trained.history
    majority = int(trained.pixels.argmax())
    name = sets.classes.names[majority]
    numbers = summary(cm, sets.classes)
    baseline = summary(always(majority, trained.val_pixels), sets.classes)
    # Worker processes read files as they are, so their sizes may differ.
    size = f" of {sets.size[0]}x{sets.size[1]}" if config.height or not config.workers else ""
    print(f"\nafter {history.steps} steps, on val ({len(sets.val)} images{size}):")
    print(table(numbers, baseline, f"always {name}"))
    if (scores := objects.scores_for(config.data)) is not None:
        numbers["objects"] = objects.measure_objects(model, trained.val(), scores)
        print(f"\n{objects.table(numbers['objects'])}")
    if history.best_step not in (None, history.steps):
        print(f"\nthe best val mIoU was {history.best_miou:.4f}, at step {history.best_step}")
    numbers["always_majority"] = {"class": name, **baseline}
    numbers["best"] = {"step": history.best_step, "miou": history.best_miou}
    path = Path(config.out) / "record.json"
    if history.first_step == config.steps and path.exists():
        print(f"\nnothing was left to do: all {config.steps} steps are taken; the record is {path}")
        return
    speed = history.images_per_second
    made = record(
        command, config, config.seed, numbers, history.curve, history.seconds, speed, device
    )
    if (start := start_of(Path(config.out))) is not None:
        made["start"] = start
    write_record(path, made)
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
    check_folder(out)
    if not resume and resuming.holds_run(out):
        raise UsageError(
            f"{out} already holds a run: give --resume to go on with it, or another --out to "
            "keep both"
        )


def _left_new(names: list[str]) -> str:
    return f"; as built: {', '.join(names)}" if names else ""


def _where_to_go_on(out: Path) -> str:
    saved = latest(checkpoints_of(out))
    if saved is None:
        return "no checkpoint was written yet: give the same command again to start over"
    return (
        f"the last checkpoint is {saved.path}; go on with\n  segcourse train --out {out} --resume"
    )
