"""The ASPP experiment: heads on the same backbone weights, and a record of what it says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import aspp_branches

    return aspp_branches


def test_every_head_starts_on_the_same_backbone(script):
    with torch.random.fork_rng():
        models = [script.build(name, seed=1) for name in script.HEADS]
    first = models[0].backbone.state_dict()
    for model in models[1:]:
        assert all(torch.equal(v, first[k]) for k, v in model.backbone.state_dict().items())


def test_the_wide_single_rate_has_as_many_weights_as_the_pyramid(script):
    with torch.random.fork_rng():
        wide, pyramid = (
            sum(p.numel() for p in script.build(name, 0).head.parameters())
            for name in ("rate_6_wide", "aspp_l")
        )
    assert abs(wide / pyramid - 1) < 0.05


def test_the_two_records_of_heads_are_what_their_commands_make(script, monkeypatch):
    """Without --only those of branches.json, so that each command makes its own record again."""

    class Asked(Exception):
        pass

    def stop(parser):
        raise Asked(parser.get_default("only"))

    monkeypatch.setattr(script, "parsed", stop)
    with pytest.raises(Asked) as asked:
        script.main()
    for name, heads in (("branches", asked.value.args[0]), ("branches_more", script.MORE)):
        record = json.loads((ROOT / "results" / "aspp" / f"{name}.json").read_text("utf-8"))
        assert sorted(record["metrics"]["heads"]) == sorted(heads)
    assert f"--only {' '.join(script.MORE)} " in record["command"]


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import aspp_recipe

    return aspp_recipe


def test_schedules_are_the_formulas_and_begin_at_one_rate(recipe):
    budget = recipe.Budget(steps=9, learning_rate=0.5)
    expected = {
        "constant": [0.5] * 9,
        "step": [0.5] * 3 + [0.05] * 3 + [0.005] * 3,
        "poly": [0.5 * (1 - t / 9) ** 0.9 for t in range(9)],
    }
    for name, rates in expected.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        schedule = recipe.follow(name)(optimizer, budget)
        found = []
        for _ in range(9):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert found == pytest.approx(rates, abs=1e-12)


def test_both_strides_start_from_the_same_weights(recipe):
    with torch.random.fork_rng():
        coarse, fine = (recipe.build(stride, seed=1) for stride in (recipe.COARSE, recipe.FINE))
    assert [m.backbone.strides[-1] for m in (coarse, fine)] == [8, 4]
    assert (coarse.head.rates, fine.head.rates) == ((2, 4, 6), (4, 8, 12))
    others = fine.state_dict()
    assert all(torch.equal(v, others[k]) for k, v in coarse.state_dict().items())


def test_the_ways_of_looking_differ_in_what_they_say(recipe):
    with torch.random.fork_rng():
        trained = recipe.build(recipe.COARSE, seed=0).eval()
    ways = recipe.ways(trained)
    rates = [
        ways[f"at 4, {way}"].head.branches[1][0].dilation[0]
        for way in ("every rate doubled", "rates as at 8", "moved by the resize")
    ]
    assert rates == [4, 2, 4]
    assert ways["at 4, every rate doubled"].head.score[0].dilation == (2, 2)
    finer = [ways[f"at 4, {way}"].finer for way in ("every rate doubled", "moved by the resize")]
    assert finer == [2, 1]
    assert ways["at 8, mirrored"].scales == (1.0,)
    assert ways["at 8, three sizes"].flip is False


@pytest.mark.slow
def test_a_quick_run_of_the_recipe_records_every_schedule_and_way(tmp_path):
    command = [sys.executable, "experiments/aspp_recipe.py", "--quick", "--seeds", "1"]
    subprocess.run(
        [*command, "--out", tmp_path / "r.json"], cwd=ROOT, check=True, capture_output=True
    )
    metrics = json.loads((tmp_path / "r.json").read_text())["metrics"]
    assert set(metrics["schedules"]) == {"0.003", "0.01"}
    for runs in metrics["schedules"].values():
        assert set(runs) == {"constant", "step", "poly"}
    assert {"at 8, as trained", "trained at 4"} < set(metrics["ways"])
    assert metrics["ways"]["at 8, as trained"] == metrics["schedules"]["0.003"]["poly"]


@pytest.mark.slow
def test_a_quick_run_records_the_branches_of_the_pyramid_alone(tmp_path):
    words = ["experiments/aspp_branches.py", "--quick", "--seeds", "1", "--only", "aspp_l"]
    command = [sys.executable, *words, "--out", tmp_path / "r.json"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    made = json.loads((tmp_path / "r.json").read_text())
    head = made["metrics"]["heads"]["aspp_l"]
    (alone,) = head["branches_alone"]
    assert set(alone) == {"3", "6", "9", "12"}
    assert made["config"]["quick"] is True
    assert len(head["runs"][0]["iou_by_size"]) == 4
