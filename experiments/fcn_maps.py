"""What FCN-32s, 16s and 8s make of the same scenes: the label maps beside the numbers (fcn).

    python experiments/fcn_maps.py

Trains the networks of `fcn_skips.py` from seed 0 once more, in the same order and each for three
cycles of as many steps as in its record, and predicts the first test scenes. Writes
results/fcn/maps.png: a row for each of 32s, 16s, 8s and 8s at once with its maps of test scenes 0,
1, 2 and so on, as class indices with the palette of the scenes; `--quick` is a smoke run.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from fcn_skips import CYCLES, SKIPS, going_on
from PIL import Image
from shared.command_line import parsed
from shared.dense_on_scenes import Budget, K, predict, scenes, tensors, train

from segcourse.fcn import FCN
from segcourse.fcn_networks import fcn_light
from segcourse.labels import SCENES
from segcourse.results import read

SHOWN = 6
"""Test scenes in a row, from the first on: nobody chose them."""


def networks(budget: Budget) -> dict[str, FCN]:
    """The networks of seed 0 after all their cycles."""
    torch.manual_seed(0)  # this script is the program, so the seed is its
    net32 = fcn_light(K)
    train(net32, budget, 1)
    net16 = going_on(net32, SKIPS["16s"])
    train(net16, budget, 2)
    net8 = going_on(net16, SKIPS["8s"])
    for cycle in range(3, CYCLES + 1):
        train(net8, budget, cycle)
        train(net16, budget, cycle)
    for cycle in range(2, CYCLES + 1):
        train(net32, budget, cycle)
    torch.manual_seed(0)
    at_once = fcn_light(K, SKIPS["8s"])
    for cycle in range(1, CYCLES + 1):
        train(at_once, budget, cycle)
    return {"32s": net32, "16s": net16, "8s": net8, "8s at once": at_once}


def strip(budget: Budget) -> np.ndarray:
    """Label maps (4 * 128, SHOWN * 128) uint8: a row a network, a column a scene."""
    images, _ = tensors(scenes(SHOWN, "test"))
    rows = []
    for network in networks(budget).values():
        found = predict(network, images).argmax(1)
        rows.append(np.concatenate(list(found.numpy().astype(np.uint8)), axis=1))
    return np.concatenate(rows, axis=0)


def main() -> int:
    """Train the networks and write the strip of maps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="of each cycle; those of the record by default")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its maps say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/fcn/maps.png"), help="picture")
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    budget = Budget(steps=args.steps or read("fcn/skips")["config"]["steps"])
    picture = Image.fromarray(strip(budget.quick() if args.quick else budget), mode="P")
    picture.putpalette(np.array(SCENES.palette, np.uint8).tobytes())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(args.out, optimize=True)
    print(f"wrote {args.out}: maps of {SHOWN} scenes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
