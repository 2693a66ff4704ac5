"""A CRF on a tiny image, by counting: every labelling, its probability, log Z (book/crf.ipynb).

K^P labelings are 512 for two labels on 3x3 pixels and more than anyone can list on 5x7. What mean
field and Gibbs sampling approximate is computed here, and they are tested against it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from segcourse.crf import check_compatibility, check_pair_matrix

MOST_LABELINGS = 2**20
"""The most labelings that are listed."""


@dataclass(frozen=True)
class Posterior:
    """The Gibbs distribution P(x) = exp(-E(x)) / Z, written out.

    Attributes:
        labelings: (K^P, P) int64, every labelling; the last pixel counts fastest.
        energies: (K^P,), E of each.
        log_partition: (), log Z.
        marginals: (P, K), the probability of each label at each pixel.
    """

    labelings: Tensor
    energies: Tensor
    log_partition: Tensor
    marginals: Tensor

    @property
    def probs(self) -> Tensor:
        """(K^P,), the probability of each labelling."""
        return torch.exp(-self.energies - self.log_partition)

    @property
    def best(self) -> Tensor:
        """(P,), the labelling of lowest energy; not always the best label of each pixel."""
        return self.labelings[self.energies.argmin()]


def labelings(num_pixels: int, num_labels: int) -> Tensor:
    """Every labelling of an image.

    Args:
        num_pixels: P.
        num_labels: K.

    Returns:
        (K^P, P) int64.

    Raises:
        ValueError: there are more than MOST_LABELINGS.

    >>> labelings(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    if num_pixels < 1 or num_labels < 1:
        raise ValueError(f"{num_pixels} pixels and {num_labels} labels: need at least one of each")
    count = num_labels**num_pixels
    if count > MOST_LABELINGS:
        raise ValueError(
            f"{num_labels} labels on {num_pixels} pixels are {float(count):.1e} labelings, and "
            f"{MOST_LABELINGS} at most are listed: take a smaller image, or approximate with "
            "mean_field.mean_field or gibbs.gibbs"
        )
    digits = num_labels ** torch.arange(num_pixels - 1, -1, -1)
    return torch.arange(count)[:, None] // digits % num_labels


def enumerate_posterior(unary: Tensor, matrix: Tensor, compatibility: Tensor) -> Posterior:
    """Sum over every labelling of one tiny image.

    Args:
        unary: (P, K).
        matrix: `crf.pair_matrix`, (P, P), zeros on the diagonal.
        compatibility: mu, (K, K), symmetric.

    Returns:
        The posterior, in the unary's dtype.

    Raises:
        ValueError: the shapes do not fit, or there are too many labelings.
    """
    if unary.ndim != 2:
        raise ValueError(f"the unary is {tuple(unary.shape)}, need (P, K): one image, unary[0]")
    P, K = unary.shape
    check_compatibility(compatibility, K)
    weights = check_pair_matrix(matrix, unary[None])[0]
    every = labelings(P, K).to(unary.device)
    energies = unary[torch.arange(P, device=unary.device), every].sum(1)
    for i in range(P):
        for j in range(i):
            energies = energies + compatibility.to(unary)[every[:, i], every[:, j]] * weights[i, j]
    log_partition = torch.logsumexp(-energies, 0)
    probs = torch.exp(-energies - log_partition)
    marginals = torch.stack([((every == k) * probs[:, None]).sum(0) for k in range(K)], dim=1)
    return Posterior(every, energies, log_partition, marginals)
