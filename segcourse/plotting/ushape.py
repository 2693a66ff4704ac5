"""The U of a U-Net with the sizes of its maps: down on the left, up on the right, skips across."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from segcourse.plotting.colors import GREY, INK, PALE, WARM
from segcourse.plotting.figures import HouseFigure, styled, subplots

Row = tuple[int, int, int | None, int | None, int | None]

BOX = 3.9, 1.25  # half width and half height; the drawing is 30 wide, and 4 high for each level
SHIFT = 1.45  # how much farther in each level lies
NOTE = {"va": "center", "color": INK, "fontsize": 12.5}


@styled
def u_diagram(
    rows: Sequence[Row], depth: int, width: int = 64, title: str = "", levels: int | None = None
) -> HouseFigure:
    """Sizes and channels of a U-Net's maps, level by level.

    Args:
        rows: of each level, finest first, its sizes in px of its own map: entered, encoded,
            enlarged, crop and decoded, as the fields of `unet_sizes.Level`; the last three are
            None on the lowest level. Fewer than depth + 1 rows: the last map could not be halved.
        depth: how often the map is halved, 1 to 4.
        width: channels of the first level, doubled on each level below.
        title: one line above.
        levels: rows to leave room for, so that figures of several depths have one size.

    Raises:
        ValueError: no rows, more than depth + 1, or a depth that does not fit the drawing.
    """
    if not 1 <= depth <= 4 or not 1 <= len(rows) <= depth + 1:
        raise ValueError(
            f"{len(rows)} levels for a depth of {depth}: give 1 to depth + 1 levels, and a depth "
            "of 1 to 4, which is what fits the drawing"
        )
    room = (levels or depth + 1) * 4
    figure, ((ax,),) = subplots(size=(7.0, 0.245 * room + (0.3 if title else 0.0)))
    ax.set(xlim=(0, 30), ylim=(-room + 2.4, 1.6), title=title)
    ax.set_axis_off()
    broken = len(rows) <= depth
    for i, (entered, encoded, enlarged, crop, decoded) in enumerate(rows):
        y, left = -4.0 * i, BOX[0] + 0.3 + SHIFT * i
        right, channels = 30 - left, f"{width * 2**i} channels"
        if i == depth:
            _box(ax, 15, y, f"{entered} → {encoded}\n{channels}", PALE)
            continue
        if broken and i == len(rows) - 1:
            _box(ax, left, y, f"{entered} → {encoded}\n{channels}", "white", WARM)
            why = f"{encoded} px: not even" if encoded > 0 else "nothing is left"
            ax.text(left + BOX[0] + 0.6, y, why, ha="left", va="center", color=WARM, fontsize=13)
            continue
        _box(ax, left, y, f"{entered} → {encoded}\n{channels}", PALE)
        # Straight down, but for the lowest level, which lies in the middle.
        start = end = left + SHIFT
        if i + 1 == depth:
            end = 15 - BOX[0] + 0.7
            start = min(left + BOX[0] - 0.7, end)
        _arrow(ax, (start, y - BOX[1]), (end, y - 4 + BOX[1]))
        ax.text(min(start, end) - 0.3, y - 2, f"pool: {encoded // 2}", ha="right", **NOTE)
        if broken:
            continue
        _box(ax, right, y, f"{enlarged} → {decoded}\n{channels}", "#cfe8e6")
        _arrow(ax, (left + BOX[0], y), (right - BOX[0], y))
        note = f"crop {crop} a side" if right - left > 15 else f"crop {crop}"
        ax.text(15, y + 0.2, note, ha="center", va="bottom", color=INK, fontsize=12.5)
        _arrow(ax, (30 - end, y - 4 + BOX[1]), (30 - start, y - BOX[1]))
        ax.text(30 - min(start, end) + 0.3, y - 2, f"up: {enlarged}", ha="left", **NOTE)
    return figure


def _box(ax: Axes, x: float, y: float, text: str, color: str, edge: str = GREY) -> None:
    corner = x - BOX[0], y - BOX[1]
    ax.add_patch(Rectangle(corner, 2 * BOX[0], 2 * BOX[1], facecolor=color, edgecolor=edge))
    ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=12.5, linespacing=1.25)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=14, color=INK, lw=1.4, shrinkA=0, shrinkB=0
        )
    )
