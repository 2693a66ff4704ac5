"""A suite killed with SIGKILL at random moments, compared with one that was left alone.

    python tests/suite_kills.py FOLDER --kills 10 --seed 0

torch is imported once; every suite is a fork of this process, which itself computes nothing. A
suite that ends before its kill is followed by another in a new folder, until all kills have
happened; then the last one is left to end. Every record must equal that of the suite left alone,
but for the clock, the memory and the date, and every file of label maps to the byte.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch._dynamo  # what an optimizer imports: here, and not in every fork

from segcourse import data
from segcourse.cli import main as segcourse
from segcourse.cli import suite, suite_budget, suite_crf
from segcourse.cli.suite_runs import Entry, equal_seconds

with contextlib.suppress(ImportError):  # where it is installed
    import torch.utils.tensorboard  # noqa: F401

RUN = (
    "--data scenes --height 32 --width 32 --batch 4 --crop 32 32 --scale 0.7 1.4 --lr 0.01 "
    "--model full-resolution --eval-every 20 --checkpoint-every 10 "
)
ENTRIES = (
    Entry("first", RUN + "--steps 40 --ema 0.9"),
    Entry("longer", RUN + "--steps 20 --class-weights median", start="first", crf=True),
    Entry("windows", RUN.split("--crop")[0] + "--model patch --batch 16 --steps 20 --eval-every 0"),
)
ENTRIES += equal_seconds(ENTRIES[:1], 8.0)
LENGTHS = {"train": 16, "val": 6, "test": 6}
CLOCK = {"date", "seconds", "images_per_second", "peak_memory_mib", "hardware"}
EMPTY = ("runs", "failed", "superseded")


def shrink() -> None:
    """Make the toy list and the scenes small enough for runs of about a second."""
    data.LENGTHS.update(LENGTHS)
    suite.TOYS = ENTRIES
    suite_crf.IMAGES, suite_crf.SETTINGS = 2, 4
    # As many steps in every suite: 20 of 4 images, whatever the clock says.
    suite_budget.images_per_second = lambda record: 10.0


def without_clock(value):
    """A record without what a clock or the machine decides."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    if isinstance(value, list):
        return [without_clock(item) for item in value]
    return value


def records(folder: Path) -> dict[str, dict | bytes]:
    """The records of a suite by file name, without the clock, and its label maps."""
    found = sorted(folder.glob("*.json"))
    made = {path.name: without_clock(json.loads(path.read_bytes())) for path in found}
    return made | {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def start(folder: Path) -> int:
    """Start a suite in a fork; its process id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 70
    try:
        with (folder.parent / "log").open("a") as log:
            for descriptor in (1, 2):
                os.dup2(log.fileno(), descriptor)
            words = ["bench", "suite", "--toy", "--seeds", "0", "1", "--device", "cpu"]
            code = segcourse([*words, "--out", str(folder)])
    finally:
        os._exit(code)


def ends(pid: int, seconds: float) -> bool:
    """Whether a suite ends by itself within so many seconds; else it is killed."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status:
                sys.exit(f"a suite ended with status {status}: see the log")
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def moment(folder: Path) -> str:
    """Where a kill has hit, in words."""
    done = [path.stem for path in sorted(folder.glob("*.json"))]
    in_hand = []
    with contextlib.suppress(OSError):
        for run in sorted((folder / "runs").iterdir()):
            steps = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
            in_hand.append(f"{run.name} at {steps[-1] if steps else 'no checkpoint'}")
    return f"{len(done)} done; in hand: {', '.join(in_hand) or 'nothing'}"


def main() -> None:
    """Kill, finish, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    shrink()
    chance = random.Random(args.seed)
    began = time.monotonic()
    if not ends(start(args.folder / "alone"), 600):
        sys.exit("the suite that was left alone did not end in ten minutes")
    whole = time.monotonic() - began
    expected = records(args.folder / "alone")
    kinds = [sum(name.endswith(end) for name in expected) for end in (".json", ".maps.png")]
    print(f"left alone: {kinds[0]} records and {kinds[1]} files of label maps in {whole:.1f} s")

    kills, folders, ended = 0, [], False
    while kills < args.kills or not ended:
        folder = args.folder / f"killed-{len(folders)}"
        patience = chance.uniform(0, 0.5 * whole) if kills < args.kills else 600
        ended = ends(start(folder), patience)
        if ended:
            folders.append(folder)
        else:
            kills += 1
            print(f"kill {kills} after {patience:.2f} s: {moment(folder)}")
    for folder in folders:
        found = records(folder)
        if found != expected:
            other = [name for name in expected if found.get(name) != expected[name]]
            sys.exit(f"{folder}: the records differ: {other}")
        if left := [path for name in EMPTY for path in folder.glob(f"{name}/*")]:
            sys.exit(f"{folder}: left behind: {left}")
    print(f"{kills} kills, {len(folders)} suites, all records equal")


if __name__ == "__main__":
    main()
