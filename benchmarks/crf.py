"""Dense CRF inference in torch against the C++ package pydensecrf, in turns in one process.

    pip install pydensecrf2 scikit-image      # pydensecrf itself does not build on Python 3.11
    python benchmarks/crf.py --out results/crf/speed.json

Both get the same photograph (of scikit-image) and the same scores for 21 labels, and do the same
work: build the lattices of an appearance and a smoothness kernel, then 5 or 10 rounds of mean
field. Building is also timed apart. Labels and probabilities are compared on ten pictures, memory
is that of a fresh process above what it had with its input, and the error of both against the
exact filter is measured on a small picture in float64. torch gets two threads, the package has
one. Other programs must rest: the script looks first, and says so in the record.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.dense_crf import DenseCRF
from segcourse.gaussian_filters import brute_force
from segcourse.permutohedral import Lattice
from segcourse.records import record, write_record

K = 21
SIZES = ((213, 320), (375, 500))
# sxy in pixels, srgb in colour units, weight. The smoothness kernel: 3 pixels, weight 3.
PARAMETERS = {"README": (80.0, 13.0, 10.0), "DeepLab": (67.0, 3.0, 4.0)}
SMOOTH = (3.0, 3.0)
ITERATIONS = (5, 10)
PHOTOGRAPHS = ("chelsea", "astronaut", "coffee", "rocket")


WHOLE = slice(None)


def photograph(name: str, height: int, width: int, part: slice = WHOLE) -> Tensor:
    """A photograph of scikit-image, or a part of its rows and columns: (1, 3, H, W) uint8."""
    from skimage import data

    image = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[None, :, part, part]
    image = F.interpolate(image.float(), (height, width), mode="area")
    return image.round().to(torch.uint8).contiguous()


def scores(height: int, width: int, labels: int = K, seed: int = 0) -> Tensor:
    """Scores like a network's: made at every eighth pixel, enlarged, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 3 * torch.randn(1, labels, height // 8 + 1, width // 8 + 1, generator=generator)
    fine = F.interpolate(coarse, (height, width), mode="bilinear")
    return fine + 0.3 * torch.randn(fine.shape, generator=generator)


def peer(logits: Tensor, image: Tensor, name: str):
    """The package's model of one image, its lattices built."""
    from pydensecrf import densecrf

    sxy, srgb, weight = PARAMETERS[name]
    _, labels, height, width = logits.shape
    model = densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy((-logits[0].flatten(1)).numpy())
    model.addPairwiseGaussian(sxy=SMOOTH[0], compat=SMOOTH[1])
    rgb = image[0].permute(1, 2, 0).contiguous().numpy()
    model.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=rgb, compat=weight)
    return model


def layer(name: str, iterations: int, labels: int = K, **filters) -> DenseCRF:
    """Ours with the same parameters."""
    sxy, srgb, weight = PARAMETERS[name]
    return DenseCRF(labels, weight, sxy, srgb, SMOOTH[1], SMOOTH[0], iterations, **filters)


def run(way: str, logits: Tensor, image: Tensor, name: str, iterations: int) -> Tensor:
    """Everything from scores and image to (K, H, W): probabilities, or ours their logarithms."""
    if way == "peer":
        found = np.asarray(peer(logits, image, name).inference(iterations))
        return torch.from_numpy(found).view(logits.shape[1:])
    with torch.inference_mode():
        return layer(name, iterations)(logits, image)[0]


def build(way: str, logits: Tensor, image: Tensor, name: str) -> None:
    """Only what does not depend on the number of rounds: the lattices."""
    if way == "peer":
        peer(logits, image, name)
        return
    with torch.inference_mode():
        for features in layer(name, 0).features(image, torch.float32):
            Lattice(features, symmetric=True)


def clock(function, *arguments) -> float:
    """Milliseconds of wall clock of one call."""
    start = time.perf_counter()
    function(*arguments)
    return 1000 * (time.perf_counter() - start)


def in_turns(function, repeats: int, *arguments) -> dict[str, float]:
    """Medians of both ways in ms, and the median of the ratios peer / ours of each turn."""
    for way in ("peer", "ours"):
        function(way, *arguments)
    turns = [[clock(function, way, *arguments) for way in ("peer", "ours")] for _ in range(repeats)]
    theirs, ours = zip(*turns, strict=True)
    return {
        "peer_ms": statistics.median(theirs),
        "ours_ms": statistics.median(ours),
        "ratio": statistics.median(a / b for a, b in turns),
        "ratio_lowest": min(a / b for a, b in turns),
        "ratio_highest": max(a / b for a, b in turns),
    }


def agreement() -> list[dict]:
    """Labels that agree and the largest difference of a probability, on ten pictures."""
    pictures = [(name, WHOLE) for name in PHOTOGRAPHS]
    pictures += [(name, slice(0, 250)) for name in PHOTOGRAPHS[:3]]
    pictures += [(name, slice(150, 300)) for name in PHOTOGRAPHS[:3]]
    rows = []
    for seed, (name, part) in enumerate(pictures):
        image, logits = photograph(name, *SIZES[0], part), scores(*SIZES[0], seed=seed)
        for parameters in PARAMETERS:
            theirs = run("peer", logits, image, parameters, 10)
            ours = run("ours", logits, image, parameters, 10).exp()
            rows.append(
                {
                    "picture": name if part == WHOLE else f"{name} {part.start}:{part.stop}",
                    "parameters": parameters,
                    "labels_agree": (ours.argmax(0) == theirs.argmax(0)).double().mean().item(),
                    "largest_difference": (ours - theirs).abs().max().item(),
                }
            )
    return rows


