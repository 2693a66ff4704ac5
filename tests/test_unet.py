"""U-Net: the paper's sizes and parameters, what a skip carries, and any image size."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segcourse.unet import (
    Mirrored,
    UNet,
    bilinear_up,
    center_crop,
    double_conv,
    double_conv_norm,
    learned_up,
)
from segcourse.unet_sizes import descend, levels, nearest_legal, smallest_legal


def image(size, n=1, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, *size, generator=generator, dtype=torch.float64)


def small(**kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"depth": 2, "width": 4} | kwargs
        return UNet(3, 5, **options).double().eval()


# ---- the paper's network


def test_the_papers_layout_has_31_million_parameters():
    net = UNet(1, 2)
    assert sum(p.numel() for p in net.parameters()) == 31_030_658
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # "in total the network has 23 convolutional layers", section 2


def test_572_gives_388_through_the_papers_sizes():
    found = levels(572)
    assert [level.entered for level in found.levels] == [572, 284, 140, 68, 32]
    assert [level.encoded for level in found.levels] == [568, 280, 136, 64, 28]
    assert [level.enlarged for level in found.levels] == [392, 200, 104, 56, None]
    assert [level.decoded for level in found.levels] == [388, 196, 100, 52, None]
    assert found.output == 388
    assert found.margin == 92


@torch.no_grad()
def test_the_network_makes_the_sizes_that_the_calculator_says():
    net = small(padding=0)
    for size in (nearest_legal(1, 2)[0], nearest_legal(60, 2)[0], nearest_legal(61, 2)[-1]):
        said = levels(size, 2)
        x = image((size, size))
        features = net.encode(x)
        assert [f.shape[2] for f in features] == [level.encoded for level in said.levels]
        assert net(x).shape == (1, 5, said.output, said.output)


@given(depth=st.integers(1, 4), size=st.integers(1, 400), padding=st.sampled_from([0, 1]))
def test_legal_sizes_are_those_that_pool_evenly_all_the_way_down(depth, size, padding):
    taken = 4 * (1 - padding)

    def legal(n):
        for _ in range(depth):
            n -= taken
            if n < 2 or n % 2:
                return False
            n //= 2
        n -= taken
        for _ in range(depth):
            n = 2 * n - taken
            if n < 1:
                return False
        return True

    near = nearest_legal(size, depth, padding)
    assert all(legal(n) for n in near)
    if legal(size):
        assert near == (size,)
        return
    below = [n for n in range(size) if legal(n)]
    above = next(n for n in range(size, 1000) if legal(n))
    assert near == ((below[-1],) if below else ()) + (above,)
    with pytest.raises(ValueError, match=rf"use .*\b{above}\b"):
        levels(size, depth, padding)


@given(depth=st.integers(1, 4), size=st.integers(1, 400), padding=st.sampled_from([0, 1]))
def test_the_way_down_ends_at_the_first_map_that_cannot_be_halved(depth, size, padding):
    found = descend(size, depth, padding)
    taken = 4 * (1 - padding)
    assert found[0].entered == size
    assert all(level.encoded == level.entered - taken for level in found)
    for level, below in pairwise(found):
        assert 2 * below.entered == level.encoded
    last = found[-1].encoded
    assert len(found) == depth + 1 or last < 1 or last % 2
    if size in nearest_legal(size, depth, padding):
        down = [(level.entered, level.encoded) for level in levels(size, depth, padding).levels]
        assert [(level.entered, level.encoded) for level in found] == down


def test_from_depth_3_on_no_output_is_a_multiple_of_the_stride():
    """Tiles of full outputs side by side, 388 apart, begin where the pools pair other pixels."""
    for depth, left_over in ((1, 0), (2, 0), (3, 4), (4, 4)):
        legal = {nearest_legal(size, depth)[-1] for size in range(600)}
        assert {levels(size, depth).output % 2**depth for size in legal} == {left_over}


@torch.no_grad()
def test_unpadded_windows_agree_where_they_are_a_multiple_of_the_stride_apart():
    net = small(depth=3, padding=0)
    size = nearest_legal(130, 3)[-1]
    x = image((size + 8, size))
    first = net(x[..., :size, :])
    agree = first[..., 8:, :] - net(x[..., 8:, :])[..., :-8, :]
    assert agree.abs().max() < 1e-12
    four = first[..., 4:, :] - net(x[..., 4:-4, :])[..., :-4, :]
    assert four.abs().max() > 1e-3


def test_legal_sizes_go_in_steps_of_two_to_the_depth():
    assert smallest_legal(4) == 188
    assert nearest_legal(200) == (188, 204)


@pytest.mark.parametrize(("depth", "padding"), [(0, 0), (3, 2), (-1, 1)])
def test_a_depth_or_padding_that_is_none_is_refused(depth, padding):
    with pytest.raises(ValueError, match="padding 0 or 1"):
        smallest_legal(depth, padding)


# ---- by hand


@torch.no_grad()
def test_the_forward_pass_is_what_the_figure_draws():
    """Depth 1, written out with torch's functions."""
    net = small(depth=1)
    x = image((6, 8))
    (a, _, b, _), (c, _, d, _) = net.encoder
    fine = F.conv2d(F.conv2d(x, a.weight, a.bias, padding=1).relu(), b.weight, b.bias, padding=1)
    fine = fine.relu()
    coarse = F.max_pool2d(fine, 2)
    for conv in (c, d):
        coarse = F.conv2d(coarse, conv.weight, conv.bias, padding=1).relu()
    up = F.conv_transpose2d(coarse, net.up[0].weight, net.up[0].bias, stride=2)
    joined = torch.cat([fine, up], 1)
    for conv in net.decoder[0][::2]:
        joined = F.conv2d(joined, conv.weight, conv.bias, padding=1).relu()
    logits = F.conv2d(joined, net.score.weight, net.score.bias)
    assert (net(x) - logits).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize(("depth", "shift"), [(1, 0), (2, 2)])
