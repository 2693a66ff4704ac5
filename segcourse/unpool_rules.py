"""Four ways to place the values of a small map in a large one (book/deconvnet.ipynb).

All have one signature, so that a decoder can be given any of them: `unpooling.max_unpool`, which
uses the switches, and three that are handed them and look away. The values are those of a 2x2 max
pool.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.unpooling import fixed_switches, max_unpool, random_switches

Unpool = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""(values (N, C, h, w), true switches (N, C, h, w), size (H, W)) to a map (N, C, H, W)."""


def unpool_at_corners(y: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """Ignore the switches: every value lands in the top-left corner of its 2x2 window."""
    return max_unpool(y, fixed_switches(y, size), size)


class UnpoolAtRandom:
    """Ignore the switches: every value lands somewhere in its 2x2 window, drawn at each call.

    Args:
        generator: of the draws.
    """

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def __call__(self, y: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) to (N, C, H, W)."""
        return max_unpool(y, random_switches(y, size, self.generator), size)


def upsample_bilinear(y: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """Ignore the switches and leave no gaps: bilinear interpolation."""
    return F.interpolate(y, size, mode="bilinear", align_corners=False)
