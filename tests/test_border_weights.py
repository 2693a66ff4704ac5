"""The border weight map: exact distances against brute force and scipy, weights by the formula."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse import border_weights as module
from segcourse.border_weights import border_weights, two_nearest


def random_instances(seed, height, width, cells, filled=0.3):
    g = torch.Generator().manual_seed(seed)
    numbers = torch.randint(1, cells + 1, (height, width), generator=g)
    return numbers * (torch.rand(height, width, generator=g) < filled)


def brute_force(instances):
    """Both distances of each pixel (float64), every pixel against every pixel of every cell."""
    H, W = instances.shape
    places = {k: (instances == k).nonzero().tolist() for k in instances.unique().tolist() if k}
    found = torch.full((2, H, W), math.inf, dtype=torch.float64)
    for r in range(H):
        for c in range(W):
            to_cell = [min(math.hypot(r - i, c - j) for i, j in p) for p in places.values()]
            for k, distance in enumerate(sorted(to_cell)[:2]):
                found[k, r, c] = distance
    return found


@given(
    st.integers(0, 10**6),
    st.integers(1, 14),
    st.integers(1, 14),
    st.integers(1, 6),
    st.sampled_from([0.02, 0.1, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_distances_equal_brute_force(seed, height, width, cells, filled):
    instances = random_instances(seed, height, width, cells, filled)
    ours = torch.stack(two_nearest(instances)).double()
    # Squares are whole numbers and exact; float32 holds the root to 6e-8 of its size.
    torch.testing.assert_close(ours, brute_force(instances), rtol=1e-7, atol=0)


def test_distances_equal_scipys_transform_of_each_cell():
    ndimage = pytest.importorskip("scipy.ndimage")
    instances = random_instances(3, 60, 75, 12, 0.004)
    names = [k for k in instances.unique().tolist() if k]
    assert len(names) > 6
    each = [ndimage.distance_transform_edt(instances.numpy() != k) for k in names]
    expected = torch.from_numpy(np.sort(np.stack(each), 0)[:2])
    ours = torch.stack(two_nearest(instances)).double()
    torch.testing.assert_close(ours, expected, rtol=1e-7, atol=0)


def test_second_nearest_is_another_cell_though_the_first_is_nearer_from_both_sides():
    # Cell 1 lies on both sides of the column; without care it would be nearest and second nearest.
    instances = torch.tensor([[1], [0], [1], [0], [0], [2]])
    nearest, second = two_nearest(instances)
    assert nearest[:, 0].tolist() == [0, 1, 0, 1, 1, 0]
    assert second[:, 0].tolist() == [5, 4, 3, 2, 2, 3]


@pytest.mark.parametrize("cells", [0, 1])
def test_without_two_cells_there_is_no_second_and_no_border_weight(cells):
    instances = torch.zeros(6, 7).long()
    instances[2:4, 3:5] = cells
    nearest, second = two_nearest(instances)
    assert second.isinf().all()
    assert nearest.isinf().all() == (cells == 0)
    assert torch.equal(border_weights(instances), torch.ones(6, 7))


def test_a_batch_is_its_maps_one_by_one_and_numbers_of_cells_do_not_matter():
    maps = torch.stack([random_instances(s, 9, 11, 4, 0.2) for s in range(3)])
    together = two_nearest(maps)
    for k in range(3):
        for whole, alone in zip(together, two_nearest(maps[k]), strict=True):
            assert torch.equal(whole[k], alone)
    renamed = torch.tensor([0, 90_000, 5, 7, 1])[maps]
    assert torch.equal(border_weights(renamed), border_weights(maps))


def test_chunks_of_lines_change_nothing(monkeypatch):
    instances = random_instances(1, 13, 17, 5, 0.1)
    whole = two_nearest(instances)
    monkeypatch.setattr(module, "CHUNK", 1)
    for a, b in zip(whole, two_nearest(instances), strict=True):
        assert torch.equal(a, b)


@given(
    st.integers(0, 10**6), st.integers(1, 5), st.floats(0, 30), st.floats(0.5, 20), st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_weights_equal_the_papers_formula_pixel_by_pixel(seed, cells, w0, sigma, balanced):
    instances = random_instances(seed, 8, 9, cells, 0.15)
    balance = torch.tensor([0.7, 1.9] if balanced else [1.0, 1.0], dtype=torch.float64)
    ours = border_weights(instances, balance if balanced else None, w0, sigma)
    first, second = brute_force(instances)
    for r in range(8):
        for c in range(9):
            cell = int(instances[r, c] > 0)
            reach = first[r, c].item() + second[r, c].item()
            gap = 0 if cell else w0 * math.exp(-(reach**2) / (2 * sigma**2))
            assert ours[r, c].item() == pytest.approx(balance[cell].item() + gap, rel=1e-5)


def test_a_gap_of_one_pixel_by_hand():
    # d1 = d2 = 1: 1 + 10 exp(-4 / 50)
    weights = border_weights(torch.tensor([[1, 0, 2]]))
    assert weights[0].tolist() == pytest.approx([1, 10.231163, 1], abs=1e-5)


def test_whole_class_weights_are_weights_like_others():
    instances = torch.tensor([[1, 0, 0, 0, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    for cells in (instances, instances.clamp(max=1), instances // 2):  # two, two alike, one
        whole = border_weights(cells, torch.tensor([1, 3]))
        assert torch.equal(whole, border_weights(cells, torch.tensor([1.0, 3.0])))


def test_the_wider_the_gap_the_smaller_the_weight():
    weights = []
    for gap in range(1, 9):
        row = torch.zeros(1, gap + 2).long()
        row[0, 0], row[0, -1] = 1, 2
        weights.append(border_weights(row)[0, 1 : gap + 1])
        # Across a straight gap d1 + d2 is the same everywhere: gap + 1.
        expected = 1 + 10 * math.exp(-((gap + 1) ** 2) / 50)
        torch.testing.assert_close(weights[-1], torch.full((gap,), expected), rtol=1e-5, atol=0)
    assert weights[0].max() > weights[3].max() > weights[7].max() > 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"instances": torch.zeros(3, 3)}, TypeError, "torch.float32: integers"),
        ({"instances": torch.zeros(3).long()}, ValueError, r"\(3,\): \(H, W\) or \(N, H, W\)"),
        ({"instances": torch.full((2, 2), -1)}, ValueError, "an instance is -1"),
        ({"w0": -1.0}, ValueError, "w0 is -1"),
        ({"sigma": 0.0}, ValueError, "sigma above 0"),
        ({"class_weights": torch.ones(3)}, ValueError, r"\(3,\): \(2,\) is needed"),
    ],
)
def test_bad_input_is_refused_with_what_is_needed(arguments, error, message):
    with pytest.raises(error, match=message):
        border_weights(**({"instances": torch.zeros(3, 3).long()} | arguments))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_weighs_as_the_cpu_does():
    instances = random_instances(0, 70, 90, 9, 0.02)
    torch.testing.assert_close(border_weights(instances.cuda()).cpu(), border_weights(instances))
