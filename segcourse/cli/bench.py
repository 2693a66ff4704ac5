"""`segcourse bench`: what a model, a step or a CRF costs here; and the suite of long runs."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse import cost
from segcourse.cli import bench_crf, bench_profile, speedrun, suite
from segcourse.cli.flags import add_device, options, typed
from segcourse.cli.memory import estimate, readable_bytes, readable_count
from segcourse.cli.models import add_model, as_dense, build, trains_on_patches
from segcourse.cli.timing import median_seconds, peak, reset_peak
from segcourse.distributed import choose_device
from segcourse.errors import UsageError
from segcourse.records import record, write_record

DESCRIPTION = """\
Time one model on random images: images per second when it predicts and when it trains (forward,
loss, backward, step), with its parameters, multiply-adds and memory. The patch model predicts by
sliding over the whole image, and trains on --batch windows of its own size."""

EPILOG = """\
example:
  segcourse bench model --model full-resolution --height 90 --width 120 --batch 4

Multiply-adds are counted by torch (torch.utils.flop_counter, two flops each). Each time is the
median over the repeats, after one call that is not timed. On a GPU the peak memory is measured;
elsewhere the memory of a training step is counted, not measured: weights, gradients, optimizer
state, and what the forward pass keeps for the backward pass."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `segcourse bench`."""
    parser.description = "Measure what models cost, and work through the list of long runs."
    commands = parser.add_subparsers(dest="subcommand", metavar="WHAT", required=True)
    model = commands.add_parser(
        "model",
        help="one model at one size",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=parser.formatter_class,
        allow_abbrev=False,
    )
    model.set_defaults(run=run)
    add_model(model, "full-resolution")
    model.add_argument("--classes", type=int, default=11, metavar="K", help="number of classes")
    model.add_argument("--height", type=int, default=128, metavar="H", help="height in pixels")
    model.add_argument("--width", type=int, default=128, metavar="W", help="width in pixels")
    model.add_argument("--batch", type=int, default=4, metavar="N", help="images in a batch")
    model.add_argument("--repeats", type=int, default=5, metavar="N", help="timed calls of each")
    model.add_argument("--seed", type=int, default=0, help="seed of the weights and the images")
    model.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    add_device(model)
    bench_crf.configure(
        commands.add_parser(
            "crf",
            help="the dense CRF, and what part of the memory bandwidth it uses",
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
    )
    bench_profile.configure(
        commands.add_parser(
            "profile",
            help="what the time of a training step goes into",
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
    )
    speedrun.configure(
        commands.add_parser(
            "speedrun",
            help="seconds from the start of the process to a mean IoU on test",
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
    )
    suite.configure(
        commands.add_parser(
            "suite",
            help="a list of training runs, each to its record",
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print a table and write the record."""
    for name in ("classes", "height", "width", "batch", "repeats"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is {getattr(args, name)}: give 1 or more")
    started = time.perf_counter()
    device = choose_device(args.device)
    model = build(args.model, args.classes, args.seed)
    side = model.window if trains_on_patches(model) else None
    if side is not None and args.batch < 2:
        raise UsageError(
            f"--batch {args.batch} is too small for the {args.model} model: it trains on windows "
            "of one pixel's class each, and its batch normalization needs --batch 2 or more"
        )
    size = (args.height, args.width)
    multiply_adds, _ = cost.measured_multiply_adds(
        as_dense(model).eval(), torch.empty(1, 3, *size, device="meta")
    )
    memory = estimate(model, args.batch, (side, side) if side else size, "adamw", ema=False)

    model = model.to(device)
    generator = torch.Generator().manual_seed(args.seed)
    images = torch.rand(args.batch, 3, args.height, args.width, generator=generator).to(device)
    windows = images
    if side is not None:
        windows = torch.rand(args.batch, 3, side, side, generator=generator).to(device)
    reset_peak(device)
    predicting = median_seconds(_prediction(as_dense(model), images), args.repeats, device)
    predicting_peak = peak(device)
    reset_peak(device)
    stepping = median_seconds(_step(model, windows), args.repeats, device)
    stepping_peak = peak(device)

    metrics = {
        "parameters": cost.parameters(model),
        "multiply_adds_per_image": multiply_adds,
        "inference_images_per_second": args.batch / predicting,
        "training_images_per_second": args.batch / stepping,
        "training_bytes_counted": memory.total,
        "inference_peak_bytes": predicting_peak,
        "training_peak_bytes": stepping_peak,
    }
    sample = "images" if side is None else f"{side}x{side} windows"
    print(
        f"{args.model}, {args.batch} x 3 x {args.height} x {args.width}, {args.classes} classes, "
        f"{device}"
    )
    rows = [
        ("parameters", f"{metrics['parameters']:,}"),
        ("multiply-adds, one image", readable_count(multiply_adds)),
        ("inference", f"{args.batch / predicting:.2f} images/s"),
        ("training", f"{args.batch / stepping:.2f} {sample}/s"),
        ("memory of a training step", readable_bytes(memory.total)),
    ]
    if stepping_peak is not None:
        rows += [
            ("peak memory, inference", readable_bytes(predicting_peak)),
            ("peak memory, training", readable_bytes(stepping_peak)),
        ]
    for label, value in rows:
        note = " (counted: AdamW, float32)" if label.startswith("memory") else ""
        print(f"  {label:<26} {value}{note}")
    if args.json is not None:
        seconds = time.perf_counter() - started
        made = record(typed(args), options(args), args.seed, metrics, [], seconds, device=device)
        write_record(args.json, made)
    return 0


def _prediction(model: nn.Module, images: Tensor) -> Callable[[], object]:
    model.eval()

    @torch.inference_mode()
    def call():
        return model(images).argmax(1)

    return call


def _step(model: nn.Module, images: Tensor) -> Callable[[], object]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters())

    def call():
        logits = model(images)
        labels = torch.zeros_like(logits[:, 0], dtype=torch.int64)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, labels).backward()
        optimizer.step()

    return call
