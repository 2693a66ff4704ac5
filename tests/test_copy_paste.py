"""Copy-paste: what is laid where, and the same batches from one process and from several."""

import itertools
import json
import shutil

import pytest
import torch
from cli_tools import call
from hypothesis import given
from hypothesis import strategies as st

from segcourse import data, losses
from segcourse.cli import running
from segcourse.cli.sources import open_sets
from segcourse.config import Config
from segcourse.data import Scenes
from segcourse.data.augment import Augmentation
from segcourse.data.batches import LoaderBatches, ResidentBatches
from segcourse.data.copy_paste import KEPT, PastedBatches, Pastes, draw, paste
from segcourse.data.order import PASTES, generator_for
from segcourse.data.resident import ResidentSet
from segcourse.labels import IGNORE

K = 4
DATA = Scenes(6, size=(32, 40))
VIEWS = Augmentation(crop=(32, 32), scale=(0.7, 1.4), flip=0.5)
RARE = torch.tensor([False, False, True, True, True, True, True, True])


def plain(kind="resident", batch=4):
    if kind == "resident":
        return ResidentBatches(ResidentSet.load(DATA), batch, VIEWS, seed=0)
    return LoaderBatches(DATA, batch, VIEWS, seed=0)


def pasted(probability=1.0, kind="resident", seed=0):
    return PastedBatches(plain(kind), RARE, probability, seed)


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def pixel_by_pixel(images, labels, pastes):
    """The rule, one pixel at a time."""
    new_images, new_labels = images.clone(), labels.clone()
    for i, j in enumerate(pastes.donor.tolist()):
        for r, c in itertools.product(*map(range, labels.shape[1:])):
            y = int(labels[j, r, c])
            if y != IGNORE and pastes.taken[i, y]:
                new_images[i, :, r, c] = images[j, :, r, c]
                new_labels[i, r, c] = y
    return new_images, new_labels


def random_batch(seed, n=3, size=(5, 6)):
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, *size, generator=g)
    labels = torch.randint(0, K + 1, (n, *size), generator=g)
    return images, labels.where(labels < K, IGNORE), g


@given(seed=st.integers(0, 10_000), n=st.integers(2, 5), probability=st.sampled_from([0.3, 1.0]))
def test_pixels_and_labels_are_laid_as_the_rule_says_and_void_is_never_taken(seed, n, probability):
    images, labels, g = random_batch(seed, n)
    pastes = draw(n, torch.tensor([False, True, False, True]), probability, g)
    before = images.clone(), labels.clone()
    assert same(paste(images, labels, pastes), pixel_by_pixel(images, labels, pastes))
    assert same((images, labels), before)  # nothing is changed in place


def test_nobody_gives_to_itself_and_only_the_given_classes_are_taken():
    allowed = torch.tensor([False, True, True, False])
    pastes = draw(6000, allowed, 0.5, torch.Generator().manual_seed(0))
    assert (pastes.donor != torch.arange(6000)).all()
    assert not pastes.taken[:, ~allowed].any()
    # Half of the images take part, and each class in half of these: within 5 deviations.
    share = pastes.taken[:, allowed].double().mean().item()
    assert abs(share - 0.5 * KEPT) < 5 * (0.25 * 0.75 / 12000) ** 0.5
    donors = draw(3, allowed, 1.0, torch.Generator().manual_seed(2)).donor
    assert ((donors >= 0) & (donors < 3)).all()


def test_what_is_laid_over_void_is_known_from_then_on():
    images, labels = torch.zeros(2, 3, 1, 3), torch.tensor([[[IGNORE, 0, 1]], [[1, 1, IGNORE]]])
    images[1] = 1
    taken = torch.tensor([[False, True], [False, False]])
    new_images, new_labels = paste(images, labels, Pastes(torch.tensor([1, 0]), taken))
    assert new_labels[0].tolist() == [[1, 1, 1]]
    assert new_images[0, 0].tolist() == [[1, 1, 0]]
    assert same((new_images[1:], new_labels[1:]), (images[1:], labels[1:]))


def test_probability_zero_gives_the_plain_batches_to_the_bit():
    assert same(pasted(0.0).batch(3), plain().batch(3))


def test_a_pasted_batch_is_the_plain_one_with_the_pastes_of_its_step():
    pastes = draw(4, RARE, 1.0, generator_for(0, PASTES, 7))
    assert same(pasted().batch(7), paste(*plain().batch(7), pastes))
    assert not same(pasted().batch(7), plain().batch(7))


