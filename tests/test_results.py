"""Pages read their numbers from the records, and are told what is missing."""

import json

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
