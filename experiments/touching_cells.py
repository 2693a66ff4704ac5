"""Touching cells kept apart: border weights, and elastic deformation of one image (unet).

    python experiments/touching_cells.py

A light U-Net on generated cells. Thirty images: the loss balanced between the two classes; the
background weighed as heavily in sum as the border map weighs it, but evenly; the border map. One
image, with the border map: not bent, and bent with sigma 2 and 4 px. Every seed has its own
training images and weights; the test images are the same for all. Writes
results/unet/touching_cells.json, and touching_cells.png: the predictions of seed 0 for the first
test images, a row an image, a column a network, in the palette of the cells.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared.cells import MEMBRANE, SIDE, Budget, load, predict, scores, train
from shared.command_line import parsed
from shared.windows_on_scenes import spread
from torch import Tensor

from segcourse.border_weights import border_weights
from segcourse.cost import parameters
from segcourse.labels import CELLS
from segcourse.losses import label_counts
from segcourse.records import record, write_record
from segcourse.unet import UNet, double_conv_norm

W0, SIGMA = 10.0, 5.0
DEPTH, WIDTH = 3, 12
SHOWN = 4
"""Test images in the picture."""


@dataclass(frozen=True)
class Variant:
    """What one network is trained with; sigma of the elastic deformation in px."""

    images: int
    weights: str
    sigma: float = 0.0


VARIANTS = {
    "balanced": Variant(30, "balanced"),
    "heavy_background": Variant(30, "heavy_background"),
    "border": Variant(30, "border"),
    "one_image": Variant(1, "border"),
    "one_image_bent_2px": Variant(1, "border", 2.0),
    "one_image_bent_4px": Variant(1, "border", 4.0),
}


def pixel_weights(instances: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """The three ways to weigh pixels, by name; each maps instances to weights of their shape.

    Args:
        instances: (N, H, W) of the training images, whose class frequencies are balanced.
    """
    counts = label_counts((instances > 0).long(), 2).sum(0).double()
    balance = (counts.sum() / (2 * counts)).float()
    background = instances == 0
    mapped = border_weights(instances, balance, W0, SIGMA)
    heavy = torch.stack((mapped[background].mean(), balance[1]))
    return {
        "balanced": lambda cells: balance[(cells > 0).long()],
        "heavy_background": lambda cells: heavy[(cells > 0).long()],
        "border": lambda cells: border_weights(cells, balance, W0, SIGMA),
    }


def one_run(variant: Variant, budget: Budget, seed: int) -> tuple[UNet, dict]:
    """A trained network and what it measures on the test images."""
    torch.manual_seed(seed)  # the initial weights; this script is the program, so the seed is its
    model = UNet(3, 2, depth=DEPTH, width=WIDTH, block=double_conv_norm)
    images, instances = load(variant.images, "train", seed)
    weights = pixel_weights(instances)[variant.weights]
    seconds = train(model, images, instances, weights, variant.sigma, budget, seed)
    test_images, test_instances = load(budget.test_images, "test")
    found = scores(predict(model, test_images), test_instances)
    return model, {"seed": seed, **found, "training_cpu_s": seconds}


def main() -> int:
    """Train every variant, print a row for each, write the record and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="runs of each variant")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--out", type=Path, default=Path("results/unet/touching_cells.json"), help="record"
    )
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget().quick() if args.quick else Budget()
    shown, _ = load(SHOWN, "test")
    found, columns = {}, []
    for name, variant in VARIANTS.items():
        runs = []
        for seed in range(args.seeds):
            model, run = one_run(variant, budget, seed)
            runs.append(run)
            if seed == 0:
                columns.append(predict(model, shown).flatten(0, 1))  # (SHOWN * 96, 96)
        found[name] = {**asdict(variant), "parameters": parameters(model), "runs": runs}
        show(name, runs)
    draw(torch.cat(columns, 1), args.out.with_suffix(".png"))

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "side": SIDE,
        "membrane_px": MEMBRANE,
        "border_weights": {"w0": W0, "sigma": SIGMA},
        "network": {"depth": DEPTH, "width": WIDTH},
        "picture": {"columns": list(VARIANTS), "test_images": SHOWN},
    }
    command = ["python", "experiments/touching_cells.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"variants": found}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(name: str, runs: list[dict]) -> None:
    """One line of means and half ranges: shares in per cent, cells an image."""
    shares = ("cell_iou", "background_iou", "membrane_found", "adapted_rand_error")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in shares]
    columns += [f"{key} {spread([run[key] / 100 for run in runs])}" for key in ("merged", "split")]
    print(f"{name:<19}" + "  ".join(columns), flush=True)


def draw(classes: Tensor, path: Path) -> None:
    """Write class indices (H, W) as a PNG with the palette of the cells."""
    picture = Image.fromarray(classes.numpy().astype(np.uint8), mode="P")
    picture.putpalette(np.array(CELLS.palette, np.uint8).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
