"""Coverage of rate stacks: which cells are read, by how many paths, and the rule that tells."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segcourse.atrous import stack_field
from segcourse.effective_field import gradient_support
from segcourse.gridding import (
    coverage,
    fits_hybrid_rule,
    largest_gap,
    paths,
    seen_share,
    unrest,
)

stacks = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(stacks)
def test_paths_are_the_gradient_of_convolutions_of_ones(rates):
    layers = nn.Sequential(
        *(nn.Conv2d(1, 1, 3, dilation=rate, bias=False).double() for rate in rates)
    )
    for layer in layers:
        nn.init.ones_(layer.weight)
    side = stack_field(tuple(rates))
    x = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    layers(x).sum().backward()
    assert x.grad[0, 0].long().equal(coverage(rates))


@given(stacks)
def test_coverage_sums_to_all_paths_and_is_the_gradients_support(rates):
    counts = coverage(rates)
    assert counts.sum() == 9 ** len(rates)
    layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, dilation=r) for r in rates))
    assert gradient_support(layers, tuple(counts.shape), (0, 0)).equal(counts > 0)


@given(stacks, st.integers(2, 4))
def test_a_common_factor_leaves_holes(rates, factor):
    multiplied = [factor * rate for rate in rates]
    read = paths(multiplied).nonzero()[:, 0]
    assert not (read % factor).any()
    assert largest_gap(multiplied) >= factor


def test_the_stacks_of_the_chapter():
    assert stack_field((2, 2, 2)) == stack_field((1, 2, 3)) == 13
    assert seen_share((2, 2, 2)) == pytest.approx((7 / 13) ** 2)
    assert seen_share((1, 2, 3)) == seen_share((1, 2, 5)) == 1.0
    assert seen_share((1, 2, 9)) < 1.0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(sorted))
def test_the_hybrid_rule_is_the_brute_force_count(rates):
    rates = [1, *rates]
    assert fits_hybrid_rule(rates) == (largest_gap(rates) == 1)


def test_unrest_is_small_for_ramps_and_large_where_phases_disagree():
    ramp = torch.arange(12, dtype=torch.float64).expand(12, 12)
    assert unrest(ramp, 2) == pytest.approx(0.25)
    phases = torch.zeros(12, 12, dtype=torch.float64)
    phases[::2, ::2] = 1.0
    assert unrest(phases + 0.01 * ramp, 2) > 100
    both = torch.stack([ramp, phases + 0.01 * ramp])
    assert unrest(both, 2).tolist() == [unrest(one, 2).item() for one in both]


def test_what_is_no_stack_is_refused():
    for rates, kernel in [((), 3), ((0, 1), 3), ((1, 2), 2)]:
        with pytest.raises(ValueError, match="an odd kernel"):
            coverage(rates, kernel)
    with pytest.raises(ValueError, match="2 or more"):
        unrest(torch.zeros(5, 5), 1)
