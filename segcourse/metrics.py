"""How good is a label map? One matrix of pixel counts answers (book/index.ipynb).

Every number here is read off the confusion matrix of the whole set: add the matrices of all
batches, then divide once. Averaging the IoU of single images or batches is another metric, and
moves a result by many points; `mean_iou_per_image` is here to show how many.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.labels import IGNORE, check_labels


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true and predicted class. Matrices of batches may be added.

    Args:
        predictions: (N, H, W) integer classes in 0..K-1 of any integer dtype. What is predicted
            on a void pixel is not looked at.
        labels: (N, H, W) integer in 0..K-1, or IGNORE (void), which is left out.
        num_classes: K.

    Returns:
        (K, K) int64 pixel counts on the device of `labels`: rows are truth, columns prediction.

    Raises:
        TypeError: predictions or labels are not integers.
        ValueError: the shapes differ, or a label or a prediction is outside 0..K-1.

    >>> confusion_matrix(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 0, 255]]]), 2).tolist()
    [[1, 1], [0, 0]]
    """
    _check_pair(predictions, labels)
    check_labels(labels, num_classes)
    known = labels != IGNORE
    truth, predicted = labels[known].long(), predictions[known].long()
    if predicted.numel() and (predicted.min() < 0 or predicted.max() >= num_classes):
        wrong = predicted[(predicted < 0) | (predicted >= num_classes)]
        raise ValueError(
            f"predictions hold {wrong.unique()[:5].tolist()} at {wrong.numel()} pixels, outside "
            f"0..{num_classes - 1}: predict one of the {num_classes} classes at every pixel "
            "(void is for labels only)"
        )
    # The pair (truth, predicted) is one number in base K, so one bincount counts all pairs.
    counts = torch.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def iou(cm: Tensor) -> Tensor:
    """Intersection over union of each class: TP / (TP + FP + FN).

    Args:
        cm: (K, K) pixel counts from `confusion_matrix`, summed over the set.

    Returns:
        (K,) float64 in 0..1, on the CPU; nan for a class that is neither in the labels nor
        predicted.

    Raises:
        ValueError: `cm` is not square.

    >>> iou(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])).tolist()
    [0.75, 0.8, nan]
    """
    truth, predicted, hits = _margins(cm)
    return hits / (truth + predicted - hits)


def mean_iou(cm: Tensor) -> float:
    """Mean of `iou` over the classes that occur: mIoU, over the set whose matrix this is.

    Args:
        cm: (K, K) pixel counts, summed over the set.

    Returns:
        A number in 0..1; nan when no pixel was counted.

    Raises:
        ValueError: `cm` is not square.
    """
    return iou(cm).nanmean().item()


def pixel_accuracy(cm: Tensor) -> float:
    """Share of the labelled pixels that are right (global accuracy); arguments as `mean_iou`."""
    truth, _, hits = _margins(cm)
    return (hits.sum() / truth.sum()).item()


def class_accuracy(cm: Tensor) -> Tensor:
    """Share of each class's pixels that are right: TP / (TP + FN), the recall.

    Args:
        cm: (K, K) pixel counts, summed over the set.

    Returns:
        (K,) float64 in 0..1, on the CPU; nan for a class with no labelled pixel.

    Raises:
        ValueError: `cm` is not square.
    """
    truth, _, hits = _margins(cm)
    return hits / truth


def mean_class_accuracy(cm: Tensor) -> float:
    """Mean of `class_accuracy` over the classes in the labels; arguments as `mean_iou`."""
    return class_accuracy(cm).nanmean().item()


def frequency_weighted_iou(cm: Tensor) -> float:
    """IoU weighted by each class's share of the labelled pixels (Long et al. 2015, section 5).

    A class that is predicted but not labelled has weight 0; arguments as `mean_iou`.
    """
    truth, _, _ = _margins(cm)
    return ((truth / truth.sum()) * iou(cm).nan_to_num(0)).sum().item()


