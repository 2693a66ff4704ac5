"""nbgrader underneath: marks into its gradebook, and notebooks where its pages look for them."""

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from segcourse.errors import UsageError
from segcourse.grading import notebook, wire
from segcourse.grading.course import Course
from segcourse.grading.marking import role

CONFIG = '''\
"""nbgrader's settings for this course; formgrader reads them, too."""

import os

c = get_config()
c.CourseDirectory.course_id = "segcourse"
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))

# Late work: "none" takes nothing off, "zero" takes everything.
c.LateSubmissionPlugin.penalty_method = "none"
# Or a share of the points for each day that has begun; these two lines, without their marks:
# c.AssignLatePenalties.plugin_class = "segcourse.grading.nbgrader_steps.ShareADay"
# c.ShareADay.share = 0.1

# The buttons of formgrader do what `segcourse grade` does: stubs in place of solutions, answers
# in the sandbox, and feedback without hidden tests.
from segcourse.grading.nbgrader_steps import AUTOGRADE, FEEDBACK, RELEASE, SANITIZE

c.GenerateAssignment.preprocessors = RELEASE
c.Autograde.sanitize_preprocessors = SANITIZE
c.Autograde.autograde_preprocessors = AUTOGRADE
c.GenerateFeedback.preprocessors = FEEDBACK
'''


