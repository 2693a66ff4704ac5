"""What training lowers: cross-entropy and Dice over labelled pixels (book/index.ipynb).

Both leave void pixels out and are means, so their size depends neither on the number of pixels
nor on how many are void, and a batch that is all void gives 0 with zero gradient, never nan.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.labels import IGNORE, check_labels


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean softmax cross-entropy over labelled pixels.

    With weights it is torch's weighted mean: sum of weights[y] * loss over the pixels, divided by
    the sum of weights[y]. So multiplying all weights by one number changes nothing.

    Labels on a CPU are checked. On a GPU the check would wait for the device at every step, so
    there the source of the batches checks (`segcourse.data` does, once, when it reads a set).

    Args:
        logits: (N, K, H, W), unnormalised. Half precision is summed in float32.
        labels: (N, H, W) integer in 0..K-1, or IGNORE.
        weights: (K,) at least 0, or None for all ones.

    Returns:
        A scalar in nats a pixel, at least 0; 0 when no pixel has a label (or a weight above 0).

    Raises:
        TypeError: labels are not integers.
        ValueError: the shapes do not fit, or a label on a CPU is outside 0..K-1.
    """
    logits, labels = _checked(logits, labels)
    if weights is None:
        denominator = (labels != IGNORE).sum()
    else:
        if weights.shape != logits.shape[1:2]:
            raise ValueError(
                f"weights are {tuple(weights.shape)}, logits have {logits.shape[1]} classes: "
                "one weight a class is needed"
            )
        weights = weights.to(logits)
        known = labels != IGNORE
        denominator = (weights[labels.where(known, 0)] * known).sum()
    total = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
    # 0 / 0 is the all-void batch. Replacing the divisor keeps the gradient 0; torch.where on the
    # quotient would not, because nan * 0 is nan on the way back.
    return total / denominator.where(denominator > 0, 1)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, pixel_weights: Tensor) -> Tensor:
    """Mean softmax cross-entropy in which each pixel has its own weight.

    The sum of weight times loss over the labelled pixels, divided by the sum of their weights; so
    the size does not depend on the weights' scale, and a learning rate keeps its meaning. U-Net
    (Ronneberger et al. 2015, equation 1) sums without dividing.

    Args:
        logits: (N, K, H, W), unnormalised. Half precision is summed in float32.
        labels: (N, H, W) integer in 0..K-1, or IGNORE.
        pixel_weights: (N, H, W) float, at least 0; what stands on void does not matter.

    Returns:
        A scalar in nats a pixel, at least 0; 0 when no labelled pixel has a weight above 0.

    Raises:
        TypeError, ValueError: as `cross_entropy`, or weights of another shape than the labels.
    """
    logits, labels = _checked(logits, labels)
    if pixel_weights.shape != labels.shape:
        raise ValueError(
            f"pixel_weights are {tuple(pixel_weights.shape)}, labels {tuple(labels.shape)}: one "
            "weight a pixel is needed"
        )
    weights = torch.where(labels == IGNORE, 0, pixel_weights.to(logits))
    each = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    total = weights.sum()
    return (weights * each).sum() / total.where(total > 0, 1)


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """1 minus the soft Dice overlap, averaged over the classes in the batch's labels.

    For class c with probabilities p and indicator g, over all labelled pixels of the batch,
    D = 2 sum(p g) / (sum(p^2) + sum(g^2)): Milletari et al. 2016 (V-Net), there for two
    classes. A class without a labelled pixel in the batch is left out: its D would be 0 whatever
    the network does, a constant with no gradient.

    Args:
        logits: (N, K, H, W), unnormalised.
        labels: (N, H, W) integer in 0..K-1, or IGNORE.

    Returns:
        A scalar in 0..1; 0 when no pixel has a label. Three tensors of the size of `logits`, in
        float32 or wider, wait for the backward pass: the softmax, the same without void, and the
        indicator.

    Raises:
        TypeError, ValueError: as `cross_entropy`.
    """
    logits, labels = _checked(logits, labels)
    known = (labels != IGNORE)[:, None]
    probs = logits.softmax(1) * known
    truth = F.one_hot(labels.where(known[:, 0], 0), logits.shape[1]).movedim(-1, 1)
    truth = truth.to(probs.dtype) * known  # one_hot's own int64 would be kept for backward
    over = (0, 2, 3)
    size = truth.sum(over)
    overlap = 2 * (probs * truth).sum(over) / (probs.square().sum(over) + size).clamp(min=1e-12)
    present = size > 0
    return ((1 - overlap) * present).sum() / present.sum().clamp(min=1)


