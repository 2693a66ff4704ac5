"""Images a second, training and predicting: ours against two peers, in turns in one process.

    pip install segmentation-models-pytorch
    python benchmarks/throughput.py --data-pack camvid.zip --out results/throughput/h200.json
    python benchmarks/throughput.py --device cpu --out results/throughput/cpu.json

Ours: the set lies on the device as bytes and is augmented there, a batch at a time. Against it
(a) the same network fed by torchvision's pipeline: PNG files, DataLoader workers, v2 transforms
with the same views; and (b) the network of segmentation_models.pytorch that is nearest in
multiply-adds, on our batches. Precision, memory order, loss and optimizer are the same for all. A
turn is an epoch of every way, one after the other; medians, and ratios turn by turn. Operations a
second are compared with a large matrix product, measured here too. On a CPU the networks and
pictures are small ones.
"""

import argparse
import gc
import math
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from itertools import count
from pathlib import Path

import torch
from crf import others_busy
from peers.smp_networks import nearest
from peers.torchvision_pipeline import PngFolder, loader, plain, views, write_folder
from torch import Tensor, nn

from segcourse import cost, optim
from segcourse.cli.memory import readable_bytes
from segcourse.cli.models import MODELS, build
from segcourse.cli.sources import open_split
from segcourse.cli.stepping import prediction, training_step
from segcourse.cli.suite_data import find
from segcourse.cli.timing import copy_bandwidth, matrix_rate, median_seconds, peak, reset_peak, wait
from segcourse.config import Config
from segcourse.data import Scenes
from segcourse.data.augment import Augmentation
from segcourse.data.batches import ResidentBatches
from segcourse.data.resident import ResidentSet, evaluation_batches
from segcourse.distributed import check_precision, choose_device
from segcourse.records import record, write_record

OURS, FED, PEER = "ours", "torchvision_pipeline", "smp"
COMPILED = "_compiled"
SEED = 0
LEAST_TURNS = 3

# By device: what --help calls "the device's".
DEFAULTS = {
    "cpu": {
        "models": ["unet-light", "deeplab-v3-light"],
        "height": 120,
        "width": 160,
        "images": 24,
        "repeats": 3,
        "precision": "fp32",
        "compile": False,
    },
    "cuda": {
        "models": ["unet", "deeplab-v3-resnet50", "unet-light"],
        "height": 360,
        "width": 480,
        "images": 367,
        "repeats": 5,
        "precision": "bf16",
        "compile": True,
    },
}

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Feed:
    """Where batches come from: an epoch to train on, and every whole batch once to predict."""

    training: Callable[[], Iterable[Batch]]
    predicting: Callable[[], Iterable[Batch]]


@dataclass
class Way:
    """One way to train and to predict, built and warm."""

    net: nn.Module | Callable
    model: nn.Module
    optimizer: torch.optim.Optimizer
    feed: Feed
    found: dict
    epochs: list[tuple[float, int, int]] = field(default_factory=list)  # seconds, steps, images
    passes: list[tuple[float, int]] = field(default_factory=list)  # seconds, images
    loss: Tensor | None = None


