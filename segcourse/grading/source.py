"""Read an assignment: a public py:percent file, and a private one with what students don't see.

exercises/README.md describes the format. The two are merged here, and a seed draws the numbers.
"""

import ast
import random
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segcourse.errors import UsageError

PAGES = {"metrics": "book/index"}
"""The page of a stem, where it is not book/<stem>."""

MARKER = re.compile(r"# %%(?: +(.*))?$")
PUBLIC = {"text", "given", "variants", "answer", "test", "question"}
PRIVATE = {"solution", "hidden", "rubric"}


@dataclass(frozen=True)
class Cell:
    """One cell of an assignment.

    Args:
        kind: text, given, answer, test, hidden or question.
        name: unique in the assignment; texts and given cells are numbered.
        source: what the student gets; of a question, its text.
        points: of a test, a hidden test or a question; else 0.
        answer: of a test, the answer that it tests.
        solved: of an answer, the solution; of a question, the rubric.
        read: of an answer, the heading of the page where to read.
    """

    kind: str
    name: str
    source: str
    points: int = 0
    answer: str = ""
    solved: str = ""
    read: str = ""


@dataclass(frozen=True)
class Assignment:
    """One assignment with its private part; `seed` says which variant of the numbers it is."""

    stem: str
    title: str
    seed: int
    cells: tuple[Cell, ...]

    @property
    def page(self) -> str:
        """The chapter's page, without its ending."""
        return PAGES.get(self.stem, f"book/{self.stem}")

    def of(self, *kinds: str) -> list[Cell]:
        """The cells of these kinds, in order."""
        return [cell for cell in self.cells if cell.kind in kinds]

    def tests_of(self, answer: str) -> list[Cell]:
        """The visible and hidden tests of one answer."""
        return [cell for cell in self.of("test", "hidden") if cell.answer == answer]


@dataclass(frozen=True)
class Part:
    """A cell as a file holds it: its marker's words and the lines under it."""

    kind: str
    name: str
    options: Mapping[str, str]
    source: str
    where: str


def load(public: Path, private: Path | None, seed: int = 0) -> Assignment:
    """Read an assignment and draw its numbers.

    Args:
        public: the source that students may see.
        private: solutions, hidden tests and rubrics; None: there are none, and nothing is missed.
        seed: of the variant; 0 is the published one.

    Raises:
        UsageError: a file is missing or breaks the format; the text says where.
    """
    parts = read_parts(public, PUBLIC)
    secret = read_parts(private, PRIVATE) if private else []
    values = _draw(parts, seed)
    parts = [_filled(part, values) for part in parts if part.kind != "variants"]
    return _merged(public.stem, seed, parts, [_filled(p, values) for p in secret], bool(private))


