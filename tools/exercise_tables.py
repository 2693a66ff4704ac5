"""The tables of exercises/README.md: `python -m tools.exercise_tables marks|hostile|speed`.

`speed` puts what benchmarks/grading.py has recorded into both READMEs that show it.
`marks` runs every hand-written answer in the sandbox and compares its points with those that its
author wrote down before. `hostile` marks the hostile and damaged corpus of the tests.
"""

import copy
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from segcourse.grading import batch, notebook, walls
from segcourse.grading.course import Course
from segcourse.grading.demo import read_answers
from segcourse.grading.intake import take_all
from segcourse.grading.marking import run_test
from segcourse.grading.sandbox import Limits, Session
from segcourse.grading.source import load, proxied

ROOT = Path(__file__).resolve().parent.parent
EXERCISES = ROOT / "exercises"


def marks() -> int:
    """One row an exercise; returns how many answers got other marks than they should."""
    head = "| assignment | exercise | points | answers | right | unusual | partly |"
    print(head, "misconception | not as expected |")
    print("|---" * 9 + "|")
    wrong = 0
    for path in sorted(EXERCISES.glob("*.py")):
        stem = path.stem
        made = load(path, EXERCISES / "private" / path.name)
        written = read_answers(EXERCISES / "private" / "answers" / path.name)
        for answer in made.of("answer"):
            kinds, missed = Counter(), []
            for one in written:
                if one.name == answer.name:
                    kinds[one.kind] += 1
                    reached = points_of(made, one.name, one.source)
                    if reached != one.marks:
                        missed.append(f"{one.told}: {reached} for {one.marks}")
            wrong += len(missed)
            most = sum(test.points for test in made.tests_of(answer.name))
            counts = [kinds[kind] for kind in ("right", "unusual", "partly", "misconception")]
            row = [stem, answer.name, most, sum(counts), *counts, len(missed)]
            print(f"| {' | '.join(map(str, row))} |", *missed, flush=True)
    return wrong


SESSIONS: dict[str, Session] = {}


def points_of(made, name: str, source: str) -> int:
    """Points of one answer among right ones to the other exercises."""
    trusted: dict = {"__name__": "tests"}
    names: dict[str, str] = {}
    for cell in made.of("given"):
        exec(compile(cell.source, cell.name, "exec"), trusted)
    if made.stem not in SESSIONS:
        for session in SESSIONS.values():
            session.__exit__()
        SESSIONS[made.stem] = Session(Limits(answer_seconds=60), walled=not walls.why_not())
        for cell in made.of("given"):
            SESSIONS[made.stem].run(cell.source)
    session = SESSIONS[made.stem]
    base = list(session.cells)
    session.left, session.restarts = {}, 0
    for cell in made.of("answer"):
        names.update(proxied(cell.source))
        session.run(source if cell.name == name else cell.solved)
    session.start_tests(name)
    tests = made.tests_of(name)
    passed = [t for t in tests if not run_test(t.source, t.name, trusted, session, names, 20)]
    session.cells = base
    return sum(test.points for test in passed)


def hostile() -> int:
    """One row a submission; returns how many marks are not fair."""
    sys.path.insert(0, str(ROOT / "tests"))
    from hostile_answers import CASES

    toys = ROOT / "tests" / "grading_toy"
    with tempfile.TemporaryDirectory() as name:
        course = Course(Path(name) / "course")
        course.build(load(toys / "plain.py", toys / "private" / "plain.py"))
        release, source = course.read("release", "plain"), course.read("source", "plain")
        solved = copy.deepcopy(release)
        texts = {notebook.grade_id(cell): cell["source"] for cell in source["cells"]}
        for cell in solved["cells"]:
            if (cell["metadata"].get("nbgrader") or {}).get("solution"):
                cell["source"] = texts[notebook.grade_id(cell)]
        received = Path(name) / "received"
        for case, (make, _) in CASES.items():
            make(received / case, copy.deepcopy(solved), copy.deepcopy(release))
        rows = []
        for taken in take_all(release, received):
            course.put(taken, "plain")
            rows.append({"student": taken.student})
        course.write_intake("plain", rows)
        limits = {"cell_seconds": 3, "answer_seconds": 3, "memory_mib": 512, "output_kib": 1024}
        tasks = course.tasks("plain", limits, walled=True)
        records = {record["student"]: record for record in batch.grade_here(tasks, 2)}
    print("| submission | fair | got | |\n|---|---|---|---|")
    wrong = 0
    for case, (_, fair) in CASES.items():
        got = sum(found["score"] for found in records[case]["marks"])
        wrong += got != fair
        print(
            f"| {case.replace('_', ' ')} | {fair} | {got:g} | {'' if got == fair else 'unfair'} |"
        )
    print(f"\n{len(CASES)} submissions, {len(CASES) - wrong} with fair marks.")
    return wrong


def speed_table() -> str:
    """What results/grading/speed.json says, as a sentence and a table."""
    found = json.loads((ROOT / "results" / "grading" / "speed.json").read_text("utf-8"))
    config, metrics = found["config"], found["metrics"]
    equal = "equal" if metrics["marks_equal"] else "different"
    lines = [
        f"{config['submissions']} submissions of `{config['assignment']}`, one way after the other "
        f"on the same machine, load {metrics['load_before']:.1f} when it began: "
        f"{metrics['times_as_fast']:.1f} times as fast, {equal} marks.",
        "",
        "| | seconds | CPU seconds | most memory |\n|---|---|---|---|",
    ]
    names = {
        "segcourse": f"`segcourse grade run`, {config['shards']} shards",
        "nbgrader": "`nbgrader autograde`",
    }
    for way, name in names.items():
        used = metrics[way]
        times = f"{used['seconds']:.0f} | {used['cpu_seconds']:.0f}"
        lines.append(f"| {name} | {times} | {used['peak_mib']:.0f} MiB |")
    return "\n".join(lines)


def speed() -> int:
    """Print the table of the record, and put it in place of the one in both READMEs."""
    table = speed_table()
    old = r"\d+ submissions of `[^\n]* times as fast, [^\n]*\n\n(?:\|[^\n]*\n)+"
    for path in (EXERCISES / "README.md", ROOT / "benchmarks" / "README.md"):
        text = path.read_text("utf-8")
        path.write_text(re.sub(old, lambda _: f"{table}\n", text), "utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    made = {"marks": marks, "hostile": hostile, "speed": speed}
    if len(sys.argv) != 2 or sys.argv[1] not in made:
        sys.exit(__doc__)
    sys.exit(min(1, made[sys.argv[1]]()))
