"""Cells as objects: which data sets have them, how they weigh in the loss, and how they are scored.

A confusion matrix hardly sees the pixel that makes one cell of two; `segcourse.instances` does.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from segcourse import losses
from segcourse.border_weights import border_weights
from segcourse.config import Config
from segcourse.instances import adapted_rand_error, connected_components, object_errors

CELL_CLASS = {"isbi": 1, "cells": 1}
"""Data sets whose objects are to be told apart: each 4-connected component of this class is one."""


class ObjectScores:
    """Merged and split cells and the adapted Rand error, summed up image by image.

    Args:
        cell_class: whose components are the objects.
    """

    def __init__(self, cell_class: int):
        self.cell_class = cell_class
        self._rand: list[float] = []
        self._counts = dict.fromkeys(("objects", "merged", "split", "missed"), 0)

    def add(self, predictions: Tensor, labels: Tensor) -> None:
        """Count the images of a batch; both (N, H, W) integer. Void is no cell."""
        found, truth = (connected_components(x == self.cell_class) for x in (predictions, labels))
        for true, predicted in zip(truth, found, strict=True):
            errors = object_errors(true, predicted)
            if errors.objects == 0:
                continue
            for name in self._counts:
                self._counts[name] += getattr(errors, name)
            self._rand.append(adapted_rand_error(true, predicted).error)

    def result(self) -> dict[str, float | None]:
        """The mean Rand error over the images with cells, and counts over all of them."""
        rand = sum(self._rand) / len(self._rand) if self._rand else None
        return {"adapted_rand_error": rand, **self._counts}


def scores_for(data: str) -> ObjectScores | None:
    """An empty count for a data set that has cells; None for others."""
    return ObjectScores(CELL_CLASS[data]) if data in CELL_CLASS else None


@torch.no_grad()
def measure_objects(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], scores: ObjectScores
) -> dict[str, float | None]:
    """Add a whole set to `scores` and return the result.

    Args:
        model: (N, 3, H, W) to (N, K, H, W); its mode is put back.
        batches: images, normalised, and labels.
        scores: from `scores_for`.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for images, labels in batches:
            scores.add(model(images).argmax(1), labels)
    finally:
        for module, training in modes.items():
            module.training = training
    return scores.result()


def table(numbers: dict[str, float | None]) -> str:
    """One line of `ObjectScores.result` for a person."""
    rand = numbers["adapted_rand_error"]
    told = "no cells" if rand is None else f"{rand:.4f}"
    counts = ", ".join(f"{numbers[name]} {name}" for name in ("merged", "split", "missed"))
    return f"  adapted Rand error: {told}; of {numbers['objects']} cells {counts}"


def border_loss(config: Config, class_weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy with U-Net's border weights, computed from the labels of each batch.

    From the labels as they are after augmentation, so that nothing has to be cropped, mirrored and
    bent along with the image.

    Args:
        config: with a border weight above 0, on data of CELL_CLASS.
        class_weights: (2,) or None for ones.
    """
    cell = CELL_CLASS[config.data]

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        instances = connected_components(labels == cell)
        weights = border_weights(instances, class_weights, w0=config.border_weight)
        return losses.weighted_cross_entropy(logits, labels, weights)

    return loss
