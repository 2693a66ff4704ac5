"""What an instructor reads after marking: one page that opens offline, and a CSV for an LMS.

Marks by exercise and question, how they are spread, items that nobody or everybody solves,
submissions that need a person, and answers that are the same.
"""

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segcourse.grading import notebook, similar
from segcourse.grading.course import Course
from segcourse.grading.marking import role

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } caption { text-align: left; color: #444 }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ccc; text-align: right }
th:first-child, td:first-child { text-align: left } td.text { text-align: left }
pre { background: #f4f4f4; padding: .7rem; overflow: auto; font-size: 14px; margin: 0 }
.pair { display: flex; gap: 1rem; flex-wrap: wrap } .pair > div { flex: 1 1 20rem; min-width: 0 }
svg text { font: 13px system-ui, sans-serif }
"""


@dataclass
class Line:
    """One student.

    Args:
        student: the name.
        cells: score of each item by name; None: not graded yet.
        penalty: points taken off for being late.
        reasons: why a person should look at it.
        answers: source of each answer by name.
        written: text of each answer in writing by name.
    """

    student: str
    cells: Mapping[str, float | None]
    penalty: float = 0.0
    reasons: Sequence[str] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Something is not graded yet."""
        return any(score is None for score in self.cells.values())

    @property
    def score(self) -> float:
        """Sum of what is graded, less the penalty, not below 0."""
        return max(0.0, sum(s for s in self.cells.values() if s is not None) - self.penalty)


@dataclass(frozen=True)
class Item:
    """A test or a question of the assignment."""

    name: str
    group: str
    points: float
    hidden: bool
    written: bool


def items(release: dict) -> list[Item]:
    """The graded cells of a release, in order."""
    about, found = release["metadata"]["segcourse"], []
    for cell in release["cells"]:
        name = notebook.grade_id(cell)
        if name and role(cell) in ("test", "question"):
            written = role(cell) == "question"
            points = cell["metadata"]["nbgrader"]["points"]
            group = name if written else about["tests"][name]
            found.append(Item(name, group, points, name in about["hidden"], written))
    return found


def lines(course: Course, stem: str, scores: Mapping[str, dict] | None) -> list[Line]:
    """One line for each submission that was taken in.

    Args:
        course: the folder.
        stem: of the assignment.
        scores: from the gradebook, with marks given by hand and penalties; None: there is none,
            and the records count, with questions open.
    """
    release, records = course.read("release", stem), course.records(stem)
    stubs = {notebook.grade_id(c): notebook.text_of(c) for c in release["cells"]}
    graded = items(release)
    found = []
    for row in course.intake(stem):
        student = row["student"]
        record = records.get(student, {"marks": [], "incidents": ["not marked yet"]})
        made = course.read("submitted", stem, student)
        texts = {notebook.grade_id(c): notebook.text_of(c) for c in made["cells"]}
        answers = {c.group: texts[c.group] for c in graded if not c.written}
        written = {c.name: texts[c.name] for c in graded if c.written}
        reasons = [note for note in row["notes"] if row["human"]] + record["incidents"]
        if scores is not None and student not in scores:
            cells, penalty = {item.name: None for item in graded}, 0.0
            reasons.append("not in the gradebook: run `segcourse grade run` again")
        elif scores is not None:
            cells, penalty = scores[student]["cells"], scores[student]["penalty"]
            for name in scores[student]["again"]:
                reasons.append(f"{name}: handed in anew since it was graded by hand")
        else:
            marks = {m["name"]: m["score"] for m in record["marks"]}
            # A question whose text is untouched is worth nothing; another one waits for a person.
            for item in graded:
                if item.written and texts[item.name] == stubs[item.name]:
                    marks[item.name] = 0.0
            cells, penalty = {item.name: marks.get(item.name) for item in graded}, 0.0
        found.append(Line(student, cells, penalty, list(dict.fromkeys(reasons)), answers, written))
    return found


def to_csv(stem: str, graded: Sequence[Item], found: Sequence[Line]) -> str:
    """One row a student. What is not graded is empty, and the status says so."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    most = sum(item.points for item in graded)
    head = ["student", "assignment", "score", "max_score", "late_penalty", "status"]
    writer.writerow(head + [item.name for item in graded])
    for line in found:
        status = "ungraded" if line.open else "graded"
        total = "" if line.open else f"{line.score:g}"
        row = [as_text(line.student), stem, total, f"{most:g}", f"{line.penalty:g}", status]
        for item in graded:
            score = line.cells.get(item.name)
            row.append("" if score is None else f"{score:g}")
        writer.writerow(row)
    return out.getvalue()


def as_text(text: str) -> str:
    """A name that a spreadsheet would take for a formula is quoted."""
    return f"'{text}" if text[:1] in "=+-@\t" else text


def page(
    title: str,
    graded: Sequence[Item],
    found: Sequence[Line],
    stubs: Mapping[str, str],
    known: Mapping[str, str] | None = None,
) -> str:
    """The report as one HTML page without links to anything outside.

    Args:
        title: of the assignment.
        graded: its items.
        found: its students.
        stubs: source of each answer as released, by name.
        known: of each question, text whose phrases anybody may have.
    """
    parts = [f"<h1>{_safe(title)}</h1>", _summary(graded, found)]
    parts += [_people(found), _by_item(graded, found), _by_student(graded, found)]
    parts += [_alike(graded, found, stubs), _alike_in_words(graded, found, known or {})]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_safe(title)}</title><style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _safe(text: object) -> str:
    return html.escape(str(text))


def _summary(graded: Sequence[Item], found: Sequence[Line]) -> str:
    most = sum(item.points for item in graded)
    auto = [item for item in graded if not item.written]
    reached = [sum(line.cells.get(item.name) or 0 for item in auto) for line in found]
    top = sum(item.points for item in auto)
    open_ = sum(line.open for line in found)
    text = f"<p>{len(found)} submissions, {most:g} points, of which {top:g} are marked by tests. "
    text += f"{open_} have a part that nobody has graded yet.</p>"
    label = "Points from tests"
    return text + _bars(label, _spread(reached, top), "students") if found else text


def _spread(values: Sequence[float], top: float) -> dict[str, int]:
    """How many values there are for each number of points, 0 to `top`; in tenths above 20."""
    if top <= 20 and all(float(v).is_integer() for v in values):
        return {f"{n}": sum(v == n for v in values) for n in range(int(top) + 1)}
    edges = [top * i / 10 for i in range(11)]
    last = len(edges) - 2
    counts = [0] * (last + 1)
    for value in values:
        counts[min(last, int(10 * value / top))] += 1
    return {f"{edges[i]:g}-{edges[i + 1]:g}": n for i, n in enumerate(counts)}


def _bars(label: str, counts: Mapping[str, int], unit: str) -> str:
    """A bar chart as SVG, described in words for those who don't see it."""
    most, width, height = max([*counts.values(), 1]), 44, 140
    told = "; ".join(f"{name}: {n}" for name, n in counts.items() if n)
    bars = []
    for place, (name, n) in enumerate(counts.items()):
        tall, x = height * n / most, place * width
        bars.append(
            f'<rect x="{x + 4}" y="{height - tall + 20:.1f}" width="{width - 8}" '
            f'height="{tall:.1f}" fill="#0072b2"/>'
            f'<text x="{x + width / 2}" y="{height + 38}" text-anchor="middle">{_safe(name)}</text>'
        )
        if n:
            bars.append(
                f'<text x="{x + width / 2}" y="{height - tall + 15:.1f}" '
                f'text-anchor="middle">{n}</text>'
            )
    size = f"{len(counts) * width} {height + 48}"
    return (
        f'<figure><svg viewBox="0 0 {size}" width="{len(counts) * width}" role="img" '
        f'style="max-width: 100%" aria-label="{_safe(label)}, {unit}: {_safe(told)}">'
        f"{''.join(bars)}</svg><figcaption>{_safe(label)}: number of {unit}.</figcaption></figure>"
    )


def _people(found: Sequence[Line]) -> str:
    rows = [
        f'<tr><td>{_safe(line.student)}</td><td class="text">{_safe("; ".join(line.reasons))}</td>'
        for line in found
        if line.reasons
    ]
    if not rows:
        return "<h2>For a person to look at</h2><p>No submission.</p>"
    head = "<tr><th>student</th><th>why</th></tr>"
    return f"<h2>For a person to look at</h2><table>{head}{''.join(rows)}</table>"


def _by_item(graded: Sequence[Item], found: Sequence[Line]) -> str:
    rows = []
    for item in graded:
        scores = [line.cells.get(item.name) for line in found]
        known = [score for score in scores if score is not None]
        share = sum(known) / (item.points * len(known)) if known and item.points else None
        kind = "question" if item.written else "hidden test" if item.hidden else "test"
        note = ""
        if len(known) > 1 and share in (0, 1):
            note = "nobody has a point" if share == 0 else "everybody has all points"
        mean = "" if share is None else f"{share:.0%}"
        rows.append(
            f"<tr><td>{_safe(item.name)}</td><td>{_safe(item.group)}</td><td>{kind}</td>"
            f"<td>{item.points:g}</td><td>{mean}</td><td>{len(scores) - len(known)}</td>"
            f'<td class="text">{note}</td></tr>'
        )
    head = "<tr><th>item</th><th>exercise</th><th>kind</th><th>points</th><th>reached</th>"
    head += "<th>not graded</th><th>note</th></tr>"
    return f"<h2>Items</h2><table>{head}{''.join(rows)}</table>"


def _by_student(graded: Sequence[Item], found: Sequence[Line]) -> str:
    groups = list(dict.fromkeys(item.group for item in graded))
    head = "".join(f"<th>{_safe(group)}</th>" for group in groups)
    rows = []
    for line in found:
        cells = []
        for group in groups:
            scores = [line.cells.get(item.name) for item in graded if item.group == group]
            known = [score for score in scores if score is not None]
            cells.append(f"<td>{sum(known):g}</td>" if known else "<td>not graded</td>")
        penalty = f"{line.penalty:g}" if line.penalty else ""
        total = f"{line.score:g}" + (" so far" if line.open else "")
        rows.append(
            f"<tr><td>{_safe(line.student)}</td>{''.join(cells)}<td>{penalty}</td>"
            f"<td>{total}</td></tr>"
        )
    head = f"<tr><th>student</th>{head}<th>late</th><th>sum</th></tr>"
    return f"<h2>Marks</h2><table>{head}{''.join(rows)}</table>"


def _alike(graded: Sequence[Item], found: Sequence[Line], stubs: Mapping[str, str]) -> str:
    parts = ["<h2>Answers that are the same</h2>"]
    parts.append(
        "<p>Compared as syntax trees: names, comments and layout do not count. Short answers "
        "are often alike by chance, so this is a reason to ask, and no proof.</p>"
    )
    by_name = {line.student: line.answers for line in found}
    count = 0
    for name in dict.fromkeys(item.group for item in graded if not item.written):
        sources = {student: answers.get(name, "") for student, answers in by_name.items()}
        for group in similar.groups(sources, stubs[name]):
            count += 1
            shown = "".join(
                f"<div><strong>{_safe(student)}</strong><pre>{_safe(sources[student])}</pre></div>"
                for student in group[:2]
            )
            parts.append(f"<h3>{_safe(name)}: {_safe(', '.join(group))}</h3>")
            parts.append(f'<div class="pair">{shown}</div>')
    return "\n".join(parts if count else [*parts, "<p>None.</p>"])


def _alike_in_words(graded: Sequence[Item], found: Sequence[Line], known: Mapping) -> str:
    parts = ["<h2>Answers in writing with the same phrases</h2>"]
    parts.append(
        f"<p>Pairs in which {similar.SHARED:.0%} or more of the phrases of {similar.PHRASE} words "
        "are the same; those of the question and of the rubric do not count. Two who have talked "
        "write alike, too: this is a reason to ask, and no proof.</p>"
    )
    count = 0
    for name in (item.name for item in graded if item.written):
        texts = {line.student: line.written.get(name, "") for line in found}
        for a, b, share in similar.alike_in_words(texts, known.get(name, "")):
            count += 1
            parts.append(f"<h3>{_safe(name)}: {_safe(a)}, {_safe(b)}: {share:.0%}</h3>")
            both = "".join(f"<div><p>{_safe(texts[who])}</p></div>" for who in (a, b))
            parts.append(f'<div class="pair">{both}</div>')
    return "\n".join(parts if count else [*parts, "<p>None.</p>"])
