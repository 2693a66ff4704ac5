"""Mean field of a dense CRF as fast as tensors allow, without gradients (book/crf.ipynb).

The same numbers as the plain loop of `dense_crf`, rearranged: pixels as rows and labels side by
side from the first iteration to the last, one table for the lattice rows of all kernels and for
the unary, so that one sum of a few rows a pixel is the whole message, and a softmax without its
maximum where nothing can overflow. What is not needed again is overwritten, and a large image goes
in pieces: memory that the system gives anew costs as much as the work on it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segcourse.permutohedral import Lattice, starts, weighted_bags

PIECE = 2**22
"""Numbers of the scores that a CPU takes at once: 16 MiB in float32. An array over 32 MiB goes back
to the system when it is freed, and every page of the next one is a page fault."""

KEPT = 2**25 - 2**13
"""Bytes of the largest block of memory after which Linux' malloc still adapts: see below."""


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
    if not iterations:
        return torch.log_softmax(logits, 1)
    if logits.device.type == "cpu":
        _keep_freed_memory()
    # Only the CPU has something to gain, and waits for nothing when it looks for an overflow.
    if compatibility is None and min(weights) >= 0 and logits.device.type == "cpu":
        found = _rounds(logits, lattices, weights, None, iterations, plain_softmax)
        if torch.isfinite(found.sum()):
            return found
    logits = logits - logits.amax(1, keepdim=True)
    return _rounds(logits, lattices, weights, compatibility, iterations, safe_softmax)


def _rounds(
    logits: Tensor,
    lattices: Sequence[Lattice],
    weights: Sequence[float],
    compatibility: Tensor | None,
    iterations: int,
    softmax: Callable[[Tensor, Tensor], None],
) -> Tensor:
    """`fused_mean_field` with a softmax over the labels of (P, K), from one tensor into another."""
    N, K, H, W = logits.shape
    pixels = N * H * W
    ends = [0]
    for lattice in lattices:
        ends.append(ends[-1] + lattice.rows + 1)
    table = logits.new_empty(ends[-1] + pixels, K)
    unary = table[ends[-1] :]
    _transpose(logits.reshape(N, K, H * W), unary.view(N, H * W, K))
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

    step = max(PIECE // K, 1) if logits.device.type == "cpu" else pixels
    pieces = [slice(begin, begin + step) for begin in range(0, pixels, step)]
    start = starts(index[:step])
    marginals = torch.empty_like(unary)
    for piece in pieces:
        softmax(unary[piece], marginals[piece])
    for left in reversed(range(iterations)):
        for lattice, begin, end in zip(lattices, ends[:-1], ends[1:], strict=True):
            rows = lattice.blur(lattice.splat(marginals))
            if compatibility is None:  # the cost 1 of all labels but one's own, less a constant
                table[begin:end] = rows
            else:  # labels mix on the lattice, which has fewer rows than the image
                torch.mm(rows, -compatibility.T, out=table[begin:end])
            del rows  # memory for what comes next
        if len(pieces) == 1:
            del marginals
            marginals = weighted_bags(table, index, factors, start)
            if left:  # the last softmax is a logarithm
                softmax(marginals, marginals)
            continue
        for piece in pieces:
            place = index[piece]
            heard = weighted_bags(table, place, factors[piece], start[: len(place) + 1])
            if left:
                softmax(heard, marginals[piece])
            else:
                marginals[piece] = heard
    scores = unary.view(N, K, H * W)  # their memory is free now
    _transpose(marginals.view(N, H * W, K), scores)
    return torch.log_softmax(scores, 1, out=marginals.view(N, K, H * W)).view_as(logits)


def _keep_freed_memory() -> None:
    """Have the next call find the memory that this one frees.

    Linux' malloc gives freed memory back to the system above twice the largest block that came
    from there and went back, which it learns as it goes. So a block comes and goes, untouched. At
    most 64 MiB stay with the process; other systems do as they do.
    """
    torch.empty(KEPT, dtype=torch.uint8)


def _transpose(x: Tensor, out: Tensor) -> None:
    """(N, A, B) into (N, B, A)."""
    if x.device.type != "cpu":
        out.copy_(x.mT)
        return
    # Multiplying by the identity transposes on all threads; a copy takes one.
    A, B = x.shape[1:]
    eye = torch.eye(min(A, B), dtype=x.dtype).expand(len(x), -1, -1)
    torch.bmm(*((x.mT, eye) if A < B else (eye, x.mT)), out=out)


def plain_softmax(scores: Tensor, out: Tensor) -> None:
    """Without taking the rows' maximum off first, a slow pass over short rows.

    What is too large for this becomes infinite and then NaN, what is too small for all digits
    NaN at once, and every later round hears of it.
    """
    torch.exp(scores, out=out)
    total = torch.mv(out, out.new_ones(out.shape[1]))
    total.masked_fill_(total < 1e-30, torch.nan)
    out.mul_(total.reciprocal_()[:, None])


def safe_softmax(scores: Tensor, out: Tensor) -> None:
    """With the maximum taken off."""
    torch.softmax(scores, 1, out=out)
