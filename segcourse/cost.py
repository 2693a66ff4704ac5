"""What a network costs: parameters, multiply-adds and memory, layer by layer.

Each number comes twice: counted in closed form from the layers' shapes, and measured by torch on
a run (its FLOP counter, its saved-tensor hooks). Shapes are all that counting needs, so it runs on
the meta device: a 500 x 500 image costs no time and no memory (book/sliding_window.ipynb).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class LayerCost:
    """One layer of a network at one input size.

    Attributes:
        name: as in `model.named_modules()`.
        kind: class of the layer, for example "Conv2d".
        shape: of the output, (N, C, H, W).
        parameters: numbers that are learned.
        multiply_adds: of one forward pass; 0 for layers without weights, whose cost is memory.
        backward_multiply_adds: of the weights' and the input's gradients; weights that are not
            learned need none, nor does an image, padded or not.
        input_bytes: the tensor that comes in.
        output_bytes: the tensor that goes out.
        saved_bytes: what the layer makes or receives that waits for the backward pass, tensors
            that an earlier layer already keeps and parameters left out.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    backward_multiply_adds: int
    input_bytes: int
    output_bytes: int
    saved_bytes: int


def conv_multiply_adds(
    in_channels: int, out_channels: int, kernel: int, size: tuple[int, int]
) -> int:
    """Multiply-adds of a k x k convolution: k * k * in for each number that it puts out.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel: k, in pixels; dilation changes nothing.
        size: (H, W) of the output in pixels.

    >>> conv_multiply_adds(64, 128, 3, (500, 500))
    18432000000
    """
    return kernel * kernel * in_channels * out_channels * size[0] * size[1]


