"""The ASPP experiment: heads on the same backbone weights, and a record of what it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import aspp_branches

    return aspp_branches


def test_every_head_starts_on_the_same_backbone(script):
    with torch.random.fork_rng():
        models = [script.build(name, seed=1) for name in script.HEADS]
    first = models[0].backbone.state_dict()
    for model in models[1:]:
        assert all(torch.equal(v, first[k]) for k, v in model.backbone.state_dict().items())


def test_the_wide_single_rate_has_as_many_weights_as_the_pyramid(script):
    with torch.random.fork_rng():
        wide, pyramid = (
            sum(p.numel() for p in script.build(name, 0).head.parameters())
            for name in ("rate_6_wide", "aspp_l")
        )
    assert abs(wide / pyramid - 1) < 0.05


@pytest.mark.slow
def test_a_quick_run_records_the_branches_of_the_pyramid_alone(tmp_path):
    words = ["experiments/aspp_branches.py", "--quick", "--seeds", "1", "--only", "aspp_l"]
    command = [sys.executable, *words, "--out", tmp_path / "r.json"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    made = json.loads((tmp_path / "r.json").read_text())
    head = made["metrics"]["heads"]["aspp_l"]
    (alone,) = head["branches_alone"]
    assert set(alone) == {"3", "6", "9", "12"}
    assert made["config"]["quick"] is True
    assert len(head["runs"][0]["iou_by_size"]) == 4
