"""Checkpoints that survive a kill at any moment, and are found again.

A checkpoint is a folder, written under another name, forced to disk and renamed: it is there in
full or not at all. Its meta.json holds the hash of every file, so damage is seen, and the one
before is used. Runs of every page, book/sliding_window.ipynb first, keep theirs like this:

    OUT/checkpoints/step-000200/weights.safetensors     the model
                                ema.safetensors         its running average, where the run has one
                                state.pt                optimizer and schedule
                                meta.json               step, score, configuration, versions, hashes
"""

import hashlib
import io
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import segcourse
from segcourse import weights
from segcourse.errors import DataError

WEIGHTS, AVERAGED, STATE, META = "weights.safetensors", "ema.safetensors", "state.pt", "meta.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole; `score` is None where it was not evaluated."""

    path: Path
    step: int
    score: float | None
    config: dict


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file's content at once: a kill leaves the old content or the new."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write(partial, content)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
    _sync_folder(path.parent)


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    averaged: nn.Module | None,
    state: dict,
    config: dict,
    score: float | None,
) -> Path:
    """Write a checkpoint, then remove all but the last two and the best.

    Args:
        folder: holds the checkpoints, `OUT/checkpoints`.
        step: optimizer steps taken.
        model: its weights and buffers are saved.
        averaged: the running average of the weights, or None.
        state: what resuming needs beside them; tensors, numbers, strings, lists and dicts.
        config: the run's configuration, for JSON.
        score: the evaluation at this step, higher is better, or None.

    Returns:
        The checkpoint's folder, `step-000200`.
    """
    files = {WEIGHTS: weights.to_bytes(model.state_dict())}
    if averaged is not None:
        files[AVERAGED] = weights.to_bytes(averaged.state_dict())
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files[STATE] = buffer.getvalue()
    meta = {
        "step": step,
        "score": score,
        "config": config,
        "versions": {"segcourse": segcourse.__version__, "torch": str(torch.__version__)},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    meta["sha256"][META] = _meta_hash(meta)
    files[META] = json.dumps(meta, indent=1).encode()

    target = folder / f"step-{step:06d}"
    partial = folder / f".partial-{target.name}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, content in files.items():
            _write(partial / name, content)
        _sync_folder(partial)
    except OSError:  # a full disk must not be kept full
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _discard(target)  # only a damaged one can be in the way: a resumed run writes it anew
    os.rename(partial, target)
    _sync_folder(folder)
    _prune(folder)
    return target


def read(path: Path) -> Checkpoint:
    """Read a checkpoint's meta.json and hold every file against its hash.

    Raises:
        DataError: a file is missing or is not the one that was written.
    """
    try:
        meta = json.loads((path / META).read_bytes())
        hashes = dict(meta["sha256"])
        if hashes.pop(META) != _meta_hash(meta):
            raise DataError(f"{path / META} is damaged: it does not match its own hash")
        for name, expected in hashes.items():
            with (path / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise DataError(f"{path / name} is damaged: it does not match its hash")
        return Checkpoint(path, meta["step"], meta["score"], meta["config"])
    except OSError as error:
        raise DataError(f"{path} is damaged: {error.filename} cannot be read") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path / META} is damaged: it is not what was written") from error


def latest(folder: Path) -> Checkpoint | None:
    """The last checkpoint that is whole, or None where there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        DataError: there are checkpoints, and every one is damaged.
    """
    return _first_whole(_by_step(folder), folder)


def best(folder: Path) -> Checkpoint | None:
    """The whole checkpoint with the highest score, the earliest of equals; None if none has one."""
    scored = [(path, _score(path)) for path in reversed(_by_step(folder))]
    scored = [(path, score) for path, score in scored if score is not None]
    return _first_whole([path for path, _ in sorted(scored, key=lambda s: -s[1])], folder)


def load_state(checkpoint: Checkpoint) -> dict:
    """What was given to `save` as `state`, on the CPU; no code in the file is run."""
    return torch.load(checkpoint.path / STATE, map_location="cpu", weights_only=True)


def load_weights(model: nn.Module, path: str | Path) -> Path:
    """Load weights into `model`, in place, on its device.

    Args:
        model: as it was when the weights were saved.
        path: a .safetensors file; or a checkpoint's folder, where the averaged weights go before
            the last ones; or a run's folder, where the best checkpoint goes before the last.

    Returns:
        The file that was read.

    Raises:
        DataError: no such file, not a safetensors file, weights of another model, or of another
            number of classes.
    """
    file = _find_weights(Path(path))
    weights.load(model, file)
    return file


def _find_weights(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise DataError(f"{path} does not exist: give a .safetensors file or the folder of a run")
    if not (path / META).exists() and not (path / WEIGHTS).exists():
        folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
        checkpoint = best(folder) or latest(folder)
        if checkpoint is None:
            raise DataError(
                f"{path} holds no checkpoint: give a .safetensors file, a folder step-..., or the "
                "output folder of a run that reached its first checkpoint"
            )
        path = checkpoint.path
    return path / (AVERAGED if (path / AVERAGED).exists() else WEIGHTS)


def _meta_hash(meta: dict) -> str:
    hashes = {name: value for name, value in meta["sha256"].items() if name != META}
    content = json.dumps({**meta, "sha256": hashes}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _by_step(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the last first; half-written ones have other names."""
    found = [p for p in folder.glob("step-*") if p.is_dir() and p.name[5:].isdigit()]
    return sorted(found, key=lambda p: -int(p.name[5:]))


def _score(path: Path) -> float | None:
    try:
        return json.loads((path / META).read_bytes())["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _first_whole(paths: list[Path], folder: Path) -> Checkpoint | None:
    for path in paths:
        try:
            return read(path)
        except DataError as error:
            warnings.warn(f"{error}; the next best checkpoint is used", stacklevel=3)
    if paths:
        raise DataError(
            f"every checkpoint in {folder} is damaged ({len(paths)} were read): restore one from "
            "a backup, or train again into another folder"
        )
    return None


def _prune(folder: Path) -> None:
    """Keep the last two checkpoints and the best, and remove what kills have left."""
    paths = _by_step(folder)
    scores = [(score, -int(p.name[5:]), p) for p in paths if (score := _score(p)) is not None]
    keep = {*paths[:2], *(p for _, _, p in sorted(scores)[-1:])}
    for path in paths:
        if path not in keep:
            _discard(path)
    for path in folder.glob(".partial-*"):
        shutil.rmtree(path, ignore_errors=True)


def _discard(path: Path) -> None:
    """Remove a checkpoint by renaming it first: a kill half-way leaves nothing that looks whole."""
    if path.exists():
        gone = path.with_name(f".partial-{path.name}-{os.getpid()}-old")
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, where the system can (Windows cannot open a folder)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
