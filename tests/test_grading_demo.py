"""A generated class holds every kind of submission, and each gets what it should get."""

import csv
import json

import pytest
from cli_tools import call

from segcourse.errors import UsageError
from segcourse.grading import demo, notebook, similar, walls
from segcourse.grading.course import Course
from segcourse.grading.demo_kinds import SPECIALS
from segcourse.grading.intake import take_all

REASON = walls.why_not()


@pytest.fixture(scope="module")
def course(tmp_path_factory, request):
    from segcourse.cli import main

    root, exercises = tmp_path_factory.mktemp("demo"), request.config.rootpath / "exercises"
    words = ["--exercises", str(exercises), "--course", str(root), "--no-gradebook"]
    assert main(["grade", "build", "fcn", *words]) == 0
    return Course(root)


@pytest.fixture(name="private")
def _private(request):
    return request.config.rootpath / "exercises" / "private"


def drawn(course, private, count, seed=0):
    answers = demo.read_answers(private / "answers" / "fcn.py")
    release, source = course.read("release", "fcn"), course.read("source", "fcn")
    return demo.make(release, source, answers, count, seed)


def test_a_class_of_thirty_holds_every_kind_and_is_drawn_by_its_seed(course, private):
    students = drawn(course, private, 30)
    told = {student.told for student in students}
    assert {kind.told for kind in SPECIALS} <= told
    assert sum("with other names" in text for text in told) == 1
    assert sum(student.late is not None for student in students) == 3
    assert len({student.name for student in students}) == 30
    assert students == drawn(course, private, 30)
    assert [s.sources for s in students] != [s.sources for s in drawn(course, private, 30, seed=1)]
    assert {0, 4, 8} < {student.points for student in students}


def test_names_do_not_repeat_in_a_large_class(course, private):
    names = [student.name for student in drawn(course, private, 75)]
    assert len(set(names)) == 75
    assert {"anna", "anna2"} <= set(names)


def test_only_the_copied_work_is_alike(course, private):
    students = drawn(course, private, 30)
    stubs = course.read("source", "fcn")["metadata"]["segcourse"]["stubs"]
    for exercise in ("slide_linear", "field"):
        sources = {s.name: s.sources.get(exercise, stubs[exercise]) for s in students}
        groups = [set(group) for group in similar.groups(sources, stubs[exercise])]
        (copied,) = [s for s in students if "with other names" in s.told]
        first = copied.told.split()[3]
        assert groups == ([{first, copied.name}] if exercise in copied.sources else [])
        assert sources[first] != sources[copied.name]


def test_late_work_is_late_and_the_rest_is_not(course, private, tmp_path):
    from datetime import datetime

    due = datetime(2027, 3, 1, 23, 59)
    students = drawn(course, private, 30)
    demo.write(students, course.read("release", "fcn"), tmp_path, due, seed=0)
    taken = {t.student: t for t in take_all(course.read("release", "fcn"), tmp_path)}
    assert set(taken) == {student.name for student in students}
    for student in students:
        time = datetime.strptime(taken[student.name].timestamp, "%Y-%m-%d %H:%M:%S UTC")
        assert (time > due) == (student.late is not None)
    rows = {
        row["student"]: row
        for row in csv.DictReader((tmp_path / demo.TABLE).read_text().splitlines())
    }
    assert sum(row["late"] == "late" for row in rows.values()) == 3
    flagged = {name for name, one in taken.items() if one.human}
    odd = {"half of the file is missing", "another document", "two notebooks of one name"}
    odd.add("a script instead of a notebook")  # the answer in writing is not in it
    assert {rows[name]["what"] for name in flagged} == odd


@pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
@pytest.mark.slow
def test_every_kind_gets_the_marks_that_were_written_down(course, private, tmp_path, capsys):
    place = ["--course", course.root, "--no-gradebook"]
    received = ["--received", tmp_path / "downloads"]
    words = ["grade", "demo", "fcn", *place, *received, "--private", private]
    assert call(capsys, *words, "--students", 8)[0] == 0
    code, _, err = call(capsys, *words, "--students", 8)
    assert code == 2
    assert "holds something already" in err
    assert call(capsys, "grade", "intake", "fcn", *place, *received)[0] == 0
    run = ["grade", "run", "fcn", *place, "--shards", 2, "--seconds", 12]
    assert call(capsys, *run)[0] == 0
    assert call(capsys, *words, "--compare")[:2] == (0, "8 of 8 have the marks they should have\n")
    record = next(path for path in sorted((course.root / "records" / "fcn").iterdir()))
    found = json.loads(record.read_text("utf-8"))
    found["marks"] = [{**mark, "score": 9} for mark in found["marks"]]
    record.write_text(json.dumps(found), "utf-8")
    code, out, _ = call(capsys, *words, "--compare")
    assert code == 3
    assert f"{record.stem} has {9 * len(found['marks'])} points, expected" in out
    assert "7 of 8 have" in out


def test_without_hand_written_answers_there_is_no_class(course, tmp_path, capsys):
    words = ["grade", "demo", "fcn", "--course", course.root, "--no-gradebook"]
    words += ["--received", tmp_path / "new", "--private", tmp_path]
    assert "give --private, a folder with answers/NAME.py" in call(capsys, *words)[2]
    assert "--students is 0" in call(capsys, *words, "--students", 0)[2]
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "fcn.py").write_text("# nothing\n")
    assert "holds no answer" in call(capsys, *words)[2]
    with pytest.raises(UsageError, match="written with a generated class"):
        demo.expected(tmp_path)


def test_a_student_who_is_not_marked_is_named(tmp_path):
    (tmp_path / demo.TABLE).write_text("student,points_from_tests,late,what\nanna,4,,x\n")
    assert demo.compare(tmp_path, {}) == ["anna is not marked, expected 4"]


def test_written_answers_are_cut_from_the_model_answer(course):
    (texts,) = demo._written(course.read("source", "fcn")).values()
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)
    assert texts[0] == "FCN-32s has one cell of scores for 32 by 32 pixels."
    assert "1 point:" not in texts[-1]
    question = next(
        c for c in course.read("release", "fcn")["cells"] if notebook.grade_id(c) == "skips"
    )
    assert notebook.text_of(question) == notebook.PLACEHOLDER
