"""Data with cells on the command line: deformed, weighed at borders, scored as objects."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import call, make_folder
from PIL import Image
from safetensors.torch import load_file

from segcourse import elastic, losses
from segcourse.border_weights import border_weights
from segcourse.cli import objects, running
from segcourse.cli.runs import load_run
from segcourse.cli.suite_runs import RUNS
from segcourse.config import Config
from segcourse.data import cell_image, open_data
from segcourse.data.augment import normalise
from segcourse.data.batches import ResidentBatches
from segcourse.data.deformed import DeformedBatches
from segcourse.instances import connected_components
from segcourse.labels import IGNORE

SMALL = "--height 32 --width 32 --batch 2 --steps 4 --eval-every 2 --checkpoint-every 2 --lr 0.01"


SLICES = [entry for entry in RUNS if "--data isbi" in entry.flags]


def words(*more, data="cells"):
    return ["train", "--data", data, *SMALL.split(), "--device", "cpu", *map(str, more)]


@pytest.fixture(scope="module")
def isbi(tmp_path_factory) -> Path:
    """Thirty generated slices in the layout of ISBI-EM: black membranes, white cells."""
    root = tmp_path_factory.mktemp("isbi")
    for i in range(30):
        made = cell_image(1, i, (32, 32))
        for folder, pixels in (("image", made.image[0]), ("label", made.labels * 255)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels.numpy().astype(np.uint8)).save(root / folder / f"{i}.png")
    return root


def test_slices_of_electron_microscopy_train_and_are_scored_as_cells(isbi, tmp_path, capsys):
    label = pytest.importorskip("skimage.measure").label
    adapted_rand_error = pytest.importorskip("skimage.metrics").adapted_rand_error
    out = tmp_path / "run"
    flags = ("--root", isbi, "--elastic", 2, "--border-weight", 10, "--class-weights", "median")
    code, told, err = call(capsys, *words(*flags, "--out", out, data="isbi"))
    assert code == 0, err
    found = json.loads((out / "record.json").read_text("utf-8"))
    assert (found["config"]["elastic"], found["config"]["border_weight"]) == (2, 10)
    assert set(found["metrics"]["iou"]) == {"membrane", "cell"}

    # The numbers of the record, from the last weights, by scikit-image.
    trained = load_run(out, torch.device("cpu"))
    trained.model.load_state_dict(load_file(out / "checkpoints/step-000004/weights.safetensors"))
    val, rand, cells = open_data("isbi", isbi, "val"), [], 0
    for i in range(len(val)):
        image, labels = val[i]
        with torch.no_grad():
            predicted = trained.model(normalise(image[None].float() / 255)).argmax(1)[0]
        truth, seen = (label(x.numpy() == 1, connectivity=1) for x in (labels, predicted))
        rand.append(adapted_rand_error(truth, seen)[0])
        cells += truth.max()
    measured = found["metrics"]["objects"]
    assert measured["objects"] == cells
    assert measured["adapted_rand_error"] == pytest.approx(np.mean(rand), abs=1e-5)
    assert f"of {cells} cells" in told

    code, told, _ = call(capsys, "eval", out, "--json", tmp_path / "eval.json")
    assert code == 0
    assert "adapted Rand error: 0." in told
    numbers = json.loads((tmp_path / "eval.json").read_text("utf-8"))["metrics"]["objects"]
    assert numbers["objects"] == cells


@pytest.mark.parametrize("entry", SLICES, ids=lambda entry: entry.name)
def test_the_gpu_lists_runs_on_slices_train_with_their_own_flags(entry, isbi, tmp_path, capsys):
    smaller = "--model unet-light --crop 32 32 --batch 2 --steps 2 --warmup 0 --eval-every 0"
    here = ("--root", isbi, "--device", "cpu", "--out", tmp_path / "run")
    command = ("train", *entry.flags.split(), *smaller.split(), *here)
    code, _, err = call(capsys, *command)
    assert code == 0, err
    found = json.loads((tmp_path / "run/record.json").read_text("utf-8"))
    assert found["config"]["elastic"] == (0 if "no-elastic" in entry.name else 10)
    assert found["config"]["border_weight"] == (0 if "no-border" in entry.name else 10)
    assert "membrane" in found["metrics"]["iou"]
    assert found["metrics"]["objects"]["objects"] > 0


def test_a_deformed_and_weighted_run_resumes_to_the_same_weights(tmp_path, capsys, monkeypatch):
    flags = ("--elastic", 1.5, "--border-weight", 10)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert call(capsys, *words(*flags, "--out", whole))[0] == 0
    weighted, calls = losses.weighted_cross_entropy, []

    def stop_in_step_four(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return weighted(*arguments)

    monkeypatch.setattr(losses, "weighted_cross_entropy", stop_in_step_four)
    assert call(capsys, *words(*flags, "--out", cut))[0] == 130
    monkeypatch.undo()
    assert call(capsys, "train", "--resume", "--out", cut, "--data", "cells")[0] == 0
    a, b = (load_file(o / "checkpoints/step-000004/weights.safetensors") for o in (whole, cut))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_elastic_bends_the_batches_that_training_gets(tmp_path, monkeypatch):
    got = {}

    def fit(config, model, batches, out, **others):
        got["batches"] = batches
        raise KeyboardInterrupt

    monkeypatch.setattr(running.training, "fit", fit)
    size = (32, 32)
    sets = running.Sets(*(open_data("cells", None, s, size) for s in ("train", "val")), size)
    config = Config(data="cells", batch=2, steps=1, elastic=2.0, out=str(tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt):
        running.train(config, sets, torch.nn.Conv2d(3, 2, 1), torch.device("cpu"))
    batches = got["batches"]
    assert isinstance(batches, DeformedBatches)
    assert isinstance(batches.batches, ResidentBatches)
    vectors = batches.draw(3, torch.Generator().manual_seed(0))
    expected = elastic.displacement_vectors(3, 2.0, torch.Generator().manual_seed(0))
    assert torch.equal(vectors, expected)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([2.0, 0.5])])
def test_border_loss_weighs_the_pixels_between_the_cells_of_the_labels(class_weights):
    config = Config(data="cells", border_weight=7.0)
    labels = cell_image(0, 0, (32, 32)).labels[None].clone()
    labels[0, :3] = IGNORE
    logits = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    weights = border_weights(connected_components(labels == 1), class_weights, w0=7.0)
    expected = losses.weighted_cross_entropy(logits, labels, weights)
    ours = running.loss_of(config, class_weights)(logits, labels)
    assert torch.equal(ours, expected)
    plain = running.loss_of(Config(data="cells"), class_weights)(logits, labels)
    assert torch.equal(plain, losses.cross_entropy(logits, labels, class_weights))
    assert not torch.isclose(ours, plain)


def test_scores_add_up_over_images_and_skip_those_without_cells():
    scores = objects.ObjectScores(1)
    two = torch.tensor([[[1, 1, 0, 1, 1]]])
    scores.add(two, two)
    scores.add(torch.ones_like(two), two)
    scores.add(two, torch.full_like(two, IGNORE))
    found = scores.result()
    assert (found["objects"], found["merged"], found["split"], found["missed"]) == (4, 2, 0, 0)
    # Two cells of 2 px: 4 ordered pairs; in one object of their 4 px there are 12.
    assert found["adapted_rand_error"] == pytest.approx((0 + 1 - 2 * 4 / (4 + 12)) / 2)
    assert objects.ObjectScores(1).result()["adapted_rand_error"] is None
    assert "no cells" in objects.table(objects.ObjectScores(1).result())


def test_only_data_with_cells_are_scored_as_objects(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    more = ("--root", root, "--out", tmp_path / "run", "--height", 16, "--width", 20)
    code, told, _ = call(capsys, *words(*more, data="folder"))
    assert code == 0
    assert "Rand" not in told
    assert "objects" not in json.loads((tmp_path / "run/record.json").read_text())["metrics"]


@pytest.mark.parametrize(
    ("flags", "data", "told"),
    [
        (("--border-weight", 10), "scenes", "scenes has no class of cells"),
        (("--border-weight", -1), "cells", "border_weight is -1"),
        (("--elastic", -2), "cells", "elastic is -2"),
        (("--model", "patch", "--elastic", 2), "cells", "--elastic does not apply to the patch"),
        (("--model", "patch", "--border-weight", 2), "cells", "--border-weight does not apply"),
    ],
)
def test_flags_that_cannot_work_are_refused(flags, data, told, tmp_path, capsys):
    code, _, err = call(capsys, *words(*flags, "--out", tmp_path / "run", data=data))
    assert (code, told in err) == (2, True), err


def test_a_dry_run_plans_a_weighted_run(tmp_path, capsys):
    flags = ("--border-weight", 10, "--elastic", 2, "--dry-run", "--out", tmp_path / "run")
    code, told, err = call(capsys, *words(*flags))
    assert code == 0, err
    assert "2: background, cell" in told
