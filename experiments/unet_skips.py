"""U-Net with every skip, with none, and with each one taken out, on the scenes (unet).

    python experiments/unet_skips.py

For each seed one network is trained with all its skips. Then five copies of it go on, for as many
steps each, on the same crops: one as it is, the others with skips switched off, which hand on
zeros. So all five know the classes alike when they part. Trained from nothing in the time that a
CPU has, five networks find the classes at different moments, and that moves their scores more
than any skip does.

Then one question more: what can each level of the encoder decide alone? A 1x1 classifier on its
features, enlarged to the image's size, answers. Writes results/unet/skips.json, and skips.png:
predictions of seed 0 for a few test scenes, a row a scene, a column a network, in the palette of
the scenes. `--quick` is a smoke run.
"""

import argparse
import sys
import time
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared.command_line import parsed
from shared.dense_on_scenes import (
    INTERIOR,
    TRIMAP_WIDTHS,
    Budget,
    K,
    evaluate,
    predict,
    scenes,
    tensors,
    train,
)
from shared.windows_on_scenes import PLAZA, POND, spread
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.cost import multiply_adds, parameters
from segcourse.labels import IGNORE, SCENES
from segcourse.metrics import confusion_matrix, iou, trimap
from segcourse.records import record, write_record
from segcourse.unet import UNet, double_conv_norm

DEPTH, WIDTH = 3, 8
PROBE_STEPS = 300
RATE = 3e-3  # learning rate after the skips were taken out
SECOND_PART = 1000  # added to the seed, so that the crops are new ones
SHOWN = (0, 9, 22)
"""Test scenes in the picture."""


SWITCHES: dict[str, tuple[bool, ...]] = {
    "all": (True, True, True),
    "without_0": (False, True, True),
    "without_1": (True, False, True),
    "without_2": (True, True, False),
    "none": (False, False, False),
}
"""Level 0 is the finest, at the image's own size."""


def build(seed: int) -> UNet:
    """The network with this seed's weights, all skips on."""
    torch.manual_seed(seed)  # this script is the program, so the seed is its
    return UNet(3, K, DEPTH, WIDTH, block=double_conv_norm)


def switched(net: UNet, skips: tuple[bool, ...]) -> UNet:
    """A copy with other skips."""
    net = deepcopy(net)
    net.skips = skips
    return net


class Probe(nn.Module):
    """A 1x1 classifier on one level of a frozen encoder."""

    def __init__(self, net: UNet, level: int):
        super().__init__()
        self.net, self.level = [net], level  # in a list: its weights are not the probe's
        self.norm = nn.BatchNorm2d(WIDTH * 2**level)
        self.score = nn.Conv2d(WIDTH * 2**level, K, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), sides divisible by 2^depth, to logits (N, K, H, W)."""
        with torch.no_grad():
            features = self.net[0].encode(image)[self.level]
        return F.interpolate(self.score(self.norm(features)), image.shape[2:], mode="bilinear")


def probe(net: UNet, level: int, budget: Budget, seed: int) -> dict[str, object]:
    """What the level's features decide alone."""
    torch.manual_seed(seed)
    model = Probe(net, level)
    train(model, replace(budget, steps=min(PROBE_STEPS, budget.steps)), seed)
    return measured(model, budget)


def near_and_far(predictions: Tensor, labels: Tensor) -> dict[str, float]:
    """IoU near outlines and far from them, of what every network here can tell apart.

    Pond and plaza count as one class: whether a run has found out what tells them apart would move
    a mean over classes more than a skip does. The mean is over the classes that the labels have in
    the band: bars are so thin that no pixel of them is far from an outline.

    Args:
        predictions, labels: (N, H, W) int64.

    Returns:
        `near_{w}px_iou` within w px of an outline, `far_iou` beyond `INTERIOR` px.
    """
    found, truth = (x.masked_fill(x == PLAZA, POND) for x in (predictions, labels))
    bands = {f"near_{w}px_iou": trimap(labels, w) for w in TRIMAP_WIDTHS}
    bands["far_iou"] = ~trimap(labels, INTERIOR)
    scored = {}
    for name, band in bands.items():
        cm = confusion_matrix(found, truth.where(band, IGNORE), K)
        scored[name] = iou(cm)[cm.sum(1) > 0].mean().item()
    return scored


