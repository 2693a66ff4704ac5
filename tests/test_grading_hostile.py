"""Each hostile or damaged submission gets its fair mark, and nobody else's changes."""

import copy
import json
import time
from pathlib import Path

import pytest
from hostile_answers import ALL, CASES, STAMP

from segcourse.grading import batch, notebook, walls
from segcourse.grading.course import Course
from segcourse.grading.intake import take_all
from segcourse.grading.source import load

REASON = walls.why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
LIMITS = {"cell_seconds": 3, "answer_seconds": 3, "memory_mib": 512, "output_kib": 1024}


def solved(release, source):
    """The release with the solutions in it."""
    answers = {notebook.grade_id(c): c["source"] for c in source["cells"]}
    made = copy.deepcopy(release)
    for cell in made["cells"]:
        if (cell["metadata"].get("nbgrader") or {}).get("solution"):
            cell["source"] = answers[notebook.grade_id(cell)]
    return made


def marked(course, stem, received):
    """Take a folder in and mark it in three shards: score by student, and the records."""
    rows = []
    for taken in take_all(course.read("release", stem), received):
        course.put(taken, stem)
        rows.append({"student": taken.student, "human": taken.human, "notes": taken.notes})
    course.write_intake(stem, rows)
    tasks = course.tasks(stem, LIMITS, walled=True)
    folder = course.root / "records" / stem
    records = batch.grade_all(tasks, folder, lambda left: batch.grade_here(left, 3))
    records = {record["student"]: record for record in records}
    return {name: sum(m["score"] for m in r["marks"]) for name, r in records.items()}, records


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, request):
    """The whole corpus between good submissions, in one batch."""
    root = tmp_path_factory.mktemp("hostile")
    toys = request.config.rootpath / "tests" / "grading_toy"
    course = Course(root / "course")
    course.build(load(toys / "plain.py", toys / "private" / "plain.py"))
    release, source = course.read("release", "plain"), course.read("source", "plain")
    received = root / "received"
    for name, (make, _) in CASES.items():
        make(received / name, solved(release, source), copy.deepcopy(release))
    for name in ("anna", "m_middle", "zoe"):
        (received / name).mkdir()
        text = json.dumps(solved(release, source))
        (received / name / "plain.ipynb").write_text(text, "utf-8")
    before = processes()
    scores, records = marked(course, "plain", received)
    return {"scores": scores, "records": records, "course": course, "left": processes() - before}


def processes():
    """Processes of workers and of what they start, by their command lines."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"/grader/" in words or b"98765" in words:
            found.add(path.parent.name)
    return found


def test_the_corpus_has_forty_kinds_and_more():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_hostile_or_damaged_gets_the_fair_mark(name, outcome):
    told = [m["told"] for m in outcome["records"][name]["marks"]]
    assert outcome["scores"][name] == CASES[name][1], told


def test_no_other_submission_changes_and_the_batch_ends(outcome):
    assert {outcome["scores"][name] for name in ("anna", "m_middle", "zoe")} == {ALL}
    assert len(outcome["records"]) == len(CASES) + 3
    assert not any(record.get("failed") for record in outcome["records"].values())


def test_the_machine_is_left_clean(outcome):
    end = time.monotonic() + 10
    while processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert not outcome["left"] & processes()
    assert not (outcome["course"].root / "gradebook.db").exists()


def test_damaged_files_are_listed_for_a_person(outcome):
    rows = {row["student"]: row for row in outcome["course"].intake("plain")}
    for name in ("empty_folder", "corrupt_json", "binary_file", "link_to_another_file"):
        assert rows[name]["human"]
        assert rows[name]["notes"][0].startswith("unreadable: ")
    assert rows["a_thousand_cells_of_its_own"]["human"]
    told = "too many cells of their own: 1000; the first 60 are run"
    assert told in rows["a_thousand_cells_of_its_own"]["notes"]
    assert not rows["anna"]["human"]


def test_hidden_tests_are_in_no_message_to_the_worker(outcome):
    for name, record in outcome["records"].items():
        assert "a secret about stamps" not in json.dumps(record["printed"]), name


def test_grading_again_gives_the_same_marks_and_marks_nothing_twice(outcome):
    course = outcome["course"]
    tasks = course.tasks("plain", LIMITS, walled=True)
    folder = course.root / "records" / "plain"

    def nothing(left):
        raise AssertionError(f"{len(left)} are marked again")

    again = {r["student"]: r for r in batch.grade_all(tasks, folder, nothing)}
    assert again == outcome["records"]
    few = [task for task in tasks if task.student in ("anna", "clever_eq", "exits", "tests_twice")]
    for shards in (1, 3):
        records = list(batch.grade_here(few, shards))
        assert {r["student"]: sum(m["score"] for m in r["marks"]) for r in records} == {
            "anna": ALL,
            "clever_eq": STAMP,
            "exits": STAMP,
            "tests_twice": ALL,
        }
