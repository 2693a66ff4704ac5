"""Elastic deformation: by hand, against slow loops, torch and scipy; labels stay labels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse import elastic
from segcourse.labels import IGNORE

SIDES = st.integers(1, 19)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(n=2, size=(12, 15), sigma=4.0, seed=0):
    """Images, labels with void, and a field of that many px, all float64."""
    g = generator(seed)
    images = torch.rand(n, 3, *size, generator=g, dtype=torch.float64)
    labels = torch.tensor([0, 1, 4, IGNORE])[torch.randint(4, (n, *size), generator=g)]
    vectors = elastic.displacement_vectors(n, sigma, g).double()
    return images, labels, vectors


# ---- the field


def test_vectors_are_gaussian_with_the_given_deviation_in_px():
    vectors = elastic.displacement_vectors(4000, 10.0, generator())
    assert vectors.shape == (4000, 2, 3, 3)
    # 72,000 numbers: the standard errors of mean and deviation are 0.04 and 0.03 px.
    assert abs(vectors.mean().item()) < 0.2
    assert abs(vectors.std().item() - 10) < 0.15


def test_generator_decides_the_vectors_and_the_global_seed_is_not_touched():
    before = torch.get_rng_state()
    first, again, other = (elastic.displacement_vectors(2, 3.0, generator(s)) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_field_equals_torchs_bicubic_interpolation(height, width, grid, seed):
    vectors = elastic.displacement_vectors(2, 10.0, generator(seed), grid).double()
    ours = elastic.displacement_field(vectors, (height, width))
    oracle = F.interpolate(vectors, (height, width), mode="bicubic", align_corners=True)
    torch.testing.assert_close(ours, oracle, atol=1e-11, rtol=0)


def test_field_passes_through_the_vectors_at_the_nodes():
    vectors = elastic.displacement_vectors(3, 10.0, generator()).double()
    field = elastic.displacement_field(vectors, (9, 13))
    torch.testing.assert_close(field[:, :, ::4, ::6], vectors, atol=1e-12, rtol=0)


@given(st.integers(1, 30), st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_weights_of_the_nodes_sum_to_one(size, nodes):
    weights = elastic.cubic_weights(size, nodes, torch.zeros(1).double())
    torch.testing.assert_close(weights.sum(1), torch.ones(size).double(), atol=1e-14, rtol=0)


def test_one_vector_by_hand():
    # Only the middle node of 3x3 moves, down by 8 px. Halfway to the next node its weight is
    # cubic(1/2) = 0.59375 along each axis.
    vectors = torch.zeros(1, 2, 3, 3).double()
    vectors[0, 0, 1, 1] = 8
    field = elastic.displacement_field(vectors, (9, 9))[0, 0]
    assert field[4, 4] == 8
    assert field[2, 4] == pytest.approx(8 * 0.59375)
    assert field[2, 2] == pytest.approx(8 * 0.59375**2)
    assert not field[0].any()


# ---- reading


def mirrored(index, size):
    """A walk over 0..size-1 that turns at both ends, step by step."""
    at, step = 0, 1
    for _ in range(abs(index)):
        if size > 1:
            step = step if 0 <= at + step < size else -step
            at += step
    return at


def slow_warp(image, labels, field):
    """One (C, H, W) image and (H, W) map, pixel by pixel."""
    _, H, W = image.shape
    out, kept = torch.zeros_like(image), torch.zeros_like(labels)
    for r in range(H):
        for c in range(W):
            y, x = r + field[0, r, c].item(), c + field[1, r, c].item()
            top, left = math.floor(y), math.floor(x)
            for i in (0, 1):
                for j in (0, 1):
                    weight = (1 - abs(y - top - i)) * (1 - abs(x - left - j))
                    pixel = image[:, mirrored(top + i, H), mirrored(left + j, W)]
                    out[:, r, c] += weight * pixel
            near = (mirrored(math.floor(y + 0.5), H), mirrored(math.floor(x + 0.5), W))
            kept[r, c] = labels[near]
    return out, kept


@given(SIDES, SIDES, st.floats(0, 25), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_deform_equals_a_slow_loop(height, width, sigma, seed):
    images, labels, vectors = sample(2, (height, width), sigma, seed)
    new_images, new_labels = elastic.deform(images, labels, vectors)
    field = elastic.displacement_field(vectors, (height, width))
    for k in range(2):
        expected, kept = slow_warp(images[k], labels[k], field[k])
        torch.testing.assert_close(new_images[k], expected, atol=1e-12, rtol=0)
        assert torch.equal(new_labels[k], kept)


@given(st.integers(2, 19), st.integers(2, 19), st.floats(0, 25), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_warp_equals_torchs_grid_sample(height, width, sigma, seed):
    images, _, vectors = sample(2, (height, width), sigma, seed)
    field = elastic.displacement_field(vectors, (height, width))
    rows = torch.arange(height).double()[:, None] + field[:, 0]
    cols = torch.arange(width).double() + field[:, 1]
    # grid_sample counts from -1 to 1, columns first.
    grid = torch.stack((2 * cols / (width - 1) - 1, 2 * rows / (height - 1) - 1), -1)
    oracle = F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)
    torch.testing.assert_close(elastic.warp(images, field), oracle, atol=1e-10, rtol=0)


def test_warp_equals_scipys_mirrored_map_coordinates():
    ndimage = pytest.importorskip("scipy.ndimage")
    images, _, vectors = sample(1, (20, 26), 9.0)
    field = elastic.displacement_field(vectors, (20, 26))
    places = np.indices((20, 26)) + field[0].numpy()
    expected = ndimage.map_coordinates(images[0, 0].numpy(), places, order=1, mode="mirror")
    ours = elastic.warp(images, field)[0, 0]
    torch.testing.assert_close(ours, torch.from_numpy(expected), atol=1e-12, rtol=0)


@given(SIDES, SIDES, st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=20, deadline=None)
def test_zero_displacement_changes_not_one_bit(height, width, dtype):
    images, labels, vectors = sample(2, (height, width), sigma=0.0)
    new_images, new_labels = elastic.deform(images.to(dtype), labels, vectors)
    assert torch.equal(new_images, images.to(dtype))
    assert torch.equal(new_labels, labels)


def test_equal_vectors_shift_the_image_and_the_border_is_mirrored():
    images = torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 1, 3, 6)
    vectors = torch.zeros(1, 2, 3, 3)
    vectors[:, 1] = 2  # every pixel is read two columns further right
    new_images, new_labels = elastic.deform(images, images[:, 0].long(), vectors)
    assert new_images[0, 0, 1].tolist() == pytest.approx([2, 3, 4, 5, 4, 3], abs=1e-5)
    assert new_labels[0, 1].tolist() == [2, 3, 4, 5, 4, 3]


# ---- image and labels together


def test_image_and_labels_are_nowhere_more_than_half_a_pixel_apart():
    # Image and labels both carry the row's number, away from the mirrored borders.
    labels = torch.arange(64)[:, None].expand(4, 64, 64)
    images = labels[:, None].double()
    vectors = elastic.displacement_vectors(4, 6.0, generator())
    new_images, new_labels = elastic.deform(images, labels, vectors)
    shown = (new_labels > 1) & (new_labels < 62)
    off = new_images[:, 0] - new_labels
    assert shown.double().mean() > 0.7
    assert off[shown].abs().max() <= 0.5 + 1e-4
    assert off[shown].mean().abs() < 0.02


@given(st.integers(0, 10**6), st.sampled_from([torch.uint8, torch.int64]))
@settings(max_examples=20, deadline=None)
def test_no_label_is_invented_and_the_dtype_stays(seed, dtype):
    images, labels, vectors = sample(2, (17, 9), 12.0, seed)
    _, new_labels = elastic.deform(images, labels.to(dtype), vectors)
    assert new_labels.dtype == dtype
    assert set(new_labels.unique().tolist()) <= {0, 1, 4, IGNORE}


def test_every_image_of_a_batch_is_bent_by_its_own_vectors():
    images, labels, vectors = sample(3)
    together = elastic.deform(images, labels, vectors)
    for k in range(3):
        one = slice(k, k + 1)
        alone = elastic.deform(images[one], labels[one], vectors[one])
        assert torch.equal(together[0][one], alone[0])
        assert torch.equal(together[1][one], alone[1])


# ---- folds


def test_jacobian_of_a_linear_map_is_its_determinant():
    rows, cols = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    a, b, c, d = 0.3, -0.2, 0.1, 0.5
    field = torch.stack((a * rows + b * cols, c * rows + d * cols))[None].double()
    expected = torch.full((1, 4, 5), (1 + a) * (1 + d) - b * c).double()
    torch.testing.assert_close(elastic.jacobian(field), expected, atol=1e-6, rtol=0)


def folded(sigma, side, n=400):
    """Share of n images that are folded somewhere."""
    vectors = elastic.displacement_vectors(n, sigma, generator())
    field = elastic.displacement_field(vectors, (side, side))
    return (elastic.jacobian(field) <= 0).flatten(1).any(1).float().mean().item()


def test_the_papers_ten_px_fold_no_image_of_512_px_and_many_of_64_px():
    assert folded(10.0, 512, n=30) == 0
    assert folded(6.0, 96) == 0  # a sixteenth of the side
    assert 0.1 < folded(12.0, 96) < 0.25  # an eighth: one in six
    assert folded(10.0, 64) > 0.35


# ---- what is refused


def test_bad_input_is_refused_with_what_is_needed():
    images, labels, vectors = sample()
    field = elastic.displacement_field(vectors, (12, 15))
    with pytest.raises(TypeError, match=r"torch.uint8.*/ 255"):
        elastic.warp(images.byte(), field)
    with pytest.raises(ValueError, match=r"\(2, 2, 12, 15\) for 2 maps of \(12, 14\)"):
        elastic.warp(images[..., :14], field)
    with pytest.raises(ValueError, match=r"for 1 maps of \(12, 15\)"):
        elastic.warp_labels(labels[:1], field)
    with pytest.raises(ValueError, match="sigma is -1"):
        elastic.displacement_vectors(1, -1.0, generator())
    with pytest.raises(ValueError, match="grid is 1"):
        elastic.displacement_vectors(1, 1.0, generator(), grid=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_bends_as_the_cpu_does():
    images, labels, vectors = sample(4, (32, 40))
    a, b = elastic.deform(images, labels, vectors)
    c, d = elastic.deform(images.cuda(), labels.cuda(), vectors)
    torch.testing.assert_close(c.cpu(), a, atol=1e-10, rtol=0)
    assert torch.equal(d.cpu(), b)
