"""The simplices of the permutohedral lattice around points (book/crf.ipynb).

In d dimensions a cube has 2^d corners, a simplex d + 1. The permutohedral lattice fills space with
equal simplices, and rounding d + 1 coordinates, then sorting what was rounded away, finds the one
around a point (Adams, Baek and Davis 2010, section 3.1). Points are grouped by their simplex where
many share one, as neighbouring pixels of like colour do: they are numbered and sorted together.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Simplices:
    """Which simplex each of P points lies in, and where. D = d + 1 corners, as many axes.

    The D coordinates of a lattice point leave one remainder when divided by D, and a simplex has
    one corner of each remainder. An integer names a corner: its quotients are digits, the
    remainder is the last digit.

    simplex: (P,) int64, the simplex of each point, 0..U - 1. Where few points share one, U is P:
        every point's simplex is listed, and some more than once.
    order: (P,) int64, points sorted by simplex.
    start: (U + 1,) int64, where in `order` each simplex's points begin and the last one's end.
    corners: (D, U) int64 or int32, names; row k holds the corners of remainder k.
    weights: (D, P), barycentric: not negative, the D weights of a point sum to 1.
    radix: D integers, by how much a name grows when a quotient grows by one. The first quotient
        follows from the others and has radix 0.
    """

    simplex: Tensor
    order: Tensor
    start: Tensor
    corners: Tensor
    weights: Tensor
    radix: list[int]


def simplices(features: Tensor) -> Simplices:
    """Find the simplex around each point and its barycentric weights in it.

    Args:
        features: (N, P, d), in standard deviations. Images of a batch share no simplex.

    Returns:
        Simplices of N * P points.

    Raises:
        ValueError: the points reach over more lattice cells than 64 bits number.
    """
    N, P, d = features.shape
    with torch.autocast(features.device.type, enabled=False):  # bfloat16 cannot tell pixels apart
        elevated = _elevation(d, features) @ features.reshape(N * P, d).T
    quotient = torch.round(elevated)
    residual = elevated - quotient
    # Rounded one by one the quotients need not sum to 0, as they do in the lattice's plane. Those
    # that rounding moved most go back by one until they do.
    rank = _rank_from_largest(residual) + quotient.sum(0).to(torch.int8)
    back = (rank < 0).view(torch.int8) - (rank > d).view(torch.int8)
    rank.add_(back, alpha=d + 1)
    quotient += back
    residual -= back
    weights = _barycentric(residual)

    # Digits leave room for a corner, one lower, and for its neighbours, one lower or higher.
    lowest = quotient.amin(1, keepdim=True) - 2
    quotient -= lowest
    sizes = [int(size) + 2 for size in quotient.amax(1).tolist()]
    # All numbers below are Python's: a 0-dimensional int64 tensor does not widen an int32 tensor,
    # and names would overflow without a word.
    names = math.prod(sizes[1:]) * (d + 1)
    if N * names >= 2**63:
        raise ValueError(
            f"features reach over {sizes[1:]} lattice cells in {d} dimensions, more than 64 bits "
            "number: divide features by larger sigmas, or use fewer of them"
        )
    radix = [0] + [math.prod(sizes[1:j]) * (d + 1) for j in range(1, d + 1)]

    # D times a quotient less the rank: digits that name a simplex.
    codes = math.prod(sizes[1:]) * (d + 1) ** d
    simplex = order = start = torch.arange(N * P, device=features.device)  # each its own
    image = torch.arange(N, device=features.device).repeat_interleave(P)
    if N * codes < 2**63:
        code = (image * codes).to(_integer(N * codes))
        for j in range(1, d + 1):
            digit = (quotient[j] * (d + 1)).sub_(rank[j]).to(code.dtype)
            code.add_(digit, alpha=math.prod(sizes[1:j]) * (d + 1) ** (j - 1))
        # Sorting corners by 64 bits takes twice as long, so that fewer of them always pay. A GPU
        # sorts in no time, and would wait to hear how many there are.
        if code.device.type == "cpu" and (N * names >= 2**31 or _often_shared(code)):
            simplex, order, start = _groups(code)
            some = order.index_select(0, start)  # a point of each simplex speaks for all
            image = image.index_select(0, some)
            quotient, rank = ([row.index_select(0, some) for row in x] for x in (quotient, rank))
    corners = torch.empty(d + 1, len(image), dtype=_integer(N * names), device=features.device)
    corners[0] = image * names
    for j in range(1, d + 1):
        corners[0].add_(quotient[j].to(corners.dtype), alpha=radix[j])
    turn = torch.arange(d, 0, -1, dtype=torch.int8, device=features.device)[:, None]
    corners[1:] = 1
    for j in range(1, d + 1):  # from corner to corner one more quotient falls
        corners[1:].sub_((rank[j] == turn).view(torch.int8), alpha=radix[j])
    for k in range(1, d + 1):
        corners[k].add_(corners[k - 1])
    return Simplices(simplex, order, F.pad(start, (0, 1), value=N * P), corners, weights, radix)


def corner_places(features: Tensor) -> Tensor:
    """Where the lattice points around the points lie, in the space of the features.

    Args:
        features: (P, d), in standard deviations.

    Returns:
        (M, d), one row for each lattice point that is a corner of some point's simplex, in the
        order of the rows of `permutohedral.Lattice`.

    Raises:
        ValueError: see `simplices`.
    """
    found = simplices(features[None])
    names, row = found.corners.unique(return_inverse=True)
    D = len(found.weights)
    remainder = names % D
    # Quotients count from below the points: from an unknown place, which one point gives away.
    above = [*found.radix[2:], int(names.max()) + 1]
    digits = [names % upper // unit for unit, upper in zip(found.radix[1:], above, strict=True)]
    elevated = torch.stack(digits).to(features) + remainder.to(features) / D
    elevated = torch.cat([-elevated.sum(0, keepdim=True), elevated])
    places = (torch.linalg.pinv(_elevation(D - 1, features)) @ elevated).T
    corners = row[:, found.simplex[0]]
    return places + (features[0] - found.weights[:, 0] @ places[corners])


def _integer(count: int) -> torch.dtype:
    """The smaller integer type that holds 0..count - 1."""
    return torch.int32 if count < 2**31 else torch.int64


def _often_shared(code: Tensor) -> bool:
    """Whether there are less than half as many codes as points, to judge by a part of the codes."""
    some = code[(code & 31) == 0]  # all points of a code, or none
    return 2 * len(some.unique()) < len(some)


def _groups(code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number equal codes: each point's group, points in order of groups, where groups start."""
    code, order = code.sort(stable=True)
    first = torch.ones_like(code, dtype=torch.bool)
    torch.ne(code[1:], code[:-1], out=first[1:])
    group = torch.empty_like(order).scatter_(0, order, first.cumsum(0).sub_(1))
    return group, order, first.nonzero()[:, 0]


