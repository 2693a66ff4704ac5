"""What the prose of the pages says of the records is what the records say."""

import inspect
import json
import re
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import nn
from torchvision import models

from segcourse import ladder_tables, results
from segcourse.aspp import full_taps_share
from segcourse.backbones import LightBackbone
from segcourse.cli.models import MODELS
from segcourse.cli.suite_ladder import small_rungs
from segcourse.config import Config
from segcourse.convolutionalize import convolutionalize
from segcourse.cost import parameters
from segcourse.data import scene
from segcourse.data.layout import LARGEST, MARKER_GAP, MARKER_RADIUS, SMALLEST
from segcourse.data.shapes import BAR_WIDTH
from segcourse.deconvnet import deconvnet_vgg16
from segcourse.dilated_networks import front_end_light
from segcourse.fcn_networks import fcn_vgg16
from segcourse.full_resolution import FullResolutionNet
from segcourse.labels import IGNORE, SCENES
from segcourse.metrics import trimap
from segcourse.optim import factor
from segcourse.receptive_field import receptive_field
from segcourse.scoreboard import by_entry
from segcourse.segnet import segnet_vgg16

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


def test_index_tells_the_scenes_as_they_are_made():
    text = prose("index")
    assert "from 6 pixels to more than half of the image" in text
    assert SMALLEST == 6
    assert 0.5 < LARGEST < 0.7
    assert "Bars are 2 pixels thin" in text
    assert BAR_WIDTH == 2
    assert "A band of one pixel around objects has the label 255" in text
    assert IGNORE == 255


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

    assert all(15 < value < 17 for value in error.values()), "an error of fifteen"


def test_one_pass_of_alexnet_wins_by_what_the_fcn_page_says():
    rows = results.read("fcn/fcn_vs_crops")["metrics"]
    text = prose("fcn")
    assert "windows of 224 pixels" in text
    assert "as large as the field, 355 pixels" in text
    shapes = {name: (row["window"], row["crops"]) for name, row in rows.items()}
    assert shapes == {"padded": (224, 81), "padded once": (355, 81), "unpadded": (355, 25)}
    fair = rows["padded once"]
    assert fair["difference_max"] < 1e-4, "the logits are equal"
    assert min(fair["forward"], fair["backward"]) > 7.5, "more than 5 times, with room to spare"
    assert rows["padded"]["difference_mean"] > 0.01, "not those of the crops"


def test_the_original_googlenet_has_the_field_that_the_fcn_page_says():
    assert "gives it a field of 907 pixels, not 571" in prose("fcn")
    with torch.device("meta"):
        network = models.googlenet(aux_logits=False, init_weights=False)
        assert receptive_field(convolutionalize(network).layers).size == 571
        for module in network.modules():
            if hasattr(module, "branch3"):
                old = module.branch3[1].conv
                module.branch3[1].conv = nn.Conv2d(old.in_channels, old.out_channels, 5, padding=2)
        network.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
        field = receptive_field(convolutionalize(network).layers)
    assert (field.size, field.stride) == (907, 32)


def test_field_and_size_of_objects_go_together_as_the_page_says():
    record = results.read("fcn/field")
    text = prose("fcn")
    rows = record["metrics"]["networks"]
    assert [row["field"] for row in rows] == [19, 43, 91, 187]
    assert record["config"]["sizes"] == [[0, 12], [12, 24], [24, 48], [48, 1000]]
    assert f"after {record['config']['steps']} steps" in text
    assert (record["config"]["seeds"], "Three seeds each" in text) == (3, True)

    def found(row, size):
        return sum(run["iou_by_size"][size] for run in row["runs"]) / len(row["runs"])

    first, second, third, last = rows
    assert found(first, 1) > 0.15 > 0.05 > max(found(first, size) for size in (0, 2, 3))
    assert found(first, 3) < 0.05 < 0.3 < found(third, 3) < 0.4, "from nearly nothing to a third"
    gains = [found(third, size) - found(second, size) for size in range(4)]
    assert max(gains) == gains[3] > 0.1
    assert gains[1] < 0.05, "nothing worth the name"
    assert max(found(row, 0) for row in rows) < 0.06, "hardly found by any"
    assert max(found(last, size) for size in range(4)) < 0.1, "bad at every size"


@pytest.fixture(scope="module")
def skips():
    record = results.read("fcn/skips")
    rows = {}
    for run in record["metrics"]["runs"]:
        rows.setdefault((run["variant"], run["cycles"]), []).append(run)
    seeds = {key: sorted(runs, key=lambda run: run["seed"]) for key, runs in rows.items()}
    return record["config"], record["metrics"], seeds


def test_the_fcn_experiment_is_told_with_its_own_configuration(skips):
    config, _, rows = skips
    text = prose("fcn")
    said = f"{config['train_scenes']:,} training scenes, {config['test_scenes']} test scenes"
    assert f"{said}, three seeds" in text
    assert f"a cycle of {config['steps']:,} steps" in text
    assert (config["seeds"], config["cycles"], config["quick"]) == (3, 3, False)
    assert all(len(runs) == config["seeds"] for runs in rows.values())


