"""Gridding: which cells a stack of dilated layers never sees (book/atrous.ipynb).

Rates with a common factor leave holes: neighbouring outputs are computed from cells that do not
overlap, and disagree like two networks. Rates such as 1, 2, 5 cover every cell with the same
number of weights (Wang et al. 2018, section 3.2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def coverage(rates: Sequence[int], kernel_size: int = 3) -> Tensor:
    """How many paths lead from one output of a stack to each input cell.

    Args:
        rates: dilation of each layer, at stride 1.
        kernel_size: k of every layer.

    Returns:
        (S, S) int64, S from `segcourse.atrous.stack_field`; 0 marks a cell that is never read.
        Where the paths are equally likely they say how much each cell weighs: k^(2 layers) in all.

    Raises:
        ValueError: no layer, a rate below 1, or an even kernel.

    >>> coverage((2,)).tolist()[0], coverage((1, 2)).tolist()[0]
    ([1, 0, 1, 0, 1], [1, 1, 2, 1, 2, 1, 1])
    """
    along = paths(rates, kernel_size)
    return along[:, None] * along


def paths(rates: Sequence[int], kernel_size: int = 3) -> Tensor:
    """The same along one axis: a two-dimensional count is the product of two of these.

    Returns:
        (S,) int64.

    Raises:
        ValueError: as `coverage`.
    """
    if not rates or min(rates) < 1 or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"rates {tuple(rates)} and kernels of {kernel_size}: give one rate of 1 or more for "
            "each layer, and an odd kernel"
        )
    counts = torch.ones(1, dtype=torch.int64)
    for rate in rates:
        wider = counts.new_zeros(len(counts) + rate * (kernel_size - 1))
        for tap in range(kernel_size):
            wider[tap * rate : tap * rate + len(counts)] += counts
        counts = wider
    return counts


def seen_share(rates: Sequence[int], kernel_size: int = 3) -> float:
    """Share of the cells inside the receptive field that are read at all.

    >>> round(seen_share((2, 2, 2)), 3), seen_share((1, 2, 3)), seen_share((1, 2, 5))
    (0.29, 1.0, 1.0)
    """
    return (coverage(rates, kernel_size) > 0).double().mean().item()


def largest_gap(rates: Sequence[int], kernel_size: int = 3) -> int:
    """Cells from one that is read to the next one, at most; 1 where none is left out.

    >>> largest_gap((2, 2, 2)), largest_gap((1, 2, 9))
    (2, 3)
    """
    read = paths(rates, kernel_size).nonzero()[:, 0]
    return int(read.diff().max()) if len(read) > 1 else 1


def fits_hybrid_rule(rates: Sequence[int], kernel_size: int = 3) -> bool:
    """Whether rates pass the test of hybrid dilated convolution, without counting paths.

    From the last layer to the second, M_i = max(M_{i+1} - 2 r_i, 2 r_i - M_{i+1}, r_i), beginning
    with M_n = r_n; the rates pass where M_2 is at most the kernel (Wang et al. 2018, section 3.2,
    for layers that begin with rate 1).

    Args:
        rates: as in `coverage`; the first layer comes first.
        kernel_size: k of every layer.

    Raises:
        ValueError: as `coverage`.

    >>> fits_hybrid_rule((1, 2, 5)), fits_hybrid_rule((1, 2, 9)), fits_hybrid_rule((2, 2, 2))
    (True, False, False)
    """
    paths(rates, kernel_size)  # raises on what is no stack
    if rates[0] != 1:
        return False
    gap = rates[-1]
    for rate in reversed(rates[1:-1]):
        gap = max(gap - 2 * rate, 2 * rate - gap, rate)
    return len(rates) == 1 or gap <= kernel_size


def unrest(x: Tensor, rate: int) -> Tensor:
    """How much more neighbours differ than cells `rate` apart: gridding in a map, measured.

    In a smooth map cells further apart differ more, and the ratio is below 1; where each phase of
    the rate goes its own way, neighbours differ as much as strangers or more.

    Args:
        x: (..., H, W) float, larger than the rate.
        rate: distance in cells at which the same phase comes again, 2 or more.

    Returns:
        (...): mean squared difference of neighbours over that of cells `rate` apart, along rows
        and columns; nan for a constant map.

    Raises:
        ValueError: a rate below 2, or a map that is too small.
    """
    if rate < 2 or min(x.shape[-2:]) <= rate:
        raise ValueError(
            f"a map of {tuple(x.shape[-2:])} and a rate of {rate}: use 2 or more, and a map that "
            "is larger"
        )
    return _difference(x, 1) / _difference(x, rate)


def _difference(x: Tensor, step: int) -> Tensor:
    rows = (x[..., step:, :] - x[..., :-step, :]).square().mean((-2, -1))
    cols = (x[..., :, step:] - x[..., :, :-step]).square().mean((-2, -1))
    return rows + cols
