"""A strided network and its dilated twin: the same weights, and every s-th output is equal."""

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from segcourse import backbones
from segcourse.backbones import Backbone, LightBackbone
from segcourse.convolutionalize import convolutionalize
from segcourse.cost import multiply_adds, parameters
from segcourse.dilate import dilate, strides
from segcourse.receptive_field import receptive_field


def numbers(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def ready(network):
    """float64, evaluation, and batch norms that do something."""
    network = network.double().eval()
    for i, layer in enumerate(network.modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(0.1 * numbers(layer.running_mean.shape, i))
            layer.running_var.copy_(numbers(layer.running_var.shape, i).square() + 0.5)
    return network


@pytest.fixture(scope="module")
def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "light": ready(LightBackbone((4, 6, 8, 8, 10))),
            "resnet18": ready(models.resnet18()),
            "resnet50": ready(backbones.resnet50()),
            "vgg16": ready(backbones.vgg16()),
            "googlenet": ready(backbones.googlenet()),
        }


def trunk(network):
    """torchvision's ResNet as a row of layers that ends in a map."""
    return nn.Sequential(*list(network.children())[:-2])


@torch.no_grad()
def compare(network, output_stride, size):
    """The strided map, every s-th cell of the dense one, and the error relative to the map."""
    image = numbers((1, 3, *size), seed=7)
    dense = dilate(network, output_stride)
    last, last_dense = (net(image) for net in (network, dense))
    if isinstance(network, Backbone):
        assert dense.strides == tuple(min(s, output_stride) for s in network.strides)
        last, last_dense = last[-1], last_dense[-1]
    s = strides(network)[-1] // output_stride
    picked = last_dense[:, :, ::s, ::s]
    h, w = last.shape[2:]
    error = (picked[:, :, :h, :w] - last).abs().max() / last.abs().max()
    return last, picked, last_dense, error


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("size", [(64, 96), (37, 71)])
@pytest.mark.parametrize("name", ["light", "resnet18", "resnet50", "googlenet"])
def test_every_sth_dense_output_is_the_strided_one_at_any_size(built, name, size, output_stride):
    network = trunk(built[name]) if name == "resnet18" else built[name]
    last, picked, _, error = compare(network, output_stride, size)
    assert picked.shape == last.shape
    assert error < 1e-12


@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_vgg16_where_its_pools_drop_nothing(built, output_stride):
    last, picked, dense, error = compare(built["vgg16"], output_stride, (64, 96))
    assert picked.shape == last.shape
    assert dense.shape[2:] == (64 // output_stride, 96 // output_stride)
    assert error < 1e-12


def test_vgg16_at_other_sizes_keeps_what_the_pools_drop(built):
    """At 79 rows and columns the strided pools leave a rest, and only the border notices."""
    last, picked, dense, _ = compare(built["vgg16"], 16, (79, 79))
    assert last.shape[2:] == (2, 2)
    assert dense.shape[2:] == (4, 4)
    assert (picked - last).abs().max() / last.abs().max() < 1e-12


def test_resnet_equals_torchvisions_own_dilation():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        strided = ready(models.resnet50())
        torchs = ready(models.resnet50(replace_stride_with_dilation=[False, True, True]))
    torchs.load_state_dict(strided.state_dict())
    image = numbers((1, 3, 50, 66))
    with torch.no_grad():
        ours, theirs = dilate(trunk(strided), 8)(image), trunk(torchs)(image)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() / theirs.abs().max() < 1e-12


def test_a_convolutionalized_classifier_scores_four_times_as_densely_in_each_direction():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        small = nn.Sequential(
            *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(5 * 49, 6)),
        )
    grid = convolutionalize(small, (28, 28)).layers.double().eval()
    image = numbers((1, 3, 48, 52))
    dense = dilate(grid, 1)(image)
    assert dense[:, :, ::4, ::4].shape == grid(image).shape
    assert (dense[:, :, ::4, ::4] - grid(image)).abs().max() < 1e-12


@st.composite
def networks(draw, pools):
    """Convolutions and pools of any kernel, stride, padding and dilation, in a row."""
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        kernel, stride = draw(st.integers(1, 4)), draw(st.sampled_from([1, 1, 2, 3]))
        dilation = draw(st.integers(1, 2))
        if draw(st.booleans()):
            padding, ceil = draw(st.integers(0, kernel // 2)), draw(st.sampled_from(pools))
            layers.append(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil))
        else:
            padding = draw(st.integers(0, dilation * (kernel - 1)))
            layers.append(nn.Conv2d(3, 3, kernel, stride, padding, dilation))
    return nn.Sequential(*layers).double()


@st.composite
def pairs_of_maps(draw, pools):
    """A drawn network, the strided map and the picked cells of the dense one."""
    network, side = draw(networks(pools)), draw(st.integers(24, 48))
    image = numbers((1, 3, side, side))
    try:
        strided = network(image)
    except RuntimeError:
        reject()  # too small for these layers
    output_stride = draw(st.sampled_from(strides(network)))
    s = strides(network)[-1] // output_stride
    return network, side, strided, dilate(network, output_stride)(image)[:, :, ::s, ::s]


@given(pairs_of_maps(pools=[True]))
def test_any_row_of_convolutions_and_ceil_pools_at_any_size(drawn):
    _, _, strided, picked = drawn
    # Also where a pool's window lies in the padding alone: -inf on both sides.
    torch.testing.assert_close(picked, strided, rtol=0, atol=1e-12)


@given(pairs_of_maps(pools=[True, False]))
def test_any_pools_where_the_field_lies_inside_the_image(drawn):
    """A pool without ceil_mode may drop cells at the far border; the dense one looks at them."""
    network, side, strided, picked = drawn
    field = receptive_field(network)
    n = sum(field.span(i)[1] <= side for i in range(strided.shape[2]))
    if n:
        torch.testing.assert_close(picked[:, :, :n, :n], strided[:, :, :n, :n], rtol=0, atol=1e-12)


def test_no_weight_changes_and_the_network_stays_as_it_was(built):
    network = built["light"]
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    before = [(layer.stride, layer.dilation) for layer in convolutions]
    dense = dilate(network, 8)
    given, own = network.state_dict(), dense.state_dict()
    assert given.keys() == own.keys()
    assert all(given[name].equal(own[name]) for name in given)
    assert before == [(layer.stride, layer.dilation) for layer in convolutions]
    assert dense.channels == network.channels


def test_the_twin_has_the_same_field_and_pays_in_multiply_adds():
    with torch.device("meta"):
        network = nn.Sequential(*LightBackbone().stages)
    costs = {}
    for output_stride in (32, 16, 8):
        dense = dilate(network, output_stride)
        assert parameters(dense) == parameters(network)
        field, twin = receptive_field(network), receptive_field(dense)
        assert (twin.size, twin.offset, twin.stride) == (field.size, field.offset, output_stride)
        costs[output_stride] = multiply_adds(dense, (128, 128))
    assert costs[32] < costs[16] < costs[8]


# ---- what cannot be dilated


def test_layers_that_read_a_whole_map_are_refused():
    with torch.device("meta"):
        network = models.resnet18()
    with pytest.raises(ValueError, match="ResNet cannot be dilated"):
        dilate(network, 8)


def test_an_output_stride_that_is_not_there_is_refused_with_those_that_are():
    with torch.device("meta"):
        network = LightBackbone()
    for wrong in (12, 64, 0):
        with pytest.raises(ValueError, match="passes the strides 1, 2, 4, 8, 16, 32"):
            dilate(network, wrong)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.AvgPool2d(2), "AvgPool2d.*cannot be dilated to output stride 2"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "padding_mode"),
        (nn.Conv2d(3, 3, 2, padding="same"), "ZeroPad2d"),
        (nn.ConvTranspose2d(3, 3, 2, stride=2), "cannot be dilated"),
        (nn.MaxPool2d((1, 2), (1, 2)), "both axes"),
    ],
)
def test_layers_without_a_dilated_form_are_refused(layer, message):
    network = nn.Sequential(nn.Conv2d(3, 3, 3, stride=2), nn.MaxPool2d(2), layer)
    with pytest.raises(ValueError, match=message):
        dilate(network, 2)


def test_one_layer_at_two_strides_is_refused():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    with pytest.raises(ValueError, match="cannot have two rates"):
        dilate(nn.Sequential(conv, nn.MaxPool2d(2), conv), 1)


def test_padding_layers_and_same_padding_grow_with_the_rate():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.ZeroPad2d((0, 1, 2, 3)),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 2),
    ).double()
    image = numbers((1, 3, 17, 22))
    dense, strided = dilate(network, 1)(image), network(image)
    assert dense[:, :, ::2, ::2].shape == strided.shape
    assert (dense[:, :, ::2, ::2] - strided).abs().max() < 1e-12
