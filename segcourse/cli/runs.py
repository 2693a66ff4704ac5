"""A run's folder, as `eval` and `predict` read it back.

The checkpoint holds weights and configuration. `run.json` beside it holds what the data set said
when the run began (class names, colours, the size of the images), so that a trained model can be
used where the data are not.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from segcourse import resuming
from segcourse.checkpoints import load_weights, write_bytes
from segcourse.cli.models import as_dense, build
from segcourse.cli.sources import Sets
from segcourse.config import Config
from segcourse.errors import DataError, UsageError
from segcourse.labels import Classes

FILE = "run.json"


@dataclass(frozen=True)
class Run:
    """A trained run, ready to label images.

    config: as it was trained. classes: of its data set. size: (H, W) of its images in pixels.
    model: (N, 3, H, W) to (N, K, H, W), in evaluation mode on `device`. trained: the same network
    as it was trained, which for the patch model takes windows. weights: the file read.
    """

    config: Config
    classes: Classes
    size: tuple[int, int]
    model: nn.Module
    trained: nn.Module
    device: torch.device
    weights: Path


def checkpoints_of(out: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return out / "checkpoints"


def claim(out: Path, config: Config, sets: Sets, resume: bool, start: dict | None = None) -> None:
    """Make a folder a new run's, with its `run.json`; or check that a resume is on the same data.

    `start` says which weights a new run starts from, for `run.json`; None: random ones.

    Raises:
        UsageError: as `resuming.claim`; or the data differ from those that the run began with.
        DataError: config.json is damaged.
    """
    resuming.claim(out, config, resume)
    info = {
        "classes": asdict(sets.classes),
        "size": list(sets.size),
        "train_images": len(sets.train),
    }
    info |= {} if start is None else {"start": start}
    try:
        saved = json.loads((out / FILE).read_bytes()) if resume else None
        changed = _changes(saved, info) if saved else []
    except (OSError, ValueError, KeyError, TypeError):
        saved, changed = None, []  # missing or damaged: written anew
    if changed:
        raise UsageError(
            f"{out} was started on other data ({'; '.join(changed)}): resume with the data that "
            "it was started on, or start a new run in another folder"
        )
    if saved is None:
        write_bytes(out / FILE, (json.dumps(info, indent=1) + "\n").encode())


def start_of(out: Path) -> dict | None:
    """Which weights the run in `out` started from, as `claim` was told; None: random ones."""
    try:
        return json.loads((out / FILE).read_bytes()).get("start")
    except (OSError, ValueError):
        return None


def _changes(saved: dict, info: dict) -> list[str]:
    """What the data say now that they did not say when the run began."""
    pairs = {
        "classes": [", ".join(i["classes"]["names"]) for i in (saved, info)],
        "size": ["x".join(map(str, i["size"])) for i in (saved, info)],
        "training images": [i["train_images"] for i in (saved, info)],
    }
    return [f"{name}: {a} -> {b}" for name, (a, b) in pairs.items() if a != b]


def saved_config(out: Path) -> dict | None:
    """The configuration that the run in `out` was started with; None where there is no run.

    Raises:
        DataError: config.json is damaged.
    """
    path = out / "config.json"
    if not path.is_file():
        return None
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:  # TypeError: JSON, but not an object
        raise DataError(f"{path} is damaged ({error}): restore it, or train again") from error
    known = {f.name for f in fields(Config)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items() if k in known}


def load_run(out: Path, device: torch.device) -> Run:
    """Rebuild a run's model, with the weights of its best checkpoint, or of its last.

    Raises:
        DataError: `out` is not a run's folder, or the run has no whole checkpoint.
    """
    if not (out / FILE).is_file():
        what = "is a file" if out.exists() else "does not exist"
        what = "has no run.json" if out.is_dir() else what
        raise DataError(f"{out} {what}: give the output folder of `segcourse train` (its --out)")
    try:
        info = json.loads((out / FILE).read_text(encoding="utf-8"))
        colors = info["classes"]
        classes = Classes(
            tuple(colors["names"]),
            tuple(tuple(color) for color in colors["palette"]),
            tuple(colors["void"]),
        )
        height, width = info["size"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{out / FILE} is damaged ({error}): `segcourse train --resume --out {out}` writes "
            "it anew"
        ) from error
    config = Config(**saved_config(out) or {})
    trained = build(config.model, len(classes), config.seed)
    file = load_weights(trained, out)
    model = as_dense(trained).to(device).eval()
    return Run(config, classes, (height, width), model, trained, device, file)
