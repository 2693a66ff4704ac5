"""Pages read their numbers from the records, and are told what is missing."""

import json
import re
from pathlib import Path

import pytest

from segcourse import results
from segcourse.errors import DataError


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


def test_the_table_of_the_crf_against_the_package_is_its_record():
    root = Path(__file__).parent.parent
    text = (root / "benchmarks" / "README.md").read_text("utf-8")
    speed = results.read("crf/speed")["metrics"]
    for case in speed["memory_mib"]:
        name = [case[key] for key in ("width", "height", "parameters")]
        cells = ["{}x{}, {}".format(*name)]
        for row in speed["times"]:  # lattices alone, then 5 and 10 iterations
            if [row[key] for key in ("width", "height", "parameters")] == name:
                times = f"{row['peer_ms']:.0f} / {row['ours_ms']:.0f} ms"
                cells.append(f"{times}, {row['ratio']:.2f}x")
        cells.append(f"{case['peer']:.0f} / {case['ours']:.0f} MiB")
        assert f"| {' | '.join(cells)} |" in text
    agree = min(row["labels_agree"] for row in speed["agreement"])
    assert f"labels agree on {100 * agree:.2f} % of the pixels" in text
    ratio = {
        (row["parameters"], row["width"]): f"{row['ratio']:.2f}x"
        for row in speed["times"]
        if row["iterations"] == 10
    }
    told = [f"{ratio[name, 320]} and {ratio[name, 500]}" for name in ("README", "DeepLab")]
    assert f"| {told[0]}, {told[1]}; equal labels |" in (root / "README.md").read_text("utf-8")
