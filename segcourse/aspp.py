"""Many fields of view at once: LargeFOV, and atrous spatial pyramid pooling (book/aspp.ipynb).

A dilated 3x3 kernel sees as far as its rate allows. One rate fits objects of one size, so ASPP
runs several side by side on the same features. v2 sums the scores of whole branches; v3 joins
their features and adds the mean of the whole image, which no rate on a small map can give.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATES_S = (2, 4, 8, 12)
RATES_L = (6, 12, 18, 24)
"""DeepLab v2's ASPP-S and ASPP-L (Chen et al. 2018, section 4.1.2), at output stride 8."""

RATES_V3 = (12, 24, 36)
"""DeepLab v3's at output stride 8 (Chen et al. 2017, section 3.3); half of them at 16."""


def large_fov(
    in_channels: int, num_classes: int, rate: int = 12, width: int = 1024, dropout: float = 0.5
) -> nn.Sequential:
    """VGG16's fc6, fc7, fc8 with a 3x3 kernel at one rate: DeepLab-LargeFOV (v2, section 4.1.1).

    The rate widens the view and leaves the number of weights alone. The padding equals the rate,
    so the map keeps its size.

    Args:
        in_channels: of the feature map.
        num_classes: K.
        rate: of fc6, in feature pixels.
        width: channels of fc6 and fc7.
        dropout: probability that a channel of fc6 or fc7 is dropped in training; both papers' 0.5.

    Returns:
        A module from (N, in_channels, h, w) to logits (N, K, h, w). The convolutions before a
        ReLU start as He et al. 2015 have it, the scores at a deviation of 0.01.

    Raises:
        ValueError: a number is below 1, or the dropout is outside 0..1.
    """
    for name, value in (("rate", rate), ("width", width), ("num_classes", num_classes)):
        if value < 1:
            raise ValueError(f"{name} is {value}: give 1 or more")
    head = nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=rate, dilation=rate),
        nn.ReLU(),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, width, 1),
        nn.ReLU(),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, num_classes, 1),
    )
    for layer in (head[0], head[3]):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    nn.init.normal_(head[6].weight, std=0.01)
    nn.init.zeros_(head[6].bias)
    return head


class ASPP(nn.Module):
    """DeepLab v2's head: one `large_fov` for each rate, their scores summed.

    Shapes: features (N, in_channels, h, w) to logits (N, K, h, w).

    Args:
        in_channels: of the feature map.
        num_classes: K.
        rates: one branch each; `RATES_S` or `RATES_L`.
        width: channels of fc6 and fc7 in every branch.
        dropout: as in `large_fov`.

    Raises:
        ValueError: no rates, or what `large_fov` refuses.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        rates: Sequence[int] = RATES_L,
        width: int = 1024,
        dropout: float = 0.5,
    ):
        super().__init__()
        if not rates:
            raise ValueError("no rates: give one for each branch, as 6, 12, 18, 24")
        self.rates = tuple(rates)
        self.branches = nn.ModuleList(
            large_fov(in_channels, num_classes, rate, width, dropout) for rate in rates
        )

    def scores(self, features: Tensor) -> list[Tensor]:
        """Each branch's own logits (N, K, h, w), in the order of `rates`."""
        return [branch(features) for branch in self.branches]

    def forward(self, features: Tensor) -> Tensor:
        """The sum of the branches' logits."""
        return torch.stack(self.scores(features)).sum(0)


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int = 1, rate: int = 1
) -> nn.Sequential:
    """A convolution without bias that keeps the size, batch norm, ReLU: the unit of v3's head."""
    padding = rate * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=padding, dilation=rate, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class ImagePooling(nn.Module):
    """The mean of the whole map at every position: context that no rate limits (v3, section 3.3).

    Shapes: (N, in_channels, h, w) to (N, out_channels, h, w), the same at every position.

    Raises:
        ValueError: one image in training mode, where batch norm has a single value a channel.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.project = conv_norm(in_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Pool, project, and repeat."""
        if self.training and len(features) == 1:
            raise ValueError(
                "image pooling got a batch of 1 in training mode: its batch norm would see one "
                "value a channel. Give 2 images or more, or call eval() on the model"
            )
        mean = self.project(features.mean((2, 3), keepdim=True))  # (N, out_channels, 1, 1)
        return mean.expand(-1, -1, *features.shape[2:])


