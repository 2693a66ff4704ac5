"""Networks that turn an image into feature maps at several strides, under one contract.

Every chapter's model takes a backbone: `forward` gives a list of feature maps, fine to coarse,
and `channels` and `strides` say what to expect. `LightBackbone` trains on a CPU in seconds; the
others are torchvision's classifiers without their last layers (first used in book/fcn.ipynb).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

from segcourse.errors import DataError


class Backbone(nn.Module):
    """Stages in a row; the output of each is a feature map.

    Shapes: image (N, 3, H, W), H and W at least 32, to a list with (N, channels[i], h, w) for
    stage i. h grows by one for every strides[i] rows of the image and is H / strides[i] to within
    two; the exact rounding is each network's own, so crop or resize by the sizes you get.

    Args:
        stages: modules applied one after the other.
        channels: of each stage's output.
        strides: image pixels from one feature to the next, for each stage.

    Raises:
        ValueError: the three differ in length; forward is given a smaller image. torch's own
            batch norm refuses one image of 32 pixels in training mode, whose last map is 1x1.
    """

    def __init__(
        self, stages: Sequence[nn.Module], channels: Sequence[int], strides: Sequence[int]
    ):
        super().__init__()
        if not len(stages) == len(channels) == len(strides) > 0:
            raise ValueError(
                f"{len(stages)} stages, {len(channels)} channels and {len(strides)} strides: "
                "give one of each for every stage"
            )
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = tuple(channels), tuple(strides)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) float to feature maps, fine to coarse."""
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < 32:
            raise ValueError(
                f"got an image of shape {tuple(image.shape)}, need (N, 3, H, W) with H and W from "
                "32 up: add the batch axis, or resize or pad the image"
            )
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


class LightBackbone(Backbone):
    """A small network with strides 2, 4, 8, 16, 32: two 3x3 convolutions a stage, batch norm.

    Its maps are ceil(H / stride) rows high. 0.47 million parameters by default.

    Args:
        widths: channels of each stage, one to five of them; fewer stages stop at a finer stride.

    Raises:
        ValueError: no widths, or more than five.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96, 128)):
        if not 1 <= len(widths) <= 5:
            raise ValueError(f"{len(widths)} widths: give one to five, for strides 2, 4, 8, 16, 32")
        stages = []
        for before, after in zip((3, *widths), widths, strict=False):
            layers = []
            for in_channels, stride in ((before, 2), (after, 1)):
                layers += [
                    nn.Conv2d(in_channels, after, 3, stride=stride, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
            stages.append(nn.Sequential(*layers))
        super().__init__(stages, widths, [2 ** (i + 1) for i in range(len(widths))])


def alexnet(weights: WeightsEnum | None = None) -> Backbone:
    """AlexNet's convolutions (Krizhevsky 2014), strides 4, 8, 16, each map after its ReLU.

    Args:
        weights: random, or `torchvision.models.AlexNet_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    layers = _built(models.alexnet, weights).features
    return Backbone([layers[:2], layers[2:5], layers[5:12]], (64, 192, 256), (4, 8, 16))


def vgg16(weights: WeightsEnum | None = None) -> Backbone:
    """VGG16's convolutions (Simonyan, Zisserman 2015), each map after a pool: strides 2 to 32.

    Args:
        weights: random, or `torchvision.models.VGG16_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    layers = _built(models.vgg16, weights).features
    ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    stages = [layers[start:end] for start, end in zip((0, *ends), ends, strict=False)]
    return Backbone(stages, (64, 128, 256, 512, 512), (2, 4, 8, 16, 32))


class ToUnitRange(nn.Module):
    """From ImageNet's mean and deviation to the -1..1 that GoogLeNet's weights were trained on.

    Args:
        like: a tensor whose dtype and device to take; torch's defaults without one.
    """

    def __init__(self, like: Tensor | None = None):
        super().__init__()
        mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)
        std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)
        scale, shift = (std / 0.5).reshape(1, 3, 1, 1), ((mean - 0.5) / 0.5).reshape(1, 3, 1, 1)
        like = torch.empty(0) if like is None else like
        self.register_buffer("scale", scale.to(like), persistent=False)
        self.register_buffer("shift", shift.to(like), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) normalised as for the other networks, to the same shape in -1..1."""
        return image * self.scale + self.shift


def googlenet(weights: WeightsEnum | None = None) -> Backbone:
    """GoogLeNet without its classifiers (Szegedy et al. 2015), strides 2 to 32.

    Args:
        weights: random, or `torchvision.models.GoogLeNet_Weights.DEFAULT`, fetched on first use.
            The image is normalised as for the others either way.

    Raises:
        DataError: the weights cannot be fetched.
    """
    if weights is None:
        net = models.googlenet(weights=None, aux_logits=False, init_weights=True)
        first = [net.conv1]
    else:
        net = _built(models.googlenet, weights)
        first = [ToUnitRange(), net.conv1]
    stages = [
        nn.Sequential(*first),
        nn.Sequential(net.maxpool1, net.conv2, net.conv3),
        nn.Sequential(net.maxpool2, net.inception3a, net.inception3b),
        nn.Sequential(
            net.maxpool3,
            *(net.inception4a, net.inception4b, net.inception4c, net.inception4d, net.inception4e),
        ),
        nn.Sequential(net.maxpool4, net.inception5a, net.inception5b),
    ]
    return Backbone(stages, (64, 192, 480, 832, 1024), (2, 4, 8, 16, 32))


def resnet50(weights: WeightsEnum | None = None) -> Backbone:
    """ResNet-50 without its classifier (He et al. 2016), strides 2 to 32.

    Args:
        weights: random, or `torchvision.models.ResNet50_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    return _resnet(_built(models.resnet50, weights))


def resnet101(weights: WeightsEnum | None = None) -> Backbone:
    """ResNet-101 without its classifier (He et al. 2016), strides 2 to 32.

    Args:
        weights: random, or `torchvision.models.ResNet101_Weights.DEFAULT`, fetched on first use.

    Raises:
        DataError: the weights cannot be fetched.
    """
    return _resnet(_built(models.resnet101, weights))


def _resnet(net: models.ResNet) -> Backbone:
    stages = [
        nn.Sequential(net.conv1, net.bn1, net.relu),
        nn.Sequential(net.maxpool, net.layer1),
        *(net.layer2, net.layer3, net.layer4),
    ]
    return Backbone(stages, (64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32))


def _built(builder: Callable[..., nn.Module], weights: WeightsEnum | None) -> nn.Module:
    """torchvision's network; trouble with the network connection becomes one clear error."""
    try:
        return builder(weights=weights)
    except OSError as error:  # URLError, a timeout and a full disk are all OSErrors
        folder = torch.hub.get_dir() + "/checkpoints"
        raise DataError(
            f"the weights {weights} could not be fetched ({error}): connect to the network, or "
            f"put the file of {weights.url} into {folder}, or pass weights=None for random ones"
        ) from error
