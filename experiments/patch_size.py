"""Accuracy against window size: how much of its surroundings a pixel needs (sliding_window).

    python experiments/patch_size.py

Patch classifiers of many window sizes learn from the same sampled pixels of generated scenes, in
the same order and number, and are evaluated densely on scenes that they never saw. Writes
results/sliding_window/patch_size.json; `--quick` is a smoke run of seconds.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.windows_on_scenes import GRID, Budget, K, evaluate, load, spread, train_patches

from segcourse.cost import multiply_adds, parameters
from segcourse.records import record, write_record
from segcourse.sliding_window import PatchClassifier

# Window in pixels to stride: stride pays for large windows, and small ones cannot afford it.
STRIDES = {1: 1, 3: 1, 5: 1, 9: 2, 13: 2, 17: 4, 21: 4, 29: 4, 41: 4, 53: 4}
WIDTH = 24


def one_run(window: int, stride: int, seed: int, budget: Budget) -> dict:
    """Train one window size from one seed on one thread, and evaluate it densely."""
    torch.set_num_threads(1)
    images, labels = load(budget.train_scenes, "train")
    model, seconds = train_patches(window, stride, WIDTH, images, labels, budget, seed)
    return {"seed": seed, **evaluate(model, budget.test_scenes), "training_cpu_s": seconds}


def main() -> int:
    """Run every window and seed, print a row for each window and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each window size")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, a CPU core each")
    parser.add_argument(
        "--out", type=Path, default=Path("results/sliding_window/patch_size.json"), help="record"
    )
    args = parsed(parser)
    start = time.perf_counter()
    budget = Budget(8, 2, 3, 2) if args.quick else Budget()
    strides = {1: 1, 9: 2, 17: 4} if args.quick else STRIDES
    rows = []
    # "spawn": a forked child would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        waiting = {
            window: [
                pool.submit(one_run, window, stride, seed, budget) for seed in range(args.seeds)
            ]
            for window, stride in strides.items()
        }
        for window, stride in strides.items():
            runs = [run.result() for run in waiting[window]]
            classifier = PatchClassifier(window, K, width=WIDTH, stride=stride)
            rows.append(
                {
                    "window": window,
                    "stride": stride,
                    "parameters": parameters(classifier),
                    "multiply_adds_a_window": multiply_adds(classifier.eval(), (window, window)),
                    "runs": runs,
                }
            )
            show(window, stride, runs)
    config = asdict(budget) | {
        "width": WIDTH,
        "quick": args.quick,
        "seeds": args.seeds,
        "labelled_pixels_a_step": budget.crops * (budget.crop // GRID) ** 2,
    }
    command = ["python", "experiments/patch_size.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"windows": rows}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(window: int, stride: int, runs: list[dict]) -> None:
    """One line of means and half ranges."""
    chosen = ("pixel_accuracy", "miou", "pair_told_apart", "pair_found_iou")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
    print(f"window {window:>2}  stride {stride}  " + "  ".join(columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
