"""Read the sources of the assignments, and mark an answer without a sandbox, in this process."""

import contextlib
import copy
import io
import random
import re
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "exercises"
STEMS = sorted(path.stem for path in ROOT.glob("*.py"))


@dataclass(frozen=True)
class Cell:
    """One cell of a source: the words of its marker line, and its text."""

    kind: str  # given, markdown, variants, answer, test, solution, hidden, question, rubric
    name: str
    options: dict
    source: str


def cells(path, names=None):
    """The cells of a source; names in `names` are replaced by their values."""
    text = path.read_text("utf-8")
    for name, value in (names or {}).items():
        text = re.sub(rf"\b{name}\b", lambda _, value=value: repr(value), text)
    found = []
    for part in re.split(r"(?m)^# %%", text)[1:]:
        head, _, source = part.partition("\n")
        words = shlex.split(head.replace("[markdown]", "markdown", 1))
        options = dict(word.split("=", 1) for word in words if "=" in word)
        words = [word for word in words if "=" not in word]
        if words[:1] == ["markdown"] and len(words) > 1:
            words = words[1:]
        kind, name = [*words, "", ""][:2]
        found.append(Cell(kind or "given", name, options, source.strip("\n")))
    return found


def numbers_of(stem, seed):
    """What the source's `variants` cell draws for a seed."""
    names = {"rng": random.Random(seed)}
    for cell in cells(ROOT / f"{stem}.py"):
        if cell.kind == "variants":
            exec(cell.source, names)
    return {name: value for name, value in names.items() if name.isupper()}


class Assignment:
    """One assignment with its private part, for one seed."""

    def __init__(self, stem, seed=0):
        names = numbers_of(stem, seed)
        self.public = cells(ROOT / f"{stem}.py", names)
        self.private = cells(ROOT / "private" / f"{stem}.py", names)
        self.answers = cells(ROOT / "private" / "answers" / f"{stem}.py", names)
        self.given = "\n".join(c.source for c in self.public if c.kind == "given")
        self.stubs = {c.name: c.source for c in self.public if c.kind == "answer"}
        self.solutions = {c.name: c.source for c in self.private if c.kind == "solution"}

    def tests(self, name, kinds=("test", "hidden")):
        """The test cells of an answer: those whose longest prefix among the answers it is."""

        def owner(test):
            return max((n for n in self.stubs if test.startswith(n)), key=len)

        found = [c for c in (*self.public, *self.private) if c.kind in kinds]
        return [c for c in found if owner(c.name) == name]

    def points(self, name, kinds=("test", "hidden")):
        return sum(int(cell.options["points"]) for cell in self.tests(name, kinds))

    def marks(self, name, source, kinds=("test", "hidden")):
        """Points of an answer's source by test cell, and what each failed cell said."""
        known = {}
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(self.given, known)
            exec(source, known)
            earned, said = {}, {}
            for test in self.tests(name, kinds):
                names = {}
                exec(self.given, names)
                names[name] = _by_value(known.get(name))
                try:
                    exec(test.source, names)
                    earned[test.name] = int(test.options["points"])
                except Exception as error:
                    earned[test.name] = 0
                    said[test.name] = f"{type(error).__name__}: {error}"
        return earned, said


def _by_value(function):
    """As in the sandbox: edits of an argument are not seen outside."""

    def call(*args, **kwargs):
        return copy.deepcopy(function(*copy.deepcopy(args), **copy.deepcopy(kwargs)))

    return call
