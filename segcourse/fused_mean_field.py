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
    if not iterations:
        return F.log_softmax(logits, 1)
    pixels = N * H * W
    scores = logits.reshape(N, K, H * W)
    scores = scores - scores.amax(1, keepdim=True)  # now exp(scores) sum to 1 or more
    ends = [0]
    for lattice in lattices:
        ends.append(ends[-1] + lattice.rows + 1)
    table = logits.new_empty(ends[-1] + pixels, K)
    unary = table[ends[-1] :]
    # Multiplying by the identity transposes on all threads; a copy takes one.
    eye = torch.eye(K, dtype=logits.dtype, device=logits.device).expand(N, K, K)
    torch.bmm(scores.mT, eye, out=unary.view(N, H * W, K))
    # What a pixel sums: its corners in every lattice, and its unary.
    parts = [*(lattice.index.shape[1] for lattice in lattices), 1]
    index = torch.empty(pixels, sum(parts), dtype=torch.int32, device=logits.device)
    factors = logits.new_empty(pixels, sum(parts))
    *places, place = index.split(parts, 1)
    *corner_factors, one = factors.split(parts, 1)
    for i, lattice in enumerate(lattices):
        torch.add(lattice.index, ends[i], out=places[i])
        torch.mul(lattice.slice_weights, weights[i], out=corner_factors[i])
    torch.arange(ends[-1], ends[-1] + pixels, out=place[:, 0])
    one.fill_(1)

    # Only the CPU has something to gain, and waits for nothing when it looks for an overflow.
    plain = compatibility is None and min(weights) >= 0 and logits.device.type == "cpu"
    marginals = torch.empty_like(unary)
    softmax_(unary, marginals, plain)
    for left in range(iterations - 1, -1, -1):
        for lattice, begin, end in zip(lattices, ends[:-1], ends[1:], strict=True):
            rows = lattice.blur(lattice.splat(marginals))
            if compatibility is None:  # the cost 1 of all labels but one's own, less a constant
                table[begin:end] = rows
            else:  # labels mix on the lattice, which has fewer rows than the image
                torch.mm(rows, -compatibility.T, out=table[begin:end])
        heard = weighted_bags(table, index, factors)
        if left:
            softmax_(heard, marginals, plain)
    torch.bmm(eye, heard.view(N, H * W, K).mT, out=scores)
    return F.log_softmax(scores, 1).view_as(logits)


def softmax_(scores: Tensor, out: Tensor, plain: bool) -> None:
    """Softmax of the rows of scores (P, K) into `out`.

    Plain: without taking the rows' maximum off first, a slow pass over short rows. It is 0 before
    the first round, and no message of a Potts model is negative, so that no sum of exponentials
    is less than 1. Where one overflows the maximum is taken off after all.
    """
    if plain:
        torch.exp(scores, out=out)
        total = torch.mv(out, out.new_ones(out.shape[1]))
        if torch.isfinite(total.sum()):
            out.mul_(total.reciprocal_()[:, None])
            return
    torch.softmax(scores, 1, out=out)
