"""Run a student's cells, and call what they define: the part that both sides of the wall share.

Loaded alone inside the sandbox (see `worker`), and by `segcourse check`, which runs the student's
code on the student's own machine without a wall.
"""

import ast
import builtins
import contextlib
import linecache
import re
import sys
import traceback
import types

KEPT = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
"""What a cell defines for others."""
NOT_PARSED = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What code raises that is broken, or nested deeper than Python follows."""
LONGEST = 200_000
"""Characters of a cell whose tree is made: a tree is hundreds of times larger."""
MAGIC_VALUE = re.compile(r"(\s*[\w, ]+=\s*)[!%]\w")


class Cells:
    """A namespace in which cells run one after the other, as in a notebook."""

    def __init__(self):
        self.module = types.ModuleType("__main__")
        self.names = self.module.__dict__
        self.names.update(__builtins__=builtins, display=print)
        self.count = 0

    def run(self, source: str) -> str:
        """Run a cell; returns the error in words, or nothing."""
        self.count += 1
        name = f"<cell {self.count}>"
        try:
            source = without_magics(source)
            linecache.cache[name] = (len(source), None, source.splitlines(True), name)
            exec(compile(source, name, "exec", dont_inherit=True), self.names)
        except BaseException as error:
            told = in_words(error)
            self._definitions_behind(error, source, name)
            return told
        return ""

    def _definitions_behind(self, error: BaseException, source: str, name: str) -> None:
        """Go on behind a line that fails: what it needs may be elsewhere, such as a drive.

        Only functions, classes, imports and values follow; nothing is told of them.
        """
        try:
            body = ast.parse(source).body
            frames = traceback.extract_tb(error.__traceback__)
            failed = next(frame.lineno for frame in frames if frame.filename == name)
        except BaseException:
            return
        for node in body:
            if node.lineno > failed and isinstance(node, (*KEPT, ast.Assign, ast.AnnAssign)):
                made = compile(ast.Module([node], []), name, "exec", dont_inherit=True)
                with contextlib.suppress(BaseException):
                    exec(made, self.names)

    def call(self, name: str, args: tuple, kwargs: dict):
        """Call what a cell has defined under this name."""
        if name not in self.names:
            raise NameError(f"no cell defines {name}")
        return self.names[name](*args, **kwargs)

    def value(self, name: str):
        """What a cell has put under this name."""
        if name not in self.names:
            raise NameError(f"no cell defines {name}")
        return self.names[name]


def without_magics(source: str) -> str:
    """Source without IPython's own lines (`%time`, `!pip`, `x = !ls`, `f?`), which are no Python.

    >>> without_magics("%matplotlib inline\\nx = 7 \\\\\\n  % 3")
    'pass\\nx = 7 \\\\\\n  % 3'
    >>> without_magics("files = !ls\\n?max\\nmax?")
    'files = None\\npass\\npass'
    """
    try:
        if len(source) <= LONGEST:
            ast.parse(source)
        return source
    except NOT_PARSED:
        pass
    lines = source.split("\n")
    for place, line in enumerate(lines):
        bare = line.lstrip()
        continued = place > 0 and lines[place - 1].rstrip().endswith("\\")
        if continued:
            continue
        if bare[:1] in ("%", "!", "?") or bare.rstrip()[-1:] == "?":
            lines[place] = line[: len(line) - len(bare)] + "pass"
        elif found := MAGIC_VALUE.match(line):
            lines[place] = f"{found[1]}None"
    return "\n".join(lines)


def definitions(source: str) -> str:
    """The imports and definitions of a cell alone: what can be run again after a crash."""
    try:
        body = ast.parse(without_magics(source)).body
        return "\n".join(ast.unparse(node) for node in body if isinstance(node, KEPT))
    except NOT_PARSED:
        return ""


def in_words(error: BaseException) -> str:
    """An error as one line, with the line of the cell it came from."""
    try:
        said = error.msg if isinstance(error, SyntaxError) else error
        text = f"{type(error).__name__}: {said}".rstrip(": ")[:1000]
    except BaseException:
        text = type(error).__name__[:100]
    try:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename.startswith("<cell ")]
    except BaseException:
        lines = []
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    return f"{text} (line {lines[-1]} of its cell)" if lines else text


def become_main(cells: Cells) -> None:
    """Let `__main__` be the cells' module, as dataclasses and pickles expect."""
    sys.modules["__main__"] = cells.module


def defined(source: str) -> list[str]:
    """The functions and values that code defines at its top level; of broken code, by its lines.

    >>> defined("SIZE = 3\\ndef stamp(x): return x"), defined("def stamp(x:\\n  return 3")
    (['SIZE', 'stamp'], ['stamp'])
    """
    try:
        if len(source) > LONGEST:
            raise ValueError
        body = ast.parse(source).body
    except NOT_PARSED:
        return re.findall(r"(?m)^(?:def|class) +(\w+)", source)
    names = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names
