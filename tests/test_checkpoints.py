"""Checkpoints: whole or not there, damage is seen, and weights of another model are explained."""

import errno
import json
import os
import warnings

import pytest
import safetensors.torch
import torch
from torch import nn

from segcourse import checkpoints
from segcourse.errors import DataError


def net(classes=4, width=6):
    head = nn.Conv2d(width, classes, 1)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), head)


def save(folder, step, model=None, averaged=None, score=None):
    state = {"optimizer": {"step": step, "moment": torch.full((3,), float(step))}}
    model = model or net()
    return checkpoints.save(folder, step, model, averaged, state, {"crop": (0, 0)}, score)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def steps_in(folder):
    return sorted(int(p.name[5:]) for p in folder.glob("step-*"))


def test_what_is_saved_is_what_is_loaded(tmp_path):
    model, averaged, fresh, fresh_averaged = net(), net(), net(), net()
    path = save(tmp_path, 20, model, averaged, score=0.25)
    found = checkpoints.latest(tmp_path)
    assert (found.path, found.step, found.score) == (path, 20, 0.25)
    assert found.config == {"crop": [0, 0]}
    checkpoints.load_weights(fresh, path / "weights.safetensors")
    checkpoints.load_weights(fresh_averaged, path)  # a folder: the average goes first
    assert same(fresh, model)
    assert same(fresh_averaged, averaged)
    state = checkpoints.load_state(found)
    assert torch.equal(state["optimizer"]["moment"], torch.full((3,), 20.0))


def test_tied_and_channels_last_weights_survive(tmp_path):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    model[1].weight = model[0].weight
    model.to(memory_format=torch.channels_last)
    save(tmp_path, 1, model)
    fresh = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    fresh[1].weight = fresh[0].weight
    checkpoints.load_weights(fresh, tmp_path / "step-000001")
    assert same(fresh, model)
    assert fresh[1].weight is fresh[0].weight


def test_the_last_two_and_the_best_are_kept(tmp_path):
    for step, score in [(1, 0.1), (2, 0.7), (3, None), (4, 0.7), (5, 0.5), (6, None)]:
        save(tmp_path, step, score=score)
    assert steps_in(tmp_path) == [2, 5, 6]
    assert checkpoints.best(tmp_path).step == 2
    assert checkpoints.latest(tmp_path).step == 6


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoints.latest(tmp_path / "nowhere") is None
    assert checkpoints.best(tmp_path) is None


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_the_step(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 999}))


