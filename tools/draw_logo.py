"""Draw the book's logo: a window that slides over an image whose every pixel has a class.

Writes book/_static/logo.svg and favicon.svg. Run it after a change:

    python tools/draw_logo.py
"""

from pathlib import Path

INK, TEAL, WARM, GROUND = "#1f2933", "#0b6e6e", "#b3541e", "#d5e3e0"
STATIC = Path(__file__).resolve().parent.parent / "book" / "_static"

# One character a pixel: "." ground, "o" the round object, "x" the bar that passes behind it.
LABELS = """
.....xx.
..oo.xx.
.oooox..
oooooo..
oooooo..
.oooo...
xxoo....
xx......
"""


def cells(rows: list[str], side: float, gap: float, left: float, top: float) -> str:
    """Draw a label map (rows of characters) as one square a pixel, `side` wide, `gap` apart."""
    colour = {".": GROUND, "o": TEAL, "x": WARM}
    return "\n".join(
        f'<rect x="{left + c * (side + gap):g}" y="{top + r * (side + gap):g}" width="{side:g}" '
        f'height="{side:g}" rx="{side / 6:g}" fill="{colour[label]}"/>'
        for r, row in enumerate(rows)
        for c, label in enumerate(row)
    )


def logo() -> str:
    """The 8x8 label map with a 3x3 window on it, for the side bar. 96x96 units."""
    # The plate stays light in dark mode too, so that the ink frame keeps its contrast.
    window = (
        f'<rect x="46.5" y="13.5" width="36" height="36" rx="5" fill="none" stroke="#ffffff" '
        f'stroke-width="7"/>\n<rect x="46.5" y="13.5" width="36" height="36" rx="5" fill="none" '
        f'stroke="{INK}" stroke-width="3.5"/>'
    )
    return svg(96, cells(LABELS.split(), 9.5, 1.5, 4.75, 4.75) + "\n" + window)


def favicon() -> str:
    """A 4x4 version without the frame, legible at 16 pixels."""
    return svg(32, cells([".xx.", "oox.", "ooo.", ".o.."], 7, 1, 0.5, 0.5))


def svg(size: int, body: str) -> str:
    """Wrap drawing commands into a square SVG document on a white, rounded plate."""
    plate = f'<rect width="{size}" height="{size}" rx="{size / 12:g}" fill="#ffffff"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" '
        f'width="{size}" height="{size}">\n{plate}\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    (STATIC / "logo.svg").write_text(logo(), encoding="utf-8")
    (STATIC / "favicon.svg").write_text(favicon(), encoding="utf-8")
