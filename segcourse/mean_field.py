"""Mean field: independent pixels as close to the CRF as they can be (book/crf.ipynb).

Of all Q(x) = prod_i Q_i(x_i) it looks for the one with the least KL(Q, P) to P = exp(-E) / Z.
That divergence is `free_energy` + log Z where the filter leaves j = i out, so falling free energy
is all there is to watch. Updating all pixels at once is one filtering; one at a time is safe.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from segcourse.crf import check_pair_matrix, check_unary
from segcourse.gaussian_filters import Filter


def free_energy(probs: Tensor, unary: Tensor, filter: Filter, compatibility: Tensor) -> Tensor:
    """E_Q[E] - H(Q): what mean field lowers. For a filter without j = i it is KL(Q, P) - log Z.

    Args:
        probs: Q, (N, P, K).
        unary: (N, P, K).
        filter: of (N, P, K).
        compatibility: mu, (K, K), symmetric.

    Returns:
        (N,), never below -log Z if the filter leaves j = i out.

    Raises:
        ValueError: the shapes do not fit, or the compatibility is not symmetric.
    """
    mu = check_unary(unary, compatibility)
    if probs.shape != unary.shape:
        raise ValueError(
            f"probs are {tuple(probs.shape)} and the unary {tuple(unary.shape)}: need equal shapes"
        )
    expected = probs * (unary + 0.5 * filter(probs) @ mu)
    return (expected + torch.xlogy(probs, probs)).sum((1, 2))


def parallel_updates(
    unary: Tensor, filter: Filter, compatibility: Tensor, iterations: int
) -> Iterator[Tensor]:
    """Mean field, all pixels at once (the paper's algorithm 1): Q_i = softmax(-u_i - mu k Q).

    Fast, because one filtering serves all pixels; but pixels that answer to each other's last
    word can overshoot. With a kernel that repels they may never agree.

    Args:
        unary: (N, P, K).
        filter: of (N, P, K), with or without j = i.
        compatibility: mu, (K, K), symmetric.
        iterations: updates.

    Yields:
        Q (N, P, K): softmax(-unary) first, then one after each update.

    Raises:
        ValueError: the shapes do not fit, or the compatibility is not symmetric.
    """
    mu = check_unary(unary, compatibility)
    probs = torch.softmax(-unary, dim=2)
    yield probs
    for _ in range(iterations):
        probs = torch.softmax(-unary - filter(probs) @ mu, dim=2)
        yield probs


def sequential_updates(
    unary: Tensor, matrix: Tensor, compatibility: Tensor, iterations: int
) -> Iterator[Tensor]:
    """Mean field, one pixel after the other: each takes the best Q_i while the others stand still.

    No step raises the free energy, whatever the kernel, so it always converges. It needs the
    kernel written out and P steps where the parallel update needs one: for small images.

    Args:
        unary: (N, P, K).
        matrix: `pair_matrix`, (P, P) or (N, P, P), zeros on the diagonal: with j = i in it a step
            would not be the best one.
        compatibility: mu, (K, K), symmetric.
        iterations: sweeps over all pixels.

    Yields:
        Q (N, P, K): softmax(-unary) first, then one after each pixel, iterations * P of them.

    Raises:
        ValueError: the shapes do not fit, or the matrix or the compatibility is not symmetric, or
            the matrix has a diagonal.
    """
    mu = check_unary(unary, compatibility)
    rows = check_pair_matrix(matrix, unary)
    probs = torch.softmax(-unary, dim=2)
    yield probs
    for _ in range(iterations):
        for i in range(unary.shape[1]):
            heard = (rows[:, i, None] @ probs)[:, 0] @ mu
            probs = probs.clone()
            probs[:, i] = torch.softmax(-unary[:, i] - heard, dim=1)
            yield probs


def mean_field(
    unary: Tensor, filter: Filter, compatibility: Tensor, iterations: int = 10
) -> tuple[Tensor, Tensor]:
    """Parallel mean field, with the free energy after every step.

    Args:
        unary: (N, P, K).
        filter: of (N, P, K), with or without j = i.
        compatibility: mu, (K, K), symmetric.
        iterations: updates.

    Returns:
        Q (N, P, K) after the last update, and free energies (iterations + 1, N): the first is
        that of softmax(-unary).

    Raises:
        ValueError: the shapes do not fit, or the compatibility is not symmetric.
    """
    energies = []
    for probs in parallel_updates(unary, filter, compatibility, iterations):
        energies.append(free_energy(probs, unary, filter, compatibility))
    return probs, torch.stack(energies)
