"""The experiments on rates and output strides compare like with like, and write what is read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from segcourse.dilated_networks import front_end_light

ROOT = Path(__file__).parent.parent


@pytest.fixture
def experiments(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import atrous_output_stride
    import atrous_rates

    return atrous_rates, atrous_output_stride


def run(script, out, *words):
    command = [sys.executable, str(ROOT / "experiments" / script), "--quick", "--out", str(out)]
    subprocess.run([*command, *words], check=True, cwd=ROOT, capture_output=True, text=True)
    return json.loads(out.read_text(encoding="utf-8"))


def test_networks_of_one_seed_differ_in_their_rates_alone(experiments):
    rates, _ = experiments
    with torch.random.fork_rng():
        first, *others = (rates.build(stack, 3) for stack in rates.STACKS)
    for net in others:
        own = dict(net.named_parameters())
        assert all(p.equal(own[name]) for name, p in first.named_parameters())


def test_mixed_rates_have_a_twin_of_the_same_field(experiments):
    rates, _ = experiments
    uniform = {sum(stack) for stack in rates.STACKS if len(set(stack)) == 1}
    assert {sum(stack) for stack in rates.STACKS if len(set(stack)) > 1} < uniform


@torch.no_grad()
def test_the_mistake_takes_strides_out_and_changes_what_every_output_sees(experiments):
    _, output_stride = experiments
    with torch.random.fork_rng():
        torch.manual_seed(0)
        strided = front_end_light(4, 32).double().eval()
    nn.init.normal_(strided[-1].weight)
    wrong = output_stride.without_holes(strided, 8)
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    assert wrong(image).shape[2:] == (8, 8)
    assert (wrong(image)[:, :, ::4, ::4] - strided(image)).abs().max() > 0.1
    assert {tuple(a.shape) for a in wrong.parameters()} == {
        tuple(a.shape) for a in strided.parameters()
    }


def test_rates_leave_a_record_and_a_picture(tmp_path):
    record = run("atrous_rates.py", tmp_path / "rates.json", "--seeds", "1")
    stacks = record["metrics"]["stacks"]
    assert len({row["parameters"] for row in stacks}) == 1
    assert len({row["multiply_adds"] for row in stacks}) == 1
    assert [row["field_px"] for row in stacks] == [3 + 4 * sum(row["rates"]) for row in stacks]
    assert all(0 <= one["pair_told_apart"] <= 1 for row in stacks for one in row["runs"])
    panels = len(record["config"]["shown"])
    with Image.open(tmp_path / "rates.png") as picture:
        assert picture.size == (panels * 256, 256)


def test_output_strides_leave_a_record(tmp_path):
    record = run("atrous_output_stride.py", tmp_path / "strides.json", "--seeds", "1")
    networks = record["metrics"]["networks"]
    assert {f"same_weights_{s}" for s in (16, 8)} < networks.keys()
    adds = {name: rows[0]["multiply_adds"] for name, rows in networks.items()}
    assert adds["trained_32"] < adds["same_weights_16"] < adds["same_weights_8"]
    assert adds["same_weights_8"] == adds["trained_8"] == adds["no_holes_8"]
    assert 0 <= networks["context"][0]["same_labels_at_start"] <= 1
