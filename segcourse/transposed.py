"""Transposed convolution by stamping, by zero insertion, by shuffling (book/upsampling.ipynb).

Stamping adds a scaled copy of the kernel for every input pixel; zero insertion spreads the input
and convolves it as usual; where no stamp meets another, a shuffle of channels does it. The third
road, a transposed matrix, is in `convolution_matrix`. Arguments are named as in
`torch.nn.functional.conv_transpose2d`.
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, pixel_shuffle

from segcourse.transposed_size import Size, checked_size, pair


def by_stamping(
    x: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Scale the kernel by each input pixel, put it down, add where stamps overlap.

    Args:
        x: (N, C, h, w).
        weight: (C, D / groups, kh, kw).
        stride: see `output_size`, as for the four that follow.
        padding: cut from each end.
        output_padding: added at the last end.
        dilation: from tap to tap.
        groups: parts of the channels that do not see each other.

    Returns:
        (N, D, H, W), H and W from `output_size`.

    Raises:
        ValueError: channels or sizes that do not fit.
    """
    H, W = checked_size(x, weight, stride, padding, output_padding, dilation, groups)
    N, C, h, w = x.shape
    (sr, sc), (pr, pc), (dr, dc) = pair(stride), pair(padding), pair(dilation)
    D, kh, kw = weight.shape[1:]
    canvas = x.new_zeros(N, groups, D, H + 2 * pr, W + 2 * pc)
    taps = weight.reshape(groups, C // groups, D, kh, kw)
    values = x.reshape(N, groups, C // groups, h, w)
    for row, col in product(range(h), range(w)):
        stamp = torch.einsum("ngc,gcduv->ngduv", values[..., row, col], taps)
        down, right = row * sr, col * sc
        rows = slice(down, down + dr * (kh - 1) + 1, dr)
        cols = slice(right, right + dc * (kw - 1) + 1, dc)
        canvas[..., rows, cols] += stamp
    return canvas[..., pr : pr + H, pc : pc + W].reshape(N, groups * D, H, W)


def stamped_so_far(
    x: Tensor, weight: Tensor, last: int, stride: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """The output while it is stamped, pixel by pixel in reading order: what the figure shows.

    Args:
        x: (h, w), one channel.
        weight: (kh, kw).
        last: number of the pixel stamped last, counted from 0.
        stride: output pixels from one stamp to the next.

    Returns:
        The sums (H, W) after this stamp, this stamp alone (H, W), and how many stamps lie on each
        output pixel, (H, W) int64.

    Raises:
        ValueError: `last` is no pixel of x.
    """
    if not 0 <= last < x.numel():
        raise ValueError(f"pixel {last} of {x.numel()} does not exist: use 0 to {x.numel() - 1}")
    seen = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    done, now = (seen <= last).to(x), (seen == last).to(x)
    planes = torch.stack([x * done, x * now, done])[:, None]
    ones = torch.ones_like(weight)
    sums, stamp = by_stamping(planes[:2], weight[None, None], stride)[:, 0]
    counts = by_stamping(planes[2:], ones[None, None], stride)[0, 0]
    return sums, stamp, counts.round().long()


def insert_zeros(x: Tensor, stride: Size) -> Tensor:
    """Put stride - 1 zeros between neighbours, none at the ends.

    Args:
        x: (N, C, h, w).
        stride: distance of former neighbours.

    Returns:
        (N, C, (h - 1) * stride + 1, (w - 1) * stride + 1).

    >>> insert_zeros(Tensor([[[[1, 2, 3]]]]), 2).tolist()
    [[[[1.0, 0.0, 2.0, 0.0, 3.0]]]]
    """
    N, C, h, w = x.shape
    rows, cols = pair(stride)
    out = x.new_zeros(N, C, (h - 1) * rows + 1, (w - 1) * cols + 1)
    out[:, :, ::rows, ::cols] = x
    return out


def by_zero_insertion(
    x: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Spread the input with zeros, pad it, and run an ordinary convolution of stride 1.

    The kernel is flipped, since deep learning's convolution does not flip it: what a pixel stamps
    to its right, the output reads from its left. The padding is dilation * (kernel_size - 1) minus
    `padding`, and negative, a crop, where `padding` is larger.

    Args and returns: as `by_stamping`.

    Raises:
        ValueError: channels or sizes that do not fit.
    """
    checked_size(x, weight, stride, padding, output_padding, dilation, groups)
    C, D, kh, kw = weight.shape
    (pr, pc), (er, ec), (dr, dc) = pair(padding), pair(output_padding), pair(dilation)
    top, left = dr * (kh - 1) - pr, dc * (kw - 1) - pc
    spread = pad(insert_zeros(x, stride), (left, left + ec, top, top + er))
    swapped = weight.reshape(groups, C // groups, D, kh, kw).transpose(1, 2)
    kernel = swapped.reshape(groups * D, C // groups, kh, kw).flip(2, 3)
    return conv2d(spread, kernel, dilation=(dr, dc), groups=groups)


def by_pixel_shuffle(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution whose kernel is as large as its stride: no stamp meets another.

    A 1x1 convolution computes all s * s values of a cell as channels, and the shuffle lays them
    out (Shi et al. 2016).

    Args:
        x: (N, C, h, w).
        weight: (C, D, s, s).

    Returns:
        (N, D, h * s, w * s), equal to stride s.

    Raises:
        ValueError: a kernel that is not square, or channels that do not fit.
    """
    C, D, s, kw = weight.shape
    if s != kw:
        raise ValueError(f"the kernel is {s}x{kw}: one side s is needed, kernel and stride alike")
    checked_size(x, weight, s, 0, 0, 1, 1)
    return pixel_shuffle(conv2d(x, weight.reshape(C, D * s * s, 1, 1).transpose(0, 1)), s)
