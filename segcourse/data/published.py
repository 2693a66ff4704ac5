"""Are these the published masks? CamVid's, by count and by one hash a split.

The archive that holds them has no checksum of its own and may be packed anew any day; its decoded
labels do not change.
"""

import hashlib
from pathlib import Path

import numpy as np

from segcourse.data.base import read_mask
from segcourse.data.faults import Fault
from segcourse.data.files import pictures
from segcourse.errors import DataError

CAMVID_FRAMES = {"train": 367, "val": 101, "test": 233}
CAMVID_DIGESTS = {
    "train": "16f3f0e5e735c32f2faa1ef40e53b614d65148f75a9e0dd5050d9f204c6f5ac1",
    "val": "6c7c467d617bf51c94754fcb04b67c608fac8490020f5a2bf07393c1e7633183",
    "test": "0483b8fbdf8bf3b36c1e67eb501f7759ffdc7d80abd61e0cea5a1643ead8ba2a",
}
"""sha256 of the published masks of each split, decoded; see `digest_masks`."""


def digest_masks(folder: Path) -> str:
    """Hash the decoded masks of a folder: sha256 over (stem, shape, bytes) in order of the stems.

    Decoded, because the same labels may be stored in files of many kinds.

    Raises:
        DataError: a mask is unreadable.
    """
    total = hashlib.sha256()
    for stem, path in sorted(pictures(folder).items()):
        values = read_mask(path)
        total.update(f"{stem} {values.shape[0]} {values.shape[1]}\n".encode())
        total.update(np.clip(values, 0, 255).astype(np.uint8).tobytes())
    return total.hexdigest()


def verify_camvid(root: str | Path) -> list[Fault]:
    """Compare the masks under root with SegNet's published ones, by count and hash.

    Returns:
        One fault for each split that differs; results on it do not compare with published ones.
    """
    faults = []
    for split, expected in CAMVID_DIGESTS.items():
        folder = Path(root) / f"{split}annot"
        count, needed = len(pictures(folder)), CAMVID_FRAMES[split]
        cure = (
            "results will not compare with published ones. `segcourse data get camvid --root DIR` "
            "fetches them; for data of your own use --data folder"
        )
        if count != needed:
            text = f"holds {count} masks, the published {split} split has {needed}: {cure}"
            faults.append(Fault(str(folder), "not the published masks", text))
            continue
        try:
            same = digest_masks(folder) == expected
        except DataError:
            continue  # reported with its own file
        if not same:
            text = f"the labels differ from the published {split} split (sha256 of all): {cure}"
            faults.append(Fault(str(folder), "not the published masks", text))
    return faults
