"""Pictures with their labels: images side by side, class legends, windows."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch, Rectangle

from segcourse.labels import IGNORE, Classes
from segcourse.plotting.colors import INK, WARM
from segcourse.plotting.figures import (
    WIDTH,
    HouseFigure,
    styled,
    subplots,
)
from segcourse.plotting.pixels import (
    as_array,
    as_labels,
    as_picture,
    class_names,
    color_labels,
    deepest_pixel,
    present_classes,
)


def _wrapped(title: str, width: float) -> str:
    """Break a title to fit a width in inches: about 11 characters of 14 points to the inch."""
    return fill(title, max(8, int(11 * width)))


def bare(ax: Axes, title: str) -> None:
    """Take ticks, grid and frame off a picture, and set its title."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if title:
        columns = ax.get_subplotspec().get_gridspec().ncols if ax.get_subplotspec() else 1
        ax.set_title(_wrapped(title, ax.figure.get_figwidth() / columns))


@styled
def show_image(ax: Axes, image: object, title: str = "") -> Axes:
    """Draw an image; data coordinates are (col, row) with pixel centres at whole numbers.

    Args:
        ax: where to draw.
        image: uint8, (3, H, W) or (H, W, 3); or (H, W) numbers, drawn in greys from lowest to
            highest.
        title: one line above, wrapped when it does not fit.

    Raises:
        TypeError, ValueError: see `as_picture`.
    """
    array = as_array(image)
    if array.ndim == 2:
        ax.imshow(array, cmap="gray")
    else:
        ax.imshow(as_picture(image))
    bare(ax, title)
    return ax


@styled
def show_labels(
    ax: Axes, labels: object, classes: Classes, title: str = "", numbers: bool = True
) -> Axes:
    """Draw a label map in its class colours, with the class number on its largest place.

    Args:
        ax: where to draw.
        labels: (H, W) integers in 0..K-1, or IGNORE (hatched).
        classes: names and palette.
        title: one line above, wrapped when it does not fit.
        numbers: write each class's number where it is widest, if it is at least 5 px wide there.

    Raises:
        TypeError, ValueError: see `as_labels`.
    """
    index = as_labels(labels, classes)
    ax.imshow(color_labels(index, classes))
    for k in present_classes(index, classes=classes):
        row, col, depth = deepest_pixel(index == k)
        if numbers and k != IGNORE and depth >= 3:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
            ax.text(col, row, str(k), ha="center", va="center", fontsize=11, bbox=box, color=INK)
    bare(ax, title)
    return ax


@styled
def class_legend(figure: Figure, indices: Sequence[int], classes: Classes) -> Legend:
    """Name classes under a figure: number, name, colour; void hatched.

    Args:
        figure: with constrained layout, as `subplots` makes it.
        indices: the classes to name, see `present_classes`.
        classes: names and palette.
    """
    names = class_names(indices, classes)
    handles = [
        Patch(facecolor="#d7d7d7", edgecolor="#6e6e6e", hatch="////")
        if i == IGNORE
        else Patch(facecolor=np.array(classes.palette[i]) / 255, edgecolor=INK, linewidth=0.6)
        for i in indices
    ]
    longest = max(map(len, names), default=1)
    columns = max(1, min(len(names), int(figure.get_figwidth() / (0.115 * longest + 0.6))))
    return figure.legend(handles, names, loc="outside lower center", ncols=columns)


@styled
def show_images(
    images: Sequence[object], titles: Sequence[str] = (), columns: int = 4
) -> HouseFigure:
    """Images side by side, in rows.

    Args:
        images: each uint8 (3, H, W) or (H, W, 3), or (H, W) numbers drawn in greys. Label maps:
            pass them through `color_labels` or `overlay` first.
        titles: one for each image, or none.
        columns: images in a row, at most.

    Raises:
        ValueError: no images, or another number of titles than of images.
    """
    if not images:
        raise ValueError("no images were given: pass at least one")
    if titles and len(titles) != len(images):
        raise ValueError(f"{len(images)} images and {len(titles)} titles: give one for each")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    shapes = [as_array(i).shape if as_array(i).ndim == 2 else as_picture(i).shape for i in images]
    aspect = max(shape[0] / shape[1] for shape in shapes)
    lines = max((_wrapped(t, WIDTH / columns).count("\n") + 1 for t in titles if t), default=0)
    height = rows * (WIDTH / columns * aspect + 0.1 + 0.24 * lines)
    figure, grid = subplots(rows, columns, size=(WIDTH, min(max(height, 1.0), 14.0)))
    for i, ax in enumerate(grid.flat):
        if i < len(images):
            show_image(ax, images[i], titles[i] if titles else "")
        else:
            ax.set_axis_off()
    return figure


@styled
def show_scene(
    image: object, labels: object, classes: Classes, prediction: object = None
) -> HouseFigure:
    """An image beside its labels, a prediction too if given, and a legend of what occurs.

    Args:
        image: uint8, (3, H, W) or (H, W, 3).
        labels: (H, W) integers, the truth.
        classes: names and palette.
        prediction: (H, W) integers.

    Raises:
        TypeError, ValueError: see `as_picture` and `as_labels`.
    """
    maps = [labels] if prediction is None else [labels, prediction]
    picture = as_picture(image)
    columns = 1 + len(maps)
    height = WIDTH / columns * picture.shape[0] / picture.shape[1] + 1.1
    figure, grid = subplots(1, columns, size=(WIDTH, height))
    show_image(grid[0, 0], picture, "image")
    for ax, one, title in zip(grid[0, 1:], maps, ["labels", "prediction"], strict=False):
        show_labels(ax, one, classes, title)
    class_legend(figure, present_classes(*maps, classes=classes), classes)
    return figure


@styled
def draw_window(
    ax: Axes,
    centre: tuple[int, int],
    size: int | tuple[int, int],
    label: str = "",
    color: str = WARM,
) -> Rectangle:
    """Frame a window of pixels, with a white edge so that it shows on any picture.

    Args:
        ax: an Axes with an image in it.
        centre: (row, col) of the centre pixel. An even window has one pixel more before its
            centre than after it.
        size: side in pixels, or (height, width).
        label: text above the window.
        color: of the frame.

    Returns:
        The frame, whose edges run between pixels.

    Raises:
        ValueError: a side under 1 px.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"the window is {height} x {width} px: a side is at least 1 px")
    corner = (centre[1] - width // 2 - 0.5, centre[0] - height // 2 - 0.5)
    halo = Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=5)
    frame = Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=2.5)
    ax.add_patch(halo)
    ax.add_patch(frame)
    if label:
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"}
        ax.annotate(label, corner, xytext=(0, 4), textcoords="offset points", va="bottom", bbox=box)
    return frame