def test_what_each_skip_gives_back_is_in_the_record(skips):
    _, metrics, rows = skips

    def seeds(name, key="miou", cycles=3):
        return [run[key] for run in rows[name, cycles]]

    for key in ("miou", "trimap_1px_miou"):
        pairs = zip(seeds("32s", key), seeds("16s", key), strict=True)
        assert all(b > 1.5 * a for a, b in pairs), "by at least one half in every seed"
    level = [b - a for a, b in zip(seeds("16s"), seeds("8s"), strict=True)]
    assert sum(gain < 0 for gain in level) == 1, "in one of the seeds 16s is ahead"
    assert max(map(abs, level)) < 0.02 < max(seeds("8s")) - min(seeds("8s"))
    bars = {name: [iou[5] for iou in seeds(name, "iou")] for name in ("32s", "16s", "8s")}
    assert max(bars["32s"] + bars["16s"]) < 0.005, "no bar was ever drawn"
    assert sum(iou > 0.1 for iou in bars["8s"]) == 2, "some in two seeds of three"
    for cycles in (2, 3):
        for once, *others in zip(
            seeds("8s at once", cycles=cycles), seeds("16s"), seeds("8s"), strict=True
        ):
            assert once > max(others) + 0.1, "far ahead, in every seed"
    at_8 = next(row["miou"] for row in metrics["ceiling"] if row["stride"] == 8)
    assert sum(value > at_8 for value in seeds("8s at once")) == 2, "two seeds above the ceiling"


def test_the_cell_listens_as_the_fcn_page_says(skips):
    _, metrics, _ = skips
    text = prose("fcn")
    fields = metrics["effective_field"]
    assert {row["size"] for row in fields} == {2 * 125 + 1}
    before = [row for row in fields if row["cycles"] == 0]
    after = [row for row in fields if row["cycles"]]
    assert {row["radius_50"] for row in before} == {60}
    assert {round(row["sigma"]) for row in before} == {53}
    low, high = (f([row["radius_50"] for row in after]) for f in (min, max))
    assert f"within {low} to {high} in the three seeds" in text
    low, high = (f([row["sigma"] for row in after]) for f in (min, max))
    assert f"to between {low:.0f} and {high:.0f}" in text


def test_the_steps_of_the_paper_and_ours_have_one_order_of_sizes(skips):
    _, _, rows = skips
    means = [sum(run["miou"] for run in rows[name, 3]) / 3 for name in ("32s", "16s", "8s")]
    assert "gives 3.0 points and 16s to 8s another 0.3" in prose("fcn")
    assert means[1] - means[0] > 5 * (means[2] - means[1]) > 0


def test_border_weights_part_cells_as_the_page_says():
    record = results.read("unet/touching_cells")
    config, variants = record["config"], record["metrics"]["variants"]
    assert "with four seeds" in prose("unet")
    assert config["seeds"] == 4
    assert config["picture"]["columns"][:3] == ["balanced", "heavy_background", "border"]
    assert {variants[name]["images"] for name in config["picture"]["columns"][:3]} == {30}
    found = {name: mean(row, "merged") for name, row in variants.items()}
    assert {round(run["objects"]) for row in variants.values() for run in row["runs"]} == {30}
    assert 6 < found["balanced"] < 7
    assert round(found["heavy_background"]) == 3
    assert round(found["border"]) == 1
    for worse, better in (("balanced", "heavy_background"), ("heavy_background", "border")):
        pairs = zip(variants[worse]["runs"], variants[better]["runs"], strict=True)
        assert all(a["merged"] > b["merged"] for a, b in pairs), "in every seed"
    iou, rand = (
        {name: mean(row, key) for name, row in variants.items()}
        for key in ("cell_iou", "adapted_rand_error")
    )
    assert iou["balanced"] > iou["heavy_background"] > iou["border"], "the IoU falls"
    assert rand["balanced"] > rand["border"]


def test_one_image_bent_teaches_more_than_one_as_the_page_says():
    variants = results.read("unet/touching_cells")["metrics"]["variants"]
    plain, *bent = (variants[f"one_image{how}"] for how in ("", "_bent_2px", "_bent_4px"))
    for row in bent:
        assert mean(row, "cell_iou") < mean(plain, "cell_iou") + 0.005, "does not help the IoU"
        assert mean(row, "merged") < mean(plain, "merged")
        assert 0.25 < 1 - mean(row, "adapted_rand_error") / mean(plain, "adapted_rand_error") < 0.4
        assert mean(row, "adapted_rand_error") > 2 * mean(variants["border"], "adapted_rand_error")


def test_the_memory_of_tiles_does_not_grow_with_the_image():
    rows = results.read("unet/overlap_tile_memory")["metrics"]["rows"]
    grown = {(r["side_px"], r["way"]): r["peak_mib"] - r["before_mib"] for r in rows}
    assert "on images of 1024 to 8192 pixels a side" in prose("unet")
    assert {side for side, _ in grown} == {1024, 2048, 4096, 8192}
    assert 3.3 < grown[2048, "whole"] / grown[1024, "whole"] < 4.5, "nearly four times"
    assert grown[8192, "tiles"] < 1.05 * grown[4096, "tiles"] < grown[1024, "whole"]
    assert {r["agrees_with_whole"] for r in rows if "agrees_with_whole" in r} == {1.0}


@pytest.fixture(scope="module")
def unet_skips():
    record = results.read("unet/skips")
    networks = {name: row["runs"] for name, row in record["metrics"]["networks"].items()}
    return record["config"], networks, record["metrics"]["levels_alone"]


def points_lost(networks, name, key):
    pairs = zip(networks["all"], networks[name], strict=True)
    return [100 * (whole[key] - run[key]) for whole, run in pairs]


ONE_OUT = ("without_0", "without_1", "without_2")


