"""The switch experiment compares like with like, and its record and pictures say what it saw."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture
def switches(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import deconvnet_switches

    return deconvnet_switches


def test_a_quick_run_records_every_network_and_draws_one_scene(switches, tmp_path, monkeypatch):
    out = tmp_path / "switches.json"
    words = [switches.__file__, "--quick", "--seeds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        assert switches.main() == 0
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
    record = json.loads(out.read_text())
    assert record["command"].startswith("python experiments/deconvnet_switches.py --quick")
    trained, swapped = (record["metrics"][k] for k in ("trained", "trained_true_tested"))
    assert set(trained) == {"true", "fixed", "random", "bilinear", "no_decoder", "segnet"}
    assert set(swapped) == {"fixed", "random", "bilinear"}
    for row in (*trained.values(), *swapped.values()):
        assert len(row["runs"]) == 1
        for key in ("miou", "trimap_1px_miou", "trimap_5px_miou", "interior_miou"):
            assert 0 <= row["runs"][0][key] <= 1
    counts = [trained[name]["parameters"] for name in ("true", "fixed", "random", "bilinear")]
    assert len(set(counts)) == 1
    with Image.open(tmp_path / "maps.png") as strip:
        assert strip.size == (128 * len(trained), 128)
        assert strip.getextrema()[1] < switches.K
    with Image.open(tmp_path / "activations.png") as grid:
        steps = 2 * len(switches.networks()["true"](0).encoder) + 1
        assert grid.size == (128 * steps, 256)
        assert np.asarray(grid)[:128].max() == 255  # each step is scaled to its own maximum


def test_networks_of_a_seed_start_from_one_encoder_with_decoders_alike(switches):
    torch.manual_seed(5)
    trained = switches.bilinear_light(switches.K)
    built = {}
    for name, build in switches.networks().items():
        torch.manual_seed(0)
        built[name] = build(0)
        switches.starts_from(built[name], trained)
    for model in built.values():
        for ours, theirs in zip(
            model.encoder.parameters(), trained.encoder.parameters(), strict=True
        ):
            assert torch.equal(ours, theirs)
    true = built["true"].state_dict()
    for name in ("fixed", "random", "bilinear"):
        other = built[name].state_dict()
        assert all(torch.equal(true[key], other[key]) for key in true)
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(built["no_decoder"].eval()(image), trained.eval()(image))


def test_the_channel_that_is_drawn_agrees_best_with_the_mask(switches):
    class Toy:
        def activations(self, image):
            return {"a step": maps, "logits": maps}

    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[32:64, 32:96] = True
    maps = torch.stack([~mask, mask, torch.ones(128, 128)])[None].float()[..., ::4, ::4]
    drawn = switches.step_pictures(Toy(), None, mask)
    assert np.array_equal(drawn == 255, mask.numpy())
