"""The DeepLabs that have a name: the papers' rates, sizes and numbers of parameters."""

import pytest
import torch
from torch import nn
from torchvision.models import VGG16_Weights

from segcourse import backbones, deeplab_networks
from segcourse.aspp import ASPP
from segcourse.backbones import LightBackbone
from segcourse.cost import parameters
from segcourse.deeplab import deeplab_v2
from segcourse.errors import DataError
from segcourse.receptive_field import receptive_field

NAMES = (
    *("largefov_vgg16", "aspp_s_vgg16", "aspp_l_vgg16", "deeplab_v3_resnet50"),
    *("deeplab_v3_resnet101", "largefov_light", "aspp_s_light", "aspp_l_light", "deeplab_v3_light"),
)


@pytest.fixture(scope="module")
def networks():
    with torch.device("meta"):  # shapes without numbers
        return {name: getattr(deeplab_networks, name)(21) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_each_scores_every_eighth_pixel_and_answers_at_any_size(networks, name):
    model = networks[name].eval()
    assert model.backbone.strides[-1] == 8
    image = torch.zeros(1, 3, 65, 97, device="meta")
    rows, columns = model.head(model.backbone(image)[-1]).shape[2:]
    assert abs(rows - 65 / 8) < 2
    assert abs(columns - 97 / 8) < 2
    assert model(image).shape == (1, 21, 65, 97)


def test_the_rates_are_the_papers(networks):
    rates = {name: networks[name].head.rates for name in NAMES}
    for size in ("vgg16", "light"):
        assert rates[f"largefov_{size}"] == (12,)
        assert rates[f"aspp_s_{size}"] == (2, 4, 8, 12)
        assert rates[f"aspp_l_{size}"] == (6, 12, 18, 24)
    for name in ("resnet50", "resnet101", "light"):
        assert rates[f"deeplab_v3_{name}"] == (12, 24, 36)


def test_largefov_has_the_papers_parameters_and_field(networks):
    model = networks["largefov_vgg16"]
    assert round(parameters(model) / 1e6, 1) == 20.5
    # The paper counts the 224 px that fc6 covers in the image: 7 cells of the classifier's map
    # at stride 32. At rate 12 a kernel of 3 covers 25 cells of 8 px, 192 px from first to last.
    (branch,) = model.head.branches
    assert receptive_field(nn.Sequential(branch[0])).size == 25


def test_four_branches_are_four_heads_and_rates_are_free(networks):
    single, narrow, wide = (
        parameters(networks[name].head)
        for name in ("largefov_vgg16", "aspp_s_vgg16", "aspp_l_vgg16")
    )
    assert narrow == wide == 4 * single


def test_the_light_ones_are_as_light_as_they_say(networks):
    sizes = {name: round(parameters(networks[name]) / 1e6, 1) for name in NAMES if "light" in name}
    assert sizes["largefov_light"] == 0.5
    assert sizes["aspp_s_light"] == sizes["aspp_l_light"] == 0.8


def test_one_rate_alone_is_largefov():
    torch.manual_seed(0)
    model = deeplab_v2(LightBackbone((4, 4, 8, 8, 8)), 3, (12,), width=4).double().eval()
    features = torch.rand(1, 8, 6, 5, dtype=torch.float64)
    assert isinstance(model.head, ASPP)
    assert model.head(features).equal(model.head.branches[0](features))


def test_weights_that_cannot_be_fetched_say_where_to_put_them(monkeypatch):
    def offline(weights):
        raise OSError("no network")

    monkeypatch.setattr(backbones.models, "vgg16", offline)
    with pytest.raises(DataError, match="put the file of"):
        deeplab_networks.largefov_vgg16(21, VGG16_Weights.DEFAULT)


def test_an_output_stride_that_the_backbone_lacks_names_those_it_has():
    with pytest.raises(ValueError, match=r"output stride 12.*passes the strides 1, 2, 4"):
        deeplab_v2(LightBackbone((4, 4)), 3, (1,), width=4, output_stride=12)


def test_a_backbone_that_cannot_be_dilated_is_named():
    stages = [nn.Sequential(nn.AdaptiveAvgPool2d(4))]
    with pytest.raises(ValueError, match="Backbone cannot be dilated"):
        deeplab_v2(backbones.Backbone(stages, (3,), (8,)), 3, (1,), width=4)
