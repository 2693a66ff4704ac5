"""Front end and context: a classifier that scores every eighth pixel (book/atrous.ipynb).

The front end is a classifier whose last pools are gone and whose later kernels have holes, so it
keeps the trained weights and scores at stride 8. A context module may follow; the scores are then
enlarged with fixed bilinear weights (Yu and Koltun 2016, sections 3 and 4).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

from segcourse import backbones
from segcourse.backbones import LightBackbone
from segcourse.context_module import context_basic
from segcourse.dilate import dilate
from segcourse.errors import UsageError
from segcourse.fcn import Enlarge
from segcourse.fcn_networks import he_initialise
from segcourse.receptive_field import Field, receptive_field

LIGHT_RATES = (1, 1, 2, 4, 1)
"""For scenes of 128 px, whose maps at stride 8 have 16 cells a side: rate 8 would read padding."""


class DilatedNet(nn.Module):
    """Scores of a front end, a context module if there is one, and the way back to the image.

    Shapes: (N, 3, H, W), H and W from 32 up, to logits (N, K, H, W).

    Args:
        front_end: layers from the image to scores (N, K, h, w).
        num_classes: K.
        context: from scores to scores of the same shape; none for the front end alone.

    Raises:
        ValueError: a layer without a fixed window; forward is given an image below 32 pixels.
    """

    def __init__(
        self, front_end: nn.Sequential, num_classes: int, context: nn.Sequential | None = None
    ):
        super().__init__()
        self.front_end, self.num_classes = front_end, num_classes
        self.context = nn.Sequential() if context is None else context
        # The context module has stride 1 and is centred: it moves no cell.
        self.coarse = receptive_field(front_end)
        self.enlarge = Enlarge(num_classes, self.coarse, Field(), learned=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float to logits (N, K, H, W)."""
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < 32:
            raise ValueError(
                f"got an image of shape {tuple(image.shape)}, need (N, 3, H, W) with H and W from "
                "32 up: add the batch axis, or resize or pad the image"
            )
        return self.enlarge(self.context(self.front_end(image)), image.shape[2:])


def front_end_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> nn.Sequential:
    """VGG16 without pool4 and pool5: conv5 at rate 2, fc6 as 7x7 at rate 4, fc7, scores.

    The paper takes these pools out; `segcourse.dilate.dilate` would keep them at stride 1. Its
    layers do not pad, and the image is enlarged by mirroring; here every layer pads with zeros.

    Args:
        num_classes: K.
        weights: random, or `torchvision.models.VGG16_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    layers, rate, pools = [], 1, 0
    for layer in nn.Sequential(*backbones.vgg16(weights).stages).modules():
        if isinstance(layer, nn.MaxPool2d):
            pools += 1
            if pools <= 3:
                layers.append(layer)
            else:
                rate *= 2
        elif isinstance(layer, nn.Conv2d):
            layer.dilation = layer.padding = (rate, rate)
            layers.append(layer)
        elif isinstance(layer, nn.ReLU):
            layers.append(layer)
    fc6 = nn.Conv2d(512, 4096, 7, padding=3 * rate, dilation=rate)
    fc7 = nn.Conv2d(4096, 4096, 1)
    score = small_scores(4096, num_classes)
    head = nn.Sequential(fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), nn.Dropout(), score)
    front_end = nn.Sequential(*layers, *head)
    if weights is None:
        return he_initialise(front_end, keep=score)
    trained = models.vgg16(weights=weights).classifier
    for conv, linear in zip((fc6, fc7), (trained[0], trained[3]), strict=True):
        conv.load_state_dict({"weight": linear.weight.view_as(conv.weight), "bias": linear.bias})
    return front_end


def front_end_light(
    num_classes: int, output_stride: int = 8, widths: Sequence[int] = (16, 32, 64, 96, 128)
) -> nn.Sequential:
    """The light backbone at a finer output stride, and a head of one 3x3 convolution.

    Args:
        num_classes: K.
        output_stride: 8 as in the paper, or another that the backbone passes.
        widths: of the backbone's stages.

    Raises:
        ValueError: as `dilate`.
    """
    width, score = widths[-1], small_scores(widths[-1], num_classes)
    head = [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    layers = nn.Sequential(*LightBackbone(widths).stages, *head, score)
    return dilate(he_initialise(layers, keep=score), output_stride)


def rate_stack(num_classes: int, rates: Sequence[int], width: int = 24) -> DilatedNet:
    """One strided layer and a stack of 3x3 convolutions: the rates set the field, nothing else.

    Parameters and multiply-adds do not depend on the rates. A score sees 3 + 4 sum(rates) pixels.

    Args:
        num_classes: K.
        rates: of the layers after the strided one, in order.
        width: channels of every layer.
    """
    layers, before = [], 3
    for rate, stride in ((1, 2), *((rate, 1) for rate in rates)):
        conv = nn.Conv2d(before, width, 3, stride, padding=rate, dilation=rate, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    score = small_scores(width, num_classes)
    front_end = he_initialise(nn.Sequential(*layers, score), keep=score)
    return DilatedNet(front_end, num_classes)


def small_scores(in_channels: int, num_classes: int) -> nn.Conv2d:
    """A 1x1 score layer that starts near zero, not at zero.

    Behind scores of exactly zero the ReLUs of a context module pass no gradient, and nothing would
    ever be learned.
    """
    layer = nn.Conv2d(in_channels, num_classes, 1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def dilated_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DilatedNet:
    """The front end on VGG16 alone, 134 million parameters with 21 classes.

    Raises:
        DataError: the weights cannot be fetched.
    """
    return DilatedNet(front_end_vgg16(num_classes, weights), num_classes)


def dilated_context_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DilatedNet:
    """The front end on VGG16 and the Basic context module behind it.

    Raises:
        DataError: the weights cannot be fetched.
    """
    front_end = front_end_vgg16(num_classes, weights)
    return DilatedNet(front_end, num_classes, context_basic(num_classes))


def dilated_light(num_classes: int) -> DilatedNet:
    """The light front end alone: 0.6 million parameters."""
    return DilatedNet(front_end_light(num_classes), num_classes)


def dilated_context_light(num_classes: int) -> DilatedNet:
    """The light front end and a Basic context module that fits small scenes."""
    context = context_basic(num_classes, LIGHT_RATES)
    return DilatedNet(front_end_light(num_classes), num_classes, context)


@torch.no_grad()
def plug_in(source: DilatedNet, target: DilatedNet) -> None:
    """Give a network with a context module the front end of one without, in place.

    The context module keeps its own weights: as built it hands the scores on, so the label map
    stays as it was wherever a score is above zero, and training goes on from there.

    Args:
        source: a trained front end; keeps its weights.
        target: of the same front end and number of classes, with a context module.

    Raises:
        UsageError: another number of classes, another front end, or a context module in the
            source that the target lacks.
    """
    if source.num_classes != target.num_classes:
        raise UsageError(
            f"the front end scores {source.num_classes} classes and the context module takes "
            f"{target.num_classes}: build both for the same data set"
        )
    if len(source.context):
        raise UsageError(
            "the source has a context module already: start from a front end alone, or from a run "
            "of the same model"
        )
    given, own = source.front_end.state_dict(), target.front_end.state_dict()
    unlike = [n for n in {**given, **own} if n not in given or n not in own]
    unlike += [n for n in given if n in own and given[n].shape != own[n].shape]
    if unlike:
        raise UsageError(
            f"{unlike[0]} is in one front end and not in the other, or of another shape, and so "
            f"are {len(unlike) - 1} more: build both on one network"
        )
    target.front_end.load_state_dict(given)
