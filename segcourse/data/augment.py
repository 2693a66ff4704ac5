"""One random view of an image and its mask together: scaled, cropped, mirrored, recoloured.

First used in book/sliding_window.ipynb. The random numbers are drawn on the CPU from a generator;
`apply` uses them on any device, a whole batch at a time. The image is interpolated, the mask never:
a value between two classes is a third class, which nobody labelled.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.labels import IGNORE

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's R, G, B in 0..1, which torchvision's weights expect."""

GRAY = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image. The default changes nothing.

    Args:
        crop: (H, W) in px of the view, or None for the image's own size. A view larger than the
            scaled image is filled with MEAN, which `normalise` turns into 0, and with IGNORE.
        scale: smallest and largest magnification, at least 0.1, drawn log-uniformly: halving is
            as likely as doubling. Below 0.5 the image aliases, as pixels are skipped.
        flip: probability of mirroring left to right.
        brightness, contrast, saturation: strength b in 0..1 of torchvision's operation of that
            name, whose factor is drawn uniformly from 1 - b to 1 + b.

    Raises:
        ValueError: a value is outside its range.
    """

    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        if self.crop is not None and (len(self.crop) != 2 or min(self.crop) < 1):
            raise ValueError(f"crop is {self.crop}: give (height, width) of at least 1 px, or None")
        if len(self.scale) != 2 or not 0.1 <= self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is {self.scale}: give (low, high), 0.1 <= low <= high")
        for name in ("flip", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number from 0 to 1")


@dataclass(frozen=True)
class Params:
    """The drawn numbers of n views, on the CPU: fields are (n,) float64, `flip` bool.

    `row` and `col` in 0..1 place the view between the image's two ends, whatever its size.
    """

    scale: Tensor
    row: Tensor
    col: Tensor
    flip: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, views: slice) -> "Params":
        return Params(*(getattr(self, f.name)[views] for f in fields(self)))


def draw(augmentation: Augmentation, n: int, generator: torch.Generator) -> Params:
    """Draw the numbers of `n` views.

    Seven numbers a view are drawn whatever is switched on, so that turning one change off leaves
    the others as they were.

    Args:
        augmentation: what may happen.
        n: number of views.
        generator: on the CPU.

    Returns:
        Params of length n.
    """
    a = augmentation
    u = torch.rand(n, 7, generator=generator, dtype=torch.float64).unbind(1)
    low, high = a.scale
    return Params(
        scale=low * (high / low) ** u[0],
        row=u[1],
        col=u[2],
        flip=u[3] < a.flip,
        brightness=1 + a.brightness * (2 * u[4] - 1),
        contrast=1 + a.contrast * (2 * u[5] - 1),
        saturation=1 + a.saturation * (2 * u[6] - 1),
    )


def apply(
    params: Params, images: Tensor, labels: Tensor, out_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Make one view of each image and, with the same geometry, of its labels.

    A view at scale 1 lies on whole pixels, so without jitter its values are the image's own.

    Args:
        params: n views, from `draw`.
        images: (n, 3, H, W) uint8, or float in 0..1; any device.
        labels: (n, H, W) integer, on the same device.
        out_size: (h, w) of the views, in px.

    Returns:
        Images (n, 3, h, w) float32 (or of the given float dtype) in 0..1, and labels (n, h, w)
        int64, IGNORE outside the image.

    Raises:
        ValueError: the numbers or sizes of params, images and labels differ.
    """
    n, _, H, W = images.shape
    if labels.shape != (n, H, W) or len(params) != n:
        raise ValueError(
            f"{len(params)} views, images {tuple(images.shape)} and labels {tuple(labels.shape)} "
            "do not fit: one view and one (H, W) map of labels an image are needed"
        )
    rows = _coordinates(params.row, params.scale, H, out_size[0])
    cols = _coordinates(params.col, params.scale, W, out_size[1])
    cols = torch.where(params.flip[:, None], cols.flip(1), cols)

    if not images.is_floating_point():
        images = images.float() / 255
    factors = torch.stack((params.brightness, params.contrast, params.saturation), 1)
    # Float32 holds whole numbers up to 2**24, more than the side of any image.
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    parts = (*_lines(rows), *_lines(cols), factors)
    sent = send(torch.cat(parts, 1).to(dtype), images.device)
    *lines, factors = sent.split([part.shape[1] for part in parts], 1)
    down, across = _Lines(*lines[:3]), _Lines(*lines[3:])

    inside = down.inside(H)[:, :, None] & across.inside(W)[:, None, :]
    picked = _pick(_pick(labels[:, None], down.nearest.long(), 2), across.nearest.long(), 3)[:, 0]
    new_labels = picked.long().where(inside, IGNORE)

    # Bilinear is linear along the rows, then along the columns.
    views = _between(_between(images, down, 2), across, 3)
    views = _recolour(views, params, factors.to(views.dtype), inside[:, None])
    return views.where(inside[:, None], _channels(MEAN, views.device, views.dtype)), new_labels


