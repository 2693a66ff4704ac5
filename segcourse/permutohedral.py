"""Gaussian filtering in many dimensions on a permutohedral lattice (book/crf.ipynb).

Every pixel splats its values onto the corners of the simplex around it, the lattice is blurred
along its axes, and every pixel slices its sum back (Adams, Baek and Davis 2010). All three are
sums of a few weighted rows, so one operator does the work. The cost is linear in pixels, where
the exact sum over pairs is quadratic.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from segcourse.gaussian_filters import Filter
from segcourse.simplex import Simplices, simplices


def weighted_bags(table: Tensor, index: Tensor, weights: Tensor, start: Tensor) -> Tensor:
    """Sum weighted rows: out[b] is the sum over the entries e of bag b of w[e] table[index[e]].

    Args:
        table: (R, L).
        index: row numbers of the entries, bag after bag, of any shape.
        weights: of index's shape.
        start: (B + 1,), where bags begin and the last one ends; of index's dtype.

    Returns:
        (B, L).
    """
    return F.embedding_bag(
        index.view(-1),
        table,
        start,
        mode="sum",
        per_sample_weights=weights.view(-1),
        include_last_offset=True,
    )


def starts(index: Tensor) -> Tensor:
    """Where bags begin that have equally many entries, the rows of `index` (B, E): (B + 1,)."""
    B, E = index.shape
    return torch.arange(0, B * E + 1, E, dtype=index.dtype, device=index.device)


def lattice(features: Tensor) -> Filter:
    """A filter that approximates the sum over all pixels j of exp(-|f_i - f_j|^2 / 2) v_j.

    It has the signature of `gaussian_filters.brute_force`, j = i is included, and gradients reach
    the values. Where pixels lie densely in feature space it is near the exact sum. Else it falls
    short, at single pixels by half: a blur with a short reach only resembles a Gaussian. After
    `gaussian_filters.normalized`, as mean field uses it, most of that cancels.

    Args:
        features: (P, d), or (N, P, d) with one set of points for each image, divided by their
            sigmas. The filter computes in their dtype: float32 is the fast one.

    Returns:
        The filter of values (N, P, L), in the dtype of the values.

    Raises:
        ValueError: features of another shape, not floating point, not finite, or spread too
            widely; the filter is given values of another shape.
    """
    if features.ndim not in (2, 3) or 0 in features.shape:
        raise ValueError(
            f"features are {tuple(features.shape)}, need (P, d) or (N, P, d), no size 0: one row "
            "a point, divided by its sigmas"
        )
    if features.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"features are {features.dtype}: convert them to float32 or float64")
    if not torch.isfinite(features.sum()):
        raise ValueError("features hold NaN or infinity: a sigma of 0 gives these")
    shared = features.ndim == 2
    built = Lattice(features.detach()[None] if shared else features.detach())
    gain = _gain(features.shape[-1])
    points = features.shape[-2]

    def apply(values: Tensor) -> Tensor:
        if values.ndim != 3 or values.shape[1] != points or not values.is_floating_point():
            raise ValueError(
                f"values are {tuple(values.shape)} {values.dtype}, the filter is for {points} "
                f"points, need floating point (N, {points}, L)"
            )
        N, P, L = values.shape
        if not shared and len(features) != N:
            raise ValueError(
                f"values are for {N} images, the features for {len(features)}: build the filter "
                "from the same batch"
            )
        rows = values.to(features.dtype)
        if shared:  # the images stand side by side as if they were labels
            rows = _Filter.apply(rows.transpose(0, 1).reshape(P, N * L), built, False)
            rows = rows.view(P, N, L).transpose(0, 1)
        else:
            rows = _Filter.apply(rows.reshape(N * P, L), built, False).view(N, P, L)
        return (rows * gain).to(values.dtype)

    return apply


def _gain(d: int) -> float:
    """What makes the filter's sum over an evenly filled space that of the Gaussian.

    The taps of the D = d + 1 axes multiply to 2^D, spread over lattice points that are
    (3/2)^(d/2) / sqrt(D) apart in volume; the Gaussian's integral is (2 pi)^(d/2).
    """
    volume = 1.5 ** (d / 2) / math.sqrt(d + 1)
    return (2 * math.pi) ** (d / 2) / (volume * 2 ** (d + 1))


class _Filter(torch.autograd.Function):
    """Splat, blur, slice. The adjoint of slicing is splatting, so only the blurs turn round."""

    @staticmethod
    def forward(ctx, rows: Tensor, built: "Lattice", reverse: bool) -> Tensor:
        ctx.built, ctx.reverse = built, reverse
        return built.slice(built.blur(built.splat(rows.contiguous()), reverse))

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _Filter.apply(grad, ctx.built, not ctx.reverse), None, None


LONGEST = 128
"""Entries of a bag that a GPU adds up one after the other. A lattice point in a large region of one
colour has thousands, and all others would wait for it."""


class Lattice:
    """The lattice points around the pixels as rows of a table, and which row touches which.

    The last row belongs to no lattice point: it stays zero, and stands for missing neighbours.
    Splatting and slicing have the same weights, so that the filter is S'BS.

    Args:
        features: (N, P, d), divided by sigma.
        symmetric: fold into the weights 1 / sqrt(K 1) before and after K = S'BS, the normalization
            of the usual C++ package.
        longest: bags of the splat are summed in parts of at most so many entries; None: in parts
            of LONGEST on a GPU, and whole on a CPU.
    """

    def __init__(self, features: Tensor, symmetric: bool = False, longest: int | None = None):
        N, P, d = features.shape
        found = simplices(features)
        D, points = d + 1, N * P
        U = found.corners.shape[1]
        names, order = found.corners.flatten().sort(stable=True)
        first = torch.ones_like(names, dtype=torch.bool)
        torch.ne(names[1:], names[:-1], out=first[1:])
        row = first.cumsum(0, dtype=torch.int32).sub_(1)
        first = first.nonzero()[:, 0]
        names = names.index_select(0, first)
        self.rows = len(names)
        self.axes = _neighbours(names, found.radix)
        self.taps = features.new_tensor([1, 0.5, 0.5]).repeat(self.rows + 1, 1)
        self.tap_start = starts(self.axes[0])

        # A pixel's rows are those of its simplex. Stacking transposes faster than a copy.
        corner_row = torch.empty_like(row).scatter_(0, order, row).view(D, U)
        self.index = torch.stack(corner_row.unbind(), 1)
        self.slice_weights = torch.stack(found.weights.unbind(), 1)
        entry, end = order.to(torch.int32), first[1:]
        if points > U:
            self.index = self.index.index_select(0, found.simplex)
            entry, end = _expand(found, order, end)
        self.index_start = starts(self.index)
        start = F.pad(end, (1, 2))
        start[-2:] = D * points
        self.start = start.to(torch.int32)
        if longest is None and features.device.type != "cpu":
            longest = LONGEST
        self.parts = None
        if longest is not None:
            begin, part, first = _parts(self.start, D * points, longest)
            self.parts = begin, part, features.new_ones(len(part)), first
        weights = found.weights
        if symmetric:
            mass = self.slice_weights.new_zeros(self.rows + 1)
            mass.index_add_(0, self.index.view(-1), self.slice_weights.view(-1))
            norm = self.slice(self._blur_column(mass))[:, 0].rsqrt_()
            self.slice_weights *= norm[:, None]
            weights = weights * norm
        # Entry k * points + p of the weights is what pixel p gives to its corner of remainder k.
        self.splat_weights = weights.view(-1).index_select(0, entry)
        self.pixel = entry.remainder_(points)

    def splat(self, values: Tensor) -> Tensor:
        """(N * P, L) pixels to (rows + 1, L)."""
        if self.parts is None:
            return weighted_bags(values, self.pixel, self.splat_weights, self.start)
        begin, part, ones, start = self.parts
        sums = weighted_bags(values, self.pixel, self.splat_weights, begin)
        return weighted_bags(sums, part, ones, start)

    def blur(self, rows: Tensor, reverse: bool = False) -> Tensor:
        """(rows + 1, L) to the same: 1/2, 1, 1/2 along every axis."""
        for axis in reversed(self.axes) if reverse else self.axes:
            rows = weighted_bags(rows, axis, self.taps, self.tap_start)
        return rows

    def _blur_column(self, mass: Tensor) -> Tensor:
        """`blur` of (rows + 1,) to (rows + 1, 1)."""
        if mass.device.type != "cpu":
            return self.blur(mass[:, None])
        for axis in self.axes:  # sooner for a single column, on a CPU
            beside = mass.index_select(0, axis[:, 1]).add_(mass.index_select(0, axis[:, 2]))
            mass.add_(beside, alpha=0.5)
        return mass[:, None]

    def slice(self, rows: Tensor) -> Tensor:
        """(rows + 1, L) to (N * P, L) pixels."""
        return weighted_bags(rows, self.index, self.slice_weights, self.index_start)


def _parts(start: Tensor, entries: int, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut bags into parts.

    Args:
        start: (B + 1,) int32, where bags begin and the last one ends. The last bag is empty.
        entries: of all bags.
        longest: most entries of a part.

    Returns:
        Where parts begin and the last one ends, the parts' numbers, and at which of these the bags
        begin and the last one ends. There are as many parts as it could take at most, known without
        a look at the sizes; those that are not needed are empty, and belong to the last bag.
    """
    B = len(start) - 1
    most = entries // longest + B
    count = (start.diff() + (longest - 1)) // longest
    first = F.pad(count.cumsum(0, dtype=torch.int32), (1, 0))
    part = torch.arange(most + 1, dtype=torch.int32, device=start.device)
    bag = torch.searchsorted(first, part, right=True).sub_(1)
    begin = (part - first.index_select(0, bag)).mul_(longest).add_(start.index_select(0, bag))
    first[-1] = most
    return begin.clamp_(max=entries), part[:-1], first


