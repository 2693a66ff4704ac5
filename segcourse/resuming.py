"""A run's folder: claimed by a new run, or opened where a killed one stopped (`training.fit`).

The folder holds config.json, log.jsonl and the checkpoints. One process at a time trains there. A
run goes on only with the configuration that it was started with, and a run that diverged says
where its last good checkpoint lies.
"""

import errno
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not told apart there
    fcntl = None

from segcourse import checkpoints, optim
from segcourse.config import Config, differences
from segcourse.errors import DataError, UsageError


class DivergedError(UsageError):
    """The loss or the weights became nan or infinite: the run stopped, its checkpoints are good."""


def holds_run(out: Path) -> bool:
    """Whether a folder holds something to lose: a checkpoint, whole or damaged.

    What a run leaves that ended before its first checkpoint is free to be overwritten.
    """
    return any((out / "checkpoints").glob("step-*"))


_held: dict[Path, tuple[int, IO[str]]] = {}
"""Folders that this process holds: the process, and the open file that is locked."""


def hold(out: Path) -> None:
    """Keep other processes out of a run's folder until `release`; again in one process is fine.

    The system lets go of the lock when the process ends, however it ends. Its children do not
    have it, so workers that outlive a killed run are in nobody's way.

    Raises:
        UsageError: another process trains there.
    """
    path = out.resolve()
    if fcntl is None or _held.get(path, (None,))[0] == os.getpid():
        return
    file = (out / ".lock").open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return  # a file system without locks
        raise UsageError(
            f"{out} is in use: {holder} is training there. Wait until it ends, or give another "
            "folder"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()
    _held[path] = os.getpid(), file


def release(out: Path) -> None:
    """Let other processes into a folder that this one holds."""
    pid, file = _held.get(out.resolve(), (None, None))
    if pid == os.getpid():
        del _held[out.resolve()]
        file.close()  # and with it goes the lock


def claim(out: Path, config: Config, resume: bool) -> None:
    """Make the folder a new run's, or check that the run in it is the one to go on with; hold it.

    Raises:
        UsageError: another process trains there; a new run, and the folder holds one; or a
            resume, and it holds none or one with another configuration.
        DataError: config.json is damaged.
    """
    if resume and not (out / "config.json").exists():
        raise UsageError(
            f"{out} holds no run to resume: give the folder of one, or start without --resume"
        )
    out.mkdir(parents=True, exist_ok=True)
    hold(out)
    try:
        _claim(out, config, resume)
    except BaseException:
        release(out)
        raise


def _claim(out: Path, config: Config, resume: bool) -> None:
    file = out / "config.json"
    if holds_run(out) and not resume:
        raise UsageError(
            f"{out} already holds a run: give --resume (resume=True) to go on with it, or another "
            "folder to keep both"
        )
    if not resume:
        if file.exists():  # only then are these names a run's
            (out / "log.jsonl").unlink(missing_ok=True)
            shutil.rmtree(out / "tensorboard", ignore_errors=True)
        checkpoints.write_bytes(file, json.dumps(asdict(config), indent=1).encode())
        return
    try:
        changed = differences(json.loads(file.read_bytes()), config)
    except ValueError as error:
        raise DataError(
            f"{file} is damaged ({error}): restore it, or start a new run in another folder"
        ) from error
    if changed:
        raise UsageError(
            f"{out} was started with another configuration ({'; '.join(changed)}): resume with "
            "the values that it was started with, or start a new run in another folder"
        )


def open_folder(out: Path, config: Config, resume: bool) -> checkpoints.Checkpoint | None:
    """Claim the folder, and find where a run in it goes on; None: from the start."""
    claim(out, config, resume)
    return checkpoints.latest(out / "checkpoints") if resume else None


@dataclass
class Spent:
    """What a run has cost up to a step, over all its parts.

    seconds: wall clock. training: seconds outside of evaluations and checkpoints.
    images: trained on in the `training` seconds.
    """

    seconds: float = 0.0
    training: float = 0.0
    images: int = 0


def restore(saved, model, averaged, optimizer, schedule) -> Spent:
    """Put model, average, optimizer and schedule back to where a checkpoint left them."""
    checkpoints.load_weights(model, saved.path / checkpoints.WEIGHTS)
    state = checkpoints.load_state(saved)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    if averaged is not None:
        checkpoints.load_weights(averaged.module, saved.path / checkpoints.AVERAGED)
        averaged.updates = state["averaged"]
    return Spent(**state.get("spent", {}))


def best(lines: list[dict]) -> tuple[int | None, float]:
    """Step and mIoU of the best evaluation in a log, the earliest of equals."""
    scored = [(line["miou"], line["step"]) for line in lines if line.get("miou") is not None]
    if not scored:
        return None, -1.0
    miou, step = max(scored, key=lambda s: (s[0], -s[1]))
    return step, miou


def diverged(what: str, step: int, config: Config, out: Path | None) -> DivergedError:
    """The error for a run whose numbers left the finite ones in optimizer step `step`, from 0."""
    saved = checkpoints.latest(out / "checkpoints") if out is not None else None
    kept = f"the last good checkpoint is {saved.path}" if saved else "no checkpoint was written yet"
    rate = config.lr * optim.factor(config, step)
    return DivergedError(
        f"{what} after step {step + 1} of {config.steps}, at learning rate {rate:.3g}; {kept}. "
        "Resuming would meet the same step again: start a new run with a lower lr, with "
        "warmup, or with clip 1" + (", or in fp32" if config.precision == "bf16" else "")
    )