def normalise(images: Tensor) -> Tensor:
    """Shift and scale R, G, B by ImageNet's MEAN and STD.

    Args:
        images: (N, 3, H, W) float in 0..1.

    Returns:
        The same shape and dtype, about in -2.2..2.7.

    Raises:
        TypeError: images are integers (divide by 255 first).
    """
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: floats in 0..1 are needed, images / 255")
    mean, std = (_channels(x, images.device, images.dtype) for x in (MEAN, STD))
    return (images - mean) / std


def send(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device; a GPU goes on computing meanwhile.

    From ordinary memory the copy would first wait for all work that the GPU has been given.
    """
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


@lru_cache(maxsize=64)
def _channels(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Three constants as (3, 1, 1), sent to a device once."""
    # Made in inference mode, it could not take part in a gradient later.
    with torch.inference_mode(False):
        return torch.tensor(values).to(device, dtype).reshape(3, 1, 1)


class _Lines(NamedTuple):
    """Where the rows (or columns) of n views lie in the input: (n, out) each, whole numbers but
    for `part`, how far each one lies from the pixel `below` to the next."""

    below: Tensor
    part: Tensor
    nearest: Tensor

    def inside(self, size: int) -> Tensor:
        """Whether the nearest is one of the input's `size` pixels."""
        return (self.nearest >= 0) & (self.nearest < size)


def _lines(at: Tensor) -> _Lines:
    below = torch.floor(at)
    return _Lines(below, at - below, torch.floor(at + 0.5))


def _coordinates(place: Tensor, scale: Tensor, size: int, out: int) -> Tensor:
    """Where the centres of `out` output pixels lie in the input, in pixels: (n, out) float64."""
    # Room to move the view, in input pixels; negative when the view is larger than the image.
    room = size - out / scale
    # At scale 1 every whole shift is equally likely, the two ends included.
    whole = room.sign() * torch.floor(place * (room.abs() + 1))
    start = torch.where(scale == 1, whole, place * room)
    centres = torch.arange(out, dtype=torch.float64) + 0.5
    return start[:, None] + centres / scale[:, None] - 0.5


def _pick(x: Tensor, index: Tensor, dim: int) -> Tensor:
    """x (n, C, H, W) at `index` (n, m) along `dim`, the last pixel repeated outside."""
    index = index.clamp(0, x.shape[dim] - 1)
    shape = list(x.shape)
    shape[dim] = index.shape[1]
    index = index[:, None, :, None] if dim == 2 else index[:, None, None, :]
    return x.gather(dim, index.expand(shape))


def _between(x: Tensor, lines: _Lines, dim: int) -> Tensor:
    """x interpolated linearly at the lines along `dim`."""
    below, part = lines.below.long(), lines.part.to(x.dtype)
    part = part[:, None, :, None] if dim == 2 else part[:, None, None, :]
    a, b = _pick(x, below, dim), _pick(x, below + 1, dim)
    return a + (b - a) * part


def _recolour(x: Tensor, params: Params, factors: Tensor, inside: Tensor) -> Tensor:
    """Brightness, contrast, saturation, each clamped to 0..1, as torchvision's functions do.

    `factors` (n, 3) are those of `params`, on x's device; only the CPU's can be looked at without
    waiting for the device.
    """

    def blend(x: Tensor, other: Tensor | float, drawn: Tensor, f: Tensor) -> Tensor:
        if (drawn == 1).all():
            return x
        f = f.reshape(-1, 1, 1, 1)
        return (f * x + (1 - f) * other).clamp(0, 1)

    brightness, contrast, saturation = factors.unbind(1)
    gray = _channels(GRAY, x.device, x.dtype)
    x = blend(x, 0.0, params.brightness, brightness)
    # Contrast is about the mean of what the view shows of the image, not of its filling.
    mean = ((x * gray).sum(1, keepdim=True) * inside).sum((2, 3), keepdim=True)
    mean = mean / inside.sum((2, 3), keepdim=True).clamp(min=1)
    x = blend(x, mean, params.contrast, contrast)
    return blend(x, (x * gray).sum(1, keepdim=True), params.saturation, saturation)
