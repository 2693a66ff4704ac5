"""DeepLab: torchvision's numbers from its weights, and one set of weights at two strides."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101

from segcourse.aspp import ASPP
from segcourse.backbones import LightBackbone, resnet50, resnet101
from segcourse.deeplab import (
    DeepLab,
    at_finer_stride,
    deeplab_v2,
    deeplab_v3,
    enlarge,
    load_torchvision,
    rates_at,
    widen,
)
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
    """At 8 with every rate doubled, the scores at every second position are those at 16."""
    backbone = randomised(LightBackbone((4, 4, 8, 8, 8)))
    coarse = deeplab_v3(backbone, 3, output_stride=16).double().eval()
    randomised(coarse)
    fine = at_finer_stride(coarse, LightBackbone((4, 4, 8, 8, 8)).double(), 8)
    assert fine.backbone.strides[-1] == 8
    x = image((64, 96)).double()
    features = coarse.backbone(x)[-1], fine.backbone(x)[-1]
    assert (features[0] - features[1][..., ::2, ::2]).abs().max() < 1e-12
    # Image pooling takes its mean over other positions: here both are given the coarse one's.
    mean = coarse.head.branches[-1](features[0])[..., :1, :1]
    for model in (coarse, fine):
        model.head.branches[-1] = Constant(mean)
    at_16, at_8 = coarse.head(features[0]), fine.head(features[1])
    assert at_8.shape[2:] == (8, 12)
    assert (at_16 - at_8[..., ::2, ::2]).abs().max() < 1e-12
    # Where the 3x3 before the scores keeps its rate, they differ.
    fine.head.score[0].dilation = fine.head.score[0].padding = (1, 1)
    assert (at_16 - fine.head(features[1])[..., ::2, ::2]).abs().max() > 1e-3


class Constant(nn.Module):
    """The same features at every position."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value.expand(-1, -1, *x.shape[2:])


@torch.no_grad()
def test_v2_at_a_finer_stride_gives_the_same_scores_in_between():
    coarse = deeplab_v2(randomised(LightBackbone((4, 4, 8, 8))), 3, (1, 3), 5, output_stride=16)
    coarse = coarse.double().eval()
    before = {name: tensor.clone() for name, tensor in coarse.state_dict().items()}
    x = image((64, 96)).double()
    for output_stride, step in ((8, 2), (4, 4)):
        fine = at_finer_stride(coarse, LightBackbone((4, 4, 8, 8)).double(), output_stride)
        a, b = (model.head(model.backbone(x)[-1]) for model in (coarse, fine))
        assert (a - b[..., ::step, ::step]).abs().max() < 1e-12
        assert fine.state_dict().keys() == before.keys()
        assert all(tensor.equal(before[name]) for name, tensor in fine.state_dict().items())
    assert coarse.head.branches[1][0].dilation == (3, 3)  # the given one is as it was


@pytest.mark.parametrize(("side", "pixels", "finer"), [(5, 40, 2), (4, 61, 2), (4, 64, 4)])
def test_a_finer_grid_is_read_where_the_coarse_one_was(side, pixels, finer):
    """Where the new scores lie on lines between the old ones, nothing changes."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 2, side, side, generator=generator, dtype=torch.float64)
    cells = finer * (side - 1) + 1
    fine = F.interpolate(coarse, (cells, cells), mode="bilinear", align_corners=True)
    size = (pixels, pixels)
    assert (enlarge(fine, size, finer) - enlarge(coarse, size)).abs().max() < 1e-12
    # torch's resize of the fine grid alone would move it.
    assert (enlarge(fine, size) - enlarge(coarse, size)).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_reads_a_finer_grid_at_the_same_places(dtype):
    # Odd numbers above 256 are no bfloat16: counted in it, pixels would share a place.
    scores = torch.randn(1, 3, 2, 60, generator=torch.Generator().manual_seed(2)).to(dtype)
    found = enlarge(scores, (16, 480), finer=2)
    assert found.dtype == dtype
    exact = enlarge(scores.double(), (16, 480), finer=2)
    assert (found - exact).abs().max() < 2 * torch.finfo(dtype).eps * exact.abs().max()


def test_a_stride_that_does_not_divide_is_refused():
    model = deeplab_v2(LightBackbone((4, 4, 8)), 3, (1,), 4, output_stride=4)
    with pytest.raises(ValueError, match="does not divide the model's, 4: give 2"):
        at_finer_stride(model, LightBackbone((4, 4, 8)), 8)
    with pytest.raises(ValueError, match="factor is 0"):
        widen(model.head, 0)


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
