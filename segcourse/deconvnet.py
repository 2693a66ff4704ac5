"""A decoder that is learned, and remembers where (book/deconvnet.ipynb).

The encoder pools and keeps the switches; the decoder is its mirror image. Each unpooling puts
values back at the switches, sparsely; the transposed convolutions after it fill the gaps. How
values are placed is a function that the network is given, so that true switches can be set against
fixed ones, random ones, and none.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import WeightsEnum

from segcourse.backbones import vgg16
from segcourse.unpool_rules import Unpool
from segcourse.unpooling import max_unpool


class DeconvNet(nn.Module):
    """Stages and 2x2 max pools down, a bridge, unpoolings and stages up, then scores.

    The image is padded at the right and the bottom, by repeating its last pixels, to whole cells
    of the coarsest map; the logits are cropped back.

    Shapes: image (N, 3, H, W), any H and W, to logits (N, K, H, W). In training mode torch's own
    batch norm refuses one image alone where a map of it is 1x1: give two, or a larger one.

    Args:
        encoder: modules that keep height and width; a pool follows each.
        bridge: between the last pool and the first unpooling; keeps the shape.
        decoder: as many modules, coarsest first; each takes the channels of the encoder stage
            beside it, and gives those of the next finer one.
        score: the last map to K channels.
        unpool: how values are placed; may be replaced after training. Starts as the true switches.
        grid: smallest height and width of the coarsest map that the bridge takes.

    Raises:
        ValueError: encoder and decoder differ in length.
    """

    def __init__(
        self,
        encoder: Sequence[nn.Module],
        bridge: nn.Module,
        decoder: Sequence[nn.Module],
        score: nn.Module,
        unpool: Unpool = max_unpool,
        grid: int = 1,
    ):
        super().__init__()
        if len(encoder) != len(decoder):
            raise ValueError(
                f"{len(encoder)} stages down and {len(decoder)} up: each pool needs its unpooling, "
                f"so give {len(encoder)} decoder stages"
            )
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.bridge, self.score = bridge, score
        self.unpool, self.grid = unpool, grid

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float to logits (N, K, H, W)."""
        H, W = image.shape[-2:]
        x, switches = encode(self.encoder, pad(image, 2 ** len(self.encoder), self.grid))
        x = self.bridge(x)
        for stage, places in zip(self.decoder, reversed(switches), strict=True):
            x = stage(self.unpool(x, places, _doubled(x)))
        return self.score(x)[..., :H, :W]

    def activations(self, image: Tensor) -> dict[str, Tensor]:
        """What the decoder computes on its way up, as in figure 4 of Noh et al. 2015.

        Args:
            image: (N, 3, H, W).

        Returns:
            In order: "bridge"; "unpool 5", "decode 5" and so on down to 1, each (N, C, h, w) at its
            own stride, padding included; "logits" (N, K, H, W) as from the network itself.
        """
        H, W = image.shape[-2:]
        x, switches = encode(self.encoder, pad(image, 2 ** len(self.encoder), self.grid))
        found = {"bridge": (x := self.bridge(x))}
        for level in range(len(self.encoder), 0, -1):
            found[f"unpool {level}"] = (x := self.unpool(x, switches[level - 1], _doubled(x)))
            found[f"decode {level}"] = (x := self.decoder[-level](x))
        return found | {"logits": self.score(x)[..., :H, :W]}


class BilinearDecoder(nn.Module):
    """The same encoder without a learned decoder: coarse scores, enlarged bilinearly.

    Args:
        encoder, bridge, grid: as in `DeconvNet`.
        score: the coarsest map to K channels.
    """

    def __init__(
        self, encoder: Sequence[nn.Module], bridge: nn.Module, score: nn.Module, grid: int = 1
    ):
        super().__init__()
        self.encoder, self.bridge, self.score = nn.ModuleList(encoder), bridge, score
        self.grid = grid

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float, any H and W, to logits (N, K, H, W)."""
        H, W = image.shape[-2:]
        padded = pad(image, 2 ** len(self.encoder), self.grid)
        coarse = self.score(self.bridge(encode(self.encoder, padded)[0]))
        large = F.interpolate(coarse, padded.shape[-2:], mode="bilinear", align_corners=False)
        return large[..., :H, :W]


def encode(stages: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run each stage and pool its map by 2x2.

    Args:
        stages: that keep height and width.
        x: (N, C, H, W), H and W divisible by 2 once for each stage.

    Returns:
        The coarsest map, and the switches of each pool, fine to coarse.
    """
    switches = []
    for stage in stages:
        # torch's own pool: the same as `unpooling.max_pool`, in far less time.
        x, places = F.max_pool2d(stage(x), 2, return_indices=True)
        switches.append(places)
    return x, switches


