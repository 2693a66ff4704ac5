"""`segcourse check`: run the visible tests of an exercise notebook, and say what they found."""

import argparse
import json
import textwrap
from pathlib import Path

from segcourse.cli.flags import add_debug
from segcourse.errors import UsageError

DESCRIPTION = (
    "Run the visible tests of an exercise notebook, from top to bottom, and say what passes, what "
    "does\nnot, and where to read. The code runs as it would in Jupyter, on your machine. Hidden "
    "tests run\nwhen the work is marked. Exit code 3 when a test does not pass."
)
EXAMPLE = "example:\n  segcourse check fcn.ipynb"
NOT_PASSED = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `segcourse check`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLE
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK", help="your exercise notebook")
    add_debug(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; `NOT_PASSED` when a visible test does not pass."""
    from segcourse.grading.marking import Here, NotMarked, mark

    notebook = read(args.notebook)
    try:
        marks, printed = mark(notebook, Here(), {})
    except NotMarked as error:
        raise UsageError(f"{error}: cells before it have changed what it needs") from error
    about = notebook["metadata"]["segcourse"]
    failed_cells = {name: error for name, (_, error) in printed.items() if error}
    for answer in about["answers"]:
        print(f"\n{answer}")
        if answer in failed_cells:
            print(_told(f"the cell itself fails: {failed_cells[answer]}"))
        for found in (m for m in marks if m.answer == answer):
            print(f"  {'passed ' if found.passed else 'not yet'}  {found.name} ({found.points:g})")
            if not found.passed:
                print(_told(found.told))
        if any(m.answer == answer and not m.passed for m in marks):
            heading = about["read"].get(answer)
            print(_told(f"Read {about['page']}" + (f', "{heading}".' if heading else ".")))
    passed, points = sum(m.passed for m in marks), sum(m.score for m in marks)
    print(
        f"\n{passed} of {len(marks)} visible tests pass: {points:g} of "
        f"{sum(m.points for m in marks):g} points. "
        f"{len(about['hidden'])} hidden tests run when your work is marked."
    )
    for name in edited(notebook):
        print(f"The cell {name} is not as released. Your work is marked with the released one.")
    return 0 if passed == len(marks) else NOT_PASSED


def read(path: Path) -> dict:
    """Read an exercise notebook.

    Raises:
        UsageError: there is none, or it is no exercise of this course.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give the notebook that you work in")
    try:
        notebook = json.loads(path.read_text("utf-8"))
        about = notebook["metadata"]["segcourse"]
        known = {"answers", "tests", "hidden", "read", "page"} <= set(about)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UsageError(
            f"{path} is no exercise notebook of this course, or its metadata is gone: "
            "download the exercise again and copy your answers into it"
        )
    return notebook


def edited(notebook: dict) -> list[str]:
    """The names of cells that should be as released and are not."""
    from segcourse.grading.marking import role
    from segcourse.grading.notebook import checksum, grade_id, text_of

    names = []
    for cell in notebook["cells"]:
        if role(cell) in ("given", "test"):
            marks = cell["metadata"]["nbgrader"]
            if checksum(grade_id(cell), "code", text_of(cell), marks) != marks.get("checksum"):
                names.append(grade_id(cell))
    return names


def _told(text: str) -> str:
    return textwrap.fill(text, 96, initial_indent=" " * 11, subsequent_indent=" " * 11)
