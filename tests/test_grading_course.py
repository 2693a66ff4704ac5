"""A course from release to report: nbgrader's gradebook, feedback, the page and the CSV."""

import copy
import csv
import json
import re

import pytest
from cli_tools import call

from segcourse.grading import notebook, report, similar, walls
from segcourse.grading.course import Course
from segcourse.grading.mutants import mutants_of
from segcourse.grading.source import load

REASON = walls.why_not()
needs_walls = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
SAME = "def count(places):\n    n = 0\n    for place in places:\n        n += 1\n    return n"
RENAMED = "def count(p):\n    # my own idea\n    total = 0\n    for x in p:\n        total += 1\n"
RENAMED += "    return total"


def hand_in(course, received):
    """Seven students: right, untouched, partly, late, unreadable, and two who are alike."""
    release = course.read("release", "plain")
    solved = {notebook.grade_id(c): c["source"] for c in course.read("source", "plain")["cells"]}
    right = {name: solved[name] for name in ("stamp", "count")}
    written = {**right, "why": "<script>alert(1)</script> A sum does not mind the order."}
    students = {
        "anna": written,
        "ben": {},
        "cem": {**right, "count": "print('careful')\ndef count(p):\n    raise ValueError(p)"},
        "dora": right,
        "fay": {**right, "count": SAME},
        "=gil()": {**right, "count": RENAMED},
    }
    for student, answers in students.items():
        made = copy.deepcopy(release)
        for cell in made["cells"]:
            cell["source"] = answers.get(notebook.grade_id(cell), cell["source"])
        notebook.write(made, received / student / "plain.ipynb")
    (received / "dora" / "timestamp.txt").write_text("2027-03-02 10:00:00 UTC")
    (received / "ben" / "timestamp.txt").write_text("yesterday")
    (received / "eve").mkdir()
    (received / "eve" / "plain.ipynb").write_text("{")


@pytest.fixture(scope="module")
def course(tmp_path_factory, request):
    """A marked course, made by the commands; with nbgrader where it is installed."""
    if REASON:
        pytest.skip(REASON)
    from segcourse.cli import main

    root = tmp_path_factory.mktemp("course")
    book = _has_nbgrader()
    toys = str(request.config.rootpath / "tests" / "grading_toy")
    more = ["--course", str(root / "c"), *([] if book else ["--no-gradebook"])]
    due = ["--due", "2027-03-01 23:59 UTC"]
    assert main(["grade", "build", "plain", "--exercises", toys, *more, *due]) == 0
    if book:
        config = root / "c" / "nbgrader_config.py"
        text = config.read_text().replace('penalty_method = "none"', 'penalty_method = "zero"')
        config.write_text(text)
    made = Course(root / "c")
    hand_in(made, root / "received")
    assert main(["grade", "intake", "plain", *more, "--received", str(root / "received")]) == 0
    assert main(["grade", "run", "plain", *more, "--shards", "2"]) == 0
    more += ["--feedback"] if book else []
    assert main(["grade", "report", "plain", *more]) == 0
    return made


def _has_nbgrader():
    try:
        import nbgrader  # noqa: F401
    except ImportError:
        return False
    return True


def rows(course):
    text = (course.root / "report" / "plain.csv").read_text("utf-8")
    return {row["student"]: row for row in csv.DictReader(text.splitlines())}


def test_csv_says_what_is_graded_and_what_is_not(course):
    found = rows(course)
    assert found["anna"]["status"] == "ungraded"
    assert found["anna"]["score"] == found["anna"]["why"] == ""
    assert found["anna"]["stamp_many"] == "2"
    assert (found["ben"]["status"], found["ben"]["score"]) == ("graded", "0")
    assert (found["cem"]["score"], found["cem"]["count_some"]) == ("4", "0")
    assert (found["eve"]["score"], found["fay"]["score"]) == ("0", "6")
    assert found["fay"]["max_score"] == "8"
    assert "'=gil()" in found


def test_page_stands_alone_and_names_what_matters(course):
    page = (course.root / "report" / "plain.html").read_text("utf-8")
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)|@import|<script", page)
    assert "unreadable: no JSON" in page
    assert "count: =gil(), fay" in page
    assert "7 submissions, 8 points, of which 6 are marked by tests" in page
    assert 'aria-label="Points from tests, students: 0: 2; 4: 1; 6: 4"' in page
    assert "<td>why</td><td>question</td>" in page
    assert page.count("not graded</td>") == 1


def test_late_work_gets_nbgraders_penalty(course):
    pytest.importorskip("nbgrader")
    assert (rows(course)["dora"]["late_penalty"], rows(course)["dora"]["score"]) == ("6", "0")
    assert rows(course)["fay"]["late_penalty"] == "0"


