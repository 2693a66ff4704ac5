"""Gaussian filtering of a set of points: every point listens to every other (book/crf.ipynb).

A filter is a callable from values (N, P, L) to (N, P, L): out_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j
over all P points, j = i included, for feature vectors f already divided by their sigmas. The exact
ones here cost P^2; `segcourse.permutohedral.lattice` has the same signature and costs P.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Filter = Callable[[Tensor], Tensor]

MOST_POINTS = 65_536
"""The largest set that `brute_force` takes: 256x256 pixels, 4.3e9 pairs of them in every call."""
MOST_MATRIX_POINTS = 8_192
"""The largest set that `kernel_matrix` takes: a matrix of 512 MiB in float64."""


def check_sigma(name: str, sigma: float, unit: str) -> None:
    """Refuse a sigma that is not a positive, finite number.

    Args:
        name: the argument that the text names.
        sigma: what was given.
        unit: what it is measured in.

    Raises:
        ValueError: the sigma is zero, negative, infinite or NaN.
    """
    if not 0 < sigma < float("inf"):
        raise ValueError(
            f"{name} is {sigma}: a sigma is a positive number of {unit}; to switch a kernel off, "
            "give it weight 0"
        )


def smoothness(height: int, width: int, sxy: float) -> Tensor:
    """Features of the smoothness kernel: where a pixel is (Krähenbühl and Koltun 2011, eq. 3).

    Args:
        height: H in pixels.
        width: W in pixels.
        sxy: sigma_gamma in pixels.

    Returns:
        (P, 2) float64, P = H * W row by row: (row, col) / sxy.

    Raises:
        ValueError: the image has no pixel, or the sigma is not positive.

    >>> smoothness(1, 3, sxy=2.0).tolist()
    [[0.0, 0.0], [0.0, 0.5], [0.0, 1.0]]
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height}x{width} has no pixels: both must be at least 1")
    check_sigma("sxy", sxy, "pixels")
    rows = torch.arange(height, dtype=torch.float64)
    cols = torch.arange(width, dtype=torch.float64)
    return torch.cartesian_prod(rows, cols).reshape(-1, 2) / sxy


