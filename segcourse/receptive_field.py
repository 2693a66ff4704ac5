"""What one unit of a network sees: the receptive field, in closed form (book/fcn.ipynb).

Going through layers, three numbers are enough along each axis: how many input pixels a unit sees,
how far apart two neighbouring units look, and where the first one looks. They follow from kernel,
stride, padding and dilation alone, without running the network. What a unit could see is not what
it listens to: `segcourse.effective_field` measures that.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Field:
    """What the units of a feature map see along one axis, in input pixels.

    Attributes:
        size: input pixels from the first to the last that a unit sees, both included. Dilated
            layers may skip some in between; padding counts as pixels.
        stride: input pixels from one unit's field to the next unit's.
        offset: centre of unit 0's field. Pixel 0's own centre is 0.0, so 15.5 lies between pixels
            15 and 16, and a negative number lies in the padding.
    """

    size: int = 1
    stride: int = 1
    offset: float = 0.0

    def centre(self, unit: int) -> float:
        """Centre of a unit's field.

        >>> Field(size=3, stride=2, offset=0.0).centre(5)
        10.0
        """
        return self.offset + self.stride * unit

    def span(self, unit: int) -> tuple[int, int]:
        """First pixel that a unit sees, and the one after the last; outside the image is padding.

        >>> Field(size=3, stride=2, offset=0.0).span(0)
        (-1, 2)
        """
        first = round(self.centre(unit) - (self.size - 1) / 2)
        return first, first + self.size


@dataclass(frozen=True)
class Window:
    """What a unit of one layer takes from the layer below, along one axis, in that layer's units.

    Attributes:
        kernel: taps.
        stride: from one window to the next.
        dilation: from one tap to the next.
        before, after: units of padding at both ends.
        ceil_mode: a last window that only begins inside counts, too.
    """

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    ceil_mode: bool = False

    def on(self, field: Field) -> Field:
        """The field of this layer's units on top of a layer whose units see `field`.

        >>> Window(kernel=3, stride=2, before=1, after=1).on(Field(size=3, stride=2))
        Field(size=7, stride=4, offset=0.0)
        """
        reach = self.dilation * (self.kernel - 1)
        return Field(
            field.size + field.stride * reach,
            field.stride * self.stride,
            field.offset + field.stride * (reach / 2 - self.before),
        )

    def length(self, n: int) -> int:
        """Units that this layer makes of n; below 1 where the window does not fit.

        >>> Window(kernel=3, stride=2).length(6), Window(3, 2, ceil_mode=True).length(6)
        (2, 3)
        """
        steps = (n + self.before + self.after - self.dilation * (self.kernel - 1) - 1) / self.stride
        if not self.ceil_mode:
            return math.floor(steps) + 1
        out = math.ceil(steps) + 1
        # A pooling window that would begin in the padding at the end is dropped.
        return out - 1 if (out - 1) * self.stride >= n + self.before else out


POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh),
    *(nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity, nn.LocalResponseNorm),
)
"""Layers that move nothing: a unit takes from its own place only."""

_FUNCTIONS = {
    *(torch.cat, torch.add, torch.mul, torch.relu, F.relu, F.relu_, F.dropout),
    *(operator.add, operator.iadd, operator.mul, operator.sub, operator.truediv),
}


def window_of(layer: nn.Module, axis: int = 0) -> Window:
    """The window of a convolution, a pooling layer, constant padding or a pointwise layer.

    Args:
        layer: one layer.
        axis: 0 for rows, 1 for columns.

    Raises:
        ValueError: a layer whose field is not a fixed window.
    """
    if isinstance(layer, POINTWISE):
        return Window()
    if isinstance(layer, nn.ConstantPad2d):
        left, right, top, bottom = layer.padding
        before, after = ((top, bottom), (left, right))[axis]
        return Window(before=before, after=after)
    if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        if isinstance(layer, nn.Linear | nn.Flatten | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            advice = "use segcourse.convolutionalize first, or leave it out"
        else:
            advice = "give the layers before it"
        raise ValueError(
            f"{type(layer).__name__} has no window of fixed size: the receptive field is known "
            f"for convolutions, max and average pools and pointwise layers; {advice}"
        )
    kernel, stride = _pair(layer.kernel_size)[axis], _pair(layer.stride)[axis]
    dilation = _pair(getattr(layer, "dilation", 1))[axis]
    if layer.padding == "same":
        before = dilation * (kernel - 1) // 2
        after = dilation * (kernel - 1) - before
    else:
        before = after = 0 if layer.padding == "valid" else _pair(layer.padding)[axis]
    return Window(kernel, stride, dilation, before, after, getattr(layer, "ceil_mode", False))


def layer_fields(model: nn.Module, axis: int = 0) -> list[tuple[str, Field]]:
    """The field after every layer of a chain, or of branches that meet by a sum or in channels.

    Args:
        model: a layer, an `nn.Sequential`, or a module whose forward does not look at the shape.
        axis: 0 for rows, 1 for columns.

    Returns:
        Name (as in `named_modules`) and field of each layer, in the order in which they run.

    Raises:
        ValueError: a layer without a fixed window, branches of different stride, or a forward
            that cannot be traced.

    >>> layer_fields(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)))
    [('0', Field(size=3, stride=1, offset=0.0)), ('1', Field(size=4, stride=2, offset=0.5))]
    """
    rows, _ = walk(model, Field(), lambda layer, field: window_of(layer, axis).on(field), _union)
    return rows


def receptive_field(model: nn.Module, axis: int = 0, start: Field | None = None) -> Field:
    """What one unit of a network's output sees, counted in closed form.

    Args:
        model: as for `layer_fields`.
        axis: 0 for rows, 1 for columns.
        start: field of the units that the model is given, where these are not pixels.

    Raises:
        ValueError: as `layer_fields`.

    >>> receptive_field(nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)))
    Field(size=8, stride=2, offset=3.5)
    """
    through = lambda layer, field: window_of(layer, axis).on(field)  # noqa: E731
    return walk(model, start or Field(), through, _union)[1]


def output_size(model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) that a network makes of an (H, W) input, counted in closed form.

    Args:
        model: as for `layer_fields`.
        size: (H, W) in pixels.

    Raises:
        ValueError: as `layer_fields`; the input is too small for a layer, or branches that meet
            differ in size.

    >>> output_size(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.MaxPool2d(2)), (32, 47))
    (7, 11)
    """

    def through(layer: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
        out = tuple(window_of(layer, axis).length(n) for axis, n in enumerate(size))
        if min(out) < 1:
            raise ValueError(f"{layer} is given {size[0]}x{size[1]}, too small: enlarge the image")
        return out

    def same(sizes: list[tuple[int, int]]) -> tuple[int, int]:
        if len(set(sizes)) > 1:
            raise ValueError(f"branches of sizes {sorted(set(sizes))} meet: pad them alike")
        return sizes[0]

    return walk(model, size, through, same)[1]


def _union(fields: list[Field]) -> Field:
    strides = {field.stride for field in fields}
    if len(strides) > 1:
        raise ValueError(f"branches of strides {sorted(strides)} meet: they share no grid")
    first = min(field.span(0)[0] for field in fields)
    end = max(field.span(0)[1] for field in fields)
    return Field(end - first, strides.pop(), (first + end - 1) / 2)


def walk(model: nn.Module, start: Any, through: Callable, join: Callable) -> tuple[list, Any]:
    """Send a value through a network's graph in place of a tensor.

    Args:
        model: as for `layer_fields`.
        start: the value of the input.
        through: (layer, value of its input) to the value of its output.
        join: the values that meet in a sum or in a concatenation to one.

    Returns:
        Name and value after every layer, and the value at the output.

    Raises:
        ValueError: a forward that cannot be traced, or an operation that is not known.
    """
    # Wrapped, so that a single layer is a node of the graph like any other.
    root = nn.Sequential(model)
    try:
        graph = fx.Tracer().trace(root)
    except (fx.proxy.TraceError, TypeError) as error:
        raise ValueError(
            f"the forward of {type(model).__name__} cannot be followed ({error}): give its layers "
            "as an nn.Sequential, for a backbone nn.Sequential(*backbone.stages)"
        ) from error
    values, rows, out = {}, [], None
    for node in graph.nodes:
        inputs = [values[n] for n in node.all_input_nodes if values[n] is not None]
        if node.op == "placeholder":
            values[node] = start
        elif node.op == "get_attr":
            values[node] = None  # a constant sees nothing
        elif node.op == "call_module":
            values[node] = through(root.get_submodule(node.target), inputs[0])
            rows.append((node.target.removeprefix("0."), values[node]))
        elif node.op == "output":
            out = values[node.args[0]] if isinstance(node.args[0], fx.Node) else None
        elif node.target in _FUNCTIONS and _across_channels(node):
            values[node] = join(inputs)
        else:
            raise ValueError(
                f"{type(model).__name__} calls {getattr(node.target, '__name__', node.target)}, "
                "and where its output looks is unknown: give the layers up to there"
            )
    if out is None:
        raise ValueError(f"{type(model).__name__} gives no single tensor: give one branch of it")
    return rows, out


def _across_channels(node: fx.Node) -> bool:
    """Whether a concatenation is along the channels; other functions are pointwise."""
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return node.target is not torch.cat or dim == 1


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
