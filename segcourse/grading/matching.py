"""Put a student's answers into the release, wherever they went: cells are moved, split and merged.

Code is found by its cell's id, else by the names it defines; writing by its id or its place.
"""

import copy
import functools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segcourse.grading.marking import role
from segcourse.grading.notebook import grade_id, text_of
from segcourse.grading.student import defined, without_magics

MOST_EXTRA = 60
"""Code cells of the student's own that are kept."""


@dataclass(eq=False)
class Piece:
    """A code cell of a student's.

    Args:
        after: it stands behind this cell of the release.
        name: of the answer whose cell it is, or nothing.
        source: its text.
    """

    after: int
    name: str
    source: str

    def defines(self, names: Mapping) -> bool:
        """Whether it defines one of these names."""
        return not self.defined.isdisjoint(names)

    @functools.cached_property
    def defined(self) -> set[str]:
        """What it defines."""
        return set(defined(without_magics(self.source)))


def rebuild(release: dict, cells: Sequence[Mapping]) -> tuple[dict, list[str]]:
    """Put a student's cells into the release.

    Args:
        release: the notebook that was handed out.
        cells: of the student's file, each with cell_type, metadata and source.

    Returns:
        The notebook, and notes on what was unusual.
    """
    made, notes = copy.deepcopy(release), []
    places = {grade_id(cell): i for i, cell in enumerate(made["cells"]) if grade_id(cell)}
    pieces, written, seen = _sort(release, cells, places)
    stubs = {grade_id(c): text_of(c) for c in release["cells"]}
    own = [p for p in pieces if not p.name or plain(p.source) != plain(stubs[p.name])]
    used: set[Piece] = set()
    for cell in release["cells"]:
        name, kind = grade_id(cell), role(cell)
        if kind == "answer":
            piece, note = _answer(name, own, release["metadata"]["segcourse"]["answers"][name])
            text = piece.source if piece else ""
            used |= {piece} if piece else set()
        elif kind == "question":
            texts = [text for text in written[name] if plain(text) != plain(stubs[name])]
            text, note = "\n\n".join(dict.fromkeys(texts)), ""
        else:
            continue
        if text:
            text = text if kind == "answer" else harmless(text)
            made["cells"][places[name]]["source"] = text
        elif name not in seen:
            note = "its cell is missing"
        notes += [f"{name}: {note}"] if note else []
    extra = [p for p in own if p not in used and not (p.name and _answers(p, release))]
    if len(extra) > MOST_EXTRA:
        notes.append(f"too many cells of their own: {len(extra)}; the first {MOST_EXTRA} are run")
        del extra[MOST_EXTRA:]
    for number, piece in sorted(enumerate(extra), key=lambda pair: (pair[1].after, pair[0]))[::-1]:
        cell = {"cell_type": "code", "execution_count": None, "id": f"extra-{number}"}
        cell |= {"metadata": {}, "outputs": [], "source": piece.source}
        made["cells"].insert(piece.after + 1, cell)
    return made, notes


def _sort(
    release: dict, cells: Sequence[Mapping], places: Mapping[str, int]
) -> tuple[list[Piece], dict[str, list[str]], set[str]]:
    """The student's code, what is written for each question, and the cells that were there."""
    released = {plain(text_of(c)): i for i, c in enumerate(release["cells"])}
    roles = {grade_id(c): role(c) for c in release["cells"] if grade_id(c)}
    asked = {n: text_of(release["cells"][places[f"{n}_text"]]) for n in roles if _asks(n, roles)}
    pieces, written, seen = [], defaultdict(list), set()
    last, question = -1, ""
    for cell in cells:
        name, source, kind = grade_id(cell), cell["source"], cell["cell_type"]
        known = released.get(plain(source))
        above = next((n for n in asked if name == f"{n}_text" or source.startswith(asked[n])), "")
        if roles.get(name) == "answer":
            # Behind nothing but what is above: a helper that was split off must run before it.
            pieces.append(Piece(places[name] - 1, name, source))
            last, question = places[name], ""
            seen.add(name)
        elif roles.get(name) == "question":
            written[name].append(source)
            question = name
            seen.add(name)
        elif known is not None:
            last = max(last, known)
            name = grade_id(release["cells"][known])
            question = name if name in asked else (name or "").removesuffix("_text")
            question = question if question in asked else ""
            seen.add(name)
        elif kind == "code":
            pieces += [Piece(last, "", source)] if source.strip() else []
        elif above:  # written into the cell of the question
            written[above].append(source.removeprefix(asked[above]).strip())
            question = above
            seen.add(above)
        elif question and source.strip():
            written[question].append(source)
            seen.add(question)
    return pieces, written, seen


def _asks(name: str, roles: Mapping[str, str]) -> bool:
    return roles[name] == "question" and f"{name}_text" in roles


def _answer(name: str, own: Sequence[Piece], names: Mapping) -> tuple[Piece | None, str]:
    """The code that answers an exercise, and a note where it was not alone in its own cell."""
    mine = [piece for piece in own if piece.name == name]
    right = [piece for piece in mine if piece.defines(names)]
    if right:
        twice = len({piece.source for piece in right}) > 1
        same = "its cell is there more than once" if len(right) > 1 else ""
        return right[-1], "answered twice; the last one counts" if twice else same
    # In a cell of its own, or in one with another answer.
    for piece in [p for p in own[::-1] if not p.name] + [p for p in own[::-1] if p.name]:
        if piece.defines(names):
            return piece, "found by the name it defines"
    return (mine[-1] if mine else None), ""


def _answers(piece: Piece, release: dict) -> bool:
    """Whether a piece in an answer's cell answers it; else it is a helper that was split off."""
    return piece.defines(release["metadata"]["segcourse"]["answers"][piece.name])


def harmless(text: str) -> str:
    r"""Writing without what runs code in a page: nbgrader's show it as HTML, to instructors, too.

    Tags, links to scripts whatever way they are spelled, and commands of MathJax that make these.

    >>> harmless(r"a<b> [c](JavaScript\:d()) $\href{e}{f}$ &colon; 1<2 & R&D")
    'a< b> [c](JavaScript :d()) $\\ href{e}{f}$ & colon; 1<2 & R&D'
    """
    text = re.sub(r"<(?=[A-Za-z/!?])", "< ", text)
    text = re.sub(r"&(?=#|[A-Za-z]\w*;)", "& ", text)
    text = re.sub(r"(?i)(script)[\s\\]*:", r"\1 :", text)
    return re.sub(r"\\(?=(href|style|class|cssId|require)(?![A-Za-z]))", r"\\ ", text)


def plain(text: str) -> str:
    """Text whatever its white space."""
    return " ".join(text.split())
