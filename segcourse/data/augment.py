"""One random view of an image and its mask together: scaled, cropped, mirrored, recoloured.

First used in book/sliding_window.ipynb. The random numbers are drawn on the CPU from a generator;
`apply` uses them on any device, a whole batch at a time. The image is interpolated, the mask never:
a value between two classes is a third class, which nobody labelled.
"""

from dataclasses import dataclass, fields

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

    # The nearest pixel of each output row and column, and whether there is one.
    r, c = (torch.floor(x + 0.5).long() for x in (rows, cols))
    inside = ((r >= 0) & (r < H))[:, :, None] & ((c >= 0) & (c < W))[:, None, :]
    inside = inside.to(images.device)
    picked = _pick(_pick(labels[:, None], r, 2), c, 3)[:, 0]
    new_labels = picked.long().where(inside, IGNORE)

    if not images.is_floating_point():
        images = images.float() / 255
    # Bilinear is linear along the rows, then along the columns.
    views = _between(_between(images, rows, 2), cols, 3)
    views = _recolour(views, params, inside[:, None])
    fill = torch.tensor(MEAN).to(views).reshape(1, 3, 1, 1)
    return views.where(inside[:, None], fill), new_labels


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
    mean, std = (torch.tensor(x).to(images).reshape(3, 1, 1) for x in (MEAN, STD))
    return (images - mean) / std


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
    index = index.clamp(0, x.shape[dim] - 1).to(x.device)
    shape = list(x.shape)
    shape[dim] = index.shape[1]
    index = index[:, None, :, None] if dim == 2 else index[:, None, None, :]
    return x.gather(dim, index.expand(shape))


def _between(x: Tensor, at: Tensor, dim: int) -> Tensor:
    """x interpolated linearly at the points `at` (n, m) along `dim`."""
    below = torch.floor(at)
    part = (at - below).to(x.dtype).to(x.device)
    part = part[:, None, :, None] if dim == 2 else part[:, None, None, :]
    a, b = _pick(x, below.long(), dim), _pick(x, below.long() + 1, dim)
    return a + (b - a) * part


def _recolour(x: Tensor, params: Params, inside: Tensor) -> Tensor:
    """Brightness, contrast, saturation, each clamped to 0..1, as torchvision's functions do."""

    def blend(x: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
        if (factor == 1).all():
            return x
        f = factor.to(x.dtype).to(x.device).reshape(-1, 1, 1, 1)
        return (f * x + (1 - f) * other).clamp(0, 1)

    gray = torch.tensor(GRAY).to(x).reshape(1, 3, 1, 1)
    x = blend(x, 0.0, params.brightness)
    # Contrast is about the mean of what the view shows of the image, not of its filling.
    mean = ((x * gray).sum(1, keepdim=True) * inside).sum((2, 3), keepdim=True)
    x = blend(x, mean / inside.sum((2, 3), keepdim=True).clamp(min=1), params.contrast)
    return blend(x, (x * gray).sum(1, keepdim=True), params.saturation)