class Gradebook:
    """The gradebook of a course folder.

    Args:
        course: gets nbgrader_config.py and gradebook.db where it has none.

    Raises:
        UsageError: nbgrader is not installed.
    """

    def __init__(self, course: Course):
        try:
            import nbgrader  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "the gradebook needs nbgrader: pip install 'segcourse[grading]', or leave it out "
                "with --no-gradebook"
            ) from error
        # nbgrader starts `alembic`, which is beside this Python.
        folder = str(Path(sys.executable).parent)
        if folder not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
        self.course = course
        config = course.root / "nbgrader_config.py"
        course.root.mkdir(parents=True, exist_ok=True)
        if not config.exists():
            config.write_text(CONFIG, "utf-8")
        self.url = f"sqlite:///{(course.root / 'gradebook.db').resolve()}"

    def add(self, stem: str, due: str | None = None) -> None:
        """Put an assignment's cells and points into the gradebook.

        Args:
            stem: of the assignment; its source is in the course folder.
            due: such as "2027-03-01 23:59 UTC".

        Raises:
            UsageError: its cells are not those that submissions were marked with.
        """
        from nbgrader.api import Gradebook as Api
        from nbgrader.preprocessors import SaveCells

        made = _notebook(self._as_restored(stem))
        with _quiet(), Api(self.url, "segcourse") as book:
            book.update_or_create_assignment(stem, **({"duedate": due} if due else {}))
        try:
            with _quiet():
                SaveCells().preprocess(made, self._resources(stem, ""))
        except RuntimeError as error:
            raise UsageError(f"{stem}: {error}; take another course folder") from error

    def due(self, stem: str) -> datetime | None:
        """When an assignment is due, in UTC; None: at no time."""
        from nbgrader.api import Gradebook as Api

        with _quiet(), Api(self.url, "segcourse") as book:
            return book.find_assignment(stem).duedate

    def _as_restored(self, stem: str) -> dict:
        """What nbgrader puts back into a submission: locked cells as in the source, else stubs."""
        source = self.course.read("source", stem)
        release = {notebook.grade_id(c): c for c in self.course.read("release", stem)["cells"]}
        for cell in source["cells"]:
            marks = cell["metadata"].get("nbgrader")
            if marks and marks["solution"]:
                cell["source"] = release[notebook.grade_id(cell)]["source"]
            if marks:
                name, kind = notebook.grade_id(cell), cell["cell_type"]
                marks["checksum"] = notebook.checksum(name, kind, cell["source"], marks)
        return source

    def save(self, stem: str, records: Iterable[Mapping]) -> list[str]:
        """Write records into the gradebook, and the marked notebooks into autograded/.

        A record that is in it already is passed over: nothing that a person has done since is
        touched. One that can't be written becomes one that a person must look at, on the disk, too.

        Returns:
            The students whose records could not be written.
        """
        from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades

        config = self._config()
        source, lost = self.course.read("source", stem), []
        with _quiet(), _opened_once(self.url) as book:
            steps = [SaveAutoGrades(config=config), AssignLatePenalties(config=config)]
            there = {one.student.id for one in book.assignment_submissions(stem)}
            for record in records:
                stamp = self._stamp(stem, record["student"])
                if record.get("saved") == stamp and record["student"] in there:
                    continue
                try:
                    self._save_one(book, steps, stem, record, source)
                    self.course.put_record({**record, "saved": stamp}, stem)
                except Exception as error:
                    book.db.rollback()
                    record = unsaved(record, error)
                    lost.append(record["student"])
                    self.course.put_record(record, stem)
                    try:
                        self._save_one(book, steps, stem, record, source)
                    except Exception:  # its row of the report says so
                        book.db.rollback()
        return lost

    def _save_one(self, book, steps: list, stem: str, record: Mapping, source: dict) -> None:
        """One record; its marks are there when its notebook is."""
        student = record["student"]
        hidden = notebook.hidden_sources(source)
        marked = with_outputs(self.course.read("submitted", stem, student), record, hidden)
        made = _notebook(marked)
        time = _time(self._stamp(stem, student))
        book.update_or_create_student(student)
        book.update_or_create_submission(stem, student, timestamp=time)
        for step in steps:
            step.preprocess(made, self._resources(stem, student))
        grades = book.find_submission_notebook(stem, stem, student).grades
        kept = self.course.notebook("autograded", stem, student)
        before = json.loads(kept.read_text("utf-8")) if kept.exists() else {"cells": []}
        for grade in grades:
            if record.get("failed"):
                grade.auto_score, grade.needs_manual_grade = None, True
            elif grade.manual_score is not None:
                # Points given by hand hold as long as what they were given for is the same.
                same = _work(before, grade.name) == _work(marked, grade.name)
                grade.needs_manual_grade = not same
        marked = with_rubrics(marked, source)
        notebook.write(marked, kept)
        book.write()

    def _stamp(self, stem: str, student: str) -> str:
        """When it was handed in, as its file says."""
        path = self.course.notebook("submitted", stem, student).with_name("timestamp.txt")
        return path.read_text("utf-8") if path.exists() else ""

    def give(self, stem: str, given: Mapping[tuple[str, str], tuple[float, str]]) -> None:
        """Give points by hand.

        Args:
            stem: of the assignment.
            given: by student and cell, the points and a comment.

        Raises:
            UsageError: a submission is not in the gradebook.
        """
        from nbgrader.api import Gradebook as Api
        from nbgrader.api import MissingEntry

        with _quiet(), Api(self.url, "segcourse") as book:
            for (student, name), (points, comment) in given.items():
                try:
                    grade = book.find_grade(name, stem, stem, student)
                except MissingEntry as error:
                    raise UsageError(
                        f"{student} is not in the gradebook: run `segcourse grade run {stem}` first"
                    ) from error
                grade.manual_score, grade.needs_manual_grade = points, False
                if comment:
                    book.find_comment(name, stem, stem, student).manual_comment = comment
            book.db.commit()

    def scores(self, stem: str) -> dict[str, dict]:
        """By student: the score of each graded cell (None: not graded yet), penalty, timestamp.

        Manual marks and penalties are nbgrader's. `again` names cells whose points were given by
        hand before the work was marked anew.
        """
        from nbgrader.api import Gradebook as Api

        self._take_off_for_late_work(stem)
        found = {}
        with _quiet(), Api(self.url, "segcourse") as book:
            for submission in book.assignment_submissions(stem):
                cells, again = {}, []
                for made in submission.notebooks:
                    for grade in made.grades:
                        open_ = grade.needs_manual_grade and grade.manual_score is None
                        cells[grade.name] = None if open_ else float(grade.score)
                        if grade.needs_manual_grade and not open_:
                            again.append(grade.name)
                found[submission.student.id] = {
                    "cells": cells,
                    "again": sorted(again),
                    "penalty": float(submission.late_submission_penalty or 0),
                    "timestamp": str(submission.timestamp or ""),
                }
        return found

    def _take_off_for_late_work(self, stem: str) -> None:
        """Penalties again: they are shares of a score that marks given by hand have changed."""
        from nbgrader.api import Gradebook as Api
        from nbgrader.preprocessors import AssignLatePenalties

        step, nothing = AssignLatePenalties(config=self._config()), _notebook({"cells": []})
        with _quiet():
            with Api(self.url, "segcourse") as book:
                found = book.assignment_submissions(stem)
                late = [s.student.id for s in found if s.total_seconds_late > 0]
            for student in late:
                step.preprocess(nothing, self._resources(stem, student))

    def feedback(self, stem: str) -> Path:
        """Let nbgrader write its feedback pages; hidden tests are cleared from them."""
        from nbgrader.converters import GenerateFeedback
        from nbgrader.coursedir import CourseDirectory

        config = self._config()
        config.CourseDirectory.assignment_id = stem
        config.CourseDirectory.db_url = self.url
        with _quiet():
            course = CourseDirectory(config=config)
            step = GenerateFeedback(coursedir=course, config=config)
            step.force = True
            step.start()
        return self.course.root / "feedback"

    def _config(self):
        from traitlets.config.loader import PyFileConfigLoader

        loader = PyFileConfigLoader("nbgrader_config.py", path=str(self.course.root.resolve()))
        return loader.load_config()

    def _resources(self, stem: str, student: str) -> dict:
        words = {"assignment": stem, "notebook": stem, "student": student, "db_url": self.url}
        return {"nbgrader": words}


