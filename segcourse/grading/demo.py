"""A class of generated students, to try the grader with: submissions of every kind, by a seed.

Most are put together from hand-written answers whose marks are known. Some are late, damaged,
copied or hostile, as in a real class. What each student should get is written down beside them.
"""

import ast
import copy
import csv
import json
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from segcourse.errors import UsageError
from segcourse.grading.demo_kinds import SPECIALS, Special
from segcourse.grading.notebook import grade_id, text_of

TABLE = "_class.csv"
"""Who did what; intake passes over names that begin with an underscore."""
MARKER = re.compile(r"(?m)^# %% (\w+) marks=(\d+) kind=(\w+)\n")
NAMES = (
    "amina anna bao ben carla chen dana david elif emma farid grace hana ines ivan jamal jin kai "
    "lena lucas maria mei noor omar paula ravi sara tomas uma yuki"
)
SPECIAL_SHARE = 13 / 30
"""Of the students: the others hand in a notebook with answers, and nothing else happens."""


@dataclass(frozen=True)
class Answer:
    """A hand-written answer: to which exercise, the points it should get, and its kind."""

    name: str
    marks: int
    kind: str
    source: str

    @property
    def told(self) -> str:
        """What the answer does, from its first line."""
        return self.source.partition("\n")[0].lstrip("# ")

    def by(self, student: str) -> str:
        """The answer with a line of the student's own: there are more students than answers."""
        return f'{self.source}\n\n\nwritten_by = "{student}"'


@dataclass
class Student:
    """One generated student.

    Args:
        name: of the folder.
        sources: by cell name, what stands in place of the stub.
        points: that the tests should give.
        told: what is in the submission, in words.
        spoil: changes the files afterwards; gets the folder and the file.
    """

    name: str
    sources: dict[str, str]
    points: float
    told: str
    spoil: Callable[[Path, Path], None] | None = None
    late: timedelta | None = field(default=None)


def read_answers(path: Path) -> list[Answer]:
    """The hand-written answers of an assignment.

    Raises:
        UsageError: the file is not there or holds none.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} does not exist: a class is made of hand-written answers; give --private, "
            "a folder with answers/NAME.py"
        )
    pieces = MARKER.split(path.read_text("utf-8"))
    rows = zip(pieces[1::4], pieces[2::4], pieces[3::4], pieces[4::4], strict=True)
    found = [Answer(name, int(marks), kind, text.strip()) for name, marks, kind, text in rows]
    if not found:
        raise UsageError(f"{path} holds no answer: its cells begin with '# %% NAME marks=4 kind=…'")
    return found


def make(
    release: dict, source: dict, answers: Sequence[Answer], count: int, seed: int
) -> list[Student]:
    """Draw a class.

    Args:
        release: the notebook that was handed out.
        source: the instructor's, with solutions and the model answer.
        answers: hand-written ones.
        count: of students.
        seed: of the draw.
    """
    rng = random.Random(seed)
    known = NAMES.split()
    names = (known + [f"{name}{turn}" for turn in range(2, count) for name in known])[:count]
    rng.shuffle(names)
    special = round(count * SPECIAL_SHARE)
    kinds = [SPECIALS[i % len(SPECIALS)] for i in range(special)]
    made = [
        _special(kind, name, source, answers, rng)
        for kind, name in zip(kinds, names[:special], strict=True)
    ]
    plain = [_plain(name, release, source, answers, rng) for name in names[special:]]
    if len(plain) > 2:
        plain[1] = _copied(plain[0], plain[1].name, source["metadata"]["segcourse"]["answers"])
    for student, days in zip(plain[2:], (0.05, 1, 4), strict=False):
        student.late = timedelta(days=days)
    return sorted(made + plain, key=lambda student: student.name)


def write(
    students: Sequence[Student], release: dict, folder: Path, due: datetime | None, seed: int
) -> None:
    """Write a folder for each student, and the table of what each should get.

    Args:
        students: the class.
        release: the notebook that was handed out.
        folder: must be absent or empty.
        due: when it was due; None: nobody says when they handed in, and nobody is late.
        seed: of the times.

    Raises:
        UsageError: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds something already: give a folder that is new or empty")
    rng = random.Random(seed)
    stem = release["metadata"]["segcourse"]["assignment"]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for student in students:
        place = folder / student.name
        place.mkdir()
        made = copy.deepcopy(release)
        for cell in made["cells"]:
            cell["source"] = student.sources.get(grade_id(cell), text_of(cell))
        file = place / f"{stem}.ipynb"
        file.write_text(json.dumps(made, indent=1), "utf-8")
        early = timedelta(hours=rng.uniform(1, 72))
        if due:
            time = due + (student.late or -early)
            (place / "timestamp.txt").write_text(f"{time:%Y-%m-%d %H:%M:%S} UTC\n", "utf-8")
        if student.spoil:
            student.spoil(place, file)
        late = "late" if due and student.late else ""
        rows.append([student.name, f"{student.points:g}", late, student.told])
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([["student", "points_from_tests", "late", "what"], *rows])