def test_unpadded_equals_padded_where_no_padding_reaches(depth, shift):
    """From depth 2 on only on a shifted image: what convolutions take moves the pools' pairs.

    The level below the finest has lost 1 cell to the level above it and 2 to its own convolutions:
    3, so its pool pairs cells that a padded network, which loses none, does not pair.
    """
    padded, unpadded = small(depth=depth, padding=1), small(depth=depth, padding=0)
    unpadded.load_state_dict(padded.state_dict())
    size = nearest_legal(100, depth)[-1]
    x = image((size, size))
    inner, margin = unpadded(x), levels(size, depth).margin
    whole = padded(x[..., shift:, shift:])
    outer = whole[..., margin - shift :, margin - shift :][..., : inner.shape[2], : inner.shape[3]]
    # The shift also brings the padded network's border nearer, by less than 4 px.
    assert (inner - outer)[..., 4:-4, 4:-4].abs().max() < 1e-12
    if depth == 2:
        unshifted = padded(x)[..., margin:-margin, margin:-margin]
        assert (inner - unshifted).abs().max() > 1e-3


def test_the_crop_takes_the_middle():
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert center_crop(x, (2, 4))[0, 0].tolist() == [[13, 14, 15, 16], [19, 20, 21, 22]]


# ---- skips


@torch.no_grad()
def test_joining_contains_the_sum():
    """A convolution of joined maps is two convolutions added; with equal halves it sees a sum."""
    net = small(depth=1)
    conv = net.decoder[0][0]  # of (skip, enlarged), 4 channels each
    skip, up = image((8, 8), channels=4), image((8, 8), channels=4, seed=1)
    left, right = conv.weight.chunk(2, dim=1)
    apart = F.conv2d(skip, left, padding=1) + F.conv2d(up, right, conv.bias, padding=1)
    assert (conv(torch.cat([skip, up], 1)) - apart).abs().max() < 1e-12
    conv.weight.copy_(torch.cat([left, left], 1))
    summed = F.conv2d(skip + up, left, conv.bias, padding=1)
    assert (conv(torch.cat([skip, up], 1)) - summed).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("off", [0, 1])
def test_a_skip_that_is_off_hands_on_nothing(off):
    skips = [i != off for i in range(2)]
    net = small(skips=skips)
    features = net.encode(image((16, 16)))
    changed = list(features)
    changed[off] = features[off] + 1
    assert torch.equal(net.decode(features), net.decode(changed))
    changed = list(features)
    changed[1 - off] = features[1 - off] + 1
    assert not torch.equal(net.decode(features), net.decode(changed))


