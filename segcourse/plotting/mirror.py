"""A network and its mirror image: maps that shrink, then grow again, joined by their switches."""

from collections.abc import Sequence
from math import log2

from segcourse.plotting.colors import GREY, INK, TEAL, WARM
from segcourse.plotting.figures import HouseFigure, styled, subplots


@styled
def mirror_diagram(
    sides: Sequence[int], channels: Sequence[int], middle: Sequence[tuple[int, int]] = ()
) -> HouseFigure:
    """Draw each encoder stage as a bar, its mirror image on the right, and a line between them.

    Args:
        sides: of the encoder's maps before each pool, in pixels, fine to coarse. A bar is taller
            for a larger side, by the same step for each halving.
        channels: of the same maps.
        middle: (side, channels) of what lies between, such as a 1x1 map.

    Raises:
        ValueError: no stages, or sides and channels differ in number.
    """
    if not 0 < len(sides) == len(channels):
        raise ValueError(f"{len(sides)} sides and {len(channels)} channels: give one of each")
    stages = list(zip(sides, channels, strict=True))
    bars = [*stages, *middle, *reversed(stages)]
    figure, ((ax,),) = subplots(size=(7.0, 4.4))
    last = len(bars) - 1
    for i, (side, width) in enumerate(bars):
        half = 3 * log2(side) + 1.5
        color = TEAL if i < len(stages) else WARM if last - i < len(stages) else GREY
        ax.bar(i, 2 * half, bottom=-half, width=0.6, color=color)
        ax.text(i, half + 0.2, width, ha="center", va="bottom")
        ax.text(i, -half - 0.2, side, ha="center", va="top")
        if i < len(stages):
            ax.plot([i + 0.3, last - i - 0.3], [half, half], "--", color=INK, linewidth=1)
    ax.set_axis_off()
    ax.set_title("channels above, side in pixels below", loc="center")
    return figure
