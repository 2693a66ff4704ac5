"""Turn colour masks into index masks, a whole folder at once (`segcourse data convert`)."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from segcourse.data.base import IMAGE_SUFFIXES, open_picture
from segcourse.data.files import layout, read_classes
from segcourse.errors import DataError
from segcourse.labels import IGNORE, Classes, colors_to_indices


def convert_masks(root: str | Path, out: str | Path, classes: Classes | None = None) -> list[Path]:
    """Write every mask under root as an index PNG under out, at the same relative path.

    Each mask is read as colours (palette images through their palette). Grey ones whose colours
    are not in the palette are taken as indices if all of them are 0..K-1 or void.

    Args:
        root: a folder of masks, or a data set of images and masks, of which the masks are taken.
        out: where the index masks go; not root itself.
        classes: the palette; None reads classes.txt in root or in the folders above it.

    Returns:
        The files written.

    Raises:
        DataError: no palette, no masks, or masks with colours that the palette lacks. The text
            names the files; those that could be converted are written all the same.
    """
    root, out = Path(root), Path(out)
    if not root.is_dir():
        raise DataError(f"{root} is no folder: give the folder that holds the masks")
    if out.resolve() == root.resolve():
        raise DataError(f"{out} is the folder that is read: give another one to keep the originals")
    sources = [masks for _, masks in layout("folder", root).values() if masks.is_dir()] or [root]
    files = sorted(
        path
        for folder in sources
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and out.resolve() not in path.resolve().parents
    )
    if not files:
        raise DataError(f"{root} holds no masks: give the folder that holds them")
    classes = classes or _nearest_classes(root) or _ask_for_palette(root, files)
    written, failed = [], []
    for path in files:
        try:
            indices = to_indices(open_picture(path), classes)
        except ValueError as error:
            failed.append(f"{path}: {error}")
            continue
        target = (out / path.relative_to(root)).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(indices).save(target)
        written.append(target)
    if failed:
        more = f"\nand {len(failed) - 5} more" if len(failed) > 5 else ""
        raise DataError(
            f"{len(failed)} of {len(files)} masks are not converted:\n"
            + "\n".join(failed[:5])
            + more
        )
    return written


def to_indices(picture: Image.Image, classes: Classes) -> np.ndarray:
    """Turn one mask into (H, W) uint8 indices.

    Raises:
        ValueError: it holds colours that the palette lacks.
    """
    rgb = np.array(picture.convert("RGBA").convert("RGB"))
    try:
        return colors_to_indices(rgb, classes)
    except ValueError:
        grey = rgb[:, :, 0]
        if (rgb == grey[:, :, None]).all() and ((grey < len(classes)) | (grey == IGNORE)).all():
            return grey.copy()
        raise


def _nearest_classes(root: Path) -> Classes | None:
    """Find classes.txt in root, or two folders up (root may be ROOT/train/masks)."""
    for folder in (root, root.parent, root.parent.parent):
        found = read_classes(folder)
        if found is not None:
            return found
    return None


def _ask_for_palette(root: Path, files: list[Path]) -> Classes:
    """Raise with the colours that are there, ready to be named."""
    counts: Counter[tuple[int, ...]] = Counter()
    for path in files[:20]:
        rgb = np.array(open_picture(path).convert("RGBA").convert("RGB")).reshape(-1, 3)
        colors, pixels = np.unique(rgb, axis=0, return_counts=True)
        counts.update({tuple(c): n for c, n in zip(colors.tolist(), pixels.tolist(), strict=True)})
    lines = "\n".join(
        f"  name-me #{r:02x}{g:02x}{b:02x}    ({n} pixels)"
        for (r, g, b), n in counts.most_common(20)
    )
    raise DataError(
        f"no palette: write {root / 'classes.txt'}, one 'name #rrggbb' a line in the order of the "
        f"indices ('void #rrggbb' for void). The first masks hold {len(counts)} colours:\n{lines}"
    )
