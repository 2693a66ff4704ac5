"""A student's code in this process, without a wall: for students who check their own work."""

import builtins
import contextlib
import io
import sys
from collections.abc import Iterator

from segcourse.grading import student, wire
from segcourse.grading.marking import StudentError, not_plain

PACKAGE = __name__.split(".")[0]


class Here:
    """A session in this process, by value like the other one.

    As there, the package can't be imported, and nobody answers `input`.
    """

    def __init__(self):
        self.cells = _cells_without_package()
        self.ran: list[str] = []
        self.before: list[str] | None = None

    def run(self, source: str) -> tuple[str, str]:
        """Run a cell and keep what it prints."""
        self.ran.append(source)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), _nobody_types():
            error = self.cells.run(source)
        return out.getvalue(), error

    def call(self, name: str, args: tuple, kwargs: dict):
        """Call a function with copies, and copy what it returns."""
        args, kwargs = wire.copied(args), wire.copied(kwargs)
        return self._told(lambda: self.cells.call(name, args, kwargs), name)

    def value(self, name: str):
        """Copy a value."""
        return self._told(lambda: self.cells.value(name), name)

    def start_tests(self, answer: str) -> None:
        """Nobody is in a hurry here."""

    def again(self, cells: int) -> None:
        """Begin anew with the first cells, or go on to there."""
        if self.before is None:
            self.before, self.ran, self.cells = self.ran, [], _cells_without_package()
        while len(self.ran) < cells:
            self.run(self.before[len(self.ran)])

    def _told(self, get, name: str):
        try:
            with contextlib.redirect_stdout(io.StringIO()), _nobody_types():
                value = get()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise StudentError(student.in_words(error)) from None
        try:
            return wire.copied(value)
        except wire.NotPlain as error:
            raise StudentError(not_plain(name, error)) from None


def _cells_without_package() -> student.Cells:
    """Cells that import what a sandbox has: the package, which holds the references, is not there.

    This keeps nobody from it; it says in time what will not work.
    """

    def without(name, *args, **kwargs):
        if name.split(".")[0] == PACKAGE:
            raise ModuleNotFoundError(
                f"{PACKAGE} is not there when your work is marked: write the function yourself"
            )
        return builtins.__import__(name, *args, **kwargs)

    cells = student.Cells()
    cells.names["__builtins__"] = {**vars(builtins), "__import__": without}
    return cells


@contextlib.contextmanager
def _nobody_types() -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before