def mean_iou_per_image(predictions: Tensor, labels: Tensor, num_classes: int) -> float:
    """Mean over images of each image's own mIoU: another metric than `mean_iou` of the set.

    An image's classes in neither labels nor prediction are left out of its mean, and an image
    that is all void is left out. Small objects and rare classes weigh differently than in one
    matrix over the set, so the two are not to be compared.

    Args:
        predictions: (N, H, W) integer classes in 0..K-1.
        labels: (N, H, W) integer in 0..K-1, or IGNORE.
        num_classes: K.

    Returns:
        A number in 0..1; nan when every pixel is void.

    Raises:
        TypeError, ValueError: as `confusion_matrix`.
    """
    _check_pair(predictions, labels)
    pairs = zip(predictions, labels, strict=True)
    each = [mean_iou(confusion_matrix(p, y, num_classes)) for p, y in pairs]
    return torch.tensor(each, dtype=torch.float64).nanmean().item()


def trimap(labels: Tensor, width: int) -> Tensor:
    """Labelled pixels within `width` px of a border between two labels (Kohli et al. 2009).

    A pixel belongs to the band when another label lies within Chebyshev distance `width`, that
    is, inside the square of side 2 width + 1 around it. Void counts as a label here: data sets
    draw a void band along object borders, and that band is the border, so the distance is
    measured from its edge on both sides. Void inside or around a scene (CamVid's unlabelled
    objects) makes a border for the same reason. Void pixels themselves are never in the band.

    Args:
        labels: (N, H, W) or (H, W), integer in 0..254, or IGNORE.
        width: in px, at least 1.

    Returns:
        Bool mask of the shape of `labels`, on its device.

    Raises:
        ValueError: `width` is below 1, or `labels` has another number of axes.

    >>> trimap(torch.tensor([[0, 0, 0, 1, 1]]), 1).int().tolist()
    [[0, 0, 1, 1, 0]]
    """
    if width < 1:
        raise ValueError(f"width is {width} px, at least 1 is needed (1: the two sides that touch)")
    if labels.ndim not in (2, 3):
        raise ValueError(f"labels are {_shape(labels)}: (N, H, W) or (H, W) is needed")
    # Float holds 0..255 exactly, and max pooling on a GPU takes no integers. A square maximum is
    # a maximum down the columns, then along the rows: 2 (2w + 1) comparisons, not (2w + 1)^2.
    x = labels.float().reshape(1, -1, *labels.shape[-2:])
    low, high = -_window_max(-x, width), _window_max(x, width)
    return (low != high).reshape(labels.shape) & (labels != IGNORE)


def trimap_iou(predictions: Tensor, labels: Tensor, num_classes: int, width: int) -> float:
    """Mean IoU over the pixels of `trimap(labels, width)` alone.

    For a set that comes in batches, mask the labels the same way (`labels.where(trimap(labels,
    width), IGNORE)`), add the confusion matrices, and take `mean_iou` once.

    Args:
        predictions: (N, H, W) integer classes in 0..K-1.
        labels: (N, H, W) integer in 0..K-1, or IGNORE.
        num_classes: K.
        width: half width of the band, in px.

    Returns:
        A number in 0..1; nan when no pixel is near a border.

    Raises:
        TypeError, ValueError: as `confusion_matrix` and `trimap`.
    """
    near = labels.where(trimap(labels, width), IGNORE)
    return mean_iou(confusion_matrix(predictions, near, num_classes))


def _window_max(x: Tensor, width: int) -> Tensor:
    side = 2 * width + 1
    down = F.max_pool2d(x, (side, 1), stride=1, padding=(width, 0))
    return F.max_pool2d(down, (1, side), stride=1, padding=(0, width))


def _margins(cm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if cm.ndim != 2 or cm.shape[0] != cm.shape[1]:
        raise ValueError(f"the matrix is {_shape(cm)}: (K, K) from confusion_matrix is needed")
    cm = cm.cpu().double()  # K x K numbers; Apple's GPUs have no float64
    return cm.sum(1), cm.sum(0), cm.diag()


def _check_pair(predictions: Tensor, labels: Tensor) -> None:
    for name, x in (("predictions", predictions), ("labels", labels)):
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"{name} are {x.dtype}: integer classes are needed, logits.argmax(1)")
    if predictions.shape != labels.shape:
        raise ValueError(
            f"predictions are {_shape(predictions)}, labels {_shape(labels)}: the same (N, H, W) "
            "is needed; take logits.argmax(1), resized to the labels' size before the argmax"
        )


def _shape(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) or "a single number"