def measured(net: nn.Module, budget: Budget) -> dict[str, object]:
    """All that one network scores on the test scenes."""
    images, labels = tensors(scenes(budget.test_scenes, "test"))
    edges = near_and_far(predict(net, images).argmax(1), labels)
    return evaluate(net, budget.test_scenes) | edges


def label_maps(net: UNet) -> np.ndarray:
    """Predictions of the shown scenes below each other, uint8."""
    images, _ = tensors(scenes(max(SHOWN) + 1, "test"))
    return predict(net, images[list(SHOWN)]).argmax(1).flatten(0, 1).numpy().astype(np.uint8)


def main() -> int:
    """Train and evaluate each network, print a row for each, write the record and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each network")
    parser.add_argument("--steps", type=int, default=3000, help="steps with all skips")
    parser.add_argument("--more", type=int, default=800, help="steps after skips were taken out")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, default=Path("results/unet/skips.json"), help="record")
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(steps=args.steps, test_scenes=60)
    more = replace(budget, steps=args.more, learning_rate=RATE)
    if args.quick:
        budget, more = budget.quick(), more.quick()
    found: dict[str, dict] = {
        name: {"skips": skips, "runs": []} for name, skips in SWITCHES.items()
    }
    levels: dict[str, list] = {str(level): [] for level in range(DEPTH + 1)}
    columns = []
    for seed in range(args.seeds):
        trunk = build(seed)
        seconds = train(trunk, budget, seed)
        show(f"trunk, seed {seed}", [measured(trunk, budget)])
        for name, row in found.items():
            net = switched(trunk, SWITCHES[name])
            own = train(net, more, SECOND_PART + seed)
            scored = {"seed": seed, **measured(net, budget), "training_cpu_s": seconds + own}
            row["runs"].append(scored)
            show(f"{name}, seed {seed}", row["runs"][-1:])
            if seed == 0:
                columns.append(label_maps(net))
        for level, runs in levels.items():
            runs.append({"seed": seed, **probe(trunk, int(level), budget, seed)})
            show(f"level {level} alone", runs[-1:])
        metrics = {
            "parameters": parameters(trunk),
            "multiply_adds": multiply_adds(trunk, (128, 128)),
            "networks": found,
            "levels_alone": levels,
        }
        write(args.out, args, budget, more, metrics, start)
    for name, row in found.items():
        show(name, row["runs"])
    for level, runs in levels.items():
        show(f"level {level} alone", runs)
    draw(np.concatenate(columns, 1), args.out.with_suffix(".png"))
    print(f"wrote {args.out} after {time.perf_counter() - start:.0f} s")
    return 0


def write(
    out: Path,
    args: argparse.Namespace,
    budget: Budget,
    more: Budget,
    metrics: dict,
    start: float,
) -> None:
    """Write the record of the seeds so far; the last one is the whole."""
    config = asdict(budget) | {
        "more_steps": more.steps,
        "more_learning_rate": more.learning_rate,
        "quick": args.quick,
        "seeds": args.seeds,
        "depth": DEPTH,
        "width": WIDTH,
        "probe_steps": PROBE_STEPS,
        "picture": {"columns": list(SWITCHES), "test_scenes": SHOWN},
    }
    command = ["python", "experiments/unet_skips.py", *sys.argv[1:]]
    write_record(out, record(command, config, 0, metrics, [], time.perf_counter() - start))


def show(name: str, runs: list[dict]) -> None:
    """One line of means and half ranges."""
    chosen = ("miou", "near_1px_iou", "near_3px_iou", "far_iou", "pair_told_apart")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen]
    print(f"{name:<17}" + "  ".join(columns), flush=True)


def draw(classes: np.ndarray, path: Path) -> None:
    """Write class indices (H, W) as a PNG with the palette of the scenes."""
    picture = Image.fromarray(classes, mode="P")
    picture.putpalette(np.array(SCENES.palette, np.uint8).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
