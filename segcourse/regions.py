"""Region proposals and a classifier for each: the road before networks (book/sliding_window.ipynb).

Something else cuts the image into segments (scikit-image, in the page); here each segment becomes
a row of numbers, the row gets a class, and all its pixels take it. Whatever the classifier does,
its accuracy stays under `oracle_labels`, which knows the answer and still has only the segments.
"""

import math

import torch
from torch import Tensor, nn

from segcourse.labels import IGNORE


def region_features(values: Tensor, segments: Tensor) -> Tensor:
    """Mean of each channel over each segment.

    Args:
        values: (C, H, W) float: an image, or feature maps.
        segments: (H, W) int64, ids 0..R-1.

    Returns:
        (R, C); an id that no pixel has gets zeros.

    Raises:
        ValueError: sizes differ, or an id is negative.

    >>> region_features(torch.tensor([[[1.0, 3.0, 8.0]]]), torch.tensor([[0, 0, 1]])).tolist()
    [[2.0], [8.0]]
    """
    flat = _checked(segments, values.shape[1:])
    R = int(flat.max()) + 1
    area = flat.bincount(minlength=R).clamp(min=1).to(values.dtype)
    total = values.new_zeros(R, values.shape[0]).index_add_(0, flat, values.flatten(1).T)
    return total / area[:, None]


def region_shapes(segments: Tensor) -> Tensor:
    """Six numbers for the shape of each segment, the same wherever it lies and however turned.

    Args:
        segments: (H, W) int64, ids 0..R-1.

    Returns:
        (R, 6) float32: log area; perimeter^2 / (4 pi area), which is least for a disc, with the
        perimeter as the number of pixel sides towards other segments or the image border; spread
        (mean squared distance from the centre over area: 0.159 for a disc, 0.167 for a square, more
        for a cross); elongation (minor over major axis, 1 for a disc or a square, near 0 for a
        bar); log of the major axis in pixels; share of the perimeter on the image border. What an
        id that no pixel has gets is finite and means nothing.

    Raises:
        ValueError: an id is negative.
    """
    flat = _checked(segments, segments.shape)
    H, W = segments.shape
    R = int(flat.max()) + 1
    device = segments.device
    area = flat.bincount(minlength=R).clamp(min=1).double()

    rows = torch.arange(H, device=device).double().repeat_interleave(W)
    cols = torch.arange(W, device=device).double().repeat(H)

    def mean(x: Tensor) -> Tensor:
        return area.new_zeros(R).index_add_(0, flat, x) / area

    row, col = rows - mean(rows)[flat], cols - mean(cols)[flat]
    # 1/12: a pixel is a unit square, not a point, so that one pixel is a square too.
    a, b, c = mean(row * row) + 1 / 12, mean(row * col), mean(col * col) + 1 / 12
    spread = ((a - c) ** 2 / 4 + b**2).sqrt()
    major, minor = (a + c) / 2 + spread, ((a + c) / 2 - spread).clamp(min=0)

    outside = segments.new_full((H + 2, W + 2), -1)
    outside[1:-1, 1:-1] = segments
    inner, border = area.new_zeros(R), area.new_zeros(R)
    for neighbour in (outside[:-2, 1:-1], outside[2:, 1:-1], outside[1:-1, :-2], outside[1:-1, 2:]):
        other = neighbour.flatten()
        inner.index_add_(0, flat, ((other != flat) & (other >= 0)).double())
        border.index_add_(0, flat, (other < 0).double())
    perimeter = inner + border
    return torch.stack(
        [
            area.log(),
            perimeter**2 / (4 * math.pi * area),
            (a + c) / area,
            (minor / major).sqrt(),
            major.log() / 2,
            border / perimeter.clamp(min=1),
        ],
        dim=1,
    ).float()


class RegionClassifier(nn.Module):
    """A layer norm and a two-layer perceptron on a row of region features.

    Shapes: (R, F) to logits (R, K).

    Args:
        in_features: F.
        num_classes: K.
        hidden: width of the hidden layer.
    """

    def __init__(self, in_features: int, num_classes: int, hidden: int = 64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(R, F) float to logits (R, K)."""
        return self.layers(features)


def classify_regions(classifier: nn.Module, features: Tensor, segments: Tensor) -> Tensor:
    """Give every pixel the logits of its segment.

    Args:
        classifier: (R, F) to (R, K).
        features: (R, F), one row a segment.
        segments: (H, W) int64, ids 0..R-1.

    Returns:
        Logits (K, H, W).

    Raises:
        ValueError: a segment has no row of features.
    """
    flat = _checked(segments, segments.shape)
    if int(flat.max()) >= len(features):
        raise ValueError(
            f"segment {int(flat.max())} has no row in {len(features)} rows of features: "
            "compute the features from the same segments"
        )
    return classifier(features)[segments].permute(2, 0, 1)


def region_labels(segments: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The class that most pixels of each segment have: what a region classifier is taught.

    Args:
        segments: (H, W) int64, ids 0..R-1.
        labels: (H, W) int64 in 0..K-1, or IGNORE.
        num_classes: K.

    Returns:
        (R,) int64; the lowest class on a tie, IGNORE for a segment that is void throughout.

    Raises:
        ValueError: sizes differ, or a label is outside 0..K-1 and is not IGNORE.
    """
    flat = _checked(segments, labels.shape)
    truth, known = labels.flatten(), labels.flatten() != IGNORE
    if bool(((truth < 0) | (truth >= num_classes))[known].any()):
        raise ValueError(f"labels outside 0..{num_classes - 1}: map void to {IGNORE} first")
    R = int(flat.max()) + 1
    counts = (flat[known] * num_classes + truth[known]).bincount(minlength=R * num_classes)
    counts = counts.reshape(R, num_classes)
    return counts.argmax(1).where(counts.sum(1) > 0, IGNORE)


def oracle_labels(segments: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The best a region classifier can do: every segment takes its own majority class.

    No labelling that is constant on each segment has higher *pixel accuracy*. Mean IoU is another
    matter: it counts a rare class as much as a common one, so giving up some pixels of a common
    class for a rare one can raise it above the oracle's.

    Args:
        segments: (H, W) int64, ids 0..R-1.
        labels: (H, W) int64 in 0..K-1, or IGNORE.
        num_classes: K.

    Returns:
        (H, W) int64 in 0..K-1. A segment that is void throughout gets 0; no metric counts it.

    Raises:
        ValueError: sizes differ, or a label is outside 0..K-1 and is not IGNORE.
    """
    majority = region_labels(segments, labels, num_classes)
    return majority.where(majority != IGNORE, 0)[segments]


def _checked(segments: Tensor, size: torch.Size) -> Tensor:
    """(H, W) segments, flat, after a check of their size and ids."""
    if segments.shape != size or segments.ndim != 2:
        raise ValueError(
            f"segments of shape {tuple(segments.shape)} for {tuple(size)} pixels: both must be "
            "(H, W) of one image"
        )
    if int(segments.min()) < 0:
        raise ValueError(
            f"segments hold id {int(segments.min())}: number them 0..R-1 "
            "(numpy.unique with return_inverse=True does)"
        )
    return segments.flatten().long()
