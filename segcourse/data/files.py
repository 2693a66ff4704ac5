"""Data sets that are folders of images and masks: CamVid, ISBI-EM and the user's own.

Where the files lie is one function a data set (`layout`), which reading and checking share.
"""

from pathlib import Path

import numpy as np

from segcourse.data.base import IMAGE_SUFFIXES, SPLITS, PairedFiles, identity_table, read_mask
from segcourse.errors import DataError
from segcourse.labels import CAMVID, IGNORE, ISBI, Classes, distinct_colors

CAMVID_VOID = 11
ISBI_VAL_FROM = 24
"""Slices 24..29 are val. They are one block: neighbouring slices look alike, so a random split
would put near copies of the training slices into val."""

Folders = dict[str, tuple[Path, Path]]
"""split -> (folder of images, folder of masks)"""


def layout(name: str, root: Path) -> Folders:
    """Say where the files of a folder data set lie; for a plain folder, the splits that exist.

    Args:
        name: "camvid", "isbi" or "folder".
        root: of the data set.
    """
    if name == "camvid":
        return {split: (root / split, root / f"{split}annot") for split in SPLITS}
    if name == "isbi":
        pool = (root / "image", root / "label")
        return {"train": pool, "val": pool}
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return {"train": (root / "images", root / "masks")}
    return {
        split: (root / split / "images", root / split / "masks")
        for split in SPLITS
        if (root / split).is_dir()
    }


def picture_files(folder: Path) -> list[Path]:
    """List the image files of a folder in order; numbers count as numbers."""
    if not folder.is_dir():
        return []
    files = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    ]
    return sorted(files, key=lambda p: (int(p.stem) if p.stem.isdecimal() else -1, p.name))


def pictures(folder: Path) -> dict[str, Path]:
    """List the image files of a folder by stem, in order."""
    return {p.stem: p for p in picture_files(folder)}


def in_split(name: str, split: str, stem: str) -> bool:
    """Say whether a stem belongs to a split, where one folder holds several splits."""
    if name != "isbi":
        return True
    return stem.isdecimal() and (int(stem) >= ISBI_VAL_FROM) == (split == "val")


def pairs(name: str, root: Path, split: str) -> list[tuple[Path, Path]]:
    """Pair images with masks by stem.

    Raises:
        DataError: no such split, an empty one, or an image without mask or the reverse.
    """
    folders = layout(name, root)
    if not root.is_dir():
        raise DataError(f"{root} is no folder: give the folder that holds the {name} data")
    if not folders:
        raise DataError(
            f"{root} holds no data: it needs the folders images and masks, or train/images and "
            "train/masks, and the same for val and test"
        )
    if split not in folders:
        there = ", ".join(folders)
        raise DataError(f"{name} data in {root} has no {split} split (it has: {there})")
    images, masks = (
        {stem: p for stem, p in pictures(f).items() if in_split(name, split, stem)}
        for f in folders[split]
    )
    if not images:
        cure = "put them there"
        if name != "folder":
            cure = f"see `segcourse data get {name} --root DIR` or check the path"
        raise DataError(f"{folders[split][0]} holds no images for the {split} split: {cure}")
    alone = sorted(images.keys() ^ masks.keys())
    if alone:
        raise DataError(
            f"{len(alone)} files of {folders[split][0]} and {folders[split][1]} have no partner, "
            f"first {alone[0]}: image and mask share a stem. "
            f"`segcourse data check {root} --data {name}` lists them all"
        )
    return [(images[stem], masks[stem]) for stem in images]


