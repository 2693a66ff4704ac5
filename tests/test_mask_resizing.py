"""Resizing label maps: as numbers it invents classes; nearest and votes never do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.data import scene
from segcourse.data.base import resize_labels
from segcourse.labels import IGNORE
from segcourse.mask_resizing import (
    invented,
    resize_as_numbers,
    resize_by_votes,
    resize_nearest,
)

SIDES = st.integers(1, 12)


def random_labels(seed, *shape, values=(0, 3, 7, IGNORE)):
    g = torch.Generator().manual_seed(seed)
    return torch.tensor(values)[torch.randint(len(values), shape, generator=g)]


def surrounding(k, new, old):
    """The old pixels on both sides of new pixel k's centre, in exact fractions."""
    place = ((2 * k + 1) * old - new, 2 * new)  # (k + 1/2) old / new - 1/2
    below = place[0] // place[1]
    share = (place[0] - below * place[1]) / place[1]
    return [(min(max(below + i, 0), old - 1), w) for i, w in ((0, 1 - share), (1, share))]


@given(st.integers(0, 10**6), SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=30, deadline=None)
def test_all_ways_follow_their_definition_pixel_by_pixel(seed, H, W, h, w):
    labels = random_labels(seed, H, W)
    as_numbers, nearest = resize_as_numbers(labels, (h, w)), resize_nearest(labels, (h, w))
    votes = resize_by_votes(labels, (h, w), 8)
    made_up = invented(as_numbers, labels)
    for r in range(h):
        for c in range(w):
            pixels = [
                (labels[i, j].item(), a * b)
                for i, a in surrounding(r, h, H)
                for j, b in surrounding(c, w, W)
            ]
            mean = sum(value * weight for value, weight in pixels)
            assert abs(as_numbers[r, c] - mean) <= 0.5 + 1e-3
            assert made_up[r, c] == (as_numbers[r, c].item() not in [v for v, _ in pixels])
            assert nearest[r, c] == labels[int((r + 0.5) * H / h), int((c + 0.5) * W / w)]
            held = {v: sum(weight for u, weight in pixels if u == v) for v, _ in pixels}
            assert held[votes[r, c].item()] >= max(held.values()) - 1e-5


@given(st.integers(0, 10**6), SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=30, deadline=None)
def test_nearest_and_votes_invent_nothing(seed, H, W, h, w):
    labels = random_labels(seed, 2, H, W)
    for resized in (resize_nearest(labels, (h, w)), resize_by_votes(labels, (h, w), 8)):
        assert resized.shape == (2, h, w)
        assert not invented(resized, labels).any()


@given(st.integers(0, 10**6), SIDES, SIDES, SIDES, SIDES)
@settings(max_examples=20, deadline=None)
def test_nearest_is_what_the_data_sets_do(seed, H, W, h, w):
    labels = random_labels(seed, H, W)
    assert torch.equal(resize_nearest(labels, (h, w)), resize_labels(labels, (h, w)))


def test_same_size_changes_nothing():
    labels = random_labels(0, 5, 6)
    assert torch.equal(resize_as_numbers(labels, (5, 6)), labels)
    assert torch.equal(resize_nearest(labels, (5, 6)), labels)
    assert torch.equal(resize_by_votes(labels, (5, 6), 8), labels)


def test_neighbouring_numbers_hide_the_mistake_and_void_makes_it_worst():
    def made_up(values):
        labels = random_labels(0, 40, 40, values=values)
        return invented(resize_as_numbers(labels, (64, 64)), labels).float().mean().item()

    assert made_up((0, 1)) == 0  # a mean of 0 and 1, rounded, is one of them
    assert 0.2 < made_up((0, 7)) < made_up((0, IGNORE))


def test_a_scene_resized_as_numbers_holds_classes_where_nothing_of_theirs_is():
    labels = scene(0, 1).labels
    wrong = invented(resize_as_numbers(labels, (96, 96)), labels)
    assert wrong.float().mean() > 0.02
    values = resize_as_numbers(labels, (96, 96)).unique()
    assert len(values) > 20  # between ground and void lie numbers that are no class at all


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_a_resident_set_can_vote(dtype):
    labels = torch.tensor([[2, 2, IGNORE, 0]])
    found = resize_by_votes(labels.to(dtype), (1, 8), 3)
    assert torch.equal(found, resize_by_votes(labels, (1, 8), 3))


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match=r"labels hold 9 at 1 pixel, outside 0\.\.7"):
        resize_by_votes(torch.tensor([[0, 9]]), (2, 2), 8)
