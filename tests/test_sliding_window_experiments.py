"""The sliding-window experiments compare like with like, and write what they measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from shared import windows_on_scenes

    return windows_on_scenes


def crops(shared, half):
    images = torch.arange(2 * 3 * 40 * 40.0).reshape(2, 3, 40, 40)
    labels = torch.arange(2 * 40 * 40).reshape(2, 40, 40) % shared.K
    budget = shared.Budget(crops=6, crop=8)
    pixels = shared.pixels_of_each_class(labels)
    generator = torch.Generator().manual_seed(0)
    return shared.crops_of(images, labels, pixels, half, budget, generator)


def test_every_window_size_is_trained_on_the_same_pixels(shared):
    small, small_labels = crops(shared, half=0)
    large, large_labels = crops(shared, half=5)
    assert torch.equal(small_labels, large_labels)
    assert torch.equal(small, large[..., 5:-5, 5:-5])


def test_the_pair_is_scored_apart_from_how_well_it_is_found(shared):
    labels = torch.tensor([[[shared.POND, shared.POND, shared.PLAZA, 0]]])
    logits = torch.zeros(1, shared.K, 1, 4)
    logits[0, shared.POND] = torch.tensor([1.0, -1, 2, 0])  # plaza taken for a pond: found
    logits[0, 0, 0, 1:] = torch.tensor([1.0, 0, 1])  # the second pond taken for ground: missed
    logits[0, shared.PLAZA, 0, 1] = -2
    result = shared.scores(logits.argmax(1), labels)
    assert shared.right_of_the_pair(logits, labels).tolist() == [1, 1, 0]
    assert result["pair_found_iou"] == pytest.approx(2 / 3)
    assert result["pixel_accuracy"] == pytest.approx(2 / 4)


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (9, 2)])
def test_a_window_that_misses_the_markers_tells_the_pair_apart_by_chance_exactly(
    shared, window, stride
):
    torch.manual_seed(0)
    classifier = shared.PatchClassifier(window, shared.K, width=4, stride=stride)
    model = shared.SlidingWindow(classifier).eval()
    assert shared.evaluate(model, length=3)["pair_told_apart"] == 0.5


@pytest.mark.parametrize(("window", "stride", "sees"), [(9, 2, False), (41, 4, True)])
def test_swapping_the_pair_changes_what_a_window_that_reaches_the_markers_says(
    shared, window, stride, sees
):
    torch.manual_seed(0)
    classifier = shared.PatchClassifier(window, shared.K, width=4, stride=stride)
    model = shared.SlidingWindow(classifier).eval()
    images, labels = shared.load(2, "test")
    swapped, _ = shared.load(2, "test", swap_context=True)
    with torch.no_grad():
        change = (model(images) - model(swapped)).abs().amax(1)
    on_the_pair = (labels == shared.POND) | (labels == shared.PLAZA)
    assert on_the_pair.any()
    assert (change[on_the_pair].max().item() > 1e-6) == sees


@pytest.mark.parametrize(
    ("script", "rows"),
    [
        ("patch_size.py", lambda metrics: metrics["windows"]),
        ("sliding_window_models.py", lambda metrics: list(metrics["models"].values())),
    ],
)
def test_a_record_holds_every_run_with_its_command(script, rows, tmp_path):
    if "models" in script:
        pytest.importorskip("skimage")
    out = tmp_path / "record.json"
    command = [sys.executable, f"experiments/{script}", "--quick", "--seeds", "1", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["command"].startswith(f"python experiments/{script} --quick")
    assert record["config"]["quick"] is True
    for row in rows(record["metrics"]):
        assert len(row["runs"]) == 1
        for name in ("pixel_accuracy", "miou", "trimap_3px_miou", "pair_found_iou"):
            assert 0 <= row["runs"][0][name] <= 1


def test_the_maps_stand_side_by_side_in_the_order_of_the_windows(tmp_path):
    out = tmp_path / "maps.png"
    command = [sys.executable, "experiments/patch_size_maps.py", "--quick", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    committed = ROOT / "results/sliding_window/patch_size_maps.png"
    windows = json.loads((ROOT / "results/sliding_window/patch_size.json").read_text())
    for path in (out, committed):
        with Image.open(path) as strip:
            assert strip.mode == "P"
            assert strip.size == (128 * len(windows["metrics"]["windows"]), 128)
            assert strip.getextrema()[1] < 8
