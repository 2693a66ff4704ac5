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


def build(skips, name, seed):
    with torch.random.fork_rng():
        return skips.build(name, seed).eval()


def test_networks_of_one_seed_differ_in_their_switches_alone(skips):
    first, *others = (
        build(skips, name, 3) for name in ("all", "without_0", "without_1", "without_2", "none")
    )
    assert [net.skips for net in (first, *others)] == [
        (True, True, True),
        (False, True, True),
        (True, False, True),
        (True, True, False),
        (False, False, False),
    ]
    for net in others:
        for one, other in zip(first.parameters(), net.parameters(), strict=True):
            assert torch.equal(one, other)
    again = build(skips, "all", 4)
    assert not torch.equal(first.score.weight, again.score.weight)


@torch.no_grad()
def test_the_sum_adds_what_the_others_join(skips):
    net = build(skips, "sum", 0)
    joined = build(skips, "all", 0)
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in joined.parameters())
    assert [m for m in net.decoder.modules() if isinstance(m, skips.Halves)]
    assert not [m for m in net.encoder.modules() if isinstance(m, skips.Halves)]
    x = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(skips.Halves()(x), x[:, :3] + x[:, 3:])


def test_a_probe_trains_its_own_weights_and_leaves_the_encoder_alone(skips):
    net = build(skips, "all", 0)
    before = [p.clone() for p in net.parameters()]
    probe = skips.Probe(net, 1)
    assert {name.split(".")[0] for name, _ in probe.named_parameters()} == {"norm", "score"}
    probe(torch.randn(1, 3, 16, 16)).sum().backward()
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@torch.no_grad()
def test_a_probe_of_the_finest_level_sees_five_pixels(skips):
    """Two 3x3 convolutions: a change three pixels away cannot be seen."""
    probe = skips.Probe(build(skips, "all", 0), 0).eval()
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
    counts = {row["parameters"] for name, row in metrics["networks"].items() if name != "sum"}
    assert len(counts) == 1
    with Image.open(tmp_path / "skips.png") as picture:
        maps = np.asarray(picture)
    assert maps.shape == (128 * len(shown), 128 * len(names))
    assert maps.max() < 8
