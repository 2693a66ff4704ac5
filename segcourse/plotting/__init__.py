"""Figures that look alike on every page: pictures with labels, charts, and grids of numbers.

Only the drawing needs matplotlib. It is loaded at the first use of a function that draws, so
`import segcourse.plotting` and everything in `pixels` and `colors` work without it.

Functions that make a figure return it, and a notebook shows a returned figure once. Functions
that draw into a given Axes take it first. Nothing calls `plt.show()`.
"""

from importlib import import_module

from segcourse.plotting.colors import (
    GREY,
    INK,
    PALE,
    SERIES,
    TEAL,
    WARM,
    contrast,
    safe_palette,
    text_on,
)
from segcourse.plotting.pixels import (
    as_array,
    as_picture,
    color_labels,
    magnify,
    mistakes,
    outline,
    overlay,
    present_classes,
    side_by_side,
)

_DRAWING = {
    "figures": ("STYLE", "HouseFigure", "save", "subplots", "to_array", "to_png", "use_style"),
    "pictures": (
        "class_legend",
        "draw_window",
        "show_image",
        "show_images",
        "show_labels",
        "show_scene",
    ),
    "fields": ("show_field", "show_grid", "skip_diagram"),
    "holes": ("coverage_grid", "taps_figure", "taps_star", "valid_taps_map"),
    "maps": ("feature_maps", "heat_map"),
    "charts": ("bars", "confusion_heat_map", "curves"),
    "grids": ("convolution_figure", "grid_row", "matrix_grid"),
    "tasks": ("paint_objects",),
    "mirror": ("mirror_diagram",),
    "lattice": ("lattice_steps",),
    "scores": ("named_points", "one_among", "part_bars", "score_grid"),
    "stamps": ("overlap_figure", "stamp_figure"),
    "steps": ("ladder",),
    "ushape": ("u_diagram",),
}

__all__ = [
    "GREY",
    "INK",
    "PALE",
    "SERIES",
    "STYLE",
    "TEAL",
    "WARM",
    "HouseFigure",
    "as_array",
    "as_picture",
    "bars",
    "class_legend",
    "color_labels",
    "confusion_heat_map",
    "contrast",
    "convolution_figure",
    "coverage_grid",
    "curves",
    "draw_window",
    "feature_maps",
    "grid_row",
    "heat_map",
    "ladder",
    "lattice_steps",
    "magnify",
    "matrix_grid",
    "mirror_diagram",
    "mistakes",
    "named_points",
    "one_among",
    "outline",
    "overlap_figure",
    "overlay",
    "paint_objects",
    "part_bars",
    "present_classes",
    "safe_palette",
    "save",
    "score_grid",
    "show_field",
    "show_grid",
    "show_image",
    "show_images",
    "show_labels",
    "show_scene",
    "side_by_side",
    "skip_diagram",
    "subplots",
    "taps_figure",
    "taps_star",
    "text_on",
    "to_array",
    "to_png",
    "u_diagram",
    "use_style",
    "valid_taps_map",
]


def __getattr__(name: str) -> object:
    for module, names in _DRAWING.items():
        if name in names:
            try:
                return getattr(import_module(f"{__name__}.{module}"), name)
            except ModuleNotFoundError as error:
                if (error.name or "").split(".")[0] != "matplotlib":
                    raise
                raise ImportError(
                    f"segcourse.plotting.{name} draws with matplotlib, which is not installed: "
                    "run `pip install 'segcourse[notebooks]'`"
                ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
