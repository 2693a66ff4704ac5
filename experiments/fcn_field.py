"""Objects larger and smaller than what a network sees: accuracy by size and field (fcn).

    python experiments/fcn_field.py

Networks without skips that stop after two, three, four or five stages of the light backbone: each
stage doubles the stride and about doubles the receptive field, so one grows at the other's cost.
Colour says nothing in the scenes, so a pixel deep inside an object larger than the field has
nothing to go by; an object smaller than a cell has no cell. Writes results/fcn/field.json;
`--quick` is a smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.dense_on_scenes import SIZES, Budget, K, evaluate, scenes, tensors, train
from shared.windows_on_scenes import spread
from torch import nn

from segcourse.backbones import LightBackbone
from segcourse.cost import multiply_adds, parameters
from segcourse.effective_field import effective_receptive_field, field_radius, field_sigma
from segcourse.fcn import FCN, zero_scores
from segcourse.receptive_field import receptive_field
from segcourse.records import record, write_record

WIDTHS = (16, 32, 64, 96, 128)
STAGES = (2, 3, 4, 5)


def build(stages: int, seed: int) -> FCN:
    """The first stages of the light backbone and a 1x1 score layer."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    return FCN(LightBackbone(WIDTHS[:stages]), zero_scores(WIDTHS[stages - 1], K), K)


def geometry(model: FCN) -> dict[str, int]:
    """Stride and field in px, parameters, and multiply-adds of a 128x128 image."""
    field = receptive_field(nn.Sequential(*model.backbone.stages))
    return {
        "stride": field.stride,
        "field": field.size,
        "parameters": parameters(model),
        "multiply_adds": multiply_adds(model, (128, 128)),
    }


def listens(model: FCN, budget: Budget) -> dict[str, float]:
    """The effective field of the deepest map on test scenes."""
    images, _ = tensors(scenes(budget.test_scenes, "test"))
    deep = nn.Sequential(*model.backbone.stages).eval()
    field = effective_receptive_field(deep, images[:16], torch.Generator().manual_seed(0))
    return {"field_sigma": field_sigma(field), "field_radius_95": field_radius(field)}


def main() -> int:
    """Train and evaluate each network, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--steps", type=int, default=800, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/fcn/field.json"), help="record")
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    rows = []
    for stages in STAGES:
        runs = []
        for seed in range(args.seeds):
            model = build(stages, seed)
            seconds = train(model, budget, seed)
            found = evaluate(model, budget.test_scenes) | listens(model, budget)
            runs.append({"seed": seed, **found, "training_cpu_s": seconds})
        rows.append({"stages": stages, **geometry(model), "runs": runs})
        show(rows[-1])
    config = asdict(budget) | {"quick": args.quick, "seeds": args.seeds, "sizes": SIZES}
    command = ["python", "experiments/fcn_field.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"networks": rows}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(row: dict) -> None:
    """One line of means and half ranges, the IoU of each range of sizes among them."""
    runs = row["runs"]
    columns = [f"miou {spread([run['miou'] for run in runs])}"]
    for i, (low, high) in enumerate(SIZES):
        found = [run["iou_by_size"][i] for run in runs]
        if None not in found:
            columns.append(f"{low}-{high} px {spread(found)}")
    print(
        f"stride {row['stride']:>2}, field {row['field']:>3} px  " + "  ".join(columns), flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
