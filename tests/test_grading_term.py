"""A course through a term: corrections, appeals, late work, two readers, sums, and platforms."""

import copy
import csv
import json
import shutil
from dataclasses import asdict

import pytest
from cli_tools import call

from segcourse.cli import grade_marks
from segcourse.errors import UsageError
from segcourse.grading import batch, notebook, platforms, reading, similar, totals
from segcourse.grading.course import Course
from segcourse.grading.here import Here
from segcourse.grading.marking import mark
from segcourse.grading.report import Line
from segcourse.grading.shard import Task

DUE = ("--due", "2027-03-01 23:59 UTC")


@pytest.fixture(scope="module")
def built(tmp_path_factory, request):
    """A folder with an assignment that was built, and its gradebook."""
    pytest.importorskip("nbgrader")
    from segcourse.cli import main

    root = tmp_path_factory.mktemp("term")
    shutil.copytree(request.config.rootpath / "tests" / "grading_toy", root / "toys")
    words = ["--exercises", str(root / "toys"), "--course", str(root / "c")]
    assert main(["grade", "build", "plain", *words, *DUE]) == 0
    return root


@pytest.fixture
def term(built, tmp_path, capsys, monkeypatch):
    """A copy of it, in which marking takes no sandbox and no time."""
    monkeypatch.setattr(batch, "grade_here", at_home)
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return Term(tmp_path, capsys)


def at_home(tasks, shards):
    """Mark in this process."""
    for task in tasks:
        marks, printed = mark(task.notebook, Here(), task.hidden)
        found = [{**asdict(one), "score": one.score} for one in marks]
        record = {"student": task.student, "marks": found, "printed": printed}
        yield {**record, "incidents": [], "assignment": "plain", "seconds": 0}


