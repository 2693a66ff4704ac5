"""FCN-32s, 16s and 8s on the scenes: what each skip gives back, and where (fcn).

    python experiments/fcn_skips.py

A light FCN-32s is trained for a cycle of the learning rate and hands its weights to 16s; that is
trained for a cycle and hands them to 8s, as in the paper. More training alone would help, too, so
32s and 16s go on as they are until all have had three cycles, and one 8s has all skips from the
first cycle on. Beside them stand the ceiling (the truth on a grid of 32, 16, 8 or 4 px, restored)
and what the coarsest scores of 32s listen to, before training and after. Writes
results/fcn/skips.json; `--quick` is a smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, evaluate, scenes, scores, train
from shared.windows_on_scenes import spread
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.cost import multiply_adds, parameters
from segcourse.data import scene
from segcourse.data.augment import normalise
from segcourse.degrade import shrink_and_restore
from segcourse.effective_field import effective_receptive_field, field_radius, field_sigma
from segcourse.fcn import FCN, hand_over
from segcourse.fcn_networks import fcn_light
from segcourse.labels import IGNORE
from segcourse.receptive_field import receptive_field
from segcourse.records import record, write_record

SKIPS = {"32s": (), "16s": (16,), "8s": (16, 8)}
CYCLES = 3
STRIDES = (32, 16, 8, 4)
FIELD_SIDE = 288  # px; more than the 251 px of the field
FIELD_CELL = 6  # px of the image in one number of the map that is kept


def going_on(model: FCN, skips: tuple[int, ...]) -> FCN:
    """A network with these skips that starts as `model` is."""
    after = fcn_light(K, skips)
    hand_over(model, after)
    return after


def chains(seed: int, budget: Budget) -> tuple[list[dict], list[dict]]:
    """Train and evaluate every variant from one seed.

    Returns:
        A row for each variant and number of cycles, and the fields of 32s.
    """
    rows, fields = [], []

    def cycle(model: FCN, variant: str, number: int) -> FCN:
        seconds = train(model, budget, 10 * seed + number)  # the same crops for every variant
        found = evaluate(model, budget.test_scenes)
        rows.append(
            {"variant": variant, "cycles": number, "seed": seed, **found, "training_cpu_s": seconds}
        )
        print(f"seed {seed}  {variant:<11} {number} cycles  {line([found])}", flush=True)
        return model

    torch.manual_seed(seed)  # this script is the program, so the seed is its
    net32 = fcn_light(K)
    fields.append({"seed": seed, "cycles": 0, **listens(net32, seed)})
    net32 = cycle(net32, "32s", 1)
    fields.append({"seed": seed, "cycles": 1, **listens(net32, seed)})
    net16 = cycle(going_on(net32, SKIPS["16s"]), "16s", 2)
    cycle(going_on(net16, SKIPS["8s"]), "8s", 3)
    cycle(net16, "16s", 3)
    for number in range(2, CYCLES + 1):
        net32 = cycle(net32, "32s", number)
    fields.append({"seed": seed, "cycles": CYCLES, **listens(net32, seed)})
    torch.manual_seed(seed)
    net8 = fcn_light(K, SKIPS["8s"])
    for number in range(1, CYCLES + 1):
        net8 = cycle(net8, "8s at once", number)
    return rows, fields


def listens(model: FCN, seed: int) -> dict[str, object]:
    """The effective field of the last map before the score, whose unit lies in the middle."""
    deep = nn.Sequential(*model.backbone.stages, *list(model.head)[:-1]).eval()
    images = torch.stack(
        [scene(0, i, (FIELD_SIDE, FIELD_SIDE), "val").image for i in range(8)]
    ).float()
    generator = torch.Generator().manual_seed(seed)
    field = effective_receptive_field(deep, normalise(images / 255), generator)
    found = {
        "size": receptive_field(deep).size,
        "sigma": field_sigma(field),
        "radius_95": field_radius(field),
        "radius_50": field_radius(field, 0.5),
    }
    return found | ({"map": small(field)} if seed == 0 else {})


def small(field: Tensor) -> list[list[float]]:
    """The field in cells of a few pixels, the largest 1, for a picture."""
    cells = F.avg_pool2d(field[None], FIELD_CELL)[0]
    return [[round(value, 4) for value in row] for row in (cells / cells.max()).tolist()]


def ceiling(length: int) -> list[dict]:
    """The truth shrunk to a grid and restored: about the best that a grid can do."""
    made = scenes(length, "test")
    truth = torch.stack([one.labels for one in made])
    rows = []
    for stride in STRIDES:
        coarse = shrink_and_restore(truth, stride)
        # A prediction must name a class: void falls to class 0.
        rows.append({"stride": stride, **scores(coarse.masked_fill(coarse == IGNORE, 0), made)})
        print(f"truth at stride {stride:>2}: {line(rows[-1:])}", flush=True)
    return rows


def line(runs: list[dict]) -> str:
    """Means and half ranges of the numbers that the chapter argues about."""
    chosen = ("miou", "trimap_1px_miou", "trimap_3px_miou", "interior_miou")
    return "  ".join(f"{key} {spread([run[key] for run in runs])}" for key in chosen)


def main() -> int:
    """Train and evaluate each variant, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--steps", type=int, default=1600, help="optimizer steps of each cycle")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/fcn/skips.json"), help="record")
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    best = ceiling(budget.test_scenes)
    rows, fields = [], []
    for seed in range(args.seeds):
        more_rows, more_fields = chains(seed, budget)
        rows, fields = rows + more_rows, fields + more_fields
    for variant, cycles in dict.fromkeys((row["variant"], row["cycles"]) for row in rows):
        same = [r for r in rows if (r["variant"], r["cycles"]) == (variant, cycles)]
        print(f"{variant:<11} {cycles} cycles  {line(same)}")

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "cycles": CYCLES,
        "field_side": FIELD_SIDE,
        "field_cell": FIELD_CELL,
    }
    sizes = {
        variant: {
            "parameters": parameters(fcn_light(K, skips)),
            "multiply_adds": multiply_adds(fcn_light(K, skips), (128, 128)),
        }
        for variant, skips in SKIPS.items()
    }
    metrics = {"networks": sizes, "runs": rows, "ceiling": best, "effective_field": fields}
    command = ["python", "experiments/fcn_skips.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, metrics, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
