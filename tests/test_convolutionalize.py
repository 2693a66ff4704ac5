"""A classifier's linear layers as convolutions: equal at the native size, a grid beyond it."""

import pytest
import torch
from torch import nn
from torchvision import models

from segcourse.convolutionalize import class_heat_map, convolutionalize, unpadded
from segcourse.receptive_field import output_size, receptive_field
from segcourse.sliding_window import windows

BUILDERS = {
    "alexnet": models.alexnet,
    "vgg16": models.vgg16,
    "vgg11_bn": models.vgg11_bn,
    "googlenet": models.googlenet,
}


def built(name: str) -> nn.Module:
    """Random weights whose logits are not all but equal; GoogLeNet with all of its parts."""
    torch.manual_seed(0)
    if name != "googlenet":
        return BUILDERS[name](num_classes=10).eval()
    options = {"aux_logits": True, "transform_input": True, "init_weights": False}
    return models.googlenet(num_classes=10, **options).eval()


def image(h: int, w: int, n: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, 3, h, w, dtype=dtype, generator=torch.Generator().manual_seed(1))


def small(padding: int = 1) -> nn.Sequential:
    """A classifier of 32x32 images in the manner of VGG: blocks, pools, two linear layers."""
    torch.manual_seed(2)
    return (
        nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Conv2d(6, 8, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
            nn.Sequential(nn.Linear(8 * (8 if padding else 6) ** 2, 12), nn.BatchNorm1d(12)),
            nn.Sequential(nn.ReLU(), nn.Dropout(), nn.Linear(12, 5)),
        )
        .double()
        .eval()
    )


@torch.no_grad()
@pytest.mark.parametrize("name", BUILDERS)
def test_logits_at_the_native_size_are_the_classifiers(name):
    classifier = built(name)
    x = image(224, 224, dtype=torch.float32)
    logits, expected = convolutionalize(classifier)(x), classifier(x)
    assert logits.shape == (1, 10, 1, 1)
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits.flatten(1), expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_the_same_in_float64(name):
    classifier = built(name).double()
    x = image(224, 224)
    logits = convolutionalize(classifier)(x).flatten(1)
    torch.testing.assert_close(logits, classifier(x), rtol=0, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize(
    ("builder", "weights"),
    [
        (models.alexnet, models.AlexNet_Weights.DEFAULT),
        (models.googlenet, models.GoogLeNet_Weights.DEFAULT),
    ],
    ids=["alexnet", "googlenet"],
)
def test_trained_weights_give_equal_logits_where_they_can_be_had(builder, weights):
    try:
        classifier = builder(weights=weights).eval()
    except OSError as error:
        pytest.skip(f"the trained weights cannot be fetched here: {error}")
    x = image(224, 224, dtype=torch.float32)
    logits = convolutionalize(classifier)(x).flatten(1)
    torch.testing.assert_close(logits, classifier(x), rtol=0, atol=1e-4)


def test_linear_layers_become_the_kernels_of_the_paper():
    kernels = {}
    for name in ("alexnet", "vgg16", "googlenet"):
        with torch.device("meta"):
            classifier = built(name)
        dense = convolutionalize(classifier)
        assert not [m for m in dense.modules() if isinstance(m, nn.Linear | nn.AdaptiveAvgPool2d)]
        tail = list(dense.layers)[-8:]
        kernels[name] = [m.kernel_size for m in tail if isinstance(m, nn.Conv2d)][-3:]
    assert kernels["alexnet"] == [(6, 6), (1, 1), (1, 1)]
    assert kernels["vgg16"] == [(7, 7), (1, 1), (1, 1)]
    assert kernels["googlenet"] == [(1, 1)]


@pytest.mark.parametrize(
    ("name", "grid", "field"), [("alexnet", 9, 355), ("vgg16", 9, 404), ("googlenet", 10, 571)]
)
def test_500_pixels_give_a_grid_of_known_size(name, grid, field):
    with torch.device("meta"):
        classifier = built(name)
    dense = convolutionalize(classifier)
    logits = dense(torch.empty(1, 3, 500, 500, device="meta"))
    assert logits.shape == (1, 10, grid, grid)
    assert output_size(dense.layers, (500, 500)) == (grid, grid)
    assert (receptive_field(dense.layers).size, receptive_field(dense.layers).stride) == (field, 32)
    # Nine windows of 224 pixels fit at stride 32. GoogLeNet's pools round up, as the paper's do,
    # and a tenth begins inside.
    assert (500 - 224) // 32 + 1 == 9


@torch.no_grad()
@pytest.mark.parametrize("size", [(30, 30), (40, 53), (67, 36)])
def test_without_padding_the_grid_equals_every_crop(size):
    classifier = small(padding=0)
    x = image(*size, n=2)
    grid = convolutionalize(classifier, (30, 30))(x)
    crops = windows(x, 30, stride=4)
    alone = torch.stack([classifier(some) for some in crops])  # (N, P, K)
    assert grid.shape[2:] == tuple((n - 30) // 4 + 1 for n in size)
    torch.testing.assert_close(grid.flatten(2).mT, alone, rtol=0, atol=1e-12)


@torch.no_grad()
def test_with_padding_only_the_native_size_is_equal():
    classifier = small(padding=1)
    dense = convolutionalize(classifier, (32, 32))
    x = image(40, 40)
    crops = windows(x, 32, stride=4)[0]
    torch.testing.assert_close(dense(crops).flatten(1), classifier(crops), rtol=0, atol=1e-12)
    difference = (dense(x).flatten(2).mT[0] - classifier(crops)).abs().max(1).values
    assert (
        difference.min() > 1e-3
    )  # in units of logits: zeros at a crop's border, pixels in the grid
    assert dense.layers[0].padding == (1, 1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(40, 40), (51, 44)])
def test_taking_the_padding_away_makes_the_crops_equal_again(size):
    dense = unpadded(convolutionalize(small(padding=1), (32, 32)))
    assert dense.size == (38, 38)  # all that a unit sees
    x = image(*size)
    crops = windows(x, 38, stride=4)[0]
    grid = dense(x).flatten(2).mT[0]
    assert grid.shape[0] == len(crops)
    torch.testing.assert_close(grid, dense(crops).flatten(1), rtol=0, atol=1e-12)


def test_numbers_are_shared_and_the_classifier_stays_as_it_is():
    classifier = small().train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    dense = convolutionalize(classifier, (32, 32))
    assert dense.training
    dense.eval()
    assert classifier.training, "the grid's mode is its own"
    assert all(torch.equal(before[k], v) for k, v in classifier.state_dict().items())
    memory = lambda net: {t.untyped_storage().data_ptr() for t in net.state_dict().values()}  # noqa: E731
    assert memory(dense) == memory(classifier)
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)
    dense(image(32, 32)).sum().backward()
    optimizer.step()
    x = image(32, 32, n=2)
    torch.testing.assert_close(dense(x).flatten(1), classifier.eval()(x), rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(
    "pool", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((2, 4)), nn.AdaptiveMaxPool2d((None, 2))]
)
def test_adaptive_pools_become_pools_of_fixed_windows(pool):
    torch.manual_seed(0)
    x = image(16, 16, n=2)
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool, nn.Flatten()).double()
    numbers = body(x).shape[1]
    classifier = nn.Sequential(*body, nn.Linear(numbers, 3).double(), nn.Softmax(1))
    dense = convolutionalize(classifier, (16, 16))
    torch.testing.assert_close(dense(x).flatten(1), classifier(x), rtol=0, atol=1e-12)
    larger = dense(image(24, 32))
    assert larger.shape[2] > 1
    torch.testing.assert_close(larger.sum(1), torch.ones_like(larger[:, 0]))


