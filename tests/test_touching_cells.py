"""The experiment on touching cells compares like with like, and its record says what it claims."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from shared import cells

    return cells


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import touching_cells

    return touching_cells


def test_perfect_and_merged_predictions_score_as_they_must(shared):
    _, instances = shared.load(2, "test")
    perfect = shared.scores((instances > 0).long(), instances)
    assert perfect["cell_iou"] == perfect["background_iou"] == perfect["membrane_found"] == 1
    assert perfect["adapted_rand_error"] == perfect["merged"] == perfect["missed"] == 0
    assert perfect["objects"] == sum(int(one.max()) for one in instances) / 2
    everything = shared.scores(torch.ones_like(instances), instances)
    assert everything["merged"] == everything["objects"]
    assert everything["membrane_found"] == 0


def test_heavy_background_weighs_as_much_as_the_border_map_in_sum(script, shared):
    _, instances = shared.load(3, "train")
    weights = {name: f(instances) for name, f in script.pixel_weights(instances).items()}
    cells = instances > 0
    totals = {name: w[~cells].double().sum().item() for name, w in weights.items()}
    assert totals["heavy_background"] == pytest.approx(totals["border"], rel=1e-5)
    assert totals["border"] > 2 * totals["balanced"]
    for w in weights.values():
        assert torch.equal(w[cells], weights["balanced"][cells])
    # Balanced: both classes weigh the same in sum, and a pixel weighs 1 on average.
    assert totals["balanced"] == pytest.approx(weights["balanced"][cells].double().sum().item())
    assert weights["balanced"].mean().item() == pytest.approx(1, abs=1e-5)


def test_runs_of_one_seed_see_the_same_images_and_turns_whatever_bends_them(shared):
    class Seen(torch.nn.Conv2d):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    images, instances = shared.load(3, "train")
    budget = shared.Budget(steps=3, batch=2)
    found = []
    for sigma in (0.0, 0.0, 1e-4):
        seen = []
        shared.train(Seen(3, 2, 1), images, instances, torch.ones_like, sigma, budget, 5)
        found.append(seen)
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    for plain, bent in zip(found[0], found[2], strict=True):
        torch.testing.assert_close(plain, bent, atol=0.01, rtol=0)


def test_a_record_holds_every_run_and_a_picture_every_network(tmp_path):
    out = tmp_path / "record.json"
    command = [sys.executable, "experiments/touching_cells.py", "--quick", "--seeds", "1"]
    done = subprocess.run(
        [*command, "--out", out], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["config"]["quick"] is True
    names = record["config"]["picture"]["columns"]
    assert sorted(names) == list(record["metrics"]["variants"])
    for variant in record["metrics"]["variants"].values():
        (run,) = variant["runs"]
        assert 0 <= run["adapted_rand_error"] <= 1
        assert 0 <= run["merged"] <= run["objects"]
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.mode == "P"
        assert picture.size == (96 * len(names), 96 * 4)
        assert picture.getextrema()[1] <= 1


# ---- what the committed record says


@pytest.fixture(scope="module")
def variants():
    path = ROOT / "results/unet/touching_cells.json"
    return json.loads(path.read_text("utf-8"))["metrics"]["variants"]


def numbers(variants, name, key):
    return [run[key] for run in variants[name]["runs"]]


def test_border_weights_part_cells_that_balanced_losses_merge(variants):
    merged = {name: numbers(variants, name, "merged") for name in variants}
    assert len(merged["border"]) >= 3
    # In every run, whatever its seed.
    assert max(merged["border"]) < min(merged["heavy_background"])
    assert max(merged["heavy_background"]) < min(merged["balanced"])
    rand = {name: statistics.mean(numbers(variants, name, "adapted_rand_error")) for name in merged}
    assert rand["border"] < rand["balanced"]


def test_the_weights_cost_pixels(variants):
    assert max(numbers(variants, "border", "cell_iou")) < min(
        numbers(variants, "balanced", "cell_iou")
    )


def test_bending_one_image_helps_in_every_run(variants):
    for key in ("adapted_rand_error", "merged"):
        plain = numbers(variants, "one_image", key)
        for bent in ("one_image_bent_2px", "one_image_bent_4px"):
            assert all(b < p for b, p in zip(numbers(variants, bent, key), plain, strict=True))


def test_the_picture_holds_the_predictions_of_the_record(shared, variants):
    record = json.loads((ROOT / "results/unet/touching_cells.json").read_text("utf-8"))
    names = record["config"]["picture"]["columns"]
    with Image.open(ROOT / "results/unet/touching_cells.png") as picture:
        maps = torch.from_numpy(np.array(picture)).long()  # (4 * 96, columns * 96)
    maps = maps.reshape(4, 96, len(names), 96).movedim(2, 0)
    _, instances = shared.load(4, "test")
    # Four of the forty test images, of the run with seed 0.
    found = {name: shared.scores(tile, instances) for name, tile in zip(names, maps, strict=True)}
    for name in names:
        assert found[name]["cell_iou"] == pytest.approx(
            variants[name]["runs"][0]["cell_iou"], abs=0.08
        )
    assert found["border"]["merged"] < found["balanced"]["merged"]
    assert found["one_image_bent_4px"]["merged"] < found["one_image"]["merged"]


def test_the_readme_says_what_the_record_says(variants):
    def mean(name, key):
        return statistics.mean(numbers(variants, name, key))

    merged = [f"{mean(name, 'merged'):.1f}" for name in ("balanced", "heavy_background", "border")]
    bent = ("one_image", "one_image_bent_2px", "one_image_bent_4px")
    rand = [f"{mean(name, 'adapted_rand_error'):.2f}" for name in bent]
    readme = (ROOT / "README.md").read_text("utf-8")
    told = "balanced loss {}, heavier background {}, border weights {}"
    assert told.format(*merged) in readme
    assert "{}; bent elastically with 2 px {}, with 4 px {}".format(*rand) in readme