def test_no_skip_loses_the_outlines_and_each_skip_some_of_them(unet_skips):
    config, networks, _ = unet_skips
    text = prose("unet")
    assert "For each of three seeds one light U-Net of depth 3" in text
    assert (config["seeds"], config["depth"], config["quick"]) == (3, 3, False)
    assert f"for {config['steps']:,} steps. Then five copies" in text
    assert f"go on for {config['more_steps']} steps" in text
    none = points_lost(networks, "none", "near_1px_iou")
    assert f"lose {min(none):.0f} to {max(none):.0f} points within one pixel of an outline" in text
    assert all(0 < lost < 1 for lost in points_lost(networks, "none", "far_iou"))
    assert all(run["iou"][5] == 0 for run in networks["none"]), "not one pixel of a bar is right"
    single = [points_lost(networks, name, "near_1px_iou") for name in ONE_OUT]
    low, high = min(map(min, single)), max(map(max, single))
    assert low > 0, "each costs, in every seed"
    assert f"between {low:.1f} and {high:.1f} points" in text
    for losses, whole in zip(zip(*single, strict=True), none, strict=True):
        assert 0 < sum(losses) < whole / 3, "do not make a third"
    assert all(abs(x) < 1 for n in ONE_OUT for x in points_lost(networks, n, "far_iou"))


def test_the_middle_skip_is_missed_most_and_the_finest_decides_the_last_pixel(unet_skips):
    _, networks, alone = unet_skips
    near = {name: points_lost(networks, name, "near_1px_iou") for name in ONE_OUT}
    by_seed = list(zip(*near.values(), strict=True))
    assert all(max(losses) == losses[1] for losses in by_seed), "level 1, in all three seeds"
    assert sum(near["without_0"]) < sum(near["without_2"]), "the finest costs least on average"
    assert sum(a > c for a, _, c in by_seed) == 1, "in one seed more than level 2"
    wider = {name: points_lost(networks, name, "near_3px_iou") for name in ONE_OUT}
    share = [[w / n for w, n in zip(wider[k], near[k], strict=True)] for k in ONE_OUT]
    assert max(share[0]) < 0.5, "less than half"
    assert min(share[1] + share[2]) > 0.74, "three quarters and more"
    for finest, middle, coarsest in zip(*share, strict=True):
        assert finest < middle < coarsest, "the finer, the closer to the outline"
    averages = [sum(near[name]) / 3 for name in ONE_OUT]
    said = [
        [sum(points_lost(networks, n, k)) / 3 for k in ("near_1px_iou", "near_3px_iou", "far_iou")]
        for n in ONE_OUT
    ]
    cells = json.loads((ROOT / "book/unet.ipynb").read_text("utf-8"))["cells"]
    (alt,) = (
        c["metadata"]["mystnb"]["image"]["alt"]
        for c in cells
        if c["metadata"].get("mystnb", {}).get("figure", {}).get("name") == "fig-skips"
    )
    assert f"Without level 0: {said[0][0]:.1f} points within 1 px, {said[0][1]:.1f} within" in alt
    for level in (1, 2):
        assert f"Without level {level}: {said[level][0]:.1f} and {said[level][1]:.1f}." in alt
    assert max(far for _, _, far in said) < 0.5, "far: below half a point"
    assert said[0][2] <= 0, "and without level 0 none"

    def named(level, key="near_1px_iou"):
        return [run[key] for run in alone[str(level)]]

    far = [sum(named(level, "far_iou")) for level in range(4)]
    assert far == sorted(far), "rises with every level"
    assert max(named(0) + named(0, "far_iou")) < 0.13, "names hardly anything"
    for level in range(4):
        pairs = zip(named(level), networks["all"], strict=True)
        assert all(one < run["near_1px_iou"] / 2 for one, run in pairs), "not half of the U-Net"
    for zero, one, two in zip(named(0), named(1), named(2), strict=True):
        assert zero < two < one, "knows most near outlines, in every seed"
    assert averages[0] < averages[2] < averages[1], "the order in which they were missed"


@pytest.fixture(scope="module")
def decoders():
    """The record of the switches, and a score of a network by seed, by three names."""
    record = results.read("deconvnet/switches")

    def seeds(name, key="miou", group="trained"):
        runs = record["metrics"][group][name]["runs"]
        if key == "six":
            return [sum(run["iou"][:6]) / 6 for run in runs]
        return [run["iou"][5] if key == "bar" else run[key] for run in runs]

    return record, seeds


def test_the_switches_experiment_is_told_with_its_own_configuration(decoders):
    config, text = decoders[0]["config"], prose("deconvnet")
    side = config["crop"]
    for said in (
        f"learns on the scenes for {config['first_steps']:,} steps",
        f"trained for {config['steps']:,} steps more",
        f"{config['crops']} crops of {side} by {side} pixels a step",
        f"{config['train_scenes']:,} training scenes, three seeds, {config['test_scenes']} test",
    ):
        assert said in text
    assert (config["seeds"], config["quick"]) == (3, False)


def test_true_switches_beat_fixed_and_random_most_near_borders(decoders):
    _, seeds = decoders
    text = prose("deconvnet")
    widths = (1, 2, 3, 5)
    keys = [*(f"trimap_{width}px_miou" for width in widths), "miou"]
    leads = []
    for key in keys:
        true, fixed, random = (seeds(name, key) for name in ("true", "fixed", "random"))
        assert min(true) > max(fixed), "the worst is ahead of the best of the next"
        assert min(fixed) > max(random), "the worst is ahead of the best of the next"
        leads.append(100 * (sum(true) - sum(fixed)) / 3)
    assert leads == sorted(leads, reverse=True), "grows towards the border"
    assert f"{leads[-1]:.0f} points over all pixels, and {leads[0]:.0f} points within 1 px" in text


