"""Label maps: which number means which class, and which means nothing (book/index.ipynb).

A label map holds one class index a pixel. One value, IGNORE, marks void: pixels that nobody
labelled. Void enters no loss and no metric, and every data set here writes it as 255.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

IGNORE = 255
"""The label of void pixels, whatever the files of a data set use."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Classes:
    """The classes of a data set: a name and an RGB colour (0..255) for each index, and for void.

    >>> len(Classes(("ground", "disc"), ((0, 0, 0), (255, 0, 0))))
    2
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    void: Color = (224, 224, 192)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise ValueError(
                f"{len(self.names)} class names but {len(self.palette)} colours: "
                "give one colour for each name"
            )
        if not 1 <= len(self.names) <= IGNORE:
            raise ValueError(f"{len(self.names)} classes: label maps hold 1 to {IGNORE} of them")

    def __len__(self) -> int:
        return len(self.names)


def from_hex(codes: str) -> tuple[Color, ...]:
    """Read colours written as rrggbb with blanks between.

    >>> from_hex("000000 ff8000")
    ((0, 0, 0), (255, 128, 0))
    """
    return tuple((int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16)) for c in codes.split())


def distinct_colors(count: int) -> tuple[Color, ...]:
    """Name `count` different colours the way PASCAL VOC does: the bits of an index, spread.

    >>> distinct_colors(3)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    """
    colors = []
    for index in range(count):
        channels = [0, 0, 0]
        for level in range(8):
            for channel in range(3):
                bit = (index >> (3 * level + channel)) & 1
                channels[channel] |= bit << (7 - level)
        colors.append((channels[0], channels[1], channels[2]))
    return tuple(colors)


# fmt: off
# Okabe and Ito's eight colours: they stay apart for every common kind of colour blindness.
# Ground is a dark neutral, so that what stands on it is seen first.
SCENES = Classes(
    (
        "ground", "disc", "square", "triangle", "cross", "bar", "pond", "plaza",
    ),
    from_hex(
        "2c3036 e69f00 56b4e9 009e73 f0e442 cc79a7 0072b2 d55e00"
    ),
    void=(236, 236, 236),
)

# SegNet's names, order and colours.
CAMVID = Classes(
    (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
        "Pedestrian", "Bicyclist",
    ),
    from_hex(
        "808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0"
    ),
    void=(0, 0, 0),
)

VOC = Classes(
    (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
        "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant",
        "sheep", "sofa", "train", "tvmonitor",
    ),
    distinct_colors(21),
)

# The 19 evaluated classes in the order of their train ids.
CITYSCAPES = Classes(
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light",
        "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
        "train", "motorcycle", "bicycle",
    ),
    from_hex(
        "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 "
        "4682b4 dc143c ff0000 00008e 000046 003c64 005064 0000e6 770b20"
    ),
    void=(0, 0, 0),
)

ISBI = Classes(("membrane", "cell"), from_hex("000000 ffffff"))

CELLS = Classes(("background", "cell"), from_hex("2c3036 56b4e9"))

PETS = Classes(("background", "pet"), from_hex("2c3036 e69f00"))
# fmt: on


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Refuse a label map with a value that is neither a class nor void.

    Args:
        labels: integers of any shape.
        num_classes: K; the classes are 0..K-1.

    Raises:
        TypeError: the labels are not integers.
        ValueError: a value is outside 0..K-1 and is not IGNORE. The text names the values.
    """
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels are {labels.dtype}, need integers: a label is a class index, so convert "
            "with .long(), and never interpolate a label map"
        )
    if labels.dtype not in (torch.uint8, torch.int16, torch.int32, torch.int64):
        labels = labels.long()  # int8 takes 255 for -1; torch compares no wide unsigned integers
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != IGNORE)]
    if wrong.numel() == 0:
        return
    raise ValueError(
        f"labels hold {describe_values(wrong)}, outside 0..{num_classes - 1}: "
        f"map void to {IGNORE} and every other value to a class index, or give the right number "
        "of classes"
    )


def describe_values(values: Tensor) -> str:
    """Say which values there are and how often, the most frequent first, five at most.

    >>> describe_values(torch.tensor([11, 11, 11, 40]))
    '11 at 3 pixels, 40 at 1 pixel'
    """
    kinds, counts = torch.unique(values, return_counts=True)
    order = torch.argsort(counts, descending=True, stable=True).tolist()
    shown = [
        f"{kinds[i].item()} at {counts[i].item()} pixel{'s' if counts[i] > 1 else ''}"
        for i in order[:5]
    ]
    more = len(order) - 5
    return ", ".join(shown) + (
        f" and {more} more value{'s' if more > 1 else ''}" if more > 0 else ""
    )


def colors_to_indices(rgb: np.ndarray, classes: Classes) -> np.ndarray:
    """Turn a mask painted in a palette into class indices.

    Args:
        rgb: (H, W, 3) uint8.
        classes: whose palette the mask is painted in; its void colour becomes IGNORE.

    Returns:
        (H, W) uint8 in 0..K-1, or IGNORE.

    Raises:
        ValueError: the array is not (H, W, 3) uint8, or it holds a colour that the palette lacks.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(
            f"a colour mask is (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}: open it with PIL and "
            'convert("RGB") first'
        )
    # One number a colour: 24 bits hold red, green and blue.
    codes = (rgb.astype(np.int32) * np.array([65536, 256, 1], dtype=np.int32)).sum(axis=2)
    indices = np.zeros(codes.shape, dtype=np.uint8)
    known = np.zeros(codes.shape, dtype=bool)
    # Void first: where it shares a colour with a class, the class wins.
    for value, (r, g, b) in [(IGNORE, classes.void), *enumerate(classes.palette)]:
        here = codes == r * 65536 + g * 256 + b
        indices[here] = value
        known |= here
    if not known.all():
        raise ValueError(_unknown_colors(codes[~known], classes))
    return indices


def _unknown_colors(codes: np.ndarray, classes: Classes) -> str:
    kinds, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:5]
    shown = ", ".join(f"#{int(kinds[i]):06x} at {int(counts[i])} pixels" for i in order)
    more = f" and {len(kinds) - 5} more colours" if len(kinds) > 5 else ""
    return (
        f"the mask holds {shown}{more}, which the palette of {len(classes)} classes lacks: add "
        "them to the palette; many odd colours mean that the mask was resized smoothly or saved "
        "as JPEG, so go back to the original"
    )


def indices_to_colors(labels: Tensor | np.ndarray, classes: Classes) -> np.ndarray:
    """Paint class indices in the palette; void gets the void colour.

    Args:
        labels: (...) integers in 0..K-1, or IGNORE.
        classes: whose palette to paint in.

    Returns:
        (..., 3) uint8.

    Raises:
        TypeError: the labels are not integers.
        ValueError: a value is outside 0..K-1 and is not IGNORE.
    """
    tensor = torch.as_tensor(labels)
    check_labels(tensor, len(classes))
    table = np.full((256, 3), 0, dtype=np.uint8)
    table[: len(classes)] = classes.palette
    table[IGNORE] = classes.void
    return table[tensor.cpu().numpy()]
