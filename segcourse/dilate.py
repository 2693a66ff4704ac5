"""The same weights on a finer grid: strides become holes (book/atrous.ipynb).

Take the stride out of a layer, and put r times as many holes into everything after it: the network
then gives r * r times as many outputs, and every r-th of them, in both directions, is what the
strided network gave. No weight changes (Chen et al. 2015, section 3.1; Yu and Koltun 2016).
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from segcourse.backbones import Backbone
from segcourse.receptive_field import POINTWISE, Window, layer_fields, walk, window_of


@dataclass(frozen=True)
class Grid:
    """Where a layer stands.

    Args:
        strided: pixels from one of its inputs to the next in the strided network.
        dense: the same in the dilated one, at most `strided`.
    """

    strided: int = 1
    dense: int = 1

    @property
    def rate(self) -> int:
        """What the layer's own dilation and padding are multiplied by."""
        return self.strided // self.dense


def dilate(network: nn.Module, output_stride: int) -> nn.Module:
    """A copy of a network with the same weights and a finer output.

    Once the output stride is reached, further strides become 1, and the layers after them get
    their dilation and padding times the strides that are missing. With s the network's stride
    divided by `output_stride`, in evaluation mode

        dilate(network, output_stride)(image)[:, :, ::s, ::s] == network(image)

    at every size for ResNets and the light backbone. A max pool without padding would lose cells
    at the right and lower border, so it is padded there with -inf: the map stays s times as large,
    and the identity holds where the strided pools drop no remainder, for VGG16 at multiples of 32.

    In training mode batch norm sees other statistics than the strided network's.

    Args:
        network: layers that `segcourse.receptive_field` can follow, or a Backbone: convolutions,
            max pools and pointwise layers in a row or in branches. torchvision's classifiers end in
            layers that read a whole map: give `vgg16().features`, `backbones.resnet50()`, or
            `convolutionalize(vgg16()).layers`. Not changed.
        output_stride: pixels of the image from one output to the next: one of `strides(network)`.

    Returns:
        The same kind of module; a Backbone whose `strides` are the new ones.

    Raises:
        ValueError: a layer that cannot be dilated, or an output stride that the network lacks.
    """
    twin = copy.deepcopy(network)
    places = _places(twin, output_stride)
    names = {module: name for name, module in twin.named_modules()}
    for layer, grid in places.items():
        changed = _dilated(layer, grid, output_stride)
        if changed is not layer:
            parent, _, name = names[layer].rpartition(".")
            setattr(twin.get_submodule(parent), name, changed)
    if isinstance(twin, Backbone):
        twin.strides = tuple(min(stride, output_stride) for stride in twin.strides)
    return twin


def strides(network: nn.Module) -> tuple[int, ...]:
    """The output strides that a network can be given, from fine to coarse; the last is its own.

    Raises:
        ValueError: a layer whose stride is not known.

    >>> strides(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)))
    (1, 2, 4)
    """
    return tuple(sorted({1} | {field.stride for _, field in layer_fields(_row(network))}))


def _row(network: nn.Module) -> nn.Module:
    """A network that can be followed: a backbone's forward gives a list."""
    return nn.Sequential(*network.stages) if isinstance(network, Backbone) else network


def _places(network: nn.Module, output_stride: int) -> dict[nn.Module, Grid]:
    """Every layer, and the grid of its input."""
    try:
        known = strides(network)
    except ValueError as error:
        raise ValueError(f"{type(network).__name__} cannot be dilated: {error}") from error
    if output_stride not in known:
        raise ValueError(
            f"output stride {output_stride}: {type(network).__name__} passes the strides "
            f"{', '.join(map(str, known))}, use one of these"
        )
    places: dict[nn.Module, Grid] = {}

    def through(layer: nn.Module, grid: Grid) -> Grid:
        if isinstance(layer, POINTWISE):  # one ReLU may stand at several strides
            return grid
        if places.setdefault(layer, grid) != grid:
            raise ValueError(
                f"{layer} is used at stride {places[layer].strided} and at {grid.strided}: one "
                "layer cannot have two rates, use a copy"
            )
        stride, other = (window_of(layer, axis).stride for axis in (0, 1))
        if stride != other:
            raise ValueError(f"{layer} has different strides along both axes: use one for both")
        strided = grid.strided * stride
        return Grid(strided, min(strided, output_stride))

    def same(grids: list[Grid]) -> Grid:
        if len(set(grids)) > 1:
            raise ValueError("branches of different stride meet: they share no grid")
        return grids[0]

    walk(_row(network), Grid(), through, same)
    return places


def _dilated(layer: nn.Module, grid: Grid, output_stride: int) -> nn.Module:
    """The layer with its stride or its holes changed, in place where that is enough."""
    removed = grid.strided * window_of(layer).stride > output_stride
    if not (removed or grid.rate > 1):
        return layer
    if isinstance(layer, nn.Conv2d):
        _check_padding(layer)
    elif isinstance(layer, nn.ConstantPad2d):
        layer.padding = tuple(n * grid.rate for n in layer.padding)
        return layer
    elif not isinstance(layer, nn.MaxPool2d):
        raise ValueError(
            f"{layer} stands at stride {grid.strided} and cannot be dilated to output stride "
            f"{output_stride}: convolutions and max pools can; take it out, or use an output "
            f"stride from {grid.strided * window_of(layer).stride} up"
        )
    windows = window_of(layer, 0), window_of(layer, 1)
    layer.stride = (1, 1)
    layer.dilation = tuple(w.dilation * grid.rate for w in windows)
    if isinstance(layer, nn.MaxPool2d):
        # torch's pools refuse padding above half of the kernel, however far its taps reach.
        layer.padding, layer.ceil_mode = (0, 0), False
        ends = [(w.before * grid.rate, (w.after + _missing(w)) * grid.rate) for w in windows]
        return nn.Sequential(nn.ConstantPad2d((*ends[1], *ends[0]), -torch.inf), layer)
    if not isinstance(layer.padding, str):
        layer.padding = tuple(w.before * grid.rate for w in windows)
    return layer


def _missing(pool: Window) -> int:
    """Cells by which a max pool must be padded at the end for its windows to start everywhere.

    Without, a 2x2 pool of stride 1 makes n - 1 cells of n. With ceil_mode the strided pool itself
    has a last window that only begins inside.
    """
    reach = pool.dilation * (pool.kernel - 1)
    lost = reach - pool.after - (0 if pool.ceil_mode else pool.before)
    return max(0, min(lost, pool.stride - 1))


def _check_padding(layer: nn.Conv2d) -> None:
    if layer.padding_mode != "zeros":
        raise ValueError(
            f"{layer} pads with {layer.padding_mode!r}, which mirrors or repeats other cells on a "
            'finer grid: use padding_mode="zeros"'
        )
    if layer.padding == "same" and not all(k % 2 for k in layer.kernel_size):
        raise ValueError(
            f'{layer} pads an even kernel by "same", unlike before and behind: write the padding '
            "as an nn.ZeroPad2d in front of it"
        )
