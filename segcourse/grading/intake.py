"""Take submissions in: rebuild each on the release, so that only answers are the student's.

Tests, points, metadata and kernel come from the release. A file that can't be read becomes the
blank release and is listed; nothing here stops the batch.
"""

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from segcourse.errors import UsageError
from segcourse.grading.matching import rebuild
from segcourse.grading.notebook import text_of
from segcourse.grading.platforms import TIMES, decoded, student_of, times

LARGEST = 20 << 20
"""Bytes of a file that are read."""
READABLE = (".ipynb", ".py")
EXAMPLE = "2027-03-02 10:00:00 UTC"


class Damaged(ValueError):
    """A file that holds no notebook."""


@dataclass
class Taken:
    """One submission as it goes on: a notebook, and what a person should know of it.

    Args:
        student: who handed it in.
        notebook: the release with the student's answers.
        file: that was read, or nothing.
        notes: what was unusual, in words.
        human: a person should look at it before its marks count.
        timestamp: when it was handed in, where _times.csv or timestamp.txt says so.
    """

    student: str
    notebook: dict
    file: str = ""
    notes: list[str] = field(default_factory=list)
    human: bool = False
    timestamp: str = ""


def take_all(release: dict, received: Path) -> Iterator[Taken]:
    """Take in every submission of a folder: one folder, or one file, for each student.

    Args:
        release: the notebook that was handed out.
        received: holds STUDENT/... or STUDENT.ipynb, or what Moodle and Canvas call these.

    Raises:
        UsageError: the table of times can't be meant so.
    """
    by_student: dict[str, list[Path]] = {}
    for place in sorted(received.iterdir(), key=lambda path: path.name):
        hidden_or_other = not place.is_dir() and place.suffix not in READABLE
        if not place.name.startswith((".", "_")) and not hidden_or_other:
            by_student.setdefault(student_of(place.name), []).append(place)
    known = received / TIMES
    stamps = times(decoded(known.read_bytes())) if known.is_file() else None
    for student, places in sorted(by_student.items()):
        taken = take(release, student, *places)
        if stamps is not None:
            said = stamps.get(student, "")
            taken.timestamp = _time(said)
            if said and not taken.timestamp:
                raise UsageError(f"{known}: {student}: {said!r} is no time such as {EXAMPLE}")
        yield taken


def take(release: dict, student: str, *places: Path) -> Taken:
    """Take one submission in, whatever it is: a folder, a file, or several of them."""
    taken = Taken(student, copy.deepcopy(release))
    try:
        file, note = _choose(places, release["metadata"]["segcourse"]["assignment"])
        taken.file = file.name
        taken.notes += note
        cells, seed = read(file)
        taken.notebook, notes = rebuild(release, cells)
        taken.notes += notes
        if seed is not None and seed != release["metadata"]["segcourse"]["seed"]:
            taken.notes.append(f"made from another variant (seed {seed})")
            taken.human = True
    except (Damaged, OSError, RecursionError, MemoryError) as error:
        taken.notes.append(f"unreadable: {error}"[:300])
        taken.human = True
    unclear = ("two files", "twice", "too many", "is missing")
    taken.human |= any(word in note for note in taken.notes for word in unclear)
    taken.timestamp = next(filter(None, map(_timestamp, places)), "")
    return taken


def _choose(places: Sequence[Path], assignment: str) -> tuple[Path, list[str]]:
    """The file that is the submission."""
    if any(place.is_symlink() for place in places):
        raise Damaged("a link, not a file")
    inside = [p for place in places for p in ([place] if place.is_file() else place.rglob("*"))]
    found = [p for p in sorted(inside) if p.suffix in READABLE and p.is_file()]
    files = [p for p in found if not p.is_symlink() and ".ipynb_checkpoints" not in p.parts]
    if len(files) == 1:
        return files[0], []
    if not files:
        names = [p.name for p in sorted(inside) if p.name != "timestamp.txt"]
        raise Damaged(f"no notebook (found: {', '.join(names)[:100] or 'nothing'})")
    # By name; else notebooks come before scripts.
    files.sort(key=lambda p: (p.stem != assignment, p.suffix != ".ipynb", str(p)))
    same = [p for p in files if p.stem == assignment and p.suffix == files[0].suffix]
    unclear = len(same) > 1 or (not same and len(files) > 1)
    return files[0], [f"two files or more; {files[0].name} was read"] if unclear else []


def read(path: Path) -> tuple[list[dict], int | None]:
    """The cells of a notebook or of a script exported from one, and the seed of its variant.

    Raises:
        Damaged: it holds neither.
    """
    if path.stat().st_size > LARGEST:
        raise Damaged(f"larger than {LARGEST >> 20} MiB")
    # A lone surrogate can't be written again.
    text = path.read_bytes().decode("utf-8-sig", "replace")
    if path.suffix == ".py":
        return _cells_of_script(text), None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise Damaged(f"no JSON ({error})") from error
    if not isinstance(content, dict):
        raise Damaged("no notebook")
    cells = content.get("cells")
    if not isinstance(cells, list):  # nbformat 3 and older
        sheets = content.get("worksheets")
        if not isinstance(sheets, list):
            raise Damaged("no notebook")
        cells = [c for s in sheets if isinstance(s, dict) for c in (s.get("cells") or [])]
    metadata = content.get("metadata")
    about = metadata.get("segcourse") if isinstance(metadata, dict) else None
    seed = about.get("seed") if isinstance(about, dict) else None
    return [_clean(c) for c in cells if isinstance(c, dict)], seed if type(seed) is int else None


def _clean(cell: dict) -> dict:
    kind = cell.get("cell_type")
    text = text_of(cell) or text_of({"source": cell.get("input", "")})
    text = text.encode("utf-8", "replace").decode("utf-8")
    kind = kind if kind in ("code", "markdown") else "raw"
    return {"cell_type": kind, "metadata": cell.get("metadata"), "source": text}


def _cells_of_script(text: str) -> list[dict]:
    """Cells between lines such as `# %%`, `# %% [markdown]` and `# In[3]:`."""
    cells, kind = [], "code"
    for part in re.split(r"(?m)^(# *(?:%%.*|In ?\[.*\]:?))$", text):
        if re.match(r"# *(%%|In ?\[)", part) and "\n" not in part:
            kind = "markdown" if re.search(r"\[(markdown|md)\]", part) else "code"
            continue
        source = part.strip("\n")
        if kind == "markdown":
            source = re.sub(r"(?m)^# ?", "", source)
        cells.append({"cell_type": kind, "metadata": {}, "source": source})
    return cells


def _timestamp(place: Path) -> str:
    path = place / "timestamp.txt"  # in a folder below it would be the student's own
    if path.is_file() and not path.is_symlink() and path.stat().st_size < 200:
        return _time(path.read_bytes().decode("utf-8", "replace").strip())
    return ""


def _time(text: str) -> str:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d)(:\d\d(\.\d+)?)?( ?[A-Z+\-0-9:]+)?", text)
    with contextlib.suppress(ValueError):
        return text if found and datetime.fromisoformat(found[1]) else ""
    return ""
