"""`segcourse check`: run the visible tests of an exercise notebook, and say what they found."""

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from segcourse.cli.flags import add_debug
from segcourse.errors import UsageError

DESCRIPTION = (
    "Run the visible tests of an exercise notebook, from top to bottom, and say what passes, what "
    "does\nnot, and where to read. As in marking, your answers are looked for in all cells, and "
    "are put into\nthe notebook as it was released. The code runs on your machine. Hidden tests "
    "run when the work is\nmarked. Exit code 3 when a test does not pass."
)
EXAMPLE = (
    "examples:\n  segcourse check fcn.ipynb\n"
    "  segcourse check my_answers.py --released fcn.ipynb    # a script, or metadata is gone"
)
NOT_PASSED = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `segcourse check`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLE
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK", help="your exercise notebook")
    parser.add_argument(
        "--released", type=Path, metavar="FILE", help="the notebook as you got it; else the same"
    )
    add_debug(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; `NOT_PASSED` when a visible test does not pass."""
    from segcourse.grading.here import Here
    from segcourse.grading.intake import Damaged, read
    from segcourse.grading.marking import NotMarked, mark
    from segcourse.grading.matching import rebuild

    if not args.notebook.is_file():
        what = "is no file" if args.notebook.exists() else "does not exist"
        raise UsageError(f"{args.notebook} {what}: give the notebook that you work in")
    release = released(args.released or args.notebook)
    try:
        cells, _ = read(args.notebook)
    except Damaged as error:
        raise UsageError(f"{args.notebook} can't be read: {error}") from error
    notebook, notes = rebuild(release, cells)
    try:
        marks, printed = mark(notebook, Here(), {})
    except NotMarked as error:
        raise UsageError(f"{error}: cells before it have changed what it needs") from error
    about = release["metadata"]["segcourse"]
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
    for told in questions(release, notebook):
        print(f"\n{told}")
    passed, points = sum(m.passed for m in marks), sum(m.score for m in marks)
    print(
        f"\n{passed} of {len(marks)} visible tests pass: {points:g} of "
        f"{sum(m.points for m in marks):g} points. "
        f"{len(about['hidden'])} hidden tests run when your work is marked."
    )
    for note in notes:
        print(f"Noticed: {note}.")
    for name in edited(release, cells):
        print(f"Your cell {name} is not as released. The released one was run, as in marking.")
    return 0 if passed == len(marks) else NOT_PASSED


def released(path: Path) -> dict:
    """The exercise as it was handed out, which its notebook holds.

    Raises:
        UsageError: there is none, or it is no exercise of this course.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give the notebook as you got it")
    try:
        about = json.loads(path.read_text("utf-8-sig"))["metadata"]["segcourse"]
        known = {"answers", "tests", "hidden", "read", "page", "released"} <= set(about)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UsageError(
            f"{path} is no exercise notebook of this course, or its metadata is gone: download "
            "the exercise again, and give it with --released"
        )
    return {"cells": about["released"], "metadata": {"segcourse": about}}


def questions(release: dict, notebook: dict) -> list[str]:
    """What there is of each answer in writing."""
    from segcourse.grading.marking import role
    from segcourse.grading.notebook import grade_id, text_of

    told = []
    for before, after in zip(_named(release), _named(notebook), strict=True):
        if role(before) == "question":
            text = text_of(after)
            count = "nothing is written yet" if text == text_of(before) else f"{_words(text)} words"
            points = before["metadata"]["nbgrader"]["points"]
            told.append(f"{grade_id(before)}\n  {count}; a person reads it ({points:g})")
    return told


def _named(notebook: dict) -> list[dict]:
    from segcourse.grading.notebook import grade_id

    return [cell for cell in notebook["cells"] if grade_id(cell)]


def _words(text: str) -> int:
    return len(text.split())


def edited(release: dict, cells: Sequence[dict]) -> list[str]:
    """The names of cells that should be as released and are not."""
    from segcourse.grading.marking import role
    from segcourse.grading.matching import plain
    from segcourse.grading.notebook import grade_id, text_of

    fixed = {grade_id(c): text_of(c) for c in release["cells"] if role(c) in ("given", "test")}
    found = [(grade_id(cell), cell["source"]) for cell in cells]
    return [n for n, source in found if n in fixed and plain(source) != plain(fixed[n])]


def _told(text: str) -> str:
    return textwrap.fill(text, 96, initial_indent=" " * 11, subsequent_indent=" " * 11)