def label_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Count each image's pixels by class, void left out.

    Args:
        labels: (N, H, W) integer in 0..K-1, or IGNORE; uint8 as in a `ResidentSet` will do.
        num_classes: K.

    Returns:
        (N, K) int64 pixel counts, on the device of `labels`.

    Raises:
        ValueError: a label is outside 0..K-1.
    """
    check_labels(labels, num_classes)
    rows = [torch.bincount(y[y != IGNORE].long(), minlength=num_classes) for y in labels]
    return torch.stack(rows)


def label_statistics(data) -> Tensor:
    """Count the pixels of every image of a data set by class, reading it through once.

    Args:
        data: a `SegmentationData`: `data.classes` names K classes, `data[i]` is (image, labels).

    Returns:
        (N, K) int64 pixel counts; images may differ in size.

    Raises:
        ValueError: the set is empty, or a label is outside 0..K-1.
    """
    if len(data) == 0:
        raise ValueError("the data set holds no image: statistics need at least one")
    num_classes = len(data.classes)
    return torch.cat([label_counts(data[i][1][None], num_classes) for i in range(len(data))])


def median_frequency_weights(counts: Tensor) -> Tensor:
    """Class weights that balance rare against frequent classes, computed from the data.

    freq(c) is the pixels of c divided by all labelled pixels of the images where c is present;
    the weight is median(freq) / freq(c): Eigen and Fergus 2015, used by SegNet
    (Badrinarayanan et al. 2017). Compute it: constants that are passed around for CamVid do not
    agree with its labels.

    Args:
        counts: (N, K) pixel counts of each image, from `label_counts` or `label_statistics`.

    Returns:
        (K,) float32 on the device of `counts`; 0 for a class that no image holds. The median is
        over the classes that occur, and the mean of the middle two when their number is even.

    Raises:
        ValueError: `counts` is not (N, K) or counts no pixel.

    >>> median_frequency_weights(torch.tensor([[50, 30, 20], [100, 0, 0]])).tolist()
    [0.4000000059604645, 1.0, 1.5]
    """
    if counts.ndim != 2 or counts.sum() == 0:
        raise ValueError(
            f"counts are {tuple(counts.shape)} with sum {counts.sum().item()}: (N, K) counts of "
            "labelled pixels are needed, from label_counts or label_statistics"
        )
    device = counts.device
    counts = counts.cpu().double()  # N x K numbers; Apple's GPUs have no float64
    pixels_where_present = ((counts > 0) * counts.sum(1, keepdim=True)).sum(0)
    freq = counts.sum(0) / pixels_where_present
    return (freq.nanquantile(0.5) / freq).nan_to_num(0).float().to(device)


def _checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels are {labels.dtype}: integer classes are needed (int64)")
    wanted = (logits.shape[0], *logits.shape[2:])
    if logits.ndim != 4 or labels.shape != wanted:
        raise ValueError(
            f"logits are {tuple(logits.shape)}, labels {tuple(labels.shape)}: (N, K, H, W) and "
            "(N, H, W) of one size are needed; resize the logits to the labels, not the labels"
        )
    if labels.device.type == "cpu":
        check_labels(labels, logits.shape[1])
    # A sum over a million pixels overflows float16 and loses its tail in bfloat16.
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), labels.long()
