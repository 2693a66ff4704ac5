"""Single rates, LargeFOV, ASPP-S, ASPP-L and v3's head on the scenes (aspp).

    python experiments/aspp_branches.py

One backbone at stride 4, whose maps of a scene are 32x32: half of the paper's 65x65, so every rate
is half of the paper's. Each head is trained from scratch on the same crops. Besides the overall
scores the record holds the share of right pixels by object size, for each head, and for each
branch of a trained ASPP-L alone. Writes results/aspp/branches.json; `--quick` is a smoke run.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, evaluate, predict, scenes, scores, tensors, train
from shared.windows_on_scenes import spread
from torch import nn

from segcourse.aspp import ASPP, ASPPv3, large_fov
from segcourse.backbones import LightBackbone
from segcourse.cost import multiply_adds, parameters
from segcourse.deeplab import DeepLab
from segcourse.records import record, write_record

WIDTHS = (24, 48)  # of the backbone: strides 2 and 4
WIDTH = 48  # of fc6 and fc7
RATES_S, RATES_L = (1, 2, 4, 6), (3, 6, 9, 12)  # half of the paper's 2, 4, 8, 12 and 6, 12, 18, 24
DROPOUT = 0.1
STEPS = 1500


def head_of_one_rate(rate: int, width: int = WIDTH) -> Callable[[], nn.Module]:
    """A LargeFOV of this rate; 6 is half of the paper's 12."""
    return lambda: large_fov(WIDTHS[-1], K, rate, width, DROPOUT)


HEADS: dict[str, Callable[[], nn.Module]] = {
    **{f"rate_{rate}": head_of_one_rate(rate) for rate in (1, 3, 6, 9, 12)},
    # As many parameters as four branches have, in one.
    "rate_6_wide": head_of_one_rate(6, 158),
    # The two rates of ASPP-S that are not above, and the best single rate made as wide.
    **{f"rate_{rate}": head_of_one_rate(rate) for rate in (2, 4)},
    "rate_3_wide": head_of_one_rate(3, 158),
    "aspp_s": lambda: ASPP(WIDTHS[-1], K, RATES_S, WIDTH, DROPOUT),
    "aspp_l": lambda: ASPP(WIDTHS[-1], K, RATES_L, WIDTH, DROPOUT),
    "v3": lambda: ASPPv3(WIDTHS[-1], K, (3, 6, 9), WIDTH, DROPOUT),
}


MORE = ("rate_2", "rate_4", "rate_3_wide")
"""Heads that came later, and have a record of their own: branches_more.json."""


def build(name: str, seed: int) -> DeepLab:
    """The model with the weights of this seed; the backbone's are the same for every head."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    backbone = LightBackbone(WIDTHS)
    return DeepLab(backbone, HEADS[name]())


class Branch(nn.Module):
    """One branch of a trained ASPP, scoring alone."""

    def __init__(self, model: DeepLab, index: int):
        super().__init__()
        self.one = DeepLab(model.backbone, model.head.branches[index])

    def forward(self, image):
        """(N, 3, H, W) to logits (N, K, H, W)."""
        return self.one(image)


def main() -> int:
    """Train and evaluate each head, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each head")
    first = [name for name in HEADS if name not in MORE]
    parser.add_argument("--only", nargs="*", default=first, choices=HEADS, help="heads")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--out", type=Path, default=Path("results/aspp/branches.json"), help="record"
    )
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    made = scenes(budget.test_scenes, "test")
    found: dict[str, dict] = {}
    for name in args.only:
        runs, branches = [], []
        for seed in range(args.seeds):
            model = build(name, seed)
            seconds = train(model, budget, seed)
            runs.append(
                {"seed": seed, **evaluate(model, budget.test_scenes), "training_cpu_s": seconds}
            )
            if name == "aspp_l":
                branches.append(
                    {
                        str(rate): scores(
                            predict(Branch(model, i).eval(), tensors(made)[0]).argmax(1), made
                        )
                        for i, rate in enumerate(RATES_L)
                    }
                )
        found[name] = {
            "parameters": parameters(model),
            "multiply_adds": multiply_adds(model, (128, 128)),
            "runs": runs,
        }
        if branches:
            found[name]["branches_alone"] = branches
        chosen = ("miou", "pixel_accuracy", "trimap_3px_miou", "pair_told_apart")
        columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
        by_size = zip(*(run["accuracy_by_size"] for run in runs), strict=True)
        shown = " ".join(f"{100 * sum(v or 0 for v in size) / len(size):.0f}" for size in by_size)
        print(f"{name:<12}", "  ".join(columns), " by size", shown, flush=True)

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "backbone_widths": WIDTHS,
        "head_width": WIDTH,
        "rates_s": RATES_S,
        "rates_l": RATES_L,
        "dropout": DROPOUT,
    }
    command = ["python", "experiments/aspp_branches.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"heads": found}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
