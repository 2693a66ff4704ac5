"""DeepLab: a dilated backbone, a head, and one bilinear resize (book/aspp.ipynb).

The heads are in `segcourse.aspp`, the dilation in `segcourse.dilate`. What is trained at one output
stride can be used at another: the weights do not know the stride, only the rates do.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.aspp import ASPP, RATES_L, RATES_V3, ASPPv3
from segcourse.backbones import Backbone
from segcourse.dilate import dilate


class DeepLab(nn.Module):
    """Score the coarsest map of a backbone and enlarge the scores bilinearly.

    Shapes: image (N, 3, H, W), H and W at least 32, to logits (N, K, H, W).

    Args:
        backbone: dilated to the output stride that the head's rates are for.
        head: (N, backbone.channels[-1], h, w) to (N, K, h, w).
    """

    def __init__(self, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        scores = self.head(self.backbone(image)[-1])  # (N, K, h, w)
        return F.interpolate(scores, image.shape[2:], mode="bilinear", align_corners=False)


def deeplab_v2(
    backbone: Backbone,
    num_classes: int,
    rates: Sequence[int] = RATES_L,
    width: int = 1024,
    dropout: float = 0.5,
    output_stride: int = 8,
) -> DeepLab:
    """DeepLab v2: ASPP behind a dilated backbone; with a single rate it is LargeFOV.

    Args:
        backbone: not dilated, as `vgg16()`; a copy is dilated.
        num_classes: K.
        rates: of the branches, at the output stride: `RATES_S`, `RATES_L`, or (12,) for LargeFOV.
        width: channels of fc6 and fc7 in every branch.
        dropout: of fc6 and fc7 in training.
        output_stride: the paper's 8, or another that the backbone passes.

    Raises:
        ValueError: what `dilate` and `ASPP` refuse.
    """
    head = ASPP(backbone.channels[-1], num_classes, rates, width, dropout)
    return DeepLab(dilate(backbone, output_stride), head)


def rates_at(output_stride: int, rates: tuple[int, ...] = RATES_V3, stated_at: int = 8):
    """Rates that see as many image pixels at another output stride (v3, section 3.3).

    Args:
        output_stride: image pixels from one feature to the next.
        rates: in feature pixels, at the output stride `stated_at`.
        stated_at: see above.

    Raises:
        ValueError: a rate would not be whole.

    >>> rates_at(16)
    (6, 12, 18)
    """
    if any(rate * stated_at % output_stride for rate in rates):
        raise ValueError(
            f"rates {rates} at output stride {stated_at} are not whole at {output_stride}: give "
            f"rates that {output_stride} divides after multiplying by {stated_at}"
        )
    return tuple(rate * stated_at // output_stride for rate in rates)


def deeplab_v3(backbone: Backbone, num_classes: int, output_stride: int = 8) -> DeepLab:
    """DeepLab v3: atrous rates (12, 24, 36) at output stride 8, and as wide a view at others.

    A model trained at 16 is used at 8 by loading its weights into one that is built with 8, as
    v3's section 4.1 does: the rates double, and no weight changes.

    Args:
        backbone: not dilated, as `resnet50()`; a copy is dilated.
        num_classes: K.
        output_stride: 8, 16 or 32.

    Raises:
        ValueError: what `dilate` refuses.
    """
    head = ASPPv3(backbone.channels[-1], num_classes, rates_at(output_stride))
    return DeepLab(dilate(backbone, output_stride), head)


_PARTS = {
    "backbone.conv1": "backbone.stages.0.0",
    "backbone.bn1": "backbone.stages.0.1",
    "backbone.layer1": "backbone.stages.1.1",
    "backbone.layer2": "backbone.stages.2",
    "backbone.layer3": "backbone.stages.3",
    "backbone.layer4": "backbone.stages.4",
    **{f"classifier.0.convs.{i}": f"head.branches.{i}" for i in range(4)},
    # torchvision pools inside the branch, so its convolution is number 1 and its norm number 2.
    "classifier.0.convs.4.1": "head.branches.4.project.0",
    "classifier.0.convs.4.2": "head.branches.4.project.1",
    "classifier.0.project": "head.join",
    **{f"classifier.{i + 1}": f"head.score.{i}" for i in (0, 1)},
    "classifier.4": "head.score.3",
}
"""Where each part of torchvision's deeplabv3_resnet50 and _101 lies in ours."""


def load_torchvision(model: DeepLab, state: Mapping[str, Tensor]) -> None:
    """Give `deeplab_v3(resnet50(), K)` (or 101) the weights of torchvision's model of that name.

    Args:
        model: the one to fill, in place.
        state: torchvision's `state_dict()`; its auxiliary classifier is left out.

    Raises:
        ValueError: the number of classes differs, or the weights are another network's.
    """
    found = {}
    for name, value in state.items():
        if name.startswith("aux_classifier"):
            continue
        part = next((p for p in sorted(_PARTS, reverse=True) if name.startswith(p + ".")), None)
        if part is None:
            raise ValueError(
                f"{name} is not a part of torchvision's deeplabv3 on a ResNet: give the "
                "state_dict() of deeplabv3_resnet50 or deeplabv3_resnet101"
            )
        found[_PARTS[part] + name.removeprefix(part)] = value
    own = model.state_dict()
    score = "head.score.3.weight"
    if score in found and found[score].shape != own[score].shape:
        raise ValueError(
            f"the weights are for {len(found[score])} classes and the model has "
            f"{len(own[score])}: build the model with {len(found[score])} classes, or train "
            "a new score layer"
        )
    wrong = sorted(
        name
        for name in found.keys() ^ own.keys()
        | {name for name in found.keys() & own.keys() if found[name].shape != own[name].shape}
    )
    if wrong:
        raise ValueError(
            f"{len(wrong)} tensors do not fit, {wrong[0]} first: ResNet-50 and ResNet-101 each "
            "need their own weights"
        )
    model.load_state_dict(found)
