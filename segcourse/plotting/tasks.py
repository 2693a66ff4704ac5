"""Four tasks on one picture: a class and a box, boxes, a class a pixel, a mask an object.

The figure that opens book/index.ipynb. Boxes enclose what is seen of an object, not what another
object covers.
"""

import numpy as np
from matplotlib.patches import Rectangle

from segcourse.labels import Classes
from segcourse.plotting.colors import WARM, safe_palette
from segcourse.plotting.figures import HouseFigure, styled, subplots
from segcourse.plotting.pictures import class_legend, show_image, show_labels
from segcourse.plotting.pixels import (
    as_array,
    as_labels,
    as_picture,
    deepest_pixel,
    present_classes,
)


def visible_boxes(instances: object) -> dict[int, tuple[int, int, int, int]]:
    """The box of each object, by its id.

    Args:
        instances: (H, W) integers: an id of 1 or more for each object, 0 for the ground.

    Returns:
        (top, left, bottom, right) in pixels for each id that is seen: rows and columns of its
        first and last pixels.

    >>> visible_boxes([[0, 2, 2], [1, 0, 2]])
    {1: (1, 0, 1, 0), 2: (0, 1, 1, 2)}
    """
    ids = as_array(instances)
    boxes = {}
    for k in np.unique(ids[ids > 0]).tolist():
        rows, cols = np.nonzero(ids == k)
        boxes[k] = tuple(int(v) for v in (rows.min(), cols.min(), rows.max(), cols.max()))
    return boxes


@styled
def four_tasks(
    image: object, labels: object, instances: object, object_classes: list[int], classes: Classes
) -> HouseFigure:
    """One picture with the answers of four tasks.

    Args:
        image: uint8, (3, H, W) or (H, W, 3).
        labels: (H, W) integers in 0..K-1, or IGNORE.
        instances: (H, W) integers: k where object k is seen, 0 where the ground is.
        object_classes: the class of object 1, 2, and so on.
        classes: names and palette.

    Returns:
        The figure: classification with localization (the object seen on most pixels), detection,
        semantic segmentation, instance segmentation.
    """
    labels, ids = as_labels(labels, classes), as_array(instances)
    boxes = visible_boxes(ids)
    largest = max(boxes, key=lambda k: int((ids == k).sum()))
    figure, axes = subplots(2, 2, size=(7.0, 7.6))
    one, many, pixels, masks = axes.ravel()
    show_image(one, image, "Classification + localization")
    _box(one, boxes[largest], classes.names[object_classes[largest - 1]])
    show_image(many, image, "Object detection")
    for k, box in boxes.items():
        _box(many, box, classes.names[object_classes[k - 1]])
    show_labels(pixels, labels, classes, "Semantic segmentation")
    show_image(masks, paint_objects(image, ids), "Instance segmentation")
    for k in boxes:
        row, col, _ = deepest_pixel(ids == k)  # inside the object, whatever covers its middle
        masks.text(
            col,
            row,
            str(k),
            ha="center",
            va="center",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )
    class_legend(figure, present_classes(labels, classes=classes), classes)
    return figure


def _box(ax, box: tuple[int, int, int, int], name: str) -> None:
    """A frame around (top, left, bottom, right), with the name on it."""
    top, left, bottom, right = box
    ax.add_patch(
        Rectangle(
            (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, ec=WARM, lw=2
        )
    )
    ax.text(
        left,
        max(top, 0),
        name,
        fontsize=8,
        color="white",
        va="top",
        clip_on=True,
        bbox={"boxstyle": "square,pad=0.15", "facecolor": WARM, "edgecolor": "none"},
    )


def paint_objects(image: object, instances: object) -> np.ndarray:
    """Every object in a colour of its own over a grey picture; colours repeat after twenty.

    Args:
        image: uint8, (3, H, W) or (H, W, 3).
        instances: (H, W) integers: k where object k is, 0 elsewhere.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: image and instances differ in size.
    """
    picture, ids = as_picture(image), as_array(instances)
    if picture.shape[:2] != ids.shape:
        raise ValueError(
            f"the image is {picture.shape[:2]} and the instances are {ids.shape}: one (H, W) is "
            "needed"
        )
    grey = picture.mean(2, keepdims=True).repeat(3, 2) * 0.5 + 110
    colors = np.array(safe_palette(21)[1:])  # the first is grey, as the ground here
    painted = np.where((ids > 0)[..., None], colors[(ids - 1) % len(colors)], grey)
    return painted.clip(0, 255).astype(np.uint8)
