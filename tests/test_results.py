"""Pages read their numbers from the records, and are told what is missing."""

import json
import re
from pathlib import Path

import pytest

from segcourse import results
from segcourse.errors import DataError
from tools import crf_tables, exercise_tables


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that looks like a clone, in which a notebook of book/ runs, without the package."""
    (tmp_path / "results" / "book").mkdir(parents=True)
    (tmp_path / "results" / "README.md").write_text("records")
    (tmp_path / "book").mkdir()
    (tmp_path / "elsewhere" / "segcourse").mkdir(parents=True)
    monkeypatch.setattr("segcourse.__file__", str(tmp_path / "elsewhere/segcourse/__init__.py"))
    monkeypatch.chdir(tmp_path / "book")
    return tmp_path


def test_a_record_is_found_above_the_notebook(clone):
    (clone / "results" / "a.json").write_text(json.dumps({"seconds": 3}))
    assert results.read("a") == {"seconds": 3}


def test_a_missing_record_names_those_that_are_there(clone):
    (clone / "results" / "book" / "b.json").write_text("{}")
    with pytest.raises(DataError, match=r"no record c: there are book/b"):
        results.read("c")


def test_a_damaged_record_is_named(clone):
    (clone / "results" / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json is not JSON"):
        results.read("a")


def test_no_results_folder_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "x" / "segcourse").mkdir(parents=True)
    monkeypatch.setattr("segcourse.__file__", str(tmp_path / "x/segcourse/__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="clone it"):
        results.folder()


def test_a_page_states_its_measured_seconds_or_that_there_are_none(clone):
    assert "not been measured" in results.page_seconds("index")
    record = {"seconds": {"index": 12.4}}
    (clone / "results" / "book" / "seconds.json").write_text(json.dumps(record))
    assert results.page_seconds("index") == (
        "This page's code runs in less than 20 seconds on one CPU core."
    )


def test_every_number_of_the_readme_is_in_a_record():
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    windows = results.read("sliding_window/dense_vs_windows")["metrics"]["windows"]
    small, middle, large = ((row["predicted"], row["measured"]) for row in windows)
    assert f"predicted {large[0]:.0f}x, measured {large[1]:.0f}x" in readme
    said = f"predicted {small[0]:.0f}x and {middle[0]:.0f}x, "
    assert said + f"measured {small[1]:.0f}x and {middle[1]:.0f}x" in readme
    full = results.read("sliding_window/camvid_full_resolution")["metrics"]
    patch = results.read("sliding_window/camvid_patch")["metrics"]
    always = full["always_majority"]
    assert f'{full["miou"]:.3f} (always "{always["class"]}": {always["miou"]:.3f})' in readme
    assert f"val mIoU {patch['miou']:.3f} " in readme
    rows = results.read("sliding_window/patch_size")["metrics"]["windows"]
    told = {row["window"]: [run["pair_told_apart"] for run in row["runs"]] for row in rows}
    means = ", ".join(f"{sum(told[w]) / len(told[w]):.2f}" for w in (13, 41, 53))
    assert f"| {means} (half is a coin toss) |" in readme
    heads = results.read("aspp/branches")["metrics"]["heads"]
    heads |= results.read("aspp/branches_more")["metrics"]["heads"]
    miou = {name: sum(r["miou"] for r in h["runs"]) / len(h["runs"]) for name, h in heads.items()}
    single = max(value for name, value in miou.items() if re.fullmatch(r"rate_\d+", name))
    names = ("rate_3_wide", "aspp_s", "aspp_l", "rate_6")
    told = (single, *(miou[name] for name in names))
    assert "| " + ", ".join(f"{value:.3f}" for value in told) + " |" in readme


def test_the_tables_of_the_crf_are_their_records():
    root = Path(__file__).parent.parent
    texts = [(root / name).read_text("utf-8") for name in ("benchmarks/README.md", "README.md")]
    said = "run `python -m tools.crf_tables` and commit what it writes"
    assert crf_tables.written(*texts) == tuple(texts), said
    ratios = crf_tables.ratios_text(results.read("crf/speed")["metrics"])
    assert f"| {ratios} |" in texts[1]
    agree = min(row["labels_agree"] for row in results.read("crf/speed")["metrics"]["agreement"])
    assert agree > 0.999, "equal labels"


def test_a_table_of_the_crf_without_its_place_is_named():
    with pytest.raises(ValueError, match="stand in the text 0 times, not once"):
        crf_tables.between("no place", "results/crf/speed.json", "| a |")


def test_an_aim_that_a_record_misses_is_named():
    case = {"width": 500, "height": 375, "parameters": "DeepLab"}
    times = [
        {**case, "iterations": n, "ratio": ratio} for n, ratio in ((0, 1), (5, 2.1), (10, 2.4))
    ]
    assert crf_tables.missed({"times": times}) == [
        "500x375, DeepLab, 10 iterations: 2.40x, aim 2.5x"
    ]


def test_the_tables_of_the_grader_against_nbgrader_are_its_record():
    for folder in ("benchmarks", "exercises"):
        path = Path(__file__).parent.parent / folder / "README.md"
        assert exercise_tables.speed_table() in path.read_text("utf-8")
    metrics = results.read("grading/speed")["metrics"]
    assert metrics["marks_equal"]
    assert metrics["times_as_fast"] > 1