def test_a_share_a_day_is_taken_off_also_from_marks_given_by_hand(course):
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook as Api

    from segcourse.grading.gradebook import Gradebook

    config = course.root / "nbgrader_config.py"
    before = config.read_text("utf-8")
    name, quoted = (
        "segcourse.grading.nbgrader_steps.ShareADay",
        "c.AssignLatePenalties.plugin_class",
    )
    config.write_text(f"{before}\n{quoted} = {name!r}\nc.ShareADay.share = 0.25\n", "utf-8")
    book = Gradebook(course)
    assert f"# {quoted} = " in before
    assert book.scores("plain")["dora"]["penalty"] == 0.25 * 6
    with Api(book.url, "segcourse") as api:
        grade = api.find_grade("why", "plain", "plain", "dora")
        grade.manual_score = 2
        api.db.commit()
    assert book.scores("plain")["dora"]["penalty"] == 0.25 * 8
    with Api(book.url, "segcourse") as api:
        api.find_grade("why", "plain", "plain", "dora").manual_score = None
        api.db.commit()
    config.write_text(before, "utf-8")
    assert book.scores("plain")["dora"]["penalty"] == 6


def test_who_marks_sees_the_rubric_and_the_student_does_not(course):
    pytest.importorskip("nbgrader")
    rubric = next(
        c for c in course.read("source", "plain")["cells"] if notebook.grade_id(c) == "why"
    )
    kept = course.read("autograded", "plain", "anna")["cells"]
    place = next(i for i, cell in enumerate(kept) if notebook.grade_id(cell) == "why")
    assert kept[place + 1]["source"].startswith("**Rubric, not for students.**")
    assert notebook.text_of(rubric) in kept[place + 1]["source"]
    page = (course.root / "feedback" / "anna" / "plain" / "plain.html").read_text("utf-8")
    assert "Rubric, not for students" not in page


def test_feedback_shows_no_hidden_test_and_runs_no_script(course):
    pytest.importorskip("nbgrader")
    pages = {p.parts[-3]: p.read_text("utf-8") for p in course.root.glob("feedback/*/*/*.html")}
    assert len(pages) == 7
    for page in pages.values():
        assert "a secret about stamps" not in page
        assert "expected[i][j]" not in page
        assert "<script>alert(1)" not in page
    assert "this hidden test does not pass" in pages["ben"]
    assert "NotImplementedError: write stamp" in pages["ben"]
    assert "careful" in pages["cem"]
    assert "A sum does not mind the order." in pages["anna"]
    kept = course.notebook("autograded", "plain", "ben").read_text("utf-8")
    assert "a secret about stamps" in kept


def test_marks_given_by_hand_reach_the_csv(course, capsys):
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.root / 'gradebook.db'}", "segcourse") as book:
        grade = book.find_grade("why", "plain", "plain", "anna")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        book.db.commit()
    assert call(capsys, "grade", "report", "plain", "--course", course.root)[0] == 0
    assert (rows(course)["anna"]["status"], rows(course)["anna"]["score"]) == ("graded", "7.5")


def test_the_buttons_of_formgrader_give_the_same_release_and_marks(course):
    pytest.importorskip("nbgrader")
    import nbformat

    from segcourse.grading import nbgrader_steps as steps

    made = nbformat.from_dict(course.read("source", "plain"))
    made, _ = steps.PutStubs().preprocess(made, {})
    released = {notebook.grade_id(c): c["source"] for c in course.read("release", "plain")["cells"]}
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == released[notebook.grade_id(cell)]
    assert "stubs" not in made.metadata.segcourse
    again = nbformat.from_dict(course.read("autograded", "plain", "cem"))
    again, _ = steps.MarkInSandbox().preprocess(again, {"nbgrader": {"student": "cem"}})
    failed = [notebook.grade_id(c) for c in again.cells if c.get("outputs")]
    assert failed == ["count", "count_some", "count_none"]


@needs_walls
def test_run_refuses_without_a_sandbox(course, capsys, monkeypatch):
    monkeypatch.setattr(walls, "why_not", lambda: "bwrap is not installed")
    code, _, err = call(capsys, "grade", "run", "plain", "--course", course.root)
    assert code == 1
    assert "bwrap is not installed" in err
    assert "--without-sandbox" in err


