"""SegNet: thirteen convolutions down, thirteen up, and the switches between them."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from segcourse import cost
from segcourse.deconvnet import deconvnet_light
from segcourse.segnet import segnet_light, segnet_vgg16
from segcourse.unpool_rules import unpool_at_corners


def on_meta(build):
    with torch.device("meta"):
        return build(11).eval()


def test_thirteen_convolutions_each_way_and_no_others():
    model = on_meta(segnet_vgg16)
    kinds = [type(layer) for layer in model.modules()]
    assert kinds.count(nn.Conv2d) == 26
    assert nn.ConvTranspose2d not in kinds
    assert nn.Linear not in kinds
    assert not list(model.bridge.parameters())


def test_parameters_are_vggs_convolutions_twice():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    pairs = list(pairwise(widths))
    encoder = sum(9 * a * b + 3 * b for a, b in pairs)  # weights, bias, batch norm
    decoder = sum(9 * b * a + 2 * a for a, b in pairs[1:])
    scores = 9 * 64 * 11 + 11
    assert cost.parameters(on_meta(segnet_vgg16)) == encoder + decoder + scores == 29_445_643


@pytest.mark.parametrize("build", [segnet_vgg16, segnet_light])
@pytest.mark.parametrize("size", [(32, 32), (45, 70), (360, 480), (1, 5)])
def test_logits_have_the_size_of_the_image(build, size):
    assert on_meta(build)(torch.empty(1, 3, *size, device="meta")).shape == (1, 11, *size)


def test_the_light_one_does_the_same_with_less_and_costs_less_than_the_light_deconvnet():
    segnet, deconvnet = on_meta(segnet_light), on_meta(deconvnet_light)
    assert cost.parameters(segnet) < cost.parameters(deconvnet)
    assert cost.multiply_adds(segnet, (128, 128)) < cost.multiply_adds(deconvnet, (128, 128))
    kinds = [type(layer) for layer in segnet.modules()]
    assert kinds.count(nn.Conv2d) == 12  # six down, six up
    assert kinds.count(nn.BatchNorm2d) == 11  # none after the scores


def test_its_logits_depend_on_the_switches():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = segnet_light(4)  # in training mode, where batch norm keeps all layers at one scale
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    true = model(image)
    model.unpool = unpool_at_corners
    assert (model(image) - true).abs().max() > 0.1