def test_bilinear_alone_leads_by_the_pair_and_switches_by_the_shapes(decoders):
    record, seeds = decoders
    trained = record["metrics"]["trained"]
    alone = seeds("no_decoder")
    average = {name: sum(seeds(name)) for name in trained}
    assert max(average, key=average.get) == "no_decoder", "the highest mIoU"
    for name in ("fixed", "random", "bilinear", "no_decoder"):
        pairs = zip(seeds("true", "six"), seeds(name, "six"), strict=True)
        assert all(a > b for a, b in pairs), "ahead in each seed"
        assert max(seeds(name, "bar")) < 0.01, "draws no bar"
    assert sum(seeds("true", "bar")) / 3 > 0.1 < sum(seeds("segnet", "bar")) / 3
    assert min(seeds("no_decoder", "pair_told_apart")) > 0.99
    new = [v for name in trained if name != "no_decoder" for v in seeds(name, "pair_told_apart")]
    assert len(new) == 15
    assert sum(value > 0.99 for value in new) == 1, "of the fifteen one does"
    assert sum(0.49 < value < 0.6 for value in new) == 14, "a coin"
    steps, six = sorted(seeds("bilinear")), sorted(seeds("bilinear", "six"))
    assert steps[2] - steps[1] > 0.1, "the pair moves the mean"
    assert six[2] - six[0] < 0.01, "close together"
    for name in ("fixed", "random", "bilinear"):
        assert sum(seeds(name, "six")) < sum(seeds("no_decoder", "six")), "no better than bilinear"
        assert sum(seeds(name)) < sum(alone)
    cost = [trained[name]["multiply_adds"] for name in ("true", "no_decoder")]
    assert 1.9 < cost[0] / cost[1] < 2.2, "about twice"


def test_no_bar_is_thick_enough_for_the_number_that_the_page_leaves_out(decoders):
    _, seeds = decoders
    assert max(seeds("true", "interior_miou")) < min(seeds("fixed", "interior_miou")), "look bad"
    bar = SCENES.names.index("bar")
    for i in range(20):
        labels = scene(0, i, split="test").labels
        assert not ((labels == bar) & ~trimap(labels, 5)).any()


def test_a_decoder_given_other_switches_is_far_behind_one_that_learned_with_them(decoders):
    _, seeds = decoders
    for name in ("fixed", "random", "bilinear"):
        given = seeds(name, group="trained_true_tested")
        assert all(a + 0.1 < b for a, b in zip(given, seeds(name), strict=True))


def test_most_of_deconvnets_parameters_lie_in_the_middle():
    assert "Nearly nine tenths lie in three layers in the middle" in prose("deconvnet")
    with torch.device("meta"):
        big, fcn, segnet = deconvnet_vgg16(21), fcn_vgg16(21), segnet_vgg16(21)
    assert 0.87 < parameters(big.bridge) / parameters(big) < 0.9
    assert 1.8 < parameters(big) / parameters(fcn) < 2, "almost twice"
    assert 0.18 < parameters(segnet) / parameters(fcn) < 0.24, "about a fifth"


@pytest.fixture(scope="module")
def rates():
    record = results.read("atrous/rates")
    stacks = {tuple(row["rates"]): row for row in record["metrics"]["stacks"]}
    return record["config"], stacks


def pair_iou(row):
    return [sum(run["iou"][6:8]) / 2 for run in row["runs"]]


EQUAL = [(n,) * 5 for n in (1, 2, 3, 4)]
MIXED = [(1, 1, 2, 3, 3), (1, 2, 3, 4, 5), (1, 2, 4, 5, 8)]


def test_the_rates_experiment_is_told_with_its_own_configuration(rates):
    config, stacks = rates
    text = prose("atrous")
    said = f"{config['train_scenes']:,} training scenes, {config['test_scenes']} test scenes"
    assert f"{said}, {config['steps']} steps and three seeds" in text
    assert (config["seeds"], config["quick"]) == (3, False)
    assert {row["parameters"] for row in stacks.values()} == {27_056}
    assert "27,056 weights and the same multiply-adds" in text
    assert len({row["multiply_adds"] for row in stacks.values()}) == 1
    assert set(stacks) == {*EQUAL, *MIXED}
    fields = [stacks[row]["field_px"] for row in EQUAL]
    assert fields == [23, 43, 63, 83]
    assert fields[1:] == [stacks[row]["field_px"] for row in MIXED]


def test_the_context_pair_follows_the_field_as_far_as_the_page_says(rates):
    _, stacks = rates
    narrow, *equal = (pair_iou(stacks[row]) for row in EQUAL)
    mixed = [pair_iou(stacks[row]) for row in MIXED]
    for wider in (equal[0], mixed[0]):
        assert all(a + 0.05 < b for a, b in zip(narrow, wider, strict=True)), "in every seed"
    apart = [run["pair_told_apart"] for run in stacks[EQUAL[0]]["runs"]]
    assert all(abs(value - 0.5) < 0.005 for value in apart), "the toss of a coin"
    means = [sum(values) / 3 for values in mixed]
    assert means[0] < means[1] > means[2]
    fell = [b < a for a, b in zip(*mixed[:2], strict=True)]
    assert sum(fell) == 1, "from 43 to 63 pixels, in one of three seeds"
    assert all(b < a for a, b in zip(*mixed[1:], strict=True)), "at 83 pixels, in every seed"
    flat = [sum(values) / 3 for values in equal]
    assert flat[0] > flat[1] > flat[2] > flat[0] - 0.05, "with equal rates it does not rise"
    for one, other in zip(mixed, equal, strict=True):
        assert all(a > b for a, b in zip(one, other, strict=True)), "mixed rates are ahead"


def test_with_more_steps_no_field_is_the_best_as_the_page_says(rates):
    config, stacks = rates
    longer = results.read("atrous/longer")
    assert longer["config"]["steps"] == 3 * config["steps"] == 2100
    assert "with three times the steps" in prose("atrous")
    rows = {tuple(row["rates"]): row for row in longer["metrics"]["stacks"]}
    assert list(rows) == MIXED
    gains = [
        after["pair_told_apart"] - before["pair_told_apart"]
        for mixed in MIXED
        for after, before in zip(rows[mixed]["runs"], stacks[mixed]["runs"], strict=True)
    ]
    assert (len(gains), sum(gain > 0.25 for gain in gains)) == (9, 8), "eight of the nine"
    best = [max(range(3), key=lambda i, s=seed: pair_iou(rows[MIXED[i]])[s]) for seed in range(3)]
    assert sorted(best) == [0, 1, 2], "each of the three fields in one of the three seeds"