class Term:
    """Commands of one course, and what students hand in."""

    def __init__(self, root, capsys):
        self.root, self.capsys = root, capsys
        self.toys, self.received = root / "toys", root / "received"
        self.received.mkdir()
        self.course = Course(root / "c")

    def grade(self, *words):
        return call(self.capsys, "grade", *words, "--course", self.course.root)

    def build(self):
        return self.grade("build", "plain", "--exercises", self.toys, *DUE)

    def hand_in(self, student, place="", **answers):
        made = copy.deepcopy(self.course.read("release", "plain"))
        solved = {
            notebook.grade_id(cell): cell["source"]
            for cell in self.course.read("source", "plain")["cells"]
        }
        right = {name: solved[name] for name in ("stamp", "count")} | answers
        for cell in made["cells"]:
            cell["source"] = right.get(notebook.grade_id(cell), cell["source"])
        notebook.write(made, self.received / (place or f"{student}/plain.ipynb"))

    def mark(self, *words):
        assert self.grade("intake", "plain", "--received", self.received)[0] == 0
        return self.run(*words)

    def run(self, *words):
        return self.grade("run", "plain", "--without-sandbox", "--shards", 1, *words)

    def rows(self):
        code, _, err = self.grade("report", "plain")
        assert code == 0, err
        text = (self.course.root / "report" / "plain.csv").read_text("utf-8")
        return {row["student"]: row for row in csv.DictReader(text.splitlines())}

    def by_hand(self, student, cell, points):
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.course.root / 'gradebook.db'}", "segcourse") as book:
            grade = book.find_grade(cell, "plain", "plain", student)
            grade.manual_score, grade.needs_manual_grade = points, False
            book.db.commit()

    def waits(self, student):
        """Cells that formgrader shows as waiting for a person."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.course.root / 'gradebook.db'}", "segcourse") as book:
            made = book.find_submission_notebook("plain", "plain", student)
            return {grade.name for grade in made.grades if grade.needs_manual_grade}


def test_a_late_student_joins_and_nothing_that_was_graded_is_touched(term):
    term.hand_in("anna", why="Sums.")
    term.hand_in("ben")
    assert term.mark()[0] == 0
    term.by_hand("anna", "why", 2)
    term.by_hand("ben", "count_some", 0.5)  # an appeal
    shutil.rmtree(term.received)
    term.hand_in("zoe")
    _, out, _ = term.grade("intake", "plain", "--received", term.received)
    assert "1 submissions taken in" in out
    assert f"2 from before that are not in {term.received} are kept" in out
    assert "3 submissions marked" in term.run()[1]
    rows = term.rows()
    assert {name: row["score"] for name, row in rows.items()} == {
        **{"anna": "8", "ben": "5.5", "zoe": "6"}
    }
    assert term.waits("anna") == term.waits("ben") == set()
    # One student again; points given by hand hold, for the work is the same.
    assert "1 submissions marked" in term.run("--only", "ben")[1]
    assert term.rows()["ben"]["score"] == "5.5"
    assert term.waits("ben") == set()
    assert "carl was not taken in: known are anna, ben" in term.run("--only", "carl")[2]
    # Who is taken out of the course folder is gone.
    shutil.rmtree(term.course.root / "submitted" / "ben")
    assert "1 from before" in term.grade("intake", "plain", "--received", term.received)[1]
    assert set(term.rows()) == {"anna", "zoe"}


def test_work_that_is_handed_in_anew_after_it_was_read_is_for_a_person(term):
    term.hand_in("anna", why="Sums.")
    term.mark()
    term.by_hand("anna", "why", 2)
    term.hand_in("anna", why="Sums, I think, or not.")
    term.mark()
    assert term.waits("anna") == {"why"}
    assert term.rows()["anna"]["score"] == "8"
    page = (term.course.root / "report" / "plain.html").read_text("utf-8")
    assert "why: handed in anew since it was graded by hand" in page


def test_a_time_that_comes_later_reaches_the_gradebook(term):
    term.hand_in("anna")
    term.mark()
    config = term.course.root / "nbgrader_config.py"
    text = config.read_text("utf-8")
    config.write_text(text.replace('penalty_method = "none"', 'penalty_method = "zero"'), "utf-8")
    assert term.rows()["anna"]["late_penalty"] == "0"
    (term.received / "anna" / "timestamp.txt").write_text("2027-03-02 10:00:00 UTC")
    term.mark()
    assert term.rows()["anna"]["late_penalty"] == "6"


def test_a_corrected_test_marks_anew_what_was_taken_in_again(term):
    term.hand_in("anna", why="Sums.", count="def count(places):\n    return float(len(places))")
    term.mark()
    term.by_hand("anna", "why", 1)
    assert term.rows()["anna"]["score"] == "7"
    public = term.toys / "plain.py"
    text = public.read_text("utf-8")
    public.write_text(text.replace("assert count(places) == COUNT", "assert False"), "utf-8")
    assert term.build()[0] == 0
    code, _, err = term.run()
    assert code == 2
    assert "plain was built again since anna was taken in" in err
    term.mark()
    assert term.rows()["anna"]["score"] == "6"
    assert term.waits("anna") == set()
    # Tests can't come or go once there are marks; then nothing is written.
    before = term.course.notebook("release", "plain").read_bytes()
    public.write_text(text.replace("test count_some points=1", "test count_two points=1"), "utf-8")
    code, _, err = term.build()
    assert (code, "take another course folder" in err) == (2, True)
    assert term.course.notebook("release", "plain").read_bytes() == before


def test_more_time_marks_only_what_was_ended_anew():
    few, many = {"cell_seconds": 20}, {"cell_seconds": 60}
    task = Task("anna", {"cells": []}, {}, few)
    record = {"key": batch.key(task), "limits": few, "incidents": []}
    assert batch.holds(record, task)
    assert batch.holds(record, Task("anna", {"cells": []}, {}, many))
    ended = {**record, "incidents": ["no answer within 20 s"]}
    assert batch.holds(ended, task)
    assert not batch.holds(ended, Task("anna", {"cells": []}, {}, many))
    assert not batch.holds({**record, "failed": True}, task)
    assert not batch.holds(record, Task("anna", {"cells": [1]}, {}, few))


# ---- written answers without names


def test_two_read_without_names_and_agree_or_talk(term):
    term.hand_in("anna", why="<b>Sums</b> commute.")
    term.hand_in("ben", why="Who knows.")
    term.hand_in("cem")
    term.mark()
    code, out, _ = term.grade("sheet", "plain")
    assert (code, "2 answers to read" in out) == (0, True)
    folder = term.course.root / "reading"
    page = (folder / "plain.html").read_text("utf-8")
    assert "anna" not in page
    assert "&lt; b&gt;Sums" in page
    assert "1 point" in page  # the rubric
    rows = list(csv.DictReader((folder / "plain.csv").read_text("utf-8").splitlines()))
    assert [list(row) for row in rows] == [["code", "question", "points", "comment"]] * 2
    by_code = {row["code"]: row["code"] in page for row in rows}
    assert list(by_code.values()) == [True, True]
    readers = []
    for name, points in (("jo", ("2", "0")), ("kim", ("1,5", "2"))):
        text = "code;question;points;comment\n"
        for row, given in zip(rows, points, strict=True):
            text += f"{row['code']};why;{given};from {name}\n"
        readers.append(folder / f"plain-{name}.csv")
        readers[-1].write_text("\ufeff" + text, "utf-8")
    _, out, _ = term.grade("sheet", "plain", "--marks", *readers)
    assert "1 answers have their points" in out
    assert f"to talk about: {rows[1]['code']}, why: 0 and 2\n" in out
    known = reading.codes(["anna", "ben", "cem"], "plain", secret(folder))
    agreed = term.rows()[known[rows[0]["code"]]]
    assert (agreed["why"], agreed["status"]) == ("1.75", "graded")
    assert term.rows()[known[rows[1]["code"]]]["status"] == "ungraded"
    _, out, _ = term.grade("sheet", "plain", "--marks", *readers, "--apart", 2)
    assert "2 answers have their points" in out
    readers[0].write_text(f"code,question,points\n{rows[0]['code']},why,7\n", "utf-8")
    assert (
        "'7' should be a number from 0 to 2"
        in term.grade(*("sheet", "plain", "--marks", readers[0]))[2]
    )
    assert (
        "leave --no-gradebook out"
        in term.grade(*("sheet", "plain", "--no-gradebook", "--marks", readers[0]))[2]
    )
    words = ("sheet", "plain", "--apart=-1", "--marks", readers[0])
    assert "--apart is -1: give 0 points or more" in term.grade(*words)[2]
    assert "no.csv does not exist" in term.grade("sheet", "plain", "--marks", "no.csv")[2]


def secret(folder):
    return json.loads((folder / "secret.json").read_text("utf-8"))["secret"]


def test_an_answer_that_one_has_not_read_is_open():
    one, two = {("a", "why"): (2.0, "good")}, {("a", "why"): (2.0, "good"), ("b", "why"): (1.0, "")}
    agreed, open_ = reading.together([one, two], 1)
    assert agreed == {("a", "why"): (2.0, "good")}
    assert open_ == [("b", "why", [1.0])]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("code,points\n", "should be code,question,points,comment"),
        ("code,question,points\nx,why,1\n", "no answer has the code 'x'"),
        ("code,question,points\na,who,1\n", "no answer has the code 'a' and the question 'who'"),
        ("code,question,points\na,why,good\n", "'good' should be a number from 0 to 4"),
        ("code,question,points\na,why,-1\n", "'-1' should be a number"),
    ],
)
def test_a_sheet_that_can_not_be_meant_so_is_told(text, told):
    with pytest.raises(UsageError) as error:
        reading.read(text, {"why": 4}, {"a": "anna"})
    assert told in str(error.value)


def test_codes_differ_from_assignment_to_assignment_and_hold_the_secret():
    students = [f"s{i}" for i in range(300)]
    made = reading.codes(students, "fcn", "x")
    assert sorted(made.values()) == sorted(students)
    assert made == reading.codes(students, "fcn", "x")
    assert all(map(str.isalpha, made))  # a spreadsheet makes 1.2E+46 of 12e45, and 7 of 00007
    assert not {*made} & {*reading.codes(students[:9], "unet", "x")}
    assert not {*made} & {*reading.codes(students[:9], "fcn", "y")}


# ---- sums and platforms


def test_the_sum_counts_what_was_not_handed_in_as_nothing_and_waits_for_what_is_open():
    found = {
        "fcn": [Line("anna", {"a": 4.0}), Line("ben", {"a": 3.0, "why": None})],
        "unet": [Line("anna", {"a": 5.0}, penalty=0.5), Line("=eve()", {"a": 1.0})],
    }
    made = totals.totals(found, ["zoe", "anna"])
    text = totals.to_csv(made, {"fcn": 8, "unet": 6})
    assert text.splitlines() == [
        "student,fcn,unet,sum,max_sum,status,not handed in",
        "zoe,0,0,0,14,graded,fcn unet",
        "anna,4,4.5,8.5,14,graded,",
        "'=eve(),0,1,1,14,graded,fcn",
        "ben,,0,,14,ungraded,unet",
    ]


def test_a_sum_of_nothing_is_told(term):
    told = "nothing is taken in yet"
    assert told in term.grade("total")[2]
    table = term.root / "grades.csv"
    table.write_text("ID,Grade\n", "utf-8")
    words = ["--table", table, "--key", "ID", "--column", "Grade"]
    assert told in term.grade("fill", "total", *words)[2]


def test_a_class_of_two_assignments_from_download_to_platform(term):
    moodle = "Anna Kim_657831_assignsubmission_file"
    term.hand_in("", f"{moodle}/plain.ipynb")
    term.hand_in("", "kimben_LATE_4711_99887_plain-1.ipynb", why="Sums.")
    term.mark()
    (term.root / "class.csv").write_text("name,student\nZoe,zoe\nAnna,Anna_Kim_657831\n", "utf-8")
    code, out, _ = term.grade("total", "--students", term.root / "class.csv")
    assert code == 0
    assert "3 students, 1 assignment, 8 points" in out
    assert "1 with a part that is not graded, 1 who have not handed in everything" in out
    assert "not in" in out
    assert "kimben_4711" in out
    text = (term.course.root / "report" / "course.csv").read_text("utf-8")
    assert "zoe,0,0,8,graded,plain" in text
    table = term.root / "grades.csv"
    table.write_text(
        "\ufeffIdentifier,Full name,Grade\nParticipant 657831,Anna Kim,\nParticipant 9,No One,-\n",
        "utf-8",
    )
    words = ["--table", table, "--key", "Identifier", "--column", "Grade"]
    code, out, _ = term.grade("fill", "plain", *words)
    assert "1 marks in the column 'Grade'" in out
    assert "nothing handed in: Participant 9" in out
    assert "not in the table: kimben_4711" in out
    done = (term.root / "grades-filled.csv").read_text("utf-8")
    assert done == table.read_text("utf-8").replace("Anna Kim,", "Anna Kim,6")
    table.write_bytes("ID;fcn (1)\n;8\n4711;\n657831;\n".encode("cp1252"))
    words = ["--table", table, "--key", "ID", "--column", "fcn (1)", "--out", term.root / "o.csv"]
    assert "not graded yet: kimben_4711" in term.grade("fill", "total", *words)[1]
    assert (term.root / "o.csv").read_text("utf-8") == "ID;fcn (1)\n;8\n4711;\n657831;6\n"


def test_a_table_without_the_column_and_a_name_that_fits_twice_are_told():
    with pytest.raises(UsageError, match=r"no column 'Id'; it has 'ID', 'Grade'"):
        platforms.fill("ID,Grade\n", "Id", "Grade", {})
    with pytest.raises(UsageError, match="it has none"):
        platforms.fill("", "Id", "Grade", {})
    with pytest.raises(UsageError, match="'12' fits a_12 and b_12: take another --key"):
        platforms.fill("ID,Grade\n12,\n", "ID", "Grade", {"a_12": 1, "b_12": 2})


def test_long_lists_of_names_are_cut():
    names = [f"s{i}" for i in range(10)]
    assert grade_marks._some(names[:8]) == ", ".join(names[:8])
    assert grade_marks._some(names).endswith("s7 and 2 more")


def test_short_rows_are_filled_and_names_fit_whatever_their_case():
    done = platforms.fill("name\tGrade\nANNA\n", "name", "Grade", {"anna": 2.5})
    assert done.text == "name\tGrade\nANNA\t2.5\n"


def test_a_list_of_students_may_be_lines_or_a_column():
    assert platforms.roster("anna\nben\n\nanna\n") == ["anna", "ben"]
    assert platforms.roster("\ufeffID,Student\n1,anna\n2,\n") == ["anna"]
    assert platforms.roster("student;name\nanna;Kim, Anna\n") == ["anna"]
    assert platforms.roster("") == []


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Anna Kim_657831_assignsubmission_file_", "Anna_Kim_657831"),
        ("Anna Kim_657831_assignsubmission_onlinetext", "Anna_Kim_657831"),
        ("Anna Kim_657831_assignsubmission_file_fcn.ipynb", "Anna_Kim_657831"),
        ("kimanna_4711_99887_fcn.ipynb", "kimanna_4711"),
        ("anna", "anna"),
        ("anna.py", "anna"),
        ("anna.kim", "anna.kim"),
    ],
)
def test_what_platforms_call_a_file_names_the_student(name, student):
    assert platforms.student_of(name) == student


# ---- writing that is alike

ESSAY = "Skips bring back where a border lies since maps before the last pools are finer. "
ESSAY += "They do not bring back what an object is when no cell in the middle sees its outline."


def test_writing_that_two_have_in_common_is_named_and_the_question_is_not():
    other = "Well. " + ESSAY.replace("They do not bring back", "But skips never say")
    texts = {"anna": ESSAY, "ben": other, "cem": ESSAY[::-1], "dan": "They do not bring back."}
    ((a, b, share),) = similar.alike_in_words(texts)
    assert (a, b) == ("anna", "ben")
    assert 0.5 < share < 0.9
    assert similar.alike_in_words(texts, ESSAY) == []


def test_the_report_shows_writing_that_is_alike(term):
    for student in ("anna", "ben"):
        term.hand_in(student, why=ESSAY)
    term.mark()
    assert term.grade("report", "plain")[0] == 0
    page = (term.course.root / "report" / "plain.html").read_text("utf-8")
    assert "why: anna, ben: 100%" in page