@pytest.mark.parametrize(
    ("file", "harm", "message"),
    [
        ("weights.safetensors", truncate, "weights.safetensors is damaged: it does not match"),
        ("weights.safetensors", flip_a_bit, "weights.safetensors is damaged"),
        ("state.pt", flip_a_bit, "state.pt is damaged"),
        ("state.pt", os.remove, "state.pt cannot be read"),
        ("meta.json", change_the_step, "meta.json is damaged: it does not match its own hash"),
        ("meta.json", truncate, "meta.json is damaged: it is not what was written"),
        ("meta.json", os.remove, "meta.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, file, harm, message):
    save(tmp_path, 1)
    save(tmp_path, 2)
    harm(tmp_path / "step-000002" / file)
    with pytest.warns(UserWarning, match=message):
        assert checkpoints.latest(tmp_path).step == 1


def test_a_damaged_best_is_passed_over_for_the_next_best(tmp_path):
    save(tmp_path, 1, score=0.9)
    save(tmp_path, 2, score=0.5)
    truncate(tmp_path / "step-000001" / "weights.safetensors")
    with pytest.warns(UserWarning, match="is damaged"):
        assert checkpoints.best(tmp_path).step == 2


def test_when_every_checkpoint_is_damaged_the_error_says_so(tmp_path):
    save(tmp_path, 1)
    truncate(tmp_path / "step-000001" / "state.pt")
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(DataError, match=r"every checkpoint in .* is damaged \(1 were read\)"),
    ):
        checkpoints.latest(tmp_path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing in `save` may catch it."""


@pytest.mark.parametrize("resaved", [False, True])
def test_a_kill_before_any_file_operation_leaves_a_whole_checkpoint(tmp_path, monkeypatch, resaved):
    # `save` works through these calls; a kill is tried before each one of them in turn.
    calls = {"left": -1}

    def dying(operation):
        def call(*args, **kwargs):
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return operation(*args, **kwargs)

        return call

    for name in ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "remove", "open"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    survived, outcomes = False, set()
    for kill_at in range(200):
        folder = tmp_path / str(kill_at)
        calls["left"] = -1
        for step in (1, 2, 3):
            save(folder, step)
        if resaved:  # a damaged checkpoint stands where the new one goes
            save(folder, 4)
            truncate(folder / "step-000004" / "state.pt")
        calls["left"] = kill_at
        try:
            save(folder, 4)
            survived = True
        except Killed:
            pass
        calls["left"] = -1
        with warnings.catch_warnings(action="ignore"):  # of the damaged one
            outcomes.add(checkpoints.latest(folder).step)
        if not resaved:
            for path in folder.glob("step-*"):
                checkpoints.read(path)  # raises on one that is only half there
        save(folder, 5)  # the next save cleans up
        assert not list(folder.glob(".partial*"))
        if survived:
            break
    assert survived, "save makes more calls than were tried"
    assert outcomes == {3, 4}
    assert kill_at >= 8


def test_a_full_disk_loses_no_checkpoint_and_is_not_kept_full(tmp_path, monkeypatch):
    save(tmp_path, 1)
    write = checkpoints._write

    def fails(path, content):
        write(path, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write", fails)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write_bytes(tmp_path / "record.json", b"{}" * 99)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert checkpoints.latest(tmp_path).step == 1


def test_half_written_folders_are_not_taken_for_checkpoints(tmp_path):
    save(tmp_path, 1)
    partial = tmp_path / ".partial-step-000002-77"
    partial.mkdir()
    (partial / "weights.safetensors").write_bytes(b"half")
    assert checkpoints.latest(tmp_path).step == 1


def test_a_checkpoint_without_its_weights_says_which_file_is_missing(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-000001" / "weights.safetensors").unlink()
    (tmp_path / "step-000001" / "ema.safetensors").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"step-000001/weights\.safetensors is missing"):
        checkpoints.load_weights(net(), tmp_path / "step-000001")


def test_weights_for_another_number_of_classes_say_both_numbers(tmp_path):
    save(tmp_path, 1, net(classes=11))
    message = r"trained for 11 classes and the model has 4 \(2\.weight, 2\.bias\): build the model"
    with pytest.raises(DataError, match=message):
        checkpoints.load_weights(net(classes=4), tmp_path)


def test_weights_of_another_width_name_the_first_tensor_that_differs(tmp_path):
    save(tmp_path, 1, net(width=8, classes=11))
    with pytest.raises(DataError, match=r"0\.weight is \(8, 3, 3, 3\) in the file and \(6, 3"):
        checkpoints.load_weights(net(), tmp_path)


def test_weights_of_another_model_name_what_lacks_and_what_is_beyond_need(tmp_path):
    save(tmp_path, 1, nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)))
    with pytest.raises(DataError, match=r"another model than Sequential: it lacks 1\.num_batches"):
        checkpoints.load_weights(net(), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", None, "does not exist: give a .safetensors file"),
        ("w.safetensors", b"not tensors at all", "is not a safetensors file"),
        ("w.pth", "pickle", "is not a safetensors file"),
        ("empty/", None, "holds no checkpoint"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    elif content == "pickle":
        torch.save(net().state_dict(), path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        checkpoints.load_weights(net(), path)


def test_the_folder_of_a_run_gives_its_best_weights(tmp_path):
    good, last = net(), net()
    save(tmp_path / "checkpoints", 1, good, score=0.8)
    save(tmp_path / "checkpoints", 2, last, score=0.3)
    model = net()
    file = checkpoints.load_weights(model, tmp_path)
    assert file == tmp_path / "checkpoints" / "step-000001" / "weights.safetensors"
    assert same(model, good)


def test_weights_load_into_plain_safetensors_readers(tmp_path):
    model = net()
    path = save(tmp_path, 1, model)
    saved = safetensors.torch.load_file(path / "weights.safetensors")
    assert torch.equal(saved["2.weight"], model[2].weight)
