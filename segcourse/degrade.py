"""Ways to spoil a label map on purpose, to see what each metric notices (book/index.ipynb).

A perfect prediction is the truth itself. Each function here makes it wrong in one way that real
networks are wrong: a coarse grid, a shift, swollen outlines, a forgotten class, scattered errors.
Void pixels stay void, and every function gives a new tensor.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import max_pool2d

from segcourse.labels import IGNORE


def shrink_and_restore(labels: Tensor, stride: int) -> Tensor:
    """Keep one label of each `stride` x `stride` cell and spread it over the cell.

    This is about the best that a network can do whose score map is `stride` times smaller than
    the image and is enlarged by nearest neighbour; the most frequent label of each cell does a
    little better. The kept pixel is the one at the cell's centre (the lower right of the four
    middle pixels when `stride` is even).

    Args:
        labels: (N, H, W) or (H, W) int64. H and W need not be multiples of `stride`.
        stride: side of a cell, in pixels, at least 1.

    Returns:
        The same shape and dtype; cells at the lower and right border may be cut. A kept pixel
        that is void leaves its whole cell void.

    Raises:
        ValueError: `stride` is below 1.

    >>> shrink_and_restore(torch.tensor([[1, 2, 3], [4, 5, 6]]), 2).tolist()
    [[5, 5, 6], [5, 5, 6]]
    """
    if stride < 1:
        raise ValueError(f"stride is {stride}: it is a number of pixels, give 1 or more")
    H, W = labels.shape[-2:]
    row = (torch.arange(H, device=labels.device) // stride * stride + stride // 2).clamp(max=H - 1)
    col = (torch.arange(W, device=labels.device) // stride * stride + stride // 2).clamp(max=W - 1)
    return labels[..., row[:, None], col]


def shift(labels: Tensor, rows: int, cols: int) -> Tensor:
    """Move the map down by `rows` and right by `cols` pixels; the border is repeated.

    Args:
        labels: (..., H, W) int64.
        rows: pixels downwards; negative moves up.
        cols: pixels to the right; negative moves left.

    Returns:
        The same shape and dtype.

    >>> shift(torch.tensor([[1, 2, 3]]), 0, 1).tolist()
    [[1, 1, 2]]
    """
    H, W = labels.shape[-2:]
    row = (torch.arange(H, device=labels.device) - rows).clamp(0, H - 1)
    col = (torch.arange(W, device=labels.device) - cols).clamp(0, W - 1)
    return labels[..., row[:, None], col]


def grow(labels: Tensor, width: int) -> Tensor:
    """Let every object grow by `width` pixels into the ground (class 0).

    Where two objects meet, the one with the larger label wins. Objects do not grow into each
    other, and not into void.

    Args:
        labels: (N, H, W) or (H, W) int64.
        width: pixels (in Chebyshev distance), at least 0.

    Returns:
        The same shape and dtype.

    >>> grow(torch.tensor([[0, 0, 3, 0]]), 1).tolist()
    [[0, 3, 3, 3]]
    """
    objects = labels.masked_fill(labels == IGNORE, 0).float()
    H, W = labels.shape[-2:]
    grown = max_pool2d(objects.reshape(-1, 1, H, W), 2 * width + 1, stride=1, padding=width)
    return torch.where(labels == 0, grown.reshape(labels.shape).to(labels.dtype), labels)


def forget(labels: Tensor, label: int) -> Tensor:
    """Turn every pixel of one class into ground (class 0).

    Args:
        labels: (..., H, W) int64.
        label: the class to forget.

    Returns:
        The same shape and dtype.
    """
    return labels.masked_fill(labels == label, 0)


def sprinkle(labels: Tensor, share: float, num_classes: int, generator: Generator) -> Tensor:
    """Give a share of the pixels, chosen at random, a wrong class chosen at random.

    Args:
        labels: (..., H, W) int64 on the CPU.
        share: expected share of the pixels to change, in 0..1. Void pixels are left alone.
        num_classes: K; the new class is one of the other K - 1.
        generator: the source of randomness.

    Returns:
        The same shape and dtype.

    Raises:
        ValueError: `share` is outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: it is a share of the pixels, give 0 to 1")
    step = torch.randint(1, num_classes, labels.shape, generator=generator)
    hit = (torch.rand(labels.shape, generator=generator) < share) & (labels != IGNORE)
    return torch.where(hit, (labels + step) % num_classes, labels)
