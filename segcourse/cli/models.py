"""The models that `--model` names: one line a model, and how the patch classifier is used.

To add a model, write its builder here; it must meet the model contract, (N, 3, H, W) float in,
(N, K, H, W) logits out at the input's size, any H and W.
"""

import argparse
from collections.abc import Callable

import torch
from torch import nn

from segcourse.deconvnet import deconvnet_light, deconvnet_vgg16
from segcourse.deeplab_networks import (
    aspp_l_light,
    aspp_l_vgg16,
    aspp_s_light,
    aspp_s_vgg16,
    deeplab_v3_light,
    deeplab_v3_resnet50,
    deeplab_v3_resnet101,
    largefov_light,
    largefov_vgg16,
)
from segcourse.dilated_networks import (
    DilatedNet,
    dilated_context_light,
    dilated_context_vgg16,
    dilated_light,
    dilated_vgg16,
    plug_in,
)
from segcourse.errors import UsageError
from segcourse.fcn import FCN, hand_over
from segcourse.fcn_networks import fcn_alexnet, fcn_googlenet, fcn_light, fcn_vgg16
from segcourse.full_resolution import FullResolutionNet
from segcourse.residual_unet import residual_unet, with_group_norm
from segcourse.segnet import segnet_light, segnet_vgg16
from segcourse.sliding_window import PatchClassifier, SlidingWindow
from segcourse.unet import UNet, double_conv_norm, unet_light

MODELS: dict[str, Callable[[int], nn.Module]] = {
    "full-resolution": FullResolutionNet,
    "patch": lambda num_classes: PatchClassifier(31, num_classes, stride=2),
    "fcn32s-vgg16": fcn_vgg16,
    "fcn16s-vgg16": lambda num_classes: fcn_vgg16(num_classes, (16,)),
    "fcn8s-vgg16": lambda num_classes: fcn_vgg16(num_classes, (16, 8)),
    "fcn-alexnet": fcn_alexnet,
    "fcn-googlenet": fcn_googlenet,
    "fcn32s-light": fcn_light,
    "fcn16s-light": lambda num_classes: fcn_light(num_classes, (16,)),
    "fcn8s-light": lambda num_classes: fcn_light(num_classes, (16, 8)),
    # The paper's layout with its convolutions padded, and batch norm, which the paper had not.
    "unet": lambda num_classes: UNet(3, num_classes, block=double_conv_norm),
    "unet-light": unet_light,
    "unet-narrow": lambda num_classes: UNet(3, num_classes, 4, 32, block=double_conv_norm),
    "unet-tiny": lambda num_classes: UNet(3, num_classes, 4, 8, block=double_conv_norm),
    # U-Net with residual blocks, ASPP at the bottom, and half the resolution; 8 to 64 wide.
    "unet-aspp-tiny": lambda num_classes: residual_unet(num_classes, 8),
    "unet-aspp-light": lambda num_classes: residual_unet(num_classes, 16),
    "unet-aspp-light-group": lambda K: with_group_norm(residual_unet(K, 16)),
    "unet-aspp": residual_unet,
    "unet-aspp-wide": lambda num_classes: residual_unet(num_classes, 64),
    "unet-aspp-wide-group": lambda K: with_group_norm(residual_unet(K, 64)),
    "deconvnet": deconvnet_vgg16,
    "segnet": segnet_vgg16,
    "deconvnet-light": deconvnet_light,
    "segnet-light": segnet_light,
    # Yu and Koltun's front end at stride 8, and with the Basic context module behind it.
    "dilated-vgg16": dilated_vgg16,
    "dilated-context-vgg16": dilated_context_vgg16,
    "dilated-light": dilated_light,
    "dilated-context-light": dilated_context_light,
    # DeepLab v2 on VGG16 with one rate and with four, and v3.
    "largefov-vgg16": largefov_vgg16,
    "aspp-s-vgg16": aspp_s_vgg16,
    "aspp-l-vgg16": aspp_l_vgg16,
    "deeplab-v3-resnet50": deeplab_v3_resnet50,
    "deeplab-v3-resnet101": deeplab_v3_resnet101,
    "largefov-light": largefov_light,
    "aspp-s-light": aspp_s_light,
    "aspp-l-light": aspp_l_light,
    "deeplab-v3-light": deeplab_v3_light,
}
"""Name to builder; a builder takes the number of classes K."""

HAND_OVERS: dict[type[nn.Module], Callable[[nn.Module, nn.Module], object]] = {
    FCN: hand_over,
    DilatedNet: plug_in,
}
"""Class to (trained, new): both of the class, of which the new one has layers that the trained one
lacks. It copies in place what has its place in the new one; `--start` uses it."""


def add_model(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --model to what measures a network."""
    parser.add_argument(
        "--model",
        choices=tuple(MODELS),
        default=default,
        metavar="NAME",
        help=f"one of {', '.join(MODELS)}",
    )


def build(name: str, num_classes: int, seed: int) -> nn.Module:
    """Build a model with the weights that `seed` gives; the global random state stays as it was.

    Raises:
        UsageError: no model has this name.
    """
    if name not in MODELS:
        raise UsageError(f"--model {name} is not known: use one of {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch every GPU
        return MODELS[name](num_classes)


def trains_on_patches(model: nn.Module) -> bool:
    """Whether a training step takes windows with one label each, in place of whole images."""
    return isinstance(model, PatchClassifier)


def as_dense(model: nn.Module) -> nn.Module:
    """The model as a segmentation network: a patch classifier is slid over the image."""
    return SlidingWindow(model) if trains_on_patches(model) else model
