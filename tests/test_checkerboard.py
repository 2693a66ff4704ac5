"""Overlap counts, the sums behind them, and the energy of a grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from segcourse.checkerboard import (
    grid_energy,
    inside,
    overlap_counts,
    phase_means,
    phase_sums,
)
from segcourse.doubling import (
    LAYERS,
    decoder,
    enlarging_padding,
    even_start,
    grid_on_colours,
    transposed_layer,
)
from segcourse.upsampling import ResizeConvolution, as_transposed_weight


def numbers(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def interior(k, stride, padding=0, size=12):
    kept = inside(k, stride, padding, size)
    return overlap_counts(k, stride, padding, size)[kept, kept]


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 3), st.integers(4, 9))
def test_counts_are_what_torch_stamps_with_ones(k, stride, padding, size):
    ones = torch.ones(1, 1, size, size)
    if (size - 1) * stride + k <= 2 * padding:
        return
    torchs = F.conv_transpose2d(ones, torch.ones(1, 1, k, k), stride=stride, padding=padding)
    assert torch.equal(overlap_counts(k, stride, padding, size), torchs[0, 0].round().long())


@pytest.mark.parametrize(
    ("k", "stride", "values"),
    [
        (3, 2, {1, 2, 4}),
        (4, 2, {4}),
        (2, 2, {1}),
        (5, 2, {4, 6, 9}),
        (4, 4, {1}),
        (1, 2, {0, 1}),
    ],
)
def test_the_counts_that_the_page_names(k, stride, values):
    assert set(interior(k, stride).unique().tolist()) == values


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2))
def test_counts_are_constant_inside_exactly_when_the_stride_divides_the_kernel(k, stride, padding):
    counts = interior(k, stride, padding)
    assert counts.numel() >= stride**2
    assert (len(counts.unique()) == 1) == (k % stride == 0)


@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 2))
def test_inside_is_all_that_misses_no_stamp(k, stride, padding):
    large = overlap_counts(k, stride, padding, size=24)
    kept = inside(k, stride, padding, 24)
    # Every inner pixel has the count of the pixel one period on; the first outer one has not.
    along = large.diagonal()
    assert torch.equal(along[kept][stride:], along[kept][:-stride])
    if kept.start > 0:
        assert along[kept.start - 1] < along[kept.start - 1 + stride]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 2), st.integers(1, 2))
def test_phase_sums_are_the_output_on_ones(k, stride, C, D):
    weight = numbers((C, D, k, k))
    out = F.conv_transpose2d(torch.ones(1, C, 12, 12).double(), weight, stride=stride)[0]
    first = -(-k // stride) * stride  # a multiple of the stride beyond the border
    cell = out[:, first : first + stride, first : first + stride]
    assert (phase_sums(weight, stride).sum(0) - cell).abs().max() < 1e-12


@given(st.integers(2, 4), st.sampled_from([1, 3, 5]))
def test_a_resize_convolution_has_equal_phase_sums_whatever_its_weights(stride, k):
    sums = phase_sums(as_transposed_weight(numbers((2, 3, k, k)), stride), stride)
    assert (sums - sums.mean((-2, -1), keepdim=True)).abs().max() < 1e-12


def test_kernel_3_at_stride_2_can_be_even_and_kernel_4_uneven():
    tent = torch.tensor([0.5, 1, 0.5])
    assert len(phase_sums((tent[:, None] * tent)[None, None], 2).unique()) == 1
    assert len(phase_sums(numbers((1, 1, 4, 4)), 2).unique()) == 4


@given(st.integers(1, 4), st.integers(2, 5), st.integers(2, 5))
def test_grid_energy_is_the_share_of_the_spectrum_at_the_stride_s_harmonics(stride, h, w):
    x = numbers((h * stride, w * stride))
    power = torch.fft.fft2(x).abs().square()
    power[0, 0] = 0
    share = power[::h, ::w].sum() / power.sum()
    assert grid_energy(x, stride).item() == pytest.approx(share.item(), abs=1e-12)


def test_grid_energy_of_a_grid_a_ramp_and_a_constant():
    grid = torch.tensor([[0.0, 1], [1, 0]]).repeat(8, 8)
    assert grid_energy(grid, 2) == 1
    assert grid_energy(grid, 4) == 1, "a period of 2 is a period of 4"
    ramp = torch.arange(64.0).repeat(64, 1)
    assert 0 < grid_energy(ramp, 2) < 1e-3
    constant = torch.full((16, 16), 0.1).double()
    noisy = constant + 1e-17 * numbers((16, 16))
    assert grid_energy(torch.stack([constant, noisy]), 2).tolist() == [0, 0]


def test_phase_means_leave_out_an_incomplete_period():
    x = numbers((2, 7, 9))
    assert torch.equal(phase_means(x, 2), phase_means(x[:, :6, :8], 2))
    with pytest.raises(ValueError, match="holds no period of 8"):
        phase_means(x, 8)


def test_a_constant_makes_a_grid_in_every_random_layer_but_the_resize_convolution():
    generator = torch.Generator().manual_seed(0)
    ones = torch.ones(1, 4, 12, 12).double()
    found = {}
    for k in (2, 3, 4):
        weight = torch.randn(4, 1, k, k, generator=generator, dtype=torch.float64)
        out = F.conv_transpose2d(ones, weight, stride=2)[0, 0, 4:-4, 4:-4]
        found[k] = grid_energy(out, 2).item()
        assert out.var() > 0.01
    assert min(found.values()) > 0.999
    layer = ResizeConvolution(4, 1).double()
    out = layer(ones).detach()[0, 0, 4:-4, 4:-4]
    assert out.var() < 1e-30
    assert grid_energy(out, 2) == 0


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6))
def test_a_layer_multiplies_the_size_exactly_or_says_which_kernel_would(k, stride, size):
    if k < stride or stride < 2:
        advice = "use 2 or more" if stride < 2 else f"use a kernel of {stride} px or more"
        with pytest.raises(ValueError, match=advice):
            enlarging_padding(k, stride)
        return
    layer = transposed_layer(k, stride)(2, 3)
    out = layer(torch.zeros(1, 2, size, size + 1))
    assert out.shape == (1, 3, stride * size, stride * (size + 1))


@pytest.mark.parametrize("name", LAYERS)
def test_a_decoder_answers_a_colour_with_a_map_that_repeats_every_four_pixels(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = decoder(LAYERS[name]).double()
    x = torch.full((1, 3, 12, 12), 0.3, dtype=torch.float64)
    out = net(x).detach()[..., 16:-16, 16:-16]
    assert out.shape == (1, 3, 16, 16)
    cell = out[..., :4, :4].repeat(1, 1, 4, 4)
    assert (out - cell).abs().max() < 1e-12
    deviation = (cell - cell.mean((-2, -1), keepdim=True)).square().mean().sqrt()
    grid = grid_on_colours(net, x[:, :, 0, 0])
    assert grid.item() == pytest.approx(deviation.item(), abs=1e-12)
    assert (grid < 1e-12) == (name in ("resize-convolution", "kernel 2, even start"))


def test_an_even_start_copies_and_can_still_learn_a_grid():
    layer = even_start(2, 2).double()
    x = numbers((1, 2, 3, 3))
    out = layer(x)
    assert torch.equal(out[..., ::2, ::2], out[..., 1::2, 1::2])
    out[..., ::2, ::2].sum().backward()
    assert layer.weight.grad[..., 0, 0].abs().min() > 0
    assert layer.weight.grad[..., 1, 1].abs().max() == 0, "its four taps go their own ways"
