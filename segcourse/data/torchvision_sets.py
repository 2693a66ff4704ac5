"""torchvision's data sets behind our interface: VOC, SBD, Oxford Pets and Cityscapes.

torchvision knows where their files lie; void and class indices are made ours here. torchvision
is imported when one of them is opened, not before.
"""

from pathlib import Path

import numpy as np

from segcourse.data.base import PairedFiles, identity_table
from segcourse.errors import DataError
from segcourse.labels import CITYSCAPES, IGNORE, PETS
from segcourse.labels import VOC as VOC_CLASSES

PETS_VAL_EVERY = 5
"""Every fifth picture of Pets' trainval list is val: it has no val split of its own."""

# Cityscapes' label ids of its 19 evaluated classes, in the order of their train ids.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


class VOC(PairedFiles):
    """PASCAL VOC 2012 segmentation: 20 classes and background (Everingham et al. 2015).

    Args:
        root: folder that holds VOCdevkit/VOC2012.
        split: "train" or "val"; the test labels are not public.

    Raises:
        DataError: no such split, or no such data under root.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        from torchvision.datasets import VOCSegmentation

        _need_split("voc", split, ("train", "val"))
        try:
            source = VOCSegmentation(root, year="2012", image_set=split)
        except (RuntimeError, OSError) as error:
            raise _absent("voc", root, "VOCdevkit/VOC2012") from error
        pairs = _pairs(source.images, source.masks)
        super().__init__("voc", split, VOC_CLASSES, pairs, identity_table(len(VOC_CLASSES)))


class SBD(PairedFiles):
    """Semantic Boundaries: VOC's classes on 8498 train and 2857 val images (Hariharan et al. 2011).

    SBD's train holds images of VOC's val: do not train on one and report the other.

    Args:
        root: folder that holds img, cls, train.txt and val.txt.
        split: "train" or "val".

    Raises:
        DataError: no such split, no such data under root, or scipy is not installed.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        from torchvision.datasets import SBDataset

        _need_split("sbd", split, ("train", "val"))
        need_scipy()
        try:
            source = SBDataset(str(root), image_set=split, mode="segmentation")
        except (RuntimeError, OSError) as error:
            raise _absent("sbd", root, "img, cls, train.txt and val.txt") from error
        table = identity_table(len(VOC_CLASSES))
        pairs = _pairs(source.images, source.masks)
        super().__init__("sbd", split, VOC_CLASSES, pairs, table, read=_read_mat)


class Pets(PairedFiles):
    """Oxford-IIIT Pets as two classes: pet and background, the trimap's border is void.

    Args:
        root: folder that holds oxford-iiit-pet.
        split: "train", "val" (every fifth of the published trainval list) or "test".

    Raises:
        DataError: no such split, or no such data under root (Parkhi et al. 2012).
    """

    def __init__(self, root: str | Path, split: str) -> None:
        _need_split("pets", split, ("train", "val", "test"))
        base = Path(root) / "oxford-iiit-pet"
        listing = base / "annotations" / ("test.txt" if split == "test" else "trainval.txt")
        try:
            lines = listing.read_text().splitlines()
        except OSError as error:
            raise _absent("pets", root, "oxford-iiit-pet/images and /annotations") from error
        # A line is "Abyssinian_100 1 1 1": the first word is the stem.
        stems = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        if split != "test":
            val = split == "val"
            stems = [s for i, s in enumerate(stems) if (i % PETS_VAL_EVERY == 0) == val]
        pairs = [
            (base / "images" / f"{s}.jpg", base / "annotations" / "trimaps" / f"{s}.png")
            for s in stems
        ]
        table = np.full(256, -1, dtype=np.int64)
        table[[1, 2, 3]] = [1, 0, IGNORE]
        super().__init__("pets", split, PETS, pairs, table)


class Cityscapes(PairedFiles):
    """Cityscapes, fine annotations, its 19 evaluated classes (Cordts et al. 2016).

    Args:
        root: folder that holds leftImg8bit and gtFine.
        split: "train" or "val"; the test labels are not public, their files hold only void.

    Raises:
        DataError: no such split, or no such data under root.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        from torchvision.datasets import Cityscapes as Source

        _need_split("cityscapes", split, ("train", "val"))
        try:
            source = Source(str(root), split=split, mode="fine", target_type="semantic")
        except (RuntimeError, OSError) as error:
            raise _absent("cityscapes", root, "leftImg8bit and gtFine") from error
        # torchvision lists folders as the file system does: sort, so that every machine agrees.
        pairs = sorted(_pairs(source.images, [t[0] for t in source.targets]))
        super().__init__("cityscapes", split, CITYSCAPES, pairs, cityscapes_table())


def cityscapes_table() -> np.ndarray:
    """Build the (256,) table from label ids 0..33 to train ids; ids without one become IGNORE."""
    table = np.full(256, -1, dtype=np.int64)
    table[:34] = IGNORE
    table[IGNORE] = IGNORE  # -1, the license plate, is stored as 255
    table[list(CITYSCAPES_IDS)] = np.arange(len(CITYSCAPES_IDS))
    return table


def need_scipy() -> None:
    """Raise DataError where scipy, which reads SBD's .mat files, is not installed."""
    try:
        import scipy.io  # noqa: F401
    except ImportError as error:
        raise DataError(
            "SBD stores its masks as MATLAB files, which need scipy: pip install scipy"
        ) from error


def _read_mat(path: Path) -> np.ndarray:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path} does not exist: put the file there or check the path")
    try:
        return loadmat(path)["GTcls"][0]["Segmentation"][0].astype(np.int64)
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise DataError(
            f"{path} cannot be read as an SBD mask ({error}): it is damaged or cut short, so "
            "fetch it again"
        ) from error


def _pairs(images: list[str], masks: list[str]) -> list[tuple[Path, Path]]:
    return [(Path(image), Path(mask)) for image, mask in zip(images, masks, strict=True)]


def _need_split(name: str, split: str, splits: tuple[str, ...]) -> None:
    if split not in splits:
        raise DataError(
            f"{name} has no {split} split with labels (it has: {', '.join(splits)}): report val "
            "and say so"
        )


def _absent(name: str, root: str | Path, needed: str) -> DataError:
    return DataError(
        f"{root} does not hold the {name} data: need {needed} in it. `segcourse data get {name} "
        "--root DIR` fetches it or says how to"
    )
