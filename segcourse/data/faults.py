"""What can be wrong with one mask, told before a model trains on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segcourse.data.base import MASK_MODES, decode, open_picture, read_mask
from segcourse.errors import DataError
from segcourse.labels import IGNORE, Classes

INTERPOLATED = 0.2
"""Above this share of borders with a value in between, a mask is called interpolated."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Args:
        path: the file or folder.
        kind: in a few words, the same for the same fault: "missing mask", "size mismatch", ...
        message: what is there, what is needed and what to do.
    """

    path: str
    kind: str
    message: str


@dataclass(frozen=True)
class Rules:
    """What a mask of one data set may hold."""

    table: np.ndarray
    num_classes: int
    read: Callable[[Path], np.ndarray] = read_mask
    colors: Classes | None = None  # what a palette mask's colours must be,
    colored: frozenset[int] = frozenset()  # for the classes of which someone said so


def check_mask(path: Path, rules: Rules) -> tuple[np.ndarray | None, list[Fault]]:
    """Read one mask: its values (H, W), or None where there are none to read, and its faults."""
    faults = []
    if path.suffix.lower() in (".jpg", ".jpeg"):
        text = "is a JPEG, which changes labels near borders: use the original, saved as PNG"
        faults.append(Fault(str(path), "lossy mask", text))
    if path.suffix.lower() != ".mat":
        try:
            picture = open_picture(path)
        except DataError as error:
            return None, [*faults, Fault(str(path), "unreadable mask", str(error))]
        if picture.mode not in MASK_MODES:
            return None, [*faults, Fault(str(path), "colour mask", conversion(picture.mode, path))]
        if picture.mode == "P" and rules.colors is not None:
            faults += _check_palette(picture, path, rules.colors, rules.colored)
    try:
        values = rules.read(path)
    except DataError as error:
        return None, [*faults, Fault(str(path), "unreadable mask", str(error))]
    try:
        decode(values, rules.table, rules.num_classes, path)
    except DataError as error:
        faults.append(Fault(str(path), "label out of range", str(error)))
    share = share_between(values, rules.table)
    if share > INTERPOLATED:
        text = (
            f"looks interpolated: along {100 * share:.0f} % of its class borders lies a value in "
            "between, which names a third class. Resize the original with nearest neighbour"
        )
        faults.append(Fault(str(path), "interpolated mask", text))
    return values, faults


def conversion(mode: str, path: Path) -> str:
    """Say how to turn a colour mask into indices."""
    return (
        f"is a {mode} image, but a mask holds one class index a pixel. Write the palette into "
        "classes.txt, one 'name #rrggbb' a line in the order of the indices, and run "
        f"`segcourse data convert {path.parent} --out DIR`; or in Python: "
        'Image.fromarray(colors_to_indices(np.array(Image.open(path).convert("RGB")), '
        "classes)).save(out)"
    )


def _check_palette(
    picture: Image.Image, path: Path, classes: Classes, colored: frozenset[int]
) -> list[Fault]:
    """Compare the colours behind the indices with those of classes.txt."""
    indices = np.unique(np.array(picture))
    colors = np.array(picture.convert("RGB")).reshape(-1, 3)
    flat = np.array(picture).ravel()
    for index in indices.tolist():
        r, g, b = colors[np.argmax(flat == index)].tolist()
        if index in colored and (r, g, b) != classes.palette[index]:
            text = (
                f"is a palette image whose index {index} is painted #{r:02x}{g:02x}{b:02x}, but "
                f"classes.txt gives class {index} ({classes.names[index]}) another colour: the "
                "indices may be in another order. Run "
                f"`segcourse data convert {path.parent} --out DIR`"
            )
            return [Fault(str(path), "palette mask", text)]
    return []


def share_between(values: np.ndarray, table: np.ndarray) -> float:
    """Share of class borders with one pixel of a value in between, along rows and columns.

    Nearest neighbour gives a few per cent (0 to 6 % on CamVid's masks, kept or shrunk), bilinear
    half (43 to 56 %). Below 8 such pixels the answer is 0.
    """
    between = borders = 0
    void = np.append(np.flatnonzero(table == IGNORE), IGNORE)
    # int32 first: in uint8, -1 wraps to 255 or overflows, as NumPy's version has it.
    values = np.where(np.isin(values, void), np.int32(-1), values.astype(np.int32))
    for v in (values, values.T):
        left, mid, right = v[:, :-2], v[:, 1:-1], v[:, 2:]
        low, high = np.minimum(left, right), np.maximum(left, right)
        labelled = (low >= 0) & (mid >= 0)
        borders += int((labelled & (high - low >= 2)).sum())
        between += int((labelled & (low < mid) & (mid < high)).sum())
    return between / borders if between >= 8 else 0.0