def pad(image: Tensor, multiple: int, grid: int = 1) -> Tensor:
    """Repeat the last row and column until both sides are a multiple, `grid` times or more.

    >>> import torch
    >>> tuple(pad(torch.zeros(1, 3, 360, 480), 32, grid=7).shape)
    (1, 3, 384, 480)
    """
    H, W = (multiple * max(grid, -(-n // multiple)) for n in image.shape[-2:])
    return F.pad(image, (0, W - image.shape[-1], 0, H - image.shape[-2]), mode="replicate")


def _doubled(x: Tensor) -> tuple[int, int]:
    return 2 * x.shape[-2], 2 * x.shape[-1]


def conv_stage(channels: Sequence[int]) -> nn.Sequential:
    """3x3 convolutions from each number of channels to the next, with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def deconv_stage(channels: Sequence[int]) -> nn.Sequential:
    """The same with transposed convolutions of stride 1, which keep height and width too."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        deconv = nn.ConvTranspose2d(before, after, 3, padding=1, bias=False)
        layers += [deconv, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def vgg16_stages(weights: WeightsEnum | None = None) -> list[nn.Sequential]:
    """VGG16's five groups of convolutions, without their pools, batch norm after each.

    Args:
        weights: random, or `torchvision.models.VGG16_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    stages = []
    for group in vgg16(weights).stages:
        convs = [layer for layer in group if isinstance(layer, nn.Conv2d)]
        layers = [(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()) for conv in convs]
        stages.append(nn.Sequential(*(part for layer in layers for part in layer)))
    return stages


def deconvnet_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DeconvNet:
    """VGG16 and its mirror image (Noh et al. 2015, table 2).

    The first fully connected layer is a 7x7 convolution without padding: one cell on a 224x224
    image, a grid on a larger one. A smaller image is padded to 224.

    Args:
        num_classes: K.
        weights: of the 13 convolutions: random, or `torchvision.models.VGG16_Weights.DEFAULT`.

    Raises:
        DataError: the weights cannot be fetched.
    """
    fc6, fc7 = nn.Conv2d(512, 4096, 7, bias=False), nn.Conv2d(4096, 4096, 1, bias=False)
    back = nn.ConvTranspose2d(4096, 512, 7, bias=False)
    bridge = nn.Sequential(
        *(fc6, nn.BatchNorm2d(4096), nn.ReLU()),
        *(fc7, nn.BatchNorm2d(4096), nn.ReLU()),
        *(back, nn.BatchNorm2d(512), nn.ReLU()),
    )
    mirror = [(512, 512, 512, 512), (512, 512, 512, 256), (256, 256, 256, 128), (128, 128, 64)]
    decoder = [deconv_stage(channels) for channels in (*mirror, (64, 64, 64))]
    return DeconvNet(vgg16_stages(weights), bridge, decoder, nn.Conv2d(64, num_classes, 1), grid=7)


LIGHT = (16, 32, 64, 96)


def light_depths(widths: Sequence[int]) -> list[int]:
    """Convolutions of each stage as in VGG11: one in the two finest stages, two below."""
    return [1 if level < 2 else 2 for level in range(len(widths))]


def light_encoder(widths: Sequence[int] = LIGHT) -> list[nn.Sequential]:
    """VGG11's form, narrow enough for a CPU: stages of 3x3 convolutions, fine to coarse."""
    stages = zip((3, *widths[:-1]), widths, light_depths(widths), strict=True)
    return [conv_stage((before, *[after] * depth)) for before, after, depth in stages]


def light_bridge(width: int) -> nn.Sequential:
    """The fully connected layers in small: to twice the channels and back, 3x3."""
    return nn.Sequential(*conv_stage((width, 2 * width)), *deconv_stage((2 * width, width)))


def deconvnet_light(
    num_classes: int, widths: Sequence[int] = LIGHT, unpool: Unpool = max_unpool
) -> DeconvNet:
    """DeconvNet for a CPU: VGG11's form and its mirror image, narrow, with a small bridge.

    Args:
        num_classes: K.
        widths: channels of each stage, fine to coarse.
        unpool: how values are placed.
    """
    encoder, bridge = light_encoder(widths), light_bridge(widths[-1])  # drawn first
    stages = zip(widths, (widths[0], *widths[:-1]), light_depths(widths), strict=True)
    decoder = [deconv_stage((*[width] * depth, after)) for width, after, depth in stages][::-1]
    return DeconvNet(encoder, bridge, decoder, nn.Conv2d(widths[0], num_classes, 1), unpool)


def bilinear_light(num_classes: int, widths: Sequence[int] = LIGHT) -> BilinearDecoder:
    """`deconvnet_light` up to its bridge, then coarse scores enlarged bilinearly.

    At the same random state encoder and bridge start from the same weights as there.
    """
    encoder, bridge = light_encoder(widths), light_bridge(widths[-1])
    return BilinearDecoder(encoder, bridge, nn.Conv2d(widths[-1], num_classes, 1))
