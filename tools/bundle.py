"""A suite's folder as a few small files, to leave a machine that keeps nothing.

    python -m tools.bundle save runs/suite FOLDER      FOLDER/suite-1-of-3.part, ...
    python -m tools.bundle load FOLDER runs/suite      and back, to go on there

First all records, label maps and failures; then, as far as they fit, the weights that other runs
start from, the checkpoints of runs in hand, and other weights, the small ones first. A run whose
weights stayed behind keeps its record, and is trained again only where another starts from it.
"""

import argparse
import gzip
import io
import os
import re
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from segcourse.cli.runs import FILE
from segcourse.cli.suite_runs import RUNS, SMALL, TOYS
from segcourse.errors import DataError

PART = 15_000_000
"""Bytes of a file."""

LIMIT = 40_000_000
"""Bytes of all: with the repository's own files they fit into 64 MiB, on the way back."""

PARTS = re.compile(r"suite-(\d+)-of-(\d+)\.part")
HEADER = 2048
"""Bytes that a tar may spend on a file beside its content."""


def save(out: Path, folder: Path, limit: int = LIMIT, part: int = PART) -> str:
    """Write the files; those of an earlier bundle are replaced.

    Args:
        out: the suite's folder, with no suite at work in it.
        folder: for the files.
        limit: bytes of all together.
        part: bytes of one file at most.

    Returns:
        What was written and what was left behind, in words.

    Raises:
        DataError: there is no folder `out`.
    """
    if not out.is_dir():
        raise DataError(f"{out} is no folder: give the --out of a suite")
    room, chosen, left = limit - 10_240, [], []  # a tar ends with so many zeros at most
    for unit in _units(out):
        size = sum(path.stat().st_size + HEADER for path in unit)
        (chosen if size <= room else left).append(unit)
        room -= size if size <= room else 0
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as tar:
        for path in (path for unit in chosen for path in unit):
            tar.add(path, path.relative_to(out).as_posix())
    content = stream.getvalue()
    pieces = [content[at : at + part] for at in range(0, len(content), part)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in _parts(folder):
        path.unlink()
    for number, piece in enumerate(pieces, start=1):
        (folder / f"suite-{number}-of-{len(pieces)}.part").write_bytes(piece)
    told = f"bundle: {len(pieces)} files, {len(content) / 1e6:.1f} MB in {folder}"
    behind = [str(_root(unit[0], out)) for unit in left]
    return told + (f"; too large for it: {', '.join(behind)}" if behind else "")


def load(folder: Path, out: Path) -> str:
    """Put back what `save` wrote; a run's folder that is there is replaced.

    Args:
        folder: with the files, all of them.
        out: the suite's folder; it need not exist.

    Returns:
        What was put back, in words.

    Raises:
        DataError: a file is missing or damaged; then nothing is put back.
    """
    paths = _parts(folder)
    if not paths:
        raise DataError(f"{folder} holds no suite-1-of-N.part: give the folder of --bundle")
    wanted = {int(PARTS.fullmatch(path.name)[2]) for path in paths}
    if wanted != {len(paths)}:
        raise DataError(
            f"{folder} holds {len(paths)} parts of {' and '.join(map(str, sorted(wanted)))}: "
            "all parts of one bundle are needed"
        )
    try:
        content = gzip.decompress(b"".join(path.read_bytes() for path in paths))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"the bundle in {folder} is damaged ({error}): copy it again") from error
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        names = tar.getnames()
        for run in {_root(out / name, out) for name in names} - {Path(name) for name in names}:
            shutil.rmtree(out / run, ignore_errors=True)
        tar.extractall(out, filter="data")
    return f"bundle: {len(names)} files put back into {out}"


def _parts(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("suite-*.part") if PARTS.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(PARTS.fullmatch(path.name)[1]))


def _root(path: Path, out: Path) -> Path:
    """The folder of the run that a file belongs to, or the file itself, seen from `out`."""
    inner = path.relative_to(out)
    return Path(*inner.parts[:2]) if inner.parts[0] in ("runs", "trained") else inner


def _units(out: Path) -> Iterator[list[Path]]:
    """Files that go together or not at all, in order of worth."""
    folders = ("", "failed", "superseded", "speedrun", "throughput", "profile", "crf")
    for name in folders:
        for path in sorted((out / name).glob("*")):
            if path.is_file() and path.suffix in (".json", ".png", ".tries"):
                yield [path]
    starts = {entry.start for entry in (*RUNS, *SMALL, *TOYS)}
    runs = []
    for run in [*(out / "runs").glob("*"), *(out / "trained").glob("*")]:
        name = run.name.rpartition("-s")[0]
        worth = 1 if run.parent.name == "runs" else 0 if name in starts else 2
        files = _files(run)
        runs.append((worth, sum(path.stat().st_size for path in files), run.name, files))
    for *_, files in sorted(runs):
        if files:
            yield files


def _files(run: Path) -> list[Path]:
    """The files of a run; run.json last, since it makes a folder one to start from."""
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(run)
        if "tensorboard" not in Path(folder).parts and ".partial-" not in folder
        for name in names
        if not name.endswith(".partial")
    ]
    return sorted(found, key=lambda path: (path.name == FILE, path))


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line, and save or load."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bundle", description=__doc__.splitlines()[0]
    )
    parser.add_argument("what", choices=("save", "load"))
    parser.add_argument("source", type=Path, help="save: the suite's folder; load: the files'")
    parser.add_argument("target", type=Path, help="the other one")
    parser.add_argument("--limit", type=float, default=LIMIT / 1e6, help="MB of all files")
    args = parser.parse_args(words)
    try:
        if args.what == "save":
            print(save(args.source, args.target, round(args.limit * 1e6)))
        else:
            print(load(args.source, args.target))
    except DataError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
