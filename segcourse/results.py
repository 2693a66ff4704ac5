"""Read the records under results/, so that a number on a page is never typed by hand.

A page asks for a record by its name, as in `read("sliding_window/patch_size")`. The folder is
looked for beside the package (a clone), then in the working directory and above it (a notebook
in a clone), then in `course/` below it (where the pages' first cell clones on Colab).
"""

import json
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image

import segcourse
from segcourse.errors import DataError


def folder() -> Path:
    """The folder that holds the records.

    Raises:
        DataError: there is none in the places that are looked at.
    """
    here = Path.cwd()
    places = [Path(segcourse.__file__).parents[1], here, *here.parents, here / "course"]
    for place in places:
        if (place / "results" / "README.md").is_file():
            return place / "results"
    raise DataError(
        f"no results/ beside the package, in {here} or above it: the records are part of the "
        "repository, clone it and open the notebook from there"
    )


def read(name: str) -> dict:
    """One record.

    Args:
        name: its path below results/, without `.json`.

    Returns:
        What was written by `segcourse.records.write_record`.

    Raises:
        DataError: there is no such record, or it is not JSON.
    """
    path = folder() / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(
            p.relative_to(folder()).with_suffix("").as_posix() for p in folder().rglob("*.json")
        )
        raise DataError(f"no record {name}: there are {', '.join(known) or 'none'}") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): make it again, see its command") from error


def page_seconds(stem: str) -> str:
    """A sentence on how long a page's code takes, to ten seconds, from `make notebooks`.

    Args:
        stem: of the notebook.

    Returns:
        The sentence, or one that says that it was not measured.
    """
    try:
        seconds = read("book/seconds")["seconds"][stem]
    except (DataError, KeyError):
        return "How long this page's code takes has not been measured here."
    return f"This page's code runs in less than {ceil(seconds / 10) * 10} seconds on one CPU core."


def read_all(name: str) -> dict[str, dict]:
    """Every record of one folder.

    Args:
        name: the folder below results/.

    Returns:
        From a record's name below results/, as `read` takes it, to the record, sorted. Empty where
        there is no such folder: then nothing of it has been run.

    Raises:
        DataError: a file is not JSON.
    """
    found = sorted((folder() / name).glob("*.json"))
    return {key: read(key) for key in (f"{name}/{path.stem}" for path in found)}


def read_maps(name: str, file: str, size: tuple[int, int]) -> np.ndarray:
    """The label maps that a run left beside its record, one PNG with frames side by side.

    Args:
        name: the folder below results/.
        file: of the maps, as the record's `maps` names it.
        size: (H, W) of one frame in pixels.

    Returns:
        (frames, H, W) uint8 class indices; void is 255.

    Raises:
        DataError: there is no such file, or it does not hold frames of this size.
    """
    path, (H, W) = folder() / name / file, size
    try:
        with Image.open(path) as picture:
            row = np.array(picture)
    except OSError as error:
        raise DataError(f"no label maps in {path} ({error}): run the suite again") from error
    if row.ndim != 2 or row.shape[0] != H or row.shape[1] % W:
        raise DataError(
            f"{path} holds {' x '.join(map(str, row.shape))} pixels, and frames of {H} x {W} side "
            "by side are needed: it is of another run, make it again"
        )
    return row.reshape(H, -1, W).swapaxes(0, 1)
