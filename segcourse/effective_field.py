"""What a unit listens to: its field measured by gradients, not counted (book/fcn.ipynb).

Where the derivative of a unit by a pixel can be non-zero, the unit sees the pixel: that set is the
receptive field. How large the derivative is says how much the pixel matters, and that falls off
from the centre roughly like a Gaussian: the effective receptive field (Luo et al. 2016).
"""

import copy

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from segcourse.receptive_field import POINTWISE, Window, window_of


class _Mean(nn.Module):
    """A layer with the windows of another that takes the mean over channels and taps."""

    def __init__(self, rows: Window, cols: Window):
        super().__init__()
        self.windows = (rows, cols)

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for window, n in zip(self.windows, x.shape[2:], strict=True):
            reach = (window.length(n) - 1) * window.stride + window.dilation * (window.kernel - 1)
            pads = [window.before, reach + 1 - n - window.before, *pads]
        kernel = x.new_full((1, 1, *(w.kernel for w in self.windows)), 1 / 2)
        stride, dilation = zip(*((w.stride, w.dilation) for w in self.windows), strict=True)
        x = F.pad(x.mean(1, keepdim=True), pads)
        return F.conv2d(x, kernel / kernel.sum(), stride=stride, dilation=dilation)


def positive_twin(model: nn.Module) -> nn.Module:
    """A linear network of one channel with the same geometry, where nothing can cancel.

    Every convolution and pool becomes the mean over its window, and pointwise layers go. So a
    derivative is zero only where there is no path, and VGG16 takes a moment at any size.

    Args:
        model: of the layers that `segcourse.receptive_field.window_of` knows; not changed.

    Raises:
        ValueError: a layer without a fixed window.
    """
    if isinstance(model, POINTWISE):
        return nn.Identity()
    children = dict(model.named_children())
    if not children and isinstance(model, nn.Sequential | nn.Identity):
        return nn.Identity()
    if not children and type(model).__module__.startswith("torch.nn"):
        return _Mean(window_of(model, 0), window_of(model, 1))
    twin = copy.copy(model)  # its forward, with other layers and numbers of its own
    twin._parameters, twin._buffers = copy.deepcopy((model._parameters, model._buffers))
    twin._modules = {name: positive_twin(child) for name, child in children.items()}
    return twin


def gradient_support(model: nn.Module, size: tuple[int, int], unit: tuple[int, int]) -> Tensor:
    """The pixels that one output unit sees, found by differentiating the positive twin.

    Args:
        model: as for `positive_twin`, from (N, 3, H, W) to (N, C, h, w).
        size: (H, W) of the image in pixels.
        unit: (row, col) in the output.

    Returns:
        (H, W) bool on the CPU. With dilated layers it can have holes.

    Raises:
        ValueError: as `positive_twin`.

    >>> gradient_support(nn.Conv2d(3, 8, 3, dilation=2), (6, 6), (1, 0))[1].tolist()
    [True, False, True, False, True, False]
    """
    return gradient_weights(model, size, unit) > 0


def gradient_weights(model: nn.Module, size: tuple[int, int], unit: tuple[int, int]) -> Tensor:
    """The derivatives of the positive twin themselves: what a network of plain means listens to.

    Args:
        model, size, unit: as for `gradient_support`.

    Returns:
        (H, W) float64 on the CPU, at least 0.

    Raises:
        ValueError: as `positive_twin`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
        out = positive_twin(model).double().cpu()(image)
        (gradient,) = torch.autograd.grad(out[0, :, unit[0], unit[1]].sum(), image)
    return gradient[0].sum(0)


def effective_receptive_field(
    model: nn.Module,
    images: Tensor,
    generator: Generator,
    unit: tuple[int, int] | None = None,
) -> Tensor:
    """How strongly one output unit depends on each pixel, averaged over images.

    The root mean square of the derivative, over images, output channels and input channels. The
    channels of the output are summed with random signs, which is right on average and costs one
    backward pass (Luo et al. 2016, section 3, take the same derivative at the central unit).

    Args:
        model: in evaluation mode; (N, 3, H, W) to (N, C, h, w), a grid or logits at full size.
        images: (N, 3, H, W), random or real. More images, less noise: 16 are enough to look at.
        generator: of the signs, on the CPU.
        unit: (row, col) in the output; the middle (h // 2, w // 2) by default.

    Returns:
        (H, W) that sums to 1, on the images' device.

    Raises:
        ValueError: the model is in training mode, or the unit depends on no pixel.
    """
    if model.training:
        raise ValueError("the model is in training mode, where images mix: call model.eval() first")
    with torch.inference_mode(False), torch.enable_grad():
        # Tensors of inference mode take no gradient; a clone of one does.
        images = images.detach().clone().requires_grad_()
        out = model(images)
        row, col = unit or (out.shape[2] // 2, out.shape[3] // 2)
        signs = torch.randint(2, out.shape[:2], generator=generator) * 2 - 1
        score = (out[:, :, row, col] * signs.to(out)).sum()
        (gradient,) = torch.autograd.grad(score, images)
    field = gradient.square().sum(1).mean(0).sqrt()
    if not field.sum() > 0:
        raise ValueError(
            f"unit ({row}, {col}) depends on no pixel: its score layer may still be zero, as an "
            "FCN's is before training; train first, or give the layers before it"
        )
    return field / field.sum()


def field_radius(field: Tensor, share: float = 0.95) -> int:
    """Half side of the smallest square around the centre that holds a share of the field.

    Args:
        field: (H, W), at least 0, as `effective_receptive_field` gives it.
        share: in 0..1.

    Returns:
        r in pixels: a square of 2r + 1 pixels, cut at the border, holds `share` of the sum.

    Raises:
        ValueError: `share` is outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: it is a share of the field's sum, give 0 to 1")
    row, col = (round(at) for at in _centre(field))
    H, W = field.shape
    rows = (torch.arange(H, device=field.device) - row).abs()
    cols = (torch.arange(W, device=field.device) - col).abs()
    distance = torch.maximum(rows[:, None], cols[None, :])
    held = field.new_zeros(max(H, W) + 1).index_add_(0, distance.flatten(), field.flatten())
    return int((held.cumsum(0) < share * field.sum() * (1 - 1e-6)).sum())


def field_sigma(field: Tensor) -> float:
    """Standard deviation in pixels of the Gaussian that has the field's variance.

    Args:
        field: (H, W), at least 0. The mean of the variances along both axes is taken.
    """
    row, col = _centre(field)
    total = field.sum()
    rows = torch.arange(field.shape[0], device=field.device) - row
    cols = torch.arange(field.shape[1], device=field.device) - col
    variance = (field.sum(1) * rows**2).sum() + (field.sum(0) * cols**2).sum()
    return (variance / total / 2).sqrt().item()


def _centre(field: Tensor) -> tuple[float, float]:
    """Centre of mass (row, col) in pixels."""
    places = [torch.arange(n, device=field.device, dtype=field.dtype) for n in field.shape]
    total = field.sum()
    row, col = (field.sum(1) * places[0]).sum(), (field.sum(0) * places[1]).sum()
    return (row / total).item(), (col / total).item()