CONV = nn.Conv2d(3, 4, 3, padding=1)


@pytest.mark.parametrize(
    ("classifier", "told"),
    [
        (nn.Linear(3, 3), "Linear is not known: give torchvision's AlexNet"),
        (nn.Sequential(CONV, nn.ReLU()), "has 0 nn.Flatten layers"),
        (nn.Sequential(CONV, nn.Flatten()), "nothing to turn"),
        (nn.Sequential(CONV, nn.Flatten(2), nn.Linear(64, 2)), "into one vector"),
        (nn.Sequential(CONV, nn.Flatten(), nn.Linear(250, 2)), "cannot read a map of 8x8"),
        (nn.Sequential(CONV, nn.Flatten(), nn.Linear(128, 2)), "numbers: give the size"),
        (
            nn.Sequential(CONV, nn.Flatten(), nn.BatchNorm1d(256), nn.Linear(256, 2)),
            "BatchNorm1d.*after the Flatten cannot be turned",
        ),
        (
            nn.Sequential(CONV, nn.Flatten(), nn.Linear(256, 2), nn.LayerNorm(2)),
            "LayerNorm.*cannot be turned",
        ),
        (
            nn.Sequential(CONV, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2)),
            "windows of unlike size of a 8x8 map",
        ),
        (nn.Sequential(nn.MaxPool2d(9), nn.Flatten(), nn.Linear(3, 2)), "do not take 8x8"),
    ],
)
def test_what_cannot_be_turned_says_why(classifier, told):
    with pytest.raises(ValueError, match=told):
        convolutionalize(classifier, (8, 8))


def test_an_image_below_the_native_size_and_branches_say_so():
    dense = convolutionalize(small(), (32, 32))
    with pytest.raises(ValueError, match="an image of 31x40 is smaller than the 32x32"):
        dense(image(31, 40))
    with torch.device("meta"):
        googlenet = convolutionalize(built("googlenet"))
    with pytest.raises(ValueError, match="has branches"):
        unpadded(googlenet)


def test_the_heat_map_is_one_classs_probability():
    logits = torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]]]])
    heat = class_heat_map(logits, 0)
    assert heat.shape == (1, 1, 2)
    torch.testing.assert_close(heat, torch.tensor([[[0.5, 1 / (1 + torch.e**-2)]]]))
    with pytest.raises(ValueError, match="class 2 of 2"):
        class_heat_map(logits, 2)
