"""SegNet: the switches of DeconvNet without its fully connected layers (book/deconvnet.ipynb).

Thirteen convolutions down, thirteen up, nothing between them. The decoder convolves where
DeconvNet convolves transposed; at stride 1 that is the same operation with its kernel flipped.
"""

from collections.abc import Sequence

from torch import nn
from torchvision.models import WeightsEnum

from segcourse.deconvnet import (
    LIGHT,
    DeconvNet,
    conv_stage,
    light_depths,
    light_encoder,
    vgg16_stages,
)


def segnet_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DeconvNet:
    """SegNet on VGG16 (Badrinarayanan et al. 2017, section 3).

    The last of the thirteen decoder convolutions gives the scores, without batch norm and ReLU.

    Args:
        num_classes: K.
        weights: of the encoder: random, or `torchvision.models.VGG16_Weights.DEFAULT`.

    Raises:
        DataError: the weights cannot be fetched.
    """
    encoder = vgg16_stages(weights)
    mirror = [(512, 512, 512, 512), (512, 512, 512, 256), (256, 256, 256, 128), (128, 128, 64)]
    decoder = [conv_stage(channels) for channels in (*mirror, (64, 64))]
    score = nn.Conv2d(64, num_classes, 3, padding=1)
    return DeconvNet(encoder, nn.Identity(), decoder, score)


def segnet_light(num_classes: int, widths: Sequence[int] = LIGHT) -> DeconvNet:
    """SegNet for a CPU: the light DeconvNet's form; the last convolution gives the scores.

    Args:
        num_classes: K.
        widths: channels of each stage, fine to coarse.
    """
    encoder = light_encoder(widths)  # drawn first: as in `deconvnet_light`
    stages = zip(widths[1:], widths[:-1], light_depths(widths)[1:], strict=True)
    decoder = [conv_stage((*[width] * depth, after)) for width, after, depth in stages][::-1]
    decoder.append(nn.Identity())  # the finest stage has one convolution: the scores
    score = nn.Conv2d(widths[0], num_classes, 3, padding=1)
    return DeconvNet(encoder, nn.Identity(), decoder, score)
