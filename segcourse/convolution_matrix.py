"""A convolution as a matrix, the transposed one as its transpose (book/upsampling.ipynb).

Every convolution is linear, so on a flattened image it is a matrix: sparse, with the same few
weights in every row. Its transpose goes from the small grid to the large one; it inverts nothing.
"""

import torch
from torch import Tensor

from segcourse.transposed_size import Size, checked_size, pair, restoring_output_padding


def convolution_matrix(
    weight: Tensor,
    size: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """The matrix that `conv2d` with this weight multiplies a flattened image with.

    Args:
        weight: (C, D / groups, kh, kw): C output channels, D input channels.
        size: (H, W) of the image, px.
        stride: input pixels from window to window.
        padding: zeros on each side. They take no column: what they are multiplied with is lost.
        dilation: input pixels from tap to tap.
        groups: parts of the channels that do not see each other.

    Returns:
        Sparse (C * h * w, D * H * W); a row for each output, with at most D / groups * kh * kw
        entries.

    Raises:
        ValueError: an image smaller than the kernel, a number out of range, or channels that do
            not split into the groups; the message names what works.
    """
    if groups < 1 or len(weight) % groups:
        raise ValueError(f"{len(weight)} channels do not split into {groups} groups of one size")
    H, W = pair(size)
    restoring_output_padding(size, weight.shape[2:], stride, padding, dilation)
    arguments = (pair(size), weight.shape[2:], *map(pair, (stride, padding, dilation)))
    outputs = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(*arguments, strict=True)
    ]
    return _matrix(weight, (H, W), tuple(outputs), stride, padding, dilation, groups)


def _matrix(
    weight: Tensor,
    size: tuple[int, int],
    outputs: tuple[int, int],
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
) -> Tensor:
    (H, W), (h, w) = size, outputs
    C, D, kh, kw = weight.shape
    (sr, sc), (pr, pc), (dr, dc) = pair(stride), pair(padding), pair(dilation)
    axes = [torch.arange(n, device=weight.device) for n in (C, h, w, D, kh, kw)]
    out, row, col, channel, u, v = torch.meshgrid(*axes, indexing="ij")
    y, x = row * sr + u * dr - pr, col * sc + v * dc - pc
    inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
    first = out // (C // groups) * D  # of the channels that this group reads
    to = (out * h + row) * w + col
    source = ((first + channel) * H + y) * W + x
    values = weight[:, None, None].expand(C, h, w, D, kh, kw)[inside]
    places = torch.stack([to[inside], source[inside]])
    shape = (C * h * w, groups * D * H * W)
    # Without the argument torch warns that it does not check.
    return torch.sparse_coo_tensor(places, values, shape, check_invariants=True).coalesce()


def by_transposed_matrix(
    x: Tensor,
    weight: Tensor,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Write the convolution from the large grid to the small one as a matrix; use its transpose.

    Args and returns: as `by_stamping`.

    Raises:
        ValueError: channels or sizes that do not fit.
    """
    size = checked_size(x, weight, stride, padding, output_padding, dilation, groups)
    matrix = _matrix(weight, size, tuple(x.shape[2:]), stride, padding, dilation, groups)
    flat = torch.sparse.mm(matrix.t(), x.flatten(1).T)
    return flat.T.reshape(len(x), -1, *size)
