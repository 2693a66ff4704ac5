"""The networks of the FCN paper: VGG16, AlexNet and GoogLeNet, and a light one (book/fcn.ipynb).

Each is a classifier without its last layer. fc6 and fc7 become convolutions, as
`segcourse.convolutionalize` has it, padded so that the grid keeps the size of the map; a 1x1 score
layer follows. Random weights are drawn as He et al. (2015) do; trained ones can be fetched.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

from segcourse import backbones
from segcourse.backbones import LightBackbone
from segcourse.fcn import FCN, zero_scores


def fcn_vgg16(
    num_classes: int, skips: Sequence[int] = (), weights: WeightsEnum | None = None
) -> FCN:
    """FCN-32s, 16s or 8s on VGG16: fc6 7x7, fc7 1x1, 134 million parameters with 21 classes.

    Args:
        num_classes: K.
        skips: () for 32s, (16,) for 16s, (16, 8) for 8s.
        weights: random, or `torchvision.models.VGG16_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    backbone, head = backbones.vgg16(weights), _head(512, 7, 3, num_classes)
    if weights is not None:
        _fill(head, models.vgg16(weights=weights).classifier)
    else:
        he_initialise(backbone)
    return FCN(backbone, head, num_classes, skips)


def fcn_alexnet(num_classes: int, weights: WeightsEnum | None = None) -> FCN:
    """FCN-32s on AlexNet: pool5, fc6 6x6, fc7 1x1, 57 million parameters with 21 classes.

    pool5 pads by one cell here, so that a 32-pixel image leaves it something to pool.

    Args:
        num_classes: K.
        weights: random, or `torchvision.models.AlexNet_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    backbone, head = backbones.alexnet(weights), _head(256, 6, 3, num_classes)
    if weights is not None:
        _fill(head, models.alexnet(weights=weights).classifier)
    else:
        he_initialise(backbone)
    pool5 = nn.MaxPool2d(3, stride=2, padding=1)
    return FCN(backbone, nn.Sequential(pool5, *head), num_classes)


def fcn_googlenet(num_classes: int, weights: WeightsEnum | None = None) -> FCN:
    """FCN-32s on GoogLeNet without its average pool, 6 million parameters with 21 classes.

    Args:
        num_classes: K.
        weights: random, or `torchvision.models.GoogLeNet_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    backbone = backbones.googlenet(weights)
    if weights is None:
        he_initialise(backbone)
    head = nn.Sequential(nn.Dropout(0.2), zero_scores(1024, num_classes))
    return FCN(backbone, head, num_classes)


def fcn_light(
    num_classes: int,
    skips: Sequence[int] = (),
    widths: Sequence[int] = (16, 32, 64, 96, 128),
) -> FCN:
    """FCN-32s, 16s or 8s on the light backbone, for a CPU: 0.6 million parameters.

    Its head is one 3x3 convolution with batch norm in place of fc6 and fc7.

    Args:
        num_classes: K.
        skips: () for 32s, (16,) for 16s, (16, 8) for 8s.
        widths: of the backbone's five stages.
    """
    width = widths[-1]
    head = nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        zero_scores(width, num_classes),
    )
    return FCN(LightBackbone(widths), he_initialise(head, keep=head[-1]), num_classes, skips)


def he_initialise(network: nn.Module, keep: nn.Module | None = None) -> nn.Module:
    """Draw convolutions so that a ReLU network keeps the size of its activations.

    Normal with variance 2 / (inputs of a unit) (He et al. 2015, section 2.2), biases zero.
    torchvision draws its own networks in several ways, some of which let activations shrink from
    layer to layer until little is left to learn from.

    Args:
        network: changed in place.
        keep: a layer to leave as it is.

    Returns:
        The network.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer is not keep:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _head(in_channels: int, kernel: int, padding: int, num_classes: int) -> nn.Sequential:
    """fc6, fc7 and the score as convolutions, each of the first two with ReLU and dropout."""
    fc6 = nn.Conv2d(in_channels, 4096, kernel, padding=padding)
    fc7 = nn.Conv2d(4096, 4096, 1)
    score = zero_scores(4096, num_classes)
    head = nn.Sequential(fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), nn.Dropout(), score)
    return he_initialise(head, keep=score)


@torch.no_grad()
def _fill(head: nn.Sequential, classifier: nn.Sequential) -> None:
    """Give fc6 and fc7 the trained weights of the classifier's first two linear layers."""
    linear: list[Tensor] = [layer for layer in classifier if isinstance(layer, nn.Linear)]
    convolutions = [layer for layer in head if isinstance(layer, nn.Conv2d)]
    for conv, fc in zip(convolutions[:2], linear, strict=False):
        conv.weight.copy_(fc.weight.view_as(conv.weight))
        conv.bias.copy_(fc.bias)
