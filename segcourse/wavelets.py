"""Where the holes come from: the wavelet transform a trous, in one dimension (book/atrous.ipynb).

A signal is smoothed again and again with one short kernel, whose taps move apart by a factor of
two each time. What a smoothing took away is kept as a detail. Nothing is subsampled, so every
level is as long as the signal, and adding everything up gives the signal back (Holschneider et
al. 1989; the B3 spline as in Starck, Murtagh and Bijaoui 1998).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The usual smoothing kernel: sums to 1, and two of its smoothings are nearly a Gaussian."""


def smooth(signal: Tensor, level: int, kernel: tuple[float, ...] = B3_SPLINE) -> Tensor:
    """Smooth at one level: a dilated convolution at rate 2^level, the ends mirrored.

    Args:
        signal: (..., W).
        level: 0 for neighbouring taps, 1 for taps 2 apart, 2 for 4.
        kernel: an odd number of weights that sum to 1.

    Returns:
        (..., W).

    Raises:
        ValueError: an even kernel, or a signal too short to be mirrored that far.
    """
    rate, W = 2**level, signal.shape[-1]
    ahead = len(kernel) // 2 * rate
    if len(kernel) % 2 == 0:
        raise ValueError(f"{len(kernel)} taps have no middle: use an odd number")
    if ahead >= W:
        raise ValueError(
            f"{len(kernel)} taps at rate {rate} reach {ahead} numbers to each side, and the signal "
            f"has {W}: use fewer levels or a signal longer than {ahead}"
        )
    rows = F.pad(signal.reshape(-1, 1, W), (ahead, ahead), mode="reflect")
    weight = torch.tensor(kernel, dtype=signal.dtype, device=signal.device)[None, None]
    return F.conv1d(rows, weight, dilation=rate).reshape(signal.shape)


def a_trous(
    signal: Tensor, levels: int, kernel: tuple[float, ...] = B3_SPLINE
) -> tuple[Tensor, Tensor]:
    """Take a signal apart, from fine to coarse.

    Args:
        signal: (..., W) float.
        levels: J; level j has taps 2^j apart.
        kernel: as in `smooth`.

    Returns:
        The details (J, ..., W) that each smoothing took away, and what is left (..., W).

    Raises:
        ValueError: as `smooth`; no levels.
    """
    if levels < 1:
        raise ValueError(f"{levels} levels: give 1 or more")
    details = []
    for level in range(levels):
        smoothed = smooth(signal, level, kernel)
        details.append(signal - smoothed)
        signal = smoothed
    return torch.stack(details), signal


def restore(details: Tensor, rest: Tensor) -> Tensor:
    """Put the signal together again: a plain sum.

    Args:
        details: (J, ..., W).
        rest: (..., W).
    """
    return details.sum(0) + rest
