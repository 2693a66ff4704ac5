"""Answers are found wherever a student or a tool has put them, and nothing else is taken over."""

import copy
import json
import os

import pytest

from segcourse.errors import UsageError
from segcourse.grading import notebook, similar
from segcourse.grading.here import Here
from segcourse.grading.intake import take, take_all
from segcourse.grading.marking import mark, role
from segcourse.grading.source import load
from segcourse.grading.student import definitions


@pytest.fixture(scope="module")
def made(request):
    """The assignment."""
    toys = request.config.rootpath / "tests" / "grading_toy"
    return load(toys / "plain.py", toys / "private" / "plain.py")


@pytest.fixture
def nb(made):
    """A right submission: answers by name."""
    release = notebook.release(made)
    solved = {cell.name: cell.solved for cell in made.of("answer")}
    for cell in release["cells"]:
        cell["source"] = solved.get(notebook.grade_id(cell), cell["source"])
    return release


def at(nb, name):
    """The place of a cell."""
    return next(i for i, c in enumerate(nb["cells"]) if notebook.grade_id(c) == name)


def own(source, kind="code"):
    """A cell of the student's own."""
    return {"cell_type": kind, "metadata": {}, "source": source}


def taken_in(nb, made, folder, text=""):
    """Take a notebook or a script in."""
    path = folder / ("anna.py" if text else "anna.ipynb")
    path.write_text(text or json.dumps(nb), "utf-8")
    return take(notebook.release(made), "anna", path)


def points(taken, made):
    """Its points by tests, hidden ones too."""
    hidden = {cell.name: cell.source for cell in made.of("hidden")}
    return sum(found.score for found in mark(taken.notebook, Here(), hidden)[0])


def written(taken):
    """The answer in writing."""
    return taken.notebook["cells"][at(taken.notebook, "why")]["source"]


def split(nb):
    """An answer cut in two: a helper, and what calls it."""
    source = nb["cells"][at(nb, "stamp")]["source"]
    helper = source.replace("def stamp(", "def helper(")
    return helper, "def stamp(*a, **k):\n    return helper(*a, **k)"


def cut_helper_above(nb):
    helper, main = split(nb)
    place = at(nb, "stamp")
    nb["cells"].insert(place, copy.deepcopy(nb["cells"][place]))
    nb["cells"][place]["source"], nb["cells"][place + 1]["source"] = helper, main


def cut_helper_below(nb):
    cut_helper_above(nb)
    place = at(nb, "stamp")
    cells = nb["cells"]
    cells[place], cells[place + 1] = cells[place + 1], cells[place]


def new_cell_at_the_end(nb):
    cell = nb["cells"][at(nb, "stamp")]
    nb["cells"].append(own(cell["source"]))
    cell["source"] = "# see below"


def new_cell_at_the_end_and_the_first_emptied(nb):
    new_cell_at_the_end(nb)
    nb["cells"][at(nb, "stamp")]["source"] = ""


def both_in_the_first(nb):
    second = nb["cells"].pop(at(nb, "count"))
    nb["cells"][at(nb, "stamp")]["source"] += f"\n\n{second['source']}"


def both_in_the_second(nb):
    first = nb["cells"].pop(at(nb, "stamp"))
    nb["cells"][at(nb, "count")]["source"] += f"\n\n{first['source']}"


def all_in_one(nb):
    code = [cell["source"] for cell in nb["cells"] if cell["cell_type"] == "code"]
    nb["cells"] = [own("\n\n".join(code))]


def merged_with_its_test(nb):
    answer = nb["cells"].pop(at(nb, "stamp"))
    test = nb["cells"][at(nb, "stamp_one")]
    test["source"] = f"{answer['source']}\n{test['source']}"


def turned_into_text(nb):
    nb["cells"][at(nb, "stamp")]["cell_type"] = "markdown"


def behind_what_colab_has(nb):
    cell = nb["cells"][at(nb, "stamp")]
    cell["source"] = (
        "from google.colab import drive\ndrive.mount('/content')\nfiles = !ls\nmax?\n"
        + cell["source"]
    )


def as_colab_saves(nb):
    for cell in nb["cells"]:
        cell["metadata"]["id"] = cell.pop("id")
        cell["source"] = cell["source"].splitlines(keepends=True)
    nb["nbformat_minor"] = 0
    nb["metadata"] = {"colab": {"provenance": []}}


