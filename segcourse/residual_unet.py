"""A U-Net for few images: residual blocks, ASPP where the map is coarsest, half the resolution.

Three parts of the course in one network (book/results.ipynb): the skips of U-Net, so that thin
things survive; DeepLab v3's rates and image pooling at the bottom, so that all of the picture is
heard; and blocks that add to their input, so that many layers train from random weights (He et al.
2016). It works on every second pixel and scores four pixels at each, at a quarter of the cost.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.aspp import ASPPv3, conv_norm
from segcourse.unet import UNet

RATES = (3, 6, 9)
"""Of the context at stride 16: on a 22x30 map the papers' 6, 12 and 18 mostly reach outside."""


class Added(nn.Module):
    """relu(shortcut(x) + branch(x)): the branch learns what to change.

    Shapes: (N, C, h, w) to whatever both parts make of it.

    Args:
        branch, shortcut: modules with outputs of one shape.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The sum after a ReLU."""
        return F.relu(self.shortcut(x) + self.branch(x))


def residual(in_channels: int, out_channels: int) -> Added:
    """Two 3x3 convolutions with batch norm, added to their input (He et al. 2016, figure 2).

    The last norm's scale starts at 0, so every block starts as its shortcut, and a deep network as
    a shallow one.

    Args:
        in_channels: of the input; where they differ from the output's, a 1x1 convolution with
            batch norm is the shortcut.
        out_channels: of the output.
    """
    branch = nn.Sequential(
        *conv_norm(in_channels, out_channels, 3), *conv_norm(out_channels, out_channels, 3)[:2]
    )
    shortcut: nn.Module = nn.Identity()
    if in_channels != out_channels:
        shortcut = conv_norm(in_channels, out_channels)[:2]
    for layer in (*branch, *shortcut.children()):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(branch[-1].weight)
    return Added(branch, shortcut)


def residual_pair(in_channels: int, out_channels: int, padding: int = 1) -> nn.Sequential:
    """Two residual blocks: what `UNet` takes as its `block`.

    Raises:
        ValueError: a padding other than 1, as what is added must have one size.
    """
    if padding != 1:
        raise ValueError(f"padding is {padding}: residual blocks keep the size, give 1")
    return nn.Sequential(residual(in_channels, out_channels), residual(out_channels, out_channels))


class OnHalfGrid(nn.Module):
    """A network that sees one feature for every 2x2 pixels, and scores all four from it.

    Shapes: (N, 3, H, W) to logits (N, K, H, W). The scores of four pixels lie in four groups of
    channels and are shuffled to their places, which is a transposed convolution with a 2x2 kernel
    of stride 2 (book/upsampling.ipynb).

    Args:
        stem: (N, 3, 2h, 2w) to (N, C, h, w).
        net: (N, C, h, w) to (N, 4 K, h, w).
    """

    def __init__(self, stem: nn.Module, net: nn.Module):
        super().__init__()
        self.stem, self.net = stem, net

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        H, W = image.shape[2:]
        image = F.pad(image, (0, W % 2, 0, H % 2), mode="replicate")
        return F.pixel_shuffle(self.net(self.stem(image)), 2)[..., :H, :W]


def residual_unet(num_classes: int, width: int = 32, dropout: float = 0.1) -> OnHalfGrid:
    """Build the network: strides 2, 4, 8 and 16, two residual blocks at each, ASPP at the last.

    Args:
        num_classes: K.
        width: channels at stride 2, doubled three times.
        dropout: of the context's features in training.

    Raises:
        ValueError: a width below 1.
    """
    if width < 1:
        raise ValueError(f"width is {width}: give 1 channel or more")
    stem = nn.Sequential(
        # An even kernel is centred between its 2x2 pixels, where the feature stands.
        nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
    net = UNet(width, 4 * num_classes, depth=3, width=width, block=residual_pair)
    bottom = 8 * width
    # DeepLab v3's head, with as many "classes" as there are channels to add to.
    context = ASPPv3(bottom, bottom, RATES, bottom // 2, dropout)
    net.encoder[-1] = nn.Sequential(net.encoder[-1], Added(context, nn.Identity()))
    return OnHalfGrid(stem, net)


def with_group_norm(model: nn.Module, channels: int = 8) -> nn.Module:
    """Put group norm in the place of every batch norm (Wu and He 2018).

    Group norm takes mean and deviation from groups of channels of one image, so an image's result
    does not depend on the others in its batch, and is the same in training and in use.

    Args:
        model: changed in place. Scales and shifts are kept, running statistics are not.
        channels: in a group; fewer where that does not divide a layer's channels.

    Returns:
        The model.
    """
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            size = max(n for n in range(1, channels + 1) if child.num_features % n == 0)
            norm = nn.GroupNorm(child.num_features // size, child.num_features, child.eps)
            with torch.no_grad():
                norm.weight.copy_(child.weight)
                norm.bias.copy_(child.bias)
            setattr(model, name, norm)
        else:
            with_group_norm(child, channels)
    return model
