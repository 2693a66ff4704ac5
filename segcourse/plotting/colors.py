"""The book's colours, shared by its figures and its style sheet, and who can be read on whom.

Colour is never the only cue: lines differ in dash and marker, classes carry their name.
"""

INK = "#1f2933"  # text
GREY = "#5b6770"  # secondary text and axes, 5.8:1 on white
PALE = "#d9dee2"  # rules and grids
TEAL = "#0b6e6e"  # the accent
WARM = "#b3541e"  # the one thing to look at

# Okabe and Ito (2008), "Color Universal Design". Their yellow is left out of lines: 1.3:1 on white.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")

# The same eight with grey for the class that is nothing in particular, then Tol's muted scheme
# (P. Tol, "Colour schemes", 2021) for data sets with more classes.
_SAFE = (
    "#bbbbbb", "#0072b2", "#d55e00", "#009e73", "#f0e442", "#cc79a7", "#56b4e9", "#e69f00",
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255",
    "#aa4499", "#663333", "#225555", "#6699cc", "#222222",
)  # fmt: skip


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of a "#rrggbb" string.

    >>> rgb("#0b6e6e")
    (11, 110, 110)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def safe_palette(length: int) -> tuple[tuple[int, int, int], ...]:
    """Colours that people with any common colour vision tell apart, the first one grey.

    Args:
        length: number of colours, 1 to 21. Up to 8 are Okabe and Ito's; beyond that, neighbours
            in hue appear and the names in the legend have to carry the difference.

    Returns:
        (r, g, b) triples, 0..255.

    Raises:
        ValueError: fewer than 1 or more than 21 colours.
    """
    if not 1 <= length <= len(_SAFE):
        raise ValueError(
            f"a palette of {length} colours was asked for, 1 to {len(_SAFE)} are there: "
            "show fewer classes at once"
        )
    return tuple(rgb(colour) for colour in _SAFE[:length])


def _luminance(colour: tuple[float, float, float]) -> float:
    channels = [value / 255 for value in colour]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2, relative luminance).

    Args:
        one: (r, g, b), 0..255.
        other: (r, g, b), 0..255.

    >>> round(contrast((0, 0, 0), (255, 255, 255)), 6)
    21.0
    """
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def text_on(background: tuple[float, float, float]) -> str:
    """Black or white, whichever reads better: at least 4.58:1 on any background.

    Ink would not do: between ink and white there are backgrounds where both stay under 4.5:1.
    """
    on_black = contrast(background, (0, 0, 0))
    return "#000000" if on_black >= contrast(background, (255, 255, 255)) else "#ffffff"
