"""Fully convolutional networks: aligned to the pixel, and each variant starts as the one before."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision import models

from segcourse import backbones, cost
from segcourse.effective_field import positive_twin
from segcourse.errors import DataError, UsageError
from segcourse.fcn import FCN, Enlarge, bilinear_kernel, hand_over, zero_scores
from segcourse.fcn_networks import (
    _fill,
    _head,
    fcn_alexnet,
    fcn_googlenet,
    fcn_light,
    fcn_vgg16,
    he_initialise,
)
from segcourse.receptive_field import Field

VARIANTS = {"32s": (), "16s": (16,), "8s": (16, 8)}
NETWORKS = {
    "vgg16-32s": lambda k: fcn_vgg16(k),
    "vgg16-8s": lambda k: fcn_vgg16(k, (16, 8)),
    "alexnet": fcn_alexnet,
    "googlenet": fcn_googlenet,
    "light-32s": lambda k: fcn_light(k),
    "light-8s": lambda k: fcn_light(k, (16, 8)),
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights in float64 as training might leave them: no layer is zero or plain bilinear."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.double().parameters():
            weight.add_(torch.randn(weight.shape, dtype=torch.float64, generator=generator) * 0.05)
    return model.eval()


# ---- enlarging


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 16, 32])
def test_the_kernel_is_the_one_of_the_authors_code(factor):
    size = 2 * factor - factor % 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = [1 - abs(i - centre) / factor for i in range(size)]
    expected = torch.tensor([[a * b for a in line] for b in line], dtype=torch.float64)
    torch.testing.assert_close(bilinear_kernel(factor), expected, rtol=0, atol=1e-15)


@given(st.integers(1, 8), st.integers(3, 6), st.integers(3, 6))
@settings(max_examples=30)
def test_a_transposed_convolution_with_it_interpolates_inside(factor, h, w):
    x = random(1, 2, h, w)
    kernel = bilinear_kernel(factor).expand(2, 1, -1, -1)
    size = kernel.shape[-1]
    out = F.conv_transpose2d(x, kernel, stride=factor, groups=2)
    cut = (size - factor) // 2  # the first output pixel of the first cell
    out = out[..., cut : cut + factor * h, cut : cut + factor * w]
    oracle = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(out[inside], oracle[inside], rtol=0, atol=1e-12)


@st.composite
def grids(draw):
    """A fine grid anywhere, and a coarser one that a transposed convolution can align with it."""
    stride, factor = draw(st.sampled_from([1, 2, 4])), draw(st.integers(2, 8))
    # In half fine cells: the two kernel sizes are there for the odd and the even halves.
    shift = draw(st.integers(-3 * factor, 3 * factor))
    fine = Field(3, stride, 0.0 if stride == 1 else draw(st.integers(-9, 9)) / 2)
    return Field(9, stride * factor, fine.offset + shift * stride / 2), fine


@torch.no_grad()
@given(grids(), st.integers(1, 5), st.integers(1, 40), st.booleans())
@settings(max_examples=80)
def test_a_ramp_stays_the_same_ramp_on_the_finer_grid(pair, h, length, learned):
    """Interpolation is right to the pixel when each cell that holds its own place gives places."""
    coarse, fine = pair
    enlarge = Enlarge(2, coarse, fine, learned).double()
    places = torch.tensor([coarse.centre(i) for i in range(h)], dtype=torch.float64)
    rows = places[:, None].expand(h, 3)
    x = torch.stack([rows, -2 * rows])[None]
    out = enlarge(x, (length, 4))
    expected = torch.tensor([fine.centre(j) for j in range(length)], dtype=torch.float64)
    expected = expected.clamp(places[0], places[-1])[:, None].expand(length, 4)
    # In pixels; the kernel's thirds and fifths are float32.
    torch.testing.assert_close(out[0, 0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(out[0, 1], -2 * expected, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("factor", [2, 8])
def test_on_nested_cells_it_is_torchs_interpolation_border_and_all(factor):
    # A cell over factor x factor pixels has its centre at (factor - 1) / 2, as VGG16's have.
    enlarge = Enlarge(3, Field(1, factor, (factor - 1) / 2), Field(), learned=False).double()
    x = random(2, 3, 4, 5)
    out = enlarge(x, (4 * factor, 5 * factor))
    oracle = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(out, oracle, rtol=0, atol=1e-12)


def test_grids_that_lie_between_each_other_say_so():
    with pytest.raises(ValueError, match="lie between each other"):
        Enlarge(1, Field(9, 8, 1.0), Field(5, 4, 0.0), learned=True)
    with pytest.raises(ValueError, match="lie between each other"):
        Enlarge(1, Field(9, 9, 0.0), Field(5, 2, 0.0), learned=True)
    with pytest.raises(ValueError, match="use 3 or 4"):
        bilinear_kernel(2, size=5)


@torch.no_grad()
def test_steps_of_2_2_and_8_are_nearly_one_step_of_32():
    """The paper's 32s takes one step; scores of noise, as here, make the most of the difference."""
    x = random(1, 4, 12, 12)
    steps = x
    for coarse, fine in ((32, 16), (16, 8), (8, 1)):
        grids = [Field(1, s, (s - 1) / 2) for s in (coarse, fine)]
        size = (12 * 32 // fine,) * 2
        steps = Enlarge(4, *grids, learned=False).double()(steps, size)
    one = F.interpolate(x, scale_factor=32, mode="bilinear", align_corners=False)
    difference = (steps - one).abs()
    assert 0.05 < difference.mean() < 0.15  # in standard deviations of the scores
    same = (steps.argmax(1) == one.argmax(1)).double().mean()
    assert 0.9 < same < 1, same


# ---- the networks


def on_meta(build, num_classes: int = 5) -> FCN:
    """Shapes without numbers: 134 million weights cost nothing."""
    with torch.device("meta"):
        return build(num_classes).eval()


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_logits_have_the_images_size(build):
    model = on_meta(build)
    for size in ((32, 32), (33, 47), (64, 63), (95, 32), (360, 480), (501, 333)):
        assert model(torch.empty(2, 3, *size, device="meta")).shape == (2, 5, *size)


@pytest.mark.parametrize(
    ("name", "millions"), [("vgg16-32s", 134), ("alexnet", 57), ("googlenet", 6)]
)
def test_parameters_are_the_papers(name, millions):
    assert round(cost.parameters(on_meta(NETWORKS[name], 21)) / 1e6) == millions


def test_multiply_adds_are_those_that_torch_counts():
    with torch.device("meta"):
        model = fcn_light(5, (16, 8))
    counted = cost.multiply_adds(model, (64, 96))
    measured, _ = cost.measured_multiply_adds(model, torch.empty(1, 3, 64, 96, device="meta"))
    assert counted == measured


def test_layers_are_the_papers():
    convolutions = [m for m in on_meta(NETWORKS["vgg16-8s"], 21).head if isinstance(m, nn.Conv2d)]
    shapes = [tuple(m.weight.shape) for m in convolutions]
    assert shapes == [(4096, 512, 7, 7), (4096, 4096, 1, 1), (21, 4096, 1, 1)]
    alexnet = [m for m in on_meta(NETWORKS["alexnet"], 21).head if isinstance(m, nn.Conv2d)]
    assert tuple(alexnet[0].weight.shape) == (4096, 256, 6, 6)
    skips = on_meta(NETWORKS["vgg16-8s"], 21).skips
    assert {k: v.in_channels for k, v in skips.items()} == {"16": 512, "8": 256}  # pool4, pool3


def transparent(build) -> FCN:
    """The network with every layer a mean over its window: only the geometry is left."""
    with torch.device("meta"):
        model = build(1)
    for i, stage in enumerate(model.backbone.stages):
        model.backbone.stages[i] = positive_twin(stage)
    model.head = positive_twin(model.head)
    for stride, skip in model.skips.items():
        model.skips[stride] = positive_twin(skip)
    for enlarge in model.enlarge.values():  # the one part whose numbers matter
        conv = enlarge.convolution
        kernel = bilinear_kernel(enlarge.factor, conv.kernel_size[0])[None, None]
        conv.weight = nn.Parameter(kernel) if isinstance(conv.weight, nn.Parameter) else kernel
    return model.eval()


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("size", [(768, 768), (763, 801)])
def test_a_pixels_logit_looks_at_that_pixel(build, size):
    """The centre of mass of the gradient is the pixel itself: every crop offset is right."""
    model = transparent(build)
    image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    logits = model(image)
    assert logits.shape[2:] == size
    for row, col in ((380, 381), (397, 400)):
        (weight,) = torch.autograd.grad(logits[0, 0, row, col], image, retain_graph=True)
        weight = weight.sum((0, 1))
        mean_row = (weight.sum(1) * torch.arange(size[0])).sum() / weight.sum()
        mean_col = (weight.sum(0) * torch.arange(size[1])).sum() / weight.sum()
        assert mean_row.item() == pytest.approx(row, abs=1e-6)
        assert mean_col.item() == pytest.approx(col, abs=1e-6)


@torch.no_grad()
def test_moving_the_image_by_the_stride_moves_the_logits_by_it():
    model = trained(fcn_light(3, (16, 8), widths=(2, 2, 2, 2, 2)))
    image = random(1, 3, 500, 480)
    here, moved = model(image), model(image[..., 32:, 32:])
    a, b = here[..., 32 + 192 : 272, 32 + 192 : 252], moved[..., 192:240, 192:220]
    assert a.std() > 0
    torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@torch.no_grad()
def test_even_scores_stay_even_up_to_the_border():
    model = fcn_light(3, (16, 8)).double().eval()
    for layer, value in ((model.head[-1], 1.0), (model.skips["16"], 0.5), (model.skips["8"], 0.25)):
        layer.bias.fill_(value)
    logits = model(random(1, 3, 45, 67))
    torch.testing.assert_close(logits, torch.full_like(logits, 1.75), rtol=0, atol=1e-12)


# ---- handing over


def thin_vgg16(num_classes: int, skips: tuple[int, ...]) -> FCN:
    """VGG16's convolutions and geometry with a head that is quick to build."""
    head = nn.Sequential(nn.Conv2d(512, 8, 7, padding=3), nn.ReLU(), zero_scores(8, num_classes))
    return FCN(backbones.vgg16(), head, num_classes, skips)


@torch.no_grad()
@pytest.mark.parametrize("build", [fcn_light, thin_vgg16], ids=["light", "vgg16"])
@pytest.mark.parametrize("before", ["32s", "16s"])
def test_the_next_variant_starts_as_the_one_before(build, before):
    after = {"32s": "16s", "16s": "8s"}[before]
    source, target = trained(build(4, VARIANTS[before])), trained(build(4, VARIANTS[after]), seed=1)
    image = random(1, 3, 67, 45)
    expected = source(image)
    assert (target(image) - expected).abs().max() > 1e-3
    hand_over(source, target)
    torch.testing.assert_close(target(image), expected, rtol=0, atol=1e-12)
    assert expected.std() > 1e-3
    torch.testing.assert_close(source(image), expected, rtol=0, atol=0)


def test_a_skip_that_was_handed_zeros_learns():
    source, target = trained(fcn_light(4)), fcn_light(4, (16,)).double()
    hand_over(source, target)
    F.cross_entropy(target(random(2, 3, 64, 64)), torch.randint(4, (2, 64, 64))).backward()
    assert target.skips["16"].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        (lambda: fcn_light(4, (16, 8)), lambda: fcn_light(4, (16,)), "adds scores at stride 8 and"),
        (lambda: fcn_light(4), lambda: fcn_light(5, (16,)), "of another shape"),
        (lambda: fcn_light(4), lambda: fcn_googlenet(4), "build both on one backbone"),
    ],
)
def test_networks_that_do_not_fit_say_why(source, target, told):
    with torch.device("meta"):
        pair = source(), target()
    with pytest.raises(UsageError, match=told):
        hand_over(*pair)