def expected(folder: Path) -> dict[str, float]:
    """The points that the tests should give, by student.

    Raises:
        UsageError: the folder holds no generated class.
    """
    path = folder / TABLE
    if not path.is_file():
        raise UsageError(f"{path} does not exist: it is written with a generated class")
    with path.open(encoding="utf-8", newline="") as table:
        return {row["student"]: float(row["points_from_tests"]) for row in csv.DictReader(table)}


def compare(folder: Path, records: Mapping[str, Mapping]) -> list[str]:
    """Each student whose marks from tests are not those that they should be, in words."""
    wrong = []
    for student, points in expected(folder).items():
        record = records.get(student)
        got = sum(mark["score"] for mark in record["marks"]) if record else None
        if got != points:
            said = "is not marked" if got is None else f"has {got:g} points"
            wrong.append(f"{student} {said}, expected {points:g}")
    return wrong


# ---- ordinary students


def _plain(
    name: str, release: dict, source: dict, answers: Sequence[Answer], rng: random.Random
) -> Student:
    """Someone with an ability, who leaves out an exercise or gets it wrong now and then."""
    ability = rng.uniform(0.4, 1.0)
    sources, points, told = {}, 0.0, []
    for exercise in release["metadata"]["segcourse"]["answers"]:
        good = [a for a in answers if a.name == exercise and a.kind in ("right", "unusual")]
        other = [a for a in answers if a.name == exercise and a not in good]
        if rng.random() < 0.1 or not good:
            told.append(f"{exercise}: untouched")
            continue
        answer = rng.choice(good if rng.random() < ability or not other else other)
        sources[exercise] = answer.by(name)
        points += answer.marks
        told.append(f"{exercise}: {answer.told}")
    for question, text in _written(source).items():
        level = min(4, int(5 * ability * rng.uniform(0.4, 1.0)))
        if level:
            sources[question] = text[level - 1]
        told.append(f"{question}: {('nothing', 'a sentence', 'a part', 'most', 'all')[level]}")
    return Student(name, sources, points, "; ".join(told))


def _written(source: dict) -> dict[str, tuple[str, str, str, str]]:
    """For each question four texts, the shortest first, cut from its model answer."""
    found = {}
    for cell in source["cells"]:
        marks = cell["metadata"].get("nbgrader") or {}
        if cell["cell_type"] == "markdown" and marks.get("solution"):
            text = text_of(cell).rpartition("**Model answer.**")[2].strip()
            parts = text.split("\n\n")
            first = " ".join(text.split()).partition(". ")[0].rstrip(".") + "."
            found[grade_id(cell)] = (first, parts[0], "\n\n".join(parts[:-1]) or text, text)
    return found


def _copied(first: Student, name: str, exercises: Collection[str]) -> Student:
    """The first one's code with other names and no comments."""
    sources = {cell: renamed(text) for cell, text in first.sources.items() if cell in exercises}
    return Student(name, sources, first.points, f"the code of {first.name} with other names")


def renamed(source: str) -> str:
    """Code with its own variables renamed, without comments and layout.

    >>> renamed("def f(x):\\n    y = 2 * x  # twice\\n    return y")
    'def f(x):\\n    my_y = 2 * x\\n    return my_y'
    """
    tree = ast.parse(source)
    stored = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    shared = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in stored - shared:
            node.id = f"my_{node.id}"
    return ast.unparse(tree)


def _special(
    kind: Special, name: str, source: dict, answers: Sequence[Answer], rng: random.Random
) -> Student:
    """Someone who is right in all exercises, but for what the kind says."""
    about = source["metadata"]["segcourse"]
    sources = {}
    for exercise in about["answers"]:
        good = [a for a in answers if a.name == exercise and a.kind in ("right", "unusual")]
        sources[exercise] = rng.choice(good).by(name)
    exercises = list(sources)
    last = exercises[-1]
    if kind.code:
        sources[last] = kind.code.replace("{name}", next(iter(about["answers"][last])))
    if kind.counts != "none":
        sources |= {question: text[rng.randrange(4)] for question, text in _written(source).items()}
    counted = {"all": exercises, "others": exercises[:-1], "none": []}[kind.counts]
    points = 0.0
    for cell in source["cells"]:
        if about["tests"].get(grade_id(cell)) in counted:
            points += cell["metadata"]["nbgrader"]["points"]
    return Student(name, sources, points, kind.told, kind.spoil)
