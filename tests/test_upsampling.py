"""Upsampling that learns nothing, and the resize-convolution: equal to torch's own in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from segcourse.fcn import bilinear_kernel
from segcourse.transposed import by_stamping
from segcourse.unpooling import max_pool, max_unpool
from segcourse.upsampling import (
    ResizeConvolution,
    as_transposed_weight,
    bed_of_nails,
    bilinear,
    linear_weights,
    nearest,
    source_positions,
)

sides = st.integers(1, 9)
batches = st.tuples(st.integers(1, 2), st.integers(1, 3), sides, sides)


def numbers(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def resize(weight, stride, seed=0):
    """A resize-convolution with this weight and a random bias, float64."""
    D, C, k, _ = weight.shape
    layer = ResizeConvolution(C, D, k, stride).double()
    with torch.no_grad():
        layer.conv.weight.copy_(weight)
        layer.conv.bias.copy_(numbers(D, seed))
    return layer


@given(batches, st.integers(1, 6))
def test_nearest_equals_interpolate(shape, stride):
    x = numbers(shape)
    assert torch.equal(nearest(x, stride), F.interpolate(x, scale_factor=stride, mode="nearest"))


@given(batches, st.integers(1, 6))
def test_bed_of_nails_equals_torch_stamping_a_single_nail(shape, stride):
    x = numbers(shape)
    C = x.shape[1]
    nail = torch.zeros(C, 1, stride, stride, dtype=x.dtype)
    nail[:, :, 0, 0] = 1
    assert torch.equal(
        bed_of_nails(x, stride), F.conv_transpose2d(x, nail, stride=stride, groups=C)
    )


@given(batches, st.integers(1, 5))
def test_bed_of_nails_is_unpooling_with_every_switch_in_the_corner(shape, stride):
    x = numbers(shape).abs() + 1  # the corner wins every pool
    pooled, switches = max_pool(bed_of_nails(x, stride), stride)
    assert torch.equal(pooled, x)
    size = tuple(n * stride for n in x.shape[2:])
    assert torch.equal(max_unpool(pooled, switches, size), bed_of_nails(x, stride))


@given(batches, st.integers(1, 17), st.integers(1, 17), st.booleans())
def test_bilinear_equals_interpolate_for_larger_and_smaller_sizes(shape, height, width, corners):
    x = numbers(shape)
    ours = bilinear(x, (height, width), align_corners=corners)
    torchs = F.interpolate(x, (height, width), mode="bilinear", align_corners=corners)
    assert (ours - torchs).abs().max() < 1e-12


def test_bilinear_by_hand():
    x = torch.tensor([[[[0.0, 4.0]]]], dtype=torch.float64)
    assert bilinear(x, (1, 4))[0, 0, 0].tolist() == [0, 1, 3, 4]
    assert bilinear(x, (1, 5), align_corners=True)[0, 0, 0].tolist() == [0, 1, 2, 3, 4]


@given(sides, st.integers(1, 17), st.booleans())
def test_shares_of_bilinear_are_positive_and_sum_to_one(n, m, corners):
    shares = linear_weights(n, m, corners)
    assert shares.min() >= 0
    assert (shares.sum(1) - 1).abs().max() < 1e-12
    assert ((shares > 0).sum(1) <= 2).all()


@given(st.integers(1, 70), st.integers(1, 8))
def test_corners_aligned_a_size_of_s_times_n_plus_1_puts_the_grid_on_whole_pixels(n, stride):
    places = source_positions(n + 1, stride * n + 1, align_corners=True)
    assert torch.equal(places[::stride], torch.arange(n + 1, dtype=torch.float64))


def test_deeplab_s_513_keeps_the_65_scores_and_512_keeps_none_but_the_corners():
    x = numbers((1, 1, 65, 65))
    kept = bilinear(x, (513, 513), align_corners=True)[..., ::8, ::8]
    assert (kept - x).abs().max() < 1e-12
    off = source_positions(65, 512, align_corners=True)
    assert ((off - off.round()).abs() < 1e-9).sum() == 2
    assert (source_positions(64, 512)[3], source_positions(64, 512)[4]) == (-0.0625, 0.0625)


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    st.integers(1, 3),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 4),
)
def test_resize_convolution_equals_torch_and_one_transposed_convolution(shape, D, k, stride):
    x, weight = numbers(shape), numbers((D, shape[1], k, k), seed=1)
    layer = resize(weight, stride)
    with torch.no_grad():
        ours = layer(x)
    bias = layer.conv.bias.detach()
    enlarged = F.interpolate(x, scale_factor=stride, mode="nearest")
    torchs = F.conv2d(enlarged, weight, bias, padding=k // 2)
    assert ours.shape[2:] == (shape[2] * stride, shape[3] * stride)
    assert (ours - torchs).abs().max() < 1e-12
    one = F.conv_transpose2d(x, as_transposed_weight(weight, stride), bias, stride, k // 2)
    assert (ours - one).abs().max() < 1e-12


@given(st.integers(2, 8), st.integers(2, 9), st.integers(2, 9))
def test_fcn_s_bilinear_kernel_stamped_equals_interpolate_inside(stride, height, width):
    x, kernel = numbers((1, 1, height, width)), bilinear_kernel(stride)[None, None]
    padding = (kernel.shape[-1] - stride) // 2
    stamped = by_stamping(x, kernel, stride, padding)
    wanted = F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False)
    assert stamped.shape == wanted.shape
    rim = stride // 2  # beyond the outermost centres interpolate repeats, stamps end
    inner = (..., slice(rim, -rim), slice(rim, -rim))
    assert (stamped[inner] - wanted[inner]).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda: nearest(torch.zeros(1, 1, 2, 2), 0), "use 1 or more"),
        (lambda: bed_of_nails(torch.zeros(2, 2)), r"use x\[None, None\]"),
        (lambda: bilinear(torch.zeros(1, 1, 2, 2), (0, 4)), "use 1 px or more"),
        (lambda: ResizeConvolution(1, 1, 4), "use 3 or 5"),
        (lambda: ResizeConvolution(1, 1, 0), "use 1 or 3"),
    ],
)
def test_bad_input_is_told_what_would_work(call, advice):
    with pytest.raises(ValueError, match=advice):
        call()


def test_upsampling_follows_the_type_of_its_input():
    x = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)
    assert {f(x).dtype for f in (nearest, bed_of_nails)} == {torch.bfloat16}
    assert bilinear(x, (4, 4)).dtype == torch.bfloat16
