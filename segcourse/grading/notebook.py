"""An assignment as a notebook with nbgrader's metadata: the release, and the source with solutions.

Notebooks are plain dicts of JSON here, so that neither nbformat nor nbgrader is needed to make one.
"""

import copy
import hashlib
import json
import os
from pathlib import Path

from segcourse.grading.source import Assignment, Cell, proxied

HIDDEN = "# Hidden tests of `{answer}`, {points}. They run when your work is marked."
PLACEHOLDER = "*Write your answer here.*"
BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


def release(assignment: Assignment) -> dict:
    """The notebook that students get: stubs, visible tests, and a line in place of hidden ones."""
    return _notebook(assignment, solved=False)


def source(assignment: Assignment) -> dict:
    """The notebook that the instructor keeps: solutions, hidden tests and rubrics."""
    return _notebook(assignment, solved=True)


def points_text(points: float) -> str:
    """`points` in words.

    >>> points_text(1), points_text(2.5)
    ('1 point', '2.5 points')
    """
    return f"{points:g} point{'' if points == 1 else 's'}"


def _notebook(assignment: Assignment, solved: bool) -> dict:
    cells = []
    for cell in assignment.cells:
        if cell.kind == "question":
            text = f"{cell.source}\n\n*{points_text(cell.points)}, read by a person.*"
            cells.append(_jupyter(f"{cell.name}_text", "markdown", text, _marks(locked=True)))
            answer = cell.solved if solved else PLACEHOLDER
            marks = _marks(grade=True, solution=True, points=cell.points)
            cells.append(_jupyter(cell.name, "markdown", answer, marks))
        elif cell.kind == "text":
            cells.append(_jupyter(cell.name, "markdown", cell.source, None))
        else:
            cells.append(_jupyter(cell.name, "code", *_code(cell, solved)))
    about = {"assignment": assignment.stem, "page": assignment.page, "seed": assignment.seed}
    about["read"] = {cell.name: cell.read for cell in assignment.of("answer") if cell.read}
    about["answers"] = {cell.name: proxied(cell.source) for cell in assignment.of("answer")}
    about["tests"] = {cell.name: cell.answer for cell in assignment.of("test", "hidden")}
    if solved:
        about["stubs"] = {cell.name: cell.source for cell in assignment.of("answer")}
        about["stubs"] |= {cell.name: PLACEHOLDER for cell in assignment.of("question")}
    about["hidden"] = [cell.name for cell in assignment.of("hidden")]
    if not solved:
        # A check rebuilds a student's notebook on the release, as intake does, and has no other.
        about["released"] = copy.deepcopy(cells)
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "segcourse": about,
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _code(cell: Cell, solved: bool) -> tuple[str, dict]:
    if cell.kind == "answer":
        return (cell.solved if solved else cell.source), _marks(solution=True)
    if cell.kind == "hidden":
        text = HIDDEN.format(answer=cell.answer, points=points_text(cell.points))
        if solved:
            text = f"{text}\n{BEGIN}\n{cell.source}\n{END}"
        return text, _marks(grade=True, locked=True, points=cell.points)
    if cell.kind == "test":
        return cell.source, _marks(grade=True, locked=True, points=cell.points)
    return cell.source, _marks(locked=True)


def _marks(grade=False, solution=False, locked=False, points: int | None = None) -> dict:
    marks = {"grade": grade, "solution": solution, "locked": locked, "task": False}
    marks["schema_version"] = 3
    return marks if points is None else {**marks, "points": points}


def _jupyter(name: str, kind: str, text: str, marks: dict | None) -> dict:
    metadata: dict = {}
    if marks is not None:
        locked = marks["locked"]
        metadata["nbgrader"] = {"grade_id": name, **marks}
        metadata["nbgrader"]["checksum"] = checksum(name, kind, text, metadata["nbgrader"])
        metadata["deletable"] = False
        metadata["editable"] = not locked
    cell = {"cell_type": kind, "id": name.replace("_", "-"), "metadata": metadata, "source": text}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def checksum(name: str, kind: str, text: str, marks: dict) -> str:
    """nbgrader's checksum of a cell: the same as long as a student has not touched it."""
    locked = not marks["solution"] and (marks["grade"] or marks["locked"])
    words = [text, kind, str(marks["grade"]), str(marks["solution"]), str(locked), name]
    if marks["grade"]:
        words.append(str(float(marks["points"])))
    return hashlib.md5("".join(words).encode()).hexdigest()


def grade_id(cell: dict) -> str | None:
    """The name that nbgrader knows a cell by, or None; a damaged cell has none."""
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    return name if isinstance(name, str) else None


def text_of(cell: dict) -> str:
    """A cell's source as one string: files hold a string or a list of lines."""
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def hidden_sources(source: dict) -> dict[str, str]:
    """The hidden tests of a source notebook, by name."""
    found = {}
    for cell in source["cells"]:
        text = text_of(cell)
        if cell["cell_type"] == "code" and f"\n{BEGIN}\n" in text:
            found[grade_id(cell)] = text.split(f"\n{BEGIN}\n")[1].split(f"\n{END}")[0]
    return found


def write(notebook: dict, path: Path) -> None:
    """Write a notebook as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    partial.write_text(text, "utf-8", errors="replace")
    os.replace(partial, path)