def test_same_step_gives_the_same_bytes_whatever_came_before():
    batches = pasted()
    later = [batches.batch(t) for t in (5, 0, 3)]
    for t, pair in zip((5, 0, 3), later, strict=True):
        assert same(pasted().batch(t), pair)
    assert not same(pasted(seed=1).batch(3), later[2])


@pytest.mark.parametrize("kind", ["resident", "files"])
def test_stream_from_a_step_is_the_batches_from_there(kind):
    for rank in range(2):
        got = itertools.islice(pasted(kind=kind).stream(2, rank, 2), 3)
        for t, pair in enumerate(got, 2):
            assert same(pair, pasted().batch(t, rank, 2))


def test_slices_of_two_processes_put_together_equal_one_process():
    for step in range(3):
        parts = [pasted().batch(step, rank, 2) for rank in range(2)]
        images, labels = pasted().batch(step)
        assert torch.equal(torch.cat([p[0] for p in parts]), images)
        assert torch.equal(torch.cat([p[1] for p in parts]), labels)


def test_what_does_not_fit_is_refused():
    images, labels, g = random_batch(0)
    pastes = draw(2, RARE[:K], 1.0, g)
    with pytest.raises(ValueError, match=r"2 pastes, images .* one paste and one"):
        paste(images, labels, pastes)
    with pytest.raises(ValueError, match="the batch has 1: give 2 or more"):
        PastedBatches(plain(batch=1), RARE, 1.0, 0)
    with pytest.raises(ValueError, match="for process 0 of 3"):
        pasted().stream(0, 0, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_batches_equal_the_cpu():
    data = ResidentSet.load(DATA)
    moved = ResidentSet(data.images.cuda(), data.labels.cuda(), data.classes)
    on_gpu = PastedBatches(ResidentBatches(moved, 4, VIEWS, seed=0), RARE.cuda(), 1.0, 0)
    for step in range(3):
        (a, b), (c, d) = pasted().batch(step), on_gpu.batch(step)
        assert c.is_cuda
        torch.testing.assert_close(c.cpu(), a, atol=1e-5, rtol=0)
        assert torch.equal(d.cpu(), b)


# ---- segcourse train --copy-paste

WORDS = ("train", "--data", "scenes", "--height", 32, "--width", 32, "--device", "cpu")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(data, "LENGTHS", {"train": 6, "val": 3, "test": 3})


def test_training_pastes_the_classes_rarer_than_the_median_one(few, monkeypatch):
    config = Config(height=32, width=32, batch=4, copy_paste=0.5)
    sets = open_sets(config)
    seen = []

    class Stop(Exception):
        pass

    def fit(config, model, batches, *_, **__):
        seen.append(batches)
        raise Stop

    monkeypatch.setattr(running.training, "fit", fit)
    monkeypatch.setattr(running, "claim", lambda *_: None)
    with pytest.raises(Stop):
        running.train(config, sets, torch.nn.Conv2d(3, 8, 1), torch.device("cpu"))
    (batches,) = seen
    counts = losses.label_statistics(sets.train)
    median = losses.median_frequency_weights(counts)
    assert batches.pasted.tolist() == (median > 1).tolist()
    assert (batches.probability, batches.seed) == (0.5, 0)
    assert 0 < batches.pasted.sum() < 8


def test_a_run_with_copy_paste_that_was_stopped_ends_as_one_that_was_not(few, tmp_path, capsys):
    words = (*WORDS, "--copy-paste", 1, "--batch", 2, "--checkpoint-every", 2, "--eval-every", 4)
    assert call(capsys, *words, "--steps", 4, "--out", tmp_path / "a")[0] == 0
    stopped = tmp_path / "b"
    shutil.copytree(tmp_path / "a", stopped)
    (last,) = (stopped / "checkpoints").glob("step-*4")
    shutil.rmtree(last)
    (stopped / "record.json").unlink()
    assert call(capsys, "train", "--out", stopped, "--resume")[0] == 0
    curves = [
        [line.get("loss") for line in json.loads((out / "record.json").read_text())["curve"]]
        for out in (tmp_path / "a", stopped)
    ]
    assert curves[0] == curves[1]


def test_a_batch_of_one_has_nobody_to_give(few, tmp_path, capsys):
    code, _, err = call(capsys, *WORDS, "--copy-paste", 1, "--batch", 1, "--out", tmp_path / "x")
    assert code == 2
    assert "--copy-paste takes from another image of the batch, and --batch is 1" in err
