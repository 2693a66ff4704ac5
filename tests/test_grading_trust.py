"""What one submission does to the marking process, the gradebook and the secrets of the tests."""

import contextlib
import copy
import csv
import json
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli_tools import call

from segcourse.grading import notebook, shard, walls, wire
from segcourse.grading.course import Course
from segcourse.grading.here import Here
from segcourse.grading.marking import mark
from segcourse.grading.sandbox import Limits, Session
from segcourse.grading.source import load

REASON = walls.why_not()
needs_walls = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
SURROGATE = "\ud800"


@pytest.fixture(scope="module")
def plain(request):
    toys = request.config.rootpath / "tests" / "grading_toy"
    return load(toys / "plain.py", toys / "private" / "plain.py")


def filled(plain, **answers):
    """The release with the solutions in it, or other answers."""
    made = copy.deepcopy(notebook.release(plain))
    answers = {cell.name: cell.solved for cell in plain.of("answer")} | answers
    for cell in made["cells"]:
        cell["source"] = answers.get(notebook.grade_id(cell), cell["source"])
    return made


def hidden(plain):
    return {cell.name: cell.source for cell in plain.of("hidden")}


# ---- inputs of hidden tests

LOGS = """LOG = []
_stamp = stamp
def stamp(size, places):
    LOG.append(size)
    return _stamp(size, places)
"""
TELLS = """print("LOGGED", LOG)
def count(places):
    raise ValueError(LOG)
raise RuntimeError(LOG)
"""


@pytest.mark.parametrize("where", ["here", pytest.param("walled", marks=needs_walls)])
def test_what_a_student_may_read_was_said_before_any_hidden_test(plain, where):
    solved = {cell.name: cell.solved for cell in plain.of("answer")}
    made = filled(plain, stamp=f"{solved['stamp']}\n{LOGS}", count=TELLS)
    with contextlib.nullcontext(Here()) if where == "here" else Session(Limits()) as session:
        marks, printed = mark(made, session, hidden(plain))
    assert [m.name for m in marks if m.passed] == ["stamp_one", "stamp_overlap", "stamp_many"]
    shown = json.dumps([printed, [m.told for m in marks if not m.hidden]])
    assert "[(6, 5), (6, 6)]" in printed["count"][0]  # the visible tests' inputs are no secret
    assert "(6, 9)" not in shown


def test_a_hidden_test_sees_the_names_as_they_were_at_its_place(plain):
    # The second answer takes a name of the first one's helper for something else.
    solved = {cell.name: cell.solved for cell in plain.of("answer")}
    first = "def helper(x):\n    return x\n" + solved["stamp"].replace("size\n", "helper(size)\n")
    assert "helper(size)" in first
    second = "def helper(places):\n    return len(places)\ndef count(places):\n"
    made = filled(plain, stamp=first, count=f"{second}    return helper(places)")
    marks, _ = mark(made, Here(), hidden(plain))
    assert [m.name for m in marks] == [
        *("stamp_one", "stamp_overlap", "stamp_many", "count_some", "count_none"),
    ]
    assert all(m.passed for m in marks), [m.told for m in marks]


@needs_walls
def test_a_cell_that_ended_its_worker_is_not_waited_for_twice(plain):
    solved = {cell.name: cell.solved for cell in plain.of("answer")}
    made = filled(plain, stamp=f"{solved['stamp']}\nwhile True: pass")
    with Session(Limits(cell_seconds=1, patience=20)) as session:
        marks, _ = mark(made, session, hidden(plain))
        assert len(session.incidents) == 1
    assert all(m.passed for m in marks)


# ---- text that can't be written


def test_half_a_surrogate_does_not_cross_and_other_text_does():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for raw in (
            json.dumps({"error": f"a{SURROGATE}é😀"}).encode(),
            b'{"error": "\xed\xa0\x80"}',
        ):
            message = raw[:-1] + b', "blobs": []}'
            theirs.sendall(struct.pack("<I", len(message)) + message)
        read = [wire.receive(ours, time.monotonic() + 5)[0]["error"] for _ in range(2)]
    assert read[0] == "a?é😀"
    assert read[1].encode("utf-8")


