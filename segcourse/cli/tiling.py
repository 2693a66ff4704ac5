"""`segcourse predict --tile`: how a trained model is run over an image piece by piece."""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from segcourse.data.augment import normalise
from segcourse.errors import UsageError
from segcourse.overlap_tile import Geometry, label_by_tile, measure

OVERVIEW = 2048
"""Longest side of the overlay of a tiled image, px."""

TRIED = 1024
"""Side of the image to measure a network on when the margin is given, px; a tile may be larger."""


@dataclass(frozen=True)
class Tiling:
    """Side of a tile, margin around it and the network's step, in px."""

    tile: int
    margin: int
    step: int


def plan(model: nn.Module, tile: int, margin: int | None) -> Tiling:
    """Where tiles may lie for this model, said aloud.

    Args:
        model: in evaluation mode.
        tile: side in px that was asked for.
        margin: px that was asked for; None: as far as the network looks.

    Returns:
        The tiling.

    Raises:
        UsageError: the tile or the margin is not a multiple of the network's step, or the
            network sees the whole image and no margin was given.
    """
    if margin is not None and margin < 0:
        raise UsageError(f"--margin {margin} is negative: give 0 px or more")
    found = measured(model, tile, margin)
    step = 1 if found is None else found.step
    chosen = found.margin if margin is None else margin
    for flag, value in (("--tile", tile), ("--margin", chosen)):
        if value % step or value < (flag == "--tile"):
            below = value // step * step
            above = below + step
            sizes = f"{below} or {above}" if below > 0 else f"{above}"
            raise UsageError(
                f"{flag} {value} is not a multiple of this network's stride of {step} px, "
                f"so its pools would pair other pixels than in the whole image: use {sizes}"
            )
    note = f"tiles of {tile} px with {chosen} px around them; "
    if found is None:
        note += (
            "the network looks further than could be measured, or at the whole image, so each tile "
            "is labelled as an image of its own, and labels differ from the whole image's. If it "
            "pools, tiles and margins that are multiples of its stride differ least"
        )
    else:
        note += f"the network looks {found.reach} px far"
        if chosen < found.reach:
            note += ", so labels near the tiles' borders differ from the whole image's"
    print(note, file=sys.stderr)
    return Tiling(tile, chosen, step)


def measured(model: nn.Module, tile: int, margin: int | None) -> Geometry | None:
    """The network's step and reach, as far as they can be found.

    Args:
        model: in evaluation mode.
        tile, margin: as `plan`.

    Returns:
        The geometry; None where it cannot be found and a margin was given.

    Raises:
        UsageError: it cannot be found and no margin was given.
    """
    try:
        if margin is None:
            return measure(model)
        return measure(model, largest=max(TRIED, tile + 2 * margin))
    except ValueError as error:
        if margin is not None:
            return None
        raise UsageError(
            f"--tile: {error} with --margin, give --size or --full-size in place of --tile, or use "
            "another model"
        ) from error


def by_tile(model: nn.Module, image: Tensor, tiling: Tiling, device: torch.device) -> Tensor:
    """Label one image at full size.

    Args:
        model: in evaluation mode, on `device`.
        image: (3, H, W) uint8 on the CPU.
        tiling: from `plan`.
        device: where the model is.

    Returns:
        (H, W) uint8 class indices on the CPU.
    """

    def read(rows: slice, cols: slice) -> Tensor:
        return normalise(image[None, :, rows, cols].to(device).float() / 255)

    size = tuple(image.shape[1:])
    return label_by_tile(model, read, size, tiling.tile, tiling.margin, tiling.step)


def overview(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every n-th pixel of an image (H, W, 3) and its labels, at most `OVERVIEW` px a side."""
    every = max(1, -(-max(labels.shape) // OVERVIEW))
    return image[::every, ::every], labels[::every, ::every]