def against_exact() -> list[dict]:
    """Both against mean field with the exact filters, 48x48, 8 labels, 10 rounds."""
    rows = []
    for name in PHOTOGRAPHS:
        for parameters in PARAMETERS:
            image, logits = photograph(name, 48, 48), scores(48, 48, 8)
            filters = {"appearance_filter": brute_force, "smoothness_filter": brute_force}
            with torch.inference_mode():
                exact = layer(parameters, 10, 8, **filters).double()(logits.double(), image)[0]
                ours = layer(parameters, 10, 8)(logits, image)[0].exp()
            exact = exact.exp().float()
            theirs = run("peer", logits, image, parameters, 10)
            row = {"picture": name, "parameters": parameters}
            for way, found in (("peer", theirs), ("ours", ours)):
                row[f"{way}_labels_agree"] = (
                    (found.argmax(0) == exact.argmax(0)).double().mean().item()
                )
                row[f"{way}_mean_difference"] = (found - exact).abs().mean().item()
            rows.append(row)
    return rows


def memory(way: str, height: int, width: int, parameters: str) -> float:
    """MiB above what a fresh process holds with its input, at most, during one run of 10."""
    words = [way, str(height), str(width), parameters]
    command = [sys.executable, __file__, "--one", *words]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def one(way: str, height: int, width: int, parameters: str) -> None:
    """Print what `memory` asks for. Linux only."""

    def status(field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

    torch.set_num_threads(2)
    image, logits = photograph(PHOTOGRAPHS[0], height, width), scores(height, width)
    run(way, logits[..., :8, :8], image[..., :8, :8], parameters, 1)  # loads what is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    run(way, logits, image, parameters, 10)
    print(json.dumps(status("VmHWM") - before))


def others_busy(seconds: float = 2.0) -> float:
    """Cores that other programs use, on average over some seconds of doing nothing. Linux only."""

    def busy() -> float:
        fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")

    start = busy()
    time.sleep(seconds)
    return (busy() - start) / seconds


def main() -> int:
    """Measure, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="turns of each pair")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--times-only", action="store_true", help="no agreement, error or memory")
    parser.add_argument("--out", type=Path, help="write the record here")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    missing = [
        package
        for package, module in (("pydensecrf2", "pydensecrf"), ("scikit-image", "skimage"))
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        print(
            f"This compares with a package that is not installed here: pip install "
            f"{' '.join(missing)} (pydensecrf2 needs a C++ compiler and takes a minute).",
            file=sys.stderr,
        )
        return 1
    if args.one:
        way, height, width, parameters = args.one
        one(way, int(height), int(width), parameters)
        return 0
    torch.set_num_threads(args.threads)
    start, busy, load = time.perf_counter(), others_busy(), os.getloadavg()
    print(f"load {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}; others use {busy:.2f} cores")
    if busy > 0.1:
        print("The machine is not quiet: two threads that wait for each other lose most by it.")

    rows = []
    for height, width in SIZES:
        image, logits = photograph(PHOTOGRAPHS[0], height, width), scores(height, width)
        for parameters in PARAMETERS:
            case = {"height": height, "width": width, "parameters": parameters}
            built = in_turns(build, args.repeats, logits, image, parameters)
            rows.append({**case, "iterations": 0, **built})
            for n in ITERATIONS:
                took = in_turns(run, args.repeats, logits, image, parameters, n)
                rows.append({**case, "iterations": n, **took})
            for row in rows[-1 - len(ITERATIONS) :]:
                what = (
                    "lattices alone" if not row["iterations"] else f"{row['iterations']:2d} rounds"
                )
                print(
                    f"{width}x{height} {parameters:8s} {what:14s} peer {row['peer_ms']:6.0f} ms, "
                    f"ours {row['ours_ms']:6.0f} ms: {row['ratio']:.2f}x "
                    f"({row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f})",
                    flush=True,
                )
    metrics = {"times": rows, "load": load, "others_busy_cores": busy}
    if not args.times_only:
        metrics["agreement"] = agreement()
        metrics["against_exact"] = against_exact()
        metrics["memory_mib"] = []
        for height, width in SIZES:
            for parameters in PARAMETERS:
                case = {"height": height, "width": width, "parameters": parameters}
                for way in ("peer", "ours"):
                    case[way] = memory(way, height, width, parameters)
                metrics["memory_mib"].append(case)
                print(
                    f"{width}x{height} {parameters:8s} memory: peer {case['peer']:.0f} MiB, "
                    f"ours {case['ours']:.0f} MiB"
                )
        worst = min(row["labels_agree"] for row in metrics["agreement"])
        largest = max(row["largest_difference"] for row in metrics["agreement"])
        print(
            f"{len(metrics['agreement'])} comparisons with the peer: labels agree at {worst:.5f} "
            f"of the pixels or more, probabilities differ by {largest:.1e} or less"
        )
        for row in metrics["against_exact"]:
            print(
                f"against the exact filter, {row['picture']}, {row['parameters']}: labels "
                f"peer {row['peer_labels_agree']:.4f}, ours {row['ours_labels_agree']:.4f}; "
                f"mean |dQ| peer {row['peer_mean_difference']:.4f}, "
                f"ours {row['ours_mean_difference']:.4f}"
            )
    print(f"load at the end {os.getloadavg()[0]:.2f}")
    if args.out:
        config = {"repeats": args.repeats, "threads": args.threads, "labels": K}
        command = ["python", "benchmarks/crf.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, metrics, [], seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
