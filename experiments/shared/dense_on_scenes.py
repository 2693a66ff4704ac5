"""What experiments on whole-image networks share: one recipe on the scenes, and its metrics.

Every network sees the same crops in the same order, with the same loss and learning rate, so that
what differs between two records is the network. `evaluate` reports what the chapters argue about:
mIoU, mIoU near borders and away from them, each class, object sizes, and the context pair.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from shared.windows_on_scenes import (
    PLAZA,
    POND,
    K,
    crops_of,
    pixels_of_each_class,
    right_of_the_pair,
)
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from segcourse.data import Scene, scene
from segcourse.data.augment import normalise
from segcourse.labels import IGNORE
from segcourse.losses import cross_entropy
from segcourse.metrics import confusion_matrix, iou, mean_iou, pixel_accuracy, trimap
from segcourse.records import plain

TRIMAP_WIDTHS = (1, 2, 3, 5)
INTERIOR = 5  # px from a border on
AROUND = 8  # px around an object in which a wrong pixel of its class counts against it
SIZES = ((0, 12), (12, 24), (24, 48), (48, 1000))
"""Objects by diameter in px, from the first number up to below the second."""


@dataclass(frozen=True)
class Budget:
    """What every network of an experiment gets alike."""

    train_scenes: int = 1000
    test_scenes: int = 100
    steps: int = 2500
    crops: int = 8
    crop: int = 96
    learning_rate: float = 1e-2

    def quick(self) -> "Budget":
        """A smoke run of seconds: its numbers say nothing."""
        return Budget(8, 2, 3, 2, self.crop, self.learning_rate)


@lru_cache(maxsize=4)
def scenes(length: int, split: str, swap_context: bool = False) -> tuple[Scene, ...]:
    """Scenes of seed 0, made once; `swap_context` turns ponds into plazas and back."""
    return tuple(scene(0, i, split=split, swap_context=swap_context) for i in range(length))


def tensors(made: tuple[Scene, ...]) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 128, 128) normalised float32, labels (N, 128, 128) int64."""
    images = torch.stack([one.image for one in made]).float() / 255
    return normalise(images), torch.stack([one.labels for one in made])


def one_cycle(optimizer: Optimizer, budget: Budget) -> LRScheduler:
    """The learning rate rises over the first 15 % of the steps, then falls to nearly zero."""
    return OneCycleLR(optimizer, budget.learning_rate, total_steps=budget.steps, pct_start=0.15)


def train(
    model: nn.Module,
    budget: Budget,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    schedule: Callable[[Optimizer, Budget], LRScheduler] = one_cycle,
) -> float:
    """Train in place on crops around pixels of a class drawn uniformly, turned and mirrored.

    Args:
        model: (n, 3, c, c) to logits (n, K, c, c).
        budget: scenes, steps, crops and learning rate.
        seed: of the crops; the weights are the caller's.
        loss: (logits, labels) to a scalar.
        schedule: from the optimizer, at `budget.learning_rate`, to what lowers its rate.

    Returns:
        CPU seconds (of all threads) spent.
    """
    images, labels = tensors(scenes(budget.train_scenes, "train"))
    pixels = pixels_of_each_class(labels)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=budget.learning_rate)
    rate = schedule(optimizer, budget)
    start = time.process_time()
    model.train().to(memory_format=torch.channels_last)
    for _ in range(budget.steps):
        x, target = crops_of(images, labels, pixels, 0, budget, generator)
        value = loss(model(x.contiguous(memory_format=torch.channels_last)), target)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
    model.eval()
    return time.process_time() - start


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch: int = 10) -> Tensor:
    """Logits (N, K, H, W) of normalised images (N, 3, H, W)."""
    return torch.cat(
        [model(part.contiguous(memory_format=torch.channels_last)) for part in images.split(batch)]
    )


