"""The checkerboard experiment compares like with like, and its record says what the page says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segcourse.doubling import LAYERS, decoder

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkerboard(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import checkerboard

    return checkerboard


def test_a_run_measures_the_untrained_network_and_lowers_its_error(checkerboard):
    train, test = checkerboard.pictures(4, "train"), checkerboard.pictures(2, "test")
    name = "kernel 4, stride 2"
    run = checkerboard.one_run(name, 3, [0, 6, 12], train, test)
    assert [found["step"] for found in run["steps"]] == [0, 6, 12]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = decoder(LAYERS[name])
    colours = torch.rand(64, 3, generator=torch.Generator().manual_seed(1000)) - 0.5
    assert run["steps"][0] == {"step": 0, **checkerboard.measure(net, test, colours)}
    errors = [found["rmse_grey_levels"] for found in run["steps"]]
    assert errors[2] < errors[0]


def test_a_picture_that_is_right_has_no_error_and_the_scenes_own_grid(checkerboard):
    test = checkerboard.pictures(2, "test")

    def perfect(x):
        return test if x.shape[-1] == 32 else x[..., :1, :1].expand(-1, -1, 48, 48)

    found = checkerboard.measure(perfect, test, torch.zeros(2, 3))
    assert found["rmse_grey_levels"] == 0
    assert found["flat_grid_grey_levels"] == 0
    assert 0 < found["grid_energy"] < 0.01


@pytest.mark.slow
def test_the_script_writes_its_record(tmp_path):
    out = tmp_path / "record.json"
    command = [sys.executable, "experiments/checkerboard.py", "--quick", "--seeds", "1"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    record = json.loads(out.read_text("utf-8"))
    assert [row["layer"] for row in record["metrics"]["layers"]] == list(LAYERS)
    assert record["config"]["quick"] is True