def test_mixed_rates_have_half_the_unrest_of_equal_ones(rates):
    _, stacks = rates
    for mixed, equal in zip(MIXED, EQUAL[1:], strict=True):
        pairs = zip(stacks[mixed]["runs"], stacks[equal]["runs"], strict=True)
        ratios = [one["unrest"] / other["unrest"] for one, other in pairs]
        assert 0.35 < min(ratios) <= max(ratios) < 0.6, "about half, in every seed"
        periods = {run["unrest_period"] for row in (mixed, equal) for run in stacks[row]["runs"]}
        assert periods == {equal[0]}, "compared at the same distance"


@pytest.fixture(scope="module")
def output_strides():
    record = results.read("atrous/output_stride_scenes")
    return record["config"], record["metrics"]["networks"]


def test_one_set_of_weights_at_three_strides_does_what_the_atrous_page_says(output_strides):
    config, networks = output_strides
    text = prose("atrous")
    assert f"with {config['steps']:,} steps each" in text
    assert f"After {config['more_steps']} more steps" in text
    miou = {name: [run["miou"] for run in runs] for name, runs in networks.items()}
    assert {len(values) for values in miou.values()} == {3}

    def gains(better, worse):
        return [b - a for a, b in zip(miou[worse], miou[better], strict=True)]

    for stride in (16, 8):
        finer = gains(f"same_weights_{stride}", "trained_32")
        assert min(finer) > -0.001, "hardly better"
        assert max(finer) < 0.03, "a little at most"
        assert max(gains(f"no_holes_{stride}", f"same_weights_{stride}")) < 0, "in every seed"
        assert max(gains(f"no_holes_{stride}", "trained_32")) < 0
    assert min(gains("trained_16", "trained_32")) > 0.05
    assert min(gains("trained_8", "trained_16")) > 0.05
    assert min(gains("context", "trained_8_longer")) > 0.08, "at least eight points"
    adds = {name: runs[0]["multiply_adds"] for name, runs in networks.items()}
    assert adds["trained_8"] > 3 * adds["trained_32"]
    apart = {n: [run["pair_told_apart"] for run in runs] for n, runs in networks.items()}
    for plain, context in zip(apart["trained_8_longer"], apart["context"], strict=True):
        assert context > plain + 0.2, "much more often"
    kept = min(run["same_labels_at_start"] for run in networks["context"])
    assert 0.96 <= kept < 0.97, "at least 96 %"
    assert receptive_field(front_end_light(8)).size == 251
    assert "the front end's 251 pixels" in text


def test_a_finer_grid_costs_what_the_atrous_page_says():
    rows = results.read("atrous/output_stride")["metrics"]["rows"]
    at = {(row["network"], row["output_stride"]): row for row in rows}

    def grows(network, key):
        return at[network, 8][key] / at[network, 32][key]

    convolutions, whole, resnet = "VGG16, convolutions", "VGG16 with fc6, fc7", "ResNet-50"
    for key in ("multiply_adds_forward", "multiply_adds_backward"):
        assert 1.2 < grows(convolutions, key) < 1.3, "by a quarter"
        assert 5 < grows(whole, key) < 6, "more than fivefold"
        assert 4.5 < grows(resnet, key) < 5, "nearly fivefold"
    for way in ("forward", "backward"):
        for network in (convolutions, whole):
            assert grows(network, f"{way}_peak_bytes") < 1.1, "peak memory grows less"
        peaks = [at[resnet, s][f"{way}_peak_bytes"] for s in (32, 16, 8)]
        assert peaks[0] == peaks[1] < peaks[2] < 2 * peaks[1], "overtake only at stride 8"
    added = at[whole, 32]["parameters"] - at[convolutions, 32]["parameters"]
    fc6 = 7 * 7 * 512 * 4096
    assert fc6 // 10**6 == 102
    assert added > fc6


@pytest.fixture(scope="module")
def heads():
    record, more = (results.read(f"aspp/{name}") for name in ("branches", "branches_more"))
    alike = record["config"], more["config"]
    assert alike[0] == alike[1], "one recipe for both"
    return record["config"], record["metrics"]["heads"] | more["metrics"]["heads"]


SINGLE_RATES = tuple(f"rate_{rate}" for rate in (1, 2, 3, 4, 6, 9, 12))


def every_seed(better, worse, key="miou"):
    pairs = zip(better["runs"], worse["runs"], strict=True)
    return all(a[key] > b[key] for a, b in pairs)


def mean_by_size(row):
    runs = [run["iou_by_size"] for run in row["runs"]]
    return [sum(values) / len(values) for values in zip(*runs, strict=True)]


def test_the_head_experiment_is_told_with_its_own_configuration(heads):
    config, rows = heads
    text = prose("aspp")
    assert "twelve heads:" in text.lower()
    assert f"Three seeds, {config['steps']:,} steps each" in text
    assert (len(rows), config["seeds"], config["quick"], config["crop"]) == (12, 3, False, 96)
    assert (config["rates_s"], config["rates_l"]) == ([1, 2, 4, 6], [3, 6, 9, 12])
    for rate, said in ((9, "6 % of the positions"), (12, "rate 12 at none")):
        assert said in text
        assert full_taps_share((24, 24), rate) == pytest.approx({9: 0.0625, 12: 0}[rate])
    fields = receptive_field(nn.Sequential(*LightBackbone(config["backbone_widths"]).stages))
    assert f"Each tap sees a patch of {fields.size} pixels" in text
    assert fields.stride == 4
    for name in ("rate_3_wide", "rate_6_wide"):
        assert 1 < rows[name]["parameters"] / rows["aspp_s"]["parameters"] < 1.01
    assert 2 < rows["aspp_s"]["parameters"] / rows["rate_3"]["parameters"] < 2.2, "twice"


