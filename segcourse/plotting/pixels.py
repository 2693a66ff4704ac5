"""Labels as pixels: colour a label map, lay it over its image (every chapter).

Arrays in, new uint8 arrays out, no drawing library. Void is hatched in two greys, because a
plain grey is a class colour in some data sets (CamVid's sky).
"""

from collections.abc import Iterable

import numpy as np

from segcourse.labels import IGNORE, Classes
from segcourse.plotting.colors import WARM, rgb

VOID_DARK, VOID_LIGHT = 110, 215


def as_array(x: object) -> np.ndarray:
    """A NumPy array from an array, nested numbers, or a tensor on any device, detached."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    return np.asarray(x)


def as_picture(image: object) -> np.ndarray:
    """Bring an image to (H, W, 3) uint8.

    Args:
        image: uint8, (3, H, W) or (H, W, 3). Where both readings fit, a tensor is taken as
            (3, H, W) and an array as (H, W, 3).

    Raises:
        TypeError: not uint8.
        ValueError: neither layout fits.
    """
    array = as_array(image)
    if array.dtype != np.uint8:
        raise TypeError(
            f"the image is {array.dtype}, uint8 in 0..255 is needed: "
            "for floats in 0..1, (image * 255).round() as uint8"
        )
    first, last = (array.ndim == 3 and array.shape[i] == 3 for i in (0, 2))
    if first and (not last or hasattr(image, "detach")):
        return array.transpose(1, 2, 0)
    if last:
        return array
    raise ValueError(
        f"the image has shape {array.shape}, (3, H, W) or (H, W, 3) is needed: "
        "take one image of a batch, or repeat a grey one three times"
    )


def as_labels(labels: object, classes: Classes) -> np.ndarray:
    """Bring labels to an (H, W) integer array and check them against the classes.

    Raises:
        TypeError: not integers.
        ValueError: not two-dimensional, or a label that is neither a class nor void.
    """
    array = as_array(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"the labels are {array.dtype}, integers are needed: argmax scores first")
    if array.ndim != 2:
        raise ValueError(
            f"the labels have shape {array.shape}, (H, W) is needed: take one map of a batch"
        )
    wrong = array[(array != IGNORE) & ((array < 0) | (array >= len(classes)))]
    if wrong.size:
        raise ValueError(
            f"labels hold {wrong[0]} at {np.count_nonzero(array == wrong[0])} pixels, outside "
            f"0..{len(classes) - 1}: pass the classes of this data set or map the label to {IGNORE}"
        )
    return array


def color_labels(labels: object, classes: Classes) -> np.ndarray:
    """Each label in its class colour, void in diagonal hatching.

    Args:
        labels: (H, W) integers in 0..K-1, or IGNORE.
        classes: names and palette.

    Returns:
        (H, W, 3) uint8.

    Raises:
        TypeError, ValueError: see `as_labels`.
    """
    index = as_labels(labels, classes)
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.palette
    colours = table[index]
    rows, cols = np.indices(index.shape)
    hatch = np.where((rows + cols) % 4 < 2, VOID_DARK, VOID_LIGHT).astype(np.uint8)
    void = index == IGNORE
    colours[void] = hatch[void][:, None]
    return colours


def overlay(image: object, labels: object, classes: Classes, alpha: float = 0.6) -> np.ndarray:
    """Lay coloured labels over their image.

    Args:
        image: uint8, (3, H, W) or (H, W, 3).
        labels: (H, W) integers in 0..K-1, or IGNORE.
        classes: names and palette.
        alpha: share of the label's colour, 0 to 1. At 1 the colours are exact, at 0 the image is.

    Returns:
        (H, W, 3) uint8.

    Raises:
        TypeError: image not uint8, labels not integers.
        ValueError: shapes that do not go together, alpha outside 0..1, labels outside the classes.

    >>> from segcourse.labels import Classes
    >>> two = Classes(("ground", "disc"), ((200, 200, 200), (0, 0, 255)))
    >>> overlay(np.zeros((1, 2, 3), np.uint8), [[0, 1]], two, alpha=0.5)[0].tolist()
    [[100, 100, 100], [0, 0, 128]]
    """
    picture, colours = as_picture(image), color_labels(labels, classes)
    if picture.shape != colours.shape:
        raise ValueError(
            f"the image is {picture.shape[:2]} and the labels are {colours.shape[:2]}: "
            "resize one to the other (labels by nearest neighbour)"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, it is a share: give a number from 0 to 1")
    # In float64 and rounded, so that the ends are exact.
    return np.rint((1 - alpha) * picture + alpha * colours).astype(np.uint8)


def mistakes(image: object, labels: object, prediction: object) -> np.ndarray:
    """Where a prediction is wrong: warm on the picture in pale greys. Void is never wrong.

    Args:
        image: uint8, (3, H, W) or (H, W, 3).
        labels: (H, W) integers, the truth, or IGNORE.
        prediction: (H, W) integers.

    Returns:
        (H, W, 3) uint8.

    Raises:
        TypeError: image not uint8.
        ValueError: shapes that do not go together.

    >>> mistakes(np.zeros((1, 3, 3), np.uint8), [[0, 1, 255]], [[0, 2, 2]])[0].tolist()
    [[165, 165, 165], [179, 84, 30], [165, 165, 165]]
    """
    picture, truth, guess = as_picture(image), as_array(labels), as_array(prediction)
    if not picture.shape[:2] == truth.shape == guess.shape:
        raise ValueError(
            f"the image is {picture.shape[:2]}, labels {truth.shape}, prediction {guess.shape}: "
            "one (H, W) is needed"
        )
    grey = picture.mean(2, keepdims=True).repeat(3, 2) * 0.35 + 165
    out = np.rint(grey).clip(0, 255).astype(np.uint8)
    out[(truth != guess) & (truth != IGNORE)] = rgb(WARM)
    return out


def magnify(picture: np.ndarray, times: int) -> np.ndarray:
    """Each pixel as a square of `times` x `times` pixels.

    Args:
        picture: (H, W, 3) or (H, W).
        times: 1 or more.

    Raises:
        ValueError: `times` under 1.
    """
    if times < 1:
        raise ValueError(f"times is {times}: give a whole number from 1")
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def side_by_side(*pictures: object, gap: int = 4) -> np.ndarray:
    """Pictures of one height in a row, on white: a small frame for a widget.

    Args:
        pictures: uint8 each, (3, H, W) or (H, W, 3).
        gap: white between them, px.

    Returns:
        (H, W', 3) uint8.

    Raises:
        ValueError: no pictures, or of different heights.
    """
    row = [as_picture(one) for one in pictures]
    if len({one.shape[0] for one in row}) != 1:
        raise ValueError(
            f"the pictures are {[one.shape[0] for one in row]} px high: one height is needed, "
            "magnify or crop first"
        )
    white = np.full((row[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for one in row for part in (white, one)][1:]
    return np.concatenate(parts, axis=1)


def outline(
    picture: object, centre: tuple[int, int], size: int | tuple[int, int], color: str = WARM
) -> np.ndarray:
    """Frame a window in a copy of a picture, one pixel of colour inside one pixel of white.

    Both run outside the window, so no pixel of it is hidden; where the window leaves the
    picture its frame is cut.

    Args:
        picture: uint8, (3, H, W) or (H, W, 3).
        centre: (row, col) of the centre pixel. An even window has one pixel more before its
            centre than after it.
        size: side in pixels, or (height, width).
        color: "#rrggbb".

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: a side under 1 px.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"the window is {height} x {width} px: a side is at least 1 px")
    out = as_picture(picture).copy()
    top, left = centre[0] - height // 2, centre[1] - width // 2
    rows, cols = np.indices(out.shape[:2])
    # Distance from the window, 0 inside.
    down = np.maximum(top - rows, rows - (top + height - 1))
    across = np.maximum(left - cols, cols - (left + width - 1))
    distance = np.maximum(down, across)
    out[distance == 1] = rgb(color)
    out[distance == 2] = 255
    return out


def present_classes(*labels: object, classes: Classes) -> list[int]:
    """Indices that occur in any of the label maps, in order, void last.

    Args:
        labels: (H, W) integers each.
        classes: what the indices mean.

    Raises:
        TypeError, ValueError: see `as_labels`.
    """
    found = {int(i) for one in labels for i in np.unique(as_labels(one, classes))}
    return sorted(found - {IGNORE}) + sorted(found & {IGNORE})


def class_names(indices: Iterable[int], classes: Classes) -> list[str]:
    """Legend texts: "3 triangle" for a class, "void" for IGNORE."""
    return ["void" if i == IGNORE else f"{i} {classes.names[i]}" for i in indices]


def deepest_pixel(mask: np.ndarray) -> tuple[int, int, int]:
    """The pixel farthest from the mask's edge, to write a number on: (row, col, depth in px).

    Args:
        mask: (H, W) bool, at least one True.
    """
    depth = 0
    while mask.any():
        last, depth = mask, depth + 1
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    candidates = np.argwhere(last)
    row, col = candidates[len(candidates) // 2]
    return int(row), int(col), depth