class CamVid(PairedFiles):
    """CamVid as SegNet published it: 11 classes, 360x480, 367 / 101 / 233 frames.

    Folders train, trainannot, val, valannot, test and testannot; any image format. The file
    value 11 is void. Val is one sequence that also gives most of train: it overstates; test does
    not (Brostow et al. 2009; split of Badrinarayanan et al. 2017).

    Args:
        root: folder that holds train, trainannot and so on.
        split: "train", "val" or "test".

    Raises:
        DataError: the folders do not hold pairs of images and masks.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        table = identity_table(len(CAMVID), CAMVID_VOID)
        super().__init__("camvid", split, CAMVID, pairs("camvid", Path(root), split), table)


class IsbiEM(PairedFiles):
    """The 30 slices of the ISBI 2012 challenge: cells and their membranes in electron microscopy.

    Folders image and label with 0.png to 29.png, 512x512. Here 255 in a file is no void: white is
    cell, black is membrane (Arganda-Carreras et al. 2015). Slices 0..23 are train, 24..29 val;
    the labels of the challenge's test slices are not public.

    Args:
        root: folder that holds image and label.
        split: "train" or "val".

    Raises:
        DataError: the folders do not hold pairs, or the split is "test".
    """

    def __init__(self, root: str | Path, split: str) -> None:
        super().__init__("isbi", split, ISBI, pairs("isbi", Path(root), split), isbi_table())


class Folder(PairedFiles):
    """A folder of your own images and masks.

    Either root/train/images, root/train/masks and the same for val and test, or just root/images
    and root/masks, which are then all train. Masks hold a class index a pixel and 255 for void.
    Names come from root/classes.txt, one "name" or "name #rrggbb" a line; without it K is the
    largest label of all masks plus one, for which every mask is read once.

    Args:
        root: of the data set.
        split: "train", "val" or "test".
        classes: names and palette; None reads classes.txt or the masks.

    Raises:
        DataError: no such split, files without partner, an unreadable mask or classes.txt.
    """

    def __init__(self, root: str | Path, split: str, classes: Classes | None = None) -> None:
        root = Path(root)
        found = pairs("folder", root, split)
        classes = classes or read_classes(root) or guess_classes(root)
        super().__init__("folder", split, classes, found, identity_table(len(classes)))


def isbi_table() -> np.ndarray:
    """Build the (256,) table from ISBI's file values: 0 is membrane, 255 is cell."""
    table = np.full(256, -1, dtype=np.int64)
    table[0], table[255] = 0, 1
    return table


def read_classes(root: Path) -> Classes | None:
    """Read root/classes.txt; None where there is none.

    Lines are "name" or "name #rrggbb"; empty lines and lines that start with "//" are skipped.
    A class named "void" sets the colour of void and is no class.

    Raises:
        DataError: the file cannot be read, a colour is not #rrggbb, a name stands twice, or there
            is no class at all.
    """
    path = root / "classes.txt"
    if not path.is_file():
        return None
    entries = _entries(path)
    void = entries.pop("void", None) or (224, 224, 192)
    if not entries:
        raise DataError(f"{path} names no class: write one a line, the first is index 0")
    free = distinct_colors(len(entries))
    palette = tuple(color or free[k] for k, color in enumerate(entries.values()))
    return Classes(tuple(entries), palette, void)


def colored_classes(root: Path) -> frozenset[int]:
    """The indices of the classes that root/classes.txt gives a colour; raises as `read_classes`."""
    entries = _entries(root / "classes.txt")
    entries.pop("void", None)
    return frozenset(k for k, color in enumerate(entries.values()) if color is not None)


def _entries(path: Path) -> dict[str, tuple[int, int, int] | None]:
    """The lines of a classes.txt: names to colours, None where a line gives none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    entries: dict[str, tuple[int, int, int] | None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("//"):
            continue
        name, mark, code = (part.strip() for part in text.partition("#"))
        color = None
        if mark:
            if len(code) != 6 or not all(c in "0123456789abcdefABCDEF" for c in code):
                raise DataError(
                    f'{path}, line {number}: "#{code}" is no colour, write "{name or "name"} '
                    '#rrggbb" with six hexadecimal digits'
                )
            color = (int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16))
        if not name or (name in entries and name != "void"):
            raise DataError(
                f"{path}, line {number}: "
                f"{f'the class {name} stands there twice' if name else 'the name is missing'}, "
                "write each class once, in the order of its index"
            )
        entries[name] = color or entries.get(name)
    return entries


def guess_classes(root: Path) -> Classes:
    """Count the classes of a plain folder from the largest label in all of its masks.

    Raises:
        DataError: a mask is unreadable, or none holds anything but void.
    """
    found: set[int] = set()
    for _, masks in layout("folder", root).values():
        for path in pictures(masks).values():
            found |= set(np.unique(read_mask(path)).tolist())
    largest = max(found - {IGNORE}, default=-1)
    if not 0 <= largest < IGNORE:
        raise DataError(
            f"the largest label in the masks of {root} is {largest}, need 0..{IGNORE - 1}: write "
            "the class names into classes.txt, and run `segcourse data check`"
        )
    if found == {0, IGNORE}:
        raise DataError(
            f"the masks of {root} hold only 0 and {IGNORE}, which is void: `segcourse data check "
            f"{root}` says how to convert them if {IGNORE} means foreground"
        )
    return Classes(tuple(f"class {k}" for k in range(largest + 1)), distinct_colors(largest + 1))
