"""Fully connected CRF: what a labelling of an image costs (book/crf.ipynb).

E(x) = sum_i u_i(x_i) + sum_{i<j} mu(x_i, x_j) k(i, j): the network's opinion of each pixel, and
a price for pairs of pixels that are alike and labelled differently. The kernel k enters only as
a filter, so any of `gaussian_filters`, the lattice or a written-out matrix will do. Whether j = i
counts is the filter's business: the paper leaves it out, the usual C++ package keeps it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.gaussian_filters import Filter, kernel_matrix
from segcourse.labels import IGNORE, check_labels


def unary(logits: Tensor) -> Tensor:
    """What a label costs a pixel alone: u_i(l) = -log softmax(logits)_i(l).

    Args:
        logits: (N, K, H, W), unnormalised, or logarithms of probabilities.

    Returns:
        (N, P, K), P = H * W row by row; 0 or more. In the logits' dtype.

    Raises:
        ValueError: the logits have another shape, are not floating point, or hold NaN or infinity.
    """
    if logits.ndim != 4 or not logits.is_floating_point():
        raise ValueError(
            f"logits are {tuple(logits.shape)} {logits.dtype}, need floating point (N, K, H, W)"
        )
    wrong = int((~logits.isfinite()).sum())
    if wrong:
        raise ValueError(
            f"logits hold NaN or infinity at {wrong} of {logits.numel()} values: a CRF would "
            "spread it over the whole image, so look for it in the network first"
        )
    return -F.log_softmax(logits, dim=1).flatten(2).transpose(1, 2)


def to_image(values: Tensor, height: int, width: int) -> Tensor:
    """Points (N, P, L) back to an image (N, L, H, W).

    Raises:
        ValueError: P is not height * width.
    """
    if values.ndim != 3 or values.shape[1] != height * width:
        raise ValueError(
            f"values are {tuple(values.shape)}, need (N, {height * width}, L) for an image of "
            f"{height}x{width}"
        )
    return values.transpose(1, 2).unflatten(2, (height, width))


def logits_from_labels(labels: Tensor, num_classes: int, certainty: float) -> Tensor:
    """Scores for somebody's own rough labels, which are right with a given probability.

    Args:
        labels: (N, H, W) integers in 0..K-1; IGNORE where nobody knows, which favours no class.
        num_classes: K.
        certainty: probability of the given label, from 1/K to below 1. The other labels share
            the rest evenly.

    Returns:
        Log-probabilities (N, K, H, W) float32.

    Raises:
        ValueError: the labels have another shape or another value, there is one class only, or
            the certainty is outside its range.
        TypeError: the labels are not integers.

    >>> logits_from_labels(torch.tensor([[[1]]]), 3, certainty=0.5).exp().flatten().tolist()
    [0.25, 0.5, 0.25]
    """
    if labels.ndim != 3:
        raise ValueError(f"labels are {tuple(labels.shape)}, need (N, H, W): add a batch axis")
    if num_classes < 2:
        raise ValueError(f"{num_classes} classes: a label map to refine has two or more")
    if not 1 / num_classes <= certainty < 1:
        raise ValueError(
            f"a certainty of {certainty} for {num_classes} labels: give at least "
            f"{1 / num_classes:.3g} (no label favoured) and less than 1 (nothing left to refine)"
        )
    check_labels(labels, num_classes)
    void = labels == IGNORE
    given = F.one_hot(labels.long().masked_fill(void, 0), num_classes).float()
    probs = given * certainty + (1 - given) * (1 - certainty) / (num_classes - 1)
    probs = torch.where(void[..., None], torch.full_like(probs, 1 / num_classes), probs)
    return probs.log().permute(0, 3, 1, 2)


def potts(num_labels: int) -> Tensor:
    """The Potts compatibility: different labels cost 1, equal ones nothing.

    Returns:
        (K, K) float64.

    >>> potts(2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return 1 - torch.eye(num_labels, dtype=torch.float64)


def pair_matrix(features: list[Tensor], weights: list[float]) -> Tensor:
    """The paper's pairwise weights written out, for small images: sum_m w_m k_m, j = i left out.

    Args:
        features: of each kernel, (P, D) or (N, P, D), as `gaussian_filters` makes them.
        weights: w of each kernel; negative ones repel.

    Returns:
        (P, P) or (N, P, P), symmetric, zeros on the diagonal; on the first kernel's device.

    Raises:
        ValueError: another number of weights, or more points than a matrix is made for.
    """
    if not features or len(features) != len(weights):
        raise ValueError(
            f"{len(features)} kernels and {len(weights)} weights: give one weight for each"
        )
    device = features[0].device
    pairs = zip(features, weights, strict=True)
    matrix = sum(w * kernel_matrix(f.to(device)) for f, w in pairs)
    return matrix * (1 - torch.eye(matrix.shape[-1]).to(matrix))


def weighted(filters: list[Filter], weights: list[float] | Tensor) -> Filter:
    """The sum of filters, each times its weight: the w_1 k_1 + w_2 k_2 of the paper's eq. 3.

    Args:
        filters: one or more.
        weights: one for each; negative ones repel.

    Returns:
        The filter of the summed kernel.

    Raises:
        ValueError: there is no filter, or another number of weights.
    """
    if not filters or len(filters) != len(weights):
        raise ValueError(
            f"{len(filters)} filters and {len(weights)} weights: give one weight for each filter"
        )

    def apply(values: Tensor) -> Tensor:
        return sum(w * filter(values) for w, filter in zip(weights, filters, strict=True))

    return apply


def without_self(filter: Filter) -> Filter:
    """The same filter over j != i, for a kernel that is 1 at distance 0.

    The paper sums over j != i; the C++ package keeps j = i. Not for `normalized` filters, nor for
    weighted sums: take j = i out of each kernel first.

    Args:
        filter: with ones on the diagonal of its kernel.

    Returns:
        The filter minus the value of the point itself.
    """
    return lambda values: filter(values) - values


def energy(unary: Tensor, labels: Tensor, filter: Filter, compatibility: Tensor) -> Tensor:
    """E of a labelling, by one filtering of its one-hot maps (Krähenbühl and Koltun 2011, eq. 1).

    Args:
        unary: (N, P, K).
        labels: (N, P) int64 in 0..K-1.
        filter: of (N, P, K). If it includes j = i, half of mu(x_i, x_i) k(i, i) is added for each
            pixel: nothing, with Potts.
        compatibility: mu, (K, K), symmetric.

    Returns:
        (N,) in the unary's dtype.

    Raises:
        ValueError: the shapes do not fit, or the compatibility is not symmetric.
    """
    mu = check_unary(unary, compatibility)
    if labels.shape != unary.shape[:2]:
        raise ValueError(
            f"labels are {tuple(labels.shape)} and the unary {tuple(unary.shape)}: need labels "
            f"{tuple(unary.shape[:2])}, one for each pixel"
        )
    chosen = F.one_hot(labels, unary.shape[2]).to(unary)
    return (chosen * (unary + 0.5 * filter(chosen) @ mu)).sum((1, 2))


def check_pair_matrix(matrix: Tensor, unary: Tensor) -> Tensor:
    """Refuse a matrix of pairwise weights that does not fit the unary.

    Args:
        matrix: (P, P) or (N, P, P), symmetric, zeros on the diagonal.
        unary: (N, P, K).

    Returns:
        The matrix as (N, P, P) in the unary's dtype and on its device.

    Raises:
        ValueError: the sizes differ, the diagonal is not zero, or it is not symmetric.
    """
    N, P = unary.shape[:2]
    if matrix.shape not in ((P, P), (N, P, P)):
        raise ValueError(
            f"the matrix is {tuple(matrix.shape)} and the unary {tuple(unary.shape)}: need "
            f"({P}, {P}) or ({N}, {P}, {P}); build both from images of one size"
        )
    if matrix.diagonal(dim1=-2, dim2=-1).any() or not torch.allclose(matrix, matrix.mT):
        raise ValueError(
            "the matrix of pairwise weights must be symmetric with zeros on its diagonal (no pixel "
            "is its own neighbour): build it with pair_matrix"
        )
    return matrix.to(unary).expand(N, P, P)


def check_compatibility(compatibility: Tensor, num_labels: int) -> None:
    """Refuse a compatibility that is not a symmetric (K, K) matrix.

    Raises:
        ValueError: the shape is another one, or mu(a, b) differs from mu(b, a).
    """
    K = num_labels
    if compatibility.shape != (K, K):
        raise ValueError(
            f"the compatibility is {tuple(compatibility.shape)}, {K} labels need ({K}, {K}): "
            f"potts({K}), or a matrix of your own"
        )
    if not torch.allclose(compatibility, compatibility.T):
        raise ValueError(
            "the compatibility is not symmetric, but a pair of pixels has no first and second: "
            "use (mu + mu.T) / 2"
        )


def check_unary(unary: Tensor, compatibility: Tensor) -> Tensor:
    """Refuse a unary that is not (N, P, K) floating point, or a compatibility that does not fit.

    Args:
        unary: (N, P, K).
        compatibility: (K, K).

    Returns:
        The compatibility in the unary's dtype and on its device.

    Raises:
        ValueError: one of them has another shape, or mu is not symmetric.
    """
    if unary.ndim != 3 or not unary.is_floating_point():
        raise ValueError(
            f"the unary is {tuple(unary.shape)} {unary.dtype}, need floating point (N, P, K): "
            "crf.unary(logits) makes it"
        )
    check_compatibility(compatibility, unary.shape[2])
    return compatibility.to(unary)
