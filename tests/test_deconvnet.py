"""DeconvNet: the mirror image fits, switches carry place, and every size comes back."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segcourse import cost
from segcourse.backbones import Backbone
from segcourse.deconvnet import (
    DeconvNet,
    bilinear_light,
    conv_stage,
    deconv_stage,
    deconvnet_light,
    deconvnet_vgg16,
    encode,
    pad,
    vgg16_stages,
)
from segcourse.segnet import segnet_light
from segcourse.unpool_rules import UnpoolAtRandom, unpool_at_corners, upsample_bilinear
from segcourse.unpooling import max_pool, max_unpool

few = settings(max_examples=20, deadline=None)


def seeded(build, *arguments, **named):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(*arguments, **named).double().eval()


def image_of(H, W, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 3, H, W, dtype=torch.float64, generator=generator)


def vgg16():
    with torch.device("meta"):
        return deconvnet_vgg16(11).eval()


def every_unpooling():
    random = UnpoolAtRandom(torch.Generator().manual_seed(0))
    return [max_unpool, unpool_at_corners, random, upsample_bilinear]


# ---- the layout on VGG16


def test_parameters_of_vgg16_and_its_mirror_are_those_of_the_table():
    # Table 2 of the paper, layer by layer: kernel, channels in, channels out, with batch norm.
    down = [(3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512,) * 4]
    up = [(512,) * 4, (512, 512, 512, 256), (256, 256, 256, 128), (128, 128, 64), (64, 64, 64)]
    total = 512 * 7 * 7 * 4096 + 4096 * 4096 + 4096 * 7 * 7 * 512 + 2 * (4096 + 4096 + 512)
    for widths in down:  # VGG's convolutions have biases
        total += sum(9 * a * b + b + 2 * b for a, b in pairwise(widths))
    for widths in up:
        total += sum(9 * a * b + 2 * b for a, b in pairwise(widths))
    total += 64 * 11 + 11
    assert cost.parameters(vgg16()) == total == 251_792_523


def test_fc6_gives_one_cell_at_the_native_size_and_a_grid_beyond():
    model = vgg16()
    for size, grid in (((224, 224), (1, 1)), ((360, 480), (6, 9)), ((100, 50), (1, 1))):
        cells = []
        handle = model.bridge[0].register_forward_hook(
            lambda layer, inputs, output, cells=cells: cells.append(tuple(output.shape[2:]))
        )
        logits = model(torch.empty(1, 3, *size, device="meta"))
        handle.remove()
        assert cells == [grid]
        assert logits.shape == (1, 11, *size)


def test_the_decoder_mirrors_the_encoder():
    model = vgg16()
    found = model.activations(torch.empty(1, 3, 224, 224, device="meta"))
    for level, (channels, side) in enumerate(
        ((64, 224), (128, 112), (256, 56), (512, 28), (512, 14)), start=1
    ):
        assert found[f"unpool {level}"].shape == (1, channels, side, side)
        finer = channels if level == 1 else found[f"unpool {level - 1}"].shape[1]
        assert found[f"decode {level}"].shape == (1, finer, side, side)


def test_batch_norm_stands_after_every_convolution_and_the_weights_are_the_backbones(monkeypatch):
    groups = [
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
        ),
        nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.MaxPool2d(2)),
    ]
    backbone = Backbone(groups, (4, 5), (2, 4))
    monkeypatch.setattr("segcourse.deconvnet.vgg16", lambda weights: backbone)
    stages = vgg16_stages()
    for group, stage in zip(groups, stages, strict=True):
        kinds = [type(layer) for layer in stage]
        assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * (len(kinds) // 3)
        assert [layer for layer in stage if isinstance(layer, nn.Conv2d)] == [
            layer for layer in group if isinstance(layer, nn.Conv2d)
        ]


# ---- the encoder, the bridge and the decoder


def test_the_encoder_pools_as_the_pooling_from_scratch():
    stages = [seeded(conv_stage, (3, 4)), seeded(conv_stage, (4, 5))]
    x = image_of(16, 12)
    coarse, switches = encode(stages, x)
    for stage, places in zip(stages, switches, strict=True):
        x, expected = max_pool(stage(x), 2)
        assert torch.equal(places, expected)
    assert torch.equal(coarse, x)


def test_a_network_without_layers_keeps_the_maximum_of_each_window_in_its_place():
    # What is left of the image when nothing but the switches is there to bring it back.
    nothing = [nn.Identity()] * 3
    bare = DeconvNet(nothing, nn.Identity(), nothing, nn.Identity())
    image = image_of(16, 24).abs()
    kept = bare(image)
    maxima = F.max_pool2d(image, 8)
    assert torch.equal(F.max_pool2d(kept, 8), maxima)
    assert kept.count_nonzero() == maxima.numel()
    assert torch.equal(kept[kept != 0], image[kept != 0])


def test_at_stride_1_a_transposed_convolution_is_a_convolution_with_a_flipped_kernel():
    up = seeded(deconv_stage, (3, 4))
    same = seeded(conv_stage, (3, 4))
    same[0].weight.data = up[0].weight.data.transpose(0, 1).flip(2, 3).contiguous()
    x = image_of(7, 9)
    torch.testing.assert_close(up(x), same(x), rtol=0, atol=1e-12)


# ---- the ways to place values


@few
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 3))
def test_logits_have_the_size_of_the_image_whatever_it_is(H, W, way):
    model = seeded(deconvnet_light, 4, (2, 2, 3, 4), unpool=every_unpooling()[way])
    assert model(image_of(H, W)).shape == (1, 4, H, W)
    assert seeded(bilinear_light, 4, (2, 2, 3, 4))(image_of(H, W)).shape == (1, 4, H, W)


def test_every_way_to_place_values_takes_the_same_weights():
    state = seeded(deconvnet_light, 4).state_dict()
    for unpool in every_unpooling():
        deconvnet_light(4, unpool=unpool).load_state_dict(state)


@pytest.mark.parametrize("other", [bilinear_light, segnet_light])
def test_light_networks_start_from_the_same_encoder(other):
    ours, theirs = (seeded(build, 4).encoder.state_dict() for build in (deconvnet_light, other))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_switches_that_are_ignored_are_ignored():
    y = torch.rand(1, 2, 3, 3, dtype=torch.float64)
    a, b = (torch.randint(36, y.shape) for _ in range(2))
    for unpool in (unpool_at_corners, upsample_bilinear):
        assert torch.equal(unpool(y, a, (6, 6)), unpool(y, b, (6, 6)))
    assert not torch.equal(max_unpool(y, a, (6, 6)), max_unpool(y, b, (6, 6)))


def test_corners_are_a_bed_of_nails_and_random_places_are_drawn_anew():
    y = torch.rand(1, 2, 8, 8, dtype=torch.float64) + 1
    none = torch.zeros(y.shape, dtype=torch.int64)
    assert torch.equal(unpool_at_corners(y, none, (16, 16))[..., ::2, ::2], y)
    random = UnpoolAtRandom(torch.Generator().manual_seed(0))
    first, second = random(y, none, (16, 16)), random(y, none, (16, 16))
    assert not torch.equal(first, second)
    assert torch.equal(F.max_pool2d(first, 2), F.max_pool2d(second, 2))


def test_a_picture_moved_inside_its_pooling_window_is_seen_by_the_true_switches_alone():
    # One bright pixel, moved by one inside its 2x2 window: every pooled value stays as it was.
    here, there = torch.zeros(2, 1, 1, 4, 4, dtype=torch.float64)
    here[0, 0, 0, 0], there[0, 0, 1, 1] = 1, 1
    one_stage = [nn.Identity()]
    results = {}
    for unpool in (max_unpool, unpool_at_corners, upsample_bilinear):
        model = DeconvNet(one_stage, nn.Identity(), one_stage, nn.Identity(), unpool)
        results[unpool] = torch.equal(model(here), model(there))
    assert results == {max_unpool: False, unpool_at_corners: True, upsample_bilinear: True}


# ---- activations, padding, gradients


def test_activations_are_those_of_the_forward_pass_and_unpooled_maps_are_sparse():
    model = seeded(deconvnet_light, 4)
    image = image_of(50, 64)
    found = model.activations(image)
    assert torch.equal(found["logits"], model(image))
    names = [f"{kind} {level}" for level in range(4, 0, -1) for kind in ("unpool", "decode")]
    assert list(found) == ["bridge", *names, "logits"]
    for level in range(4, 0, -1):
        assert found[f"unpool {level}"].count_nonzero() <= found[f"unpool {level}"].numel() // 4
    assert found["bridge"].shape[2:] == (4, 4)


@few
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_padding_repeats_the_last_pixels_up_to_whole_cells(H, W, grid):
    image = image_of(H, W)
    padded = pad(image, 8, grid)
    for side, larger in zip((H, W), padded.shape[2:], strict=True):
        assert larger % 8 == 0
        assert larger >= 8 * grid
        assert larger - side < 8 or larger == 8 * grid
    assert torch.equal(padded[..., :H, :W], image)
    assert torch.equal(padded[..., H:, :W], image[..., -1:, :].expand_as(padded[..., H:, :W]))
    assert (padded[..., W:] == padded[..., W - 1 : W]).all()


def test_a_size_that_fits_is_not_padded():
    model = seeded(deconvnet_light, 4)
    image = image_of(33, 40)
    whole = model(pad(image, 16))
    assert whole.shape[2:] == (48, 48)
    assert torch.equal(model(image), whole[..., :33, :40])


@pytest.mark.parametrize("way", range(4))
def test_gradients_reach_every_weight(way):
    model = seeded(deconvnet_light, 4, unpool=every_unpooling()[way])
    model(image_of(64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_multiply_adds_are_those_that_torch_counts():
    for model in (deconvnet_light(4), bilinear_light(4)):
        image = torch.empty(2, 3, 64, 64, device="meta")
        counted = 2 * cost.multiply_adds(model, (64, 64))
        assert cost.measured_multiply_adds(model, image)[0] == counted


def test_stages_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="give 2 decoder stages"):
        DeconvNet([nn.Identity()] * 2, nn.Identity(), [nn.Identity()], nn.Identity())
