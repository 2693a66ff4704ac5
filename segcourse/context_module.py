"""Look further at full resolution: the context module and its first weights (book/atrous.ipynb).

Seven 3x3 convolutions whose rates double, and a 1x1: maps in, maps of the same shape out, and each
output sees 67 cells a side. It starts as the identity, so plugging it behind a trained network
changes nothing yet (Yu and Koltun 2016, section 3 and table 1).
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

RATES = (1, 1, 2, 4, 8, 16, 1)
"""Of the paper's seven 3x3 convolutions."""


def context_basic(num_classes: int, rates: Sequence[int] = RATES) -> nn.Sequential:
    """The Basic context module: as many channels as classes in every layer.

    Shapes: (N, K, h, w) to (N, K, h, w).

    Args:
        num_classes: K.
        rates: of the 3x3 convolutions, each followed by a ReLU; a 1x1 convolution comes last.

    Raises:
        ValueError: no class, no rate, or a rate below 1.
    """
    return _context(num_classes, [1] * len(rates), rates, 0.0, None)


def context_large(
    num_classes: int, noise: float = 0.0, generator: Generator | None = None
) -> nn.Sequential:
    """The Large context module: 2, 2, 4, 8, 16, 32 and 32 channels for each class, then K again.

    Shapes: (N, K, h, w) to (N, K, h, w).

    Args:
        num_classes: K.
        noise: standard deviation of what is added to the weights, relative to the largest weight
            of a layer. The channels of one class start alike; noise lets them part.
        generator: of the noise, on the CPU.

    Raises:
        ValueError: no class.
    """
    return _context(num_classes, (2, 2, 4, 8, 16, 32, 32), RATES, noise, generator)


def identity_kernel(
    in_channels: int, out_channels: int, kernel_size: int, num_classes: int
) -> Tensor:
    """Weights that hand every class on, also where a class has several channels.

    Equation 5 of the paper: with K classes, the weight from channel a of c to channel b of d is
    K / d at the middle tap where floor(a K / c) = floor(b K / d), else 0. So a channel is the mean
    of its class's channels, times c / d; from K channels through many back to K that is the
    identity.

    Args:
        in_channels: c, a multiple of K.
        out_channels: d, a multiple of K.
        kernel_size: odd.
        num_classes: K.

    Returns:
        (d, c, kernel_size, kernel_size).

    Raises:
        ValueError: channels that are no multiple of K, or an even kernel.
    """
    if num_classes < 1 or in_channels % num_classes or out_channels % num_classes:
        raise ValueError(
            f"{in_channels} channels to {out_channels} for {num_classes} classes: each class needs "
            "its own channels, so give multiples of the number of classes"
        )
    if kernel_size % 2 == 0:
        raise ValueError(f"a kernel of {kernel_size} has no middle tap: use an odd one")
    of_in = torch.arange(in_channels) * num_classes // in_channels
    of_out = torch.arange(out_channels) * num_classes // out_channels
    weight = torch.zeros(out_channels, in_channels, kernel_size, kernel_size)
    middle = kernel_size // 2
    weight[:, :, middle, middle] = (of_out[:, None] == of_in) * (num_classes / out_channels)
    return weight


@torch.no_grad()
def initialise_identity(
    context: nn.Sequential,
    num_classes: int,
    noise: float = 0.0,
    generator: Generator | None = None,
) -> nn.Sequential:
    """Set a chain of convolutions and ReLUs, in place, so that it hands its input through.

    A ReLU cuts what is below zero: x >= 0 comes out as it went in, and anything else as relu(x).

    Args:
        context: convolutions whose channels are multiples of K; the first has K inputs, the last
            K outputs.
        num_classes: K.
        noise, generator: as in `context_large`.

    Returns:
        The chain.

    Raises:
        ValueError: as `identity_kernel`; the first or the last layer has other channels.
    """
    convolutions = [layer for layer in context if isinstance(layer, nn.Conv2d)]
    ends = (convolutions[0].in_channels, convolutions[-1].out_channels) if convolutions else ()
    if ends != (num_classes, num_classes):
        raise ValueError(
            f"the chain goes from {' to '.join(map(str, ends)) or 'no'} channels: it takes and "
            f"gives one map for each of {num_classes} classes"
        )
    for layer in convolutions:
        weight = identity_kernel(
            layer.in_channels, layer.out_channels, layer.kernel_size[0], num_classes
        )
        spread = torch.randn(weight.shape, generator=generator) if noise else 0.0
        layer.weight.copy_(weight + noise * weight.max() * spread)
        nn.init.zeros_(layer.bias)
    return context


def _context(
    num_classes: int,
    widths: Sequence[int],
    rates: Sequence[int],
    noise: float,
    generator: Generator | None,
) -> nn.Sequential:
    if num_classes < 1 or not rates or min(rates) < 1:
        raise ValueError(
            f"{num_classes} classes and rates {tuple(rates)}: give 1 class or more, and rates of 1 "
            "or more"
        )
    layers, before = [], num_classes
    for width, rate in zip(widths, rates, strict=True):
        after = width * num_classes
        layers += [nn.Conv2d(before, after, 3, padding=rate, dilation=rate), nn.ReLU()]
        before = after
    context = nn.Sequential(*layers, nn.Conv2d(before, num_classes, 1))
    return initialise_identity(context, num_classes, noise, generator)
