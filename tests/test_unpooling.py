"""Switches and unpooling against torch's own, and the identities of the chapter."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segcourse.unpooling import fixed_switches, max_pool, max_unpool, random_switches

few = settings(max_examples=40, deadline=None)


@st.composite
def pools(draw, overlapping=None):
    """An image in float64 with a kernel and a stride that fit it."""
    k = draw(st.integers(1, 4))
    if overlapping is None:
        s = draw(st.integers(1, 5))
    else:
        assume(not overlapping or k > 1)
        s = draw(st.integers(1, k - 1) if overlapping else st.integers(k, k + 2))
    H, W = (draw(st.integers(k, 14)) for _ in range(2))
    seed = draw(st.integers(0, 2**31))
    x = torch.randn(2, 3, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x, k, s


@few
@given(pools(), st.booleans())
def test_values_and_switches_are_those_of_torch(pool, rounded):
    x, k, s = pool
    if rounded:  # many equal values: the first in reading order wins in both
        x = x.round()
    values, switches = max_pool(x, k, s)
    theirs, places = F.max_pool2d(x, k, s, return_indices=True)
    assert torch.equal(values, theirs)
    assert torch.equal(switches, places)
    assert switches.dtype == torch.int64


def test_stride_is_the_kernel_size_by_default():
    x = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    ours, places = max_pool(x, 3)
    assert torch.equal(ours, F.max_pool2d(x, 3))
    assert torch.equal(places, max_pool(x, 3, 3)[1])


@few
@given(pools())
def test_unpooling_is_the_backward_pass_of_max_pooling(pool):
    x, k, s = pool
    x.requires_grad_()
    _, switches = max_pool(x.detach(), k, s)
    y = torch.randn(switches.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(F.max_pool2d(x, k, s), x, y)
    unpooled = max_unpool(y, switches, x.shape[-2:])
    torch.testing.assert_close(unpooled, gradient, rtol=0, atol=1e-12)
    (own,) = torch.autograd.grad(max_pool(x, k, s)[0], x, y)
    torch.testing.assert_close(unpooled, own, rtol=0, atol=1e-12)


@few
@given(pools())
def test_gradient_of_unpooling_picks_up_at_the_switches(pool):
    x, k, s = pool
    _, switches = max_pool(x, k, s)
    y = torch.zeros(switches.shape, dtype=x.dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(max_unpool(y, switches, x.shape[-2:]), y, x)
    assert torch.equal(gradient, F.max_pool2d(x, k, s))  # the adjoint: x at its own switches


@few
@given(pools(overlapping=False))
def test_equals_torchs_unpooling_where_windows_do_not_overlap(pool):
    x, k, s = pool
    values, switches = max_pool(x, k, s)
    theirs = F.max_unpool2d(values, switches, k, s, output_size=x.shape)
    assert torch.equal(max_unpool(values, switches, x.shape[-2:]), theirs)


@few
@given(pools(overlapping=False), st.integers(0, 100))
def test_pooling_undoes_the_unpooling_of_non_negative_values(pool, seed):
    x, k, s = pool
    _, switches = max_pool(x, k, s)
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(switches.shape, dtype=x.dtype, generator=generator)
    assert torch.equal(max_pool(max_unpool(y, switches, x.shape[-2:]), k, s)[0], y)
    signed = y - 0.5
    back = max_pool(max_unpool(signed, switches, x.shape[-2:]), k, s)[0]
    # A window of one pixel holds no zero that could win against a negative value.
    assert torch.equal(back, signed if k == 1 else signed.clamp(min=0))


def test_overlapping_windows_share_a_switch_and_their_values_add():
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 9  # in all four 3x3 windows at stride 2
    values, switches = max_pool(x, 3, 2)
    assert switches.unique().tolist() == [12]
    unpooled = max_unpool(values, switches, (5, 5))
    assert unpooled[0, 0, 2, 2] == 36
    assert unpooled.count_nonzero() == 1
    assert F.max_unpool2d(values, switches, 3, 2, output_size=(5, 5))[0, 0, 2, 2] == 9


@few
@given(pools())
def test_fixed_switches_point_to_the_corners(pool):
    x, k, s = pool
    y, _ = max_pool(x, k, s)
    unpooled = max_unpool(y, fixed_switches(y, x.shape[-2:], k, s), x.shape[-2:])
    h, w = y.shape[-2:]
    corners = unpooled[..., ::s, ::s][..., :h, :w]
    assert torch.equal(corners, y)
    assert unpooled.count_nonzero() == y.count_nonzero()


@few
@given(pools(), st.integers(0, 100))
def test_random_switches_stay_in_their_window_and_repeat_with_the_seed(pool, seed):
    x, k, s = pool
    y, _ = max_pool(x, k, s)
    size = tuple(x.shape[-2:])
    places = random_switches(y, size, torch.Generator().manual_seed(seed), k, s)
    corner = fixed_switches(y, size, k, s)
    rows, cols = places // size[1] - corner // size[1], places % size[1] - corner % size[1]
    assert 0 <= rows.min() <= rows.max() < k
    assert 0 <= cols.min() <= cols.max() < k
    again = random_switches(y, size, torch.Generator().manual_seed(seed), k, s)
    assert torch.equal(places, again)


def test_random_switches_use_every_place_alike_and_no_global_state():
    y = torch.zeros(1, 1, 100, 100)
    state = torch.get_rng_state()
    places = random_switches(y, (200, 200), torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.get_rng_state())
    inside = (places // 200 % 2) * 2 + places % 2
    shares = inside.flatten().bincount(minlength=4) / 10_000
    # 10,000 draws: one deviation of a share is 0.0043.
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.02)


def test_type_follows_the_values():
    y = torch.ones(1, 1, 2, 2, dtype=torch.float16)
    assert max_unpool(y, fixed_switches(y, (4, 4)), (4, 4)).dtype == torch.float16


def test_switches_of_another_shape_are_refused_with_the_shape_that_fits():
    y, switches = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"give values of shape \(1, 2, 4, 4\)"):
        max_unpool(y, switches, (8, 8))


def test_switches_outside_the_size_are_refused_with_the_size_that_works():
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    values, switches = max_pool(x, 2)
    with pytest.raises(ValueError, match="at least 8 rows at 8 columns"):
        max_unpool(values, switches, (7, 8))
    assert torch.equal(max_pool(max_unpool(values, switches, (8, 8)), 2)[0], values)
    with pytest.raises(ValueError, match="start at -"):
        max_unpool(values, switches - 10, (8, 8))


@pytest.mark.parametrize("make", [fixed_switches, random_switches])
def test_a_size_with_another_grid_is_refused_with_the_size_that_works(make):
    y = torch.zeros(1, 1, 3, 5)
    extra = () if make is fixed_switches else (torch.Generator(),)
    with pytest.raises(ValueError, match="gives 4x5 values, not 3x5: use size 6x10"):
        make(y, (8, 10), *extra)
    assert make(y, (6, 10), *extra).shape == y.shape


def test_a_map_smaller_than_a_window_is_refused_with_the_size_that_works():
    with pytest.raises(ValueError, match="it has to be 3x3 or larger"):
        max_pool(torch.zeros(1, 1, 2, 5), 3)
    with pytest.raises(ValueError, match="stride 0: both are 1 px or more"):
        max_pool(torch.zeros(1, 1, 5, 5), 3, 0)


class DownAndUp(nn.Module):
    def forward(self, x):
        y, switches = max_pool(x, 2)
        return max_unpool(y, switches, x.shape[2:])


def test_a_network_with_switches_can_be_exported():
    x = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    exported = torch.export.export(DownAndUp(), (x,)).module()
    assert torch.equal(exported(-x), DownAndUp()(-x))
