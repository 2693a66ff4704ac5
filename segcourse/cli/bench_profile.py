"""`segcourse bench profile`: what the time of a training step goes into."""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from segcourse import optim
from segcourse.cli.flags import add_device, options, typed
from segcourse.cli.models import add_model, build, trains_on_patches
from segcourse.cli.stepping import DATA, training_step
from segcourse.cli.timing import median_seconds, wait
from segcourse.cli.trace import STEPS, Breakdown, breakdown
from segcourse.config import Config
from segcourse.data import Scenes
from segcourse.data.augment import Augmentation
from segcourse.data.batches import ResidentBatches
from segcourse.data.resident import ResidentSet
from segcourse.distributed import check_precision, choose_device
from segcourse.errors import UsageError
from segcourse.records import record, write_record

DESCRIPTION = """\
Profile training steps of one model: augmentation on the device, forward, loss, backward, optimizer
step. The times of all operators (on a GPU: of all kernels) are added up by kind of work, and what
is left is what Python and the operators' administration take (on a GPU: the time in which no
kernel runs). The images are generated, so that nothing needs to be there."""

EPILOG = """\
example:
  segcourse bench profile --model unet-light --height 120 --width 160
  segcourse bench profile --model unet --precision bf16 --channels-last --json unet.json
  segcourse bench profile --model unet --trace unet-trace.json    (open it at ui.perfetto.dev)

A profiler slows small operators down, so a step is also timed without it."""

WARM_UP = 3

AUGMENTED = Augmentation(scale=(0.5, 2.0), flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3)
"""What the runs on CamVid do to an image; the crop has the image's size."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    add_model(parser, "unet-light")
    parser.add_argument("--height", type=int, default=360, metavar="H", help="height in pixels")
    parser.add_argument("--width", type=int, default=480, metavar="W", help="width in pixels")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="images in a batch")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="profiled steps")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="fp32, or bf16 autocast"
    )
    parser.add_argument("--channels-last", action="store_true", help="channels-last memory order")
    parser.add_argument("--compile", action="store_true", help="compile the model first")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch on a CPU")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="keep the profiler's trace here")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Profile, print a table and write the record."""
    for name, least in (("height", 32), ("width", 32), ("batch", 2), ("steps", 1)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} is {getattr(args, name)}: give {least} or more")
    if args.threads is not None and args.threads < 1:
        raise UsageError(f"--threads is {args.threads}: give 1 or more")
    started, before = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(args.threads or before)
    try:
        return _measure(args, started)
    finally:
        torch.set_num_threads(before)


def _measure(args: argparse.Namespace, started: float) -> int:
    device = choose_device(args.device)
    check_precision(args.precision, device)
    step = _step(args, device)
    for number in range(WARM_UP):
        step(number)
    alone = median_seconds(lambda: step(0), args.steps, device)

    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    # One cycle, whose events stay; torch 2.11 warns where that is not said.
    with profile(activities=activities, acc_events=True) as profiler:
        step(0)  # a GPU's tracing starts with the first work that it is given
        wait(device)
        with record_function(STEPS):
            for number in range(args.steps):
                step(number)
            wait(device)
    found = breakdown(_events(profiler, args.trace))
    metrics = {
        "seconds_per_step": alone,
        "profiled_seconds_per_step": found.wall / args.steps / 1e6,
        "on_gpu": found.on_gpu,
        "groups": [
            {"group": name, "seconds_per_step": took / args.steps / 1e6, "share": took / found.wall}
            for name, took in found.groups.items()
        ],
        "top": [
            {"name": name[:100], "seconds_per_step": took / args.steps / 1e6}
            for name, took in found.top
        ],
    }
    print(
        f"{args.model}, {args.batch} x 3 x {args.height} x {args.width}, {args.precision}, "
        f"{device}: {1000 * alone:.1f} ms a step, {found.wall / args.steps / 1000:.1f} ms profiled"
    )
    print(table(found, args.steps))
    if args.json is not None:
        seconds, speed = time.perf_counter() - started, args.batch / alone
        made = record(typed(args), options(args), args.seed, metrics, [], seconds, speed, device)
        write_record(args.json, made)
    return 0


def table(found: Breakdown, steps: int) -> str:
    """A line for each kind of work: milliseconds a step, and the share."""
    return "\n".join(
        f"  {name:<26} {took / steps / 1000:9.2f} ms {100 * took / found.wall:6.1f} %"
        for name, took in found.groups.items()
    )


def _step(args: argparse.Namespace, device: torch.device):
    """What takes the number of a step and does it."""
    size = args.height, args.width
    resident = ResidentSet.load(Scenes(2 * args.batch, size, args.seed), device)
    batches = ResidentBatches(resident, args.batch, replace(AUGMENTED, crop=size), args.seed)
    model = build(args.model, len(resident.classes), args.seed)
    if trains_on_patches(model):
        raise UsageError(f"--model {args.model} trains on windows: profile another model")
    layout = torch.channels_last if args.channels_last else torch.preserve_format
    model = model.to(device, memory_format=layout).train()
    optimizer = optim.optimizer(Config(lr=1e-4), model)
    net = torch.compile(model) if args.compile else model

    def step(number: int) -> None:
        with record_function(DATA):
            images, labels = batches.batch(number)
            images = images.to(memory_format=layout)
        training_step(net, optimizer, images, labels, args.precision == "bf16")

    return step


def _events(profiler: profile, keep: Path | None) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        text = path.read_text(encoding="utf-8", errors="replace")
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.write_text(text, encoding="utf-8")
    return json.loads(text)["traceEvents"]
