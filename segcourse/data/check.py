"""Read a data set through and report every fault at once, each with its file and its cure.

Training on a broken data set rarely crashes: it trains on wrong labels. So `segcourse data check`
reads every file before a run does.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcourse.data.base import GENERATED, PairedFiles, identity_table, read_image, read_mask
from segcourse.data.faults import Fault, Rules, check_mask
from segcourse.data.files import (
    CAMVID_VOID,
    colored_classes,
    in_split,
    isbi_table,
    layout,
    picture_files,
    pictures,
    read_classes,
)
from segcourse.data.photos import mismatch
from segcourse.data.published import verify_camvid
from segcourse.data.torchvision_sets import SBD, VOC, Cityscapes, Pets
from segcourse.errors import DataError
from segcourse.labels import CAMVID, IGNORE, ISBI

Pair = tuple[Path | None, Path | None]
"""An image and its mask; None where there is no such file."""

TORCHVISION = {"voc": VOC, "sbd": SBD, "pets": Pets, "cityscapes": Cityscapes}


def check(root: str | Path, name: str) -> list[Fault]:
    """Read all splits of a data set and list every fault.

    Args:
        root: folder of the data.
        name: one of DATASETS. Generated ones have no faults.

    Returns:
        The faults, in the order of the files; empty where all is well.

    Raises:
        ValueError: an unknown name.
    """
    root = Path(root)
    if name in GENERATED:
        return []
    if name in TORCHVISION:
        return _check_torchvision(root, name)
    if name not in ("camvid", "isbi", "folder"):
        raise ValueError(f'there is no data set "{name}" to check')
    if not root.is_dir():
        return [Fault(str(root), "no folder", f"give the folder that holds the {name} data")]
    rules, faults = _rules(root, name)
    folders = layout(name, root)
    if not folders:
        needs = "images and masks, or train/images and train/masks (and the same for val, test)"
        faults.append(Fault(str(root), "no layout", f"it holds no data: need the folders {needs}"))
    if "train" in folders and "val" not in folders:
        flat = folders["train"][0].parent == root
        text = (
            f"`segcourse train` needs one: {'move images and masks into train/, then ' * flat}"
            "make val/images and val/masks, and move some of the pairs there"
        )
        faults.append(Fault(str(root), "no val split", text))
    seen: dict[bytes, tuple[str, Path]] = {}
    for split, (image_folder, mask_folder) in folders.items():
        pairs, unpaired = _pair_up(name, split, image_folder, mask_folder)
        faults += unpaired
        faults += _check_pairs(pairs, split, rules, seen)
    if name == "camvid":
        faults += verify_camvid(root)
    return faults


def _rules(root: Path, name: str) -> tuple[Rules, list[Fault]]:
    if name == "camvid":
        return Rules(identity_table(len(CAMVID), CAMVID_VOID), len(CAMVID)), []
    if name == "isbi":
        return Rules(isbi_table(), len(ISBI)), []
    try:
        classes = read_classes(root)
    except DataError as error:
        return Rules(identity_table(IGNORE), IGNORE), [
            Fault(str(root / "classes.txt"), "bad classes.txt", str(error))
        ]
    if classes is not None:
        table, colored = identity_table(len(classes)), colored_classes(root)
        return Rules(table, len(classes), colors=classes, colored=colored), []
    return Rules(identity_table(IGNORE), IGNORE), _check_unnamed(root)


def _check_unnamed(root: Path) -> list[Fault]:
    """Without classes.txt the masks alone must say what the classes are."""
    values: set[int] = set()
    for _, masks in layout("folder", root).values():
        for path in pictures(masks).values():
            try:
                values |= set(np.unique(read_mask(path)).tolist())
            except DataError:
                continue  # reported with its own file
    labels = sorted(values - {IGNORE})
    if values == {0, IGNORE}:
        return [
            Fault(
                str(root),
                "binary masks",
                f"the masks hold only 0 and {IGNORE}, and {IGNORE} is void here: if it means "
                "foreground, write classes.txt with the lines 'background #000000' and "
                f"'foreground #ffffff', and run `segcourse data convert {root} --out DIR`",
            )
        ]
    if labels and labels[-1] >= 2 * len(labels) + 8:
        shown = ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")
        return [
            Fault(
                str(root),
                "sparse labels",
                f"the masks hold the values {shown}, which would be {labels[-1] + 1} classes: "
                "renumber them to 0, 1, 2, ... or name every class in classes.txt",
            )
        ]
    return []


def _pair_up(
    name: str, split: str, image_folder: Path, mask_folder: Path
) -> tuple[list[Pair], list[Fault]]:
    faults = []
    images, masks = (
        {stem: p for stem, p in pictures(f).items() if in_split(name, split, stem)}
        for f in (image_folder, mask_folder)
    )
    if not images:
        text = f"no images for the {split} split: put them there, or fetch the data again"
        faults.append(Fault(str(image_folder), "empty split", text))
    for stem, path in images.items():
        if stem not in masks:
            text = f"has no mask: need {mask_folder / (stem + '.png')}, or remove the image"
            faults.append(Fault(str(path), "missing mask", text))
    for stem, path in masks.items():
        if stem not in images:
            text = f"has no image of the stem {stem} in {image_folder}: add it, or remove the mask"
            faults.append(Fault(str(path), "mask without image", text))
    for folder, kept in ((image_folder, images), (mask_folder, masks)):
        for path in picture_files(folder):
            other = kept.get(path.stem, path)
            if other != path:
                text = f"shares its stem with {other.name}: keep one of the two"
                faults.append(Fault(str(path), "same stem twice", text))
        inner = [p for p in sorted(folder.glob("*/")) if not p.name.startswith(".")]
        for path, count in ((path, len(picture_files(path))) for path in inner):
            if count:
                text = f"{count} image files in it are not read: move them up into {folder}"
                faults.append(Fault(str(path), "folder in a folder", text))
    stems = [*images, *(stem for stem in masks if stem not in images)]
    return [(images.get(stem), masks.get(stem)) for stem in stems], faults


def _check_pairs(
    pairs: Sequence[Pair],
    split: str,
    rules: Rules,
    seen: dict[bytes, tuple[str, Path]],
) -> list[Fault]:
    """Read every file; `seen` remembers the pictures of all splits by their decoded content."""
    faults = []
    for image_path, mask_path in pairs:
        image = values = None
        if image_path is not None:
            try:
                image = read_image(image_path)
            except DataError as error:
                faults.append(Fault(str(image_path), "unreadable image", str(error)))
        if mask_path is not None:
            values, found = check_mask(mask_path, rules)
            faults += found
        if image is None:
            continue
        if values is not None and values.shape != image.shape[1:]:
            text = mismatch(values.shape, tuple(image.shape[1:]), image_path)
            faults.append(Fault(str(mask_path), "size mismatch", text))
        shape = repr(tuple(image.shape)).encode()
        digest = hashlib.sha256(shape + image.numpy().tobytes()).digest()
        first_split, first = seen.setdefault(digest, (split, image_path))
        if first_split != split:
            text = (
                f"is the same picture as {first} of {first_split}: a model is judged on what it "
                "learned by heart, so keep it in one split"
            )
            faults.append(Fault(str(image_path), "leak between splits", text))
    return faults


def _check_torchvision(root: Path, name: str) -> list[Fault]:
    faults: list[Fault] = []
    seen: dict[bytes, tuple[str, Path]] = {}
    for split in ("train", "val", "test") if name == "pets" else ("train", "val"):
        try:
            data: PairedFiles = TORCHVISION[name](root, split)
        except DataError as error:
            faults.append(Fault(str(root), "split not found", str(error)))
            continue
        if not data.pairs:
            text = f"the list of {split} names no file: fetch the data again"
            faults.append(Fault(str(root), "empty split", text))
        rules = Rules(data.table, len(data.classes), data.read)
        faults += _check_pairs(data.pairs, split, rules, seen)
    return faults
