"""Augmentation: image and mask move together, and nothing is invented."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from segcourse.data.augment import MEAN, STD, Augmentation, apply, draw, normalise
from segcourse.labels import IGNORE

EVERYTHING = Augmentation((20, 24), (0.5, 2.0), 0.5, 0.4, 0.4, 0.4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(n=3, size=(24, 32), seed=0):
    g = generator(seed)
    images = torch.randint(256, (n, 3, *size), generator=g, dtype=torch.uint8)
    labels = torch.randint(5, (n, *size), generator=g, dtype=torch.uint8)
    labels[torch.rand(labels.shape, generator=g) < 0.2] = IGNORE
    return images, labels


def views(augmentation, images, labels, out_size, seed=0):
    return apply(draw(augmentation, len(images), generator(seed)), images, labels, out_size)


def test_full_view_at_scale_one_equals_the_input_to_the_bit():
    images, labels = sample(size=(23, 31))
    new_images, new_labels = views(Augmentation(), images, labels, (23, 31))
    assert torch.equal(new_images, images.float() / 255)
    assert torch.equal((new_images * 255).round().byte(), images)
    assert new_labels.dtype == torch.int64
    assert torch.equal(new_labels, labels.long())


def test_sure_flip_equals_torch_flip_to_the_bit():
    images, labels = sample(size=(23, 31))
    new_images, new_labels = views(Augmentation(flip=1.0), images, labels, (23, 31))
    assert torch.equal(new_images, images.flip(3).float() / 255)
    assert torch.equal(new_labels, labels.flip(2).long())


def test_crop_at_scale_one_is_a_slice_and_every_slice_occurs():
    rows, cols = torch.meshgrid(torch.arange(6), torch.arange(5), indexing="ij")
    images = torch.stack([rows, cols, rows]).byte().expand(400, 3, 6, 5)
    labels = (rows * 5 + cols).expand(400, 6, 5)
    new_images, new_labels = views(Augmentation(crop=(4, 4)), images, labels, (4, 4))
    counts = torch.zeros(3, 2)
    for image, label in zip(new_images, new_labels, strict=True):
        r, c = (image[:2, 0, 0] * 255).round().long().tolist()
        assert torch.equal(label, labels[0, r : r + 4, c : c + 4])
        assert torch.equal(image, images[0, :, r : r + 4, c : c + 4].float() / 255)
        counts[r, c] += 1
    # 6 slices, 400 views: 67 each; 35..105 is more than four standard deviations either way.
    assert counts.min() > 35
    assert counts.max() < 105


def test_view_larger_than_the_image_holds_it_whole_and_fills_with_void_and_zero():
    images, labels = sample(n=8, size=(6, 7))
    new_images, new_labels = views(Augmentation(crop=(9, 11)), images, labels.clamp(max=4), (9, 11))
    normal = normalise(new_images)
    for k in range(8):
        inside = new_labels[k] != IGNORE
        r, c = inside.nonzero()[0].tolist()
        place = (slice(r, r + 6), slice(c, c + 7))
        assert inside.sum() == 42
        assert torch.equal(new_labels[k][place], labels[k].clamp(max=4).long())
        assert torch.equal(new_images[k][:, *place], images[k].float() / 255)
        assert not normal[k][:, ~inside].any()


@given(st.floats(0.4, 3.0), st.integers(0, 10**6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_views_equal_grid_sample_of_the_same_affine_map(scale, seed, flip):
    assume(scale != 1)  # there views lie on whole pixels: tested above
    images, labels = sample(n=2, size=(12, 17), seed=seed)
    images = images.double() / 255
    out_size = (10, 14)
    a = Augmentation(scale=(scale, scale), flip=float(flip))
    params = draw(a, 2, generator(seed))
    ours, masks = apply(params, images, labels, out_size)

    # theta maps output to input coordinates, both -1..1 from edge to edge.
    (h, w), (H, W) = out_size, (12, 17)
    theta = torch.zeros(2, 2, 3, dtype=torch.float64)
    for axis, (out, size, place) in enumerate([(w, W, params.col), (h, H, params.row)]):
        view = out / scale
        centre = place * (size - view) + view / 2
        theta[:, axis, axis] = view / size
        theta[:, axis, 2] = 2 * centre / size - 1
    theta[:, 0, 0] *= -1 if flip else 1
    grid = F.affine_grid(theta, (2, 3, h, w), align_corners=False)
    oracle = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    shown = (grid.abs() < 1).all(-1)[:, None].expand_as(ours)
    torch.testing.assert_close(ours[shown], oracle[shown], atol=1e-10, rtol=0)
    nearest = F.grid_sample(
        labels[:, None].double() + 1, grid, mode="nearest", align_corners=False
    )[:, 0]
    expected = torch.where(nearest > 0, nearest - 1, torch.tensor(float(IGNORE)).double())
    # A point halfway between two pixels may go to either.
    at = ((grid + 1) * torch.tensor([W, H]) - 1) / 2
    tie = ((at - at.floor() - 0.5).abs() < 1e-9).any(-1)
    assert torch.equal(masks[~tie], expected[~tie].long())


@given(st.integers(0, 10**6), st.floats(0.5, 2.5))
@settings(max_examples=30, deadline=None)
def test_every_view_of_an_image_that_is_its_mask_shows_the_mask(seed, scale):
    # Red, green, blue pixels are classes 0, 1, 2. Of the four pixels that bilinear mixes, the
    # nearest weighs at least a quarter, so the colour of the mask's class is that strong.
    labels = torch.randint(3, (4, 20, 26), generator=generator(seed))
    images = 255 * F.one_hot(labels, 3).movedim(-1, 1).byte()
    a = Augmentation(scale=(scale, scale), flip=0.5)
    new_images, new_labels = views(a, images, labels, (18, 22), seed)
    shown = new_labels != IGNORE
    own = new_images.gather(1, new_labels.where(shown, 0)[:, None])[:, 0]
    assert shown.any()
    assert own[shown].min() >= 0.25 - 1e-4


@pytest.mark.parametrize("axis", [1, 2])
def test_image_and_mask_are_nowhere_more_than_half_a_pixel_apart(axis):
    # Image and mask both carry the row's (or column's) number. Half of it is a shift of half a
    # pixel, which rounding to the nearest pixel allows, evenly to both sides.
    labels = torch.arange(64).reshape(64 if axis == 1 else 1, -1).expand(32, 64, 64)
    images = labels[:, None].byte().expand(32, 3, 64, 64)
    a = Augmentation(scale=(0.7, 1.9), flip=0.5)
    new_images, new_labels = views(a, images, labels, (32, 32))
    shown = (new_labels > 0) & (new_labels < 63)  # beyond the ends the image stands still
    off = new_images[:, 0] * 255 - new_labels
    assert off[shown].abs().max() <= 0.5 + 1e-4
    assert off[shown].mean().abs() < 0.02


@given(st.integers(0, 10**6), st.sampled_from([torch.uint8, torch.int64]))
@settings(max_examples=30, deadline=None)
def test_no_class_is_invented_and_void_stays_void(seed, dtype):
    images, _ = sample(seed=seed)
    labels = torch.tensor([0, 4, IGNORE])[
        torch.randint(3, (3, 24, 32), generator=generator(seed))
    ].to(dtype)
    _, new_labels = views(EVERYTHING, images, labels, (20, 24), seed)
    assert set(new_labels.unique().tolist()) <= {0, 4, IGNORE}
    _, of_void = views(EVERYTHING, images, torch.full_like(labels, IGNORE), (20, 24), seed)
    assert (of_void == IGNORE).all()


def test_same_generator_same_views_and_the_global_seed_is_not_touched():
    images, labels = sample()
    before = torch.get_rng_state()
    first = views(EVERYTHING, images, labels, (20, 24), 7)
    again = views(EVERYTHING, images, labels, (20, 24), 7)
    other = views(EVERYTHING, images, labels, (20, 24), 8)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


def test_turning_one_change_off_leaves_the_others_as_they_were():
    on = draw(EVERYTHING, 50, generator())
    off = draw(Augmentation((20, 24), (0.5, 2.0), 0.0, 0.4, 0.4, 0.4), 50, generator())
    assert 10 < on.flip.sum() < 40
    assert not off.flip.any()
    assert torch.equal(on.scale, off.scale)
    assert torch.equal(on.saturation, off.saturation)


def test_scale_is_drawn_log_uniformly_within_its_range():
    scale = draw(Augmentation(scale=(0.5, 2.0)), 2000, generator()).scale
    assert scale.min() >= 0.5
    assert scale.max() <= 2
    # Half of the draws magnify; uniform drawing would give two thirds. 4.5 standard deviations.
    assert abs((scale > 1).double().mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("brightness", tv.adjust_brightness),
        ("contrast", tv.adjust_contrast),
        ("saturation", tv.adjust_saturation),
    ],
)
def test_jitter_equals_torchvision(name, oracle):
    images, labels = sample(n=4)
    a = Augmentation(**{name: 0.9})
    params = draw(a, 4, generator(1))
    ours, _ = apply(params, images, labels, (24, 32))
    for k in range(4):
        factor = getattr(params, name)[k].item()
        assert abs(factor - 1) > 1e-3
        expected = oracle(images[k].float() / 255, factor)
        torch.testing.assert_close(ours[k], expected, atol=2e-6, rtol=0)


def test_contrast_is_about_the_mean_of_the_image_not_of_the_filling():
    images = torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)  # one gray: contrast changes nothing
    a = Augmentation(contrast=0.9)
    new_images, new_labels = views(a, images, torch.zeros(2, 4, 4).long(), (12, 12))
    shown = (new_labels == 0)[:, None].expand_as(new_images)
    # 0.2 times 0.9999, the sum of torchvision's gray weights
    torch.testing.assert_close(new_images[shown], torch.full((96,), 0.2), atol=1e-4, rtol=0)


def test_values_stay_in_zero_to_one():
    images, labels = sample(n=16)
    new_images, _ = views(Augmentation(None, (0.5, 2), 0.5, 1, 1, 1), images, labels, (24, 32))
    assert new_images.min() >= 0
    assert new_images.max() <= 1


def test_normalise_takes_part_in_a_gradient_after_inference_mode():
    image = torch.rand(1, 3, 2, 2, dtype=torch.float16)
    with torch.inference_mode():
        normalise(image)
    image.requires_grad_()
    normalise(image).sum().backward()
    torch.testing.assert_close(
        image.grad[0, :, 0, 0].float(), 1 / torch.tensor(STD), rtol=1e-3, atol=0
    )


def test_normalise_is_torchvision_normalise():
    images = sample()[0].float() / 255
    expected = tv.normalize(images, list(MEAN), list(STD))
    torch.testing.assert_close(normalise(images), expected, atol=1e-6, rtol=0)
    with pytest.raises(TypeError, match=r"torch.uint8.*/ 255"):
        normalise(sample()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop": (0, 8)}, r"crop is \(0, 8\)"),
        ({"crop": (8,)}, r"crop is \(8,\)"),
        ({"scale": (2.0, 0.5)}, "scale is .* 0.1 <= low <= high"),
        ({"scale": (0.0, 1.0)}, "scale is"),
        ({"flip": 1.5}, "flip is 1.5: give a number from 0 to 1"),
        ({"brightness": -0.1}, "brightness is -0.1"),
        ({"saturation": float("nan")}, "saturation is nan"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


def test_mask_of_another_size_is_refused_with_both():
    images, labels = sample()
    with pytest.raises(ValueError, match=r"3 views, images \(3, 3, 24, 32\).*\(3, 24, 31\)"):
        views(Augmentation(), images, labels[:, :, :31], (24, 32))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_views_equal_the_cpu_and_the_labels_to_the_bit():
    images, labels = sample(n=8)
    params = draw(EVERYTHING, 8, generator())
    a, b = apply(params, images, labels, (20, 24))
    c, d = apply(params, images.cuda(), labels.cuda(), (20, 24))
    torch.testing.assert_close(c.cpu(), a, atol=1e-6, rtol=0)
    assert torch.equal(d.cpu(), b)
