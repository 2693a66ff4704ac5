"""Pixels between two cells that touch weigh most: U-Net's border weight map (book/unet.ipynb).

A gap one pixel wide is few of the pixels, and all that keeps two cells apart. Ronneberger et
al. 2015, equation 2: w(x) = w_c(x) + w0 exp(-(d1 + d2)^2 / (2 sigma^2)), with the distances d1 and
d2 to the nearest and the second nearest cell. Both distances are exact, for any number of cells.
"""

import torch
from torch import Tensor

CHUNK = 2**22
"""Candidates compared at once, 4 bytes each."""


def border_weights(
    instances: Tensor,
    class_weights: Tensor | None = None,
    w0: float = 10.0,
    sigma: float = 5.0,
) -> Tensor:
    """Weigh each pixel for the loss.

    Inside of cells only w_c counts: the paper gives no distances there.

    Args:
        instances: (H, W) or (N, H, W) integer; 0 is background, k > 0 is cell k.
        class_weights: (2,) w_c of background and cell, against the imbalance of the two; None: 1.
        w0: weight of a pixel where d1 + d2 would be 0; 10 in the paper.
        sigma: how fast it falls with d1 + d2, in px; about 5 in the paper.

    Returns:
        Weights of the same shape, float32 (or the class weights' dtype where that is floating).

    Raises:
        TypeError: the instances are not integers.
        ValueError: w0 or an instance is negative, sigma is not above 0, or class_weights is not
            (2,).
    """
    if w0 < 0 or not sigma > 0:
        raise ValueError(f"w0 is {w0} and sigma {sigma} px: give w0 of 0 or more and sigma above 0")
    if class_weights is None:
        class_weights = torch.ones(2, device=instances.device)
    if class_weights.shape != (2,):
        raise ValueError(
            f"class_weights are {tuple(class_weights.shape)}: (2,) is needed, background and cell"
        )
    if not class_weights.is_floating_point():
        class_weights = class_weights.float()
    nearest, second = two_nearest(instances)
    cell = instances > 0
    reach = (nearest + second).to(class_weights)
    gap = w0 * torch.exp(-(reach.square()) / (2 * sigma**2))
    return class_weights[cell.long()] + gap.masked_fill(cell, 0)


def two_nearest(instances: Tensor) -> tuple[Tensor, Tensor]:
    """Distances from each pixel to the nearest and to the second nearest cell.

    Exact, and the time does not grow with the number of cells. Like every Euclidean distance
    transform that is separable: first along each column, then along each row, squared distances
    adding up. What is new is that each place keeps two candidates, of two different cells; a third
    can never become one of the two nearest.

    Args:
        instances: (H, W) or (N, H, W) integer; 0 is background, k > 0 is cell k.

    Returns:
        Two float32 tensors of the same shape: px between pixel centres, 0 inside of a cell for
        the nearest; inf where there is no such cell.

    Raises:
        TypeError: the instances are not integers.
        ValueError: an instance is negative, or there are other than 2 or 3 axes.

    >>> [d.tolist() for d in two_nearest(torch.tensor([[1, 0, 0, 2]]))]
    [[[0.0, 1.0, 1.0, 0.0]], [[3.0, 2.0, 2.0, 3.0]]]
    """
    if instances.is_floating_point() or instances.dtype == torch.bool:
        raise TypeError(f"instances are {instances.dtype}: integers are needed, 0 for background")
    if instances.ndim not in (2, 3):
        raise ValueError(f"instances are {tuple(instances.shape)}: (H, W) or (N, H, W) is needed")
    if instances.numel() and instances.min() < 0:
        raise ValueError(f"an instance is {instances.min()}: 0 is background, cells are above 0")
    maps = instances.long().reshape(-1, *instances.shape[-2:])  # (N, H, W)
    far = 4 * (max(maps.shape[1:]) + 1) ** 2  # more than any squared distance, even twice
    squared, owner = _along_columns(maps, far)  # (2, N, H, W) each, int32
    lines = (part.permute(1, 2, 0, 3).flatten(0, 1) for part in (squared, owner))
    found = [_along_row(*chunk, far) for chunk in _chunks(*lines)]  # (rows, 2, W) each
    best = torch.cat(found).reshape(*maps.shape[:2], 2, -1).movedim(2, 0)
    distance = best.float().sqrt().masked_fill(best >= far, torch.inf)
    first, second = (part.reshape(instances.shape) for part in distance)
    return first, second


def _along_columns(maps: Tensor, far: int) -> tuple[Tensor, Tensor]:
    """Squared distances to the two nearest cells of each pixel's column, and the cells."""
    above, below = _last_two(maps), _last_two(maps.flip(1)).flip(2)
    H = maps.shape[1]
    row = torch.arange(H, device=maps.device)[:, None]
    # Rows where they lie, from above and, counted from the other end, from below; -1: none.
    places = torch.cat((above, torch.where(below < 0, -1, H - 1 - below)))  # (4, N, H, W)
    cells = maps.expand(4, *maps.shape).gather(2, places.clamp(min=0))
    steps = torch.where(places < 0, far, (row - places).square())
    # A neighbour above and one below may be the same cell, which must not count twice.
    first = steps.argmin(0, keepdim=True)
    cell = cells.gather(0, first)
    others = torch.where(cells == cell, far, steps)
    second = others.argmin(0, keepdim=True)
    squared = torch.cat((steps.gather(0, first), others.gather(0, second)))
    return squared.int(), torch.cat((cell, cells.gather(0, second))).int()


def _last_two(maps: Tensor) -> Tensor:
    """Rows (2, N, H, W), going down: of the last cell met, and of the last of another cell."""
    row = torch.arange(maps.shape[1], device=maps.device)[:, None].expand(maps.shape)
    last = torch.where(maps > 0, row, -1).cummax(1).values
    before = torch.cat((torch.full_like(last[:, :1], -1), last[:, :-1]), 1)
    met = maps.gather(1, before.clamp(min=0))
    changes = (maps > 0) & (before >= 0) & (met != maps)
    return torch.stack((last, torch.where(changes, before, -1).cummax(1).values))


def _chunks(squared: Tensor, owner: Tensor):
    """Lines (R, 2, W) in parts whose W x W comparisons fit into memory."""
    rows = max(1, CHUNK // (2 * squared.shape[2] ** 2))
    yield from zip(squared.split(rows), owner.split(rows), strict=True)


def _along_row(squared: Tensor, owner: Tensor, far: int) -> Tensor:
    """Squared distances to the two nearest cells of all, (R, 2, W), from those of each column."""
    R, _, W = squared.shape
    col = torch.arange(W, device=squared.device, dtype=torch.int32)
    across = (col[:, None] - col).square()  # from where, to where
    # Every pixel of a line looks at both candidates of every column of the line.
    total = (squared[:, None] + across[:, None, :]).reshape(R, W, 2 * W)
    names = owner.reshape(R, 1, 2 * W)
    first, at = total.min(2)
    cell = names.expand(R, W, 2 * W).gather(2, at[:, :, None])
    second = total.masked_fill(names == cell, far).amin(2)
    return torch.stack((first, second), 1).clamp(max=far)
