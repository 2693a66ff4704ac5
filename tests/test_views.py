"""Averaged views: the mean of probabilities over sizes and mirror images."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segcourse.views import AveragedViews


class ColorScores(nn.Module):
    """Scores of each pixel from its own colour and its column: not symmetric under mirroring."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape[2:]))
        columns = torch.linspace(0, 1, x.shape[3], dtype=x.dtype).expand_as(x[:, :1])
        return torch.cat([x, columns], dim=1) * 3


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 40, 44, generator=generator, dtype=torch.float64)


def test_one_view_changes_nothing(image):
    model = ColorScores()
    found = AveragedViews(model, scales=(1.0,), flip=False)(image)
    assert (found - model(image).log_softmax(1)).abs().max() < 1e-12


def test_views_average_probabilities_by_hand(image):
    model = ColorScores()
    total = 0
    for scale in (1.0, 1.5):
        size = (round(40 * scale), round(44 * scale))
        view = F.interpolate(image, size, mode="bilinear")
        for flip in (False, True):
            logits = model(view.flip(3)).flip(3) if flip else model(view)
            total = total + F.interpolate(logits, (40, 44), mode="bilinear").softmax(1)
    found = AveragedViews(ColorScores(), scales=(1.0, 1.5))(image)
    assert (found - (total / 4).log()).abs().max() < 1e-12
    assert (found.exp().sum(1) - 1).abs().max() < 1e-12


def test_with_flip_a_mirrored_image_gets_the_mirrored_answer(image):
    once = AveragedViews(ColorScores(), scales=(0.8, 1.0))
    assert (once(image.flip(3)) - once(image).flip(3)).abs().max() < 1e-12
    model = ColorScores()
    assert (model(image.flip(3)) - model(image).flip(3)).abs().max() > 0.1


def test_it_looks_at_the_sizes_that_were_asked_for(image):
    model = ColorScores()
    AveragedViews(model, scales=(0.8, 1.25), flip=False)(image)
    assert model.seen == [(32, 35), (50, 55)]


def test_a_scale_that_leaves_too_little_names_the_smallest_that_fits(image):
    with pytest.raises(ValueError, match=r"20x22 and 32 px.*below 0\.8"):
        AveragedViews(ColorScores(), scales=(0.5,))(image)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0)])
def test_scales_that_make_no_view_are_refused(scales):
    with pytest.raises(ValueError, match="one or more factors above 0"):
        AveragedViews(ColorScores(), scales=scales)
