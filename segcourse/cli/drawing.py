"""Label maps as pictures, with Pillow alone: palette PNGs, overlays with a legend, sheets.

A server that only predicts needs no plotting library; the book's figures are in
`segcourse.plotting`.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segcourse.labels import IGNORE, Classes

INK, PAPER, EDGE = (20, 20, 20), (255, 255, 255), (128, 128, 128)


def label_image(labels: np.ndarray, classes: Classes) -> Image.Image:
    """Indices as they are, with the classes' colours beside them for viewers that show colours.

    Args:
        labels: (H, W) integers in 0..K-1, or IGNORE.
        classes: names and colours of the K classes.

    Returns:
        An (H, W) image of mode "P": `numpy.asarray` of it gives the indices back.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(classes)] = classes.palette
    palette[IGNORE] = classes.void
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette.tobytes())  # turns mode "L" into "P" and keeps the indices
    return image


def overlay(image: np.ndarray, labels: np.ndarray, classes: Classes, alpha: float = 0.55):
    """Lay the classes' colours over an image; void pixels keep the image.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) integers in 0..K-1, or IGNORE.
        classes: names and colours of the K classes.
        alpha: weight of the colour, 0..1.

    Returns:
        An (H, W) RGB `PIL.Image`.
    """
    shown = labels != IGNORE
    colors = np.asarray(classes.palette, np.float32)[np.where(shown, labels, 0)]
    weight = alpha * shown[..., None].astype(np.float32)
    mixed = image * (1 - weight) + colors * weight
    return Image.fromarray((mixed + 0.5).astype(np.uint8))


def with_legend(image: Image.Image, classes: Classes, present: Sequence[int]) -> Image.Image:
    """Put the names and colours of the classes in `present` under an image.

    Args:
        image: RGB, any size; a narrow one is set on wider paper so that the names fit.
        classes: names and colours of the K classes.
        present: class indices to name, in the order to name them.
    """
    size = min(max(image.height // 24, 12), 28)
    font = ImageFont.load_default(size)
    pad, swatch = size // 2, size
    entries = [(classes.names[k], tuple(classes.palette[k])) for k in present]
    widths = [math.ceil(font.getlength(name)) + swatch + 3 * pad for name, _ in entries]
    width = max([image.width, *(w + pad for w in widths)])

    places, x, y = [], pad, pad
    for entry_width in widths:
        if x > pad and x + entry_width > width:
            x, y = pad, y + size + pad
        places.append((x, y))
        x += entry_width
    height = y + size + pad if entries else 0

    sheet = Image.new("RGB", (width, image.height + height), PAPER)
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for (name, color), (x, y) in zip(entries, places, strict=True):
        top = image.height + y
        draw.rectangle((x, top, x + swatch, top + size), fill=color, outline=EDGE)
        draw.text((x + swatch + pad, top + size / 2), name, fill=INK, font=font, anchor="lm")
    return sheet


def contact_sheet(tiles: Sequence[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Set pictures in rows of `columns`, each cell as large as the largest of them."""
    width = max(tile.width for tile in tiles)
    height = max(tile.height for tile in tiles)
    rows = math.ceil(len(tiles) / columns)
    size = (columns * (width + gap) + gap, rows * (height + gap) + gap)
    sheet = Image.new("RGB", size, PAPER)
    for i, tile in enumerate(tiles):
        row, col = divmod(i, columns)
        sheet.paste(tile, (gap + col * (width + gap), gap + row * (height + gap)))
    return sheet
