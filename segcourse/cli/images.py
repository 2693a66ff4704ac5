"""Images from a person's disk: found, read, turned upright, made RGB; a clear word when not.

Cameras store a photograph sideways and note the turn (EXIF); scanners write 16 bits of grey;
web graphics are transparent. A network wants (H, W, 3) bytes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from segcourse.data.photos import as_seen
from segcourse.errors import DataError, UsageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_images(places: Sequence[Path]) -> list[Path]:
    """Files as they are named; folders opened, one level, in the order of their names.

    Hidden files in a folder are left out.

    Raises:
        DataError: a place does not exist, or a folder holds no image.
        UsageError: two images have one stem, so that their results would have one name.
    """
    found = []
    for place in places:
        if place.is_dir():
            inside = sorted(p for p in place.iterdir() if _is_image(p))
            if not inside:
                deeper = "; folders inside it are not opened" if unopened([place]) else ""
                raise DataError(f"{place} holds no image: looked for {' '.join(SUFFIXES)}{deeper}")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise DataError(f"{place} does not exist: give image files or a folder of images")
    found = list(dict.fromkeys(found))
    by_stem: dict[str, Path] = {}
    for path in found:
        other = by_stem.setdefault(path.stem.casefold(), path)  # some disks ignore case
        if other is not path:
            raise UsageError(
                f"{other} and {path} would both be written as {path.stem}.png: "
                "rename one, or predict them into two folders"
            )
    return found


def unopened(places: Sequence[Path]) -> list[Path]:
    """Folders with images inside the folders that were named, which `find_images` leaves out."""
    found = []
    for place in places:
        for folder in sorted(place.glob("*/")):
            # A folder that may not be read gives no files here.
            if folder not in places and any(_is_image(path) for path in folder.glob("*")):
                found.append(folder)
    return found


def _is_image(path: Path) -> bool:
    # Some systems put a hidden ._name.jpg beside each name.jpg.
    named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return named and not path.is_dir()


def read_image(path: Path, max_pixels: int) -> np.ndarray:
    """Read one image as a person sees it.

    EXIF rotation is applied; grey becomes RGB, 16 bits become 8; transparent parts become
    white; of an animation the first frame is taken.

    Args:
        path: the file.
        max_pixels: refuse a larger image before decoding it.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: not an image, damaged, or too large.
    """
    try:
        with _opened(path) as image:
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{path} has {image.width} x {image.height} = "
                    f"{image.width * image.height:,} pixels, more than {max_pixels:,}: "
                    "scale it down, or raise --max-pixels"
                )
            return np.array(as_seen(_eight_bits(image)))
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's three words for a bad file
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def _opened(path: Path) -> Image.Image:
    # Pillow refuses very large images by itself, in two steps and with a warning in between;
    # --max-pixels is the one limit here. The limit is read when a file is opened.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
        grey = np.asarray(ImageOps.exif_transpose(image)).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating point: save it with 8 or 16 bits")
    return image
