"""Marks of a whole course: one row a student, one column an assignment, and the sum."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segcourse.grading.report import Line, as_text

NOTHING = "not handed in"


@dataclass(frozen=True)
class Total:
    """One student.

    Args:
        student: the name.
        scores: by assignment; None: not graded yet.
        missing: assignments that were not handed in; they count 0.
    """

    student: str
    scores: Mapping[str, float | None]
    missing: Sequence[str] = ()

    @property
    def open(self) -> bool:
        """Something is not graded yet."""
        return any(score is None for score in self.scores.values())

    @property
    def sum(self) -> float | None:
        """Of all assignments; None while something is not graded."""
        return None if self.open else sum(s for s in self.scores.values() if s is not None)


def totals(found: Mapping[str, Sequence[Line]], students: Sequence[str] = ()) -> list[Total]:
    """One row for each student of the list, then for each other who has handed something in.

    Args:
        found: the lines of each assignment's report.
        students: of the class, also those who have handed nothing in.
    """
    by_stem = {stem: {line.student: line for line in lines} for stem, lines in found.items()}
    others = sorted({student for lines in by_stem.values() for student in lines})
    made = []
    for student in dict.fromkeys([*students, *others]):
        scores: dict[str, float | None] = {}
        for stem, lines in by_stem.items():
            line = lines.get(student)
            scores[stem] = 0.0 if line is None else None if line.open else line.score
        missing = [stem for stem, lines in by_stem.items() if student not in lines]
        made.append(Total(student, scores, missing))
    return made


def to_csv(made: Sequence[Total], points: Mapping[str, float]) -> str:
    """One row a student. What is not graded is empty, and so is the sum.

    Args:
        made: the students.
        points: that each assignment gives at most.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["student", *points, "sum", "max_sum", "status", NOTHING])
    for total in made:
        scores = ["" if s is None else f"{s:g}" for s in (total.scores[stem] for stem in points)]
        status = "ungraded" if total.open else "graded"
        whole = "" if total.sum is None else f"{total.sum:g}"
        row = [as_text(total.student), *scores, whole, f"{sum(points.values()):g}", status]
        writer.writerow([*row, " ".join(total.missing)])
    return out.getvalue()