def evaluate(model: nn.Module, length: int) -> dict[str, object]:
    """Scores of a trained network on `length` test scenes; see `experiments/README.md`."""
    made = scenes(length, "test")
    images, labels = tensors(made)
    logits = predict(model, images)
    swapped_images, swapped_labels = tensors(scenes(length, "test", True))
    right = [
        right_of_the_pair(logits, labels),
        right_of_the_pair(predict(model, swapped_images), swapped_labels),
    ]
    return scores(logits.argmax(1), made) | {"pair_told_apart": torch.cat(right).mean().item()}


def scores(predictions: Tensor, made: tuple[Scene, ...]) -> dict[str, object]:
    """Metrics of label maps (N, H, W) over the set, void left out.

    Args:
        predictions: (N, H, W) int64.
        made: the N scenes that were predicted.

    Returns:
        `pixel_accuracy`, `miou`, `iou` by class; `trimap_{w}px_miou` within w px of a border and
        `interior_miou` from `INTERIOR` px on; `accuracy_by_size` and `iou_by_size` of objects by
        diameter, see `SIZES`; `pair_found_iou` of pond or plaza against the rest.
    """
    labels = torch.stack([one.labels for one in made])
    cm = confusion_matrix(predictions, labels, K)
    found = {"pixel_accuracy": pixel_accuracy(cm), "miou": mean_iou(cm), "iou": iou(cm)}
    for width in TRIMAP_WIDTHS:
        band = torch.stack([trimap(one, width) for one in labels])
        edges = confusion_matrix(predictions, labels.where(band, IGNORE), K)
        found[f"trimap_{width}px_miou"] = mean_iou(edges)
    near = torch.stack([trimap(one, INTERIOR) for one in labels])
    found["interior_miou"] = mean_iou(confusion_matrix(predictions, labels.where(~near, IGNORE), K))
    pair = cm[[POND, PLAZA]][:, [POND, PLAZA]].sum().double()
    either = cm[[POND, PLAZA]].sum() + cm[:, [POND, PLAZA]].sum() - pair
    found["pair_found_iou"] = (pair / either).item()
    found["accuracy_by_size"] = accuracy_by_size(predictions, made)
    return plain(found | {"iou_by_size": iou_by_size(predictions, made)})


def accuracy_by_size(predictions: Tensor, made: tuple[Scene, ...]) -> list[float]:
    """Share of right pixels of the objects in each range of `SIZES`; nan where there is none."""
    right, total = torch.zeros(2, len(SIZES), dtype=torch.float64)
    for prediction, one in zip(predictions, made, strict=True):
        for spec, pixels in _objects(one):
            right[_range(spec.diameter)] += (prediction[pixels] == spec.label).sum()
            total[_range(spec.diameter)] += pixels.sum()
    return (right / total).tolist()


def iou_by_size(predictions: Tensor, made: tuple[Scene, ...]) -> list[float]:
    """IoU of the objects in each range of `SIZES`, each in its box grown by `AROUND` px.

    Pixels of the object's class that are predicted in the box count against it, unless another
    object of that class lies there. Intersections and unions are summed over the objects of a
    range; nan where there is none.
    """
    both, either = torch.zeros(2, len(SIZES), dtype=torch.float64)
    for prediction, one in zip(predictions, made, strict=True):
        for spec, pixels in _objects(one):
            rows, cols = (pixels.any(axis).nonzero()[:, 0] for axis in (1, 0))
            box = tuple(
                slice(max(int(at.min()) - AROUND, 0), int(at.max()) + AROUND + 1)
                for at in (rows, cols)
            )
            counted = pixels[box] | ~torch.isin(one.labels[box], torch.tensor([spec.label, IGNORE]))
            said = (prediction[box] == spec.label) & counted
            both[_range(spec.diameter)] += (said & pixels[box]).sum()
            either[_range(spec.diameter)] += (said | pixels[box]).sum()
    return (both / either).tolist()


def _objects(one: Scene) -> Iterator[tuple[object, Tensor]]:
    """Each object that is seen, with its labelled pixels (H, W) bool."""
    for k, spec in enumerate(one.specs, start=1):
        pixels = (one.instances == k) & (one.labels == spec.label)
        if pixels.any():
            yield spec, pixels


def _range(diameter: float) -> int:
    return next(i for i, (low, high) in enumerate(SIZES) if low <= diameter < high)
