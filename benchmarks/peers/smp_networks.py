"""The networks of segmentation_models.pytorch that are nearest to ours in multiply-adds.

    pip install segmentation-models-pytorch

Only networks of the same family compare: smp.Unet with a U-Net, smp.DeepLabV3 with DeepLab v3. Of
the encoders and widths below the one counts whose multiply-adds are nearest. Weights are random.
"""

import importlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

MISSING = "segmentation_models.pytorch is not there: pip install segmentation-models-pytorch"

UNET_ENCODERS = ("resnet18", "resnet34", "vgg13_bn", "vgg16_bn", "vgg19_bn")
DEEPLAB_ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet101")


class Padded(nn.Module):
    """A network that takes only multiples of 32, behind the model contract: pad, then crop."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        H, W = image.shape[2:]
        return self.net(F.pad(image, (0, -W % 32, 0, -H % 32)))[..., :H, :W]


def candidates(family: str, num_classes: int) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names as one would type them, and what builds them; none for a family that smp lacks.

    Args:
        family: "unet", "deeplab-v3", or another.
        num_classes: K.
    """
    import segmentation_models_pytorch as smp

    if family == "unet":
        for encoder in UNET_ENCODERS:
            for depth in (3, 4, 5):
                for finest in (16, 64):
                    widths = tuple(finest * 2**i for i in reversed(range(depth)))
                    yield (
                        f'smp.Unet("{encoder}", {depth}, decoder_channels={widths})',
                        lambda e=encoder, d=depth, w=widths: smp.Unet(
                            e, d, encoder_weights=None, decoder_channels=w, classes=num_classes
                        ),
                    )
    if family == "deeplab-v3":
        for encoder in DEEPLAB_ENCODERS:
            for width in (64, 128, 256):
                yield (
                    f'smp.DeepLabV3("{encoder}", decoder_channels={width})',
                    lambda e=encoder, w=width: smp.DeepLabV3(
                        e, encoder_weights=None, decoder_channels=w, classes=num_classes
                    ),
                )


def nearest(
    family: str, num_classes: int, size: tuple[int, int], multiply_adds: float
) -> tuple[str, Callable[[], nn.Module]]:
    """The nearest network.

    Args:
        family: as in `candidates`.
        num_classes: K.
        size: (H, W) of the images in pixels.
        multiply_adds: of ours, a forward pass over one image.

    Returns:
        Its name, and what builds it; a network that refuses the size is `Padded`.

    Raises:
        LookupError: smp cannot be imported, or has nothing of this family; the text says which.
    """
    try:
        importlib.import_module("segmentation_models_pytorch")
    except ImportError as error:
        raise LookupError(f"{MISSING} ({error})") from error
    best = None
    for name, build in candidates(family, num_classes):
        with torch.device("meta"):
            net = build()
        padded, counted = _count(net, size)
        distance = abs(math.log(counted / multiply_adds))
        if best is None or distance < best[0]:
            best = distance, name, build, padded
    if best is None:
        raise LookupError(f"segmentation_models.pytorch has no network of the family {family}")
    _, name, build, padded = best
    if padded:
        return f"{name}, padded to multiples of 32", lambda: Padded(build())
    return name, build


def _count(net: nn.Module, size: tuple[int, int]) -> tuple[bool, int]:
    """Whether it has to be padded, and the multiply-adds of a forward pass over one image."""
    try:
        return False, _multiply_adds(net, size)
    except RuntimeError:
        return True, _multiply_adds(Padded(net), size)


def _multiply_adds(net: nn.Module, size: tuple[int, int]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() // 2