def test_what_the_network_refuses():
    with pytest.raises(ValueError, match=r"skips \(4,\): from scores at stride 32 .* \(16, 8\)"):
        fcn_light(3, (4,))
    with pytest.raises(ValueError, match="H and W from 32 up"):
        fcn_light(3)(torch.zeros(1, 3, 31, 40))


# ---- how training begins


def test_all_scores_start_at_zero_and_still_learn():
    torch.manual_seed(0)
    model = fcn_light(3, (16, 8), widths=(4, 4, 8, 8, 8))
    image = torch.randn(2, 3, 40, 40)
    labels = (image[:, 0] > 0).long()
    assert model(image).abs().max() == 0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        loss = F.cross_entropy(model(image), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-6)
    assert losses[-1] < 0.8


def test_the_last_step_is_fixed_and_the_others_are_learned():
    model = fcn_light(3, (16, 8))
    learned = {name for name, _ in model.named_parameters() if name.startswith("enlarge")}
    assert learned == {f"enlarge.{stride}.convolution.weight" for stride in (16, 8)}
    assert not [name for name in model.state_dict() if name.startswith("enlarge.1.")]
    # Each class starts from itself alone.
    weight = model.enlarge["16"].convolution.weight
    assert torch.equal(weight[0, 0], bilinear_kernel(2, 3).float())
    assert weight[0, 1].abs().max() == 0


@torch.no_grad()
def test_he_initialisation_keeps_activations_alive_in_16_layers():
    torch.manual_seed(0)
    backbone = he_initialise(backbones.vgg16())
    deepest = backbone(torch.randn(1, 3, 64, 64))[-1]
    assert 0.1 < deepest.std() < 10
    assert all(not layer.bias.any() for layer in backbone.modules() if isinstance(layer, nn.Conv2d))


@torch.no_grad()
def test_trained_linear_layers_are_read_into_the_head():
    torch.manual_seed(0)
    classifier = models.alexnet().classifier.eval()
    head = _head(256, 6, 0, 3).eval()
    _fill(head, classifier)
    x = torch.randn(2, 256, 6, 6)
    expected = classifier[:6](x.flatten(1))
    torch.testing.assert_close(head[:6](x).flatten(1), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_trained_weights_give_a_network_where_they_can_be_had():
    try:
        model = fcn_alexnet(3, models.AlexNet_Weights.DEFAULT).eval()
    except DataError as error:
        pytest.skip(f"the trained weights cannot be fetched here: {error}")
    deepest = model.backbone(torch.randn(1, 3, 64, 64))[-1]
    assert deepest.std() > 0.1
