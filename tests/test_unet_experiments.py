"""The skip experiment compares like with like, and writes what the page reads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture
def skips(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import unet_skips

    return unet_skips


def build(skips, seed):
    with torch.random.fork_rng():
        return skips.build(seed).eval()


@torch.no_grad()
def test_copies_differ_in_their_switches_alone_and_leave_the_trunk_as_it_was(skips):
    trunk = build(skips, 3)
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = trunk(x)
    for name, switches in skips.SWITCHES.items():
        net = skips.switched(trunk, switches)
        assert net.skips == switches
        for one, other in zip(trunk.parameters(), net.parameters(), strict=True):
            assert torch.equal(one, other)
            assert one.data_ptr() != other.data_ptr()
        assert torch.equal(net(x), before) == (name == "all")
    assert torch.equal(trunk(x), before)


def test_each_skip_is_taken_out_once_and_all_of_them_once(skips):
    off = [tuple(not on for on in switches) for switches in skips.SWITCHES.values()]
    each = [tuple(i == level for i in range(3)) for level in range(3)]
    assert off == [(False,) * 3, *each, (True,) * 3]


def test_a_probe_trains_its_own_weights_and_leaves_the_encoder_alone(skips):
    net = build(skips, 0)
    before = [p.clone() for p in net.parameters()]
    probe = skips.Probe(net, 1)
    assert {name.split(".")[0] for name, _ in probe.named_parameters()} == {"norm", "score"}
    probe(torch.randn(1, 3, 16, 16)).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@torch.no_grad()
def test_a_probe_of_the_finest_level_sees_five_pixels(skips):
    """Two 3x3 convolutions: a change three pixels away cannot be seen."""
    probe = skips.Probe(build(skips, 0), 0).eval()
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[..., 8, 11] += 10
    changed = (probe(x) != probe(other)).any(1)[0].nonzero()
    assert changed[:, 1].min() == 9
    assert changed.amax(0).tolist() == [10, 13]


def test_near_and_far_count_the_pair_as_one_and_leave_bars_out_of_the_far(skips):
    made = skips.scenes(4, "test")
    labels = torch.stack([one.labels for one in made])
    swapped = labels.clone()
    swapped[labels == skips.POND], swapped[labels == skips.PLAZA] = skips.PLAZA, skips.POND
    guess = swapped.where(swapped < skips.K, 0)
    assert set(skips.near_and_far(guess, labels).values()) == {1.0}
    # One far pixel that is called bar costs its own class a pixel, and makes no class of bars.
    bar = skips.SCENES.names.index("bar")
    far = ~skips.trimap(labels, skips.INTERIOR) & (labels == 0)
    guess[tuple(far.nonzero()[0])] = bar
    found = skips.near_and_far(guess, labels)
    assert 0.99 < found["far_iou"] < 1
    assert found["near_1px_iou"] == 1.0


def test_errors_at_outlines_are_seen_near_and_not_far(skips):
    labels = torch.stack([one.labels for one in skips.scenes(4, "test")])
    band = skips.trimap(labels, 2)
    guess = labels.where(~band, (labels + 1) % 5).where(labels < skips.K, 0)
    found = skips.near_and_far(guess, labels)
    assert found["far_iou"] == 1.0
    assert found["near_2px_iou"] < found["near_3px_iou"] < found["near_5px_iou"] < 1


def test_a_quick_run_writes_record_and_picture(tmp_path):
    out = tmp_path / "skips.json"
    command = [sys.executable, "experiments/unet_skips.py", "--quick", "--seeds", "1"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    record = json.loads(out.read_text())
    config, metrics = record["config"], record["metrics"]
    names, shown = config["picture"]["columns"], config["picture"]["test_scenes"]
    assert set(names) == set(metrics["networks"])
    assert set(metrics["levels_alone"]) == {"0", "1", "2", "3"}
    assert {len(row["runs"]) for row in metrics["networks"].values()} == {1}
    with Image.open(tmp_path / "skips.png") as picture:
        maps = np.asarray(picture)
    assert maps.shape == (128 * len(shown), 128 * len(names))
    assert maps.max() < 8
