"""U-Net: an encoder that compresses, a decoder that restores, and skips (book/unet.ipynb).

Each decoder level enlarges the map below and joins to it, channel by channel, what the encoder had
at that size. FCN adds scores; U-Net concatenates features, so the decoder learns how to mix them
(Ronneberger et al. 2015).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.unet_sizes import levels, nearest_legal


def double_conv(in_channels: int, out_channels: int, padding: int) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU, started as He et al. 2015: the paper's block.

    Args:
        in_channels: of the input.
        out_channels: of both convolutions.
        padding: 0 takes two pixels from each side, 1 keeps the size.
    """
    layers = []
    for channels in (in_channels, out_channels):
        conv = nn.Conv2d(channels, out_channels, 3, padding=padding)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers)


def double_conv_norm(in_channels: int, out_channels: int, padding: int) -> nn.Sequential:
    """As `double_conv` with batch norm before each ReLU, which the paper does not have."""
    layers = []
    for channels in (in_channels, out_channels):
        conv = nn.Conv2d(channels, out_channels, 3, padding=padding, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


def learned_up(in_channels: int, out_channels: int) -> nn.Module:
    """Twice the size by a 2x2 transposed convolution of stride 2, the paper's "up-convolution"."""
    up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    nn.init.normal_(up.weight, std=in_channels**-0.5)  # one tap of each channel meets a pixel
    nn.init.zeros_(up.bias)
    return up


def bilinear_up(in_channels: int, out_channels: int) -> nn.Module:
    """Twice the size by bilinear interpolation, then a 1x1 convolution for the channels."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_channels, out_channels, 1)
    )


class UNet(nn.Module):
    """Encoder, decoder and a skip on every level.

    Shapes: image (N, in_channels, H, W) to logits (N, K, H, W) with padding 1, any H and W. With
    padding 0 H and W must be legal (see `unet_sizes`) and the logits are smaller: 572 gives 388.

    Args:
        in_channels: of the image.
        num_classes: K.
        depth: how often the map is halved; 4 in the paper.
        width: channels of the first level, doubled on each level below; 64 in the paper.
        padding: of every 3x3 convolution: 1 keeps sizes, 0 is the paper's.
        block: (in_channels, out_channels, padding) to the two convolutions of a level.
        up: (in_channels, out_channels) to a module that doubles the size.
        skips: one switch a level, finest first; None leaves all on. A skip that is off hands on
            zeros: the decoder keeps its shape and its number of weights and loses the information.

    Raises:
        ValueError: depth or width below 1, padding other than 0 or 1, or another number of skips.
            forward: an image of a size that is not legal; the text names the nearest that are.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        depth: int = 4,
        width: int = 64,
        padding: int = 1,
        block: Callable[[int, int, int], nn.Module] = double_conv,
        up: Callable[[int, int], nn.Module] = learned_up,
        skips: Sequence[bool] | None = None,
    ):
        super().__init__()
        skips = (True,) * depth if skips is None else tuple(skips)
        if depth < 1 or width < 1 or padding not in (0, 1):
            raise ValueError(
                f"depth is {depth}, width {width}, padding {padding}: give a depth and a width of "
                "1 or more, and padding 0 or 1"
            )
        if len(skips) != depth:
            raise ValueError(
                f"{len(skips)} skips for a depth of {depth}: give one switch for each level, "
                "finest first"
            )
        self.in_channels, self.depth, self.padding, self.skips = in_channels, depth, padding, skips
        channels = [width * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            block(before, after, padding)
            for before, after in zip((in_channels, *channels), channels, strict=False)
        )
        self.up = nn.ModuleList(up(channels[i + 1], channels[i]) for i in range(depth))
        self.decoder = nn.ModuleList(
            block(2 * channels[i], channels[i], padding) for i in range(depth)
        )
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size, or smaller by what unpadded convolutions take."""
        self._check(image)
        H, W = image.shape[2:]
        if self.padding:
            image = F.pad(image, (0, -W % 2**self.depth, 0, -H % 2**self.depth), mode="replicate")
        return self.score(self.decode(self.encode(image)))[..., :H, :W]

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of each level, finest first: (N, width * 2^i, h_i, w_i)."""
        features = []
        for i, block in enumerate(self.encoder):
            image = block(F.max_pool2d(image, 2) if i else image)
            features.append(image)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Back from the coarsest features to the finest size: (N, width, h, w)."""
        x = features[-1]
        for i in reversed(range(self.depth)):
            x = self.up[i](x)
            skip = center_crop(features[i], x.shape[2:])
            skip = skip if self.skips[i] else torch.zeros_like(skip)
            x = self.decoder[i](torch.cat([skip, x], dim=1))
        return x

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f"got an image of shape {tuple(image.shape)}, need (N, {self.in_channels}, H, W): "
                "add the batch axis, or build the network for these channels"
            )
        if self.padding:
            return
        for axis, n in zip(("high", "wide"), image.shape[2:], strict=True):
            if n not in (near := nearest_legal(n, self.depth)):
                sizes = " or ".join(str(size) for size in near)
                raise ValueError(
                    f"the image is {n} px {axis}, which an unpadded U-Net of depth {self.depth} "
                    f"cannot halve evenly on every level: use {sizes}"
                )


def center_crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of a feature map, as unpadded convolutions lose their border evenly.

    Args:
        x: (N, C, H, W).
        size: (h, w), at most (H, W).
    """
    top, left = (x.shape[2] - size[0]) // 2, (x.shape[3] - size[1]) // 2
    return x[..., top : top + size[0], left : left + size[1]]


class Mirrored(nn.Module):
    """An unpadded U-Net behind the model contract: the border it needs is mirrored.

    Shapes: (N, C, H, W) to (N, K, H, W). The image is mirrored outwards far enough for the
    network's own loss of border, as the paper does it (figure 2), and to a legal size.

    Args:
        net: with padding 0.

    Raises:
        ValueError: a padded network, which needs none; forward: an image so small that its mirror
            image does not cover the border.
    """

    def __init__(self, net: UNet):
        super().__init__()
        if net.padding:
            raise ValueError("this U-Net pads its convolutions: use it as it is, without Mirrored")
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        H, W = image.shape[2:]
        pads, depth = [], self.net.depth
        for n in (W, H):
            margin = levels(nearest_legal(1, depth)[-1], depth, 0).margin
            total = nearest_legal(n + 2 * margin, depth)[-1]
            pads += [margin, total - n - margin]
            if max(pads[-2:]) >= n:
                raise ValueError(
                    f"the image is {W}x{H} px wide and high and must be mirrored by "
                    f"{max(pads[-2:])} px: use an image of more than {max(pads[-2:])} px a side, "
                    "or a smaller depth"
                )
        return self.net(F.pad(image, pads, mode="reflect"))[..., :H, :W]


def unet_light(num_classes: int) -> UNet:
    """A narrow U-Net with batch norm for a CPU: three levels below the first, of 16 channels."""
    return UNet(3, num_classes, depth=3, width=16, block=double_conv_norm)
