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
mean field takes beyond its lattices, divided by the rounds."""


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
    crf = DenseCRF(args.labels, iterations=args.iterations).to(device)
    with torch.inference_mode():
        features = crf.features(image, torch.float32)

        def build() -> list[Lattice]:
            return [Lattice(each, symmetric=True) for each in features]

        moved = bytes_of_a_round(build(), args.height * args.width, args.labels)
        building = median_seconds(build, args.repeats, device)
        reset_peak(device)
        total = median_seconds(lambda: crf(logits, image), args.repeats, device)
        most = peak(device)
    a_round = max(total - building, 0) / args.iterations
    bandwidth = copy_bandwidth(device, args.repeats)
    metrics = {
        "build_seconds": building,
        "total_seconds": total,
        "round_seconds": a_round,
        "round_bytes": moved,
        "copy_bytes_per_second": bandwidth,
        "fraction_of_copy_bandwidth": moved / a_round / bandwidth if a_round else None,
        "peak_bytes": most,
    }
    print(
        f"dense CRF, {args.height} x {args.width}, {args.labels} labels, {args.iterations} rounds, "
        f"{device}"
    )
    rows = [
        ("all of it", f"{1000 * total:.1f} ms"),
        ("lattices alone", f"{1000 * building:.1f} ms"),
        ("a round", f"{1000 * a_round:.2f} ms"),
        ("bytes of a round", readable_bytes(moved)),
        ("a copy moves", f"{readable_bytes(round(bandwidth))}/s"),
    ]
    if a_round:
        fraction = metrics["fraction_of_copy_bandwidth"]
        rows.append(("of it, a round reaches", f"{100 * fraction:.0f} %"))
    if most is not None:
        rows.append(("peak memory", readable_bytes(most)))
    for label, value in rows:
        print(f"  {label:<26} {value}")
    if args.json is not None:
        seconds = time.perf_counter() - started
        made = record(typed(args), options(args), args.seed, metrics, [], seconds, device=device)
        write_record(args.json, made)
    return 0


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
