"""What the prose of the pages says of the records is what the records say."""

import inspect
import json
from pathlib import Path

import pytest

from segcourse import results
from segcourse.cli.models import MODELS
from segcourse.full_resolution import FullResolutionNet

ROOT = Path(__file__).parent.parent


def prose(stem: str) -> str:
    cells = json.loads((ROOT / "book" / f"{stem}.ipynb").read_text("utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.fixture(scope="module")
def windows():
    record = results.read("sliding_window/patch_size")
    return record["config"], {row["window"]: row for row in record["metrics"]["windows"]}


def mean(row, key):
    return sum(run[key] for run in row["runs"]) / len(row["runs"])


def test_index_says_how_far_the_metrics_part_at_stride_16():
    assert "the mIoU has lost more than two fifths" in prose("index")
    record = results.read("index/metric_choice")
    at = record["config"]["strides"].index(16)
    scores = {name: values[at] for name, values in record["metrics"].items()}
    assert scores["miou"] < 3 / 5 < 0.8 < scores["pixel_accuracy"]
    assert scores["miou_per_image"] < scores["miou"]


def test_the_window_experiment_is_told_with_its_own_configuration(windows):
    config, rows = windows
    text = prose("sliding_window")
    assert "ten windows and three seeds" in text
    assert (len(rows), config["seeds"]) == (10, 3)
    assert f"{config['crops']} pieces of {config['crop']} by {config['crop']} pixels" in text
    assert config["labelled_pixels_a_step"] == config["crops"] * (config["crop"] // 4) ** 2
    assert f"{config['steps']} steps" in text
    strides = {side: row["stride"] for side, row in rows.items()}
    assert "Windows of 9 and 13 pixels have stride 2, larger ones stride 4" in text
    assert {side for side, stride in strides.items() if stride == 2} == {9, 13}
    assert {side for side, stride in strides.items() if stride == 4} == {17, 21, 29, 41, 53}


def test_what_is_read_from_the_window_curve_is_in_the_record(windows):
    _, rows = windows
    for side, row in rows.items():
        exact = {run["pair_told_apart"] for run in row["runs"]} == {0.5}
        assert exact == (side <= 13), "one half exactly, up to 13 pixels"
        assert 0.45 < mean(row, "pixel_accuracy") < 0.65, "stays near one half"
    assert mean(rows[53], "miou") > 5 * mean(rows[1], "miou"), "several times larger"
    others = [value for run in rows[1]["runs"] for value in run["iou"][1:]]
    assert max(others) < 0.001, "one pixel: the program that always answers ground"


def test_three_roads_fail_in_the_ways_that_the_page_names():
    record = results.read("sliding_window/models")
    config, models = record["config"], record["metrics"]["models"]
    said = f"{config['train_scenes']} training scenes, {config['test_scenes']} test scenes"
    assert said in prose("sliding_window")
    patch, full, regions = (models[name] for name in ("patch", "full_resolution", "regions"))
    others = max(mean(patch, "pixel_accuracy"), mean(full, "pixel_accuracy"))
    assert mean(regions, "pixel_accuracy") > others + 0.1, "win clearly"
    assert abs(mean(regions, "miou") - mean(patch, "miou")) < 0.03, "level"
    assert mean(models["region_oracle"], "miou") > 2 * mean(regions, "miou")
    assert min(run["pair_told_apart"] for run in patch["runs"]) > 0.6
    for model in (full, regions):
        assert all(abs(run["pair_told_apart"] - 0.5) < 0.02 for run in model["runs"])


def test_the_street_runs_are_told_with_their_own_budgets():
    text = prose("sliding_window")
    full, patch = (results.read(f"sliding_window/camvid_{n}") for n in ("full_resolution", "patch"))
    a, b = full["config"], patch["config"]
    said = f"{a['steps']} steps of {a['batch']} whole images, {b['steps']} steps of {b['batch']}"
    assert said in text
    assert f"CamVid at {a['height']} by {a['width']} pixels" in text
    assert patch["metrics"]["miou"] > full["metrics"]["miou"], "the windows are ahead"
    reach = 2 * len(inspect.signature(FullResolutionNet).parameters["widths"].default) + 1
    said = (
        f"they see {MODELS['patch'](2).window} pixels of a street, the padded network sees {reach}"
    )
    assert said in text


def test_the_dense_pass_wins_by_what_the_page_says():
    rows = results.read("sliding_window/dense_vs_windows")["metrics"]["windows"]
    assert "two orders of magnitude at a window of 31 pixels" in prose("sliding_window")
    assert rows[-1]["window"] == 31
    assert rows[-1]["measured"] > 100
    assert all(row["measured"] > row["predicted"] for row in rows), "often more than the count"


def test_the_grid_is_weakened_by_training_and_never_removed_as_the_page_says():
    record = results.read("upsampling/checkerboard")
    config, metrics = record["config"], record["metrics"]
    text = prose("upsampling")
    assert "has five seeds and 3000 steps" in text
    assert (config["seeds"], config["steps"][-1]) == (5, 3000)
    runs = {row["layer"]: row["runs"] for row in metrics["layers"]}

    def grid(layer, step, key="flat_grid_grey_levels"):
        at = config["steps"].index(step)
        return [run["steps"][at][key] for run in runs[layer]]

    def average(layer, step, key="flat_grid_grey_levels"):
        return sum(grid(layer, step, key)) / config["seeds"]

    three, four, two = (f"kernel {k}, stride 2" for k in (3, 4, 2))
    even, resize = "kernel 2, even start", "resize-convolution"
    assert all(min(grid(layer, 0)) > 3 for layer in (three, four, two)), "untrained, every one"
    assert average(two, 0) > 1.5 * max(average(three, 0), average(four, 0)), "the strongest"
    for layer in (three, four, two):
        assert average(layer, 100) > average(layer, 0) > average(layer, 3000), "grows, then falls"
        assert abs(average(layer, 3000) / average(layer, 1000) - 1) < 0.05, "hardly changes"
    for layer in (three, four, two, even):
        assert 1 < min(grid(layer, 3000)) <= max(grid(layer, 3000)) < 6, "between one and six"
    assert average(four, 3000) < average(three, 3000) < average(two, 3000)
    assert max(grid(even, 0)) < 1e-4, "begins without a grid"
    assert max(max(grid(resize, step)) for step in config["steps"]) < 1e-3
    error = {layer: average(layer, 3000, "rmse_grey_levels") for layer in runs}
    assert {layer for layer in runs if error[layer] < error[resize]} == {four}
    parameters = {row["layer"]: row["parameters"] for row in metrics["layers"]}
    assert f"{parameters[four]} parameters against {parameters[resize]}" in text
    own = metrics["grid_energy_of_the_scenes"]
    assert all(0.5 < average(layer, 3000, "grid_energy") / own < 2 for layer in runs), "of the size"
    assert all(15 < value < 17 for value in error.values()), "an error of sixteen"
    assert abs((average(two, 3000) / error[two]) ** 2 * 16 - 1) < 0.2, "one sixteenth in squares"
