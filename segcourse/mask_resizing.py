"""Resizing a label map: nearest, by votes, and the mistake that invents classes (book/unet.ipynb).

A label is a name, not a measurement: halfway between class 2 and class 6 there is no class 4.
`resize_as_numbers` makes that mistake on purpose, `invented` counts what it costs, and the two
other functions do it right.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from segcourse.labels import IGNORE, check_labels


def resize_as_numbers(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as if the numbers were measurements: the mistake, not a tool.

    Bilinear interpolation between class 2 and class 6 passes through 3, 4 and 5; between class 0
    and void, 255, it passes through every class there is. An image library does this to a mask
    when it is not told that it is one.

    Args:
        labels: (N, H, W) or (H, W) int64.
        size: (h, w) in pixels.

    Returns:
        (N, h, w) or (h, w) int64, rounded.

    >>> resize_as_numbers(torch.tensor([[2, 6]]), (1, 6)).tolist()
    [[2, 2, 3, 5, 6, 6]]
    """
    smooth = _resize(labels.reshape(-1, 1, *labels.shape[-2:]).float(), size, "bilinear")
    return (smooth + 0.5).floor().long().reshape(*labels.shape[:-2], *size)


def resize_nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Give each new pixel the label of the old pixel that its centre lies in.

    Args:
        labels: (N, H, W) or (H, W) int64.
        size: (h, w) in pixels.

    Returns:
        (N, h, w) or (h, w) int64.

    >>> resize_nearest(torch.tensor([[2, 6]]), (1, 6)).tolist()
    [[2, 2, 2, 6, 6, 6]]
    """
    # "nearest-exact": torch's plain "nearest" shifts the map by up to half a pixel.
    nearest = _resize(labels.reshape(-1, 1, *labels.shape[-2:]).float(), size, "nearest-exact")
    return nearest.long().reshape(*labels.shape[:-2], *size)


def resize_by_votes(labels: Tensor, size: tuple[int, int], num_classes: int) -> Tensor:
    """Interpolate each class's own 0/1 map bilinearly, then take the class that has most.

    Between two classes each holds its side, and outlines come out smoother than by nearest. It
    costs K + 1 maps of the new size.

    Args:
        labels: (N, H, W) or (H, W) int64 in 0..K-1, or IGNORE, which votes like a class.
        size: (h, w) in pixels.
        num_classes: K.

    Returns:
        (N, h, w) or (h, w) int64; between equals the smaller class wins.

    Raises:
        ValueError: a label is outside 0..K-1 and is not IGNORE.

    >>> resize_by_votes(torch.tensor([[2, 6]]), (1, 6), 7).tolist()
    [[2, 2, 2, 6, 6, 6]]
    """
    check_labels(labels, num_classes)
    known = labels.long().masked_fill(labels == IGNORE, num_classes).reshape(-1, *labels.shape[-2:])
    maps = one_hot(known, num_classes + 1).movedim(-1, 1).float()  # (N, K + 1, H, W)
    won = _resize(maps, size, "bilinear").argmax(1)
    return won.masked_fill(won == num_classes, IGNORE).reshape(*labels.shape[:-2], *size)


def invented(resized: Tensor, labels: Tensor) -> Tensor:
    """Find the pixels whose class none of the pixels around them had.

    Args:
        resized: (N, h, w) or (h, w) int64, made from `labels` by any resizing.
        labels: (N, H, W) or (H, W) int64, the original.

    Returns:
        Bool of the shape of `resized`: True where the class (or void) differs from all of the
        four original pixels that surround the place, those that bilinear interpolation mixes.

    >>> invented(torch.tensor([[2, 2, 3, 5, 6, 6]]), torch.tensor([[2, 6]])).int().tolist()
    [[0, 0, 1, 1, 0, 0]]
    """
    corners = []
    for new, old in zip(resized.shape[-2:], labels.shape[-2:], strict=True):
        step = torch.arange(new, device=labels.device)
        # Half a pixel to the left of the centre, (step + 0.5) old / new - 0.5, in whole numbers.
        below = ((2 * step + 1) * old - new).div(2 * new, rounding_mode="floor")
        corners.append([(below + side).clamp(0, old - 1) for side in (0, 1)])
    rows, cols = corners
    same = [labels[..., r[:, None], c] == resized for r in rows for c in cols]
    return ~torch.stack(same).any(0)


def _resize(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Float32 holds labels and shares of them exactly enough, and integers cannot be resized."""
    return interpolate(maps, size, mode=mode, align_corners=False if mode == "bilinear" else None)
