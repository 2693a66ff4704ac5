"""The degradations of the first chapter do what their names say, and nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcourse.degrade import forget, grow, shift, shrink_and_restore, sprinkle
from segcourse.labels import IGNORE


def random_labels(seed: int, size=(17, 23), num_classes=4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, size, generator=generator)
    return labels.masked_fill(torch.rand(size, generator=generator) < 0.1, IGNORE)


def test_stride_one_changes_nothing():
    labels = random_labels(0)
    assert shrink_and_restore(labels, 1).equal(labels)


@given(stride=st.integers(1, 9), seed=st.integers(0, 20))
def test_a_cell_holds_the_label_of_its_centre(stride, seed):
    labels = random_labels(seed)
    H, W = labels.shape
    restored = shrink_and_restore(labels, stride)
    for r in range(H):
        for c in range(W):
            centre = (
                min(r // stride * stride + stride // 2, H - 1),
                min(c // stride * stride + stride // 2, W - 1),
            )
            assert restored[r, c] == labels[centre]


def test_a_batch_is_treated_image_by_image():
    batch = torch.stack([random_labels(1), random_labels(2)])
    for function in (
        lambda x: shrink_and_restore(x, 4),
        lambda x: grow(x, 2),
        lambda x: shift(x, 3, -2),
    ):
        assert function(batch).equal(torch.stack([function(image) for image in batch]))


def test_a_shift_moves_every_pixel_and_back_again_inside():
    labels = random_labels(3)
    moved = shift(labels, 2, -3)
    assert moved[2:, :-3].equal(labels[:-2, 3:])
    assert shift(moved, -2, 3)[:-2, 3:].equal(labels[:-2, 3:])


def test_growth_takes_ground_only_and_reaches_its_width_exactly():
    labels = torch.zeros(11, 11, dtype=torch.int64)
    labels[5, 5] = 2
    labels[0, :] = IGNORE
    labels[5, 8] = 1
    grown = grow(labels, 2)
    assert grown[3:8, 3:8].eq(2).all()
    assert grown[5, 8] == 1, "an object does not grow into another"
    assert grown[0].eq(IGNORE).all(), "void stays void"
    assert grown[8:, :].eq(0).all(), "three pixels away nothing changes"


def test_a_forgotten_class_becomes_ground_and_no_other_changes():
    labels = random_labels(4)
    left = forget(labels, 3)
    assert not (left == 3).any()
    assert left[labels != 3].equal(labels[labels != 3])
    assert left[labels == 3].eq(0).all()


def test_sprinkled_errors_are_errors_and_as_many_as_asked():
    labels = random_labels(5, (200, 200))
    spoilt = sprinkle(labels, 0.3, 4, torch.Generator().manual_seed(0))
    valid = labels != IGNORE
    assert spoilt[~valid].eq(IGNORE).all()
    share = (spoilt != labels)[valid].double().mean()
    assert abs(share - 0.3) < 0.01, "four standard deviations of 36,000 draws are 0.0097"
    assert spoilt[valid].max() < 4


def test_nothing_is_changed_in_place():
    labels = random_labels(6)
    before = labels.clone()
    for spoil in (
        shrink_and_restore(labels, 4),
        shift(labels, 1, 1),
        grow(labels, 1),
        forget(labels, 1),
        sprinkle(labels, 0.5, 4, torch.Generator().manual_seed(0)),
    ):
        assert spoil.data_ptr() != labels.data_ptr()
    assert labels.equal(before)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"stride is 0.*give 1 or more"):
        shrink_and_restore(random_labels(7), 0)
    with pytest.raises(ValueError, match=r"share is 1.5.*give 0 to 1"):
        sprinkle(random_labels(7), 1.5, 4, torch.Generator())
