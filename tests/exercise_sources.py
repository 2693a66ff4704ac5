"""The assignments with their hand-written answers, marked without a sandbox in this process."""

import contextlib
import copy
import io
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segcourse.grading import source

ROOT = Path(__file__).resolve().parent.parent / "exercises"
STEMS = sorted(path.stem for path in ROOT.glob("*.py"))


@dataclass(frozen=True)
class Answer:
    """A hand-written answer: to which exercise, what it should get, and of which kind it is."""

    name: str
    marks: int
    kind: str
    source: str


@cache
def assignment(stem, seed=0):
    return source.load(ROOT / f"{stem}.py", ROOT / "private" / f"{stem}.py", seed)


@cache
def answers(stem):
    text = (ROOT / "private" / "answers" / f"{stem}.py").read_text("utf-8")
    parts = re.split(r"(?m)^# %% (\w+) marks=(\d+) kind=(\w+)\n", text)[1:]
    found = zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    return [Answer(name, int(marks), kind, text) for name, marks, kind, text in found]


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
