"""Checkerboards: why a strided transposed convolution paints a grid (book/upsampling.ipynb).

A constant input shows it: the output then repeats with the stride, and is constant only where
the taps that meet in each phase of the stride have one sum. Counting stamps is this sum for a
kernel of ones (Odena et al. 2016); the energy at the stride's frequency measures it in any map.
"""

import torch
from torch import Tensor

from segcourse.transposed_size import output_size


def overlap_counts(kernel_size: int, stride: int, padding: int = 0, size: int = 8) -> Tensor:
    """How many stamps lie on each output pixel.

    Args:
        kernel_size: side of the stamp, output pixels.
        stride: output pixels from one stamp to the next.
        padding: output pixels cut from each end.
        size: side of the input, px.

    Returns:
        (S, S) int64, S from `output_size`.

    Raises:
        ValueError: as `output_size`.

    >>> overlap_counts(3, 2, size=3)[:5, :5].tolist()
    [[1, 1, 2, 1, 2], [1, 1, 2, 1, 2], [2, 2, 4, 2, 4], [1, 1, 2, 1, 2], [2, 2, 4, 2, 4]]
    """
    full, _ = output_size(size, kernel_size, stride, padding)
    places = stride * torch.arange(size)[:, None] + torch.arange(kernel_size) - padding
    kept = places[(places >= 0) & (places < full)]
    along = torch.bincount(kept, minlength=full)
    return along[:, None] * along


def inside(kernel_size: int, stride: int, padding: int, size: int) -> slice:
    """The outputs of `overlap_counts`, along an axis, that miss no stamp to the border.

    Args:
        kernel_size: side of the stamp, output pixels.
        stride: output pixels from one stamp to the next.
        padding: output pixels cut from each end.
        size: side of the input, px.

    Returns:
        A slice of the output's axis; empty where the input is too small.

    Raises:
        ValueError: as `output_size`.
    """
    full, _ = output_size(size, kernel_size, stride, padding)
    # A stamp before the first one would reach over kernel_size - stride pixels of the canvas.
    reach = max(kernel_size - stride, 0)
    first, end = reach - padding, full + padding - reach
    return slice(max(first, 0), max(min(end, full), max(first, 0)))


def phase_sums(weight: Tensor, stride: int) -> Tensor:
    """The output of a transposed convolution on an input of ones, in each phase of the stride.

    Output pixels whose row and column have the same rest modulo the stride are reached by the same
    taps. A checkerboard is a difference between these sums; of a kernel of ones they are the
    overlap counts.

    Args:
        weight: (C, D, kh, kw), as in `conv_transpose2d`.
        stride: output pixels from one stamp to the next.

    Returns:
        (C, D, stride, stride): the sum of the taps u, v with u % stride, v % stride.

    >>> phase_sums(torch.ones(1, 1, 3, 3), 2)[0, 0].tolist()
    [[4.0, 2.0], [2.0, 1.0]]
    """
    rows = [weight[:, :, u::stride].sum(2) for u in range(stride)]
    cells = [[row[:, :, v::stride].sum(2) for v in range(stride)] for row in rows]
    return torch.stack([torch.stack(row, -1) for row in cells], -2)


def phase_means(x: Tensor, stride: int) -> Tensor:
    """The mean of a map over each phase of the stride.

    Args:
        x: (..., H, W); rows and columns beyond a multiple of the stride are left out.
        stride: period of the grid that is looked for, px.

    Returns:
        (..., stride, stride).

    Raises:
        ValueError: a map smaller than one period.
    """
    H, W = (n // stride for n in x.shape[-2:])
    if stride < 1 or min(H, W) < 1:
        raise ValueError(
            f"a map of {tuple(x.shape[-2:])} px holds no period of {stride}: use a larger one"
        )
    whole = x[..., : H * stride, : W * stride]
    return whole.reshape(*x.shape[:-2], H, stride, W, stride).mean((-4, -2))


def grid_energy(x: Tensor, stride: int) -> Tensor:
    """The share of a map's variance that repeats with the stride.

    In the spectrum these are the bins at multiples of 1 / stride, the harmonics, without the mean.
    By Parseval's theorem their energy is the variance of the phase means, which is how it is
    computed here, without a transform.

    Args:
        x: (..., H, W) float; borders cut off, since padding leaves a frame that is no grid.
        stride: period, px: the product of the strides where several layers enlarge.

    Returns:
        (...) in 0..1: 0 without a grid, 1 when nothing but the grid varies. A constant map has 0.

    Raises:
        ValueError: a map smaller than one period.
    """
    means = phase_means(x, stride)
    H, W = (n // stride * stride for n in x.shape[-2:])
    total = x[..., :H, :W].var((-2, -1), correction=0)
    share = means.var((-2, -1), correction=0) / total.clamp(min=torch.finfo(x.dtype).tiny)
    # Rounding alone makes a constant map vary a little.
    level = torch.finfo(x.dtype).eps * x[..., :H, :W].abs().amax((-2, -1))
    return torch.where(total > (8 * level) ** 2, share.clamp(max=1), torch.zeros_like(share))
