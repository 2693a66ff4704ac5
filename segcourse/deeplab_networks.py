"""The DeepLabs of the papers on VGG16 and ResNets, and light ones (book/aspp.ipynb).

All score every eighth pixel. The rates are the papers', which chose them for maps of 65x65; on a
small image most of a wide kernel's taps lie outside of the map (`segcourse.aspp.valid_taps`).
"""

from torchvision.models import WeightsEnum

from segcourse.aspp import RATES_L, RATES_S
from segcourse.backbones import LightBackbone, resnet50, resnet101, vgg16
from segcourse.deeplab import DeepLab, deeplab_v2, deeplab_v3

LARGE_FOV = (12,)
"""LargeFOV's one rate at output stride 8 (Chen et al. 2018, table 1)."""

LIGHT_WIDTH, LIGHT_DROPOUT = 64, 0.1
"""Of the heads of the light networks: few channels, so few are dropped."""


def largefov_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DeepLab:
    """DeepLab-LargeFOV: VGG16 with fc6 as a 3x3 kernel at rate 12.

    Args:
        num_classes: K.
        weights: of the convolutions before fc6: random, or torchvision's, fetched on first use.
            The papers sample fc6 and fc7 from the classifier's, too; here both start random.

    Raises:
        DataError: the weights cannot be fetched.
    """
    return deeplab_v2(vgg16(weights), num_classes, LARGE_FOV)


def aspp_s_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DeepLab:
    """ASPP-S, rates 2, 4, 8, 12, on VGG16. Arguments and errors as in `largefov_vgg16`."""
    return deeplab_v2(vgg16(weights), num_classes, RATES_S)


def aspp_l_vgg16(num_classes: int, weights: WeightsEnum | None = None) -> DeepLab:
    """ASPP-L, rates 6, 12, 18, 24, on VGG16. Arguments and errors as in `largefov_vgg16`."""
    return deeplab_v2(vgg16(weights), num_classes, RATES_L)


def deeplab_v3_resnet50(num_classes: int, weights: WeightsEnum | None = None) -> DeepLab:
    """DeepLab v3 on ResNet-50; it trains with two images or more a batch.

    Args:
        num_classes: K.
        weights: of the backbone: random, or torchvision's, fetched on first use.
            `segcourse.deeplab.load_torchvision` fills the head, too.

    Raises:
        DataError: the weights cannot be fetched.
    """
    return deeplab_v3(resnet50(weights), num_classes)


def deeplab_v3_resnet101(num_classes: int, weights: WeightsEnum | None = None) -> DeepLab:
    """DeepLab v3 on ResNet-101. Arguments and errors as in `deeplab_v3_resnet50`."""
    return deeplab_v3(resnet101(weights), num_classes)


def largefov_light(num_classes: int) -> DeepLab:
    """LargeFOV on the light backbone: 0.5 million parameters."""
    return deeplab_v2(LightBackbone(), num_classes, LARGE_FOV, LIGHT_WIDTH, LIGHT_DROPOUT)


def aspp_s_light(num_classes: int) -> DeepLab:
    """ASPP-S on the light backbone: 0.8 million parameters."""
    return deeplab_v2(LightBackbone(), num_classes, RATES_S, LIGHT_WIDTH, LIGHT_DROPOUT)


def aspp_l_light(num_classes: int) -> DeepLab:
    """ASPP-L on the light backbone: 0.8 million parameters."""
    return deeplab_v2(LightBackbone(), num_classes, RATES_L, LIGHT_WIDTH, LIGHT_DROPOUT)


def deeplab_v3_light(num_classes: int) -> DeepLab:
    """DeepLab v3's head, 256 channels wide, on the light backbone."""
    return deeplab_v3(LightBackbone(), num_classes)
