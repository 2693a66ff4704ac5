"""The assignments with their hand-written answers, marked without a sandbox in this process."""

import contextlib
import copy
import io
import warnings
from functools import cache
from pathlib import Path

from segcourse.grading import source
from segcourse.grading.demo import read_answers

ROOT = Path(__file__).resolve().parent.parent / "exercises"
STEMS = sorted(path.stem for path in ROOT.glob("*.py"))


@cache
def assignment(stem, seed=0):
    return source.load(ROOT / f"{stem}.py", ROOT / "private" / f"{stem}.py", seed)


@cache
def answers(stem):
    return read_answers(ROOT / "private" / "answers" / f"{stem}.py")


def points(one, name, kinds=("test", "hidden")):
    return sum(cell.points for cell in one.tests_of(name) if cell.kind in kinds)


def marks(one, name, text, kinds=("test", "hidden"), stop=False):
    """Points of an answer's text by test cell, and what each failed cell said.

    With `stop` nothing runs after the first cell that fails.
    """
    given = "\n".join(cell.source for cell in one.of("given"))
    known, earned, said = {}, {}, {}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(given, known)
        exec(text, known)
        for test in one.tests_of(name):
            if test.kind not in kinds or (stop and said):
                continue
            names = {}
            exec(given, names)
            names[name] = _by_value(known.get(name))
            try:
                exec(test.source, names)
                earned[test.name] = test.points
            except Exception as error:
                earned[test.name] = 0
                said[test.name] = f"{type(error).__name__}: {error}"
    return earned, said


def _by_value(function):
    """As in the sandbox: edits of an argument are not seen outside."""

    def call(*args, **kwargs):
        return copy.deepcopy(function(*copy.deepcopy(args), **copy.deepcopy(kwargs)))

    return call
