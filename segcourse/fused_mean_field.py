"""Mean field of a dense CRF as fast as tensors allow, without gradients (book/crf.ipynb).

The same numbers as the plain loop of `dense_crf`, rearranged: pixels as rows and labels side by
side from the first iteration to the last, one table for the lattice rows of all kernels and for
the unary, so that one sum of a few rows a pixel is the whole message, and a softmax without its
maximum where nothing can overflow.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.permutohedral import Lattice, weighted_bags


def fused_mean_field(
    logits: Tensor,
    lattices: Sequence[Lattice],
    weights: Sequence[float],
    compatibility: Tensor | None,
    iterations: int,
) -> Tensor:
    """Log-marginals after some iterations of parallel mean field.

    Args:
        logits: (N, K, H, W), finite.
        lattices: one a kernel, each of the N * H * W pixels, symmetric.
        weights: of the kernels.
        compatibility: (K, K) cost of label k beside label l; None: 1 for labels that differ.
        iterations: 0 or more.

    Returns:
        (N, K, H, W) log-marginals.
    """
    N, K, H, W = logits.shape
    unary = F.log_softmax(logits.reshape(N, K, H * W), 1)
    if not iterations:
        return unary.view_as(logits)
    pixels = N * H * W
    eye = torch.eye(K, dtype=logits.dtype, device=logits.device)
    ends = [0]
    for lattice in lattices:
        ends.append(ends[-1] + lattice.rows + 1)
    table = logits.new_empty(ends[-1] + pixels, K)
    # Multiplying by the identity transposes on all threads; a copy takes one.
    torch.bmm(unary.mT, eye.expand(N, K, K), out=table[ends[-1] :].view(N, H * W, K))
    # What a pixel sums: its corners in every lattice, and its unary.
    D = [lattice.index.shape[1] for lattice in lattices]
    index = torch.empty(pixels, sum(D) + 1, dtype=torch.int32, device=logits.device)
    factors = logits.new_empty(pixels, sum(D) + 1)
    parts = zip(index.split([*D, 1], 1), factors.split([*D, 1], 1), strict=True)
    for (place, factor), lattice, weight, end in zip(parts, lattices, weights, ends, strict=False):
        torch.add(lattice.index, end, out=place)
        torch.mul(lattice.slice_weights, weight, out=factor)
    torch.arange(ends[-1], ends[-1] + pixels, out=index[:, -1])
    factors[:, -1] = 1

    marginals = table[ends[-1] :].exp()
    plain = compatibility is None and min(weights) >= 0 and logits.device.type == "cpu"
    for left in range(iterations - 1, -1, -1):
        for lattice, begin, end in zip(lattices, ends, ends[1:], strict=False):
            rows = lattice.blur(lattice.splat(marginals))
            if compatibility is None:  # the cost 1 of all labels but one's own, less a constant
                table[begin:end] = rows
            else:  # labels mix on the lattice, which has fewer rows than the image
                torch.mm(rows, -compatibility.T, out=table[begin:end])
        scores = weighted_bags(table, index, factors)
        if left:
            marginals = _softmax(scores, marginals, plain)
    scores = torch.bmm(eye.expand(N, K, K), scores.view(N, H * W, K).mT)
    return F.log_softmax(scores, 1).view_as(logits)


def _softmax(scores: Tensor, out: Tensor, plain: bool) -> Tensor:
    """Softmax of every row. Plain: of a log-distribution to which nothing negative was added.

    Then the exponentials sum to 1 or more, and the row's maximum, a pass of its own, is needed
    only where they overflow.
    """
    if plain:
        torch.exp(scores, out=out)
        total = torch.mv(out, out.new_ones(out.shape[1]))
        if torch.isfinite(total.sum()):
            return out.mul_(total.reciprocal_()[:, None])
    return torch.softmax(scores, 1, out=out)