def test_without_sandbox_is_an_override(request, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(walls, "why_not", lambda: "this is macOS")
    toys = request.config.rootpath / "tests" / "grading_toy"
    words = ["--course", tmp_path / "c", "--no-gradebook"]
    call(capsys, "grade", "build", "plain", "--exercises", toys, *words)
    received = tmp_path / "received"
    notebook.write(Course(tmp_path / "c").read("release", "plain"), received / "x.ipynb")
    call(capsys, "grade", "intake", "plain", *words, "--received", received)
    words += ["--without-sandbox", "--shards", "1"]
    assert call(capsys, "grade", "run", "plain", *words)[0] == 0
    record = Course(tmp_path / "c").records("plain")["x"]
    assert len(record["marks"]) == 5
    assert not any(found["passed"] for found in record["marks"])


def test_steps_in_the_wrong_order_are_told(capsys, tmp_path):
    words = ["--course", tmp_path, "--no-gradebook"]
    assert "grade build toy` first" in call(capsys, "grade", "report", "toy", *words)[2]
    notebook.write({"cells": [], "metadata": {}}, tmp_path / "release" / "toy" / "toy.ipynb")
    notebook.write({"cells": [], "metadata": {}}, tmp_path / "source" / "toy" / "toy.ipynb")
    assert "is no folder" in call(capsys, "grade", "intake", "toy", *words, "--received", "no")[2]
    for flag, wrong in (("shards", 0), ("memory", 0), ("seconds", 0), ("seconds", "nan")):
        code, _, err = call(capsys, "grade", "run", "toy", *words, f"--{flag}", wrong)
        assert (code, f"--{flag} is {wrong}: give" in err) == (2, True)
    assert "--seconds is -1: give" in call(capsys, "grade", "mutants", "fcn", "--seconds=-1")[2]
    words.append("--without-sandbox")
    assert "grade intake toy` first" in call(capsys, "grade", "run", "toy", *words)[2]
    Course(tmp_path).write_intake("toy", [{"student": "gone"}])
    assert "grade intake toy` first" in call(capsys, "grade", "run", "toy", *words)[2]


# ---- same answers, mutants, the page's numbers


def test_answers_alike_are_found_whatever_their_names_and_short_ones_are_not():
    sources = {"a": SAME, "b": RENAMED, "c": SAME.replace("+= 1", "+= 2"), "d": "def count(p): x"}
    assert similar.groups({**sources, "e": "def count(:"}, "def count(places): ...") == [["a", "b"]]
    assert similar.groups(sources, SAME) == []


def test_each_mutant_differs_in_one_place_and_names_it():
    source = 'def f(x, y):\n    """Two."""\n    z = x * 2\n    if z > y:\n        z = -z\n'
    source += "    return max(z, y)"
    found = [m.name for m in mutants_of("f", source)]
    assert "f line 3 column 9: x * 2 -> x + 2" in found
    assert "f line 3 column 13: 2 -> 3" in found
    assert "f line 4 column 8: z > y -> z >= y" in found
    assert "f line 4 column 5: if z > y: -> if not z > y:" in found
    assert "f line 5 column 9: z = -z -> nothing" in found
    assert "f line 6 column 12: max(z, y) -> max(y, z)" in found
    assert len(found) == len(set(found)) == 10


@needs_walls
def test_mutants_of_the_toys_are_all_killed_and_a_weak_test_is_caught(request, capsys, tmp_path):
    toys = request.config.rootpath / "tests" / "grading_toy"
    code, out, _ = call(capsys, "grade", "mutants", "toy", "--exercises", toys)
    assert code == 0
    assert re.search(r"\| toy \| (\d+) \| \1 \| 0 \| 0 \|", out)
    public = (
        '# %% [markdown]\n# # T\n# %% answer up\ndef up(x):\n    raise NotImplementedError("x")\n'
    )
    public += "# %% test up_zero points=1\nassert up(0) == 0\n"
    (tmp_path / "w.py").write_text(public)
    (tmp_path / "private").mkdir()
    solution = "# %% solution up\ndef up(x):\n    return x * 2\n"
    (tmp_path / "private" / "w.py").write_text(solution)
    code, out, _ = call(capsys, "grade", "mutants", "w", "--exercises", tmp_path)
    assert code == 3
    assert "w: up line 2 column 16: 2 -> 3: **passes every test**" in out
    known = "".join(f"w: up line 2 column 16: 2 -> {n} | not worth a test\n" for n in (1, 3))
    (tmp_path / "private" / "equivalent.txt").write_text("# why\n" + known)
    code, out, _ = call(capsys, "grade", "mutants", "w", "--exercises", tmp_path)
    assert code == 0
    assert "w: up line 2 column 16: 2 -> 3: not worth a test" in out


def test_many_points_are_counted_in_tenths():
    assert report._spread([0, 0.5, 2], 2) == {
        **{"0-0.2": 1, "0.2-0.4": 0, "0.4-0.6": 1, "0.6-0.8": 0, "0.8-1": 0},
        **{"1-1.2": 0, "1.2-1.4": 0, "1.4-1.6": 0, "1.6-1.8": 0, "1.8-2": 1},
    }


def test_items_that_nobody_or_everybody_solves_are_named(request):
    toys = request.config.rootpath / "tests" / "grading_toy"
    graded = report.items(notebook.release(load(toys / "plain.py", toys / "private" / "plain.py")))
    scores = {item.name: 0.0 if item.name == "count_none" else item.points for item in graded}
    found = [report.Line("a", scores), report.Line("b", {**scores, "stamp_one": 0})]
    page = report.page("T", graded, found, {"stamp": "", "count": ""})
    assert page.count("nobody has a point") == 1
    assert page.count("everybody has all points") == len(graded) - 2
    assert json.dumps(report.to_csv("t", graded, found)).count("graded") == 2
