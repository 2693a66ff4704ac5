"""Assignments: sources become notebooks without their secrets, and a check explains itself."""

import json

import pytest
from cli_tools import call

from segcourse.errors import UsageError
from segcourse.grading import notebook
from segcourse.grading.here import Here
from segcourse.grading.marking import described, mark
from segcourse.grading.source import load
from segcourse.grading.student import Cells, definitions, without_magics

TOY = "tests/grading_toy"


@pytest.fixture(scope="module")
def toy(request):
    folder = request.config.rootpath / TOY
    return load(folder / "toy.py", folder / "private" / "toy.py")


def ids(made):
    return [notebook.grade_id(cell) for cell in made["cells"] if notebook.grade_id(cell)]


def test_release_holds_no_solution_no_hidden_test_no_rubric(toy):
    text = json.dumps(notebook.release(toy))
    assert "a secret about stamps" not in text
    assert "return len(places)" not in text
    assert "1 point: a sum over inputs" not in text
    assert "a secret about stamps" in json.dumps(notebook.source(toy))


def test_hidden_tests_follow_the_visible_ones_of_their_answer(toy):
    names = ["given_2", "stamp", "stamp_one", "stamp_overlap", "stamp_many"]
    assert ids(notebook.release(toy)) == [
        *names,
        *("count", "count_some", "count_none", "why_text", "why"),
    ]


def test_a_seed_changes_the_numbers_in_texts_stubs_tests_and_solutions(request):
    folder = request.config.rootpath / TOY
    made = [load(folder / "toy.py", folder / "private" / "toy.py", seed) for seed in range(8)]
    sides = {cell.source for a in made for cell in a.cells if "pixels wide" in cell.source}
    assert len(sides) == 2
    for assignment in made:
        assert "SIDE" not in json.dumps(notebook.source(assignment))
        marks, _ = mark(*_with_solutions(assignment))
        assert all(m.passed for m in marks)


def _with_solutions(assignment):
    hidden = {cell.name: cell.source for cell in assignment.of("hidden")}
    made = notebook.release(assignment)
    solved = {cell.name: cell.solved for cell in assignment.of("answer")}
    for cell in made["cells"]:
        cell["source"] = solved.get(notebook.grade_id(cell), cell["source"])
    return made, Here(), hidden


def test_reference_gets_full_marks_and_the_release_none(toy):
    made, session, hidden = _with_solutions(toy)
    marks, _ = mark(made, session, hidden)
    assert [(m.name, m.score) for m in marks] == [
        *(("stamp_one", 1), ("stamp_overlap", 1), ("stamp_many", 2)),
        *(("count_some", 1), ("count_none", 1)),
    ]
    blank, _ = mark(notebook.release(toy), Here(), hidden)
    assert sum(m.score for m in blank) == 0


def test_checksums_are_those_of_nbgrader(toy):
    utils = pytest.importorskip("nbgrader.utils")
    nbformat = pytest.importorskip("nbformat")
    made = nbformat.from_dict(notebook.release(toy))
    nbformat.validate(made)
    for cell in made.cells:
        if "nbgrader" in cell.metadata:
            assert cell.metadata.nbgrader.checksum == utils.compute_checksum(cell)


PUBLIC = """# %% [markdown]
# # Title
# %% answer add
def add(a, b):
    raise NotImplementedError("write add")
# %% test add_two points=1
assert add(1, 2) == 3
"""


@pytest.mark.parametrize(
    ("public", "private", "told"),
    [
        (PUBLIC.replace("answer add", "anser add"), "", "'anser' is no kind of cell here"),
        (PUBLIC.replace("points=1", ""), "", "'test' needs points=1"),
        (PUBLIC.replace("points=1", "point=1"), "", "the options are points, read"),
        (PUBLIC.replace("answer add", "answer"), "", "'answer' needs one name"),
        (PUBLIC.replace("test add_two", "test sum_two"), "", "begins with no answer's name (add)"),
        (PUBLIC.replace("# # Title", "# no title"), "", "needs a title"),
        (PUBLIC.replace("add(1, 2) ==", "add(1, 2) = ="), "", "line 1 of the cell"),
        (PUBLIC + PUBLIC.split("# # Title\n")[1], "", "two cells are called add, add_two"),
        (PUBLIC, "# %% hidden add_x points=1\nassert 1\n", "has no solution add"),
        (PUBLIC, "# %% solution plus\nplus = 1\n", "has no solution add"),
        (
            PUBLIC,
            "# %% solution add\nadd = 1\n# %% rubric why\nx = 1\n",
            "nothing for rubric why",
        ),
        (PUBLIC, "# %% solution add\nadd = 1\n# %% solution add\nadd = 1\n", "a second solution"),
    ],
)
def test_a_source_that_breaks_the_format_is_told_where(public, private, told, tmp_path):
    (tmp_path / "x.py").write_text(public, "utf-8")
    (tmp_path / "p.py").write_text(private, "utf-8")
    with pytest.raises(UsageError) as error:
        load(tmp_path / "x.py", tmp_path / "p.py" if private else None)
    assert told in str(error.value)