class Bench:
    """What every network is measured with: the device, the images on it and in files."""

    def __init__(self, args: argparse.Namespace, resident: ResidentSet, folder: Path):
        self.args, self.resident = args, resident
        self.device = resident.device
        self.bf16 = args.precision == "bf16"
        self.size = resident.size
        augmentation = Augmentation(self.size, (0.5, 2.0), 0.5, 0.3, 0.3, 0.3)
        self.batches = ResidentBatches(resident, args.batch, augmentation, SEED)
        self.next_step = count()
        pinned = self.device.type == "cuda"
        N, B, W = len(resident), args.batch, args.workers
        shown = PngFolder(folder, N, views(augmentation, self.size))
        self.training_loader = loader(shown, B, W, True, pinned)
        self.predicting_loader = loader(PngFolder(folder, N, plain()), B, W, False, pinned)
        self.feeds = {
            OURS: Feed(self._resident, self._resident_plain),
            FED: Feed(
                lambda: self._sent(self.training_loader), lambda: self._sent(self.predicting_loader)
            ),
        }

    def epoch(self, way: Way) -> tuple[float, int, int]:
        """Train on an epoch: seconds, steps and images."""
        way.model.train()
        wait(self.device)
        started, steps, images = time.perf_counter(), 0, 0
        for image, labels in way.feed.training():
            way.loss = training_step(way.net, way.optimizer, image, labels, self.bf16)
            steps, images = steps + 1, images + len(image)
        wait(self.device)
        return time.perf_counter() - started, steps, images

    def predict(self, way: Way) -> tuple[float, int]:
        """Predict every image of the whole batches: seconds and images."""
        way.model.eval()
        wait(self.device)
        started, images = time.perf_counter(), 0
        for image, _ in way.feed.predicting():
            prediction(way.net, image, self.bf16)
            images += len(image)
        wait(self.device)
        return time.perf_counter() - started, images

    def feed_alone(self) -> dict:
        """Images a second of both feeds with nothing behind them, in turns."""
        speeds: dict[str, list[float]] = {name: [] for name in self.feeds}
        failed: dict[str, str] = {}

        def once(name: str) -> float:
            wait(self.device)
            started = time.perf_counter()
            images = sum(len(labels) for _, labels in self.feeds[name].training())
            wait(self.device)
            return images / (time.perf_counter() - started)

        for turn in range(self.args.repeats + 1):
            for name in speeds:
                found = None if name in failed else attempt(failed, name, lambda n=name: once(n))
                if turn and found:  # the first one starts the workers
                    speeds[name].append(found)
        return {
            name: {"error": failed[name]} if name in failed else spread(found)
            for name, found in speeds.items()
        }

    def prepare(self, model: nn.Module, feed: Feed, compiled: bool) -> Way:
        """Build a way and warm it: steps and predictions that are not timed, memory at its peak."""
        before = torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0
        model = model.to(self.device, memory_format=torch.channels_last)
        net = torch.compile(model) if compiled else model
        way = Way(net, model, optim.optimizer(Config(lr=1e-4), model), feed, {})
        image, labels = next(iter(self._resident()))
        # Predicting goes first, before there are gradients and an optimizer's state.
        for name, call in (
            ("inference", lambda: prediction(net, image, self.bf16)),
            ("training", lambda: training_step(net, way.optimizer, image, labels, self.bf16)),
        ):
            model.train(name == "training")
            reset_peak(self.device)
            started = time.perf_counter()
            call()
            wait(self.device)
            first = time.perf_counter() - started
            later = median_seconds(call, 2, self.device)
            most = peak(self.device)
            way.found[name] = {
                "first_call_seconds": first,
                "compile_seconds": first - later if compiled else None,
                "peak_bytes": None if most is None else most - before,
            }
        return way

    def close(self) -> None:
        """End the workers."""
        self.training_loader = self.predicting_loader = self.feeds = None
        gc.collect()

    def _resident(self) -> Iterator[Batch]:
        for _ in range(self.batches.steps_per_epoch):
            images, labels = self.batches.batch(next(self.next_step))
            yield images.to(memory_format=torch.channels_last), labels

    def _resident_plain(self) -> Iterator[Batch]:
        B = self.args.batch
        whole = len(self.resident) // B
        for _, batch in zip(range(whole), evaluation_batches(self.resident, B), strict=False):
            yield batch[0].to(memory_format=torch.channels_last), batch[1]

    def _sent(self, found: Iterable[Batch]) -> Iterator[Batch]:
        for images, labels in found:
            # Copied first and turned over on the device, not by the CPU.
            images = images.to(self.device, non_blocking=True)
            images = images.to(memory_format=torch.channels_last)
            yield images, labels.to(self.device, non_blocking=True)