def _expand(found: Simplices, order: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """From corners of simplices, sorted by row, to corners of pixels.

    A row's pixels are those of all simplices that have it as a corner: runs of `found.order`, one
    after the other. Their positions go up by one inside a run and jump between runs.

    Args:
        found: of P pixels.
        order: (D * U,), corners sorted by row.
        first: positions in `order`.

    Returns:
        (D * P,) int32, k * P + p for corner k of pixel p, sorted by row; `first` in this list.
    """
    D, P = found.weights.shape
    turns = torch.arange(0, D * P, P, dtype=torch.int32, device=order.device)[:, None]
    runs = torch.stack([found.start[:-1], found.start[1:] - 1], 1).to(torch.int32)
    runs = (runs + turns[:, None]).view(torch.int64).flatten()
    # The first and the last position of a run move together, as if they were one integer.
    begin, last = runs.index_select(0, order).view(torch.int32).view(-1, 2).unbind(1)
    end = (last - begin).add_(1).cumsum(0)
    source = torch.ones(D * P, dtype=torch.int32, device=order.device)
    source[0] = begin[0]
    source.scatter_(0, end[:-1], begin[1:] - last[:-1])
    source = source.cumsum(0, dtype=torch.int32)
    entry = (found.order.to(torch.int32) + turns).flatten().index_select(0, source)
    return entry, end.index_select(0, first - 1)


def _neighbours(names: Tensor, radix: list[int]) -> list[Tensor]:
    """For each of D axes (M + 1, 3) int32: a row, the next one along the axis, and the last one.

    Args:
        names: (M,), sorted. Row M stands for those that are missing.
        radix: see `simplex.Simplices`.
    """
    # A step adds 1 to every coordinate but this one, which falls by d: the remainder rises by 1
    # and the quotient falls. From the largest remainder it goes to 0, and quotients rise.
    D, M = len(radix), len(names)
    wrap = sum(radix) + 1 - D
    up = torch.where(names % D == D - 1, wrap, 1).to(names.dtype)
    falls = torch.tensor(radix, dtype=names.dtype, device=names.device)[:, None]
    find = _from_table if names.device.type == "cpu" else _searched
    ahead = F.pad(find(names, up - falls, falls, wrap), (0, 1), value=M)
    me = torch.arange(M + 1, dtype=torch.int32, device=names.device).expand(D, -1)
    behind = torch.full_like(ahead, M).scatter_(1, ahead.long(), me)
    behind[:, M] = M
    return list(torch.stack([me, ahead, behind], 2))


def _searched(names: Tensor, steps: Tensor, falls: Tensor, wrap: int) -> Tensor:
    """The rows of `names + steps` by a binary search for each: (D, M) int32, M where there is none.

    Args:
        names: (M,), sorted.
        steps: (D, M), to the next name along each axis.
        falls: (D, 1), by how much a name falls with the axis' quotient.
        wrap: by how much a name grows when its remainder goes back to 0, `falls` apart.
    """
    M = len(names)
    wanted = names + steps
    at = torch.searchsorted(names, wanted, out_int32=True).clamp_(max=M - 1)
    return torch.where(names.index_select(0, at.flatten()).view_as(wanted) == wanted, at, M)


def _from_table(names: Tensor, steps: Tensor, falls: Tensor, wrap: int) -> Tensor:
    """The same from a table: sooner on a CPU, where it costs nothing to ask how many were lost."""
    # Names modulo a number are places of a table. A row whose place another one took is searched
    # for from the other side: of the row before it the name is known, too.
    D, M = steps.shape
    me = torch.arange(M, dtype=torch.int32, device=names.device)
    places = 8 * M + 1
    place = (names % places).long()
    table = torch.full((places,), M, dtype=torch.int32, device=names.device)
    table.scatter_(0, place, me)
    lost = (table.index_select(0, place) != me).nonzero()[:, 0]
    wanted = names + steps
    at = table.index_select(0, (wanted % places).flatten())
    found = F.pad(names, (0, 1), value=-1).index_select(0, at).view(D, M) == wanted
    ahead = torch.where(found, at.view(D, M), M)
    lost_names = names.index_select(0, lost)
    before = lost_names - torch.where(lost_names % D == 0, wrap, 1).to(names.dtype)
    wanted = before + falls
    at = torch.searchsorted(names, wanted).clamp_(max=M - 1)
    there = names.index_select(0, at.flatten()).view_as(wanted) == wanted
    axis, which = there.nonzero().unbind(1)
    ahead[axis, at[axis, which]] = me[lost[which]]
    return ahead