def test_markers_lie_where_the_aspp_page_says():
    assert "18 to 24 pixels from its middle" in prose("aspp")
    found = [
        spec.diameter / 2 + MARKER_GAP + MARKER_RADIUS + 0.8
        for i in range(100)
        for spec in scene(0, i, split="test").specs
        if spec.label >= 6
    ]
    assert 17.5 < min(found) < max(found) < 24.5


def test_which_rates_serve_is_in_the_record(heads):
    _, rows = heads
    text = prose("aspp")
    assert {rows[name]["parameters"] for name in SINGLE_RATES} == {60752}
    assert "60,752 parameters" in text
    said = "rises from 0.41 at rate 1 to 0.61 at rate 4, and falls to 0.30 at rate 12"
    assert said in text
    miou = [round(mean(rows[name], "miou"), 2) for name in SINGLE_RATES]
    assert (miou[0], miou[3], miou[-1]) == (0.41, 0.61, 0.30)
    assert miou[:4] == sorted(miou[:4])
    assert miou[3:] == sorted(miou[3:], reverse=True)
    pair = {name: [run["pair_told_apart"] for run in rows[name]["runs"]] for name in SINGLE_RATES}
    assert min(pair["rate_3"] + pair["rate_4"] + pair["rate_6"]) > 0.98, "almost always"
    assert max(pair["rate_1"] + pair["rate_9"] + pair["rate_12"]) < 0.55, "a coin toss"
    assert sorted(value > 0.9 for value in pair["rate_2"]) == [False, False, True]


def test_the_narrow_pyramid_beats_its_best_branch_and_the_wide_one_does_not(heads):
    _, rows = heads
    text = prose("aspp")
    for name in (*SINGLE_RATES, "rate_6_wide", "aspp_l", "v3"):
        assert every_seed(rows["aspp_s"], rows[name]), "in every seed"
    assert max(SINGLE_RATES, key=lambda name: mean(rows[name], "miou")) == "rate_4"
    miou = {name: mean(row, "miou") for name, row in rows.items()}
    assert "rate 4, by 8 points" in text
    assert round(100 * (miou["aspp_s"] - miou["rate_4"])) == 8
    assert every_seed(rows["aspp_l"], rows["rate_6"]), "ahead of LargeFOV in every seed"
    assert "better than the whole by 7 points" in text
    assert round(100 * (miou["rate_3"] - miou["aspp_l"])) == 7
    assert miou["v3"] < miou["aspp_l"], "behind both"


def test_equal_weights_at_the_right_rate_are_nearly_level_with_the_pyramid(heads):
    _, rows = heads
    text = prose("aspp")
    wide, pyramid = rows["rate_3_wide"], rows["aspp_s"]
    assert "it has 0.68 where ASPP-S has 0.69" in text
    assert [round(mean(row, "miou"), 2) for row in (wide, pyramid)] == [0.68, 0.69]
    assert "At rate 6 the same weights have 0.56" in text
    assert round(mean(rows["rate_6_wide"], "miou"), 2) == 0.56
    pairs = list(zip(wide["runs"], pyramid["runs"], strict=True))
    assert sorted(b["miou"] > a["miou"] for a, b in pairs) == [False, True, True]
    gain = mean(pyramid, "miou") - mean(rows["rate_3"], "miou")
    assert mean(wide, "miou") - mean(rows["rate_3"], "miou") > 0.75 * gain, "most of the gain"
    for a, b in pairs:
        for i in (0, 1):
            assert b["iou_by_size"][i] > a["iou_by_size"][i], "below 24 px, in every seed"
    for i in (2, 3):
        assert abs(mean_by_size(pyramid)[i] - mean_by_size(wide)[i]) < 0.03, "level"


def test_sizes_are_carried_by_the_rates_that_the_page_names(heads):
    _, rows = heads
    sizes = {name: mean_by_size(row) for name, row in rows.items()}
    assert "0.25 against 0.17 or less" in prose("aspp")
    assert round(sizes["rate_1"][0], 2) == 0.25
    assert max(sizes[name][0] for name in SINGLE_RATES[1:]) <= 0.17
    for i in (1, 2, 3):
        ranked = sorted(SINGLE_RATES, key=lambda name: -sizes[name][i])
        assert set(ranked[:2]) == {"rate_3", "rate_4"}, "lead"
        best = max(sizes["rate_3"][i], sizes["rate_4"][i])
        assert sizes["aspp_s"][i] > best + 0.1, "by at least 10 points"
    assert sizes["rate_4"][3] > sizes["rate_3"][3]
    assert abs(sizes["aspp_s"][0] - sizes["rate_1"][0]) < 0.01, "level"
    for name in ("rate_6", "rate_9", "rate_12"):
        assert all(a < b for a, b in zip(sizes[name], sizes["rate_3"], strict=True))


def test_no_branch_of_the_pyramid_stands_alone(heads):
    _, rows = heads
    alone = rows["aspp_l"]["branches_alone"]
    found = [branch["miou"] for seed in alone for branch in seed.values()]
    assert f"{min(found):.2f} to {max(found):.2f} mIoU, where their sum has 0.54" in prose("aspp")
    assert round(mean(rows["aspp_l"], "miou"), 2) == 0.54
    best = [
        [max(seed, key=lambda rate: seed[rate]["iou_by_size"][i]) for seed in alone]
        for i in range(4)
    ]
    assert best[1] == best[2] == ["3"] * 3, "in every seed"
    assert len(set(best[0])) > 1, "changes from seed to seed"
    assert len(set(best[3])) > 1
    for i in (1, 2, 3):
        summed = [run["iou_by_size"][i] for run in rows["aspp_l"]["runs"]]
        for seed, together in zip(alone, summed, strict=True):
            assert together > max(branch["iou_by_size"][i] for branch in seed.values())