def test_text_for_people_has_no_control_characters(plain):
    cells = 'print("a\\x00\\x1b[31mred\\ud800\\tb")\nraise ValueError("\\x07bell\\udfff")'
    marks, printed = mark(filled(plain, count=cells), Here(), hidden(plain))
    assert printed["count"][0] == "ared?\tb\n"
    assert printed["count"][1].startswith("ValueError: bell?")
    cells = 'def count(places): raise ValueError("\\x07bell\\udfff")'
    marks, _ = mark(filled(plain, count=cells), Here(), hidden(plain))
    assert marks[-1].told.startswith("ValueError: bell?")


@pytest.fixture(scope="module")
def taken_in(plain, tmp_path_factory, request):
    """Three submissions taken in and not marked; the middle one returns half a surrogate."""
    pytest.importorskip("nbgrader")
    from segcourse.cli import main

    toys, root = request.config.rootpath / "tests" / "grading_toy", tmp_path_factory.mktemp("trust")
    bad = 'def count(places): return ["\\ud800"]\nraise ValueError("\\ud800")'
    for student, answers in (("anna", {}), ("ben", {"count": bad}), ("cem", {})):
        notebook.write(filled(plain, **answers), root / "in" / f"{student}.ipynb")
    words = ["plain", "--course", str(root / "c")]
    assert main(["grade", "build", *words, "--exercises", str(toys)]) == 0
    assert main(["grade", "intake", *words, "--received", str(root / "in")]) == 0
    return root / "c"


@pytest.fixture
def course(taken_in, tmp_path):
    """A copy of it."""
    return Course(Path(shutil.copytree(taken_in, tmp_path / "c")))


def rows(course):
    text = (course.root / "report" / "plain.csv").read_text("utf-8")
    return {row["student"]: row for row in csv.DictReader(text.splitlines())}


@needs_walls
def test_one_students_surrogate_costs_nobody_marks(course, capsys):
    words = ["plain", "--course", course.root]
    assert call(capsys, "grade", "run", *words)[0] == 0
    assert call(capsys, "grade", "report", *words)[0] == 0
    assert [rows(course)[name]["stamp_many"] for name in ("anna", "ben", "cem")] == ["2"] * 3
    assert [rows(course)[name]["count_some"] for name in ("anna", "ben", "cem")] == ["1", "0", "1"]
    assert "ValueError: ?" in course.notebook("autograded", "plain", "ben").read_text("utf-8")


def record(student, plain, score=True):
    marks = [
        {"name": c.name, "answer": c.answer, "points": c.points, "passed": score, "told": ""}
        | {"hidden": c.kind == "hidden", "score": c.points if score else 0.0}
        for c in plain.of("test", "hidden")
    ]
    about = {"assignment": "plain", "incidents": [], "seconds": 1, "printed": {}}
    return {"student": student, "marks": marks, **about}


@pytest.mark.parametrize("step", ["with_outputs", "write"])
def test_a_record_that_can_not_be_saved_is_left_to_a_person_and_the_rest_is_saved(
    course, plain, capsys, monkeypatch, step
):
    from segcourse.grading import gradebook

    records = [record(name, plain) for name in ("anna", "ben", "cem")]
    for one in records:
        course.put_record(one, "plain")
    module = gradebook if step == "with_outputs" else notebook
    real, broken = getattr(module, step), []

    def fails(*args):
        student = args[1]["student"] if step == "with_outputs" else args[1].parts[-3]
        if student == "ben" and not broken:
            broken.append(1)
            raise ValueError("it can't be written")
        return real(*args)

    monkeypatch.setattr(module, step, fails)
    book = gradebook.Gradebook(course)
    assert book.save("plain", records) == ["ben"]
    scores = book.scores("plain")
    assert scores["ben"]["cells"]["stamp_many"] is None
    assert scores["anna"]["cells"] == scores["cem"]["cells"]
    assert scores["cem"]["cells"]["stamp_many"] == 2
    kept = course.records("plain")["ben"]
    assert (kept["failed"], kept["marks"]) == (True, [])
    assert call(capsys, "grade", "report", "plain", "--course", course.root)[0] == 0
    assert rows(course)["ben"]["status"] == "ungraded"
    page = (course.root / "report" / "plain.html").read_text("utf-8")
    assert "could not be saved: ValueError: it can" in page