def spread(values: list[float]) -> dict:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def network(bench: Bench, name: str, until: float) -> dict:
    """Measure every way of one network, until the clock shows `until`, but a few turns at least."""
    K, size = len(bench.resident.classes), bench.size
    makers: dict[str, Callable[[], nn.Module]] = dict.fromkeys(
        (OURS, FED), lambda: build(name, K, SEED)
    )
    counted = costs(makers[OURS](), size)
    family = next((f for f in ("unet", "deeplab-v3") if name.startswith(f)), name)
    try:
        called, makers[PEER] = nearest(family, K, size, counted["multiply_adds_forward"])
        versions = {p: version(p) for p in ("segmentation-models-pytorch", "timm")}
        peer = {"name": called, **costs(makers[PEER](), size), "versions": versions}
    except LookupError as error:
        peer = {"missing": str(error)}

    failed: dict[str, str] = {}
    ways: dict[str, Way] = {}
    plan = [(key, make, False) for key, make in makers.items()]
    if bench.args.compile:
        plan += [(k + COMPILED, makers[k], True) for k in (OURS, PEER) if k in makers]
    for key, make, compiled in plan:
        if compiled and time.perf_counter() > until:
            failed[key] = "the minutes were over before it was compiled"
            continue
        feed = bench.feeds[FED if key == FED else OURS]
        way = attempt(failed, key, lambda m=make, f=feed, c=compiled: bench.prepare(m(), f, c))
        if way is not None:
            ways[key] = way

    longest = 0.0
    for turn in range(bench.args.repeats + 1):
        started = time.perf_counter()
        if turn > LEAST_TURNS and started + longest > until:
            break
        for key, way in ways.items():
            if key not in failed:  # the first turn starts workers and fills caches
                attempt(failed, key, lambda w=way, t=turn > 0: take_turn(bench, w, t))
        longest = max(longest, time.perf_counter() - started)

    found = {"model": name, **counted, "peer": peer, "training": {}, "inference": {}}
    for key, *_ in plan:
        cost_of = peer if key.startswith(PEER) else counted
        both = summary(ways[key], cost_of) if key in ways and ways[key].epochs else ({}, {})
        for kind, numbers in zip(("training", "inference"), both, strict=True):
            found[kind][key] = numbers | ({"error": failed[key]} if key in failed else {})
    found["ratios"] = ratios(ways, counted, peer)
    return found


