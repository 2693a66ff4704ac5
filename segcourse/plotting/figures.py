"""One style for every figure, and figures as bytes: the only place that makes a Figure.

A HouseFigure is not registered with pyplot. It is shown once, where a cell returns it, needs no
`plt.close`, and its PNG holds the same bytes on every run.
"""

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from segcourse.plotting.colors import GREY, INK, PALE, SERIES, TEAL, WARM

P, R = ParamSpec("P"), TypeVar("R")

WIDTH = 7.0  # inches: the book's column

# 13 points at 7 inches are 9 px on a phone 390 px wide, the smallest text that still reads.
STYLE = {
    "figure.figsize": (WIDTH, 4.2),
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 13,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
    "figure.titlesize": 14,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "axes.prop_cycle": cycler(color=SERIES),
    "image.interpolation": "nearest",
    "image.cmap": "cividis",
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.09,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "white",
}

# Zero is white in both; the signed map is even in lightness around it.
SEQUENTIAL = LinearSegmentedColormap.from_list("segcourse", ["#ffffff", TEAL, "#052f2f"])
SIGNED = LinearSegmentedColormap.from_list("segcourse signed", [WARM, "#ffffff", TEAL])


class HouseFigure(Figure):
    """A Figure that a notebook shows once, as a small PNG."""

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, bytes | str]:
        return {"image/png": to_png(self), "text/plain": repr(self)}

    def __repr__(self) -> str:
        width, height = self.get_size_inches()
        return f"<Figure {width:g} x {height:g} in, {len(self.axes)} axes>"


def use_style() -> None:
    """Give the whole session the book's style, for figures made with matplotlib directly."""
    matplotlib.rcParams.update(STYLE)


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in the book's style and leave the session's style as it was."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return wrapper


@styled
def subplots(
    rows: int = 1, cols: int = 1, size: tuple[float, float] = (WIDTH, 4.2)
) -> tuple[HouseFigure, np.ndarray]:
    """An empty figure in the book's style.

    Args:
        rows: number of rows of Axes.
        cols: number of columns of Axes.
        size: (width, height) in inches.

    Returns:
        The figure and its Axes, always a (rows, cols) array. Constrained layout is on.
    """
    figure = HouseFigure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, cols, squeeze=False)


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given Axes, or the one of a new figure."""
    return subplots(size=size)[1][0, 0] if ax is None else ax


@styled
def to_array(figure: Figure) -> np.ndarray:
    """Draw a figure into pixels.

    Args:
        figure: any matplotlib figure; it stays open.

    Returns:
        (H, W, 3) uint8 at the figure's dpi, over white.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba())
    colour, alpha = rgba[..., :3].astype(np.float64), rgba[..., 3:] / 255
    return np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)


def to_png(figure: Figure) -> bytes:
    """Draw a figure into a small PNG without date or version, so that reruns are identical.

    A figure of 256 colours or fewer is stored with a palette; no colour is changed.
    """
    picture = Image.fromarray(to_array(figure))
    if (colours := picture.getcolors(256)) is not None:
        table = np.array([colour for _, colour in colours], np.int64)
        order = np.argsort(table @ [65536, 256, 1])
        keys = np.asarray(picture, np.int64) @ [65536, 256, 1]
        index = np.searchsorted((table @ [65536, 256, 1])[order], keys).astype(np.uint8)
        picture = Image.fromarray(index, "L")
        picture.putpalette(table[order].astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, the bytes that a notebook shows."""
    Path(path).write_bytes(to_png(figure))
