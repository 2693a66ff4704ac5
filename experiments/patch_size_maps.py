"""What each window size makes of one scene: the label maps beside the curve (sliding_window).

    python experiments/patch_size_maps.py

Trains the classifiers of `patch_size.py` from seed 0 once more and predicts test scene 22, which
neither experiment trains on. Writes results/sliding_window/patch_size_maps.png: the maps side by
side, in the order of the windows, as class indices with the palette of the scenes.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from patch_size import STRIDES, WIDTH
from PIL import Image
from shared.command_line import parsed
from shared.windows_on_scenes import Budget, load, predict, train_patches

from segcourse.labels import SCENES

SCENE = 22


def one_map(window: int, stride: int, budget: Budget) -> np.ndarray:
    """Train one window size on one thread; its label map (128, 128) uint8 of the scene."""
    torch.set_num_threads(1)
    images, labels = load(budget.train_scenes, "train")
    model, _ = train_patches(window, stride, WIDTH, images, labels, budget, seed=0)
    images, _ = load(SCENE + 1, "test")
    logits, _ = predict(model, images[SCENE:])
    return logits.argmax(1)[0].numpy().astype(np.uint8)


def main() -> None:
    """Train every window size and write the strip of maps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: its maps say nothing")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, a CPU core each")
    parser.add_argument(
        "--out", type=Path, default=Path("results/sliding_window/patch_size_maps.png")
    )
    args = parsed(parser)
    budget = Budget(8, 2, 3, 2) if args.quick else Budget()
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        waiting = [pool.submit(one_map, *pair, budget) for pair in STRIDES.items()]
        maps = [run.result() for run in waiting]
    strip = Image.fromarray(np.concatenate(maps, axis=1), mode="P")
    strip.putpalette(np.array(SCENES.palette, np.uint8).tobytes())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    strip.save(args.out, optimize=True)
    print(f"wrote {args.out}: windows {', '.join(map(str, STRIDES))}")


if __name__ == "__main__":
    main()