def version(package: str) -> str | None:
    """Of an installed package; None where it was put on the path without its metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def costs(model: nn.Module, size: tuple[int, int]) -> dict:
    """Parameters, and multiply-adds of one image."""
    image = torch.empty(2, 3, *size, device="meta")  # two: image pooling refuses one in training
    forward, backward = cost.measured_multiply_adds(model.train(), image)
    return {
        "parameters": cost.parameters(model),
        "multiply_adds_forward": forward // 2,
        "multiply_adds_backward": backward // 2,
    }


def attempt(failed: dict[str, str], key: str, call: Callable):
    """What the call returns; where memory or the compiler fails, None and the reason."""
    try:
        return call()
    except RuntimeError as error:  # out of memory is one
        failed[key] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def take_turn(bench: Bench, way: Way, timed: bool) -> None:
    """An epoch of training, and a pass of predictions."""
    epoch, predicted = bench.epoch(way), bench.predict(way)
    if not math.isfinite(way.loss.item()):
        raise RuntimeError(f"the loss is {way.loss.item()}")
    if timed:
        way.epochs.append(epoch)
        way.passes.append(predicted)


def summary(way: Way, counted: dict) -> tuple[dict, dict]:
    """The numbers of training and of predicting."""
    forward, backward = counted["multiply_adds_forward"], counted["multiply_adds_backward"]
    _, steps, images = way.epochs[0]
    training = {
        **way.found["training"],
        "steps_per_epoch": steps,
        "images_per_epoch": images,
        "epoch_seconds": spread([seconds for seconds, *_ in way.epochs]),
        "step_seconds": spread([seconds / n for seconds, n, _ in way.epochs]),
        **speed([n / seconds for seconds, _, n in way.epochs], forward + backward),
    }
    inference = {
        **way.found["inference"],
        **speed([n / seconds for seconds, n in way.passes], forward),
    }
    return training, inference


def speed(images_per_second: list[float], multiply_adds: int) -> dict:
    """Images and operations a second."""
    found = spread(images_per_second)
    return {
        "images_per_second": found,
        "operations_per_second": 2 * multiply_adds * found["median"],
        "turns": len(images_per_second),
    }


def ratios(ways: dict[str, Way], counted: dict, peer: dict) -> dict:
    """Their seconds over ours, an image, turn by turn: above 1 ours is faster."""
    # Compiled against compiled alone: how a batch is made and what a compiler does are two things.
    pairs = [(FED, OURS), (PEER, OURS), (PEER + COMPILED, OURS + COMPILED)]
    found = {}
    for theirs, ours in pairs:
        if theirs not in ways or ours not in ways:
            continue
        a, b = ways[theirs], ways[ours]
        training = [
            (s / n) / (t / m) for (s, _, n), (t, _, m) in zip(a.epochs, b.epochs, strict=False)
        ]
        inference = [(s / n) / (t / m) for (s, n), (t, m) in zip(a.passes, b.passes, strict=False)]
        if not training:
            continue
        row = {"training": spread(training), "inference": spread(inference)}
        if theirs.startswith(PEER):
            forward = peer["multiply_adds_forward"] / counted["multiply_adds_forward"]
            row["multiply_adds_forward"] = forward
            row["training_per_multiply_add"] = row["training"]["median"] / forward
            row["inference_per_multiply_add"] = row["inference"]["median"] / forward
        found[f"{theirs}_over_{ours}"] = row
    return found


def table(found: dict, rate: float) -> str:
    """A network's numbers, to be read."""
    if "error" in found:
        return f"{found['model']}: {found['error']}"
    adds = found["multiply_adds_forward"] / 1e9
    lines = [f"{found['model']}: {found['parameters'] / 1e6:.1f} M weights, {adds:.1f} G"]
    peer = found["peer"]
    lines.append(
        peer.get("missing")
        or f"  smp: {peer['name']}: {peer['parameters'] / 1e6:.1f} M weights, "
        f"{peer['multiply_adds_forward'] / 1e9:.1f} G"
    )
    for kind in ("training", "inference"):
        for key, row in found[kind].items():
            told = row.get("error", "")
            if "images_per_second" in row:
                per_second = row["images_per_second"]
                told = (
                    f"{per_second['median']:8.1f} images/s ({per_second['lowest']:.1f} to "
                    f"{per_second['highest']:.1f}), {row['operations_per_second'] / 1e12:.2f} "
                    f"TFLOP/s, {100 * row['operations_per_second'] / rate:.0f} % of the product's"
                )
                if row["peak_bytes"] is not None:
                    told += f", {readable_bytes(row['peak_bytes'])}"
                if row["compile_seconds"] is not None:
                    told += f", compiled in {row['compile_seconds']:.0f} s"
            lines.append(f"  {kind:9s} {key:22s} {told}")
    for key, row in found["ratios"].items():
        told = ", ".join(
            f"{kind} {row[kind]['median']:.2f}x ({row[kind]['lowest']:.2f} to "
            f"{row[kind]['highest']:.2f})"
            + (
                f", {row[f'{kind}_per_multiply_add']:.2f}x a multiply-add"
                if f"{kind}_per_multiply_add" in row
                else ""
            )
            for kind in ("training", "inference")
        )
        lines.append(f"  {key.replace('_', ' ')}: {told}")
    return "\n".join(lines)


def load(args: argparse.Namespace, device: torch.device) -> ResidentSet:
    """The training images of the pack, or generated scenes; as many as asked for."""
    size = args.height, args.width
    data = Scenes(args.images, size, SEED)
    if args.data_pack:
        ((name, root),) = find([args.data_pack]).items()
        data = open_split(name, root, "train", size)
    whole = ResidentSet.load(data)
    n = args.images
    return ResidentSet(whole.images[:n].to(device), whole.labels[:n].to(device), whole.classes)


