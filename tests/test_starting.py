"""`--start`: weights of another run; another model only where a rule says what goes where."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from cli_tools import call, make_folder, train_words
from safetensors.torch import load_file
from torch import nn

from segcourse.checkpoints import best
from segcourse.cli import main, models
from segcourse.cli.starting import start_from


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def first(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(train_words(data, out, "--lr", 0.01)) == 0
    return out


def test_a_run_starts_from_the_best_weights_of_another(data, first, tmp_path, capsys):
    out = tmp_path / "second"
    # A step so small that the weights stay what they were.
    words = train_words(data, out, "--start", first, "--lr", 1e-12, "--weight-decay", 0)
    code, told, err = call(capsys, *words)
    assert code == 0, err
    assert f"weights from {first}\n" in told
    given = load_file(best(first / "checkpoints").path / "weights.safetensors")
    found = load_file(out / "checkpoints" / "step-000006" / "weights.safetensors")
    for name, tensor in given.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(found[name], tensor, atol=1e-9, rtol=0)
    start = json.loads((out / "record.json").read_text())["start"]
    assert start["new"] == []
    assert len(start["sha256"]) == 64


def test_a_resumed_run_has_its_weights_from_its_own_checkpoint(data, first, tmp_path, capsys):
    given, out = tmp_path / "given", tmp_path / "run"
    shutil.copytree(first, given)
    assert call(capsys, *train_words(data, out, "--start", given))[0] == 0
    shutil.rmtree(given)
    shutil.rmtree(out / "checkpoints" / "step-000006")
    code, _, err = call(capsys, "train", "--out", out, "--resume")
    assert code == 0, err
    assert json.loads((out / "record.json").read_text())["start"]["new"] == []


def test_a_resume_before_the_first_checkpoint_starts_from_the_given_weights_again(
    data, first, tmp_path, capsys
):
    whole, again = tmp_path / "whole", tmp_path / "again"
    for out in (whole, again):
        assert call(capsys, *train_words(data, out, "--start", first))[0] == 0
    shutil.rmtree(again / "checkpoints")
    assert call(capsys, "train", "--out", again, "--resume")[0] == 0
    end = Path("checkpoints") / "step-000006" / "weights.safetensors"
    assert (whole / end).read_bytes() == (again / end).read_bytes()


def test_another_model_is_refused_where_no_rule_says_what_goes_where(data, first, tmp_path, capsys):
    words = train_words(data, tmp_path / "run", "--model", "patch", "--start", first)
    code, _, err = call(capsys, *words)
    assert code == 2
    assert "full-resolution, whose weights have no known place in PatchClassifier" in err
    assert not (tmp_path / "run").exists()


def test_a_rule_hands_weights_over_and_the_rest_is_named(first, monkeypatch):
    class Longer(type(models.build("full-resolution", 2, 0))):
        def __init__(self):
            super().__init__(2)
            self.more = nn.Conv2d(2, 2, 1)

    def hand_over(trained, new):
        new.load_state_dict(trained.state_dict(), strict=False)

    kind = Longer.__base__
    monkeypatch.setitem(models.HAND_OVERS, kind, hand_over)
    model = Longer()
    told = start_from(model, first)
    assert [name for name in told["new"] if name.startswith("more")] == ["more.weight", "more.bias"]
    given = load_file(best(first / "checkpoints").path / "weights.safetensors")
    assert all(torch.equal(model.state_dict()[name], given[name]) for name in given)
    monkeypatch.setitem(models.HAND_OVERS, kind, lambda trained, new: None)
    with pytest.raises(ValueError, match="no weight of full-resolution changed Longer"):
        start_from(Longer(), first)


def test_fcn_hands_over_from_32s_to_8s_and_starts_where_it_ended(tmp_path, capsys):
    data = make_folder(tmp_path / "data", size=(32, 40))
    coarse, fine = tmp_path / "coarse", tmp_path / "fine"
    assert call(capsys, *train_words(data, coarse, "--model", "fcn32s-light"))[0] == 0
    words = ["--model", "fcn8s-light", "--start", coarse, "--lr", 1e-12, "--weight-decay", 0]
    code, told, err = call(capsys, *train_words(data, fine, *words))
    assert code == 0, err
    assert "as built: skips.16.weight, skips.16.bias, skips.8.weight, skips.8.bias" in told
    step = best(coarse / "checkpoints").path.name
    given = load_file(coarse / "checkpoints" / step / "weights.safetensors")
    found = load_file(fine / "checkpoints" / "step-000006" / "weights.safetensors")
    learned = [name for name in given if name.endswith((".weight", ".bias"))]
    for name in learned:
        torch.testing.assert_close(found[name], given[name], atol=1e-9, rtol=0)
    code, _, err = call(
        capsys, *train_words(data, tmp_path / "x", "--model", "fcn32s-light", "--start", fine)
    )
    assert (code, "hand over from fewer skips to more" in err) == (2, True)


def test_a_file_of_weights_can_be_given_and_what_does_not_fit_is_told(first, tmp_path, capsys):
    file = best(first / "checkpoints").path / "weights.safetensors"
    assert start_from(models.build("full-resolution", 2, 5), file)["new"] == []
    with pytest.raises(ValueError, match="was trained for 2 classes and the model has 3"):
        start_from(models.build("full-resolution", 3, 5), file)
    words = ["train", "--start", tmp_path / "gone", "--out", tmp_path / "x", "--device", "cpu"]
    code, _, err = call(capsys, *words, "--steps", 1)
    assert (code, "gone" in err, "Traceback" in err) == (1, True, False), err


def test_a_context_module_is_plugged_in_behind_the_front_end_of_another_run(tmp_path, capsys):
    data = make_folder(tmp_path / "data", size=(32, 40))
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert call(capsys, *train_words(data, alone, "--model", "dilated-light"))[0] == 0
    words = ["--model", "dilated-context-light", "--start", alone]
    words += ["--lr", 1e-12, "--weight-decay", 0]
    code, told, err = call(capsys, *train_words(data, both, *words))
    assert code == 0, err
    assert f"weights from {alone}; as built: context.0.weight, context.0.bias" in told
    given = load_file(best(alone / "checkpoints").path / "weights.safetensors")
    found = load_file(both / "checkpoints" / "step-000006" / "weights.safetensors")
    learned = [n for n in given if n.startswith("front_end") and n.endswith((".weight", ".bias"))]
    assert len(learned) > 10
    for name in learned:
        torch.testing.assert_close(found[name], given[name], atol=1e-9, rtol=0)
    new = json.loads((both / "record.json").read_text())["start"]["new"]
    assert set(new) == {name for name in found if name.startswith("context")}
    again = train_words(data, tmp_path / "x", "--model", "dilated-light", "--start", both)
    code, _, err = call(capsys, *again)
    assert (code, "the source has a context module already" in err) == (2, True), err
