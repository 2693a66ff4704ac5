"""What a confusion matrix says, as a dict for a record and as a table for a person."""

import torch
from torch import Tensor

from segcourse import metrics
from segcourse.labels import Classes

NAMES = {
    "miou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
}


def summary(cm: Tensor, classes: Classes) -> dict:
    """Every metric of one matrix.

    Args:
        cm: (K, K) pixel counts over the whole set; rows are truth, columns prediction.
        classes: the names of the K classes.

    Returns:
        Numbers in 0..1, nan where a class does not occur; `iou` and `class_accuracy` by name.
    """
    return {
        "miou": metrics.mean_iou(cm),
        "pixel_accuracy": metrics.pixel_accuracy(cm),
        "mean_class_accuracy": metrics.mean_class_accuracy(cm),
        "frequency_weighted_iou": metrics.frequency_weighted_iou(cm),
        "iou": dict(zip(classes.names, metrics.iou(cm).tolist(), strict=True)),
        "class_accuracy": dict(
            zip(classes.names, metrics.class_accuracy(cm).tolist(), strict=True)
        ),
    }


def always(class_index: int, pixels: Tensor) -> Tensor:
    """The confusion matrix of a predictor that says one class everywhere.

    Args:
        class_index: what it says, 0..K-1.
        pixels: (K,) labelled pixels of each class in the set.
    """
    cm = torch.zeros(len(pixels), len(pixels), dtype=torch.int64)
    cm[:, class_index] = pixels.cpu()
    return cm


def table(numbers: dict, beside: dict | None = None, beside_name: str = "") -> str:
    """Lay out a summary: the means, beside another predictor's where given, then every class."""
    width = max(len(name) for name in (*NAMES.values(), *numbers["iou"]))
    lines = []
    if beside is not None:
        lines.append(f"  {'':<{width}}  {'this run':>9}  {beside_name}")
    for key, name in NAMES.items():
        other = "" if beside is None else f"  {beside[key]:.4f}"
        lines.append(f"  {name:<{width}}  {numbers[key]:>9.4f}{other}")
    lines += ["", f"  {'class':<{width}}  {'IoU':>9}  accuracy"]
    for name, value in numbers["iou"].items():
        lines.append(
            f"  {name:<{width}}  {_cell(value):>9}  {_cell(numbers['class_accuracy'][name])}"
        )
    return "\n".join(lines)


def _cell(value: float) -> str:
    return "absent" if value != value else f"{value:.4f}"  # nan: the class does not occur
