"""`segcourse grade sheet | total | fill`: written answers without names, sums, and platforms."""

import argparse
import json
import secrets
from pathlib import Path

from segcourse.errors import UsageError

SHOWN = 8
"""Names of a list that are printed."""
SHEET = (
    "written answers without names, for one reader or two",
    "Write reading/NAME.html, answers with codes in place of names below the rubric, and "
    "reading/NAME.csv,\nwhere points go. Each reader fills in a copy; --marks puts them into the "
    "gradebook. Of two readers\nthe mean counts; where they are further apart than --apart, "
    "nothing is written, and the answer is listed.",
    "segcourse grade sheet fcn --course course --marks fcn-jo.csv fcn-kim.csv",
)
TOTAL = (
    "marks of all assignments, and their sum",
    "Write report/course.csv: one row a student, one column an assignment, and the sum. What was "
    "not handed\nin counts 0 and is named; while something is not graded, the sum is empty.",
    "segcourse grade total --course course --students class.csv",
)
FILL = (
    "put marks into the table of a learning platform",
    "Write a copy of a CSV that Moodle, Canvas or another platform has exported, with the marks "
    "of an\nassignment in one column, or with the sum of all: then NAME is total. What is not "
    "graded stays as it was.",
    "segcourse grade fill fcn --course course --table grades.csv --key ID --column 'fcn (4711)'",
)


def configure_sheet(command: argparse.ArgumentParser) -> None:
    """Add the flags of `segcourse grade sheet`."""
    command.add_argument(
        "--marks", type=Path, nargs="+", metavar="CSV", help="filled in, one file for each reader"
    )
    command.add_argument(
        "--apart", type=float, default=1, metavar="POINTS", help="by which two readers may differ"
    )


def configure_total(command: argparse.ArgumentParser) -> None:
    """Add the flags of `segcourse grade total`."""
    command.add_argument(
        "--students", type=Path, metavar="FILE", help="the class: one a line, or a column student"
    )


def configure_fill(command: argparse.ArgumentParser) -> None:
    """Add the flags of `segcourse grade fill`."""
    command.add_argument(
        "--table", type=Path, required=True, metavar="CSV", help="as the platform has exported it"
    )
    command.add_argument("--key", required=True, help="the column that says who it is")
    command.add_argument("--column", required=True, help="the column that gets the marks")
    command.add_argument(
        "--out", type=Path, metavar="CSV", help="the copy; else beside it, NAME-filled.csv"
    )


def _lines(args: argparse.Namespace, stem: str) -> list:
    from segcourse.grading import report
    from segcourse.grading.course import Course
    from segcourse.grading.gradebook import Gradebook

    course = Course(args.course)
    scores = None if args.no_gradebook else Gradebook(course).scores(stem)
    return report.lines(course, stem, scores)


def _totals(args: argparse.Namespace, students: list[str]) -> tuple[list, dict[str, float]]:
    """Everybody's marks in all assignments that were taken in, and the points of each."""
    from segcourse.grading import report, totals
    from segcourse.grading.course import Course

    course = Course(args.course)
    stems = course.taken_in()
    if not stems:
        raise UsageError("nothing is taken in yet: run `segcourse grade intake` first")
    points = {
        stem: sum(item.points for item in report.items(course.read("release", stem)))
        for stem in stems
    }
    return totals.totals({stem: _lines(args, stem) for stem in stems}, students), points


def run_total(args: argparse.Namespace) -> int:
    """Write the table of the whole course."""
    from segcourse.grading import platforms, totals

    students = platforms.roster(_read(args.students)) if args.students else []
    made, points = _totals(args, students)
    path = args.course / "report" / "course.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(totals.to_csv(made, points), "utf-8")
    open_, missing = sum(one.open for one in made), sum(bool(one.missing) for one in made)
    count = f"{len(points)} assignment{'s' * (len(points) != 1)}"
    print(f"{len(made)} students, {count}, {sum(points.values()):g} points")
    print(f"{open_} with a part that is not graded, {missing} who have not handed in everything")
    if others := [one.student for one in made if students and one.student not in students]:
        print(f"not in {args.students}: {_some(others)}")
    print(path)
    return 0


def run_fill(args: argparse.Namespace) -> int:
    """Write the copy of a platform's table."""
    from segcourse.grading import platforms

    if args.stem == "total":
        marks = {one.student: one.sum for one in _totals(args, [])[0]}
    else:
        lines = _lines(args, args.stem)
        marks = {line.student: None if line.open else line.score for line in lines}
    done = platforms.fill(_read(args.table), args.key, args.column, marks)
    out = args.out or args.table.with_name(f"{args.table.stem}-filled.csv")
    out.write_text(done.text, "utf-8")
    print(f"{args.stem}: {len(done.rows)} marks in the column {args.column!r}, {out}")
    for told, names in (
        ("not graded yet", done.open),
        ("nothing handed in", done.nothing),
        ("not in the table", done.no_row),
    ):
        if names:
            print(f"{told}: {_some(names)}")
    return 0


def run_sheet(args: argparse.Namespace) -> int:
    """Write the sheet, or with --marks put what was filled in into the gradebook."""
    from segcourse.grading import reading
    from segcourse.grading.course import Course

    course, stem = Course(args.course), args.stem
    release, source = course.read("release", stem), course.read("source", stem)
    students = [row["student"] for row in course.intake(stem)]
    names = reading.codes(students, stem, _secret(args.course / "reading" / "secret.json"))
    if args.marks:
        return _put_marks(args, release, names)
    made = {student: course.read("submitted", stem, student) for student in students}
    found = reading.answers(made, names, release)
    folder = args.course / "reading"
    page, table = folder / f"{stem}.html", folder / f"{stem}.csv"
    page.write_text(reading.page(f"{stem}: answers in writing", source, found), "utf-8")
    table.write_text(reading.table(found), "utf-8")
    print(f"{stem}: {len(found)} answers to read\n{page}\n{table}")
    return 0


def _put_marks(args: argparse.Namespace, release: dict, names: dict[str, str]) -> int:
    from segcourse.grading import reading, report
    from segcourse.grading.course import Course
    from segcourse.grading.gradebook import Gradebook

    if args.no_gradebook:
        raise UsageError("--marks go into the gradebook: leave --no-gradebook out")
    if not args.apart >= 0:
        raise UsageError(f"--apart is {args.apart:g}: give 0 points or more")
    most = {item.name: item.points for item in report.items(release) if item.written}
    readers = []
    for path in args.marks:
        try:
            readers.append(reading.read(_read(path), most, names))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    agreed, open_ = reading.together(readers, args.apart)
    given = {(names[code], question): marks for (code, question), marks in agreed.items()}
    Gradebook(Course(args.course)).give(args.stem, given)
    print(f"{args.stem}: {len(agreed)} answers have their points")
    for code, question, points in open_:
        said = " and ".join(f"{one:g}" for one in points)
        only = "" if len(points) == len(readers) else ", not read by everybody"
        print(f"to talk about: {code}, {question}: {said}{only}")
    return 0


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _secret(path: Path) -> str:
    """What codes are made with; the same in each call."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"secret": secrets.token_hex(16)}), "utf-8")
    return json.loads(path.read_text("utf-8"))["secret"]


def _read(path: Path) -> str:
    from segcourse.grading.platforms import decoded

    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    return decoded(path.read_bytes())
