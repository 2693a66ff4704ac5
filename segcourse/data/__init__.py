"""Data sets behind one interface: generated scenes and cells, and real pictures, void = 255."""

from pathlib import Path

from segcourse.data.base import GENERATED, SPLITS, Resized, SegmentationData
from segcourse.data.cells import CELL_LENGTHS, CellImage, Cells, cell_image
from segcourse.data.check import check
from segcourse.data.convert import convert_masks
from segcourse.data.download import download
from segcourse.data.faults import Fault
from segcourse.data.files import CamVid, Folder, IsbiEM
from segcourse.data.layout import Instance
from segcourse.data.pack import Packed, is_pack
from segcourse.data.published import verify_camvid
from segcourse.data.scenes import LENGTHS, Scene, Scenes, scene
from segcourse.data.torchvision_sets import SBD, VOC, Cityscapes, Pets
from segcourse.errors import DataError

DATASETS = (*GENERATED, "camvid", "isbi", "voc", "sbd", "pets", "cityscapes", "folder")
"""The names that `open_data` and the command line know."""

_READERS = {
    "camvid": CamVid,
    "isbi": IsbiEM,
    "voc": VOC,
    "sbd": SBD,
    "pets": Pets,
    "cityscapes": Cityscapes,
    "folder": Folder,
}


def open_data(
    name: str, root: str | Path | None, split: str, size: tuple[int, int] | None = None
) -> SegmentationData:
    """Open one split of a data set.

    Args:
        name: one of DATASETS.
        root: folder of the data, or a file of `segcourse data pack`; scenes and cells need none.
        split: "train", "val" or "test".
        size: (H, W) in pixels. Images are resized smoothly and labels by nearest; scenes and cells
            are rendered at this size. None keeps what the files have (generated: 128x128).

    Raises:
        ValueError: an unknown name or split, or a bad size.
        DataError: the data is not there, or has no such split.
    """
    if name not in DATASETS:
        raise ValueError(f'there is no data set "{name}": choose one of {", ".join(DATASETS)}')
    if split not in SPLITS:
        raise ValueError(f'there is no split "{split}": choose one of {", ".join(SPLITS)}')
    if name == "scenes":
        return Scenes(LENGTHS[split], size or (128, 128), split=split)
    if name == "cells":
        return Cells(CELL_LENGTHS[split], size or (128, 128), split=split)
    if root is None:
        raise ValueError(f"{name} is read from files: give the folder that holds it as root")
    if is_pack(root):
        data = Packed(root, split)
        if data.name != name:
            raise DataError(f"{root} holds {data.name} and not {name}: open it as {data.name}")
    else:
        data = _READERS[name](root, split)
    return data if size is None else Resized(data, size)


__all__ = [
    "DATASETS",
    "GENERATED",
    "SBD",
    "VOC",
    "CamVid",
    "CellImage",
    "Cells",
    "Cityscapes",
    "Fault",
    "Folder",
    "Instance",
    "IsbiEM",
    "Packed",
    "Pets",
    "Scene",
    "Scenes",
    "SegmentationData",
    "cell_image",
    "check",
    "convert_masks",
    "download",
    "open_data",
    "scene",
    "verify_camvid",
]
