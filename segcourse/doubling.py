"""Layers that double a map, and a small decoder made of them (book/upsampling.ipynb).

The same network four times, with nothing changed but the layer that enlarges: what it paints on a
patch of one colour is the layer's own grid, and nothing of the picture.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcourse.checkerboard import phase_means
from segcourse.upsampling import ResizeConvolution

PERIOD = 4  # px: two layers that double


def enlarging_padding(kernel_size: int, stride: int) -> tuple[int, int]:
    """The padding and output_padding that make a transposed convolution multiply the size exactly.

    Args:
        kernel_size: taps, at least the stride.
        stride: the factor, 2 or more.

    Returns:
        (padding, output_padding).

    Raises:
        ValueError: a stride that enlarges nothing, or a kernel below it, which leaves holes.

    >>> enlarging_padding(3, 2), enlarging_padding(4, 2), enlarging_padding(2, 2)
    ((1, 1), (1, 0), (0, 0))
    """
    if stride < 2:
        raise ValueError(f"a stride of {stride} does not enlarge: use 2 or more")
    if kernel_size < stride:
        raise ValueError(
            f"stamps of {kernel_size} px every {stride} px leave holes: use a kernel of {stride} px"
            " or more"
        )
    padding = -(-(kernel_size - stride) // 2)
    return padding, 2 * padding - (kernel_size - stride)


def transposed_layer(kernel_size: int, stride: int = 2) -> Callable[[int, int], nn.Module]:
    """A maker of transposed convolutions that multiply the size exactly by the stride.

    Args:
        kernel_size: taps, at least the stride.
        stride: the factor.

    Returns:
        A function of the channels in and out.

    Raises:
        ValueError: a kernel below the stride.
    """
    padding, extra = enlarging_padding(kernel_size, stride)

    def layer(in_channels: int, out_channels: int) -> nn.Module:
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride, padding, extra)

    return layer


def even_start(in_channels: int, out_channels: int) -> nn.Module:
    """Kernel 2 at stride 2 whose four taps start alike: untrained, it copies (Aitken et al. 2017).

    Args:
        in_channels: of the input.
        out_channels: of the output.
    """
    layer = nn.ConvTranspose2d(in_channels, out_channels, 2, 2)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:, :, :1, :1].expand_as(layer.weight))
    return layer


LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "kernel 3, stride 2": transposed_layer(3),
    "kernel 4, stride 2": transposed_layer(4),
    "kernel 2, stride 2": transposed_layer(2),
    "kernel 2, even start": even_start,
    "resize-convolution": ResizeConvolution,
}
"""The layers that the page compares, by the name that its figures use."""


def decoder(layer: Callable[[int, int], nn.Module], width: int = 16) -> nn.Sequential:
    """A network that enlarges a picture four times, with two of the layers.

    Args:
        layer: makes a layer that doubles height and width, from its channels in and out.
        width: channels between the layers.

    Returns:
        (N, 3, h, w) to (N, 3, 4h, 4w). The last layer is one that doubles: what grid it makes,
        nothing after it can take away.
    """
    first = nn.Conv2d(3, width, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), layer(width, width), nn.ReLU(), layer(width, 3))


@torch.no_grad()
def grid_on_colours(net: nn.Module, colours: Tensor) -> Tensor:
    """How strong a grid the decoder paints on patches of one colour each.

    The right answer is the colour, everywhere. Away from the border the decoder's answer repeats
    every four pixels, and its deviation from its mean is the grid.

    Args:
        net: from `decoder`.
        colours: (P, 3).

    Returns:
        Root mean square over patches, channels and pixels, in the unit of the colours.
    """
    patches = net(colours[:, :, None, None].expand(-1, -1, 12, 12))[..., 16:-16, 16:-16]
    return phase_means(patches, PERIOD).var((-2, -1), correction=0).mean().sqrt()
