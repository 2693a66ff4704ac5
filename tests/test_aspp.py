"""ASPP: its branches, its taps, and image pooling, against their definitions."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segcourse.aspp import (
    ASPP,
    RATES_S,
    ASPPv3,
    ImagePooling,
    full_taps_share,
    large_fov,
    pyramid_pooling,
    valid_taps,
)


def positive(head):
    """The head with weights of one sign, so that no gradient cancels and no ReLU is off."""
    for weights in head.parameters():
        weights.data.abs_()
    return head.double().eval()


def features(n=2, channels=6, size=(9, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, *size, generator=generator, dtype=torch.float64)


# ---- valid taps


@given(
    h=st.integers(1, 12),
    w=st.integers(1, 12),
    rate=st.integers(1, 15),
    kernel=st.sampled_from([1, 3, 5]),
)
def test_valid_taps_are_what_a_kernel_of_ones_counts(h, w, rate, kernel):
    ones = torch.ones(1, 1, h, w, dtype=torch.float64)
    weight = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
    counted = F.conv2d(ones, weight, padding=rate * (kernel // 2), dilation=rate)[0, 0]
    assert valid_taps((h, w), rate, kernel).tolist() == counted.tolist()


def test_from_a_rate_of_the_map_size_on_a_kernel_is_its_middle_weight():
    conv = nn.Conv2d(6, 4, 3, padding=65, dilation=65).double()
    middle = nn.Conv2d(6, 4, 1).double()
    middle.weight.data = conv.weight.data[:, :, 1:2, 1:2]
    middle.bias.data = conv.bias.data
    x = features(size=(65, 65))
    assert (valid_taps((65, 65), 65) == 1).all()
    assert (conv(x) - middle(x)).abs().max() < 1e-12


def test_rate_24_uses_all_nine_taps_at_few_positions_of_a_65_map():
    assert full_taps_share((65, 65), 24) == (65 - 48) ** 2 / 65**2
    assert full_taps_share((65, 65), 33) == 0
    assert (valid_taps((65, 65), 64) == 1).double().mean() > 0.9


@pytest.mark.parametrize(
    ("size", "rate", "kernel"), [((0, 3), 1, 3), ((3, 3), 0, 3), ((3, 3), 1, 2)]
)
def test_taps_that_cannot_be_counted_are_refused(size, rate, kernel):
    with pytest.raises(ValueError, match="odd kernel"):
        valid_taps(size, rate, kernel)


# ---- v2's head


def test_the_head_is_the_sum_of_its_branches():
    head = ASPP(6, 3, rates=(1, 2, 4), width=5).double().eval()
    x = features()
    by_hand = 0
    for rate, branch in zip((1, 2, 4), head.branches, strict=True):
        fc6, fc7, fc8 = branch[0], branch[3], branch[6]
        hidden = F.conv2d(x, fc6.weight, fc6.bias, padding=rate, dilation=rate).relu()
        hidden = F.conv2d(hidden, fc7.weight, fc7.bias).relu()
        by_hand = by_hand + F.conv2d(hidden, fc8.weight, fc8.bias)
    assert (head(x) - by_hand).abs().max() < 1e-12
    assert (torch.stack(head.scores(x)).sum(0) - head(x)).abs().max() < 1e-12


def test_rates_do_not_change_the_number_of_weights():
    counts = {
        rate: sum(p.numel() for p in large_fov(6, 3, rate, width=5).parameters())
        for rate in (1, 12, 24)
    }
    assert set(counts.values()) == {6 * 5 * 9 + 5 + 5 * 5 + 5 + 5 * 3 + 3}


def test_a_branch_sees_as_far_as_its_rate():
    for rate in (1, 3):
        head = positive(large_fov(2, 3, rate, width=4))
        x = features(1, 2, (11, 11)).requires_grad_()
        head(x)[0, :, 5, 5].sum().backward()
        rows = x.grad.abs().sum((0, 1)).nonzero()[:, 0]
        assert (rows.min().item(), rows.max().item()) == (5 - rate, 5 + rate)


@pytest.mark.parametrize("number", [{"rate": 0}, {"width": 0}, {"num_classes": 0}])
def test_a_number_below_one_is_refused(number):
    with pytest.raises(ValueError, match=f"{next(iter(number))} is 0"):
        large_fov(**({"in_channels": 4, "num_classes": 3, "rate": 2, "width": 4} | number))


def test_no_rates_are_refused():
    with pytest.raises(ValueError, match="one for each branch"):
        ASPP(4, 3, rates=())


def test_aspp_s_is_the_papers():
    assert [b[0].dilation for b in ASPP(4, 3, RATES_S, width=4).branches] == [
        (2, 2),
        (4, 4),
        (8, 8),
        (12, 12),
    ]


# ---- v3's head


def test_image_pooling_gives_every_position_the_projected_mean():
    pooling = ImagePooling(6, 4).double().eval()
    conv, norm, _ = pooling.project
    norm.running_mean += 0.1
    x = features()
    expected = torch.einsum("oc,nc->no", conv.weight[:, :, 0, 0], x.mean((2, 3)))
    expected = ((expected - norm.running_mean) / (norm.running_var + norm.eps).sqrt()).relu()
    found = pooling(x)
    assert found.shape == (2, 4, 9, 7)
    assert (found - expected[:, :, None, None]).abs().max() < 1e-12


def test_only_image_pooling_reaches_across_a_map_larger_than_the_rates():
    head = positive(ASPPv3(2, 3, rates=(1, 2), width=4, dropout=0))
    x = features(1, 2, (15, 15)).requires_grad_()
    head(x)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 14, 14].abs().sum() > 0
    local = head.branches[:-1]
    x.grad = None
    sum(branch(x) for branch in local)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 3:, :].abs().sum() == 0


def test_one_image_in_training_mode_says_what_to_do():
    head = ASPPv3(4, 3, rates=(1,), width=4)
    with pytest.raises(ValueError, match=r"batch of 1.*2 images or more, or call eval"):
        head(torch.rand(1, 4, 5, 5))
    assert head(torch.rand(2, 4, 5, 5)).shape == (2, 3, 5, 5)
    assert head.eval()(torch.rand(1, 4, 5, 5)).shape == (1, 3, 5, 5)


def test_rate_zero_is_refused():
    with pytest.raises(ValueError, match=r"rates are \(0, 2\)"):
        ASPPv3(4, 3, rates=(0, 2))


# ---- spatial pyramid pooling


def test_pyramid_pooling_is_means_of_cells_and_does_not_know_the_size():
    x = features(2, 3, (8, 12))
    pooled = pyramid_pooling(x, grids=(1, 2))
    assert pooled.shape == (2, 3 * 5)
    assert (pooled[:, :3] - x.mean((2, 3))).abs().max() < 1e-12
    cells = pooled[:, 3:].reshape(2, 3, 2, 2)
    for i, j in itertools.product(range(2), repeat=2):
        cell = x[:, :, 4 * i : 4 * i + 4, 6 * j : 6 * j + 6].mean((2, 3))
        assert (cells[:, :, i, j] - cell).abs().max() < 1e-12
    assert pyramid_pooling(features(2, 3, (5, 9)), grids=(1, 2)).shape == pooled.shape


def test_a_grid_finer_than_the_map_is_refused():
    with pytest.raises(ValueError, match="grids up to 3"):
        pyramid_pooling(features(size=(3, 8)), grids=(4,))