class ASPPv3(nn.Module):
    """DeepLab v3's head: a 1x1, three dilated 3x3 and image pooling, joined, then scored.

    Shapes: features (N, in_channels, h, w) to logits (N, K, h, w).

    Args:
        in_channels: of the feature map.
        num_classes: K.
        rates: of the dilated branches: `RATES_V3` at output stride 8.
        width: channels of every branch and of the joined features.
        dropout: probability that a joined feature is dropped in training; torchvision's 0.5.

    Raises:
        ValueError: a rate is below 1; one image in training mode.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        rates: Sequence[int] = RATES_V3,
        width: int = 256,
        dropout: float = 0.5,
    ):
        super().__init__()
        if min(rates, default=1) < 1:
            raise ValueError(f"rates are {tuple(rates)}: give 1 or more for each branch")
        self.rates = tuple(rates)
        self.branches = nn.ModuleList(
            [
                conv_norm(in_channels, width),
                *(conv_norm(in_channels, width, 3, rate) for rate in rates),
                ImagePooling(in_channels, width),
            ]
        )
        joined = width * len(self.branches)
        self.join = nn.Sequential(*conv_norm(joined, width), nn.Dropout(dropout))
        self.score = nn.Sequential(
            *conv_norm(width, width, kernel_size=3), nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits at the features' size."""
        return self.score(self.join(torch.cat([b(features) for b in self.branches], dim=1)))


def valid_taps(size: tuple[int, int], rate: int, kernel_size: int = 3) -> Tensor:
    """How many of a dilated kernel's taps lie on the map and not on its padding, by position.

    At rate 24 on a 65x65 map few positions use all nine taps; from rate 65 on every position uses
    one, and the kernel is a 1x1 convolution with eight idle weights (v3, section 3.3).

    Args:
        size: (h, w) of the map.
        rate: of the kernel, 1 or more.
        kernel_size: odd.

    Returns:
        (h, w) int64 in 1..kernel_size^2.

    Raises:
        ValueError: the size or the rate is below 1, or the kernel is even.

    >>> valid_taps((3, 3), rate=1).tolist()
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    if min(*size, rate, kernel_size) < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"size is {tuple(size)}, rate {rate}, kernel_size {kernel_size}: give sizes and a rate "
            "of 1 or more, and an odd kernel, whose middle is the position itself"
        )
    steps = rate * (torch.arange(kernel_size) - kernel_size // 2)
    rows, cols = ((((at := torch.arange(n)[:, None] + steps) >= 0) & (at < n)).sum(1) for n in size)
    return rows[:, None] * cols[None, :]


def full_taps_share(size: tuple[int, int], rate: int) -> float:
    """Share of the positions at which a 3x3 kernel uses all nine taps.

    >>> round(full_taps_share((65, 65), rate=24), 3)
    0.068
    """
    return (valid_taps(size, rate) == 9).double().mean().item()


def pyramid_pooling(features: Tensor, grids: Sequence[int] = (1, 2, 4)) -> Tensor:
    """Means over grids of several fineness in one vector: spatial pyramid pooling (He et al. 2014).

    ASPP takes its name from it. The vector's length does not depend on the map's size, which a
    classifier needs; ASPP keeps the map.

    Args:
        features: (N, C, h, w).
        grids: cells along each side, one level each.

    Returns:
        (N, C * sum(grid^2)).

    Raises:
        ValueError: a grid has more cells than the map has rows or columns.
    """
    if max(grids) > min(features.shape[2:]):
        raise ValueError(
            f"a grid of {max(grids)} cells a side on a map of {tuple(features.shape[2:])}: give "
            f"grids up to {min(features.shape[2:])}"
        )
    return torch.cat([F.adaptive_avg_pool2d(features, grid).flatten(1) for grid in grids], dim=1)
