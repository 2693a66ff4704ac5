"""Patch network, full-resolution network and region proposals on scenes (sliding_window).

    python experiments/sliding_window_models.py

Three ways to give every pixel a class, on the same scenes: a classifier of windows evaluated
densely, padded convolutions at full resolution, and segments from Felzenszwalb and Huttenlocher
(2004) with a classifier for each, beside the oracle that no classifier of these segments beats.
Writes results/sliding_window/models.json; `--quick` is a smoke run of seconds. Needs
scikit-image.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from shared.command_line import parsed
from shared.windows_on_scenes import (
    Budget,
    K,
    evaluate,
    load,
    scores,
    spread,
    train,
    train_patches,
)
from skimage.segmentation import felzenszwalb
from torch import Tensor, nn

from segcourse.cost import multiply_adds, parameters
from segcourse.full_resolution import FullResolutionNet
from segcourse.labels import IGNORE
from segcourse.records import record, write_record
from segcourse.regions import (
    RegionClassifier,
    classify_regions,
    oracle_labels,
    region_features,
    region_labels,
    region_shapes,
)

WINDOW, STRIDE, WIDTH = 41, 4, 24
SCALE, SIGMA, SMALLEST = 150, 0.8, 20  # of the segmentation: chosen on training scenes
REGION_STEPS = 600


def patch_network(images: Tensor, labels: Tensor, budget: Budget, seed: int):
    """A window of 41 pixels around every pixel."""
    return train_patches(WINDOW, STRIDE, WIDTH, images, labels, budget, seed)


def full_resolution_network(images: Tensor, labels: Tensor, budget: Budget, seed: int):
    """Padded 3x3 convolutions, the same steps and the same labelled pixels."""
    torch.manual_seed(seed)
    model = FullResolutionNet(K, widths=(24, 24, 32, 32))
    seconds = train(model, 0, 1, images, labels, budget, seed)
    return model.eval(), seconds


def propose(image: Tensor) -> Tensor:
    """Segments (H, W) int64 of one normalised image (3, H, W)."""
    picture = ((image - image.min()) / (image.max() - image.min())).permute(1, 2, 0).double()
    segments = felzenszwalb(
        picture.numpy(), scale=SCALE, sigma=SIGMA, min_size=SMALLEST, channel_axis=2
    )
    return torch.from_numpy(segments).long()


def describe(image: Tensor, segments: Tensor) -> Tensor:
    """A row for each segment: mean and deviation of its colour, and its shape, (R, 12)."""
    mean, square = region_features(torch.cat([image, image**2]), segments).split(3, dim=1)
    deviation = (square - mean**2).clamp(min=0).sqrt()
    return torch.cat([mean, deviation, region_shapes(segments)], dim=1)


class RegionModel(nn.Module):
    """Proposals, features and classifier behind the course's model contract."""

    def __init__(self, classifier: RegionClassifier, mean: Tensor, std: Tensor):
        super().__init__()
        self.classifier, self.mean, self.std = classifier, mean, std

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, K, H, W)."""
        return torch.stack([self.one(x) for x in image])

    def one(self, image: Tensor) -> Tensor:
        """(3, H, W) to logits (K, H, W)."""
        segments = propose(image)
        rows = (describe(image, segments) - self.mean) / self.std
        return classify_regions(self.classifier, rows, segments)


def region_baseline(images: Tensor, labels: Tensor, budget: Budget, seed: int):
    """A small perceptron on every segment of the training scenes."""
    start = time.process_time()
    torch.manual_seed(seed)
    rows, targets, areas = [], [], []
    for image, target in zip(images, labels, strict=True):
        segments = propose(image)
        rows.append(describe(image, segments))
        targets.append(region_labels(segments, target, K))
        areas.append(segments.flatten().bincount())
    rows, targets, areas = torch.cat(rows), torch.cat(targets), torch.cat(areas).float()
    mean, std = rows.mean(0), rows.std(0) + 1e-6
    rows = ((rows - mean) / std)[targets != IGNORE]
    # A segment counts by the number of its pixels; their square root keeps the ground, half of
    # all pixels, from drowning everything else.
    known, weight = targets[targets != IGNORE], areas[targets != IGNORE].sqrt()
    classifier = RegionClassifier(rows.shape[1], K)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-2)
    steps = 3 if len(images) < 10 else REGION_STEPS
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(classifier(rows), known, reduction="none")
        optimizer.zero_grad()
        ((loss * weight).sum() / weight.sum()).backward()
        optimizer.step()
        schedule.step()
    return RegionModel(classifier.eval(), mean, std), time.process_time() - start


MODELS: dict[str, Callable] = {
    "patch": patch_network,
    "full_resolution": full_resolution_network,
    "regions": region_baseline,
}


def main() -> int:
    """Train and evaluate each model, print a row for each and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each model")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its numbers say nothing")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--out", type=Path, default=Path("results/sliding_window/models.json"), help="record"
    )
    args = parsed(parser)
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    budget = Budget(8, 2, 3, 2) if args.quick else Budget()
    images, labels = load(budget.train_scenes, "train")
    test_images, test_labels = load(budget.test_scenes, "test")
    found: dict[str, dict] = {}
    for name, build in MODELS.items():
        runs = []
        for seed in range(args.seeds):
            model, seconds = build(images, labels, budget, seed)
            found_by = evaluate(model, budget.test_scenes)
            runs.append({"seed": seed, **found_by, "training_cpu_s": seconds})
        found[name] = {"parameters": parameters(model), "runs": runs}
        if name == "full_resolution":
            found[name]["multiply_adds_an_image"] = multiply_adds(model, test_images.shape[2:])
        show(name, runs)
    segments = [propose(image) for image in test_images]
    best = [oracle_labels(*pair, K) for pair in zip(segments, test_labels, strict=True)]
    oracle = {"seed": 0, **scores(torch.stack(best), test_labels)}
    number = sum(int(s.max()) + 1 for s in segments) / len(segments)
    found["region_oracle"] = {"segments_an_image": number, "runs": [oracle]}
    show("region_oracle", [oracle])

    config = asdict(budget) | {
        "quick": args.quick,
        "seeds": args.seeds,
        "patch": {"window": WINDOW, "stride": STRIDE, "width": WIDTH},
        "felzenszwalb": {"scale": SCALE, "sigma": SIGMA, "min_size": SMALLEST},
    }
    command = ["python", "experiments/sliding_window_models.py", *sys.argv[1:]]
    seconds = time.perf_counter() - start
    write_record(args.out, record(command, config, 0, {"models": found}, [], seconds))
    print(f"wrote {args.out} after {seconds:.0f} s")
    return 0


def show(name: str, runs: list[dict]) -> None:
    """One line of means and half ranges."""
    chosen = ("pixel_accuracy", "miou", "trimap_3px_miou", "pair_found_iou", "pair_told_apart")
    columns = [f"{key} {spread([run[key] for run in runs])}" for key in chosen if key in runs[0]]
    print(f"{name:<16}" + "  ".join(columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
