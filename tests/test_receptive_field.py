"""Receptive fields: the closed form against brute force, and what units really listen to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from segcourse.backbones import LightBackbone, ToUnitRange
from segcourse.effective_field import (
    effective_receptive_field,
    field_radius,
    field_sigma,
    gradient_support,
    gradient_weights,
    positive_twin,
)
from segcourse.receptive_field import (
    Field,
    Window,
    layer_fields,
    output_size,
    receptive_field,
    window_of,
)


def along(axis: int, value: int, other: int) -> tuple[int, int]:
    return (value, other) if axis == 0 else (other, value)


@st.composite
def chains(draw):
    """Layers of random kinds and windows along one axis, and the axis."""
    axis, chain = draw(st.integers(0, 1)), []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([nn.Conv2d, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.ReLU]))
        k, stride, dilation = (draw(st.integers(1, high)) for high in (3, 2, 2))
        kernel, ceil_mode = along(axis, k, 1), draw(st.booleans())
        if kind is nn.ReLU:
            chain.append(nn.ReLU())
            continue
        if kind is nn.Conv2d:
            padding = draw(st.sampled_from(["same", "valid", 0, 1, 2]))
            stride = 1 if padding == "same" else stride
            padding = along(axis, padding, 0) if isinstance(padding, int) else padding
            window = {"padding": padding, "dilation": along(axis, dilation, 1)}
            chain.append(nn.Conv2d(1, 1, kernel, along(axis, stride, 1), **window))
            continue
        window = {"padding": along(axis, draw(st.integers(0, k // 2)), 0), "ceil_mode": ceil_mode}
        if kind is nn.MaxPool2d:
            window["dilation"] = along(axis, dilation, 1)
        chain.append(kind(kernel, along(axis, stride, 1), **window))
    return nn.Sequential(*chain), axis


def positive(model: nn.Module) -> nn.Module:
    """Torch's own layers in float64 with positive weights, so that no path cancels another."""
    model.double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.uniform_(0.5, 1.5, generator=generator)
            layer.weight.div_(layer.weight[0].numel())
            layer.bias.zero_()
    return model


