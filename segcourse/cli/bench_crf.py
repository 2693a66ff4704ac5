"""`segcourse bench crf`: how fast the dense CRF refines an image, and what part of the memory
bandwidth it uses."""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.cli.flags import add_device, options, typed
from segcourse.cli.memory import readable_bytes
from segcourse.cli.timing import copy_bandwidth, median_seconds, peak, reset_peak
from segcourse.dense_crf import DenseCRF
from segcourse.distributed import choose_device
from segcourse.errors import UsageError
from segcourse.fused_mean_field import fused_mean_field
from segcourse.permutohedral import Lattice
from segcourse.records import record, write_record

DESCRIPTION = """\
Time mean field of the fully connected CRF on a generated picture: the two lattices, and all of it.
Splat, blur, slice and softmax move numbers and compute little, so that the bytes which a round has
to move, each array once, over its seconds are compared with a plain copy."""

EPILOG = """\
example:
  segcourse bench crf --height 375 --width 500 --labels 21 --iterations 10 --json crf.json

Each time is the median over the repeats, after one call that is not timed. A round takes what
mean field takes on lattices that are there, its first and last steps included, divided by the
rounds. Two settings are timed: the C++ package's example, and DeepLab's."""

PARAMETERS = {"README": (80.0, 13.0, 10.0), "DeepLab": (67.0, 3.0, 4.0)}
"""sxy in pixels, srgb in colour units and the weight of the appearance kernel."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    parser.add_argument("--height", type=int, default=375, metavar="H", help="height in pixels")
    parser.add_argument("--width", type=int, default=500, metavar="W", help="width in pixels")
    parser.add_argument("--labels", type=int, default=21, metavar="K", help="number of labels")
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="rounds")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed calls")
    parser.add_argument("--seed", type=int, default=0, help="seed of the picture and the scores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print a table and write the record."""
    for name, least in (("height", 1), ("width", 1), ("labels", 2), ("iterations", 1)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} is {getattr(args, name)}: give {least} or more")
    if args.repeats < 1:
        raise UsageError(f"--repeats is {args.repeats}: give 1 or more")
    started = time.perf_counter()
    device = choose_device(args.device)
    image, logits = (x.to(device) for x in _input(args))
    bandwidth = copy_bandwidth(device, args.repeats)
    print(
        f"dense CRF, {args.height} x {args.width}, {args.labels} labels, {args.iterations} rounds, "
        f"{device}; a copy moves {readable_bytes(round(bandwidth))}/s"
    )
    metrics = {"copy_bytes_per_second": bandwidth, "parameters": {}}
    for name, (sxy, srgb, weight) in PARAMETERS.items():
        crf = DenseCRF(args.labels, weight, sxy, srgb, iterations=args.iterations).to(device)
        found = measure(crf, logits, image, args.repeats, bandwidth)
        metrics["parameters"][name] = {"sxy": sxy, "srgb": srgb, "weight": weight} | found
        rows = [
            ("all of it", f"{1000 * found['total_seconds']:.1f} ms"),
            ("lattices alone", f"{1000 * found['build_seconds']:.1f} ms"),
            ("rounds, lattices there", f"{1000 * found['rounds_seconds']:.1f} ms"),
            ("a round", f"{1000 * found['round_seconds']:.2f} ms"),
            ("bytes of a round", readable_bytes(found["round_bytes"])),
            ("a round reaches, of a copy", f"{100 * found['fraction_of_copy_bandwidth']:.0f} %"),
        ]
        if found["peak_bytes"] is not None:
            rows.append(("peak memory", readable_bytes(found["peak_bytes"])))
        print(f"{name}: {sxy:g} pixels, {srgb:g} colour units, weight {weight:g}")
        for label, value in rows:
            print(f"  {label:<28} {value}")
    if args.json is not None:
        seconds = time.perf_counter() - started
        made = record(typed(args), options(args), args.seed, metrics, [], seconds, device=device)
        write_record(args.json, made)
    return 0


@torch.inference_mode()
def measure(
    crf: DenseCRF, logits: Tensor, image: Tensor, repeats: int, bandwidth: float
) -> dict[str, float | None]:
    """Time one setting: all of it, the lattices, and the rounds on lattices that are there.

    Args:
        crf: the layer.
        logits: (1, K, H, W).
        image: (1, 3, H, W) uint8, on the same device.
        repeats: timed calls.
        bandwidth: bytes a second of a copy.

    Returns:
        Seconds, bytes, the fraction of the bandwidth, and peak memory (None on a CPU).
    """
    device = logits.device

    def build() -> list[Lattice]:
        return [Lattice(each, symmetric=True) for each in crf.features(image, torch.float32)]

    lattices, weights = build(), crf.weights.tolist()

    def rounds() -> Tensor:
        return fused_mean_field(logits, lattices, weights, None, crf.iterations)

    building = median_seconds(build, repeats, device)
    refining = median_seconds(rounds, repeats, device)
    reset_peak(device)
    total = median_seconds(lambda: crf(logits, image), repeats, device)
    moved = bytes_of_a_round(lattices, image[0, 0].numel(), logits.shape[1])
    a_round = refining / crf.iterations
    return {
        "build_seconds": building,
        "rounds_seconds": refining,
        "total_seconds": total,
        "round_seconds": a_round,
        "round_bytes": moved,
        "fraction_of_copy_bandwidth": moved / a_round / bandwidth,
        "lattice_points": sum(built.rows for built in lattices),
        "longest_bag": max(int(built.start.diff().max()) for built in lattices),
        "peak_bytes": peak(device),
    }


def bytes_of_a_round(lattices: list[Lattice], pixels: int, labels: int) -> int:
    """Bytes that a round of mean field in float32 reads and writes, every array once.

    Args:
        lattices: of the kernels.
        pixels: of the image.
        labels: K.

    Returns:
        Bytes of splat, blurs, slice and softmax, with their indices and weights.
    """
    row, entry = 4 * labels, 4 + 4  # an index and a weight
    moved = pixels * (row + entry)  # the unary
    for lattice in lattices:
        D, points = len(lattice.axes), lattice.rows + 1
        moved += pixels * (row + D * entry) + points * (row + 4)  # splat
        moved += D * points * (2 * row + 3 * entry)  # blurs
        moved += points * row + pixels * D * entry  # slice
    return moved + pixels * row + 2 * pixels * row  # the message written, softmax


def _input(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """A picture of soft patches with some noise, and scores made at every eighth pixel."""
    generator = torch.Generator().manual_seed(args.seed)
    H, W = args.height, args.width
    patches = torch.rand(1, 3, H // 40 + 2, W // 40 + 2, generator=generator)
    picture = 255 * F.interpolate(patches, (H, W), mode="bilinear")
    picture += 3 * torch.randn(picture.shape, generator=generator)
    coarse = 3 * torch.randn(1, args.labels, H // 8 + 1, W // 8 + 1, generator=generator)
    return picture.clamp(0, 255).byte(), F.interpolate(coarse, (H, W), mode="bilinear")
