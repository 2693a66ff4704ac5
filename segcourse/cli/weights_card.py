"""What a card of trained weights says: the record in words, and what is known about the data.

`card` writes it from the record alone, so that no number in a card is typed by hand.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segcourse.cli.report import NAMES
from segcourse.pretrained import MODEL

NOT_FOR = (
    "Made to teach and to try things out. Not for driving, not for diagnosis, and for nothing else "
    "where a wrong pixel does harm."
)


@dataclass(frozen=True)
class Notes:
    """What is known about a data set: what it shows, its splits and their traps, its terms."""

    shows: str
    splits: str
    licence: str
    limits: tuple[str, ...]


NOTES = {
    "scenes": Notes(
        "Scenes that this package generates: discs, squares, triangles, crosses, bars, ponds and "
        "plazas on plain ground. Colour says nothing about the class.",
        "All splits are drawn by the same rules from one seed, so test is as near to train as test "
        "can be: it shows that nothing was learnt by heart, and no more.",
        "The data are made by this package, and the weights are under its licence, MIT.",
        ("It knows the generator's shapes, sizes, lens and noise, and no photograph at all.",),
    ),
    "cells": Notes(
        "Cells that this package generates: they touch, and a thin border parts them.",
        "All splits are drawn by the same rules from one seed, so test is as near to train as test "
        "can be: it shows that nothing was learnt by heart, and no more.",
        "The data are made by this package, and the weights are under its licence, MIT.",
        ("It knows the generator's cells, and no microscope at all.",),
    ),
    "camvid": Notes(
        "CamVid: streets of one town, filmed from a driving car by day and at dusk, with 11 "
        "classes in the split of SegNet's authors (Brostow, Fauqueur and Cipolla 2009).",
        "val overstates: it is 101 frames of one sequence that also gives 204 of the 367 training "
        "frames. test holds 171 frames of a sequence that training never saw. Void counts nowhere.",
        "CamVid's authors ask to be cited; we found no licence of theirs. The copy in the SegNet "
        "tutorial, whose split this is, stands in a repository under CC BY-NC 4.0, and copies "
        "elsewhere carry licences that contradict each other. So take these weights for teaching "
        "and research, cite the authors, and ask them before any commercial use. No image of the "
        "set is in this repository.",
        (
            "It knows the streets, the camera and the weather of a few drives of one car.",
            "Thin and rare things (poles, signs, people, bicycles) are mostly wrong, missed or "
            "painted too large: see their IoU.",
        ),
    ),
    "isbi": Notes(
        "The 30 labelled slices of the ISBI 2012 challenge: membranes and cells of nerve tissue of "
        "a fruit fly larva under an electron microscope (Arganda-Carreras et al. 2015).",
        "Slices 0 to 23 are train and 24 to 29 val. There is no test: val chose the checkpoint and "
        "is what is reported, and its slices are the neighbours of training's in one block of "
        "tissue, so the numbers flatter. They do not compare with the challenge's, which uses "
        "other slices and scores.",
        "The challenge's terms, as copies of its page quote them: the data may be used to make or "
        "test non-commercial image segmentation software, and publications must cite TrakEM2 and "
        "Cardona et al., PLoS Biology 8(10): e1000502, 2010. The page itself could not be read "
        "when this was written. So these weights are for non-commercial use. No image of the set "
        "is in this repository.",
        (
            "It knows one microscope, one stain and one block of tissue at one resolution.",
            "A gap of one pixel in a membrane makes one cell of two: see the adapted Rand error. "
            "It counts no cells as it is.",
        ),
    ),
}
"""Data sets whose terms we looked up; of others the person who exports has to state them."""


def card(record: dict) -> str:
    """Write the card of a record, as Markdown."""
    name, data, training = record["name"], record["data"], record["training"]
    height, width = record["size"]
    splits = [split for split in ("val", "test") if record["metrics"][split] is not None]
    file = record["file"]
    counts = ", ".join(f"{data[s]['images']} {s}" for s in ("train", *splits))
    config, seconds = record["config"], training["seconds"]
    lines = [
        f"# {name}",
        "",
        f"{record['model']}, {record['parameters']:,} weights, {len(record['classes']['names'])} "
        f"classes: {', '.join(record['classes']['names'])}.",
        "",
        "```bash",
        f"segcourse predict photo.jpg --weights {name} --out predictions",
        f"{record['command']}  # measures it again",
        "```",
        "",
        "```python",
        "from segcourse.pretrained import load_pretrained",
        "",
        f'labels = load_pretrained("{name}").label(image)  # uint8 (3, H, W) to int64 (H, W)',
        "```",
        "",
        f"`{MODEL}`: {file['bytes']:,} bytes, fp16, batch norm's statistics in float32; "
        f"sha256 `{file['sha256']}`.",
        "",
        "## Data",
        "",
        record["shows"],
        "",
        f"Images: {counts}{_size(data)}. {record['splits']}",
        "",
        "## Recipe",
        "",
        "```bash",
        *commands(training),
        "```",
        "",
        f"Random weights of seed {record['seed']}{_start(training)}. {config['steps']:,} steps of "
        f"{config['batch']} {_shown(config, data)}, {_time(seconds)} on "
        f"{_machine(training['hardware'])}, {training['date'][:10]}. The checkpoint of step "
        f"{training['chosen']['step']:,} had the highest mean IoU on val and is the one that is "
        "kept.",
        "",
        "## Measured",
        "",
        f"From `{MODEL}` itself, in float32 on a CPU, every pixel of a split in one matrix"
        f"{_compared(data)}.",
        "",
        *_table(record["metrics"], splits, record["classes"]["names"]),
        "",
        *_objects(record["metrics"], splits),
        "## Licence of the data",
        "",
        record["licence"],
        "",
        "## Limits",
        "",
        f"- It was trained at {height}x{width} pixels (height x width). Larger images are scaled "
        "to as many pixels, in their own shape, and the scores enlarged again: what is thin there "
        "is gone.",
        *(f"- {limit}" for limit in record["limits"]),
        "",
    ]
    return "\n".join(lines)


def commands(training: dict) -> list[str]:
    """What to type, line after line, to train such weights again.

    The record has each command as it was typed, in folders that only its author has. Here the
    second line starts from the folder that the first one writes, and both read the same data.
    """
    before = (training["start"] or {}).get("command")
    if before is None:
        return [training["command"]]
    first, second = shlex.split(before), shlex.split(training["command"])
    given = _value(first, "--out")
    if given and "--start" in second:
        run = Path(_value(second, "--start")).name
        suite = first[1:3] == ["bench", "suite"]  # keeps its runs below trained/
        second[second.index("--start") + 1] = f"{given}/trained/{run}" if suite else given
    root, data = _value(second, "--root"), _value(second, "--data")
    if root:
        first = [f"{data}={root}" if word.startswith(f"{data}=") else word for word in first]
    return [shlex.join(first), shlex.join(second)]


def _value(words: Sequence[str], flag: str) -> str:
    """What follows a flag; empty where it is not given."""
    return words[words.index(flag) + 1] if flag in words[:-1] else ""


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _shown(config: dict, data: dict) -> str:
    crop = config["crop"]
    cut = max(crop) and crop != data["size"]
    return "crops of {}x{} pixels".format(*crop) if cut else "images"


def _size(data: dict) -> str:
    return "" if data["size"] is None else ", {}x{} pixels".format(*data["size"])


def _compared(data: dict) -> str:
    if data["size"] is None:
        return ", at the size of the files"
    if data["name"] in ("scenes", "cells"):
        return ""
    return (
        ", at {}x{} pixels: images and labels were shrunk to it, so this does not compare with "
        "numbers at the size of the files"
    ).format(*data["size"])


def _start(training: dict) -> str:
    start = training["start"]
    return "" if not start else f", then the best of another run (sha256 {start['sha256'][:12]}...)"


def _machine(hardware: dict) -> str:
    threads = hardware["threads"]
    return hardware.get("gpu") or f"{threads} thread{'s' * (threads > 1)} of {hardware['cpu']}"


def _table(metrics: dict, splits: list[str], classes: list[str]) -> list[str]:
    rows = [("", *splits), ("---", *("---:" for _ in splits))]
    rows += [(word, *(_cell(metrics[s][key]) for s in splits)) for key, word in NAMES.items()]
    width = metrics[splits[0]]["trimap"]["width"]
    rows.append(
        (
            f"mean IoU within {width} px of a border",
            *(_cell(metrics[s]["trimap"]["miou"]) for s in splits),
        )
    )
    rows += [
        (f"IoU of {name}", *(_cell(metrics[s]["iou"][name]) for s in splits)) for name in classes
    ]
    return [f"| {' | '.join(row)} |" for row in rows]


def _objects(metrics: dict, splits: list[str]) -> list[str]:
    told = []
    for split in splits:
        found = metrics[split].get("objects")
        if found:
            told.append(
                f"Cells as objects, {split}: adapted Rand error "
                f"{_cell(found['adapted_rand_error'])}; of {found['objects']} cells "
                f"{found['merged']} merged, {found['split']} split, {found['missed']} missed."
            )
    return [line for text in told for line in (text, "")]


def _cell(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"
