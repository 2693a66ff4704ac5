"""`segcourse crf`: refine a person's own rough label map by the colours of the image."""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segcourse.cli.crf_flags import add_crf_flags, refine, settings_from
from segcourse.cli.drawing import overlay, with_legend
from segcourse.cli.flags import add_device, check_folder
from segcourse.cli.images import read_image
from segcourse.crf import logits_from_labels
from segcourse.data.base import open_picture, read_mask
from segcourse.distributed import choose_device
from segcourse.errors import DataError, UsageError
from segcourse.labels import IGNORE, SCENES, Classes, distinct_colors

DESCRIPTION = """\
Refine a rough label map with a fully connected CRF: borders move to where the colours change. No
network and no training are needed. LABELS is an image of the size of IMAGE with one value a pixel
(grey or palette PNG). Its values are the labels, two or more of them; 255 means that nobody knows.
Two files are written under --out:

  labels/STEM.png    the refined labels, with the values (and the palette) of LABELS
  overlays/STEM.png  the image under the colours of its labels, with a legend

The image is taken as a person sees it (camera rotation applied), as `segcourse predict` does,
whose label PNGs may be given as LABELS."""

EPILOG = """\
example:
  segcourse crf cat.png --labels rough.png --out refined
  segcourse crf cat.png --labels rough.png --out refined --certainty 0.6 --sxy 60 --srgb 10
  segcourse crf cat.png --labels black-white.png --out refined --unknown none

A thin or small part that is told apart by its colour only just disappears: lower
--appearance-weight and --smoothness-weight, or raise --certainty. Colour masks become label maps
with `segcourse data convert`."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse crf`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image")
    parser.add_argument("--labels", required=True, type=Path, help="its rough labels")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where the PNGs go; made if missing"
    )
    parser.add_argument(
        "--certainty",
        type=float,
        default=0.7,
        metavar="P",
        help="probability that a rough label is right; below 1",
    )
    parser.add_argument(
        "--unknown",
        type=_value_or_none,
        default=IGNORE,
        metavar="VALUE",
        help="value of pixels that nobody labelled; `none`: every value is a label",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=50_000_000,
        metavar="N",
        help="refuse an image with more pixels than this, before reading it",
    )
    add_crf_flags(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Refine one label map and say how many pixels changed."""
    check_folder(args.out)
    settings = settings_from(args)
    device = choose_device(args.device)
    image = read_image(args.image, args.max_pixels)
    given = read_mask(args.labels)
    targets = [args.out / kind / f"{args.image.stem}.png" for kind in ("labels", "overlays")]
    for path in (args.image, args.labels):
        if path.resolve() in [target.resolve() for target in targets]:
            raise UsageError(f"{path} would be overwritten by the result: change --out")
    values, labels = as_indices(given, args.unknown, image.shape[:2], args.labels)

    try:
        logits = logits_from_labels(labels[None], len(values), args.certainty)[0]
    except ValueError as error:
        raise UsageError(f"--certainty {args.certainty}: {error}") from error
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    with torch.inference_mode():
        refined = refine(logits.to(device), pixels, settings).cpu().numpy()

    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    names = tuple(f"label {value}" for value in values)
    few = len(names) <= len(SCENES)  # colours that stay apart for the colour-blind
    palette = SCENES.palette[: len(names)] if few else distinct_colors(len(names) + 1)[1:]
    classes = Classes(names, palette)
    _like(args.labels, values[refined]).save(targets[0])
    present = [int(k) for k in np.unique(refined)]
    with_legend(overlay(image, refined, classes), classes, present).save(targets[1])
    known = labels.numpy() != IGNORE
    changed = int((refined != labels.numpy())[known].sum())
    print(f"{args.image} -> {targets[0]} and {targets[1]}")
    print(
        f"{changed:,} of {known.sum():,} labelled pixels changed"
        + (f", {(~known).sum():,} unknown ones were filled" if not known.all() else "")
    )
    return 0


def as_indices(
    given: np.ndarray, unknown: int | None, size: tuple[int, int], path: Path
) -> tuple[np.ndarray, torch.Tensor]:
    """The values of a label map, and the map with 0, 1, ... in their place.

    Args:
        given: (H, W) integers.
        unknown: the value of unlabelled pixels; None: there are none.
        size: (H, W) of the image.
        path: of the label map, for the messages.

    Returns:
        (K,) values in rising order, and (H, W) int64 in 0..K-1 or IGNORE.

    Raises:
        DataError: the sizes differ, or there are fewer than two labels or too many.
    """
    if given.shape != size:
        raise DataError(
            f"{path} is {given.shape[0]}x{given.shape[1]} and the image {size[0]}x{size[1]} "
            "(height x width): give labels of the image's size, resized without interpolation "
            "(nearest)"
        )
    values, indices = np.unique(given, return_inverse=True)
    labelled = values if unknown is None else values[values != unknown]
    if len(labelled) < 2:
        held = ", ".join(map(str, values.tolist()))
        advice = "; a black and white mask needs --unknown none" if IGNORE in values else ""
        raise DataError(
            f"{path} holds {held}, which is {len(labelled)} label apart from the unknown pixels: "
            f"a CRF chooses between two or more{advice}"
        )
    if len(labelled) > IGNORE:
        raise DataError(
            f"{path} holds {len(labelled)} labels, at most {IGNORE} are taken: a photograph or a "
            "smoothly resized mask has that many values, a label map has few"
        )
    table = np.full(len(values), IGNORE, np.int64)
    table[np.isin(values, labelled)] = np.arange(len(labelled))
    return labelled, torch.from_numpy(table[indices.reshape(size)])


def _like(path: Path, values: np.ndarray) -> Image.Image:
    """A label map as an image of its own values, with the palette that the file has."""
    palette = open_picture(path).getpalette()
    wide = values.max() > 255
    image = Image.fromarray(values.astype(np.uint16 if wide else np.uint8))
    if palette is not None:
        image.putpalette(palette)
    return image


def _value_or_none(word: str) -> int | None:
    if word != "none" and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"'{word}' is no value of a pixel: give a number, or none")
    return None if word == "none" else int(word)
