"""Elastic deformation: new training images by bending the few there are (book/unet.ipynb).

Random displacement vectors on a coarse 3x3 grid, made smooth by bicubic interpolation: tissue
deforms like that, so a bent image with its bent labels is one that could have been taken
(Ronneberger et al. 2015, section 3.1). The image is interpolated, labels never.
"""

import torch
from torch import Generator, Tensor

SHARPNESS = -0.75
"""The free number a of cubic convolution (Keys 1981); torch and OpenCV use this value too."""


def displacement_vectors(n: int, sigma: float, generator: Generator, grid: int = 3) -> Tensor:
    """Draw the displacement of each node of the coarse grid.

    Args:
        n: number of images, each with its own vectors.
        sigma: standard deviation of each component in px, at least 0; 10 in the paper, for images
            of 512x512. Vectors that are large for the image fold it: of images of side S, one in
            six somewhere at sigma = S / 8, none to speak of at S / 16 (see `jacobian`).
        generator: on the CPU.
        grid: nodes along each side, at least 2: corners, and points evenly between; 3 in the paper.

    Returns:
        (n, 2, grid, grid) float32 on the CPU: rows and columns, in px.

    Raises:
        ValueError: sigma is negative or not finite, or the grid has fewer than 2 nodes a side.
    """
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma is {sigma} px: give 0 (no deformation) or more, as 10")
    if grid < 2:
        raise ValueError(f"grid is {grid}: give 2 or more nodes along each side, as 3")
    return sigma * torch.randn(n, 2, grid, grid, generator=generator)


def cubic(t: Tensor) -> Tensor:
    """Weigh a node at distance `t` (in nodes): Keys' cubic, 1 at 0 and 0 at every other node.

    >>> cubic(torch.tensor([0.0, 0.5, 1.0, 2.0])).tolist()
    [1.0, 0.59375, 0.0, 0.0]
    """
    t, a = t.abs(), SHARPNESS
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))


def cubic_weights(size: int, nodes: int, like: Tensor) -> Tensor:
    """Weights of each node for each pixel of a line; the first and last node lie on its ends.

    Args:
        size: pixels of the line.
        nodes: nodes along it, at least 2. Beyond the ends the last node is repeated.
        like: gives dtype and device.

    Returns:
        (size, nodes); each row sums to 1.
    """
    step = torch.arange(size, dtype=like.dtype, device=like.device)
    at = step * ((nodes - 1) / max(size - 1, 1))  # in nodes
    # Two nodes more on each side stand for the repeated ends.
    node = torch.arange(-2, nodes + 2, device=like.device)
    weights = cubic(at[:, None] - node)
    return weights.new_zeros(size, nodes).index_add_(1, node.clamp(0, nodes - 1), weights)


def displacement_field(vectors: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate the coarse vectors to one displacement a pixel.

    Bicubic interpolation is cubic along the rows, then along the columns: two small matrices.
    Equal to `interpolate(vectors, size, mode="bicubic", align_corners=True)`.

    Args:
        vectors: (n, 2, g, g) float, from `displacement_vectors`.
        size: (H, W) in px.

    Returns:
        (n, 2, H, W): where each output pixel is read, as an offset in rows and columns, in px.
    """
    down = cubic_weights(size[0], vectors.shape[2], vectors)  # (H, g)
    across = cubic_weights(size[1], vectors.shape[3], vectors)  # (W, g)
    return down @ vectors @ across.T


def warp(images: Tensor, field: Tensor) -> Tensor:
    """Read each pixel of the images at its displaced place, by bilinear interpolation.

    Outside, the image's mirror image goes on, without repeating the border pixel. A field of
    zeros gives the images themselves, to the bit.

    Args:
        images: (n, C, H, W) float.
        field: (n, 2, H, W) float, in px.

    Returns:
        (n, C, H, W), of the images' dtype.

    Raises:
        TypeError: the images are integers.
        ValueError: images and field differ in number or size.
    """
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: floats are needed, so images / 255")
    _check(images, field)
    rows, cols = _places(field)
    top, left = rows.floor(), cols.floor()
    down, right = ((rows - top)[:, None].to(images), (cols - left)[:, None].to(images))
    corners = [_read(images, top + i, left + j) for i in (0, 1) for j in (0, 1)]
    upper = corners[0] + (corners[1] - corners[0]) * right
    lower = corners[2] + (corners[3] - corners[2]) * right
    return upper + (lower - upper) * down


def warp_labels(labels: Tensor, field: Tensor) -> Tensor:
    """Read each pixel of label maps at its displaced place: the nearest pixel, never a mixture.

    Args:
        labels: (n, H, W) integer: classes, void, or the numbers of instances.
        field: (n, 2, H, W) float, in px; mirrored outside as in `warp`.

    Returns:
        (n, H, W), of the labels' dtype.

    Raises:
        ValueError: labels and field differ in number or size.
    """
    _check(labels[:, None], field)
    rows, cols = _places(field)
    return _read(labels[:, None], (rows + 0.5).floor(), (cols + 0.5).floor())[:, 0]


def deform(images: Tensor, labels: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Bend images and their labels by the same field.

    Args:
        images: (n, C, H, W) float.
        labels: (n, H, W) integer.
        vectors: (n, 2, g, g) float, from `displacement_vectors`; sent to the images' device.

    Returns:
        Images and labels of the same shapes and dtypes.

    Raises:
        TypeError, ValueError: as `warp` and `warp_labels`.
    """
    field = displacement_field(vectors.to(images.device), images.shape[-2:])
    return warp(images, field), warp_labels(labels, field)


def jacobian(field: Tensor) -> Tensor:
    """Area that each pixel's square is read from, in px: 1 without deformation, below 0 in a fold.

    The determinant of the derivative of (row, column) + displacement, by forward differences.
    Where it is negative the image is turned inside out, which no tissue does: sigma is too large
    for the size of the image.

    Args:
        field: (n, 2, H, W), in px; H and W at least 2.

    Returns:
        (n, H - 1, W - 1).
    """
    down = field[:, :, 1:, :-1] - field[:, :, :-1, :-1]
    across = field[:, :, :-1, 1:] - field[:, :, :-1, :-1]
    return (1 + down[:, 0]) * (1 + across[:, 1]) - down[:, 1] * across[:, 0]


def _places(field: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (n, H, W) in the input that each output pixel is read from."""
    H, W = field.shape[-2:]
    rows = torch.arange(H, dtype=field.dtype, device=field.device)[:, None]
    cols = torch.arange(W, dtype=field.dtype, device=field.device)
    return rows + field[:, 0], cols + field[:, 1]


def _read(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """x (n, C, H, W) at whole rows and columns (n, H, W), mirrored where they lie outside."""
    n, C, H, W = x.shape
    index = (_mirror(rows.long(), H) * W + _mirror(cols.long(), W)).reshape(n, 1, -1)
    return x.reshape(n, C, -1).gather(2, index.expand(n, C, -1)).reshape(x.shape)


def _mirror(index: Tensor, size: int) -> Tensor:
    """..., 2, 1, 0, 1, 2, ..., size - 1, size - 2, ...: a walk that turns at both ends."""
    if size == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


def _check(x: Tensor, field: Tensor) -> None:
    if x.ndim != 4 or field.shape != (x.shape[0], 2, *x.shape[2:]):
        raise ValueError(
            f"a field {tuple(field.shape)} for {x.shape[0]} maps of {tuple(x.shape[2:])}: one "
            "(2, H, W) field a map is needed, from displacement_field(vectors, (H, W))"
        )
