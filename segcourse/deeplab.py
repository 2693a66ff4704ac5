"""DeepLab: a dilated backbone, a head, and one bilinear resize (book/aspp.ipynb).

The heads are in `segcourse.aspp`, the dilation in `segcourse.dilate`. What is trained at one output
stride can be used at another: the weights do not know the stride, only the rates do.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
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
        finer: how many times finer the grid is than the one on which the weights were trained.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, finer: int = 1):
        super().__init__()
        self.backbone, self.head, self.finer = backbone, head, finer

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the image's size."""
        scores = self.head(self.backbone(image)[-1])  # (N, K, h, w)
        return enlarge(scores, image.shape[2:], self.finer)


def enlarge(scores: Tensor, size: tuple[int, int], finer: int = 1) -> Tensor:
    """Bilinear scores at another size, each cell where it was in training.

    torch's bilinear resize, as torchvision's models use it, takes cell i of stride s to be at pixel
    s i + (s - 1) / 2. A network whose kernels are centred has it at s i, and learns to answer for a
    place (s - 1) / 2 pixels further. On a finer grid that place is as far from the cell as before,
    and the resize would put it nearer: by 4 pixels from stride 16 to 8. So a finer grid is read
    where the coarse one, which holds every `finer`-th of its cells, would have been.

    Args:
        scores: (N, K, h, w).
        size: (H, W) to enlarge to.
        finer: how many times finer the grid is than the one on which the weights were trained.
    """
    if finer == 1:
        return F.interpolate(scores, size, mode="bilinear", align_corners=False)
    # Half precision cannot count the pixels of an image.
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    axes = []
    for pixels, cells in zip(size, scores.shape[2:], strict=True):
        coarse = -(-cells // finer)
        at = torch.arange(pixels, dtype=exact.dtype, device=scores.device)
        at = finer * ((at + 0.5) * coarse / pixels - 0.5)
        axes.append(
            2 * at.clamp(0, cells - 1) / max(cells - 1, 1) - 1
        )  # to -1..1, the first and the last cell
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], dim=2).expand(len(scores), -1, -1, -1)
    return F.grid_sample(exact, grid, padding_mode="border", align_corners=True).to(scores.dtype)


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

    `at_finer_stride` uses a model at 8 that was trained at 16.

    Args:
        backbone: not dilated, as `resnet50()`; a copy is dilated.
        num_classes: K.
        output_stride: 8, 16 or 32.

    Raises:
        ValueError: what `dilate` refuses.
    """
    head = ASPPv3(backbone.channels[-1], num_classes, rates_at(output_stride))
    return DeepLab(dilate(backbone, output_stride), head)


def widen(head: nn.Module, factor: int = 2) -> nn.Module:
    """A copy of a head for a grid that is `factor` times finer: every rate times `factor`.

    Every rate means also those that are 1, as in the 3x3 that torchvision's v3 has before its
    scores. Where that one is left alone it looks at half the pixels it was trained to look at.
    At every `factor`-th position the copy gives what the head gave, but for image pooling, whose
    mean is over all positions.

    Args:
        head: convolutions with zero padding that keep the size; not changed.
        factor: how many times finer the grid is.

    Raises:
        ValueError: the factor is below 1.
    """
    if factor < 1:
        raise ValueError(f"factor is {factor}: give 1 or more")
    twin = copy.deepcopy(head)
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d):
            layer.dilation = tuple(factor * rate for rate in layer.dilation)
            layer.padding = tuple(factor * before for before in layer.padding)
    return twin


def at_finer_stride(model: DeepLab, backbone: Backbone, output_stride: int) -> DeepLab:
    """A trained DeepLab at a finer output stride: the same weights, all rates multiplied (v3, 4.2).

    Args:
        model: trained, at a coarser output stride; not changed.
        backbone: a network of the same layers, not dilated; its weights do not matter.
        output_stride: one that the backbone passes and that divides the model's.

    Returns:
        The new model, in evaluation mode: batch norm keeps the statistics of the coarse grid.

    Raises:
        ValueError: the output stride does not divide the model's, or what `dilate` refuses.
    """
    before = model.backbone.strides[-1]
    if before % output_stride:
        raise ValueError(
            f"output stride {output_stride} does not divide the model's, {before}: give "
            f"{before // 2} or another divisor of {before}"
        )
    finer = dilate(backbone, output_stride)
    finer.load_state_dict(model.backbone.state_dict())
    factor = before // output_stride
    return DeepLab(finer, widen(model.head, factor), model.finer * factor).eval()


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
