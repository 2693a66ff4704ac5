"""The FCN experiments compare like with like, and their records say what was measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.receptive_field import Field, receptive_field

ROOT = Path(__file__).parent.parent


@pytest.fixture
def skips(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import fcn_skips

    return fcn_skips


@pytest.fixture
def field(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import fcn_field

    return fcn_field


@pytest.fixture
def maps(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import fcn_maps

    return fcn_maps


def run(script, out, monkeypatch) -> dict:
    words = [script.__file__, "--quick", "--seeds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        assert script.main() == 0
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
    return json.loads(out.read_text())


def test_a_quick_run_records_every_variant_after_as_many_cycles(skips, tmp_path, monkeypatch):
    record = run(skips, tmp_path / "skips.json", monkeypatch)
    metrics = record["metrics"]
    trained = [(row["variant"], row["cycles"]) for row in metrics["runs"]]
    assert {name for name, cycles in trained if cycles == skips.CYCLES} == {
        *("32s", "16s", "8s", "8s at once")
    }
    assert len(set(trained)) == len(trained)
    fields = metrics["effective_field"]
    assert [row["cycles"] for row in fields] == [0, 1, skips.CYCLES]
    assert {row["size"] for row in fields} == {251}
    assert all(0 < row["radius_50"] < row["radius_95"] < 144 for row in fields)
    side = skips.FIELD_SIDE // skips.FIELD_CELL
    assert {(len(row["map"]), len(row["map"][0])) for row in fields} == {(side, side)}
    ceiling = [row["trimap_1px_miou"] for row in metrics["ceiling"]]
    assert ceiling == sorted(ceiling)
    assert record["config"]["quick"]


def test_the_next_variant_goes_on_where_the_one_before_stopped(skips):
    torch.manual_seed(0)
    before = skips.fcn_light(skips.K).eval()
    torch.nn.init.normal_(before.head[-1].weight)
    image = torch.randn(1, 3, 48, 40)
    after = skips.going_on(before, (16,)).eval()
    assert torch.equal(after(image), before(image))
    assert before(image).std() > 0


def test_the_unit_whose_field_is_drawn_lies_in_the_middle(skips):
    model = skips.fcn_light(skips.K)
    deep = torch.nn.Sequential(*model.backbone.stages, *list(model.head)[:-1])
    side = skips.FIELD_SIDE
    middle = -(-side // 32) // 2
    assert abs(receptive_field(deep).centre(middle) - side / 2) <= 16


def test_a_quick_run_records_every_field(field, tmp_path, monkeypatch):
    rows = run(field, tmp_path / "field.json", monkeypatch)["metrics"]["networks"]
    assert [row["stride"] for row in rows] == [4, 8, 16, 32]
    assert [row["field"] for row in rows] == [19, 43, 91, 187]
    for row in rows:
        (found,) = row["runs"]
        assert found["field_radius_95"] <= row["field"] / 2
        assert len(found["iou_by_size"]) == len(field.SIZES)


def test_the_networks_of_the_field_differ_in_depth_alone(field):
    for stages in field.STAGES:
        model = field.build(stages, seed=0)
        assert not model.skips
        assert model.coarse == Field(field.geometry(model)["field"], 2**stages, 0.0)
        shallow = field.build(2, seed=0).backbone.stages.state_dict()
        deep = model.backbone.stages.state_dict()
        assert all(torch.equal(deep[name], value) for name, value in shallow.items())


def test_the_maps_are_those_of_the_networks_in_the_record(maps, skips):
    """Seed 0 of both scripts ends with the same weights, so with the same scores."""
    from shared.dense_on_scenes import scores

    budget = maps.Budget(8, 2, 3, 2)
    state = torch.get_rng_state()
    try:
        rows, _ = skips.chains(0, budget)
        strip = maps.strip(budget)
    finally:
        torch.set_rng_state(state)
    made = maps.scenes(2, "test")
    for row, name in zip(np.split(strip, 4), (*maps.SKIPS, "8s at once"), strict=True):
        shown = np.stack(np.split(row, maps.SHOWN, axis=1))[:2]
        recorded = next(r for r in rows if (r["variant"], r["cycles"]) == (name, skips.CYCLES))
        assert scores(torch.from_numpy(shown).long(), made)["miou"] == recorded["miou"]


def test_the_picture_holds_a_row_for_each_network_as_class_indices(maps, tmp_path, monkeypatch):
    strip = np.arange(8, dtype=np.uint8).repeat(48).reshape(24, 16)
    monkeypatch.setattr(maps, "strip", lambda budget: strip)
    monkeypatch.setattr(sys, "argv", ["fcn_maps.py", "--quick", "--out", str(tmp_path / "m.png")])
    threads = torch.get_num_threads()
    assert maps.main() == 0
    torch.set_num_threads(threads)
    assert (np.asarray(Image.open(tmp_path / "m.png")) == strip).all()