def layer_costs(model: nn.Module, size: tuple[int, int], batch: int = 1) -> list[LayerCost]:
    """Count every layer of a model in closed form.

    Knows convolution, transposed convolution, linear, batch norm, ReLU and max pooling; another
    layer is listed with its shapes and no multiply-adds, and keeps its input and output. Ignores
    what happens between layers (sums, concatenations).

    Args:
        model: takes (N, 3, H, W). Its mode matters little: batch norm keeps its input either way.
        size: (H, W) of the image in pixels.
        batch: N.

    Returns:
        One entry for each leaf module, in the order in which they ran.

    Raises:
        ValueError: whatever the model raises for an image of this size.
    """
    rows: list[LayerCost] = []
    kept: dict[int, Tensor] = {}  # by id; holding the tensor keeps its id from being reused
    image = torch.empty(batch, 3, *size, device="meta")

    def keep(tensor: Tensor) -> int:
        new = id(tensor) not in kept
        kept[id(tensor)] = tensor
        return _bytes(tensor) if new else 0

    def hook(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        adds = _multiply_adds(layer, x, output)
        gradients = x.requires_grad + any(p.requires_grad for p in layer.parameters())
        saved = 0
        if isinstance(layer, nn.ReLU):
            saved = keep(output)
        elif isinstance(layer, nn.MaxPool2d):
            saved = keep(x) + 8 * output.numel()  # the switches: one int64 for each maximum
        elif isinstance(layer, nn.BatchNorm2d):
            saved = keep(x) + (2 * 4 * x.shape[1] if layer.training else 0)  # mean, 1/deviation
        elif adds:
            saved = keep(x)
        elif not isinstance(layer, nn.Identity | nn.Flatten):
            saved = keep(x) + keep(output)
        rows.append(
            LayerCost(
                name=name,
                kind=type(layer).__name__,
                shape=tuple(output.shape),
                parameters=parameters(layer),
                multiply_adds=adds,
                backward_multiply_adds=gradients * adds,
                input_bytes=_bytes(x),
                output_bytes=_bytes(output),
                saved_bytes=saved,
            )
        )

    handles = [
        layer.register_forward_hook(
            lambda layer, inputs, output, name=name: hook(name, layer, inputs, output)
        )
        for name, layer in model.named_modules()
        if not list(layer.children())
    ]
    try:
        with torch.enable_grad():  # which tensors need a gradient is part of the count
            functional_call(model, _on_meta(model), (image,))
    finally:
        for handle in handles:
            handle.remove()
    return rows


def parameters(model: nn.Module) -> int:
    """Numbers that the model learns.

    >>> parameters(nn.Conv2d(64, 128, 3))
    73856
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def multiply_adds(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of one forward pass over one (H, W) image, counted in closed form."""
    return sum(row.multiply_adds for row in layer_costs(model, size))


def backward_multiply_adds(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of the backward pass over one (H, W) image, counted in closed form.

    Twice the forward pass, but for the first layer, which owes the image no gradient, and for
    layers that are not learned.
    """
    return sum(row.backward_multiply_adds for row in layer_costs(model, size))


def training_bytes(model: nn.Module, size: tuple[int, int], batch: int = 1) -> int:
    """Bytes of float32 activations that wait for the backward pass, counted in closed form."""
    return sum(row.saved_bytes for row in layer_costs(model, size, batch))


def inference_bytes(model: nn.Module, size: tuple[int, int], batch: int = 1) -> int:
    """Bytes of float32 activations alive at once without a backward pass, for layers in a row.

    The largest input and output of one layer together: everything earlier has been freed.
    """
    return max(row.input_bytes + row.output_bytes for row in layer_costs(model, size, batch))


def measured_multiply_adds(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """Multiply-adds as torch's FLOP counter sees them run: the oracle for the counts above.

    Args:
        model: parameters get gradients, which are dropped again; batch norm's running statistics
            are left as they were.
        image: (N, 3, H, W) on the model's device; or on "meta", which computes nothing.

    Returns:
        Of the forward pass, and of the backward pass of the sum of the logits.
    """
    state = _on_meta(model) if image.is_meta else _with_copied_buffers(model)
    learned = [tensor for tensor in state.values() if tensor.requires_grad]
    with FlopCounterMode(display=False) as forward:
        logits = functional_call(model, state, (image,))
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(logits.sum(), learned, allow_unused=True)
    # The counter counts a multiplication and an addition as two operations.
    return forward.get_total_flops() // 2, backward.get_total_flops() // 2


def measured_training_bytes(model: nn.Module, image: Tensor) -> int:
    """Bytes that autograd really keeps between the forward and the backward pass.

    Every tensor that an operation saves passes through a hook; each storage counts once, and
    parameters and buffers, which exist anyway, do not count.

    Args:
        model: run once, forward only; batch norm's running statistics are left as they were.
        image: (N, 3, H, W) on the model's device; or on "meta", which computes nothing.
    """
    state = _on_meta(model) if image.is_meta else _with_copied_buffers(model)
    known = {_storage(tensor) for tensor in state.values()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in known:
            kept[_storage(tensor)] = (_bytes(tensor), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        functional_call(model, state, (image,))
    return sum(size for size, _ in kept.values())


def _multiply_adds(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        kh, kw = layer.kernel_size
        return output.numel() * kh * kw * layer.in_channels // layer.groups
    if isinstance(layer, nn.ConvTranspose2d):
        kh, kw = layer.kernel_size
        return x.numel() * kh * kw * layer.out_channels // layer.groups
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    return 0


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage(tensor: Tensor) -> int:
    # data_ptr() is 0 for every meta tensor; the storage's own address tells them apart.
    return tensor.untyped_storage()._cdata


def _on_meta(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers as shapes without numbers."""
    state = {
        name: nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad)
        for name, p in model.named_parameters()
    }
    return state | {name: b.to("meta") for name, b in model.named_buffers()}


def _with_copied_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The model's own parameters, and copies of the buffers for a training pass to write to."""
    return dict(model.named_parameters()) | {n: b.clone() for n, b in model.named_buffers()}
