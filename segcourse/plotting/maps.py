"""Numbers drawn as colours over a plane: feature maps, receptive fields, score maps.

Colours mean the same everywhere: white is zero, teal is positive, warm is negative.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segcourse.plotting.colors import GREY
from segcourse.plotting.figures import (
    SEQUENTIAL,
    SIGNED,
    WIDTH,
    HouseFigure,
    axes_or_new,
    styled,
    subplots,
)
from segcourse.plotting.pictures import bare, draw_window
from segcourse.plotting.pixels import as_array


def _scale(values: np.ndarray) -> dict[str, object]:
    largest = float(np.abs(values).max()) or 1.0
    if values.min() < 0:
        return {"cmap": SIGNED, "vmin": -largest, "vmax": largest}
    return {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": largest}


@styled
def feature_maps(x: object, n: int = 16, columns: int = 4, unit: str = "activation") -> HouseFigure:
    """The first channels of a feature map, on one scale so that they can be compared.

    Args:
        x: (C, H, W) numbers.
        n: channels to show, at most.
        columns: maps in a row.
        unit: what the colour bar measures.

    Raises:
        ValueError: not three-dimensional, or not finite.
    """
    maps = as_array(x)
    if maps.ndim != 3:
        raise ValueError(f"the maps have shape {maps.shape}, (C, H, W) is needed: take one of N")
    if not np.isfinite(maps).all():
        raise ValueError("the maps hold nan or inf: look at what made them before drawing them")
    maps = maps[:n].astype(np.float64)
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    height = rows * (0.85 * WIDTH / columns * maps.shape[1] / maps.shape[2] + 0.4)
    figure, grid = subplots(rows, columns, size=(WIDTH, max(height, 1.6)))
    for i, ax in enumerate(grid.flat):
        ax.set_axis_off()
        if i < len(maps):
            drawn = ax.imshow(maps[i], **_scale(maps))
            ax.set_title(f"channel {i}", fontsize=13)
    figure.colorbar(drawn, ax=grid, label=unit, shrink=0.8)
    return figure


@styled
def heat_map(
    values: object,
    *,
    title: str = "",
    unit: str = "",
    box: tuple[float, float, float, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Numbers over a picture's plane: a receptive field, a score map, an error map.

    Args:
        values: (H, W) finite numbers. White is zero, teal positive, warm negative.
        title: one line above.
        unit: what the colour bar measures.
        box: (top, left, bottom, right), rows and columns of its first and last pixels, framed:
            the theoretical receptive field around the effective one.
        ax: where to draw, a new figure without it.

    Raises:
        ValueError: not two-dimensional, or not finite.
    """
    array = as_array(values).astype(np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(f"a heat map needs finite (H, W) numbers, not shape {array.shape}")
    ax = axes_or_new(ax, (WIDTH * 0.75, WIDTH * 0.6))
    drawn = ax.imshow(array, **_scale(array))
    bare(ax, title)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=GREY)
    if box is not None:
        top, left, bottom, right = box
        height, width = bottom - top + 1, right - left + 1
        draw_window(ax, (top + height // 2, left + width // 2), (int(height), int(width)))
    ax.figure.colorbar(drawn, ax=ax, label=unit, shrink=0.85)
    return ax.figure