def test_the_mean_factors_of_the_schedules_are_as_the_aspp_page_says():
    assert "poly's mean factor is 0.53, step's 0.37" in prose("aspp")
    poly = Config(steps=3000, schedule="poly", power=0.9)
    step = Config(steps=3000, schedule="step", milestones=(1 / 3, 2 / 3))
    for config, said in ((poly, 0.53), (step, 0.37)):
        factors = [factor(config, t) for t in range(config.steps)]
        assert round(sum(factors) / len(factors), 2) == said


@pytest.fixture(scope="module")
def recipe():
    record = results.read("aspp/recipe")
    return record["config"], record["metrics"]


def test_poly_is_ahead_as_the_aspp_page_says(recipe):
    config, metrics = recipe
    text = prose("aspp")
    assert f"In these runs of {config['steps']} steps poly is ahead of step" in text
    assert (config["seeds"], config["quick"], len(metrics["schedules"])) == (3, False, 2)
    assert f"cuts to a tenth after {config['steps'] // 3} steps" in text
    for runs in metrics["schedules"].values():
        rows = {name: {"runs": found} for name, found in runs.items()}
        assert every_seed(rows["poly"], rows["step"]), "at both rates in every seed"
        assert mean(rows["poly"], "miou") > mean(rows["constant"], "miou")
        assert mean(rows["constant"], "miou") > mean(rows["step"], "miou"), "behind even"
    assert "In the paper's 6,000 steps the gap is 1.2 points" in text
    assert round(63.42 - 62.25, 1) == 1.2


def test_a_finer_grid_helps_when_it_is_done_right_as_the_aspp_page_says(recipe):
    config, metrics = recipe
    ways = {name: {"runs": runs} for name, runs in metrics["ways"].items()}
    assert (config["coarse"], config["fine"]) == (8, 4)
    trained, fine = ways["at 8, as trained"], ways["at 4, every rate doubled"]

    def gained(name, key="miou"):
        return 100 * (mean(ways[name], key) - mean(trained, key))

    text = prose("aspp")
    assert every_seed(fine, trained, "trimap_3px_miou"), "in every seed"
    assert "by 0.8 points on average" in text
    assert round(gained("at 4, every rate doubled", "trimap_3px_miou"), 1) == 0.8
    assert abs(gained("at 4, every rate doubled")) < 0.3, "level"
    assert "1.5 points for the resize, four points for the rates" in text
    for name, lost in (("at 4, moved by the resize", 1.5), ("at 4, rates as at 8", 4)):
        assert every_seed(trained, ways[name])
        assert every_seed(trained, ways[name], "trimap_3px_miou")
        assert abs(gained(name) + lost) < 0.25
    assert abs(gained("at 8, mirrored")) < 0.1, "next to nothing"
    assert -1 < gained("at 8, three sizes") < -0.7, "almost a point"
    assert every_seed(trained, ways["at 8, three sizes"])
    assert len(config["scales"]) == 3


@pytest.fixture(scope="module")
def refined():
    return results.read("crf/refine")["metrics"]["runs"]


def points(run, method, key="miou"):
    return 100 * run[method][key]


def bars(scores):
    return 100 * scores["iou"][5]


def test_crf_says_what_the_dense_crf_gains(refined):
    text = prose("crf")
    assert "adds 16 to 18 points to the mean IoU, and 21 to 22 within 1 pixel" in text
    for key, low, high in (("miou", 16, 18), ("trimap_1px_miou", 21, 22)):
        gains = [points(run, "dense", key) - points(run, "network", key) for run in refined]
        assert (round(min(gains)), round(max(gains))) == (low, high)
    assert "chose 40 pixels, 10 steps of colour and a weight of 8" in text
    searched = results.read("crf/refine")["config"]["searched"]
    assert (max(searched["sxy"]), min(searched["srgb"]), max(searched["weight"])) == (40, 10, 8)
    for run in refined:
        chosen = {"sxy": 40.0, "srgb": 10.0, "weight": 8.0}
        assert {name: run["chosen"][name] for name in chosen} == chosen


def test_crf_says_what_the_short_range_crf_gains_and_costs(refined):
    assert "adds one point in every seed" in prose("crf")
    assert "lose 1 to 2 points at the strength that is best for the mean, and 3 to 4" in prose(
        "crf"
    )
    for run in refined:
        assert round(points(run, "short") - points(run, "network")) == 1
        before, by = bars(run["network"]), run["short_by_strength"]
        assert run["chosen"]["strength"] == 1.0
        assert 1 <= before - bars(run["short"]) < 2
        assert 3 <= before - bars(by["4.0"]) < 4
        assert by["4.0"]["miou"] < by["1.0"]["miou"]


def test_crf_says_how_soon_the_iterations_are_done(refined):
    assert "more than seven tenths of its gain" in prose("crf")
    for run in refined:
        film, before = run["miou_by_iteration"], run["network"]["miou"]
        assert (film[0] - before) / (film[4] - before) > 0.7
        assert max(film[2:]) - min(film[2:]) < 0.005


