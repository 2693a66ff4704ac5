"""Deformed batches: a function of seed and step, the same from one process and from several."""

import functools
import itertools

import pytest
import torch

from segcourse import elastic
from segcourse.data import Cells
from segcourse.data.augment import Augmentation, normalise
from segcourse.data.batches import LoaderBatches, ResidentBatches
from segcourse.data.deformed import DeformedBatches
from segcourse.data.order import DEFORMATIONS, generator_for
from segcourse.data.resident import ResidentSet
from segcourse.training import Config, fit

DATA = Cells(6, (32, 40))
VIEWS = Augmentation(flip=0.5)


def plain(kind="resident", batch=4):
    if kind == "resident":
        return ResidentBatches(ResidentSet.load(DATA), batch, VIEWS, seed=0)
    return LoaderBatches(DATA, batch, VIEWS, seed=0)


def deformed(sigma=3.0, kind="resident", seed=0):
    draw = functools.partial(draw_vectors, sigma)
    return DeformedBatches(plain(kind), draw, elastic.deform, seed)


def draw_vectors(sigma, n, generator):
    return elastic.displacement_vectors(n, sigma, generator)


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_a_deformed_batch_is_the_plain_one_bent_by_the_vectors_of_its_step():
    images, labels = plain().batch(7)
    vectors = elastic.displacement_vectors(4, 3.0, generator_for(0, DEFORMATIONS, 7))
    assert same(deformed().batch(7), elastic.deform(images, labels, vectors))
    assert not same(deformed().batch(7), (images, labels))


def test_sigma_zero_gives_the_plain_batches_to_the_bit():
    assert same(deformed(0.0).batch(3), plain().batch(3))


def test_same_step_gives_the_same_bytes_whatever_came_before():
    batches = deformed()
    later = [batches.batch(t) for t in (5, 0, 3)]
    for t, pair in zip((5, 0, 3), later, strict=True):
        assert same(deformed().batch(t), pair)
    assert not same(deformed(seed=1).batch(3), later[2])


@pytest.mark.parametrize("kind", ["resident", "files"])
def test_stream_from_a_step_is_the_batches_from_there(kind):
    got = itertools.islice(deformed(kind=kind).stream(2), 3)
    for t, pair in enumerate(got, 2):
        assert same(pair, deformed().batch(t))


def test_slices_of_two_processes_put_together_equal_one_process():
    for step in range(3):
        parts = [deformed().batch(step, rank, 2) for rank in range(2)]
        images, labels = deformed().batch(step)
        torch.testing.assert_close(torch.cat([p[0] for p in parts]), images, atol=1e-5, rtol=0)
        assert torch.equal(torch.cat([p[1] for p in parts]), labels)


def test_bending_a_normalised_image_is_normalising_a_bent_one():
    # Both orders are linear, so a crop's filling (0 after normalising) stays 0, too.
    images = torch.stack([DATA[i][0] for i in range(2)]).double() / 255
    field = elastic.displacement_field(
        elastic.displacement_vectors(2, 4.0, torch.Generator().manual_seed(0)).double(), (32, 40)
    )
    a, b = elastic.warp(normalise(images), field), normalise(elastic.warp(images, field))
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_training_sees_the_deformed_batches():
    class Seen(torch.nn.Conv2d):
        inputs = ()

        def forward(self, x):
            self.inputs = (*self.inputs, x.detach().clone())
            return super().forward(x)

    model = Seen(3, 2, 1)
    config = Config(steps=2, batch=4, eval_every=0, checkpoint_every=0, device="cpu")
    loss = torch.nn.CrossEntropyLoss()
    history = fit(config, model, deformed(), None, loss=loss)
    assert history.steps == 2
    for step in range(2):
        assert torch.equal(model.inputs[step], deformed().batch(step)[0])
