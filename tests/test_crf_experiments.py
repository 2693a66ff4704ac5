"""The CRF experiment: what it compares, and a record of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from segcourse.data.augment import normalise

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import crf_refine

    return crf_refine


class Nothing(torch.nn.Module):
    """A network that hands its image on, and a CRF that hands on what it is shown."""

    def forward(self, image, shown=None):
        return image if shown is None else shown


def test_the_crf_behind_a_network_is_shown_the_picture_itself(script):
    pixels = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    shown = script.WithCRF(Nothing(), Nothing())(normalise(pixels / 255))
    assert shown.equal(pixels)


def test_a_stronger_short_range_crf_leaves_fewer_borders(script):
    logits = torch.randn(1, script.K, 24, 24, generator=torch.Generator().manual_seed(0))
    borders = []
    for weight in (0.0, 1.0, 4.0):
        labels = script.short_range(logits, weight)[0]
        borders.append((labels.diff(dim=0) != 0).sum() + (labels.diff(dim=1) != 0).sum())
    assert borders[0] > borders[1] > borders[2]
    assert script.short_range(logits, 0.0).equal(logits.argmax(1))


@pytest.mark.slow
def test_a_quick_run_records_every_method_and_the_search(tmp_path):
    words = ["experiments/crf_refine.py", "--quick", "--seeds", "1", "--out", tmp_path / "r.json"]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    made = json.loads((tmp_path / "r.json").read_text())
    (run,) = made["metrics"]["runs"]
    for name in ("network", "short", "dense", "noisy_dense", "longer_dense", "end_to_end"):
        assert len(run[name]["iou"]) == 8
    ranked = [one["miou"] for one in run["search"]]
    assert ranked == sorted(ranked, reverse=True)
    assert len(ranked) == 27
    assert len(run["miou_by_iteration"]) == 10
    assert made["config"]["quick"] is True
    # The quick run has two test scenes, of which the picture shows the first.
    with Image.open(tmp_path / "r.png") as picture:
        assert picture.size == (4 * 128, 128)
