"""A picture as a person sees it: turned as the camera noted, transparent parts on white.

Training and `segcourse predict` both read through here, so that a network meets the same pixels
in both. Tools that paint masks show the picture upright too.
"""

import struct

from PIL import ExifTags, Image, ImageOps

Size = tuple[int, int]


def as_seen(picture: Image.Image) -> Image.Image:
    """Turn a picture upright, lay it on white paper, and make it RGB.

    Args:
        picture: opened, with at most 8 bits a channel.

    Returns:
        The same picture in mode "RGB"; its sides are exchanged where the camera lay on its side.
    """
    if turn(picture) != 1:
        picture = ImageOps.exif_transpose(picture)
    # The colours under transparent parts are whatever the program left there.
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert("RGB")


def turn(picture: Image.Image) -> int:
    """The turn that the camera noted, EXIF's 1..8; 1 is upright, and stands for what is unreadable.

    Some formats can only answer while their file is open; an answer is remembered.
    """
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return 1


def mismatch(mask: Size, image: Size, image_path: object) -> str:
    """Say that a mask and its image differ in size, and what to do.

    Args:
        mask: (H, W) of the mask.
        image: (H, W) of the image, upright.
        image_path: of the image.
    """
    text = f"is {mask[0]}x{mask[1]} but its image {image_path} is {image[0]}x{image[1]} (height x "
    text += "width): make both one size, the mask with nearest-neighbour resizing"
    if mask == image[::-1]:
        text += (
            ". Here one lies on its side: where a camera noted a turn in the image (EXIF), the "
            "image is read upright, and the mask has to be turned upright too"
        )
    return text
