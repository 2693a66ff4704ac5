"""DeepLab: torchvision's numbers from its weights, and one set of weights at two strides."""

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from segcourse.aspp import ASPP
from segcourse.backbones import LightBackbone, resnet50, resnet101
from segcourse.deeplab import DeepLab, deeplab_v3, load_torchvision, rates_at
from segcourse.dilate import dilate


def randomised(model, seed=0):
    """Batch norms with statistics of their own, so that none passes for the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.1 * torch.randn(module.num_features, generator=generator)
            module.running_var *= 0.5 + torch.rand(module.num_features, generator=generator)
    return model.eval()


def image(size=(65, 81), n=1):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(1))


def torchvision_model(builder=deeplabv3_resnet50, num_classes=5):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomised(builder(weights=None, weights_backbone=None, num_classes=num_classes))


@pytest.fixture(scope="module")
def theirs():
    return torchvision_model()


@torch.no_grad()
def test_v3_equals_torchvisions_when_given_its_weights(theirs):
    ours = deeplab_v3(resnet50(), 5).eval()
    load_torchvision(ours, theirs.state_dict())
    x = image()
    assert (ours(x) - theirs(x)["out"]).abs().max() < 1e-5


@torch.no_grad()
def test_v3_on_resnet_101_equals_torchvisions_and_auxiliary_weights_are_left_out():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = randomised(
            deeplabv3_resnet101(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
        )
    ours = deeplab_v3(resnet101(), 3).eval()
    load_torchvision(ours, other.state_dict())
    # Random weights grow through 101 layers, so the error is taken relative to the logits.
    x = image((40, 48)).double()
    found, expected = ours.double()(x), other.double()(x)["out"]
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_weights_with_another_number_of_classes_say_what_to_do(theirs):
    with pytest.raises(
        ValueError, match="for 5 classes and the model has 11: build the model with 5"
    ):
        load_torchvision(deeplab_v3(resnet50(), 11), theirs.state_dict())


def test_weights_of_another_depth_are_refused(theirs):
    with pytest.raises(ValueError, match="each need their own weights"):
        load_torchvision(deeplab_v3(resnet101(), 5), theirs.state_dict())


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"features.0.weight is not a part"):
        load_torchvision(deeplab_v3(resnet50(), 5), {"features.0.weight": torch.ones(1)})


def test_rates_see_as_many_pixels_at_every_output_stride():
    assert rates_at(8) == (12, 24, 36)
    assert rates_at(16) == (6, 12, 18)
    assert rates_at(32) == (3, 6, 9)
    with pytest.raises(ValueError, match="not whole at 16"):
        rates_at(16, (3,))


@torch.no_grad()
def test_one_set_of_weights_serves_both_output_strides():
    """At 8 with doubled rates, the scores at every second position are those at 16."""
    backbone = randomised(LightBackbone((4, 4, 8, 8, 8)))
    coarse = deeplab_v3(backbone, 3, output_stride=16).double().eval()
    randomised(coarse)
    fine = deeplab_v3(backbone, 3, output_stride=8).double().eval()
    fine.load_state_dict(coarse.state_dict())
    x = image((64, 96)).double()
    features = coarse.backbone(x)[-1], fine.backbone(x)[-1]
    assert (features[0] - features[1][..., ::2, ::2]).abs().max() < 1e-12
    # Without image pooling, whose mean is over other positions, the heads agree too.
    local = [[b for b in model.head.branches[:-1]] for model in (coarse, fine)]
    for at_16, at_8 in zip(*local, strict=True):
        difference = at_16(features[0]) - at_8(features[1])[..., ::2, ::2]
        assert difference.abs().max() < 1e-12


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 40)])
def test_logits_come_at_the_size_of_any_image(size):
    backbone = dilate(LightBackbone((4, 4, 8, 8, 8)), 8)
    model = DeepLab(backbone, ASPP(8, 3, rates=(1, 2), width=4))
    assert model(image(size, n=2)).shape == (2, 3, *size)


@torch.no_grad()
def test_scores_are_enlarged_about_pixel_centres():
    """A head that copies the features' place gives the place back, not a shifted one."""
    backbone = dilate(LightBackbone((4, 4, 8)), 8)
    rows = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1, 1, 8, 8)

    class Place(nn.Module):
        def forward(self, features):
            assert features.shape[2:] == (8, 8)
            return rows

    logits = DeepLab(backbone.eval(), Place())(image((64, 64)))[0, 0, :, 0]
    centres = (torch.arange(64.0) + 0.5) / 8 - 0.5
    assert (logits - centres.clamp(0, 7)).abs().max() < 1e-5
