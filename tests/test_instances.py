"""Objects: components against scikit-image, Rand error against it, errors counted by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.instances import (
    adapted_rand_error,
    connected_components,
    contingency,
    object_errors,
)


def random_mask(seed, *shape, filled=0.6):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < filled


def random_objects(seed, side=12, count=5):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(count, (side, side), generator=g)


def flood(mask, corners):
    """Components by visiting neighbours, one pixel after another."""
    H, W = mask.shape
    found, count = torch.zeros(H, W, dtype=torch.int64), 0
    for start in mask.nonzero().tolist():
        if found[tuple(start)]:
            continue
        count += 1
        waiting = [start]
        while waiting:
            r, c = waiting.pop()
            if not (0 <= r < H and 0 <= c < W) or not mask[r, c] or found[r, c]:
                continue
            found[r, c] = count
            steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if corners or not i * j]
            waiting += [[r + i, c + j] for i, j in steps]
    return found


@given(
    st.integers(0, 10**6),
    st.integers(1, 25),
    st.integers(1, 25),
    st.floats(0, 1),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_components_equal_a_flood_fill(seed, height, width, filled, corners):
    mask = random_mask(seed, height, width, filled=filled)
    assert torch.equal(connected_components(mask, corners), flood(mask, corners))


@pytest.mark.parametrize("corners", [False, True])
def test_components_equal_scikit_image_to_the_number(corners):
    measure = pytest.importorskip("skimage.measure")
    mask = random_mask(0, 200, 170, filled=0.55)
    expected = torch.from_numpy(measure.label(mask.numpy(), connectivity=1 + corners)).long()
    assert expected.max() > 50
    assert torch.equal(connected_components(mask, corners), expected)


def test_a_region_that_winds_through_the_whole_image_is_one():
    mask = torch.zeros(41, 41, dtype=torch.bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    assert connected_components(mask).max() == 1


def test_components_of_a_batch_are_numbered_in_each_map_anew():
    masks = random_mask(0, 4, 9, 10, filled=0.4)
    masks[2] = False
    together = connected_components(masks)
    for k in range(4):
        assert torch.equal(together[k], connected_components(masks[k]))


# ---- Rand error


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_rand_error_equals_scikit_image(seed, true_objects, found_objects):
    skimage = pytest.importorskip("skimage.metrics")
    truth = random_objects(seed, count=true_objects + 1)
    predicted = random_objects(seed + 1, count=found_objects + 1)
    truth[0, :2] = 1  # at least one true pair
    ours = adapted_rand_error(truth, predicted)
    expected = skimage.adapted_rand_error(truth.numpy(), predicted.numpy())
    assert ours.error == pytest.approx(expected[0], abs=1e-12)
    # scikit-image names the two the other way round; the next test counts every pair.
    assert (ours.recall, ours.precision) == pytest.approx(expected[1:], abs=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_rand_error_counts_every_pair_of_pixels(seed):
    truth, predicted = random_objects(seed, 5, 4), random_objects(seed + 1, 5, 3)
    known = (truth > 0).flatten()
    a, b = truth.flatten()[known], predicted.flatten()[known]
    n = len(a)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    true = sum(bool(a[i] == a[j]) for i, j in pairs)
    found = sum(bool(b[i] == b[j]) for i, j in pairs)
    both = sum(bool(a[i] == a[j] and b[i] == b[j]) for i, j in pairs)
    ours = adapted_rand_error(truth, predicted)
    assert ours.precision == pytest.approx(both / found)
    assert ours.recall == pytest.approx(both / true)
    assert ours.error == pytest.approx(1 - 2 * both / (true + found))


def test_merging_costs_precision_and_splitting_costs_recall():
    two, one = torch.tensor([[1, 1, 1, 2, 2, 2]]), torch.tensor([[1, 1, 1, 1, 1, 1]])
    merged, split = adapted_rand_error(two, one), adapted_rand_error(one, two)
    assert (merged.precision, merged.recall) == (12 / 30, 1)  # 12 true ordered pairs of 30
    assert (split.precision, split.recall) == (1, 12 / 30)
    assert merged.error == split.error == pytest.approx(1 - 24 / 42)
    assert adapted_rand_error(two, two + 5).error == 0


def test_background_of_the_truth_is_left_out_and_no_object_gives_nan():
    truth = torch.tensor([[0, 0, 0, 1, 1]])
    assert adapted_rand_error(truth, torch.tensor([[7, 8, 9, 4, 4]])).error == 0
    assert math.isnan(adapted_rand_error(torch.zeros_like(truth), truth).error)


# ---- merged, split, missed


def test_a_bridge_of_one_pixel_merges_two_cells_in_a_thousand_pixels():
    truth = torch.zeros(21, 50, dtype=torch.int64)
    truth[:, :24], truth[:, 25:] = 1, 2
    assert object_errors(truth, connected_components(truth > 0)) == object_errors(truth, truth)
    bridged = truth > 0
    bridged[10, 24] = True
    found = object_errors(truth, connected_components(bridged))
    assert (found.objects, found.merged, found.split, found.missed) == (2, 2, 0, 0)


def test_split_missed_and_stray_pixels_by_hand():
    truth = torch.tensor([[1] * 8 + [0, 2, 2, 2, 2, 0, 3, 3]])
    predicted = torch.tensor([[1] * 4 + [0, 2, 2, 2] + [0, 5, 5, 5, 6, 0, 0, 0]])
    found = object_errors(truth, predicted)
    # Cell 2 is in object 5 (3 of 4 px) and in object 6 (1 of 4, just a quarter).
    assert (found.objects, found.merged, found.split, found.missed) == (3, 0, 2, 1)
    strict = object_errors(truth, predicted, share=0.3)
    assert (strict.merged, strict.split, strict.missed) == (0, 1, 1)
    # One pixel of cell 1 taken by the neighbour's object is no merger.
    reaching = torch.tensor([[1] * 7 + [2, 2, 2, 2, 2, 2, 0, 3, 3]])
    assert object_errors(truth, reaching) == object_errors(truth, truth)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_errors_follow_their_definition(seed):
    truth, predicted = random_objects(seed, 6, 5), random_objects(seed + 9, 6, 4)
    takes = {
        (k, m)
        for k in range(1, 5)
        for m in range(1, 4)
        if (truth == k).any()
        and ((truth == k) & (predicted == m)).sum() >= 0.25 * (truth == k).sum()
    }
    present = [k for k in range(1, 5) if (truth == k).any()]
    takers = {k: [m for i, m in takes if i == k] for k in present}
    merged = [k for k in present if any(sum(j == m for _, j in takes) > 1 for m in takers[k])]
    found = object_errors(truth, predicted)
    assert found.objects == len(present)
    assert found.merged == len(merged)
    assert found.split == sum(len(m) > 1 for m in takers.values())
    assert found.missed == sum(not m for m in takers.values())


def test_nothing_found_is_all_missed_and_no_objects_are_no_errors():
    truth = torch.tensor([[1, 0, 2]])
    found = object_errors(truth, torch.zeros_like(truth))
    assert (found.merged, found.split, found.missed) == (0, 0, 2)
    assert object_errors(torch.zeros_like(truth), truth).objects == 0


def test_contingency_counts_every_pixel_once():
    truth, predicted = random_objects(1, 20), random_objects(2, 20)
    of_truth, of_predicted, pixels = contingency(truth, predicted)
    assert pixels.sum() == 400
    for k, m, n in zip(of_truth, of_predicted, pixels, strict=True):
        assert ((truth == k) & (predicted == m)).sum() == n


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: connected_components(torch.zeros(3, 3)), TypeError, "float32: bool is needed"),
        (lambda: connected_components(random_mask(0, 3)), ValueError, r"\(3,\): \(H, W\)"),
        (
            lambda: adapted_rand_error(random_objects(0), random_objects(0, 11)),
            ValueError,
            r"truth is \(12, 12\) and predicted \(11, 11\)",
        ),
        (lambda: contingency(random_mask(0, 3), random_mask(0, 3)), TypeError, "truth is .*bool"),
        (lambda: object_errors(-random_objects(0), random_objects(0)), ValueError, "holds -4"),
        (lambda: object_errors(*[random_objects(0)] * 2, share=0.0), ValueError, "share is 0"),
    ],
)
def test_bad_input_is_refused_with_what_is_needed(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_numbers_the_same_components():
    masks = random_mask(0, 3, 60, 50)
    assert torch.equal(connected_components(masks.cuda()).cpu(), connected_components(masks))
