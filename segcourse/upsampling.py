"""From a small grid to a large one with rules that learn nothing (book/upsampling.ipynb).

Nearest copies a value, bed of nails puts it in a corner of zeros, bilinear mixes neighbours by
distance. All three are fixed linear maps; a convolution after them, the resize-convolution, is
what learns.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


def nearest(x: Tensor, stride: int = 2) -> Tensor:
    """Copy each value into its own `stride` x `stride` cell.

    Args:
        x: (N, C, H, W).
        stride: side of a cell, in output pixels.

    Returns:
        (N, C, H * stride, W * stride).

    Raises:
        ValueError: a stride below 1, or x without batch and channels.

    >>> nearest(Tensor([[[[1, 2]]]])).tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """
    _check(x, stride)
    return x.repeat_interleave(stride, 2).repeat_interleave(stride, 3)


def bed_of_nails(x: Tensor, stride: int = 2) -> Tensor:
    """Put each value in the top-left corner of its own `stride` x `stride` cell of zeros.

    Args:
        x: (N, C, H, W).
        stride: side of a cell, in output pixels.

    Returns:
        (N, C, H * stride, W * stride).

    Raises:
        ValueError: a stride below 1, or x without batch and channels.

    >>> bed_of_nails(Tensor([[[[1, 2]]]])).tolist()
    [[[[1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]
    """
    _check(x, stride)
    N, C, H, W = x.shape
    out = x.new_zeros(N, C, H * stride, W * stride)
    out[:, :, ::stride, ::stride] = x
    return out


def source_positions(in_size: int, out_size: int, align_corners: bool = False) -> Tensor:
    """Where each output pixel lies on the input's axis, counted in input pixels.

    A pixel is either a square or a point. As squares (`align_corners=False`) the outer edges of
    both grids meet; as points (`align_corners=True`) the centres of their corner pixels do.

    Args:
        in_size: pixels along the axis of the input.
        out_size: pixels along the same axis of the output.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        (out_size,) float64. Values may lie outside 0..in_size - 1; `bilinear` clamps them.

    Raises:
        ValueError: a size below 1.

    >>> source_positions(2, 4).tolist(), source_positions(3, 5, align_corners=True).tolist()
    ([-0.25, 0.25, 0.75, 1.25], [0.0, 0.5, 1.0, 1.5, 2.0])
    """
    if min(in_size, out_size) < 1:
        raise ValueError(f"an axis of {in_size} px cannot become {out_size}: use 1 px or more")
    place = torch.arange(out_size, dtype=torch.float64)
    if align_corners:
        # One output pixel has two corners in one place: torch puts it at the input's first.
        return place * (in_size - 1) / max(out_size - 1, 1)
    return (place + 0.5) * in_size / out_size - 0.5


def linear_weights(in_size: int, out_size: int, align_corners: bool = False) -> Tensor:
    """Linear interpolation along one axis, as a matrix.

    Each row holds the shares of the two input pixels around one output pixel: 1 minus the
    distance. Beyond the outer centres the border pixel is repeated.

    Args:
        in_size: pixels along the axis of the input.
        out_size: pixels along the same axis of the output.
        align_corners: see `source_positions`.

    Returns:
        (out_size, in_size) float64; rows sum to 1.

    >>> linear_weights(2, 4).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    source = source_positions(in_size, out_size, align_corners).clamp(0, in_size - 1)
    distance = (source[:, None] - torch.arange(in_size)).abs()
    return (1 - distance).clamp(min=0)


def bilinear(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Mix the four nearest input pixels by their distance: one matrix for each axis.

    Args:
        x: (N, C, H, W) float.
        size: (H', W') of the output in pixels, larger or smaller.
        align_corners: see `source_positions`.

    Returns:
        (N, C, H', W').

    Raises:
        ValueError: a size below 1, or x without batch and channels.
    """
    _check(x, 1)
    rows = linear_weights(x.shape[2], size[0], align_corners).to(x)
    cols = linear_weights(x.shape[3], size[1], align_corners).to(x)
    return rows @ x @ cols.T


class ResizeConvolution(nn.Module):
    """Copy every value `stride` times, then convolve (Odena et al. 2016).

    A constant input gives a constant output, whatever the weights, away from the zero padding.

    Shapes: (N, C, H, W) to (N, D, H * stride, W * stride).

    Args:
        in_channels: C.
        out_channels: D.
        kernel_size: side of the convolution in output pixels, odd.
        stride: factor in both directions.

    Raises:
        ValueError: an even kernel, which would not keep the size.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 2):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"a kernel of {kernel_size} px cannot be centred on a pixel: use "
                f"{max(kernel_size - 1, 1)} or {max(kernel_size + 1, 3)}"
            )
        self.stride = stride
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, D, H * stride, W * stride)."""
        return self.conv(nearest(x, self.stride))


def as_transposed_weight(weight: Tensor, stride: int) -> Tensor:
    """The one transposed convolution that a nearest upsampling and a convolution make together.

    Copying is stamping with a block of ones; the convolution after it smears the block with its
    flipped kernel. Used with `stride`, padding `k // 2`, the result equals `ResizeConvolution`
    everywhere, border included.

    Args:
        weight: (D, C, k, k) of the convolution, k odd.
        stride: factor of the nearest upsampling.

    Returns:
        (C, D, k + stride - 1, k + stride - 1), in the layout of `conv_transpose2d`.
    """
    D, C, k, _ = weight.shape
    block = weight.new_ones(1, 1, stride, stride)
    flipped = weight.transpose(0, 1).reshape(C * D, 1, k, k).flip(2, 3)
    # The block is even under a flip, so correlating with it and convolving are one.
    smeared = conv2d(flipped, block, padding=stride - 1)
    return smeared.reshape(C, D, k + stride - 1, k + stride - 1)


def _check(x: Tensor, stride: int) -> None:
    if x.dim() != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}, (N, C, H, W) is needed: use x[None, None]")
    if stride < 1:
        raise ValueError(f"a stride of {stride} gives no output: use 1 or more")
