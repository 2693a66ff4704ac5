"""Gibbs sampling of the fully connected CRF: right in the limit, and slow (book/crf.ipynb).

One pixel at a time draws a new label, given all others. Samples follow the posterior after long
enough, so their counts approach the true marginals; but each draw listens to every other pixel,
a sweep costs P^2, and neighbours that agree are slow to change their mind together.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.crf import check_compatibility, check_pair_matrix


def gibbs(
    unary: Tensor, matrix: Tensor, compatibility: Tensor, sweeps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Sample labelings, one after each sweep over all pixels.

    For several chains of one image at once: `unary.expand(chains, -1, -1)`.

    Args:
        unary: (N, P, K).
        matrix: `crf.pair_matrix`, (P, P) or (N, P, P), zeros on the diagonal.
        compatibility: mu, (K, K), symmetric.
        sweeps: passes over the image.
        generator: on the CPU; the draws are the same on every device.

    Yields:
        (N, P) int64: drawn from softmax(-unary) first, then one after each sweep.

    Raises:
        ValueError: the shapes do not fit.
    """
    if unary.ndim != 3:
        raise ValueError(f"the unary is {tuple(unary.shape)}, need (N, P, K): crf.unary makes it")
    P, K = unary.shape[1:]
    check_compatibility(compatibility, K)
    rows, mu = check_pair_matrix(matrix, unary), compatibility.to(unary)
    chosen = _draw(-unary, generator)
    yield chosen.argmax(2)
    for _ in range(sweeps):
        for i in range(P):
            heard = (rows[:, i, None] @ chosen)[:, 0] @ mu
            chosen[:, i] = _draw(-unary[:, i] - heard, generator)
        yield chosen.argmax(2)


def gibbs_marginals(
    unary: Tensor,
    matrix: Tensor,
    compatibility: Tensor,
    sweeps: int,
    burn_in: int,
    generator: torch.Generator,
) -> Tensor:
    """How often each pixel had each label, after the first sweeps were thrown away.

    Args:
        unary: (N, P, K).
        matrix: `crf.pair_matrix`, (P, P) or (N, P, P), zeros on the diagonal.
        compatibility: mu, (K, K), symmetric.
        sweeps: sweeps that are counted.
        burn_in: sweeps before them, which still remember where the chain began.
        generator: on the CPU.

    Returns:
        (N, P, K) relative frequencies.

    Raises:
        ValueError: the shapes do not fit, or nothing is counted.
    """
    if sweeps < 1 or burn_in < 0:
        raise ValueError(
            f"{sweeps} sweeps after {burn_in} of burn-in: count at least one, after 0 or more"
        )
    counts = torch.zeros_like(unary)
    for step, labels in enumerate(gibbs(unary, matrix, compatibility, burn_in + sweeps, generator)):
        if step > burn_in:
            counts += F.one_hot(labels, unary.shape[2])
    return counts / sweeps


def _draw(scores: Tensor, generator: torch.Generator) -> Tensor:
    """One-hot draws from softmax(scores), (..., K) to (..., K): the largest of scores + Gumbel."""
    uniform = torch.rand(scores.shape, generator=generator, dtype=torch.float64).to(scores.device)
    # -log(-log u), with u kept away from 0 where the inner logarithm is infinite.
    gumbel = -(-uniform.clamp_min(torch.finfo(torch.float64).tiny).log()).log()
    best = (scores + gumbel.to(scores)).argmax(-1)
    return F.one_hot(best, scores.shape[-1]).to(scores)
