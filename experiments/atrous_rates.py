"""Field of view at constant parameters: only the rates differ, on the scenes (atrous).

    python experiments/atrous_rates.py

Seven networks of one strided and five 3x3 layers, with the same number of weights and
multiply-adds, from the same first weights, on the same crops. Rates that are all alike are
compared with mixed rates of the same sum, and so of the same field. Writes
results/atrous/rates.json, and a picture of three networks' score maps beside it; `--quick` is a
smoke run.
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, evaluate, scenes, tensors, train
from shared.windows_on_scenes import POND, spread

from segcourse.cost import multiply_adds, parameters
from segcourse.dilated_networks import DilatedNet, rate_stack
from segcourse.effective_field import effective_receptive_field, field_radius, field_sigma
from segcourse.gridding import largest_gap, seen_share, unrest
from segcourse.receptive_field import receptive_field
from segcourse.records import record, write_record

WIDTH = 24
STACKS = (
    (1, 1, 1, 1, 1),
    (2, 2, 2, 2, 2),
    (1, 1, 2, 3, 3),
    (3, 3, 3, 3, 3),
    (1, 2, 3, 4, 5),
    (4, 4, 4, 4, 4),
    (1, 2, 4, 5, 8),
)
SHOWN = ((1, 1, 1, 1, 1), (4, 4, 4, 4, 4), (1, 2, 4, 5, 8))
SCENE = 6  # of the test scenes, for the picture


def build(rates: tuple[int, ...], seed: int) -> DilatedNet:
    """The network of this seed; its first weights do not depend on the rates."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    return rate_stack(K, rates, WIDTH)


def listening(net: DilatedNet, images: torch.Tensor, seed: int) -> dict[str, float]:
    """Size of the effective field of the central score, in pixels."""
    layers, generator = net.front_end, torch.Generator().manual_seed(seed)
    field = effective_receptive_field(layers, images, generator)
    return {"field_radius_95_px": field_radius(field), "field_sigma_px": field_sigma(field)}


@torch.no_grad()
def unrest_of_scores(net: DilatedNet, images: torch.Tensor, period: int) -> float:
    """Median over scenes and classes of `unrest` in the score maps, borders cut off."""
    scores = net.front_end(images)[..., 8:-8, 8:-8]
    return unrest(scores, period).flatten().median().item()


def picture(nets: dict[tuple[int, ...], DilatedNet], images: torch.Tensor) -> np.ndarray:
    """The score maps of one class side by side, each from its least to its largest score."""
    panels = []
    for rates in SHOWN:
        with torch.no_grad():
            scores = nets[rates].front_end(images[SCENE % len(images)][None])[0, POND]
        low, high = torch.quantile(scores.flatten(), torch.tensor([0.01, 0.99]))
        grey = (255 * ((scores - low) / (high - low)).clamp(0, 1)).byte().numpy()
        panels.append(grey.repeat(4, 0).repeat(4, 1))
    return np.concatenate(panels, axis=1)


def main() -> int:
    """Train and evaluate each network, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--steps", type=int, default=700, help="optimizer steps of each run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/atrous/rates.json"))
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps)
    budget = budget.quick() if args.quick else budget
    images, _ = tensors(scenes(min(16, budget.test_scenes), "test"))
    runs: dict[tuple[int, ...], list] = {rates: [] for rates in STACKS}
    nets: dict[tuple[int, ...], DilatedNet] = {}
    for seed in range(args.seeds):
        for rates in STACKS:
            net = build(rates, seed)
            seconds = train(net, budget, seed)
            net.to(memory_format=torch.contiguous_format)
            found = evaluate(net, budget.test_scenes) | listening(net, images, seed)
            # Mixed rates have no period of their own: they are held against that of their twin.
            period = max(2, round(sum(rates) / len(rates)))
            found |= {"unrest": unrest_of_scores(net, images, period), "unrest_period": period}
            runs[rates].append({"seed": seed, **found, "training_cpu_s": seconds})
            show(rates, runs[rates][-1:])
            if seed == 0:
                nets[rates] = net
    rows = []
    for rates, found in runs.items():
        show(rates, found)
        rows.append(
            {
                "rates": rates,
                "field_px": receptive_field(nets[rates].front_end).size,
                "seen_share": seen_share(rates),
                "largest_gap": largest_gap(rates),
                "parameters": parameters(nets[rates]),
                "multiply_adds": multiply_adds(nets[rates], (128, 128)),
                "runs": found,
            }
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(nets, images)).save(args.out.with_suffix(".png"), optimize=True)
    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "width": WIDTH,
        "shown": SHOWN,
        "scene": SCENE,
    }
    command = ["python", "experiments/atrous_rates.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"stacks": rows}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(rates: tuple[int, ...], runs: list[dict]) -> None:
    """One line of means and half ranges."""
    chosen = ("pair_told_apart", "miou", "trimap_1px_miou", "unrest")
    chosen = [key for key in chosen if key in runs[0]]
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
    print(f"{','.join(map(str, rates)):<10} " + "  ".join(columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
