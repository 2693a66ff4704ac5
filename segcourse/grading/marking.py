"""Mark one notebook: student cells go to a session, test cells run here on proxies.

A session is where the student's code lives: behind the wall (`sandbox.Session`), or in this
process (`here.Here`) when a student checks the own work.
"""

import contextlib
import io
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from segcourse.grading import wire
from segcourse.grading.notebook import grade_id, text_of

LONGEST_TEXT = 10_000
"""Characters kept of what a cell prints and of an error."""


class StudentError(Exception):
    """The student's code failed, or gave something that can't cross."""


class NotMarked(RuntimeError):
    """A cell of the release does not run: no fault of an answer's, and no mark would be fair."""


class Session(Protocol):
    """Where the student's code lives."""

    def run(self, source: str) -> tuple[str, str]:
        """Run a cell: what it printed, and its error in words or nothing."""

    def call(self, name: str, args: tuple, kwargs: dict):
        """Call a function by name; raises StudentError."""

    def value(self, name: str):
        """A value by name; raises StudentError."""

    def start_tests(self, answer: str) -> None:
        """Tests of this answer follow: it has time of its own."""

    def again(self, cells: int) -> None:
        """Begin anew, and run the first cells alone; later calls go on from there."""


def not_plain(name: str, error: Exception) -> str:
    """What a student is told whose function returns an object."""
    return f"{name} returns {error}; it should return plain values or tensors ({wire.KINDS})"


class Proxy:
    """Stands for a student's function in the tests: only calls go through.

    Args:
        session: where the function is.
        name: of the function.
        last: holds the name of what was called last, and what it has returned.
    """

    def __init__(self, session: Session, name: str, last: list):
        self._session, self._name, self.__name__, self._last = session, name, name, last

    def __call__(self, *args, **kwargs):
        """Call the student's function."""
        self._last.clear()
        value = self._session.call(self._name, args, kwargs)
        self._last[:] = self._name, value
        return value


def described(value) -> str:
    """What a value is, in a few words.

    >>> described(3), described((1, 2)), described("no idea"), described(None)
    ('the int 3', 'a tuple of length 2', "the str 'no idea'", 'None')
    """
    if value is None:
        return "None"
    kind = type(value).__name__
    if hasattr(value, "shape"):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"a {kind} of shape {tuple(value.shape)}, {dtype}".replace("a ndarray", "an array")
    if isinstance(value, list | tuple | dict | set | frozenset | range):
        return f"a {kind} of length {len(value)}"
    try:
        return f"the {kind} {value!r}"[:100]
    except ValueError:  # more digits than Python writes
        return f"a huge {kind}"


@dataclass(frozen=True)
class Mark:
    """What one test cell gave: `told` is its failure in words, or nothing."""

    name: str
    answer: str
    points: float
    passed: bool
    told: str = ""
    hidden: bool = False

    @property
    def score(self) -> float:
        """All of the points, or none."""
        return self.points if self.passed else 0.0


def role(cell: dict) -> str:
    """What a cell of a released notebook is: text, question, given, answer, test or extra."""
    marks = cell["metadata"].get("nbgrader") if grade_id(cell) else None
    if not isinstance(marks, dict):
        return "extra" if cell["cell_type"] == "code" else "text"
    if cell["cell_type"] != "code":
        return "question" if marks.get("grade") else "text"
    if marks.get("solution"):
        return "answer"
    return "test" if marks.get("grade") else "given"


def mark(
    notebook: dict, session: Session, hidden: dict[str, str], seconds: float = 20
) -> tuple[list[Mark], dict[str, tuple[str, str]]]:
    """Run a notebook from top to bottom, and then again with its hidden tests.

    What the first run prints and tells may be shown to the student: no input of a hidden test has
    been seen then. Of the second run only the hidden tests' marks are kept.

    Args:
        notebook: a release with a student's answers in it; its tests and metadata are trusted.
        session: where the student's cells run.
        hidden: sources of hidden tests by name; without its source such a cell is passed over.
        seconds: for one test cell, where the system can tell (not on Windows).

    Returns:
        The marks in order; and by cell what it printed and its error ('extra' cells by place).

    Raises:
        NotMarked: a given cell failed in the session; a person must look at it.
    """
    about = notebook["metadata"]["segcourse"]
    trusted: dict = {"__name__": "tests"}
    marks, printed, names, later, count = [], {}, {}, [], 0
    for place, cell in enumerate(notebook["cells"]):
        kind, name, source = role(cell), grade_id(cell), text_of(cell)
        if kind == "given":
            exec(compile(source, name, "exec"), trusted)
            error = session.run(source)[1]
            count += 1
            if error:
                raise NotMarked(f"the given cell {name} fails: {wire.printable(error)}")
        elif kind in ("answer", "extra"):
            text, error = session.run(source)
            count += 1
            printed[name or str(place)] = wire.printable(text), wire.printable(error)
            if kind == "answer":
                names.update(about["answers"][name])
        elif kind == "test":
            if name in about["hidden"] and name not in hidden:
                continue
            points = float(cell["metadata"]["nbgrader"]["points"])
            found = Mark(name, about["tests"][name], points, False, "", name in hidden)
            marks.append(found)
            if name in hidden:
                later.append((len(marks) - 1, count, dict(trusted), dict(names)))
                continue
            session.start_tests(found.answer)
            told = run_test(source, name, trusted, session, names, seconds)
            marks[-1] = replace(found, passed=not told, told=told)
    for place, count, space, known in later:
        found = marks[place]
        session.again(count)
        session.start_tests(found.answer)
        told = run_test(hidden[found.name], found.name, space, session, known, seconds)
        marks[place] = replace(found, passed=not told, told=told)
    return marks, printed


def run_test(
    source: str, name: str, trusted: dict, session: Session, names: dict[str, str], seconds: float
) -> str:
    """Run one test cell in a copy of the trusted names; returns its failure in words, or nothing.

    Args:
        source: of the test.
        name: of the test, for messages.
        trusted: what the given cells have defined.
        session: where the student's functions are.
        names: the student's names that the test may use, each a 'function' or a 'value'.
        seconds: for the test.
    """
    space, last = dict(trusted), []
    file = f"<test {name}>"
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), time_limit(seconds):
            for known, kind in names.items():
                function = kind == "function"
                space[known] = Proxy(session, known, last) if function else session.value(known)
            exec(compile(source, file, "exec"), space)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return wire.printable(_failure(error, source, file, last)[:LONGEST_TEXT])
    return ""


def _failure(error: BaseException, source: str, file: str, last: list) -> str:
    if isinstance(error, StudentError):
        return str(error)
    if isinstance(error, TimeoutError):
        return str(error)
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    lines = source.splitlines()
    frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f" at: {lines[frames[0] - 1].strip().rstrip(':')}" if frames else ""
    if isinstance(error, AssertionError):
        return f"the test fails{where}"
    told = f"the test fails{where}: {type(error).__name__}: {error}"
    # An assert has words of its own; what a test stumbles over has not.
    if not last:
        return told
    name, value = last
    return f"{name} returns {described(value)}. Is that what its docstring says? Here {told}"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the block takes longer, where signals can do it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TimeoutError("the test did not end in time: an endless loop?")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
