"""A classifier is already a dense predictor: its linear layers are convolutions (book/fcn.ipynb).

A linear layer that reads a 7x7 map is a 7x7 convolution that fits at one place only. Written as
one, the same weights give the same logits at the native size, and on a larger image a grid of
them: fc6 becomes 7x7 (6x6 for AlexNet), fc7 and fc8 become 1x1 (Long et al. 2015, section 3.1).
"""

import copy
import math

import torch
from torch import Tensor, nn
from torchvision import models

from segcourse.backbones import ToUnitRange
from segcourse.receptive_field import POINTWISE, output_size, receptive_field


class DenseClassifier(nn.Module):
    """A classifier as a network of convolutions only: a grid of logits, one for each window.

    Shapes: (N, 3, H, W), H and W from `size` up, to (N, K, h, w).

    Args:
        layers: the convolutions, in order.
        size: (H, W) in pixels at which the grid is 1x1.
    """

    def __init__(self, layers: nn.Sequential, size: tuple[int, int]):
        super().__init__()
        self.layers, self.size = layers, tuple(size)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float to logits (N, K, h, w)."""
        H, W = image.shape[-2:]
        if self.size[0] > H or self.size[1] > W:
            raise ValueError(
                f"an image of {H}x{W} is smaller than the {self.size[0]}x{self.size[1]} that the "
                "classifier takes: enlarge or pad it"
            )
        return self.layers(image)


def convolutionalize(classifier: nn.Module, size: tuple[int, int] = (224, 224)) -> DenseClassifier:
    """Write a classifier's linear layers as convolutions, so that it takes any larger image.

    The numbers are shared, not copied: training one trains the other. The layers are new, so the
    classifier's own layers, shapes and mode stay as they are. An adaptive average pool, which
    would squeeze a larger map into one vector, becomes what it does at the native size: nothing
    for AlexNet and VGG16, a 7x7 average pool of stride 1 for GoogLeNet.

    A layer that pads sees zeros at the border of a crop, and the neighbouring pixels at the same
    place of a larger image. So only an unpadded network's grid equals its crops one by one; see
    `unpadded`.

    Args:
        classifier: torchvision's AlexNet, VGG or GoogLeNet, or an `nn.Sequential` of
            convolutions, pools, pointwise layers, one `nn.Flatten` and linear layers.
        size: native (H, W) in pixels, where the grid is 1x1.

    Returns:
        A network whose logits (N, K, 1, 1) at the native size are the classifier's.

    Raises:
        ValueError: a layer that cannot be turned, or a size that does not fit the linear layers.
    """
    layers = _layers(classifier)
    at = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)]
    if len(at) != 1:
        raise ValueError(
            f"{type(classifier).__name__} has {len(at)} nn.Flatten layers, need 1 between the "
            "convolutions and the linear layers: without one it gives a grid already"
        )
    if (layers[at[0]].start_dim, layers[at[0]].end_dim) != (1, -1):
        raise ValueError(f"{layers[at[0]]} does not turn a map into one vector: use nn.Flatten()")
    convolutions, grid = _without_adaptive_pools(layers[: at[0]], size)
    turned = []
    for layer in layers[at[0] + 1 :]:
        turned.append(_turned(layer, grid))
        grid = (1, 1) if isinstance(layer, nn.Linear) else grid
    if grid != (1, 1):
        raise ValueError("no nn.Linear follows the nn.Flatten: there is nothing to turn")
    first = next(layer for layer in turned if isinstance(layer, nn.Conv2d))
    channels = _channels(convolutions)
    if channels and first.in_channels != channels:
        raise ValueError(
            f"at {size[0]}x{size[1]} the linear layers are given {channels} channels of "
            f"{first.kernel_size[0]}x{first.kernel_size[1]}, and the first takes "
            f"{first.weight[0].numel()} numbers: give the size that the classifier was built for"
        )
    dense = DenseClassifier(nn.Sequential(*convolutions, *turned), size)
    return dense.train(classifier.training)


def unpadded(dense: DenseClassifier) -> DenseClassifier:
    """The same weights without zero padding: then the grid equals every crop by itself, exactly.

    A window grows to all that a unit sees, for AlexNet from 224 to 355 pixels; its score is not
    the padded network's. Numbers are shared, layers are new.

    Args:
        dense: of layers in a row (AlexNet, VGG16; not GoogLeNet, whose branches would not meet).

    Returns:
        A network whose native size is its receptive field.

    Raises:
        ValueError: the network has branches.
    """
    layers = _alias(dense.layers)
    for layer in layers:
        if list(layer.children()):
            raise ValueError(
                f"{type(layer).__name__} has branches, which differ in size without padding: "
                "give layers in a row, as AlexNet's and VGG16's are"
            )
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.padding = (0, 0) if isinstance(layer, nn.Conv2d) else 0
    size = (receptive_field(layers, 0).size, receptive_field(layers, 1).size)
    return DenseClassifier(layers, size).train(dense.training)


def class_heat_map(logits: Tensor, label: int) -> Tensor:
    """Probability of one class at each place of a grid.

    Args:
        logits: (N, K, h, w), unnormalised.
        label: the class, in 0..K-1.

    Returns:
        (N, h, w) in 0..1.

    Raises:
        ValueError: the class is outside 0..K-1.
    """
    if not 0 <= label < logits.shape[1]:
        raise ValueError(f"class {label} of {logits.shape[1]}: give 0 to {logits.shape[1] - 1}")
    return logits.softmax(1)[:, label]


def _layers(classifier: nn.Module) -> list[nn.Module]:
    """The classifier as a row of layers, in the order of its forward."""
    if isinstance(classifier, models.AlexNet | models.VGG):
        return [*classifier.features, classifier.avgpool, nn.Flatten(), *classifier.classifier]
    if isinstance(classifier, models.GoogLeNet):
        c = classifier
        return [
            *([ToUnitRange(c.fc.weight)] if c.transform_input else []),
            *(c.conv1, c.maxpool1, c.conv2, c.conv3, c.maxpool2),
            *(c.inception3a, c.inception3b, c.maxpool3),
            *(c.inception4a, c.inception4b, c.inception4c, c.inception4d, c.inception4e),
            *(c.maxpool4, c.inception5a, c.inception5b),
            *(c.avgpool, nn.Flatten(), c.dropout, c.fc),
        ]
    if isinstance(classifier, nn.Sequential):
        return [
            layer
            for child in classifier
            for layer in (_layers(child) if isinstance(child, nn.Sequential) else [child])
        ]
    raise ValueError(
        f"{type(classifier).__name__} is not known: give torchvision's AlexNet, VGG or GoogLeNet, "
        "or write the classifier as one nn.Sequential"
    )


def _without_adaptive_pools(
    layers: list[nn.Module], size: tuple[int, int]
) -> tuple[list[nn.Module], tuple[int, int]]:
    """The layers before the Flatten, adaptive pools replaced, and the (h, w) that they give."""
    out, grid = [], tuple(size)
    for layer in layers:
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            layer = _fixed_pool(layer, grid)
        try:
            grid = output_size(layer, grid)
        except ValueError as error:
            raise ValueError(
                f"the convolutions do not take {size[0]}x{size[1]}: {error}"
            ) from error
        out.append(_alias(layer))
    return out, grid


def _fixed_pool(layer: nn.Module, grid: tuple[int, int]) -> nn.Module:
    want = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
    want = tuple(w or n for w, n in zip(want, grid, strict=True))  # None keeps an axis as it is
    if want == grid:
        return nn.Identity()
    if any(n % w for n, w in zip(grid, want, strict=True)):
        raise ValueError(
            f"{layer} makes windows of unlike size of a {grid[0]}x{grid[1]} map, which no pool "
            "does: give a size at which they are alike"
        )
    kernel = tuple(n // w for n, w in zip(grid, want, strict=True))
    # One window alone needs no stride: with 1 the larger image gets the densest grid.
    stride = tuple(1 if w == 1 else k for k, w in zip(kernel, want, strict=True))
    pool = nn.AvgPool2d if isinstance(layer, nn.AdaptiveAvgPool2d) else nn.MaxPool2d
    return pool(kernel, stride)


def _turned(layer: nn.Module, grid: tuple[int, int]) -> nn.Module:
    """A layer after the Flatten as one that works at every place of a map."""
    if isinstance(layer, nn.Linear):
        if layer.in_features % math.prod(grid):
            raise ValueError(
                f"{layer} cannot read a map of {grid[0]}x{grid[1]}: give the size that the "
                "classifier was built for"
            )
        channels = layer.in_features // math.prod(grid)
        with torch.device("meta"):
            conv = nn.Conv2d(channels, layer.out_features, grid, bias=layer.bias is not None)
        conv.weight = _same_numbers(layer.weight, (layer.out_features, channels, *grid))
        if layer.bias is not None:
            conv.bias = _same_numbers(layer.bias, layer.bias.shape)
        return conv
    if isinstance(layer, nn.BatchNorm1d) and grid == (1, 1):
        twin = _alias(layer)
        twin.__class__ = nn.BatchNorm2d  # the same statistics, now at every place
        return twin
    if isinstance(layer, nn.Softmax | nn.LogSoftmax) and layer.dim == 1:
        return _alias(layer)
    if isinstance(layer, POINTWISE) and not isinstance(layer, nn.BatchNorm2d):
        return _alias(layer)
    raise ValueError(
        f"{layer} after the Flatten cannot be turned: linear and pointwise layers can, and batch "
        "norm after the first linear layer"
    )


def _channels(layers: list[nn.Module]) -> int | None:
    """Channels that the convolutions put out, where the last of them is a plain one."""
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            return layer.out_channels
        if list(layer.children()):
            return None
    return None


def _same_numbers(weight: nn.Parameter, shape: torch.Size | tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(weight.detach().view(shape), requires_grad=weight.requires_grad)


def _alias(layer: nn.Module) -> nn.Module:
    """A new layer whose parameters and buffers lie in the same memory."""
    tensors = [*layer.parameters(), *layer.buffers()]
    memo = {
        id(t): _same_numbers(t, t.shape) if isinstance(t, nn.Parameter) else t.detach()
        for t in tensors
    }
    return copy.deepcopy(layer, memo)
