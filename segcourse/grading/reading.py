"""Written answers without names: a sheet for those who read, and their points put together.

Answers have codes in place of names and stand in an order of their own, so that nobody knows whose
they are. Two people may read them: where they agree, the mean counts; else both are asked.
"""

import csv
import hashlib
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segcourse.errors import UsageError
from segcourse.grading.marking import role
from segcourse.grading.notebook import grade_id, text_of
from segcourse.grading.platforms import delimiter
from segcourse.grading.report import STYLE

HEAD = ("code", "question", "points", "comment")
LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""A code of digits, or 12e45, would come back from a spreadsheet as another number."""


@dataclass(frozen=True)
class Written:
    """One answer: its code, its question, and what was written."""

    code: str
    question: str
    text: str


def codes(students: Sequence[str], stem: str, secret: str) -> dict[str, str]:
    """A code for each student, another one for each assignment; nobody can guess it."""
    made: dict[str, str] = {}
    for student in students:
        digest = hashlib.sha256(f"{secret}\n{stem}\n{student}".encode()).hexdigest()
        digest = digest.translate(LETTERS)
        length = next(n for n in range(5, 65) if digest[:n] not in made)
        made[digest[:length]] = student
    return made


def answers(made: Mapping[str, dict], names: Mapping[str, str], release: dict) -> list[Written]:
    """Every answer that is more than the line that was handed out, ordered by code.

    Args:
        made: notebooks by student.
        names: students by code.
        release: the notebook that was handed out.
    """
    asked = {grade_id(c): text_of(c) for c in release["cells"] if role(c) == "question"}
    found = []
    for code, student in sorted(names.items()):
        texts = {grade_id(c): text_of(c) for c in made[student]["cells"]}
        for question, blank in asked.items():
            if texts[question].strip() != blank.strip():
                found.append(Written(code, question, texts[question]))
    return sorted(found, key=lambda one: (list(asked).index(one.question), one.code))


def page(title: str, source: dict, found: Sequence[Written]) -> str:
    """The answers of each question below its rubric, as one HTML page."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    rubrics = {grade_id(c): text_of(c) for c in source["cells"] if role(c) == "question"}
    for question, rubric in rubrics.items():
        asked = next(text_of(c) for c in source["cells"] if grade_id(c) == f"{question}_text")
        parts += [f"<h2>{html.escape(question)}</h2>", _text(asked)]
        parts.append(f"<details open><summary>Rubric</summary>{_text(rubric)}</details>")
        for one in found:
            if one.question == question:
                parts.append(f"<h3>{one.code}</h3>{_text(one.text)}")
    style = f"{STYLE} p {{ white-space: pre-wrap; max-width: 45rem }}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _text(text: str) -> str:
    return f"<p>{html.escape(re.sub(r'(?m)^#+ .*$', '', text).strip())}</p>"


def table(found: Sequence[Written]) -> str:
    """A CSV for a reader: points and a comment are to be filled in."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows([one.code, one.question, "", ""] for one in found)
    return out.getvalue()


def read(text: str, most: Mapping[str, float], known: Mapping[str, str]) -> dict:
    """What one reader has filled in, by code and question; rows without points are passed over.

    Args:
        text: of the CSV; separated by commas, semicolons or tabs.
        most: points by question.
        known: students by code.

    Raises:
        UsageError: a row that can't be meant so.
    """
    text = text.lstrip("\ufeff")
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter(text))
    if not {"code", "question", "points"} <= set(rows.fieldnames or ()):
        first = text.partition("\n")[0]
        raise UsageError(f"the columns are {first!r}, and should be {','.join(HEAD)}")
    found = {}
    for row in rows:
        said = (row["points"] or "").strip().replace(",", ".")
        code, question = (row["code"] or "").strip(), (row["question"] or "").strip()
        if not said:
            continue
        if code not in known or question not in most:
            raise UsageError(f"no answer has the code {code!r} and the question {question!r}")
        if not re.fullmatch(r"\d+(\.\d+)?", said) or float(said) > most[question]:
            raise UsageError(f"{code}: {said!r} should be a number from 0 to {most[question]:g}")
        found[code, question] = float(said), (row.get("comment") or "").strip()
    return found


def together(readers: Sequence[Mapping], apart: float) -> tuple[dict, list[tuple]]:
    """Put the points of all readers together.

    Args:
        readers: from `read`.
        apart: points by which they may differ.

    Returns:
        The mean and the comments of those that everybody has read, and who agrees; and the others,
        each with its points.
    """
    agreed, open_ = {}, []
    for key in sorted({key for reader in readers for key in reader}):
        given = [reader[key] for reader in readers if key in reader]
        points = [one for one, _ in given]
        if len(given) < len(readers) or max(points) - min(points) > apart:
            open_.append((*key, points))
            continue
        comments = list(dict.fromkeys(text for _, text in given if text))
        agreed[key] = sum(points) / len(points), "\n\n".join(comments)
    return agreed, open_