def test_build_writes_both_notebooks(request, capsys, tmp_path):
    words = ["--exercises", request.config.rootpath / TOY, "--course", tmp_path, "--no-gradebook"]
    code, out, _ = call(capsys, "grade", "build", "toy", *words)
    assert code == 0
    assert "toy: 8 points" in out
    for kind in ("source", "release"):
        made = json.loads((tmp_path / kind / "toy" / "toy.ipynb").read_text("utf-8"))
        assert made["metadata"]["segcourse"]["assignment"] == "toy"
    assert call(capsys, "grade", "build", "toi", *words)[0] == 2
    assert call(capsys, "grade", "build", "--exercises", tmp_path / "no", *words[2:])[0] == 2


def written(made, folder, **answers):
    for cell in made["cells"]:
        cell["source"] = answers.get(notebook.grade_id(cell), cell["source"])
    path = folder / "toy.ipynb"
    notebook.write(made, path)
    return path


OVERWRITES = "import torch\ndef stamp(size, places):\n    out = torch.zeros(size)\n"
OVERWRITES += "    for r, c in places:\n        out[r:r+3, c:c+3] = 1\n    return out"


def test_check_says_what_passes_what_does_not_and_where_to_read(toy, capsys, tmp_path):
    answers = {
        "stamp": OVERWRITES.replace("3", toy_side(toy)),
        "count": "def count(p):\n  retrun 3",
    }
    code, out, _ = call(capsys, "check", written(notebook.release(toy), tmp_path, **answers))
    assert code == 3
    assert "passed   stamp_one (1)" in out
    assert "expected the stamps to add where they overlap; got 1, wanted 2" in out
    assert 'Read book/toy, "Three ways to one layer".' in out
    assert "the cell itself fails: SyntaxError" in out
    assert "1 of 3 visible tests pass: 1 of 3 points. 2 hidden tests run" in out


def toy_side(toy):
    (stub,) = (cell.source for cell in toy.of("answer") if cell.name == "stamp")
    return stub.split(" x ")[0][-1]


def test_check_passes_good_work_with_magics_and_prints(toy, capsys, tmp_path):
    solved = {cell.name: cell.solved for cell in toy.of("answer")}
    solved["count"] = "%matplotlib inline\nprint('hello')\n" + solved["count"]
    code, out, _ = call(capsys, "check", written(notebook.release(toy), tmp_path, **solved))
    assert code == 0
    assert "3 of 3 visible tests pass" in out
    assert "hello" not in out


def test_check_notices_an_edited_test(toy, capsys, tmp_path):
    path = written(notebook.release(toy), tmp_path, stamp_one="assert True")
    _, out, _ = call(capsys, "check", path)
    assert "Your cell stamp_one is not as released. The released one was run" in out
    assert "not yet  stamp_one (1)" in out


