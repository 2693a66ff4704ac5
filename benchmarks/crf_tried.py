"""What each technique of the fast dense CRF is worth: on against off, in turns in one process.

    python benchmarks/crf_tried.py --out results/crf/tried.json

The arrays are those of a 500x375 photograph and 21 labels, and every pair gives the same numbers,
which the script asserts. CPU milliseconds of one thread, which other programs disturb least.
`python -m tools.crf_tables` writes the table of benchmarks/README.md from the record.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from crf import PARAMETERS, SIZES, K, layer, others_busy, photograph, scores
from torch import Tensor

from segcourse import fused_mean_field, permutohedral, simplex
from segcourse.fused_mean_field import plain_softmax, safe_softmax
from segcourse.permutohedral import Lattice, lattice, weighted_bags
from segcourse.records import record, write_record


@dataclass
class Pair:
    """One technique and its plain alternative, and what of the work both do."""

    technique: str
    alternative: str
    part: str
    on: Callable[[], Tensor]
    off: Callable[[], Tensor]


def tables_of_lattice(built: Lattice) -> Tensor:
    """All neighbours, to compare two ways of finding them."""
    return torch.stack(built.axes)


def building(features: Tensor) -> Iterator[Pair]:
    """Pairs for the appearance lattice."""

    def changed(module, name: str, new: Callable) -> Callable[[], Tensor]:
        def build() -> Tensor:
            with mock.patch.object(module, name, new):
                return tables_of_lattice(Lattice(features, symmetric=True))

        return build

    part = "appearance lattice built"
    own = changed(simplex, "_often_shared", simplex._often_shared)
    shared = Lattice(features).rows < len(features[0]) / 10
    other = "a sort of every pixel's corners" if shared else "always grouped"
    yield Pair(
        "pixels grouped by simplex where many share one",
        other,
        part,
        own,
        changed(simplex, "_often_shared", lambda code: not shared),
    )
    if shared:
        return
    yield Pair(
        "neighbours from a table of names modulo its size",
        "a binary search for each",
        part,
        own,
        changed(permutohedral, "_from_table", permutohedral._searched),
    )
    yield Pair(
        "lattice points named by 32 bits where they fit",
        "64 bits",
        part,
        own,
        changed(simplex, "_integer", lambda count: torch.int64),
    )


def filtering(built: Lattice, pixels: Tensor) -> Iterator[Pair]:
    """Pairs for splat, blur and slice of (P, K)."""
    spread = built.splat(pixels)
    row = torch.arange(built.rows + 1).repeat_interleave(built.start.diff().long())
    index, pixel = built.index.long(), built.pixel.long()
    wide = {name: getattr(built, name).long() for name in ("pixel", "start")}

    def added() -> Tensor:
        entries = pixels[pixel] * built.splat_weights[:, None]
        return torch.zeros_like(spread).index_add_(0, row, entries)

    def blurred_by_gathers() -> Tensor:
        rows = spread
        for axis in built.axes:
            beside = rows.index_select(0, axis[:, 1]).add_(rows.index_select(0, axis[:, 2]))
            rows = rows.add(beside, alpha=0.5)
        return rows

    yield Pair(
        "splat as weighted sums of rows (`embedding_bag`)",
        "`index_add_`",
        "splat",
        lambda: built.splat(pixels),
        added,
    )
    yield Pair(
        "blur the same way",
        "gathers and additions",
        "blur",
        lambda: built.blur(spread),
        blurred_by_gathers,
    )
    yield Pair(
        "slice the same way",
        "gather, multiply, sum",
        "slice",
        lambda: built.slice(spread),
        lambda: (spread[index] * built.slice_weights[..., None]).sum(1),
    )
    yield Pair(
        "32-bit numbers of pixels and rows",
        "64 bits",
        "splat",
        lambda: built.splat(pixels),
        lambda: weighted_bags(pixels, wide["pixel"], built.splat_weights, wide["start"]),
    )


def rounds(lattices: list[Lattice], unary: Tensor, logits: Tensor) -> Iterator[Pair]:
    """Pairs for the rest of a round; unary is (P, K)."""
    spread = [built.blur(built.splat(unary.softmax(1))) for built in lattices]
    one = torch.arange(len(unary), dtype=torch.int32)[:, None]
    table = torch.cat([*spread, unary])
    index = [lattices[0].index, lattices[1].index + len(spread[0]), one + sum(map(len, spread))]
    index = torch.cat(index, 1)
    weights = torch.cat([*(built.slice_weights for built in lattices), torch.ones(len(one), 1)], 1)
    start = permutohedral.starts(index)
    scaled, copied = torch.empty_like(unary), torch.empty_like(unary)
    flat = logits[0].flatten(1)
    eye = torch.eye(K)

    def two_tables() -> Tensor:
        heard = [built.slice(rows) for built, rows in zip(lattices, spread, strict=True)]
        return heard[0].add_(heard[1]).add_(unary)

    def softmax_by(way: Callable, out: Tensor) -> Tensor:
        way(unary, out)
        return out

    yield Pair(
        "both kernels and the unary in one table, one sum a pixel",
        "a sum a kernel, two additions",
        "slice of both and unary",
        lambda: weighted_bags(table, index, weights, start),
        two_tables,
    )
    yield Pair(
        "softmax as exp, a matrix-vector product and one multiplication",
        "`torch.softmax` over short rows",
        "softmax",
        lambda: softmax_by(plain_softmax, scaled),
        lambda: softmax_by(safe_softmax, copied),
    )
    yield Pair(
        "transposing by a product with the identity",
        "a copy",
        "scores to rows",
        lambda: flat.T @ eye,
        flat.T.contiguous,
    )


def whole(name: str, logits: Tensor, image: Tensor) -> Iterator[Pair]:
    """The fused loop against the one that gradients go through."""
    fused, plain = layer(name, 5), layer(name, 5, appearance_filter=lambda each: lattice(each))
    yield Pair(
        "all of it: the fused loop",
        "the loop for gradients, without them",
        "5 rounds, lattices built",
        lambda: fused(logits, image),
        lambda: plain(logits, image),
    )


def keeping(name: str, way: str) -> float:
    """CPU ms of a call at the paper's size in a new process, as malloc forgets nothing."""
    command = [sys.executable, __file__, "--keeping", name, way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def kept(name: str, way: str) -> None:
    """Print what `keeping` asks for."""
    image, logits = photograph("chelsea", *SIZES[0]), scores(*SIZES[0])
    if way == "off":
        fused_mean_field._keep_freed_memory = lambda: None
    crf = layer(name, 5)
    with torch.inference_mode():
        for _ in range(2):
            crf(logits, image)
        print(statistics.median(clock(lambda: crf(logits, image)) for _ in range(5)))


def clock(function: Callable[[], Tensor]) -> float:
    """CPU milliseconds of one call."""
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


def compare(pair: Pair, repeats: int) -> dict:
    """Both in turns: medians of CPU ms, the median, lowest and highest of the ratios off / on."""
    torch.testing.assert_close(pair.on(), pair.off(), atol=2e-3, rtol=2e-3)
    turns = [[clock(way) for way in (pair.off, pair.on)] for _ in range(repeats)]
    return row(pair.technique, pair.alternative, pair.part, turns)


def row(technique: str, alternative: str, part: str, turns: list[list[float]]) -> dict:
    """What the record holds of turns of (off, on) in CPU ms."""
    off, on = zip(*turns, strict=True)
    ratios = [a / b for a, b in turns]
    return {
        "technique": technique,
        "alternative": alternative,
        "part": part,
        "off_ms": statistics.median(off),
        "on_ms": statistics.median(on),
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
    }


def show(row: dict) -> None:
    """One line of a row."""
    print(
        f"{row['parameters']:8s} {row['technique']}, not {row['alternative']}: {row['part']} "
        f"{row['off_ms']:.1f} to {row['on_ms']:.1f} ms, {row['ratio']:.2f}x "
        f"({row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f})",
        flush=True,
    )


def main() -> int:
    """Measure, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="turns of each pair")
    parser.add_argument("--size", type=int, nargs=2, default=SIZES[1], help="height and width")
    parser.add_argument("--out", type=Path, help="write the record here")
    parser.add_argument("--keeping", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if importlib.util.find_spec("skimage") is None:
        print("The photograph is of scikit-image: pip install scikit-image", file=sys.stderr)
        return 1
    torch.set_num_threads(1)
    if args.keeping:
        kept(*args.keeping)
        return 0
    start, busy, load = time.perf_counter(), others_busy(), os.getloadavg()
    print(f"load {load[0]:.2f} {load[1]:.2f} {load[2]:.2f}; others use {busy:.2f} cores")
    height, width = args.size
    image, logits = photograph("chelsea", height, width), scores(height, width)
    rows = []
    with torch.inference_mode():
        for name in PARAMETERS:
            features = layer(name, 0).features(image, torch.float32)
            lattices = [Lattice(each, symmetric=True) for each in features]
            unary = logits[0].flatten(1).T.contiguous()
            pairs = [building(features[0]), filtering(lattices[0], unary.softmax(1))]
            if name == "README":  # the same with all parameters
                pairs.append(rounds(lattices, unary, logits))
            pairs.append(whole(name, logits, image))
            for pair in (pair for group in pairs for pair in group):
                rows.append({"parameters": name, **compare(pair, args.repeats)})
                show(rows[-1])
    for name in PARAMETERS:
        turns = [[keeping(name, way) for way in ("off", "on")] for _ in range(args.repeats)]
        what = ("freed memory kept for the next call", "given back", "5 rounds at 320x213")
        rows.append({"parameters": name, **row(*what, turns)})
        show(rows[-1])
    if args.out:
        config = {"repeats": args.repeats, "threads": 1, "labels": K}
        config |= {"height": height, "width": width}
        metrics = {"rows": rows, "load": load, "others_busy_cores": busy}
        command = ["python", "benchmarks/crf_tried.py", *sys.argv[1:]]
        seconds = time.perf_counter() - start
        write_record(args.out, record(command, config, 0, metrics, [], seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
