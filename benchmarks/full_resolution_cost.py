"""Full resolution in every layer: counted cost against the clock and against autograd's memory.

    python benchmarks/full_resolution_cost.py --out results/sliding_window/full_resolution_cost.json

Padded 3x3 convolutions of 64, then 64 and 128, then 64, 128 and 256 channels. Multiply-adds and
bytes are counted in closed form; seconds are medians, the three networks taking turns; bytes are
read off autograd. A ratio is against the network in the line above, in this run. The first network
spends its time on moving feature maps rather than on multiplying, so the second ratio says more.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

from segcourse import cost
from segcourse.full_resolution import FullResolutionNet
from segcourse.records import record, write_record

WIDTHS = ((64,), (64, 128), (64, 128, 256))
CLASSES = 21


def step(model: FullResolutionNet, image: torch.Tensor) -> tuple[float, float]:
    """Wall-clock seconds of one forward and one backward pass."""
    start = time.perf_counter()
    loss = model(image).sum()
    middle = time.perf_counter()
    loss.backward()
    return middle - start, time.perf_counter() - middle


def main() -> int:
    """Measure, print a row for each network, and write the record where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the image in pixels")
    parser.add_argument("--repeats", type=int, default=7, help="times that each network runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, help="write the record of this run, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    begun = time.perf_counter()
    size = (args.size, args.size)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    models = [FullResolutionNet(CLASSES, widths) for widths in WIDTHS]
    for model in models:
        step(model, image)  # the first call also chooses and packs the kernels
    times = [[step(model, image) for model in models] for _ in range(args.repeats)]

    rows = []
    for i, (widths, model) in enumerate(zip(WIDTHS, models, strict=True)):
        forward, backward = (statistics.median(run[i][k] for run in times) for k in (0, 1))
        rows.append(
            {
                "widths": widths,
                "multiply_adds_forward": cost.multiply_adds(model, size),
                "multiply_adds_backward": cost.backward_multiply_adds(model, size),
                "forward_s": forward,
                "backward_s": backward,
                "counted_bytes": cost.training_bytes(model, size),
                "measured_bytes": cost.measured_training_bytes(model, image),
            }
        )
    print(f"{args.size}x{args.size}, torch {torch.__version__}, {args.threads} thread(s)")
    print(f"{'channels':14s}multiply-adds   ratio   seconds   ratio   memory: counted  measured")
    above = None
    for row in rows:
        counted = row["multiply_adds_forward"] + row["multiply_adds_backward"]
        seconds = row["forward_s"] + row["backward_s"]
        row["counted_ratio"] = counted / above[0] if above else 1.0
        row["measured_ratio"] = seconds / above[1] if above else 1.0
        above = counted, seconds
        channels = "+".join(map(str, row["widths"]))
        print(
            f"{channels:14s}{counted / 1e9:11.2f} G{row['counted_ratio']:7.1f}x"
            f"{seconds:10.3f}{row['measured_ratio']:7.1f}x{row['counted_bytes'] / 2**20:13.1f} MiB"
            f"{row['measured_bytes'] / 2**20:6.1f} MiB"
        )
    if args.out:
        config = {name: value for name, value in vars(args).items() if name != "out"}
        command = ["python", "benchmarks/full_resolution_cost.py", *sys.argv[1:]]
        seconds = time.perf_counter() - begun
        write_record(args.out, record(command, config, 0, {"networks": rows}, [], seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
