"""Holes in the kernel: dilated convolution three ways, in 1D and 2D (book/atrous.ipynb).

A kernel at rate r reads every r-th cell. Write the holes as zeros and it is an ordinary, larger
convolution; gather only what it reads and it costs what the small kernel costs; or sort the cells
by their rest modulo r, and it is the small kernel on each of these smaller maps. Arguments are
named as in `torch.nn.functional.conv2d`.
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

Size = int | tuple[int, ...]


def effective_kernel(kernel_size: int, dilation: int) -> int:
    """Cells from the first to the last tap, both included: k + (k - 1)(r - 1).

    >>> [effective_kernel(3, rate) for rate in (1, 2, 4, 12)]
    [3, 5, 9, 25]
    """
    return kernel_size + (kernel_size - 1) * (dilation - 1)


def stack_field(dilations: tuple[int, ...], kernel_size: int = 3) -> int:
    """Side of what one output of a stack of convolutions sees, in input cells, at stride 1.

    Each layer adds (k - 1) r to the one below. Stacks with strides and pools:
    `segcourse.receptive_field`.

    >>> stack_field((1, 1, 1)), stack_field((1, 2, 4))
    (7, 15)
    """
    return 1 + sum((kernel_size - 1) * rate for rate in dilations)


def by_loops(
    x: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Write the definition down: for every output cell, a sum over the taps.

    Args:
        x: (N, C, W) for a signal, (N, C, H, W) for maps.
        weight: (D, C / groups, kw), or (D, C / groups, kh, kw).
        stride: from one output's window to the next, in cells.
        padding: zeros at both ends.
        dilation: r, from tap to tap: output i reads cells i * stride + k * r - padding.
        groups: parts of the channels that do not see each other.

    Returns:
        (N, D, W') or (N, D, H', W'): each axis as in `output_size`.

    Raises:
        ValueError: shapes, channels or sizes that do not fit.
    """
    sizes, stride, padding, dilation = _checked(x, weight, stride, padding, dilation, groups)
    x = _padded(x, padding)
    N, D = len(x), len(weight)
    out = x.new_zeros(N, groups, D // groups, *sizes)
    x = x.reshape(N, groups, -1, *x.shape[2:])
    weight = weight.reshape(groups, D // groups, *weight.shape[1:])
    for cell in product(*map(range, sizes)):
        for tap in product(*map(range, weight.shape[3:])):
            axes = zip(cell, stride, tap, dilation, strict=True)
            at = tuple(i * s + k * r for i, s, k, r in axes)
            term = torch.einsum("ngc,gdc->ngd", x[(..., *at)], weight[(..., *tap)])
            out[(..., *cell)] += term
    return out.reshape(N, D, *sizes)


def stuff_zeros(weight: Tensor, dilation: Size) -> Tensor:
    """Put r - 1 zeros between neighbouring taps: the same weights in a kernel with holes.

    Args:
        weight: (D, C, kw) or (D, C, kh, kw).
        dilation: r, one for each axis or one for all.

    Returns:
        (D, C, ...), each axis as long as `effective_kernel`.

    >>> stuff_zeros(Tensor([[[1, 2, 3]]]), 2).tolist()
    [[[1.0, 0.0, 2.0, 0.0, 3.0]]]
    """
    rates = _each(dilation, weight.ndim - 2)
    sides = [effective_kernel(k, r) for k, r in zip(weight.shape[2:], rates, strict=True)]
    stuffed = weight.new_zeros(*weight.shape[:2], *sides)
    stuffed[(..., *(slice(None, None, rate) for rate in rates))] = weight
    return stuffed


def by_zero_stuffing(
    x: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve with the kernel that has zeros for holes, without any dilation.

    Right, and wasteful: it multiplies by every zero.

    Args and returns: as `by_loops`.

    Raises:
        ValueError: shapes, channels or sizes that do not fit.
    """
    _, stride, padding, dilation = _checked(x, weight, stride, padding, dilation, groups)
    convolve = F.conv1d if x.ndim == 3 else F.conv2d
    return convolve(x, stuff_zeros(weight, dilation), None, stride, padding, 1, groups)


def by_gather(
    x: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Pick up the cells that the taps read, and multiply one matrix: holes cost nothing.

    Args and returns: as `by_loops`.

    Raises:
        ValueError: shapes, channels or sizes that do not fit.
    """
    sizes, stride, padding, dilation = _checked(x, weight, stride, padding, dilation, groups)
    x = _padded(x, padding)
    N, D = len(x), len(weight)
    for axis, (n, s, k, r) in enumerate(
        zip(sizes, stride, weight.shape[2:], dilation, strict=True)
    ):
        cells = torch.arange(n, device=x.device)[:, None] * s
        taps = torch.arange(k, device=x.device) * r
        # One axis of cells becomes two: which output, and which tap.
        x = x.index_select(2 + 2 * axis, (cells + taps).flatten())
        x = x.unflatten(2 + 2 * axis, (n, k))
    x = x.reshape(N, groups, -1, *x.shape[2:])
    weight = weight.reshape(groups, D // groups, *weight.shape[1:])
    equation = "ngcxi,gdci->ngdx" if len(sizes) == 1 else "ngcyjxi,gdcji->ngdyx"
    return torch.einsum(equation, x, weight).reshape(N, D, *sizes)


def by_phases(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Split a map into r * r smaller ones, convolve each without holes, put them together again.

    Cell i belongs to phase i modulo r, and a kernel at rate r reads one phase only: the phases
    never meet. That is why a stack of layers at one rate paints a grid
    (`segcourse.gridding`).

    Args:
        x: (N, C, H, W); at stride 1, without padding.
        weight: (D, C, kh, kw).
        dilation: r.

    Returns:
        (N, D, H', W').

    Raises:
        ValueError: shapes, channels or sizes that do not fit.
    """
    sizes, *_ = _checked(x, weight, 1, 0, dilation, 1)
    out = x.new_zeros(len(x), len(weight), *sizes)
    for row, col in product(range(dilation), repeat=2):
        if row < sizes[0] and col < sizes[1]:
            phase = x[:, :, row::dilation, col::dilation]
            out[:, :, row::dilation, col::dilation] = F.conv2d(phase, weight)
    return out


def output_size(n: int, kernel_size: int, stride: int, padding: int, dilation: int) -> int:
    """Cells along an axis that a dilated convolution makes of n.

    Raises:
        ValueError: the kernel with its holes is longer than the padded input.

    >>> output_size(65, 3, 1, 24, 24), output_size(65, 3, 2, 1, 1)
    (65, 33)
    """
    reach = effective_kernel(kernel_size, dilation)
    if n + 2 * padding < reach:
        raise ValueError(
            f"{kernel_size} taps at rate {dilation} are {reach} cells long and the padded input "
            f"{n + 2 * padding}: pad by {-((n - reach) // 2)} or more, or take a smaller rate"
        )
    return (n + 2 * padding - reach) // stride + 1


def _checked(
    x: Tensor, weight: Tensor, stride: Size, padding: Size, dilation: Size, groups: int
) -> tuple[tuple[int, ...], ...]:
    """Output sizes, and stride, padding and dilation for every axis."""
    axes = weight.ndim - 2
    if axes not in (1, 2) or x.ndim != weight.ndim:
        raise ValueError(
            f"x is {tuple(x.shape)} and the weight {tuple(weight.shape)}: give (N, C, W) with "
            "(D, C / groups, kw), or (N, C, H, W) with (D, C / groups, kh, kw)"
        )
    if groups < 1 or x.shape[1] != groups * weight.shape[1] or len(weight) % groups:
        raise ValueError(
            f"{x.shape[1]} channels and a weight of {tuple(weight.shape)} in {groups} groups: "
            "C is groups times the weight's second size, and D a multiple of groups"
        )
    stride, padding, dilation = (_each(value, axes) for value in (stride, padding, dilation))
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise ValueError(
            f"stride {stride}, dilation {dilation} and padding {padding}: the first two are 1 or "
            "more, the last is 0 or more"
        )
    along = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    return tuple(output_size(*one) for one in along), stride, padding, dilation


def _each(value: Size, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _padded(x: Tensor, padding: tuple[int, ...]) -> Tensor:
    return F.pad(x, [n for p in reversed(padding) for n in (p, p)])
