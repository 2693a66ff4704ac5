"""What learning platforms give and take: names of downloaded files, and tables of marks."""

import csv
import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segcourse.errors import UsageError

# Moodle: "Anna Kim_657831_assignsubmission_file_fcn.ipynb"; a folder ends before its own file name.
MOODLE = re.compile(r"(.+)_(\d+)_assignsubmission_[a-z]+(?:_.*)?")
# Canvas: "kimanna_LATE_4711_99887_fcn.ipynb", where the first number is the student's.
CANVAS = re.compile(r"([^_]+)(?:_LATE)?_(\d+)_\d+_.+")
TIMES = "_times.csv"
"""When who has handed in: beside what was handed in, and nobody else's to write."""
LONGEST_NAME = 120


def student_of(name: str) -> str:
    """The student of a downloaded folder or file: the name and the platform's number.

    >>> student_of("Anna Kim_657831_assignsubmission_file"), student_of("anna")
    ('Anna_Kim_657831', 'anna')
    >>> student_of("kimanna_LATE_4711_99887_fcn-1.ipynb"), student_of("anna_kim.ipynb")
    ('kimanna_4711', 'anna_kim')
    """
    try:
        name = os.fsencode(name).decode("utf-8")
    except UnicodeDecodeError:  # an archive that was packed on another system
        name = os.fsencode(name).decode("latin-1")
    name = "".join(letter for letter in name if letter.isprintable())
    found = MOODLE.fullmatch(name) or CANVAS.fullmatch(name)
    if found:
        name = "_".join(f"{found[1]}_{found[2]}".split())
    else:
        name = re.sub(r"\.(ipynb|py)$", "", name)
    if len(name.encode()) > LONGEST_NAME:
        name = f"{name[:30]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name or "nameless"


def decoded(data: bytes) -> str:
    """The text of a table: where a spreadsheet has saved it, maybe in the letters of Windows."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def delimiter(text: str) -> str:
    """What stands between the columns of a table, as its first line has it.

    >>> delimiter("student;time\\nanna;2027-03-02 10:00 UTC\\n"), delimiter("anna\\nben, jr.\\n")
    (';', ',')
    """
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def times(text: str) -> dict[str, str]:
    """When each student has handed in: a CSV with the columns student and time.

    >>> times("student,time\\nanna,2027-03-02 10:00 UTC\\n")
    {'anna': '2027-03-02 10:00 UTC'}
    """
    text = text.lstrip("\ufeff")
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter(text))
    if not {"student", "time"} <= set(rows.fieldnames or ()):
        raise UsageError(f"{TIMES} needs the columns student and time; it has {rows.fieldnames}")
    return {(row["student"] or "").strip(): (row["time"] or "").strip() for row in rows}


@dataclass
class Filled:
    """A platform's table with marks in it.

    Args:
        text: of the new table.
        rows: students whose mark was written.
        open: students in the table who are not graded yet; their field stays what it was.
        nothing: names in the table of whom nothing was handed in; theirs stays, too.
        no_row: students who are not in the table.
    """

    text: str
    rows: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    nothing: list[str] = field(default_factory=list)
    no_row: list[str] = field(default_factory=list)


def fill(text: str, key: str, column: str, marks: Mapping[str, float | None]) -> Filled:
    """Write marks into a table that a platform has exported.

    A row belongs to the student whose name stands in its key field, or whose number does, with or
    without words before it (Moodle's "Participant 657831").

    Args:
        text: of the CSV; separated by commas, semicolons or tabs.
        key: the column that says who it is.
        column: the column that gets the marks.
        marks: by student; None: not graded yet.

    Raises:
        UsageError: there is no such column, or two students fit one row.
    """
    between = delimiter(text)
    rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=between))
    head = [name.strip() for name in rows[0]] if rows else []
    for name in (key, column):
        if name not in head:
            listed = ", ".join(repr(name) for name in head[:20])
            raise UsageError(f"the table has no column {name!r}; it has {listed or 'none'}")
    who, where = head.index(key), head.index(column)
    made, left = Filled(""), set(marks)
    for row in rows[1:]:
        if len(row) <= who or not row[who].strip():
            continue  # such as Canvas's row of points possible
        found = _fitting(row[who].strip(), marks)
        if len(found) > 1:
            raise UsageError(f"{row[who]!r} fits {' and '.join(found)}: take another --key")
        if not found:
            made.nothing.append(row[who].strip())
            continue
        left -= set(found)
        if marks[found[0]] is None:
            made.open.append(found[0])
            continue
        row += [""] * (where + 1 - len(row))
        row[where] = f"{marks[found[0]]:g}"
        made.rows.append(found[0])
    made.no_row = sorted(left)
    out = io.StringIO()
    csv.writer(out, delimiter=between, lineterminator="\n").writerows(rows)
    made.text = ("\ufeff" if text.startswith("\ufeff") else "") + out.getvalue()
    return made


def _fitting(value: str, students: Mapping[str, object]) -> list[str]:
    """Students whom a field of a table names: by name, else by number."""
    same = [student for student in students if student.casefold() == value.casefold()]
    number = re.search(r"\d+$", value)
    if same or number is None:
        return same
    return [student for student in students if student.endswith(f"_{number[0]}")]


def roster(text: str) -> list[str]:
    """Students of a list: one a line, or the column `student` of a CSV, else its first one."""
    text = text.lstrip("\ufeff")
    read = csv.reader(io.StringIO(text), delimiter=delimiter(text))
    rows = [row for row in read if any(row)]
    if not rows:
        return []
    head = [name.strip().casefold() for name in rows[0]]
    place = head.index("student") if "student" in head else 0
    rows = rows[1:] if "student" in head else rows
    names: Sequence[str] = [row[place].strip() for row in rows if len(row) > place]
    return list(dict.fromkeys(name for name in names if name))