def test_check_is_not_fooled_by_lost_metadata_and_reads_scripts(toy, capsys, tmp_path):
    solved = {cell.name: cell.solved for cell in toy.of("answer")}
    path = written(notebook.release(toy), tmp_path, **solved)
    made = json.loads(path.read_text("utf-8"))
    for cell in made["cells"]:
        cell["metadata"] = {}
    notebook.write(made, path)
    code, out, _ = call(capsys, "check", path)
    assert (code, "3 of 3 visible tests pass" in out) == (0, True)
    assert "Noticed: stamp: found by the name it defines." in out
    assert "why\n  nothing is written yet; a person reads it (2)" in out
    script = tmp_path / "mine.py"
    script.write_text("\n\n".join(solved.values()), "utf-8")
    code, _, err = call(capsys, "check", script)
    assert (code, "give it with --released" in err) == (2, True)
    code, out, _ = call(capsys, "check", script, "--released", path)
    assert (code, "3 of 3 visible tests pass" in out) == (0, True)
    script.write_text("", "utf-8")
    script.with_suffix(".ipynb").write_text("{", "utf-8")
    told = call(capsys, "check", script.with_suffix(".ipynb"), "--released", path)[2]
    assert "can't be read: no JSON" in told
    assert "as you got it" in call(capsys, "check", script, "--released", tmp_path / "no")[2]


def test_check_counts_the_words_of_a_written_answer(toy, capsys, tmp_path):
    path = written(notebook.release(toy), tmp_path, why="A sum does not mind the order.")
    assert "why\n  7 words; a person reads it (2)" in call(capsys, "check", path)[1]


def test_check_says_what_is_there_at_home_and_not_in_marking(toy, capsys, tmp_path):
    answers = {"count": "def count(p):\n    import segcourse.crf\n    return 1"}
    answers["stamp"] = "def stamp(size, places):\n    return input('what? ')"
    _, out, _ = call(capsys, "check", written(notebook.release(toy), tmp_path, **answers))
    assert "segcourse is not there when your work is marked: write the" in out
    assert "EOFError: EOF when reading a line (line 2 of its cell)" in out


def test_check_says_what_a_function_returns_that_a_test_can_not_use(toy, capsys, tmp_path):
    answers = {"stamp": "def stamp(size, places):\n    return {'a': 1}"}
    _, out, _ = call(capsys, "check", written(notebook.release(toy), tmp_path, **answers))
    told = " ".join(out.split())
    assert "stamp returns a dict of length 1. Is that what its docstring says?" in told


def test_values_are_described_in_a_few_words():
    import numpy
    import torch

    assert described(torch.zeros(2, 3)) == "a Tensor of shape (2, 3), float32"
    assert described(numpy.zeros(2)) == "an array of shape (2,), float64"
    assert len(described("x" * 1000)) == 100
    assert described(10**5000) == "a huge int"


def test_check_refuses_what_is_no_exercise(capsys, tmp_path):
    (tmp_path / "a.ipynb").write_text('{"cells": [], "metadata": {}}')
    (tmp_path / "b.ipynb").write_text("not json")
    for name in ("a.ipynb", "b.ipynb"):
        code, _, err = call(capsys, "check", tmp_path / name)
        assert code == 2
        assert "no exercise notebook of this course" in err
    assert "does not exist" in call(capsys, "check", tmp_path / "c.ipynb")[2]
    assert f"{tmp_path} is no file: give" in call(capsys, "check", tmp_path)[2]


def test_magics_go_and_python_stays():
    assert without_magics("x = [5\n % 2]") == "x = [5\n % 2]"
    assert without_magics("%%time\nif 1:\n    !ls\nx = 1") == "pass\nif 1:\n    pass\nx = 1"


def test_definitions_leave_out_what_would_run_again():
    kept = definitions("import os\nos._exit(1)\ndef f():\n    return 1\nf()")
    assert kept == "import os\ndef f():\n    return 1"
    assert definitions("def f(:") == ""


def test_what_a_cell_defines_behind_a_line_that_fails_is_there():
    cells = Cells()
    cell = "import nowhere_at_all\nHALF = 0.5\ndef f(x): return HALF * x\nprint('no')\n1 / 0"
    assert cells.run(cell).startswith("ModuleNotFoundError: No module named 'nowhere_at_all'")
    assert cells.call("f", (4,), {}) == 2
    assert cells.run("def g(x): return x\ndef g(x=1/0): return 3").startswith("ZeroDivisionError")
    assert cells.call("g", (4,), {}) == 4


def test_a_cell_tells_its_error_with_the_line():
    cells = Cells()
    assert cells.run("x = 1\nraise ValueError('no')") == "ValueError: no (line 2 of its cell)"
    assert cells.run("raise SystemExit") == "SystemExit (line 1 of its cell)"
    assert cells.value("x") == 1
    with pytest.raises(NameError, match="no cell defines y"):
        cells.call("y", (), {})
