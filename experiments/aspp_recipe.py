"""Poly against step, a finer output stride at test time, and averaged views (aspp).

    python experiments/aspp_recipe.py

One light DeepLab v3, from the same weights of each seed, is trained at output stride 8 with three
schedules at several learning rates. What poly trained at the first of them is then evaluated as it
is, at output stride 4 with every rate doubled, at 4 with the rates left alone, at 4 with a resize
that moves the finer grid, and with views averaged at test time; the same network trained at 4
stands beside it. Strides are half of the paper's 16 and 8, since scenes and their objects are
small. Writes results/aspp/recipe.json; `--quick` is a smoke run.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, evaluate, train
from shared.windows_on_scenes import spread
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from segcourse.aspp import ASPPv3
from segcourse.backbones import LightBackbone
from segcourse.config import Config
from segcourse.deeplab import DeepLab, at_finer_stride, rates_at
from segcourse.dilate import dilate
from segcourse.optim import factor
from segcourse.records import record, write_record
from segcourse.views import AveragedViews

WIDTHS = (24, 48, 64)  # of the backbone: strides 2, 4, 8
WIDTH = 48
COARSE, FINE = 8, 4  # half of the paper's 16 and 8, as the scenes are small
RATES = (4, 8, 12)  # at the fine stride, where a scene's map is 32x32
SCHEDULES = {
    "constant": {"schedule": "constant"},
    "step": {"schedule": "step", "milestones": (1 / 3, 2 / 3), "gamma": 0.1},
    "poly": {"schedule": "poly", "power": 0.9},
}
LEARNING_RATES = (0.003, 0.01)
SCALES = (0.75, 1.0, 1.25)
STEPS = 600


def build(output_stride: int, seed: int) -> DeepLab:
    """The model with the weights of this seed, which are the same at every stride."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    backbone = LightBackbone(WIDTHS)
    rates = rates_at(output_stride, RATES, stated_at=FINE)
    head = ASPPv3(backbone.channels[-1], K, rates, WIDTH, dropout=0.1)
    return DeepLab(dilate(backbone, output_stride), head)


def follow(name: str) -> Callable[[Optimizer, Budget], LambdaLR]:
    """The schedule of this name, without warm-up, for `train`."""

    def schedule(optimizer: Optimizer, budget: Budget) -> LambdaLR:
        config = Config(steps=budget.steps, **SCHEDULES[name])
        return LambdaLR(optimizer, lambda step: factor(config, step))

    return schedule


def ways(trained: DeepLab) -> dict[str, nn.Module]:
    """The ways of looking at test images with the weights of a network of the coarse stride."""
    fine = at_finer_stride(trained, LightBackbone(WIDTHS), FINE)
    return {
        "at 4, every rate doubled": fine,
        "at 4, rates as at 8": DeepLab(fine.backbone, trained.head, finer=2).eval(),
        "at 4, moved by the resize": DeepLab(fine.backbone, fine.head).eval(),
        "at 8, mirrored": AveragedViews(trained, (1.0,)),
        "at 8, three sizes": AveragedViews(trained, SCALES, flip=False),
        "at 8, three sizes, mirrored": AveragedViews(trained, SCALES),
        "at 4, three sizes, mirrored": AveragedViews(fine, SCALES),
    }


def told(name: str, runs: list[dict]) -> None:
    """Print a row."""
    chosen = ("miou", "pixel_accuracy", "trimap_3px_miou", "pair_told_apart")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
    print(f"{name:<28}", "  ".join(columns), flush=True)


def main() -> int:
    """Train with each schedule, evaluate in each way, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each schedule")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/aspp/recipe.json"), help="record")
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    schedules: dict[str, dict[str, list[dict]]] = {}
    looks: dict[str, list[dict]] = {}

    def trained(output_stride: int, name: str, lr: float, seed: int) -> tuple[DeepLab, dict]:
        model = build(output_stride, seed)
        seconds = train(model, replace(budget, learning_rate=lr), seed, schedule=follow(name))
        run = {"seed": seed, **evaluate(model, budget.test_scenes), "training_cpu_s": seconds}
        return model, run

    for lr in LEARNING_RATES:
        for name in SCHEDULES:
            runs = schedules.setdefault(f"{lr:g}", {}).setdefault(name, [])
            for seed in range(args.seeds):
                model, run = trained(COARSE, name, lr, seed)
                runs.append(run)
                if name == "poly" and lr == LEARNING_RATES[0]:
                    looks.setdefault("at 8, as trained", []).append(run)
                    for way, looking in ways(model).items():
                        found = {"seed": seed, **evaluate(looking, budget.test_scenes)}
                        looks.setdefault(way, []).append(found)
            told(f"{name}, {lr:g}", runs)
    for seed in range(args.seeds):
        _, run = trained(FINE, "poly", LEARNING_RATES[0], seed)
        looks.setdefault("trained at 4", []).append(run)
    for way, runs in looks.items():
        told(way, runs)

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "backbone_widths": WIDTHS,
        "head_width": WIDTH,
        "coarse": COARSE,
        "fine": FINE,
        "rates_at_fine": RATES,
        "schedules": SCHEDULES,
        "learning_rates": LEARNING_RATES,
        "scales": SCALES,
    }
    command = ["python", "experiments/aspp_recipe.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    metrics = {"schedules": schedules, "ways": looks}
    write_record(args.out, record(command, config, 0, metrics, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