def _work(made: dict, name: str) -> list[str]:
    """What points for a cell were given for: what was written there, or for a test all code."""
    cells = [c for c in made["cells"] if c["metadata"].get("segcourse") != "rubric"]
    written = [c for c in cells if c["cell_type"] == "markdown" and notebook.grade_id(c) == name]
    code = [c for c in cells if role(c) in ("answer", "extra")]
    return [notebook.text_of(c) for c in written or code]


def unsaved(record: Mapping, error: Exception) -> dict:
    """What is left of a record that could not be written: a case for a person."""
    told = wire.printable(f"could not be saved: {type(error).__name__}: {error}")[:500]
    incidents = [*record.get("incidents", []), told]
    return {**record, "marks": [], "printed": {}, "incidents": incidents, "failed": True}


def with_outputs(made: dict, record: Mapping, hidden: Mapping[str, str]) -> dict:
    """A submitted notebook with what its cells printed and its tests told, for the instructor."""
    marks = {found["name"]: found for found in record["marks"]}
    for place, cell in enumerate(made["cells"]):
        if cell["cell_type"] != "code":
            continue
        name = notebook.grade_id(cell)
        text, error = record["printed"].get(name or str(place), ("", ""))
        if name in hidden:
            line = notebook.text_of(cell)
            cell["source"] = f"{line}\n{notebook.BEGIN}\n{hidden[name]}\n{notebook.END}"
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            passed = name in marks and marks[name]["passed"]
            error = "" if passed else marks.get(name, {}).get("told") or "not marked"
        cell["outputs"] = []
        if text:
            cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": text})
        if error:
            output = {"output_type": "error", "ename": "Test", "evalue": error[:500]}
            cell["outputs"].append({**output, "traceback": [error]})
    return made


def with_rubrics(made: dict, source: dict) -> dict:
    """A marked notebook with the rubric below each question; feedback leaves it out."""
    rubrics = {
        notebook.grade_id(cell): notebook.text_of(cell)
        for cell in source["cells"]
        if cell["cell_type"] == "markdown" and cell["metadata"].get("nbgrader", {}).get("solution")
    }
    cells = []
    for cell in made["cells"]:
        cells.append(cell)
        if text := rubrics.get(notebook.grade_id(cell)):
            metadata = {"segcourse": "rubric"}
            text = f"**Rubric, not for students.**\n\n{text}"
            name = f"{notebook.grade_id(cell)}-rubric".replace("_", "-")
            cells.append(
                {"cell_type": "markdown", "id": name, "metadata": metadata, "source": text}
            )
    return {**made, "cells": cells}


def _notebook(made: dict):
    import nbformat

    return nbformat.from_dict(made)


def _time(text: str):
    from nbgrader.utils import parse_utc

    try:
        return parse_utc(text.strip())
    except (ValueError, OverflowError):
        return None


@contextlib.contextmanager
def _opened_once(url: str):
    """nbgrader's gradebook, for many submissions.

    nbgrader opens it for each step of each submission, and writes it to the disk after each cell.
    Here its steps share the one that is open, and `write` ends a submission.
    """
    from nbgrader.api import Gradebook as Api
    from nbgrader.preprocessors import latesubmissions, saveautogrades

    class Book(Api):
        def __exit__(self, *_):
            """It stays open."""

    book = Book(url, "segcourse")
    book.write = book.db.commit

    def keep():
        book.db.flush()
        book.db.expire_all()  # sums of points are read anew, as after a commit

    book.db.commit = keep
    try:
        with contextlib.ExitStack() as stack:
            for module in (saveautogrades, latesubmissions):
                stack.callback(setattr, module, "Gradebook", module.Gradebook)
                module.Gradebook = lambda _: book
            yield book
    finally:
        book.close()


@contextlib.contextmanager
def _quiet():
    """nbgrader tells of each step; what matters is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its SQLAlchemy
            yield
    finally:
        logging.disable(before)