def seen_by_each_unit(model: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """(H, W, h, w) bool by brute force: light one pixel at a time and look at what lights up."""
    H, W = size
    lights = torch.eye(H * W, dtype=torch.float64).reshape(-1, 1, H, W)
    lit = positive(model)(lights)[:, 0]
    return (lit > 0).reshape(H, W, *lit.shape[1:])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(chains())
@settings(max_examples=80)
def test_the_closed_form_is_what_lighting_each_pixel_shows(chain_and_axis):
    model, axis = chain_and_axis
    field = receptive_field(model, axis)
    n = 3 * field.size + 4 * field.stride  # a middle unit is clear of the border in every layer
    size = along(axis, n, 1)
    seen = seen_by_each_unit(model, size)
    assert output_size(model, size) == seen.shape[2:]
    seen = seen.flatten(2).flatten(0, 1)  # (n, units)
    units = seen.shape[1]
    for unit in range(units):
        first, end = field.span(unit)
        pixels = seen[:, unit].nonzero().flatten().tolist()
        assert all(first <= p < end for p in pixels)
        if unit == units // 2:
            assert (pixels[0], pixels[-1] + 1) == (first, end)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(chains(), st.data())
@settings(max_examples=40)
def test_the_support_of_the_gradient_is_what_lighting_each_pixel_shows(chain_and_axis, data):
    model, axis = chain_and_axis
    size = along(axis, receptive_field(model, axis).size + 12, 1)
    seen = seen_by_each_unit(model, size)
    unit = tuple(data.draw(st.integers(0, n - 1)) for n in seen.shape[2:])
    assert torch.equal(gradient_support(model, size, unit), seen[:, :, unit[0], unit[1]])


@torch.no_grad()
def test_rows_and_columns_are_not_mixed_up():
    model = nn.Sequential(
        nn.Conv2d(1, 1, (3, 1), padding=(1, 0)), nn.MaxPool2d((2, 3), (2, 1), (0, 1))
    )
    assert receptive_field(model, axis=0) == Field(4, 2, 0.5)
    assert receptive_field(model, axis=1) == Field(3, 1, 0.0)
    assert output_size(model, (9, 7)) == model(torch.zeros(1, 1, 9, 7)).shape[2:] == (4, 7)
    seen = seen_by_each_unit(model, (8, 7))[:, :, 1, 3]
    expected = torch.zeros(8, 7, dtype=torch.bool)
    expected[1:5, 2:5] = True
    assert torch.equal(seen, expected)
    assert torch.equal(gradient_support(model, (8, 7), (1, 3)), expected)


@pytest.mark.parametrize(
    ("features", "size", "stride", "offset"),
    [
        (lambda: models.vgg16().features, 212, 32, 15.5),
        (lambda: models.alexnet().features, 195, 32, 31.0),
    ],
    ids=["vgg16", "alexnet"],
)
def test_fields_of_the_classifiers_are_the_gradients_support(features, size, stride, offset):
    with torch.device("meta"):
        model = features()
    field = receptive_field(model)
    assert field == Field(size, stride, offset)
    for H in (401, 448):
        support = gradient_support(model, (H, H), (4, 5))
        (top, bottom), (left, right) = field.span(4), field.span(5)
        expected = torch.zeros_like(support)
        expected[top:bottom, left:right] = True
        assert torch.equal(support, expected)


def test_branches_see_the_union_and_googlenet_is_one():
    with torch.device("meta"):
        net = models.googlenet(aux_logits=False, init_weights=False)
        chain = nn.Sequential(*list(net.children())[:-3])
    field = receptive_field(chain)
    assert field.stride == 32
    assert field.offset == 22.0  # pools that round up, without padding: not the 15.5 of VGG16
    support = gradient_support(chain, (900, 700), (13, 10))
    rows, cols = support.any(1).nonzero().flatten(), support.any(0).nonzero().flatten()
    assert (rows[0], rows[-1] + 1) == field.span(13)
    assert (cols[0], cols[-1] + 1) == field.span(10)


def test_fields_add_up_layer_by_layer_and_over_parts():
    with torch.device("meta"):
        features = models.vgg16().features
    rows = layer_fields(features)
    assert [name for name, _ in rows] == [str(i) for i in range(31)]
    assert rows[-1][1] == receptive_field(features)
    first, rest = features[:12], features[12:]
    assert receptive_field(rest, start=receptive_field(first)) == receptive_field(features)
    assert rows[0][1] == Window(kernel=3, before=1, after=1).on(Field())


@pytest.mark.parametrize("H", [32, 45, 64])
def test_output_sizes_of_the_light_backbone_are_torchs(H):
    model = nn.Sequential(*LightBackbone((2, 2, 2)).stages).eval()
    assert output_size(model, (H, 50)) == model(torch.zeros(1, 3, H, 50)).shape[2:]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Linear(3, 3), "convolutionalize first"),
        (nn.AdaptiveAvgPool2d(1), "convolutionalize first"),
        (nn.ConvTranspose2d(3, 3, 2), "ConvTranspose2d has no window of fixed size"),
        (LightBackbone((2,)), r"nn.Sequential\(\*backbone.stages\)"),
    ],
)
def test_what_has_no_field_says_so(model, told):
    with pytest.raises(ValueError, match=told):
        receptive_field(model)


class _Flips(nn.Module):
    def forward(self, x):
        return x.flip(2)


class _Branches(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, stride=stride)

    def forward(self, x):
        return self.one(x) + self.other(x)


def test_an_unknown_function_and_unlike_branches_say_so():
    with pytest.raises(ValueError, match="calls flip"):
        receptive_field(_Flips())
    with pytest.raises(ValueError, match=r"strides \[1, 2\] meet"):
        receptive_field(_Branches(2))
    with pytest.raises(ValueError, match="too small: enlarge"):
        output_size(nn.MaxPool2d(3), (2, 9))


