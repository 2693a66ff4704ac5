"""Costs counted in closed form equal those that torch measures on a run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segcourse.cost import (
    backward_multiply_adds,
    conv_multiply_adds,
    inference_bytes,
    layer_costs,
    measured_multiply_adds,
    measured_training_bytes,
    multiply_adds,
    parameters,
    training_bytes,
)
from segcourse.fcn_networks import fcn_light
from segcourse.full_resolution import FullResolutionNet
from segcourse.sliding_window import PatchClassifier
from segcourse.unet import unet_light

NETWORKS = {
    "full resolution": lambda: FullResolutionNet(5, widths=(6, 8)),
    "patch, stride 1": lambda: PatchClassifier(9, 5, width=6),
    "patch, stride 4": lambda: PatchClassifier(13, 5, width=6, stride=4),
    "transposed": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, stride=2)
    ),
    "grouped": lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=3)),
    "linear": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.Flatten(), nn.Linear(4 * 5 * 6, 7)
    ),
}


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_counted_multiply_adds_equal_torchs_counter(build):
    model = build()
    forward, backward = measured_multiply_adds(model, torch.zeros(1, 3, 20, 24))
    assert multiply_adds(model, (20, 24)) == forward
    if not any(getattr(layer, "groups", 1) > 1 for layer in model.modules()):
        # torch's counter forgets the groups in the weights' gradient.
        assert backward_multiply_adds(model, (20, 24)) == backward


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_counting_on_the_meta_device_equals_a_real_run(build):
    model = build()
    shapes_only = torch.empty(2, 3, 20, 24, device="meta")
    real = torch.zeros(2, 3, 20, 24)
    assert measured_multiply_adds(model, shapes_only) == measured_multiply_adds(model, real)
    assert measured_training_bytes(model, shapes_only) == measured_training_bytes(model, real)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("batch", [1, 3])
def test_counted_activation_memory_equals_what_autograd_keeps(build, batch):
    model = build()
    measured = measured_training_bytes(model, torch.zeros(batch, 3, 20, 24))
    assert training_bytes(model, (20, 24), batch) == measured > 0


def test_full_resolution_activations_follow_the_widths():
    # Batch norm keeps the convolution's output, ReLU keeps its own: two maps a layer, the image,
    # and batch norm's mean and deviation, 4 bytes each.
    widths, pixels = (8, 16, 32), 20 * 30
    expected = 4 * (3 * pixels + 2 * sum(widths) * pixels + 2 * sum(widths))
    assert training_bytes(FullResolutionNet(5, widths), (20, 30)) == expected


def test_inference_needs_one_layers_input_and_output():
    # The largest pair is the last batch norm or ReLU: 64 channels in, 64 out.
    assert inference_bytes(FullResolutionNet(5, (16, 64)), (20, 30)) == 4 * 20 * 30 * (64 + 64)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5]), st.integers(5, 12))
@settings(max_examples=20, deadline=None)
def test_a_convolution_costs_the_product_of_its_sizes(before, after, kernel, side):
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        conv(torch.zeros(1, before, side, side + 1))
    counted = conv_multiply_adds(before, after, kernel, (side, side + 1))
    assert 2 * counted == counter.get_total_flops()


def test_cost_grows_with_the_pixels_and_with_the_square_of_the_width():
    narrow, wide = FullResolutionNet(5, (16, 16, 16)), FullResolutionNet(5, (32, 32, 32))
    assert multiply_adds(narrow, (40, 40)) == 4 * multiply_adds(narrow, (20, 20))
    middle = [layer_costs(model, (20, 20))[3].multiply_adds for model in (narrow, wide)]
    assert middle[1] == 4 * middle[0]


def test_the_wide_network_of_the_lecture_is_counted_without_running_it():
    # 64, 128, 256 channels at 500x500: 250,000 pixels times 9 * (3*64 + 64*128 + 128*256) + 256*8.
    model = FullResolutionNet(8, (64, 128, 256))
    forward = 250_000 * (9 * (3 * 64 + 64 * 128 + 128 * 256) + 256 * 8)
    assert multiply_adds(model, (500, 500)) == forward
    first = 250_000 * 9 * 3 * 64
    assert backward_multiply_adds(model, (500, 500)) == 2 * forward - first


@pytest.mark.parametrize("size", [(32, 40), (37, 45)])
def test_padded_images_and_fixed_layers_owe_no_gradient(size):
    # U-Net pads its image; FCN enlarges its scores by bilinear weights that are not learned.
    for model in (unet_light(4), fcn_light(4, (16, 8))):
        found = measured_multiply_adds(model, torch.empty(1, 3, *size, device="meta"))
        assert (multiply_adds(model, size), backward_multiply_adds(model, size)) == found


def test_layers_are_listed_in_the_order_in_which_they_run():
    rows = layer_costs(FullResolutionNet(5, (4,)), (8, 9))
    assert [row.kind for row in rows] == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    assert rows[0].shape == (1, 4, 8, 9)
    assert sum(row.parameters for row in rows) == parameters(FullResolutionNet(5, (4,)))


def test_frozen_parameters_are_not_learned():
    model = nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    assert parameters(model) == 12
    network = FullResolutionNet(5, (4,))
    network.layers[0].weight.requires_grad_(False)
    assert [row.parameters for row in layer_costs(network, (8, 8))] == [0, 8, 0, 25]


def test_measuring_leaves_the_model_as_it_was():
    model = FullResolutionNet(5, (4,))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured_training_bytes(model, torch.ones(2, 3, 8, 8))
    measured_multiply_adds(model, torch.ones(2, 3, 8, 8))
    layer_costs(model, (8, 8))
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(layer._forward_hooks for layer in model.modules())
