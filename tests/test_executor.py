"""The executor and the comparison: same bytes on a rerun, nothing stale, nothing lost unseen."""

import asyncio
import copy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("nbval")

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import notebooks, setup


def save(path, *cells):
    notebook = new_notebook(cells=list(cells))
    for count, cell in enumerate(notebook.cells):
        cell.id = f"cell-{count}"
    notebooks.write(notebook, path)
    return path


def executed(path, target):
    assert asyncio.run(notebooks.execute(path, target)) > 0
    return target


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout: the executor takes it for the repository."""
    for name, text in {
        "requirements.txt": "numpy==1\n",
        "segcourse/labels.py": "IGNORE = 255\n",
        "results/fcn/run.json": "{}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "notebooks.py").write_text("")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path / "_build" / "executed")
    monkeypatch.setattr(notebooks, "SECONDS", tmp_path / "results" / "book" / "seconds.json")
    monkeypatch.setattr(notebooks, "__file__", str(tmp_path / "tools" / "notebooks.py"))
    return tmp_path


@pytest.mark.slow
def test_rerun_gives_the_same_bytes_without_a_trace_of_the_machine(tmp_path):
    source = "import os\nprint('a'); print(os.environ['SEGCOURSE_STATIC'])\n{'b': 2}"
    path = save(tmp_path / "page.ipynb", new_markdown_cell("# Page"), new_code_cell(source))
    first = executed(path, tmp_path / "first.ipynb").read_bytes()
    second = executed(path, tmp_path / "second.ipynb").read_bytes()
    assert first == second
    (cell,) = notebooks.code_cells(notebooks.read(tmp_path / "first.ipynb"))
    assert [output.get("text") or output.data["text/plain"] for output in cell.outputs] == [
        "a\n1\n",
        "{'b': 2}",
    ]
    assert cell.execution_count == 1
    for word in (b"iopub", b"codemirror", str(tmp_path).encode()):
        assert word not in first


@pytest.mark.slow
def test_failing_cell_is_named_with_its_traceback_and_leaves_no_copy(tmp_path):
    cells = [new_code_cell("x = 1"), new_markdown_cell("text"), new_code_cell("x / 0")]
    path = save(tmp_path / "page.ipynb", *cells)
    with pytest.raises(notebooks.NotebookError) as caught:
        asyncio.run(notebooks.execute(path, tmp_path / "copy.ipynb"))
    fault = str(caught.value)
    assert fault.startswith("page.ipynb, code cell 2, failed:")
    assert "ZeroDivisionError" in fault
    assert "x / 0" in fault
    assert "\x1b" not in fault
    assert not (tmp_path / "copy.ipynb").exists()


def test_a_page_that_takes_as_long_as_before_changes_no_record(checkout):
    notebooks.save_seconds({"page": 12.0, "other": 3.0})
    before = notebooks.SECONDS.read_bytes()
    around = notebooks.surroundings()
    notebooks.save_seconds({"page": 18.9, "other": 4.0})
    assert notebooks.SECONDS.read_bytes() == before
    notebooks.save_seconds({"page": 20.1, "other": 4.0})
    assert notebooks.SECONDS.read_bytes() != before
    assert notebooks.surroundings() == around, "a page's time must not make the pages stale"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("segcourse/labels.py", "IGNORE = 254\n"),
        ("segcourse/new.py", ""),
        ("results/fcn/run.json", '{"miou": 0.5}\n'),
        ("requirements.txt", "numpy==2\n"),
    ],
)
def test_copy_is_stale_when_what_it_rests_on_changes(checkout, name, text):
    path = save(checkout / "page.ipynb", new_code_cell("1 + 1"))
    before = notebooks.executed_path(path)
    (checkout / name).write_text(text)
    assert notebooks.executed_path(path) != before


def test_copy_is_stale_when_its_code_changes_but_not_when_prose_or_outputs_do(checkout):
    path = checkout / "page.ipynb"
    code = new_code_cell("1 + 1")
    before = notebooks.executed_path(save(path, new_markdown_cell("old"), code))
    output = new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    code.outputs, code.execution_count = [output], 1
    assert notebooks.executed_path(save(path, new_markdown_cell("new"), code)) == before
    code.source = "1 + 2"
    assert notebooks.executed_path(save(path, new_markdown_cell("new"), code)) != before


def test_graft_keeps_prose_and_captions_and_takes_outputs(tmp_path):
    caption = {"mystnb": {"figure": {"caption": "What to see"}}}
    page = new_notebook(cells=[new_markdown_cell("new"), new_code_cell("2", metadata=caption)])
    run = new_notebook(cells=[new_markdown_cell("old"), new_code_cell("2")])
    run.cells[1].outputs = [new_output("stream", name="stdout", text="2\n")]
    merged = notebooks.graft(page, run)
    assert merged.cells[0].source == "new"
    assert merged.cells[1].metadata == caption
    assert merged.cells[1].outputs == run.cells[1].outputs


def test_live_view_of_a_widget_is_dropped_and_its_other_face_stays():
    data = {notebooks.WIDGET_VIEW: {"model_id": "1f"}, "text/html": "<p>slider</p>"}
    cell = new_code_cell("explore()", outputs=[new_output("display_data", data)])
    page = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    notebooks.normalise(page)
    assert "widgets" not in page.metadata
    assert page.cells[0].outputs[0].data == {"text/html": "<p>slider</p>"}


def committed(change):
    """A run notebook as it would be committed, after `change(cell)` on its code cell."""
    cell = new_code_cell(
        "print(0.5)",
        execution_count=1,
        outputs=[new_output("stream", name="stdout", text="0.5\n")],
    )
    kept = copy.deepcopy(cell)
    change(kept)
    return cell, kept


CHANGES = {
    "same": lambda cell: None,
    "other_number": lambda cell: cell.outputs[0].update(text="0.6\n"),
    "lost_output": lambda cell: cell.update(outputs=[]),
    "never_run": lambda cell: cell.update(outputs=[], execution_count=None),
    "lost_though_ignored": lambda cell: cell.update(
        outputs=[], metadata={"tags": ["nbval-ignore-output"]}
    ),
    "other_though_ignored": lambda cell: (
        cell.outputs[0].update(text="0.6\n"),
        cell.update(metadata={"tags": ["nbval-ignore-output"]}),
    ),
}
ACCEPTED = {"same", "other_though_ignored"}


@pytest.mark.slow
def test_comparison_refuses_changed_lost_and_missing_outputs(tmp_path):
    """One pytest over six notebooks, each with an executed copy; no kernel starts."""
    copies = []
    try:
        for name, change in CHANGES.items():
            cell, kept = committed(change)
            path = save(tmp_path / f"probe_{name}.ipynb", kept)
            cell.metadata = kept.metadata
            copies.append(save(notebooks.executed_path(path), cell))
        command = [sys.executable, "-m", "pytest", "-p", "tools.nbval_replay", "--nbval", "-rA"]
        command += ["-c", str(notebooks.ROOT / "pyproject.toml"), str(tmp_path)]
        run = subprocess.run(
            command, cwd=notebooks.ROOT, capture_output=True, text=True, check=False
        )
    finally:
        for path in copies:
            path.unlink(missing_ok=True)
    summary = [line for line in run.stdout.splitlines() if line.startswith(("PASSED", "FAILED"))]
    passed = {
        name
        for name in CHANGES
        for line in summary
        if line.startswith("PASSED") and f"probe_{name}.ipynb" in line
    }
    assert len(summary) == len(CHANGES), run.stdout + run.stderr
    assert passed == ACCEPTED, run.stdout


def old_python():
    return SimpleNamespace(version_info=(3, 9, 1), executable="/usr/bin/python3", exit=sys.exit)


def test_old_python_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(setup, "sys", old_python())
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=r"is 3\.9; the course needs 3\.11 to 3\.13") as error:
        setup.usable_python()
    assert "make PYTHON=" in str(error.value)


def test_old_python_finds_a_newer_one_beside_it(monkeypatch):
    monkeypatch.setattr(setup, "sys", old_python())
    found = {"python3.12": sys.executable}
    monkeypatch.setattr(setup.shutil, "which", found.get)
    assert setup.usable_python() == sys.executable


def test_environment_is_renewed_when_the_pins_or_the_place_change(tmp_path, monkeypatch):
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text("a")
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    seen = {setup.fingerprint()}
    (tmp_path / "requirements.txt").write_text("b")
    seen.add(setup.fingerprint())
    (tmp_path / "moved").mkdir()
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / "moved" / name).write_bytes((tmp_path / name).read_bytes())
    monkeypatch.setattr(setup, "ROOT", Path(tmp_path / "moved"))
    seen.add(setup.fingerprint())
    assert len(seen) == 3
