"""Backbones keep their contract: channels and strides are what they say, at odd sizes too."""

import urllib.error

import pytest
import torch
from torch import nn
from torchvision import models

from segcourse import backbones
from segcourse.backbones import Backbone, LightBackbone
from segcourse.errors import DataError

BUILDERS = {
    "light": LightBackbone,
    "alexnet": backbones.alexnet,
    "vgg16": backbones.vgg16,
    "googlenet": backbones.googlenet,
    "resnet50": backbones.resnet50,
    "resnet101": backbones.resnet101,
}


def on_meta(build) -> Backbone:
    """Shapes without numbers: VGG16's 138 million weights cost nothing."""
    with torch.device("meta"):
        return build().eval()


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
def test_channels_and_strides_are_true_at_odd_sizes(build):
    backbone = on_meta(build)
    assert len(backbone.channels) == len(backbone.strides)
    assert list(backbone.strides) == sorted(set(backbone.strides))
    for h in (32, 33, 37, 47, 63, 64, 97):
        w = h + 10
        features = backbone(torch.empty(2, 3, h, w, device="meta"))
        for i, (feature, stride) in enumerate(zip(features, backbone.strides, strict=True)):
            assert feature.shape[:2] == (2, backbone.channels[i])
            assert abs(feature.shape[2] - h / stride) <= 2
            larger = backbone(torch.empty(2, 3, h + stride, w + 3 * stride, device="meta"))[i]
            assert larger.shape[2] == feature.shape[2] + 1
            assert larger.shape[3] == feature.shape[3] + 3


@pytest.mark.parametrize("h", [32, 33, 45, 64, 95])
def test_light_backbone_rounds_up(h):
    features = on_meta(LightBackbone)(torch.empty(1, 3, h, 32, device="meta"))
    assert [f.shape[2] for f in features] == [-(-h // s) for s in (2, 4, 8, 16, 32)]


def test_moving_the_image_by_the_stride_moves_the_feature_by_one():
    torch.manual_seed(0)
    backbone = LightBackbone((4, 4, 4)).double().eval()
    image = torch.randn(1, 3, 88, 88, dtype=torch.float64)
    here, moved = backbone(image), backbone(image[..., 8:, 8:])
    for feature, shifted, stride in zip(here, moved, backbone.strides, strict=True):
        step, margin = 8 // stride, 32 // stride  # clear of the zeros beyond the border
        a = feature[..., step + margin : -margin, step + margin : -margin]
        b = shifted[..., margin:-margin, margin:-margin]
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        assert a.std() > 0


def test_light_backbone_learns_which_half_is_bright():
    torch.manual_seed(0)
    images = torch.randn(16, 3, 32, 32)
    truth = torch.arange(16) % 2
    images[truth == 1, :, :16] += 0.5
    images[truth == 0, :, 16:] += 0.5
    backbone, head = LightBackbone((8, 8, 8)), nn.Linear(8 * 16, 2)
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(15):
        loss = nn.functional.cross_entropy(head(backbone(images)[-1].flatten(1)), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_alexnet_stages_are_torchvisions_layers():
    torch.manual_seed(0)
    net = models.alexnet(weights=None).double().eval()
    torch.manual_seed(0)
    backbone = backbones.alexnet().double().eval()
    image = torch.randn(1, 3, 64, 65, dtype=torch.float64)
    oracle = net.features[:-1](image)  # all but the last pool
    torch.testing.assert_close(backbone(image)[-1], oracle, rtol=0, atol=1e-12)


def test_googlenet_and_resnet_stages_are_torchvisions_layers():
    image = torch.randn(1, 3, 64, 65, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = models.googlenet(weights=None, aux_logits=False, init_weights=True).eval()
    net.avgpool = net.dropout = net.fc = nn.Identity()
    torch.manual_seed(0)
    mine = backbones.googlenet().eval()(image)[-1]
    torch.testing.assert_close(net(image), mine.flatten(1))

    torch.manual_seed(0)
    net = models.resnet50(weights=None).eval()
    net.avgpool = net.fc = nn.Identity()
    torch.manual_seed(0)
    mine = backbones.resnet50().eval()(image)[-1]
    torch.testing.assert_close(net(image), mine.flatten(1))


def test_trained_googlenet_gets_its_own_range():
    # GoogLeNet's weights were trained on -1..1; torchvision's network converts, so must we.
    image = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.device("meta"):
        net = models.googlenet(weights=None, aux_logits=False, init_weights=False)
    net.transform_input = True
    torch.testing.assert_close(backbones.ToUnitRange()(image), net._transform_input(image))


@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_weights_out_of_reach_say_what_to_do(name, tmp_path, monkeypatch):
    def offline(*args, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    weights = {
        "alexnet": models.AlexNet_Weights.DEFAULT,
        "googlenet": models.GoogLeNet_Weights.DEFAULT,
    }[name]
    with pytest.raises(DataError, match=r"no route to host.*weights=None"):
        BUILDERS[name](weights)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 31, 64), (1, 3, 64, 8)])
def test_an_image_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="need \\(N, 3, H, W\\) with H and W from 32 up"):
        LightBackbone((4,))(torch.zeros(shape))


def test_stages_channels_and_strides_must_go_together():
    with pytest.raises(ValueError, match="1 stages, 2 channels and 1 strides"):
        Backbone([nn.Identity()], (3, 4), (1,))
    with pytest.raises(ValueError, match="6 widths"):
        LightBackbone((4,) * 6)