def appearance(image: Tensor, sxy: float, srgb: float) -> Tensor:
    """Features of the appearance kernel: where a pixel is, and its colour (the same, eq. 3).

    Args:
        image: (N, 3, H, W), colours 0..255, uint8 or float.
        sxy: sigma_alpha in pixels.
        srgb: sigma_beta in colour units, of which there are 255 from black to white.

    Returns:
        (N, P, 5): (row, col) / sxy and (red, green, blue) / srgb; float64 for a uint8 image,
        otherwise the image's dtype; on its device.

    Raises:
        ValueError: the image is not (N, 3, H, W) or holds NaN, or a sigma is not positive.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"the image is {tuple(image.shape)}, need (N, 3, H, W) with red, green and blue: "
            "add a batch axis with image[None], and repeat a grey channel three times"
        )
    check_sigma("srgb", srgb, "colour units (0..255)")
    place = smoothness(*image.shape[-2:], sxy).to(image.device)
    colors = image.double() if not image.is_floating_point() else image
    if colors.isnan().any():
        raise ValueError(
            f"the image holds NaN at {int(colors.isnan().sum())} values: colours are 0..255"
        )
    place = place.to(colors.dtype).expand(len(image), -1, -1)
    return torch.cat([place, colors.flatten(2).transpose(1, 2) / srgb], dim=2)


def kernel_matrix(features: Tensor) -> Tensor:
    """The whole Gaussian kernel, k(i, j) = exp(-|f_i - f_j|^2 / 2), for small sets of points.

    Args:
        features: (P, D) or (N, P, D), divided by their sigmas.

    Returns:
        (P, P) or (N, P, P): symmetric, ones on the diagonal.

    Raises:
        ValueError: the features have another shape, or the matrix would not fit in memory.

    >>> kernel_matrix(torch.tensor([[0.0], [2.0]]))[0, 1].log()
    tensor(-2.)
    """
    _check_features(features)
    P = features.shape[-2]
    if P > MOST_MATRIX_POINTS:
        raise ValueError(
            f"the kernel of {P} points is a matrix of {P * P * 8 / 2**30:.1f} GiB, and at most "
            f"{MOST_MATRIX_POINTS} points are taken: shrink the image, or filter with "
            "brute_force or segcourse.permutohedral.lattice, which hold no matrix"
        )
    return _rows(features, features)


def from_matrix(matrix: Tensor) -> Filter:
    """A filter from a kernel written out: a matrix product.

    Args:
        matrix: (P, P), or (N, P, P) with one kernel for each image.

    Returns:
        The filter of values (N, P, L).
    """

    def apply(values: Tensor) -> Tensor:
        _check_values(values, matrix.shape[-1], matrix.shape[:-2])
        return matrix.to(values) @ values

    return apply


def brute_force(features: Tensor, chunk: int = 1024) -> Filter:
    """The exact filter: P^2 pairs in every call, `chunk` rows of the kernel at a time.

    Args:
        features: (P, D), or (N, P, D) with one set of points for each image.
        chunk: kernel rows in memory at once: chunk * P numbers for each image. Changes no result.

    Returns:
        The filter of values (N, P, L), in the dtype of the values. Gradients reach them.

    Raises:
        ValueError: the features have another shape, the chunk is empty, or P is too large; the
            filter is given values of another P.
    """
    _check_features(features)
    P = features.shape[-2]
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}: give at least one row of the kernel at a time")
    if P > MOST_POINTS:
        raise ValueError(
            f"brute force compares {P} points with each other, {P * P:.1e} pairs in every call; "
            f"at most {MOST_POINTS} points are taken: shrink the image, or use "
            "segcourse.permutohedral.lattice, whose cost grows with the points alone"
        )

    def apply(values: Tensor) -> Tensor:
        _check_values(values, P, features.shape[:-2])
        points = features.to(values)
        return torch.cat([_rows(f, points) @ values for f in points.split(chunk, dim=-2)], dim=1)

    return apply


def separable(height: int, width: int, sigma: float) -> Filter:
    """The smoothness filter, exact: first along the columns of pixels, then along the rows.

    exp(-(dy^2 + dx^2) / 2) is a product of two kernels of one variable, so P * (H + W) numbers
    are added up where brute force adds P^2. Colour has no such order: no appearance kernel here.

    Args:
        height: H in pixels.
        width: W in pixels.
        sigma: in pixels.

    Returns:
        The filter of values (N, P, L), equal to `brute_force(smoothness(height, width, sigma))`.

    Raises:
        ValueError: the image has no pixel, or the sigma is not positive; the filter is given
            values of another P.
    """
    along = kernel_matrix(smoothness(height, 1, sigma)), kernel_matrix(smoothness(1, width, sigma))

    def apply(values: Tensor) -> Tensor:
        _check_values(values, height * width, ())
        down, across = (kernel.to(values) for kernel in along)
        grid = values.unflatten(1, (height, width))
        grid = torch.einsum("ab,nbcl->nacl", down, grid)
        return torch.einsum("ab,ncbl->ncal", across, grid).flatten(1, 2)

    return apply


def normalized(filter: Filter) -> Filter:
    """D^-1/2 K D^-1/2, D the row sums of K: a pixel in a crowd is not shouted at.

    The paper filters with K itself. The authors' C++ package does this instead, unless told
    otherwise, and the parameters that people quote are meant with it. One label more is filtered
    in every call.

    Args:
        filter: any filter of positive weights, which includes j = i.

    Returns:
        A filter whose weights of one row add up to about 1.
    """

    def apply(values: Tensor) -> Tensor:
        scale = filter(torch.ones_like(values[..., :1])).rsqrt()
        return scale * filter(scale * values)

    return apply


def _rows(some: Tensor, points: Tensor) -> Tensor:
    # Differences, not |a|^2 + |b|^2 - 2ab: colours over a small sigma are large numbers, and
    # their squares would eat the digits of a small distance.
    distance = torch.cdist(some, points, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-0.5 * distance**2)


def _check_features(features: Tensor) -> None:
    if features.ndim not in (2, 3) or not features.is_floating_point():
        raise ValueError(
            f"features are {tuple(features.shape)} {features.dtype}, need floating point (P, D) "
            "or (N, P, D): one row a point, divided by its sigmas"
        )


def _check_values(values: Tensor, points: int, batch: tuple[int, ...]) -> None:
    if values.ndim != 3 or values.shape[1] != points:
        raise ValueError(
            f"values are {tuple(values.shape)}, the filter is for {points} points, need "
            f"(N, {points}, L): flatten an image (N, L, H, W) with "
            "image.flatten(2).transpose(1, 2)"
        )
    if batch and values.shape[0] != batch[0]:
        raise ValueError(
            f"values are for {values.shape[0]} images, the features for {batch[0]}: build the "
            "filter from the same batch"
        )
    if not values.is_floating_point():
        raise ValueError(f"values are {values.dtype}, need floating point: convert with .double()")