def read_parts(path: Path, kinds: set[str]) -> list[Part]:
    """Split a py:percent file at its markers.

    Raises:
        UsageError: the file is missing, or a marker is not one of `kinds`.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist: it holds cells that begin with '# %%'")
    parts, lines = [], None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        found = MARKER.match(line)
        if found:
            lines = []
            parts.append((f"{path}:{number}", found[1] or "", lines))
        elif lines is not None:
            lines.append(line)
    return [_part(where, marker, lines, kinds) for where, marker, lines in parts]


def _part(where: str, marker: str, lines: list[str], kinds: set[str]) -> Part:
    words = shlex.split(marker)
    text = words[:1] == ["[markdown]"]
    words = words[1:] if text else words
    kind = words.pop(0) if words else "text" if text else "given"
    if kind not in kinds:
        known = ", ".join(sorted(kinds))
        raise UsageError(f"{where}: '{kind}' is no kind of cell here; the kinds are {known}")
    options = dict(word.split("=", 1) for word in words if "=" in word)
    names = [word for word in words if "=" not in word]
    named = kind not in ("text", "given", "variants")
    if len(names) != named or (names and not names[0].isidentifier()):
        raise UsageError(f"{where}: '{kind}' needs {'one name' if named else 'no name'}: {marker}")
    unknown = set(options) - {"points", "read"}
    if unknown:
        raise UsageError(f"{where}: {min(unknown)}= is unknown: the options are points, read")
    if kind in ("test", "hidden", "question") and not options.get("points", "").isdigit():
        raise UsageError(f"{where}: '{kind}' needs points=1 or another whole number")
    if text:
        lines = [re.sub(r"^# ?", "", line) for line in lines]
    source = "\n".join(lines).strip("\n")
    if not text:
        try:
            ast.parse(source)
        except SyntaxError as error:
            raise UsageError(f"{where}: line {error.lineno} of the cell: {error.msg}") from error
    return Part(kind, names[0] if names else "", options, source, where)


def _draw(parts: list[Part], seed: int) -> dict[str, str]:
    """Run the variants cell: names in capitals to the text that takes their place."""
    space: dict = {"rng": random.Random(seed)}
    for part in parts:
        if part.kind == "variants":
            exec(compile(part.source, part.where, "exec"), space)
    return {name: repr(value) for name, value in space.items() if name.isupper()}


def _filled(part: Part, values: Mapping[str, str]) -> Part:
    if not values:
        return part
    names = re.compile(rf"\b({'|'.join(map(re.escape, values))})\b")
    return replace(part, source=names.sub(lambda found: values[found[0]], part.source))


def _merged(
    stem: str, seed: int, parts: list[Part], secret: list[Part], complete: bool
) -> Assignment:
    private = {}
    for part in secret:
        if (part.kind, part.name) in private:
            raise UsageError(f"{part.where}: a second {part.kind} {part.name}")
        private[part.kind, part.name] = part
    answers = [part.name for part in parts if part.kind == "answer"]
    hidden: dict[str, list[Cell]] = {name: [] for name in answers}
    for (kind, name), part in private.items():
        if kind == "hidden":
            answer = _answer_of(part, answers)
            cell = Cell("hidden", name, part.source, int(part.options["points"]), answer)
            hidden[answer].append(cell)
    cells, used = [], set()
    for place, part in enumerate(parts):
        cells.append(_cell(part, len(cells), answers))
        if part.kind in ("answer", "question"):
            key = ("solution" if part.kind == "answer" else "rubric", part.name)
            if key in private:
                cells[-1] = replace(cells[-1], solved=private[key].source)
                used.add(key)
            elif complete:
                raise UsageError(f"{part.where}: the private file has no {key[0]} {part.name}")
        # Hidden tests follow the visible ones of their answer.
        mine = _tested(part, answers)
        if mine and not any(_tested(later, answers) == mine for later in parts[place + 1 :]):
            cells += hidden.pop(mine)
    left = [key for key in private if key[0] != "hidden" and key not in used]
    if left:
        raise UsageError(f"{stem}: the public file has nothing for {left[0][0]} {left[0][1]}")
    names = [cell.name for cell in cells]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"{stem}: two cells are called {', '.join(sorted(twice))}")
    title = next((c.source for c in cells if c.kind == "text"), "")
    if not title.startswith("# "):
        raise UsageError(f"{stem}: the first text needs a title, '# # Title'")
    return Assignment(stem, title.splitlines()[0][2:].strip(), seed, tuple(cells))


def _cell(part: Part, place: int, answers: list[str]) -> Cell:
    points = int(part.options.get("points", 0)) if part.kind != "answer" else 0
    answer = _answer_of(part, answers) if part.kind == "test" else ""
    name = part.name or f"{part.kind}_{place + 1}"
    return Cell(part.kind, name, part.source, points, answer, read=part.options.get("read", ""))


def _answer_of(part: Part, answers: list[str]) -> str:
    """The answer whose name begins the test's name; the longest one where several do."""
    found = [name for name in answers if part.name == name or part.name.startswith(f"{name}_")]
    if not found:
        listed = ", ".join(answers) or "none"
        raise UsageError(f"{part.where}: {part.name} begins with no answer's name ({listed})")
    return max(found, key=len)


def _tested(part: Part, answers: list[str]) -> str | None:
    if part.kind == "answer":
        return part.name
    return _answer_of(part, answers) if part.kind == "test" else None


def proxied(stub: str) -> dict[str, str]:
    """The names that a stub defines, each a 'function' or a 'value'.

    >>> proxied("SIDE = 3\\ndef stamp(x): ...")
    {'SIDE': 'value', 'stamp': 'function'}
    """
    found = {}
    for node in ast.parse(stub).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = "function"
        elif isinstance(node, ast.Assign):
            found.update({t.id: "value" for t in node.targets if isinstance(t, ast.Name)})
    return found
