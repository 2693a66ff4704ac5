"""A course folder, laid out as nbgrader has it, with records of ours beside it.

nbgrader_config.py  gradebook.db
source/NAME/NAME.ipynb            with solutions and hidden tests; for the instructor
release/NAME/NAME.ipynb           for students
submitted/STUDENT/NAME/NAME.ipynb as intake has rebuilt it
autograded/, feedback/            as nbgrader writes them
intake/NAME.json                  what intake noticed
records/NAME/STUDENT.json         what marking found
reading/NAME.html, NAME.csv       written answers without names
report/NAME.html, NAME.csv        and course.csv, of all assignments
"""

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcourse.errors import UsageError
from segcourse.grading import notebook
from segcourse.grading.intake import Taken
from segcourse.grading.marking import role
from segcourse.grading.shard import Task
from segcourse.grading.source import Assignment


@dataclass(frozen=True)
class Course:
    """A course folder."""

    root: Path

    def notebook(self, kind: str, stem: str, student: str = "") -> Path:
        """Where a notebook is: kind is source, release, submitted or autograded."""
        return self.root / kind / student / stem / f"{stem}.ipynb"

    def read(self, kind: str, stem: str, student: str = "") -> dict:
        """Read one of its notebooks.

        Raises:
            UsageError: it is not there.
        """
        path = self.notebook(kind, stem, student)
        if not path.is_file():
            step = "intake" if student else "build"
            raise UsageError(f"{path} does not exist: run `segcourse grade {step} {stem}` first")
        return json.loads(path.read_text("utf-8"))

    def build(self, assignment: Assignment) -> Path:
        """Write the source and the release; returns the release's place."""
        stem = assignment.stem
        notebook.write(notebook.source(assignment), self.notebook("source", stem))
        notebook.write(notebook.release(assignment), self.notebook("release", stem))
        return self.notebook("release", stem)

    @contextlib.contextmanager
    def whole(self, stem: str) -> Iterator[None]:
        """Where the block raises, source and release are what they were before."""
        paths = self.notebook("source", stem), self.notebook("release", stem)
        before = [path.read_bytes() if path.exists() else None for path in paths]
        try:
            yield
        except BaseException:
            for data, path in zip(before, paths, strict=True):
                path.unlink(missing_ok=True) if data is None else path.write_bytes(data)
            raise

    def put(self, taken: Taken, stem: str) -> None:
        """Write one submission as it goes on."""
        path = self.notebook("submitted", stem, taken.student)
        notebook.write(taken.notebook, path)
        stamp = path.with_name("timestamp.txt")
        if taken.timestamp:
            stamp.write_text(taken.timestamp, "utf-8")
        else:
            stamp.unlink(missing_ok=True)

    def taken_in(self) -> list[str]:
        """The assignments of which something was taken in."""
        return sorted(path.stem for path in (self.root / "intake").glob("*.json"))

    def write_intake(self, stem: str, rows: list[dict]) -> None:
        """Keep what intake noticed: student, file, notes, human."""
        path = self.root / "intake" / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")

    def kept(self, stem: str, students: Collection[str]) -> list[dict]:
        """What intake noticed of others before, whose notebooks are still there."""
        try:
            before = self.intake(stem)
        except UsageError:
            return []
        others = [row for row in before if row["student"] not in students]
        return [row for row in others if self.notebook("submitted", stem, row["student"]).exists()]

    def intake(self, stem: str) -> list[dict]:
        """What intake noticed, by student.

        Raises:
            UsageError: nothing was taken in.
        """
        path = self.root / "intake" / f"{stem}.json"
        if not path.is_file():
            raise UsageError(f"{path} does not exist: run `segcourse grade intake {stem}` first")
        return json.loads(path.read_text("utf-8"))

    def tasks(self, stem: str, limits: dict, walled: bool) -> list[Task]:
        """One task for each submission that was taken in.

        Raises:
            UsageError: the release has changed since.
        """
        hidden = notebook.hidden_sources(self.read("source", stem))
        released, tasks = _fixed(self.read("release", stem)), []
        for row in self.intake(stem):
            made = self.read("submitted", stem, row["student"])
            if _fixed(made) != released:
                raise UsageError(
                    f"{stem} was built again since {row['student']} was taken in: run `segcourse "
                    f"grade intake {stem}` again, and then this"
                )
            tasks.append(Task(row["student"], made, hidden, limits, walled))
        return tasks

    def only(self, tasks: Sequence[Task], students: Sequence[str]) -> list[Task]:
        """The tasks of these students; their records go, so that they are marked again.

        Raises:
            UsageError: one of them was not taken in.
        """
        by_student = {task.student: task for task in tasks}
        for student in students:
            if student not in by_student:
                raise UsageError(f"{student} was not taken in: known are {', '.join(by_student)}")
            stem = by_student[student].notebook["metadata"]["segcourse"]["assignment"]
            (self.root / "records" / stem / f"{student}.json").unlink(missing_ok=True)
        return [by_student[student] for student in dict.fromkeys(students)]

    def put_record(self, record: Mapping, stem: str) -> None:
        """Write what marking one submission has found, whole or not at all."""
        path = self.root / "records" / stem / f"{record['student']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(record, indent=1), "utf-8")
        os.replace(partial, path)

    def records(self, stem: str) -> dict[str, dict]:
        """The records of marking, by student.

        Raises:
            UsageError: nothing was marked.
        """
        found = {}
        for row in self.intake(stem):
            path = self.root / "records" / stem / f"{row['student']}.json"
            if path.is_file():
                found[row["student"]] = json.loads(path.read_text("utf-8"))
        if not found:
            raise UsageError(f"nothing is marked yet: run `segcourse grade run {stem}` first")
        return found


def _fixed(made: dict) -> dict[str, tuple]:
    """What a release says of each cell that is no student's: its text, and its points."""
    found = {}
    for cell in made["cells"]:
        if (kind := role(cell)) in ("given", "test", "question"):
            text = "" if kind == "question" else notebook.text_of(cell)
            points = cell["metadata"]["nbgrader"].get("points")
            found[notebook.grade_id(cell)] = text, points
    return found
