"""Short-range CRF: a pixel hears its 4 or 8 neighbours and nobody else (book/crf.ipynb).

The CRF of the years before the fully connected one. It removes speckle; on the smooth scores of
a deep network it rounds off what little detail they hold. Energy and mean field stay as they are
in `crf` and `mean_field`; only the filter is another one.
"""

import math

import torch
from torch import Tensor

from segcourse.gaussian_filters import Filter, check_sigma

OFFSETS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}
"""Half of the neighbourhood, (row, col): the other half is its mirror image."""


def neighbours(height: int, width: int, connectivity: int = 4) -> Tensor:
    """Every pair of neighbouring pixels once.

    Args:
        height: H in pixels.
        width: W in pixels.
        connectivity: 4 (sides) or 8 (corners too).

    Returns:
        (E, 2) int64 pixel indices, row by row.

    Raises:
        ValueError: the connectivity is neither 4 nor 8.

    >>> neighbours(1, 3).tolist()
    [[0, 1], [1, 2]]
    """
    _check_connectivity(connectivity)
    index = torch.arange(height * width).reshape(height, width)
    pairs = [
        torch.stack([one.flatten(), other.flatten()], 1)
        for one, other in (_shifted(index, offset) for offset in OFFSETS[connectivity])
    ]
    return torch.cat(pairs)


def plain_grid(height: int, width: int, connectivity: int = 4) -> Filter:
    """The sum over a pixel's neighbours, all alike: the Ising and Potts models of a grid.

    Args:
        height: H in pixels.
        width: W in pixels.
        connectivity: 4 or 8; corner neighbours count 1 / sqrt(2), as they are further away.

    Returns:
        The filter of values (N, P, L), without j = i.

    Raises:
        ValueError: the connectivity is neither 4 nor 8; the filter gets values of another P.
    """
    _check_connectivity(connectivity)
    ones = torch.ones(1, height, width)
    weights = [
        torch.ones_like(_shifted(ones, offset)[0]) / math.hypot(*offset)
        for offset in OFFSETS[connectivity]
    ]
    return _filter(weights, height, width, connectivity)


def contrast_grid(image: Tensor, srgb: float, connectivity: int = 4) -> Filter:
    """The sum over neighbours, weaker across an edge: exp(-|I_i - I_j|^2 / (2 srgb^2)) / distance.

    Args:
        image: (N, 3, H, W), colours 0..255, uint8 or float.
        srgb: sigma in colour units.
        connectivity: 4 or 8.

    Returns:
        The filter of values (N, P, L), without j = i.

    Raises:
        ValueError: the image is not (N, 3, H, W), the sigma is not positive, or the connectivity
            is neither 4 nor 8; the filter gets values of another P.
    """
    _check_connectivity(connectivity)
    check_sigma("srgb", srgb, "colour units (0..255)")
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"the image is {tuple(image.shape)}, need (N, 3, H, W)")
    colors = image.double()
    weights = []
    for offset in OFFSETS[connectivity]:
        one, other = _shifted(colors, offset)
        contrast = ((one - other) ** 2).sum(1)
        weights.append(torch.exp(-contrast / (2 * srgb**2)) / math.hypot(*offset))
    return _filter(weights, *image.shape[-2:], connectivity)


def _filter(weights: list[Tensor], height: int, width: int, connectivity: int) -> Filter:
    def apply(values: Tensor) -> Tensor:
        if values.ndim != 3 or values.shape[1] != height * width:
            raise ValueError(
                f"values are {tuple(values.shape)}, need (N, {height * width}, L) for a grid of "
                f"{height}x{width} pixels"
            )
        grid = values.transpose(1, 2).unflatten(2, (height, width))
        out = torch.zeros_like(grid)
        for offset, weight in zip(OFFSETS[connectivity], weights, strict=True):
            one, other = _shifted(grid, offset)
            into_one, into_other = _shifted(out, offset)  # views: adding to them adds to `out`
            into_one += weight[:, None].to(grid) * other
            into_other += weight[:, None].to(grid) * one
        return out.flatten(2).transpose(1, 2)

    return apply


def _shifted(x: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Views of (..., H, W): the pixels that have a neighbour at `offset`, and those neighbours."""
    down, right = offset
    H, W = x.shape[-2:]
    first, last = max(-right, 0), W - max(right, 0)
    one = x[..., : H - down, first:last]
    other = x[..., down:, first + right : last + right]
    return one, other


def _check_connectivity(connectivity: int) -> None:
    if connectivity not in OFFSETS:
        raise ValueError(f"a pixel has 4 or 8 neighbours, not {connectivity}: give 4 or 8")