def test_a_skip_that_is_off_changes_no_weight():
    on, off = small(), small(skips=(False, False))
    assert on.state_dict().keys() == off.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(on.parameters(), off.parameters(), strict=True))


@torch.no_grad()
def test_without_skips_pixels_of_one_cell_cannot_differ_by_more_than_the_decoder_knows():
    """All that comes up went through the coarsest map: fine detail that it lost is gone."""
    net = small(skips=(False, False))
    x = image((16, 16))
    features = net.encode(x)
    features[0], features[1] = torch.rand_like(features[0]), torch.rand_like(features[1])
    assert torch.equal(net.score(net.decode(features)), net(x))


# ---- any size, any build


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(h=st.integers(5, 40), w=st.integers(5, 40))
def test_a_padded_unet_takes_any_size(h, w):
    assert small()(image((h, w))).shape == (1, 5, h, w)


@torch.no_grad()
def test_a_size_that_needs_no_padding_is_not_padded():
    net = small()
    x = image((16, 20))
    whole = net.score(net.decode(net.encode(x)))
    assert torch.equal(net(x), whole)


@torch.no_grad()
def test_blocks_and_decoders_are_chosen_by_handing_them_in():
    net = small(block=double_conv_norm, up=bilinear_up)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 10
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in net.modules())
    assert net(image((16, 16))).shape == (1, 5, 16, 16)
    x = image((3, 4), channels=6)
    up = bilinear_up(6, 2).double()
    expected = F.interpolate(x, scale_factor=2, mode="bilinear")
    expected = F.conv2d(expected, up[1].weight, up[1].bias)
    assert (up(x) - expected).abs().max() < 1e-12


def test_weights_start_so_that_the_signal_keeps_its_size():
    """He et al. 2015: without it a network of 23 layers starts with vanishing or huge outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(3, 5, depth=3, width=16)
        x = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            deepest = net.encode(x)[-1]
        assert 0.3 < deepest.square().mean().sqrt() < 3
        up = learned_up(64, 32)
        with torch.no_grad():
            assert 0.5 < up(torch.randn(2, 64, 16, 16)).std() < 2
        assert double_conv(3, 8, 1)[0].bias.abs().max() == 0


# ---- mirrored border


@torch.no_grad()
@pytest.mark.parametrize("size", [(44, 52), (45, 47), (64, 50)])
def test_the_mirrored_net_meets_the_contract_and_is_the_unpadded_net_on_a_mirrored_image(size):
    net = small(padding=0)
    x = image(size)
    found = Mirrored(net)(x)
    assert found.shape == (1, 5, *size)
    margin = levels(nearest_legal(1, 2)[-1], 2).margin
    # One legal window around a place in the middle gives the same logits.
    window = nearest_legal(1, 2)[-1]
    mirrored = F.pad(x, (margin,) * 4, mode="reflect")
    inner = net(mirrored[..., 4 : 4 + window, 8 : 8 + window])
    h, w = inner.shape[2:]
    assert (found[..., 4 : 4 + h, 8 : 8 + w] - inner).abs().max() < 1e-12


def test_a_padded_net_needs_no_mirror():
    with pytest.raises(ValueError, match="use it as it is"):
        Mirrored(small())


def test_an_image_too_small_to_mirror_says_how_large_it_must_be():
    with pytest.raises(ValueError, match=r"more than \d+ px a side"):
        Mirrored(small(padding=0))(image((12, 12)))


# ---- errors


def test_an_illegal_size_names_the_sizes_that_work():
    net = small(padding=0)
    below, above = nearest_legal(50, 2)
    with pytest.raises(ValueError, match=f"50 px wide.*use {below} or {above}"):
        net(image((below, 50)))
    first = smallest_legal(2)
    with pytest.raises(ValueError, match=f"9 px high.*use {first}$"):
        net(image((9, 9)))


def test_channels_and_axes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"need \(N, 3, H, W\)"):
        small()(image((16, 16), channels=1))
    with pytest.raises(ValueError, match="add the batch axis"):
        small()(image((16, 16))[0])


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": 0}, {"padding": 2}])
def test_numbers_that_build_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="padding 0 or 1"):
        UNet(3, 5, **wrong)


def test_one_switch_a_level_is_needed():
    with pytest.raises(ValueError, match="3 skips for a depth of 2"):
        UNet(3, 5, depth=2, skips=(True, True, True))