@pytest.mark.parametrize(
    "change",
    [
        *(cut_helper_above, cut_helper_below, new_cell_at_the_end),
        *(new_cell_at_the_end_and_the_first_emptied, both_in_the_first, both_in_the_second),
        *(all_in_one, merged_with_its_test, turned_into_text, behind_what_colab_has),
        as_colab_saves,
    ],
)
def test_cells_that_are_split_merged_moved_or_saved_elsewhere_have_their_points(
    change, nb, made, tmp_path
):
    change(nb)
    taken = taken_in(nb, made, tmp_path)
    assert points(taken, made) == 6, taken.notes
    kinds = [role(c) for c in taken.notebook["cells"] if role(c) != "extra"]
    assert kinds == [role(cell) for cell in notebook.release(made)["cells"]]


def test_a_script_with_functions_alone_has_their_points(nb, made, tmp_path):
    both = "\n\n".join(nb["cells"][at(nb, name)]["source"] for name in ("stamp", "count"))
    taken = taken_in(None, made, tmp_path, both)
    assert points(taken, made) == 6
    assert "why: its cell is missing" in taken.notes
    assert taken.human


def test_an_answer_that_stands_alone_goes_before_one_that_is_found_elsewhere(nb, made, tmp_path):
    nb["cells"].append(own("def count(places):\n    return -1"))
    assert points(taken_in(nb, made, tmp_path), made) == 6


# ---- writing


def in_the_cell_of_its_question(nb):
    nb["cells"][at(nb, "why_text")]["source"] += "\n\nSums commute."


def in_a_question_that_was_edited(nb):
    nb["cells"][at(nb, "why_text")]["source"] = "Why? Sums commute."


def in_a_new_cell_below(nb):
    nb["cells"].append(own("Sums commute.", "markdown"))


def in_a_new_cell_without_metadata(nb):
    in_a_new_cell_below(nb)
    for cell in nb["cells"]:
        cell["metadata"] = {}


def in_a_cell_of_code(nb):
    nb["cells"][at(nb, "why")] |= {"cell_type": "code", "source": "Sums commute."}


def its_metadata_gone(nb):
    nb["cells"][at(nb, "why")] = own("Sums commute.", "markdown")


@pytest.mark.parametrize(
    "change",
    [
        *(in_the_cell_of_its_question, in_a_question_that_was_edited, in_a_new_cell_below),
        *(in_a_new_cell_without_metadata, in_a_cell_of_code, its_metadata_gone),
    ],
)
def test_writing_is_found_wherever_it_stands(change, nb, made, tmp_path):
    change(nb)
    taken = taken_in(nb, made, tmp_path)
    assert "Sums commute." in written(taken)
    assert not taken.human


def test_writing_in_several_cells_is_one_answer_and_notes_elsewhere_are_none(nb, made, tmp_path):
    nb["cells"][at(nb, "why")]["source"] = "First."
    nb["cells"] += [own("plot()"), own("Second.", "markdown"), own(" ", "markdown")]
    nb["cells"].insert(1, own("A note.", "markdown"))
    assert written(taken_in(nb, made, tmp_path)) == "First.\n\nSecond."


def test_a_script_with_cells_of_text_holds_the_answer_in_writing(nb, made, tmp_path):
    nb["cells"][at(nb, "why")]["source"] = "Sums\n\ncommute."
    text = ""
    for cell in nb["cells"]:
        source = cell["source"]
        if cell["cell_type"] == "markdown":
            source = "\n".join(f"# {line}".rstrip() for line in source.splitlines())
        text += f"# %%{' [markdown]' if cell['cell_type'] == 'markdown' else ''}\n{source}\n\n"
    taken = taken_in(None, made, tmp_path, text)
    assert written(taken) == "Sums\n\ncommute."
    assert points(taken, made) == 6
    assert not taken.human


def test_an_answer_in_writing_that_is_gone_is_for_a_person(nb, made, tmp_path):
    del nb["cells"][at(nb, "why")]
    taken = taken_in(nb, made, tmp_path)
    assert taken.notes == ["why: its cell is missing"]
    assert taken.human


