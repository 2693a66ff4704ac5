"""Take submissions in: rebuild each on the release, so that only answers are the student's.

Tests, points, metadata and kernel come from the release. A file that can't be read becomes the
blank release and is listed; nothing here stops the batch.
"""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from segcourse.grading.marking import role
from segcourse.grading.notebook import grade_id, text_of
from segcourse.grading.student import defined, without_magics

LARGEST = 20 << 20
"""Bytes of a file that are read."""
READABLE = (".ipynb", ".py")
MOST_EXTRA = 60
"""Code cells of the student's own that are kept."""


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
        timestamp: when it was handed in, where timestamp.txt says so.
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
        received: holds STUDENT/... or STUDENT.ipynb.
    """
    for place in sorted(received.iterdir(), key=lambda path: path.name):
        hidden_or_other = not place.is_dir() and place.suffix not in READABLE
        if place.name.startswith((".", "_")) or hidden_or_other:
            continue
        yield take(release, place.stem if place.is_file() else place.name, place)


def take(release: dict, student: str, place: Path) -> Taken:
    """Take one submission in, whatever it is."""
    taken = Taken(student, copy.deepcopy(release))
    try:
        file, note = _choose(place, release["metadata"]["segcourse"]["assignment"])
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
    unclear = ("two files", "twice", "too many")
    taken.human |= any(word in note for note in taken.notes for word in unclear)
    taken.timestamp = _timestamp(place)
    return taken


def _choose(place: Path, assignment: str) -> tuple[Path, list[str]]:
    """The file that is the submission."""
    if place.is_symlink():
        raise Damaged("a link, not a file")
    if place.is_file():
        return place, []
    found = [p for p in sorted(place.rglob("*")) if p.suffix in READABLE and p.is_file()]
    files = [p for p in found if not p.is_symlink() and ".ipynb_checkpoints" not in p.parts]
    if not files:
        names = [p.name for p in sorted(place.rglob("*")) if p.name != "timestamp.txt"]
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
    if kind == "markdown":
        # Pages of nbgrader show this as HTML, to the instructor too: no tag may be in it.
        text = re.sub(r"<(?=[A-Za-z/!?])", "< ", text)
    return {"cell_type": kind, "metadata": cell.get("metadata"), "source": text}


def _cells_of_script(text: str) -> list[dict]:
    parts = re.split(r"(?m)^# *(?:%%.*|In ?\[.*\]:?)$", text)
    return [{"cell_type": "code", "metadata": {}, "source": p.strip("\n")} for p in parts]


def rebuild(release: dict, cells: list[dict]) -> tuple[dict, list[str]]:
    """Put a student's cells into the release.

    Answers are found by their id, else by the names they define; a written answer without its id
    is the text below its question. Other code cells stay where they were among the others.

    Returns:
        The notebook, and notes on what was unusual.
    """
    made, notes = copy.deepcopy(release), []
    places = {grade_id(cell): i for i, cell in enumerate(made["cells"]) if grade_id(cell)}
    released = {_plain(_clean(c)["source"]): i for i, c in enumerate(release["cells"])}
    wanted = {grade_id(c): c for c in release["cells"] if role(c) in ("answer", "question")}
    candidates: dict[str, list[str]] = {name: [] for name in wanted}
    extra: list[tuple[int, str]] = []
    names_of = release["metadata"]["segcourse"]["answers"]
    last = -1
    for place, cell in enumerate(cells):
        name, source = grade_id(cell), cell["source"]
        known = wanted.get(name)
        if known and known["cell_type"] == cell["cell_type"]:
            candidates[name].append(source)
            last = places[name]
        elif _plain(source) in released:
            last = max(last, released[_plain(source)])
        elif cell["cell_type"] == "code" and source.strip():
            extra.append((last, source))
        elif cell["cell_type"] == "markdown":
            question = _question_above(cells, place, wanted, released, release)
            if question and not candidates[question]:
                candidates[question].append(source)
                notes.append(f"{question}: found below its question")
    for name, known in wanted.items():
        stub = text_of(known)
        changed = [source for source in candidates[name] if _plain(source) != _plain(stub)]
        if len(set(changed)) > 1:
            notes.append(f"{name}: answered twice; the last one counts")
        elif len(candidates[name]) > 1:
            notes.append(f"{name}: its cell is there more than once")
        if not changed and known["cell_type"] == "code":
            found = _by_name(extra, set(names_of[name]))
            if found is not None:
                changed = [extra.pop(found)[1]]
                notes.append(f"{name}: found by the name it defines")
        if not candidates[name] and not changed:
            notes.append(f"{name}: its cell is missing")
        made["cells"][places[name]]["source"] = changed[-1] if changed else stub
    if len(extra) > MOST_EXTRA:
        notes.append(f"too many cells of their own: {len(extra)}; the first {MOST_EXTRA} are run")
        del extra[MOST_EXTRA:]
    for number, (place, source) in reversed(list(enumerate(extra))):
        cell = {"cell_type": "code", "execution_count": None, "id": f"extra-{number}"}
        cell |= {"metadata": {}, "outputs": [], "source": source}
        made["cells"].insert(place + 1, cell)
    return made, notes


def _plain(text: str) -> str:
    return " ".join(text.split())


def _by_name(extra: list[tuple[int, str]], names: set[str]) -> int | None:
    """The place of the last extra cell that defines one of these names."""
    for place in reversed(range(len(extra))):
        if names & set(defined(without_magics(extra[place][1]))):
            return place
    return None


def _question_above(cells, place, wanted, released, release) -> str | None:
    above = released.get(_plain(cells[place - 1]["source"])) if place else None
    if above is None or above + 1 >= len(release["cells"]):
        return None
    name = grade_id(release["cells"][above + 1])
    return name if name in wanted and wanted[name]["cell_type"] == "markdown" else None


def _timestamp(place: Path) -> str:
    for path in sorted(place.rglob("timestamp.txt")) if place.is_dir() else []:
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 200:
            text = path.read_bytes().decode("utf-8", "replace").strip()
            if re.match(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d", text):
                return text
    return ""
