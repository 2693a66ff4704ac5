"""Cells counted and compared as objects: components, merged and split cells, Rand error.

Pixel metrics hardly notice one wrong pixel between two cells; here that pixel makes one cell of
two. A label map becomes objects by its connected components, and two maps of objects are compared
through how many pixels each pair of objects shares (book/unet.ipynb).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def connected_components(mask: Tensor, corners: bool = False) -> Tensor:
    """Number the connected regions of a mask.

    Neighbouring pixels join their trees, and every tree is flattened to its root, until nothing
    changes: a few rounds of whole-image operations, however long and winding the regions are.

    Args:
        mask: (H, W) or (N, H, W) bool, on any device.
        corners: whether pixels that touch at a corner are connected (8 neighbours, not 4).

    Returns:
        int64 of the same shape: 0 where the mask is False, and 1..R in the order in which regions
        are met, row by row, in each map anew.

    Raises:
        TypeError: the mask is not bool.
        ValueError: it has other than 2 or 3 axes.

    >>> connected_components(torch.tensor([[1, 0, 1], [1, 0, 1]]) > 0).tolist()
    [[1, 0, 2], [1, 0, 2]]
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"the mask is {mask.dtype}: bool is needed, as labels == 1")
    if mask.ndim not in (2, 3):
        raise ValueError(f"the mask is {tuple(mask.shape)}: (H, W) or (N, H, W) is needed")
    maps = mask.reshape(-1, *mask.shape[-2:])  # (N, H, W)
    place = torch.arange(maps.numel(), device=mask.device).reshape(maps.shape)
    parent, a, b = place.flatten(), *_neighbours(maps, place, corners)
    while len(a):
        low, high = torch.minimum(parent[a], parent[b]), torch.maximum(parent[a], parent[b])
        parent = parent.scatter_reduce(0, high, low, "amin")
        while not torch.equal(parent, parent[parent]):
            parent = parent[parent]
        apart = parent[a] != parent[b]
        a, b = a[apart], b[apart]
    # A root is the first pixel of its region, so counting roots up to it numbers the region.
    roots = (parent == place.flatten()).reshape(maps.shape) & maps
    number = roots.flatten(1).cumsum(1)
    return (number.flatten()[parent] * maps.flatten()).reshape(mask.shape)


def contingency(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count the pixels that each pair of objects shares.

    Args:
        truth, predicted: integers of one shape, 0 or more.

    Returns:
        Three int64 tensors, one entry for each pair that occurs: the object of `truth`, that of
        `predicted`, and the number of pixels.

    Raises:
        TypeError: a map is not of integers.
        ValueError: the shapes differ, or a number is negative.
    """
    for name, x in (("truth", truth), ("predicted", predicted)):
        if x.is_floating_point() or x.dtype == torch.bool:
            raise TypeError(f"{name} is {x.dtype}: numbers of objects are needed, integers")
        if x.numel() and x.min() < 0:
            raise ValueError(f"{name} holds {x.min()}: objects are numbered from 1, 0 is none")
    if truth.shape != predicted.shape:
        raise ValueError(
            f"truth is {tuple(truth.shape)} and predicted {tuple(predicted.shape)}: one shape is "
            "needed"
        )
    if not truth.numel():
        return (truth.new_zeros(0, dtype=torch.int64),) * 3
    base = int(predicted.max()) + 1
    pairs, pixels = torch.unique(truth.long() * base + predicted.long(), return_counts=True)
    return pairs // base, pairs % base, pixels


@dataclass(frozen=True)
class RandError:
    """Disagreement about which pixels belong together; see `adapted_rand_error`."""

    error: float
    precision: float
    recall: float


def adapted_rand_error(truth: Tensor, predicted: Tensor) -> RandError:
    """One minus the F-score of "these two pixels are of one object", over all pairs of pixels.

    Pixels that are no object in the truth are left out (Arganda-Carreras et al. 2015). What is
    predicted as no object counts as one object more, number 0. Equal to scikit-image's
    `adapted_rand_error`, and needs no scikit-image.

    Args:
        truth, predicted: (H, W) integers, 0 where no object is.

    Returns:
        `error` in 0..1, 0 for the same objects. `precision` is the share of predicted pairs that
        are true ones: merging two objects lowers it. `recall` is the share of true pairs that are
        found: splitting lowers it. nan where there is no pair.

    Raises:
        TypeError, ValueError: as `contingency`.
    """
    of_truth, of_predicted, pixels = contingency(truth, predicted)
    known = of_truth > 0
    of_truth, of_predicted, pixels = of_truth[known], of_predicted[known], pixels[known]
    both = _pairs(pixels)
    true, found = (
        _pairs(torch.bincount(part, pixels.double()).long()) for part in (of_truth, of_predicted)
    )
    total = true + found
    return RandError(
        error=1 - 2 * both / total if total else float("nan"),
        precision=both / found if found else float("nan"),
        recall=both / true if true else float("nan"),
    )


@dataclass(frozen=True)
class ObjectErrors:
    """How the objects of the truth were found: numbers of true objects.

    objects: all of them. merged: those that share a predicted object with another one. split:
    those in several predicted objects. missed: those in none. One may be both merged and split.
    """

    objects: int
    merged: int
    split: int
    missed: int


def object_errors(truth: Tensor, predicted: Tensor, share: float = 0.25) -> ObjectErrors:
    """Count merged, split and missed objects.

    A predicted object takes a true one when it covers at least `share` of its pixels. So a few
    pixels across a border are no error, and a bridge of one pixel between two objects is.

    Args:
        truth, predicted: (H, W) integers, 0 where no object is.
        share: above 0, at most 1.

    Raises:
        TypeError, ValueError: as `contingency`, or a share outside its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: give a part of an object's pixels, above 0, up to 1")
    of_truth, of_predicted, pixels = contingency(truth, predicted)
    known = of_truth > 0
    of_truth, of_predicted, pixels = of_truth[known], of_predicted[known], pixels[known]
    objects, row = torch.unique(of_truth, return_inverse=True)
    size = torch.bincount(row, pixels.double())
    takes = (of_predicted > 0) & (pixels >= share * size[row])
    row, taker = row[takes], of_predicted[takes]
    takers = torch.bincount(row, minlength=len(objects))  # predicted objects that take each one
    taken = torch.bincount(taker)  # true objects that each predicted one takes
    merged = torch.unique(row[taken[taker] > 1])
    return ObjectErrors(
        objects=len(objects),
        merged=len(merged),
        split=int((takers > 1).sum()),
        missed=int((takers == 0).sum()),
    )


def _neighbours(maps: Tensor, place: Tensor, corners: bool) -> tuple[Tensor, Tensor]:
    """The places of all pairs of neighbouring pixels that are both in the mask."""
    everything, but_last, but_first = slice(None), slice(None, -1), slice(1, None)
    steps = [(everything, everything, but_last, but_first)]  # rows of one and other, then columns
    steps.append((but_last, but_first, everything, everything))
    if corners:
        steps += [(but_last, but_first, but_last, but_first)]
        steps += [(but_last, but_first, but_first, but_last)]
    one, other = [], []
    for rows, other_rows, cols, other_cols in steps:
        both = maps[:, rows, cols] & maps[:, other_rows, other_cols]
        one.append(place[:, rows, cols][both])
        other.append(place[:, other_rows, other_cols][both])
    return torch.cat(one), torch.cat(other)


def _pairs(pixels: Tensor) -> float:
    """Twice the number of pairs within groups of these sizes."""
    pixels = pixels.double()
    return (pixels * (pixels - 1)).sum().item()