def _elevation(d: int, like: Tensor) -> Tensor:
    """(d + 1, d), to the plane of D coordinates that sum to 0, in units of D.

    Scaled so that splat, blur and slice together have a standard deviation of one feature unit
    along every axis (section 3.1).
    """
    i = torch.arange(1, d + 1, dtype=like.dtype)  # on the CPU: twelve small steps
    rows = torch.ones(d + 1, d, dtype=like.dtype).triu()
    rows = (rows - torch.diag(i, -1)[:, :d]) * (math.sqrt(2 / 3) / torch.sqrt(i * (i + 1)))
    return rows.to(like.device)


def _rank_from_largest(x: Tensor) -> Tensor:
    """Rank of each of D values in its column as int8, 0 for the largest, ties by row."""
    rank = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    for j in range(len(x)):
        rank[j] = len(x) - 1 - j
    for j in range(len(x)):
        for k in range(j + 1, len(x)):
            ahead = (x[j] >= x[k]).view(torch.int8)
            rank[k].add_(ahead)
            rank[j].sub_(ahead)
    return rank


def _barycentric(residual: Tensor) -> Tensor:
    """Weights (D, P) of the corners by remainder: gaps between the sorted residuals (D, P)."""
    rows = list(residual)
    for last in range(len(rows) - 1, 0, -1):  # whole rows change places: torch.sort takes longer
        for j in range(last):
            high, low = torch.maximum(rows[j], rows[j + 1]), torch.minimum(rows[j], rows[j + 1])
            rows[j], rows[j + 1] = high, low
    weights = torch.empty_like(residual)
    torch.sub(rows[-1], rows[0], out=weights[0]).add_(1)
    for k in range(1, len(rows)):
        torch.sub(rows[-k - 1], rows[-k], out=weights[k])
    return weights