def test_the_positive_twin_leaves_the_model_as_it_was():
    model = nn.Sequential(ToUnitRange(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradient_support(model, (6, 6), (1, 1))
    assert positive_twin(model) is not model
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {t.dtype for t in (model[0].scale, model[1].weight)} == {torch.float32}


# ---- what a unit listens to


def blur(layers: int) -> nn.Sequential:
    """3x3 means in a row: the derivative is the mean filter applied again and again."""
    chain = [nn.Conv2d(3, 1, 3, padding=1, bias=False)]
    chain += [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(layers - 1)]
    model = nn.Sequential(*chain).double().eval().requires_grad_(False)
    for layer in model:
        layer.weight.fill_(1 / 9)
    return model


def test_fields_are_measured_in_inference_mode_too():
    model, seed = blur(2), torch.Generator().manual_seed
    images = torch.randn(1, 3, 9, 9, dtype=torch.float64, generator=seed(1))
    expected = effective_receptive_field(model, images, seed(0))
    with torch.inference_mode():
        assert torch.equal(effective_receptive_field(model, images + 0, seed(0)), expected)
        assert gradient_support(model, (9, 9), (4, 4)).sum() == 25


def test_means_in_a_row_listen_like_a_gaussian_of_known_width():
    model = blur(12)
    images = torch.randn(2, 3, 41, 41, dtype=torch.float64)
    field = effective_receptive_field(model, images, torch.Generator().manual_seed(0))
    assert field.sum().item() == pytest.approx(1)
    # The variance of a mean over -1, 0, 1 is 2/3, and variances of a chain add up.
    assert field_sigma(field) == pytest.approx((12 * 2 / 3) ** 0.5, abs=1e-9)
    assert receptive_field(model).size == 25
    # 95 % of a Gaussian of 2.83 px in two dimensions lie within 2.24 sigma along each axis.
    assert field_radius(field) == 6
    weights = gradient_weights(model, (41, 41), (20, 20))
    torch.testing.assert_close(field, weights / weights.sum(), rtol=0, atol=1e-12)


def test_the_effective_field_grows_with_the_root_of_the_depth():
    images = torch.randn(1, 3, 65, 65, dtype=torch.float64)
    sigma = [
        field_sigma(effective_receptive_field(blur(n), images, torch.Generator())) for n in (4, 16)
    ]
    assert sigma[1] / sigma[0] == pytest.approx(2, abs=1e-6)


def test_the_random_signs_find_the_mean_square_over_channels():
    generator = torch.Generator().manual_seed(3)
    model = nn.Conv2d(3, 5, 3, padding=1).double().eval()
    images = torch.randn(4000, 3, 3, 3, dtype=torch.float64)
    field = effective_receptive_field(model, images, generator)
    exact = model.weight.detach().square().sum((0, 1)).sqrt()
    torch.testing.assert_close(field, exact / exact.sum(), rtol=0.05, atol=0)


def test_the_radius_holds_its_share_and_no_smaller_one_does():
    field = torch.rand(31, 27, generator=torch.Generator().manual_seed(1))
    for share in (0.2, 0.5, 0.95, 1.0):
        r = field_radius(field, share)
        held = [
            field[max(15 - k, 0) : 16 + k, max(13 - k, 0) : 14 + k].sum() / field.sum()
            for k in (r - 1, r)
        ]
        assert held[0] < share <= held[1] + 1e-5


def test_a_field_that_cannot_be_measured_says_why():
    images, generator = torch.randn(1, 3, 32, 32), torch.Generator()
    model = nn.Conv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        effective_receptive_field(model.train(), images, generator)
    nn.init.zeros_(model.weight)
    with pytest.raises(ValueError, match="depends on no pixel"):
        effective_receptive_field(model.eval(), images, generator)
    with pytest.raises(ValueError, match="give 0 to 1"):
        field_radius(torch.ones(3, 3), 95)


def test_a_window_knows_layers_alone():
    assert window_of(nn.ZeroPad2d((1, 2, 3, 4)), 0) == Window(before=3, after=4)
    assert window_of(nn.ZeroPad2d((1, 2, 3, 4)), 1) == Window(before=1, after=2)
    assert window_of(nn.BatchNorm2d(3)) == Window()
