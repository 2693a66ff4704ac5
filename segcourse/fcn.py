"""Fully convolutional networks: scores on a coarse grid, enlarged, and skips (book/fcn.ipynb).

A head scores the coarsest map. Transposed convolutions that start as bilinear interpolation bring
the scores to the next finer grid, where scores of the backbone's finer map are added: FCN-32s adds
none, FCN-16s those at stride 16, FCN-8s those at 8 as well (Long, Shelhamer, Darrell, CVPR 2015).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcourse.backbones import Backbone
from segcourse.errors import UsageError
from segcourse.receptive_field import Field, receptive_field


def bilinear_kernel(factor: int, size: int | None = None) -> Tensor:
    """Weights with which a transposed convolution of stride `factor` interpolates bilinearly.

    A pyramid that falls to zero one cell away. At an even size it makes what
    `F.interpolate(align_corners=False)` does; at an odd size each cell's value stands on a pixel.

    Args:
        factor: pixels that one cell becomes along each axis.
        size: side of the kernel, 2 * factor or 2 * factor - 1. By default Caffe's choice,
            2 * factor - factor % 2, as in the authors' code.

    Returns:
        (size, size) float64; the four that meet in a pixel sum to 1.

    Raises:
        ValueError: a factor below 1, or another size.

    >>> bilinear_kernel(2)[1].tolist(), bilinear_kernel(2, size=3)[1].tolist()
    ([0.1875, 0.5625, 0.5625, 0.1875], [0.5, 1.0, 0.5])
    """
    size = 2 * factor - factor % 2 if size is None else size
    if factor < 1 or size not in (2 * factor - 1, 2 * factor):
        raise ValueError(
            f"a kernel of {size} for a factor of {factor}: use {2 * factor - 1} or {2 * factor}, "
            "and a factor from 1 up"
        )
    distance = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs()
    line = 1 - distance / factor
    return line[:, None] * line


class Enlarge(nn.Module):
    """Bring a map from its grid to a finer one: a transposed convolution, aligned and cut.

    Where the cells of both grids lie in the image follows from their geometry; so do the kernel's
    side and how much to cut off. Beyond its outermost cells the coarse map is repeated.

    Shapes: (N, channels, h, w) to (N, channels, *size).

    Args:
        channels: of the map.
        coarse: field of the cells that come in.
        fine: field of the cells to make; its stride divides the coarse one. Field() is the image.
        learned: whether the kernel is trained, from bilinear weights on; a fixed one is no
            parameter and is in no checkpoint.

    Raises:
        ValueError: the grids do not meet.
    """

    def __init__(self, channels: int, coarse: Field, fine: Field, learned: bool):
        super().__init__()
        self.factor = coarse.stride // fine.stride
        ahead = (fine.offset - coarse.offset) / fine.stride  # fine cell 0, counted from coarse 0
        size = 2 * self.factor - self.factor % 2
        if (size - 1) / 2 + ahead != int((size - 1) / 2 + ahead):
            size = 4 * self.factor - 1 - size  # the other side moves everything by half a cell
        first = (size - 1) / 2 + ahead
        if coarse.stride % fine.stride or first != int(first):
            raise ValueError(
                f"cells of stride {coarse.stride} from {coarse.offset} and of stride {fine.stride} "
                f"from {fine.offset} lie between each other: no transposed convolution aligns them"
            )
        self.first = int(first)  # where the fine cell 0 lies in the uncut output
        kernel = bilinear_kernel(self.factor, size).to(torch.get_default_dtype())
        self.convolution = nn.ConvTranspose2d(
            channels,
            channels,
            size,
            stride=self.factor,
            groups=1 if learned else channels,
            bias=False,
        )
        if learned:  # each class from itself; training may mix them
            kernels = torch.eye(channels)[:, :, None, None] * kernel
            self.convolution.weight = nn.Parameter(kernels)
        else:  # as a buffer no optimizer, no checkpoint and no count of parameters sees it
            del self.convolution.weight
            kernels = kernel.expand(channels, 1, -1, -1).clone()
            self.convolution.register_buffer("weight", kernels, persistent=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) to (N, C, *size)."""
        cut = []
        for axis, length in zip((2, 3), size, strict=True):
            # Fine cell j lies between the coarse cells j // factor - 1 and j // factor.
            before = max(0, 1 - self.first // self.factor)
            last = (self.first + length - 1) // self.factor
            x = _repeat_ends(x, axis, before, max(0, last + 1 - x.shape[axis]))
            start = self.first + self.factor * before
            cut.append(slice(start, start + length))
        return self.convolution(x)[:, :, cut[0], cut[1]]


class FCN(nn.Module):
    """A backbone, a head that scores its coarsest map, and the way back to the image's size.

    All variants of one backbone take the same steps: from stride 32 to 16 to 8, learned, and to
    the image, fixed. A variant is the steps at which it adds scores, so with skip scores of zero
    16s equals 32s. The paper's 32s takes one step of 32 instead, from which two bilinear steps
    and one of 8 differ a little (`tests/test_fcn.py` says how much), and its 16s one of 16. The
    paper pads the image by 100 pixels so that fc6 fits and crops the scores by fixed numbers; here
    the head pads its own map, and the crops follow from where the cells lie (`Field`).

    Shapes: (N, 3, H, W), H and W from 32 up, to logits (N, K, H, W).

    Args:
        backbone: its maps at strides 16 and 8 are the ones to skip from.
        head: from the coarsest map to scores (N, K, h, w); it may pool once more.
        num_classes: K.
        skips: strides whose scores are added: () for FCN-32s, (16,) for 16s, (16, 8) for 8s.
            Their 1x1 score layers start at zero, as in the paper (section 4.2).

    Raises:
        ValueError: a skip that the backbone lacks; forward is given an image below 32 pixels.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, num_classes: int, skips: Sequence[int] = ()
    ):
        super().__init__()
        fields, field = {}, Field()
        for stage, stride in zip(backbone.stages, backbone.strides, strict=True):
            field = _square_field(stage, field)
            fields[stride] = field
        field = _square_field(head, field)
        self.steps = tuple(
            stride for stride in (16, 8) if stride in fields and stride < field.stride
        )
        if not set(skips) <= set(self.steps):
            raise ValueError(
                f"skips {tuple(skips)}: from scores at stride {field.stride} this backbone can "
                f"add those at strides {self.steps}"
            )
        self.backbone, self.head, self.num_classes = backbone, head, num_classes
        self.coarse = field
        self.enlarge = nn.ModuleDict()
        for stride in self.steps:
            self.enlarge[str(stride)] = Enlarge(num_classes, field, fields[stride], learned=True)
            field = fields[stride]
        self.enlarge["1"] = Enlarge(num_classes, field, Field(), learned=False)
        self.skips = nn.ModuleDict()
        for stride in sorted(skips, reverse=True):
            channels = backbone.channels[backbone.strides.index(stride)]
            self.skips[str(stride)] = zero_scores(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float to logits (N, K, H, W)."""
        features = dict(zip(self.backbone.strides, self.backbone(image), strict=True))
        scores = self.head(features[self.backbone.strides[-1]])
        for stride in self.steps:
            scores = self.enlarge[str(stride)](scores, features[stride].shape[2:])
            if str(stride) in self.skips:
                scores = scores + self.skips[str(stride)](features[stride])
        return self.enlarge["1"](scores, image.shape[2:])


def zero_scores(in_channels: int, num_classes: int) -> nn.Conv2d:
    """A 1x1 score layer that starts at zero: every class is as likely as any other."""
    layer = nn.Conv2d(in_channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def hand_over(source: FCN, target: FCN) -> None:
    """Give a network the weights of one with fewer skips, in place: 32s to 16s to 8s.

    The scores of the skips that are new are set to zero, so both give the same logits; training
    goes on from there (Long et al. 2015, section 4.2).

    Args:
        source: keeps its weights.
        target: of the same backbone, head and number of classes.

    Raises:
        UsageError: the target lacks a skip of the source, or is another network.
    """
    given, own = source.state_dict(), target.state_dict()
    lost = [stride for stride in source.skips if stride not in target.skips]
    if lost:
        raise UsageError(
            f"the source adds scores at stride {', '.join(lost)} and the target does not: hand "
            "over from fewer skips to more, 32s to 16s to 8s"
        )
    new = [name for name in own if name not in given]
    unlike = [name for name in given if name not in own or own[name].shape != given[name].shape]
    unlike += [name for name in new if not name.startswith("skips.")]
    if unlike:
        raise UsageError(
            f"{unlike[0]} is in one network and not in the other, or of another shape, and so are "
            f"{len(unlike) - 1} more: build both on one backbone, with the same classes"
        )
    target.load_state_dict(given | {name: torch.zeros_like(own[name]) for name in new})


def _square_field(layers: nn.Module, start: Field) -> Field:
    rows, cols = (receptive_field(layers, axis, start) for axis in (0, 1))
    if rows != cols:
        raise ValueError("a layer's window differs between rows and columns: use square ones")
    return rows


def _repeat_ends(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Repeat the outermost rows or columns, as padding "replicate" does at any width."""
    # Written as a concatenation, whose gradient is the same each time on a GPU, too.
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    repeated = [first] * before + [x] + [last] * after
    return torch.cat(repeated, axis) if len(repeated) > 1 else x