def test_writing_runs_nothing_in_a_page(nb, made, tmp_path):
    text = r"$\href{javascript:alert(1)}{x}$ <img src=x onerror=alert(1)> 1<2 $\hrefs$"
    text += r" [a](JavaScript\:b()) [c](javascript&colon;d()) [e](vbscript :f) &#106; R&D"
    nb["cells"][at(nb, "why")] |= {"cell_type": "raw", "source": text}
    want = r"$\ href{javascript :alert(1)}{x}$ < img src=x onerror=alert(1)> 1<2 $\hrefs$"
    want += r" [a](JavaScript :b()) [c](javascript& colon;d()) [e](vbscript :f) & #106; R&D"
    assert written(taken_in(nb, made, tmp_path)) == want


# ---- the folder of what was handed in


def test_times_are_the_instructors_and_not_in_a_folder_of_the_students(nb, made, tmp_path):
    for place in ("anna", "ben", "cem"):
        notebook.write(nb, tmp_path / place / "plain.ipynb")
    (tmp_path / "anna" / "a").mkdir()
    for place in ("anna/a", "ben"):
        (tmp_path / place / "timestamp.txt").write_text("2020-01-01 00:00 UTC", "utf-8")
    release = notebook.release(made)
    found = {taken.student: taken.timestamp for taken in take_all(release, tmp_path)}
    assert found == {"anna": "", "ben": "2020-01-01 00:00 UTC", "cem": ""}
    table = tmp_path / "_times.csv"
    table.write_text("student,time\nanna,2027-03-02 10:00 UTC\ncem,\n", "utf-8")
    found = {taken.student: taken.timestamp for taken in take_all(release, tmp_path)}
    assert found == {"anna": "2027-03-02 10:00 UTC", "ben": "", "cem": ""}
    for wrong in ("soon", "2027-03-02 25:00", "2027-03-02 10:00 or so"):
        table.write_text(f"student,time\nanna,{wrong}\n", "utf-8")
        with pytest.raises(UsageError, match=f"anna: '{wrong}' is no time such as 2027-03-02"):
            list(take_all(release, tmp_path))
    # As a spreadsheet saves it where the comma is for decimals, in the letters of Windows.
    table.write_bytes("student;time;name\nanna;2027-03-03 10:00;Ännchen\n".encode("cp1252"))
    found = {taken.student: taken.timestamp for taken in take_all(release, tmp_path)}
    assert found["anna"] == "2027-03-03 10:00"
    table.write_text("name,time\n", "utf-8")
    with pytest.raises(UsageError, match=r"needs the columns student and time; it has \['name'"):
        list(take_all(release, tmp_path))


def test_names_that_no_file_can_have_and_several_files_of_one_student(nb, made, tmp_path):
    release = notebook.release(made)
    notebook.write(nb, tmp_path / os.fsdecode(b"M\xfcller") / "plain.ipynb")
    notebook.write(nb, tmp_path / "b\nen" / "plain.ipynb")
    notebook.write(nb, tmp_path / ("x" * 200) / "plain.ipynb")
    notebook.write(nb, tmp_path / "kim_12_34_plain.ipynb")
    notebook.write(nb, tmp_path / "kim_12_35_plain-1.ipynb")
    taken = {one.student: one for one in take_all(release, tmp_path)}
    assert {"Müller", "ben", "kim_12"} <= set(taken)
    assert len(taken) == 4
    assert max(map(len, taken)) < 50
    assert taken["kim_12"].human
    assert "two files or more" in taken["kim_12"].notes[0]


DEEP = {
    "nested": "def count(p):\n    x = " + "not " * 1500 + "p\n    return len(p)",
    "chained": "def count(p):\n    x = " + "+".join(["1"] * 3000) + "\n    return len(p)",
    "endless": "def count(p):\n    return len(p)\n" + "x = 1\n" * 50_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_code_that_python_can_not_follow_costs_its_own_answer_at_most(name, nb, made, tmp_path):
    nb["cells"][at(nb, "count")]["source"] = DEEP[name]
    taken = taken_in(nb, made, tmp_path)
    assert taken.notes == []
    assert points(taken, made) >= 4
    assert similar.groups({"anna": DEEP[name], "ben": DEEP[name]}, "") in ([["anna", "ben"]], [])
    assert definitions(DEEP[name]) in ("", DEEP[name][: len(definitions(DEEP[name]))])
