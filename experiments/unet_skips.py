"""U-Net with every skip, with none, and with each one taken out, on the scenes (unet).

    python experiments/unet_skips.py

Every network has the same weights at the start and sees the same crops; a skip that is taken out
hands on zeros. Then one question more: what can each level of the trained encoder decide alone? A
1x1 classifier on its features, enlarged to the image's size, answers. Writes
results/unet/skips.json; `--quick` is a smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from shared.dense_on_scenes import Budget, K, evaluate, train
from shared.windows_on_scenes import spread
from torch import nn
from torch.nn import functional as F

from segcourse.cost import multiply_adds, parameters
from segcourse.records import record, write_record
from segcourse.unet import UNet, double_conv_norm

DEPTH, WIDTH = 3, 8
PROBE_STEPS = 300
SKIPS: dict[str, tuple[bool, ...]] = {
    "all": (True,) * DEPTH,
    "none": (False,) * DEPTH,
    **{f"without_{i}": tuple(level != i for level in range(DEPTH)) for i in range(DEPTH)},
}
"""Level 0 is the finest, at the image's own size."""


def build(skips: tuple[bool, ...], seed: int) -> UNet:
    """The network of this seed; only its switches differ."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    return UNet(3, K, DEPTH, WIDTH, block=double_conv_norm, skips=skips)


class Probe(nn.Module):
    """A 1x1 classifier on one level of a frozen encoder."""

    def __init__(self, net: UNet, level: int):
        super().__init__()
        self.net, self.level = [net], level  # in a list: its weights are not the probe's
        self.norm = nn.BatchNorm2d(WIDTH * 2**level)
        self.score = nn.Conv2d(WIDTH * 2**level, K, 1)

    def forward(self, image):
        """(N, 3, H, W), sides divisible by 2^depth, to logits (N, K, H, W)."""
        with torch.no_grad():
            features = self.net[0].encode(image)[self.level]
        return F.interpolate(self.score(self.norm(features)), image.shape[2:], mode="bilinear")


def probe(net: UNet, level: int, budget: Budget, seed: int) -> dict[str, object]:
    """What the level's features decide alone."""
    torch.manual_seed(seed)
    model = Probe(net, level)
    steps = min(PROBE_STEPS, budget.steps)
    train(model, Budget(**(asdict(budget) | {"steps": steps})), seed)
    return evaluate(model, budget.test_scenes)


def main() -> int:
    """Train and evaluate each network, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--steps", type=int, default=1200, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/unet/skips.json"), help="record")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    runs: dict[str, list] = {name: [] for name in SKIPS}
    levels: dict[str, list] = {str(level): [] for level in range(DEPTH + 1)}
    for seed in range(args.seeds):
        for name, skips in SKIPS.items():
            net = build(skips, seed)
            seconds = train(net, budget, seed)
            found = evaluate(net, budget.test_scenes)
            runs[name].append({"seed": seed, **found, "training_cpu_s": seconds})
            show(name, runs[name][-1:])
            if name == "all":
                for level, row in levels.items():
                    row.append({"seed": seed, **probe(net.eval(), int(level), budget, seed)})
                    show(f"level {level} alone", row[-1:])
    for name, row in runs.items():
        show(name, row)

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "depth": DEPTH,
        "width": WIDTH,
        "probe_steps": PROBE_STEPS,
    }
    metrics = {
        "parameters": parameters(net),
        "multiply_adds": multiply_adds(net, (128, 128)),
        "networks": runs,
        "levels_alone": levels,
    }
    command = ["python", "experiments/unet_skips.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, metrics, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(name: str, runs: list[dict]) -> None:
    """One line of means and half ranges."""
    chosen = ("miou", "trimap_1px_miou", "trimap_3px_miou", "interior_miou", "pair_told_apart")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
    print(f"{name:<14}" + "  ".join(columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
