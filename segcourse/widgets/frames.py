"""From what a function draws to the WebP pictures of a widget.

Flat label maps and charts are smallest without loss, photographs with it: both are tried.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

QUALITIES = (85, 75, 60)


def to_pixels(drawn: object) -> np.ndarray:
    """Bring what a frame function returned to (H, W, 3) uint8; a figure is drawn and closed.

    Raises:
        TypeError: neither a figure nor a uint8 array.
        ValueError: an array of another shape.
    """
    if hasattr(drawn, "savefig") and hasattr(drawn, "dpi"):
        from segcourse.plotting import to_array

        pixels = to_array(drawn)
        _close(drawn)
        return pixels
    if not isinstance(drawn, np.ndarray) or drawn.dtype != np.uint8:
        what = f"a {drawn.dtype} array" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise TypeError(
            f"frame returned {what}: return a uint8 array (H, W, 3) or a matplotlib figure"
        )
    if drawn.ndim != 3 or drawn.shape[2] != 3 or not drawn.size:
        raise ValueError(
            f"frame returned an array of shape {drawn.shape}: return (H, W, 3), "
            "channels last, at least one pixel"
        )
    return drawn


def _close(figure: object) -> None:
    # A figure made with pyplot stays in pyplot's list, and the notebook would show it again.
    import sys

    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close(figure)


def to_webp(pixels: np.ndarray, quality: int | None) -> bytes:
    """Encode one picture.

    Args:
        pixels: (H, W, 3) uint8.
        quality: 0 to 100, None for no loss at all.
    """
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if quality is None:
        picture.save(buffer, "WEBP", lossless=True, quality=80, method=4)
    else:
        picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def data_uri(blob: bytes) -> str:
    """A WebP picture as the address of an image element."""
    return "data:image/webp;base64," + base64.b64encode(blob).decode()


def unique(pictures: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """The different pictures, and for each given one the place of its like among them."""
    places: dict[bytes, int] = {}
    index = [places.setdefault(one.tobytes(), len(places)) for one in pictures]
    return [pictures[index.index(i)] for i in range(len(places))], index


def encode(pictures: Sequence[np.ndarray], budget: int) -> tuple[list[bytes], int | None]:
    """Encode pictures alike: without loss if that costs little more, else as good as fits.

    Args:
        pictures: (H, W, 3) uint8 each.
        budget: bytes wanted for all of them together; the last try may be over it.

    Returns:
        The WebP files and the quality taken, None for lossless.
    """
    lossless = [to_webp(one, None) for one in pictures]
    exact = sum(map(len, lossless))
    for quality in QUALITIES:
        lossy = [to_webp(one, quality) for one in pictures]
        near = sum(map(len, lossy))
        # Text and class colours stay sharp without loss: worth a third more than the best lossy
        # pictures, and a small widget may take what it likes.
        if quality == QUALITIES[0] and exact <= max(min(1.3 * near, budget), budget / 10):
            return lossless, None
        if near <= budget:
            break
    return lossy, quality
