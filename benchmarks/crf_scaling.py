"""Dense CRF inference from 64x64 to 2048x2048 pixels and from 2 to 42 labels: linear in both.

    python benchmarks/crf_scaling.py --out results/crf/scaling.json

The picture is scikit-image's cat, enlarged or reduced, so that larger pictures are smoother, as
larger photographs are; sigmas stay 80 pixels, 13 colour units and 3 pixels. Lattices and 5 rounds
are timed apart. The exponents printed at the end are slopes of log time against log size, of the
larger half of the sizes: 1 is linear, and brute force would have 2.
"""

import argparse
import importlib.util
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from crf import layer, photograph, scores

from segcourse.permutohedral import Lattice
from segcourse.records import record, write_record

SIDES = (64, 128, 256, 512, 1024, 2048)
LABELS = (2, 5, 10, 21, 42)
SIDE, K = 512, 21  # what stays while the other grows
ITERATIONS = 5


def measure(side: int, labels: int, repeats: int) -> dict[str, float]:
    """Medians in ms: the lattices, and all of it; and how many lattice points there are."""
    image, logits = photograph("chelsea", side, side), scores(side, side, labels)
    crf = layer("README", ITERATIONS, labels)
    building, total, rows = [], [], 0
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            rows = sum(
                Lattice(features, symmetric=True).rows
                for features in crf.features(image, torch.float32)
            )
            middle = time.perf_counter()
            crf(logits, image)
            if repeat:
                building.append(1000 * (middle - start))
                total.append(1000 * (time.perf_counter() - middle))
    return {
        "pixels": side * side,
        "labels": labels,
        "lattice_points": rows,
        "build_ms": statistics.median(building),
        "total_ms": statistics.median(total),
    }


def exponent(rows: list[dict], size: str) -> float:
    """Slope of log total_ms over log size, by least squares, in the larger half of the rows."""
    rows = rows[len(rows) // 2 :]
    x = [math.log(row[size]) for row in rows]
    y = [math.log(row["total_ms"]) for row in rows]
    return statistics.linear_regression(x, y).slope


def main() -> int:
    """Measure, print a row for each size and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each size")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="sides in pixels")
    parser.add_argument("--out", type=Path, help="write the record here")
    args = parser.parse_args()
    if importlib.util.find_spec("skimage") is None:
        print("The picture comes from scikit-image: pip install scikit-image.", file=sys.stderr)
        return 1
    torch.set_num_threads(args.threads)
    start, found = time.perf_counter(), {}
    cases = {
        "by_pixels": [(side, K) for side in args.sides],
        "by_labels": [(min(SIDE, max(args.sides)), labels) for labels in LABELS],
    }
    for name, sizes in cases.items():
        found[name] = []
        for side, labels in sizes:
            row = measure(side, labels, args.repeats)
            found[name].append(row)
            print(
                f"{side:4d}x{side:<4d} {labels:2d} labels: {row['total_ms']:7.0f} ms, lattices "
                f"{row['build_ms']:6.0f} ms, {row['lattice_points']} points",
                flush=True,
            )
    if len(args.sides) > 2:
        found["exponent_pixels"] = exponent(found["by_pixels"], "pixels")
        print(f"time grows as pixels to the power of {found['exponent_pixels']:.2f}")
    found["exponent_labels"] = exponent(found["by_labels"], "labels")
    print(f"time grows as labels to the power of {found['exponent_labels']:.2f}")
    if args.out:
        config = {"repeats": args.repeats, "threads": args.threads, "iterations": ITERATIONS}
        command = ["python", "benchmarks/crf_scaling.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, found, [], seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