def test_what_never_reaches_the_gradebook_has_no_marks_in_the_csv(
    course, plain, capsys, monkeypatch
):
    from segcourse.grading import gradebook

    records = [record(name, plain) for name in ("anna", "ben", "cem")]
    for one in records:
        course.put_record(one, "plain")
    real = gradebook.with_outputs

    def fails(made, one, secrets):
        if one["student"] == "ben":
            raise ValueError("never")
        return real(made, one, secrets)

    monkeypatch.setattr(gradebook, "with_outputs", fails)
    assert gradebook.Gradebook(course).save("plain", records) == ["ben"]
    assert call(capsys, "grade", "report", "plain", "--course", course.root)[0] == 0
    found = rows(course)
    assert (found["ben"]["status"], found["ben"]["stamp_many"]) == ("ungraded", "")
    assert (found["anna"]["stamp_many"], found["cem"]["stamp_many"]) == ("2", "2")
    page = (course.root / "report" / "plain.html").read_text("utf-8")
    assert "not in the gradebook: run `segcourse grade run` again" in page


def test_the_command_names_who_could_not_be_saved(course, plain, capsys, monkeypatch):
    from segcourse.grading import batch, gradebook

    monkeypatch.setattr(walls, "require", lambda: None)
    monkeypatch.setattr(
        batch, "grade_all", lambda tasks, *_: (record(t.student, plain) for t in tasks)
    )
    monkeypatch.setattr(gradebook.Gradebook, "save", lambda *_: ["ben"])
    code, out, _ = call(capsys, "grade", "run", "plain", "--course", course.root)
    assert code == 0
    assert "plain: not saved, for a person to look at: ben" in out


# ---- memory of the marking process


def test_bytes_are_unpacked_once():
    one = {"t": "uint8", "shape": [4], "blob": 0}
    assert wire.unpack({"l": [one]}, [bytes(4)])[0].tolist() == [0] * 4
    for forged in ({"l": [one, one]}, {"d": [[1, {"n": one}], [2, one]]}):
        with pytest.raises(ValueError, match="used twice"):
            wire.unpack(forged, [bytes(4)])
    same = torch.arange(3)
    assert [t.tolist() for t in wire.copied([same, same])] == [[0, 1, 2]] * 2


def test_a_test_that_takes_too_much_memory_fails_and_the_process_lives(plain):
    program = (
        "from segcourse.grading import shard\nfrom segcourse.grading.here import Here\n"
        "from segcourse.grading.marking import run_test\n"
        "import torch\nshard.limit_memory(3 << 30)\n"
        "for take in ('bytearray(4 << 30)', 'torch.zeros(1 << 32, dtype=torch.uint8)', '1'):\n"
        "    print(repr(run_test(take, 't', {'torch': torch}, Here(), {}, 20)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    told = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "MemoryError" in told[0]
    assert "alloc" in told[1]
    assert told[2] == "''"


def test_a_marking_process_limits_its_memory_and_leaves_the_hard_limit(monkeypatch):
    seen = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, both: seen.append((kind, both)))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (-1, resource.RLIM_INFINITY))
    shard.limit_memory(5)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (-1, 3))
    shard.limit_memory(5)
    data = resource.RLIMIT_DATA
    assert seen == [(data, (5, resource.RLIM_INFINITY)), (data, (3, 3))]


@needs_walls
def test_the_marking_process_has_its_limit(plain):
    one = shard.Shard()
    try:
        task = shard.Task("anna", filled(plain), hidden(plain))
        assert sum(m["score"] for m in one.grade(task)["marks"]) == 6
        limit = resource.prlimit(one.process.pid, resource.RLIMIT_DATA)
        assert limit[0] == shard.MOST_MEMORY
    finally:
        one.close()
