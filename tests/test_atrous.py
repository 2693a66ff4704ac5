"""Dilated convolution: four ways and torch's, one result; and where the idea comes from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segcourse.atrous import (
    by_gather,
    by_loops,
    by_phases,
    by_zero_stuffing,
    effective_kernel,
    output_size,
    stack_field,
    stuff_zeros,
)
from segcourse.cost import multiply_adds, parameters
from segcourse.effective_field import gradient_support
from segcourse.receptive_field import receptive_field
from segcourse.wavelets import B3_SPLINE, a_trous, restore, smooth

WAYS = [by_loops, by_zero_stuffing, by_gather]
TORCH = {1: F.conv1d, 2: F.conv2d}


def numbers(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@st.composite
def convolutions(draw, axes):
    """Input, weight and arguments that `conv1d` or `conv2d` takes, every one of them drawn."""

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    groups, cin, cout = (draw(st.integers(1, 2)) for _ in range(3))
    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 3), each(1, 4)
    along = zip(kernel, dilation, padding, strict=True)
    least = [max(1, r * (k - 1) + 1 - 2 * p) for k, r, p in along]
    size = tuple(n + draw(st.integers(0, 4)) for n in least)
    x = numbers((draw(st.integers(1, 2)), groups * cin, *size))
    weight = numbers((groups * cout, cin, *kernel), seed=1)
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, weight, arguments


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("axes", [1, 2])
@given(data=st.data())
def test_each_way_equals_torch(way, axes, data):
    x, weight, arguments = data.draw(convolutions(axes))
    ours, torchs = way(x, weight, **arguments), TORCH[axes](x, weight, **arguments)
    assert ours.shape == torchs.shape
    assert (ours - torchs).abs().max() < 1e-12


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 6), st.integers(0, 6))
def test_phases_equal_torch_and_never_meet(dilation, kernel, more_rows, more_cols):
    reach = effective_kernel(kernel, dilation)
    x = numbers((2, 3, reach + more_rows, reach + more_cols)).requires_grad_()
    weight = numbers((4, 3, kernel, kernel), seed=1)
    ours, torchs = by_phases(x, weight, dilation), F.conv2d(x, weight, dilation=dilation)
    assert (ours - torchs).abs().max() < 1e-12
    torchs[..., 0, 0].sum().backward()
    rows, cols = x.grad[0, 0].nonzero(as_tuple=True)
    assert not (rows % dilation).any()
    assert not (cols % dilation).any()


@given(st.integers(1, 7), st.integers(1, 9))
def test_the_effective_kernel_is_the_stuffed_one_and_the_gradients(kernel, dilation):
    reach = effective_kernel(kernel, dilation)
    assert stuff_zeros(numbers((1, 1, kernel)), dilation).shape[2] == reach
    x = torch.zeros(1, 1, reach, requires_grad=True)
    F.conv1d(x, torch.ones(1, 1, kernel), dilation=dilation).sum().backward()
    assert x.grad[0, 0, 0] == x.grad[0, 0, -1] == 1
    assert x.grad.sum() == kernel
    with pytest.raises(ValueError, match="pad by 1 or more"):
        output_size(reach - 1, kernel, 1, 0, dilation)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_field_of_a_stack_in_closed_form_and_by_gradient(rates):
    layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=r, dilation=r) for r in rates))
    side = stack_field(tuple(rates))
    assert receptive_field(layers).size == side
    seen = gradient_support(layers, (side + 4, side + 4), (side // 2 + 2, side // 2 + 2))
    rows = seen.any(1).nonzero()[:, 0]
    assert rows.min() == 2
    assert rows.max() == side + 1


def test_the_rate_changes_neither_parameters_nor_multiply_adds():
    costs = set()
    for rate in (1, 2, 4, 12):
        layer = nn.Conv2d(3, 8, 3, padding=rate, dilation=rate)
        costs.add((parameters(layer), multiply_adds(layer, (65, 65))))
    assert len(costs) == 1


@pytest.mark.parametrize("way", [*WAYS, by_phases])
def test_what_does_not_fit_is_refused(way):
    x, weight = numbers((1, 2, 5, 5)), numbers((4, 2, 3, 3))
    more = {} if way is by_phases else {"padding": 0}
    with pytest.raises(ValueError, match="7 cells long and the padded input 5: pad by 1"):
        way(x, weight, dilation=3, **more)
    with pytest.raises(ValueError, match="C is groups times"):
        way(x, numbers((4, 3, 3, 3)), dilation=1)
    with pytest.raises(ValueError, match="give \\(N, C, W\\)"):
        way(x[0], weight, dilation=1)
    with pytest.raises(ValueError, match="1 or more"):
        way(x, weight, dilation=0)


# ---- the wavelet origin


def test_a_smoothing_is_a_dilated_convolution_by_hand():
    signal = torch.zeros(17, dtype=torch.float64)
    signal[8] = 16.0
    assert smooth(signal, 0)[6:11].tolist() == [1, 4, 6, 4, 1]
    assert smooth(signal, 1)[4:13].tolist() == [1, 0, 4, 0, 6, 0, 4, 0, 1]
    assert sum(B3_SPLINE) == 1


@given(st.integers(1, 4), st.integers(40, 60), st.integers(0, 99))
def test_details_and_rest_sum_to_the_signal(levels, length, seed):
    signal = numbers((2, length), seed)
    details, rest = a_trous(signal, levels)
    assert details.shape == (levels, 2, length)
    assert (restore(details, rest) - signal).abs().max() < 1e-13


@given(st.integers(0, 3), st.integers(-10, 10))
def test_the_transform_moves_with_the_signal(levels, step):
    """What subsampled wavelets lose and the holes keep."""
    signal = torch.zeros(160, dtype=torch.float64)
    signal[70:90] = numbers((20,))
    details, rest = a_trous(signal, levels + 1)
    moved, moved_rest = a_trous(signal.roll(step), levels + 1)
    assert (moved - details.roll(step, -1)).abs().max() < 1e-13
    assert (moved_rest - rest.roll(step)).abs().max() < 1e-13


def test_transform_says_what_it_needs():
    with pytest.raises(ValueError, match="longer than 8"):
        a_trous(torch.zeros(8), 3)
    with pytest.raises(ValueError, match="no middle"):
        smooth(torch.zeros(20), 0, (0.5, 0.5))
    with pytest.raises(ValueError, match="1 or more"):
        a_trous(torch.zeros(20), 0)
