"""What holds for every experiment: a smoke run leaves the committed records alone."""

import argparse
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ([], "results/fcn/field.json"),
        (["--quick"], "runs/quick/fcn/field.json"),
        (["--quick", "--out", "here.json"], "here.json"),
    ],
)
def test_a_smoke_run_writes_beside_no_record(words, out, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setattr(sys, "argv", ["field.py", *words])
    from shared.command_line import parsed

    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/fcn/field.json"))
    assert parsed(parser).out == Path(out)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_experiment_reads_its_command_line_so(path):
    text = path.read_text(encoding="utf-8")
    assert "args = parsed(parser)" in text
    assert ".parse_args(" not in text
