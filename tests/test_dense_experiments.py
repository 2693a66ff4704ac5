"""What the experiments on whole-image networks share: a fair recipe, and metrics that are right."""

from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from shared import dense_on_scenes

    return dense_on_scenes


def test_the_truth_scores_one_everywhere(shared):
    made = shared.scenes(6, "test")
    truth = torch.stack([one.labels for one in made]).where(
        torch.stack([one.labels for one in made]) < shared.K, 0
    )
    found = shared.scores(truth, made)
    whole = {name: value for name, value in found.items() if isinstance(value, float)}
    assert set(whole.values()) == {1.0}
    for name in ("accuracy_by_size", "iou_by_size"):
        assert {value for value in found[name] if value is not None} == {1.0}


def test_errors_near_borders_leave_the_interior_whole(shared):
    made = shared.scenes(6, "test")
    labels = torch.stack([one.labels for one in made])
    band = torch.stack([shared.trimap(one, shared.INTERIOR) for one in labels])
    wrong = torch.where(band & (labels < shared.K), (labels + 1) % shared.K, labels)
    found = shared.scores(wrong.where(wrong < shared.K, 0), made)
    assert found["interior_miou"] == 1.0
    assert found["trimap_5px_miou"] == 0.0
    assert 0 < found["miou"] < 1


def test_a_small_object_that_is_missed_counts_among_the_small(shared):
    made = shared.scenes(6, "test")
    truth = torch.stack([one.labels for one in made])
    truth = truth.where(truth < shared.K, 0)
    low, high = shared.SIZES[0]
    for label_map, one in zip(truth, made, strict=True):
        for k, spec in enumerate(one.specs, start=1):
            if low <= spec.diameter < high:
                label_map[one.instances == k] = (spec.label + 1) % shared.K
    found = shared.accuracy_by_size(truth, made)
    assert found[0] == 0.0
    assert found[1:] == [1.0] * (len(shared.SIZES) - 1)
    assert shared.iou_by_size(truth, made)[0] == 0.0


def test_wrong_pixels_around_an_object_count_against_it(shared):
    made = shared.scenes(1, "test")
    labels, spec = made[0].labels, made[0].specs[-1]
    every = torch.full_like(labels, spec.label)[None]
    at = next(i for i, (low, high) in enumerate(shared.SIZES) if low <= spec.diameter < high)
    assert shared.accuracy_by_size(every, made)[at] > 0
    assert shared.iou_by_size(every, made)[at] < 0.8 * shared.accuracy_by_size(every, made)[at]


class Remembers(nn.Module):
    """A classifier of colours that notes what it was shown."""

    def __init__(self, num_classes, layers):
        super().__init__()
        self.net = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(layers - 1)))
        self.last, self.seen = nn.Conv2d(3, num_classes, 1), []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.last(self.net(x))


def test_two_networks_are_shown_the_same_crops(shared):
    budget = shared.Budget(train_scenes=4, steps=3, crops=2, crop=32)
    one, other = Remembers(shared.K, 1), Remembers(shared.K, 3)
    shared.train(one, budget, seed=5)
    shared.train(other, budget, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(one.seen, other.seen, strict=True))
    again = Remembers(shared.K, 1)
    shared.train(again, budget, seed=6)
    assert not torch.equal(one.seen[0], again.seen[0])