def test_crf_says_what_noise_and_smoothness_do(refined):
    text = prose("crf")
    assert "With noise the short-range CRF earns about eight points" in text
    assert "still 8 to 10 points above the network alone" in text
    for run in refined:
        assert round(points(run, "noisy_short") - points(run, "noisy")) == 8
        assert points(run, "noisy_dense") > points(run, "noisy_short") + 15
        assert 8 <= round(points(run, "too_smooth") - points(run, "network")) <= 10
        assert bars(run["too_smooth"]) < 0.6 * bars(run["network"])
        assert bars(run["dense"]) > bars(run["network"]) + 10
        assert points(run, "end_to_end") > max(points(run, "dense"), points(run, "longer_dense")), (
            "training through the CRF is best in every seed"
        )
        assert abs(points(run, "longer") - points(run, "network")) < 0.5


def test_crf_says_how_the_time_grows():
    assert "there are 64 times as many pixels, and the time grows about a hundredfold" in prose(
        "crf"
    )
    scaling = results.read("crf/scaling")["metrics"]
    pixels = {row["pixels"]: row["total_ms"] for row in scaling["by_pixels"]}
    assert 80 < pixels[2048**2] / pixels[256**2] < 125
    labels = {row["labels"]: row for row in scaling["by_labels"]}
    assert labels[2]["build_ms"] > 0.5 * labels[2]["total_ms"], "few labels: mostly building"


def test_crf_says_how_ours_and_the_package_compare():
    speed = results.read("crf/speed")["metrics"]
    assert "The two give the same labels" in prose("crf")
    assert min(row["labels_agree"] for row in speed["agreement"]) > 0.999
    assert max(row["largest_difference"] for row in speed["agreement"]) < 1e-2
    for row in speed["against_exact"]:
        assert abs(row["peer_labels_agree"] - row["ours_labels_agree"]) < 0.002
    assert "In building the lattice the two are nearer to each other. So it is further" in prose(
        "crf"
    )
    ratio = {
        (row["width"], row["parameters"], row["iterations"]): row["ratio"] for row in speed["times"]
    }
    for width, name, _ in ratio:
        built, five, ten = (ratio[width, name, rounds] for rounds in (0, 5, 10))
        assert 1.5 < five < ten
        assert abs(built - 1) < five - 1
    most = max(ratio, key=ratio.get)
    assert most[1:] == ("README", 10)
    assert all(row["ours"] < 2 * row["peer"] for row in speed["memory_mib"])


@pytest.mark.parametrize("page", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_file_of_the_repository_that_a_page_names_is_there(page):
    folders = ("segcourse", "tests", "experiments", "benchmarks", "exercises", "tools")
    names = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
    for named in re.findall(r"`(?:python )?([\w/]+\.py)\b", prose(page.stem)):
        found = (ROOT / named).is_file() if "/" in named else named in names
        assert found, f"{page.stem} names {named}, which is not in the repository"


# ---- results: membranes


def test_border_weights_on_membranes_find_more_membrane_and_part_more_cells():
    border, plain = (
        {
            record["seed"]: record["metrics"]["val"]
            for record in results.read_all("suite_small").values()
            if record.get("name") == name
        }
        for name in ("unet-isbi-light", "unet-isbi-light-no-border")
    )
    shared = border.keys() & plain.keys()
    assert len(shared) > 1
    for seed in shared:
        weighted, other = border[seed], plain[seed]
        assert weighted["objects"]["merged"] < other["objects"]["merged"]
        assert weighted["objects"]["missed"] > other["objects"]["missed"]
        assert weighted["objects"]["adapted_rand_error"] > other["objects"]["adapted_rand_error"]
        assert weighted["iou"]["membrane"] < other["iou"]["membrane"]
        assert weighted["class_accuracy"]["membrane"] > other["class_accuracy"]["membrane"]
        assert weighted["class_accuracy"]["cell"] < other["class_accuracy"]["cell"]


# ---- results: the small ladder


def test_the_small_ladder_is_read_as_its_records_say():
    text = prose("results")
    runs = by_entry(results.read_all("suite_small").values())
    found = {row.rung.short: row for row in ladder_tables.rows(small_rungs(), runs)}

    assert "With the first seed alone, class weights lower val and the architecture raises" in text
    for name, sign in (("weights", 1), ("architecture", -1)):
        assert sign * found[name].gains[0] < 0 < sign * found[name].gain
    assert "class weights are ahead in every seed" in text
    assert min(found["weights"].test_gains) > 0

    assert "Class weights and the running average were kept for less than half a point" in text
    for name in ("weights", "ema"):
        assert 0 < found[name].gain < 0.005
        assert min(found[name].gains) < 0 < max(found[name].gains)

    assert "alone falls by less than a point" in text
    assert -0.01 < found["architecture"].gain < 0
    assert "about ten points above the rung below both, in every seed" in text
    assert found["architecture"].rung.with_next
    together = found["width"].together
    assert 0.09 < fmean(together) < 0.11
    assert min(together) > 0.05

    assert "Other sizes, crops and colours make the task harder" in text
    for name in ("scale-crop", "colour"):
        assert max(found[name].gain, fmean(found[name].test_gains)) < -0.01

    def iou(row, name):
        splits = [run["metrics"][split] for run in row.runs for split in ("val", "test")]
        return [split["iou"][name] for split in splits]

    narrow = list(found.values())[: list(found).index("architecture") + 1]
    assert "poles, signs and bicyclists have an IoU of zero" in text
    for row in narrow:
        assert max(max(iou(row, name)) for name in ("Pole", "SignSymbol", "Bicyclist")) < 0.005
    assert "anything from nothing to more than 80 % on val" in text
    trees = [one for row in narrow for one in iou(row, "Tree")[::2]]  # on val
    assert min(trees) < 0.005 < 0.8 < max(trees)

    assert "From the first rung to the last val gains more than test does" in text
    first, last = found["plain"], found["long"]
    assert fmean(last.scores) - fmean(first.scores) > last.test - first.test + 0.02
