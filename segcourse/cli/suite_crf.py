"""The dense CRF at test time: its parameters searched on val, then val and test measured once.

As DeepLab has it, a network is trained without a CRF, and parameters are chosen on images of val
with ten rounds of mean field. The search is short: a few images, and so many settings.
"""

from collections.abc import Iterator
from dataclasses import asdict
from time import perf_counter

import torch
from torch import Tensor, nn

from segcourse.cli.crf_flags import Settings, refine
from segcourse.cli.crf_search import search, spread
from segcourse.cli.report import summary
from segcourse.data.augment import normalise
from segcourse.data.resident import ResidentSet
from segcourse.labels import IGNORE
from segcourse.metrics import confusion_matrix, mean_iou, trimap

IMAGES = 20
"""Of val, evenly spread, on which parameters are searched."""

SETTINGS = 16
"""That are tried; each refines all of these images."""

ITERATIONS = 10
"""Rounds of mean field, as in the DeepLab papers."""


def refinements(val: int, test: int) -> int:
    """Images that are refined in all, where val and test have so many."""
    return min(IMAGES, val) * SETTINGS + val + test


def start(width: int) -> Settings:
    """Where the search begins, for images of so many pixels in width.

    The usual package's example, with its 80 pixels for images of 480 brought to this width.
    """
    return Settings(sxy=width / 6, iterations=ITERATIONS)


def seconds_an_image(dense: nn.Module, split: ResidentSet, precision: str) -> float:
    """How long one image takes with the CRF: the second of two, for the first one warms up."""
    dense.eval()  # in training mode batch norm would take in what it sees
    for _ in range(2):
        started = perf_counter()
        image, _, logits = next(_scored(dense, split, [0], precision))
        _labels(logits, image, start(split.size[1])).cpu()  # .cpu() waits for the device
    return perf_counter() - started


def measure(
    dense: nn.Module,
    val: ResidentSet,
    test: ResidentSet | None,
    precision: str,
    width: int,
) -> dict:
    """Search parameters on val, and measure val and test with the best of them.

    Args:
        dense: (N, 3, H, W) to (N, K, H, W), on the splits' device.
        val: where parameters are searched.
        test: measured once; None: there is none.
        precision: of the network, "fp32" or "bf16"; the CRF computes in float32.
        width: of the trimap, in pixels.

    Returns:
        `parameters`, `searched_on`, `search` (its images, its settings, their mean IoU without a
        CRF and with the best setting, and its seconds), and for val and test what `summary` says,
        the mean IoU near borders, the images, and images per second, network and CRF together.
    """
    started, K = perf_counter(), len(val.classes)
    dense.eval()
    chosen = spread(len(val), IMAGES)
    held = list(_scored(dense, val, chosen, precision))

    def score(settings: Settings | None) -> float:
        found = (_labels(logits, image, settings) for image, _, logits in held)
        labels = (labels for _, labels, _ in held)
        return mean_iou(sum(confusion_matrix(f, l, K) for f, l in zip(found, labels, strict=True)))

    generator = torch.Generator().manual_seed(0)  # the same random settings for every run
    trials = list(search(score, start(val.size[1]), SETTINGS, generator))
    settings, best = max(trials, key=lambda trial: trial[1])
    searched = {
        "images": len(held),
        "settings": len(trials),
        "miou_without": score(None),
        "miou": best,
        "seconds": perf_counter() - started,
    }
    splits = {"val": val, "test": test}
    return {
        "parameters": asdict(settings),
        "searched_on": "val",
        "search": searched,
        **{
            name: split and _measured(dense, split, precision, settings, width)
            for name, split in splits.items()
        },
    }


def _measured(
    dense: nn.Module, split: ResidentSet, precision: str, settings: Settings, width: int
) -> dict:
    K, started = len(split.classes), perf_counter()
    found = [
        _labels(logits, image, settings).to(torch.uint8)
        for image, _, logits in _scored(dense, split, range(len(split)), precision)
    ]
    maps = torch.cat(found).cpu()  # .cpu() waits for the device
    seconds = perf_counter() - started
    labels = split.labels.cpu().long()
    near = labels.where(trimap(labels, width), IGNORE)
    return {
        **summary(confusion_matrix(maps.long(), labels, K), split.classes),
        "trimap": {"width": width, "miou": mean_iou(confusion_matrix(maps.long(), near, K))},
        "images": len(split),
        "images_per_second": len(split) / seconds,
    }


@torch.no_grad()
def _scored(
    dense: nn.Module, split: ResidentSet, chosen, precision: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Image (3, H, W) uint8, labels (1, H, W) and logits (K, H, W) of some images, one by one."""
    for i in chosen:
        image = split.images[i]
        with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = dense(normalise(image[None].float() / 255))[0]
        yield image, split.labels[i][None].long(), logits.float()


@torch.no_grad()
def _labels(logits: Tensor, image: Tensor, settings: Settings | None) -> Tensor:
    """(1, H, W) labels; without settings those of the network alone."""
    return logits.argmax(0)[None] if settings is None else refine(logits, image, settings)[None]