def usable_cores() -> int:
    """Cores that this process may use, which a container makes fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def arguments() -> argparse.Namespace:
    """The options, with the device's defaults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu")
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), metavar="NAME", help="which")
    parser.add_argument("--height", type=int, help="of the images, in pixels")
    parser.add_argument("--width", type=int, help="of the images, in pixels")
    parser.add_argument("--images", type=int, help="images in an epoch")
    parser.add_argument("--batch", type=int, default=8, help="images in a step")
    parser.add_argument("--repeats", type=int, help="turns")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="of the DataLoader")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="fp32, or bf16 autocast")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="compiled too")
    parser.add_argument("--threads", type=int, help="threads of torch on a CPU")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="leave out what they are too few for"
    )
    parser.add_argument("--data-pack", help="of `segcourse data pack`; without it, scenes")
    parser.add_argument("--out", type=Path, help="write the record here")
    args = parser.parse_args()
    args.device = choose_device(args.device)
    for name, value in DEFAULTS["cuda" if args.device.type == "cuda" else "cpu"].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    check_precision(args.precision, args.device)
    if args.images % args.batch == 1 or args.batch < 2 or args.images < args.batch:
        parser.error(
            f"--images {args.images} in batches of {args.batch}: give batches of 2 or more, and so "
            "many images that the last batch holds 2 or more"
        )
    return args


def main() -> int:
    """Measure, print a table for each network and write the record."""
    args = arguments()
    begun, device = time.perf_counter(), args.device
    config = {name: value for name, value in vars(args).items() if name != "out"}
    command = ["python", "benchmarks/throughput.py", *sys.argv[1:]]
    end = begun + 60 * args.minutes
    if args.threads:
        torch.set_num_threads(args.threads)
    resident = load(args, device)
    metrics: dict = {"images": len(resident), "resident_bytes": resident.nbytes}
    if device.type == "cpu":
        metrics["others_busy_cores"] = others_busy()
        print(f"other programs use {metrics['others_busy_cores']:.2f} cores")
    with tempfile.TemporaryDirectory() as folder:
        # A fresh cache, so that compiling takes as long as on the first day.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
        files = Path(folder) / "files"
        files.mkdir()
        metrics["png_bytes"] = write_folder(resident, files)
        dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
        metrics["matrix_operations_per_second"] = rate = matrix_rate(device, dtype, 10)
        metrics["copy_bytes_per_second"] = copy_bandwidth(device, 10)
        bench = Bench(args, resident, files)
        metrics["feeds_alone_images_per_second"] = bench.feed_alone()
        alone = {
            name: f"{found['median']:.0f} images/s" if "median" in found else found["error"]
            for name, found in metrics["feeds_alone_images_per_second"].items()
        }
        print(
            f"{len(resident)} images of {args.height}x{args.width}, {args.precision}, {device}; "
            f"a large matrix product {rate / 1e12:.2f} TFLOP/s\nfeeds alone: "
            + ", ".join(f"{name} {told}" for name, told in alone.items())
        )
        networks = [{"model": name, "error": "not reached"} for name in args.models]
        metrics["networks"] = networks
        crashed = False
        for i, name in enumerate(args.models):
            now = time.perf_counter()
            try:
                if now > end:
                    networks[i]["error"] = "the minutes were over"
                else:
                    networks[i] = network(bench, name, now + (end - now) / (len(networks) - i))
            except Exception as error:  # whatever a network may raise: the next one is another
                traceback.print_exc()
                networks[i]["error"] = f"{type(error).__name__}: {error}"
                crashed = True
            print(table(networks[i], rate), flush=True)
            torch.compiler.reset()
            gc.collect()
            if args.out:  # after each, so that a kill leaves what was measured
                seconds = time.perf_counter() - begun
                made = record(command, config, SEED, metrics, [], seconds, device=device)
                write_record(args.out, made)
        bench.close()
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
