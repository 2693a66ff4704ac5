"""Data sets from --data and --root, with the layout in the message when they are not there."""

from dataclasses import dataclass
from pathlib import Path

from segcourse.config import Config
from segcourse.data import DATASETS, GENERATED, SegmentationData, open_data
from segcourse.data.pack import is_pack
from segcourse.errors import DataError, UsageError
from segcourse.labels import Classes

__all__ = ["DATASETS", "LAYOUTS", "Sets", "check_root", "open_sets", "open_split"]

LAYOUTS = {
    "camvid": ("train/ trainannot/ val/ valannot/ test/ testannot/", "trainannot"),
    "isbi": ("image/0.png ... image/29.png and label/0.png ... label/29.png", "image"),
    "voc": ("VOCdevkit/VOC2012/", "VOCdevkit"),
    "sbd": ("img/ cls/ train.txt val.txt", "img"),
    "pets": ("oxford-iiit-pet/images/ and oxford-iiit-pet/annotations/", "oxford-iiit-pet"),
    "cityscapes": ("leftImg8bit/ and gtFine/", "leftImg8bit"),
    "folder": ("train/images/ train/masks/ val/images/ val/masks/, or images/ and masks/", ""),
}
"""What stands in a data set's folder, and one name whose absence shows that it is another."""


def check_root(name: str, root: str | Path, flag: str = "--root ") -> None:
    """Refuse a root that cannot hold the data set; generated sets need none.

    Args:
        name: one of DATASETS.
        root: folder of the data set, or its pack.
        flag: what stands before the root on the command line, for the message.

    Raises:
        UsageError: no root was given.
        DataError: the root is not there, or does not have the data set's layout.
    """
    if name in GENERATED:
        return
    layout, mark = LAYOUTS[name]
    needed = f"Needed: the folder with {layout}."
    if name != "folder":
        needed += f"\n`segcourse data get {name} --root DIR` downloads it, or says how to get it."
    if not str(root):
        raise UsageError(f"--data {name} needs --root, and none was given.\n{needed}")
    folder = Path(root)
    if is_pack(folder):
        return
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{flag}{root} {what}.\n{needed}")
    if mark and not (folder / mark).is_dir():
        raise DataError(f"{flag}{root} has no {mark}/ in it.\n{needed}")


def open_split(
    name: str, root: str, split: str, size: tuple[int, int] | None = None
) -> SegmentationData:
    """Open one split.

    Args:
        name: one of DATASETS.
        root: folder of the data set, or its pack; "" for generated sets.
        split: "train", "val" or "test".
        size: (H, W) in pixels to resize to; None keeps the files' own.

    Raises:
        UsageError, DataError: as `check_root`, and whatever the data set refuses.
    """
    check_root(name, root)
    return open_data(name, root, split, size)


@dataclass(frozen=True)
class Sets:
    """The two splits that training reads, and (H, W) of the first image in pixels."""

    train: SegmentationData
    val: SegmentationData
    size: tuple[int, int]

    @property
    def classes(self) -> Classes:
        """The names and colours of the K classes."""
        return self.train.classes


def open_sets(config: Config) -> Sets:
    """Open the train and the val split of a run; raises as `open_split`."""
    size = (config.height, config.width) if config.height else None
    train, val = (open_split(config.data, config.root, s, size) for s in ("train", "val"))
    return Sets(train, val, size or tuple(train[0][0].shape[1:]))
