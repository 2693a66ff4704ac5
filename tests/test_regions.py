"""Claims about region proposals: pooling, shapes, and the bound that no classifier beats."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segcourse.labels import IGNORE
from segcourse.metrics import confusion_matrix, mean_iou
from segcourse.regions import (
    RegionClassifier,
    classify_regions,
    oracle_labels,
    region_features,
    region_labels,
    region_shapes,
)


def random_case(seed: int, h: int = 6, w: int = 7, R: int = 4, K: int = 3):
    generator = torch.Generator().manual_seed(seed)
    segments = torch.randint(R, (h, w), generator=generator)
    segments.flatten()[:R] = torch.arange(R)
    labels = torch.randint(K, (h, w), generator=generator)
    labels[torch.rand(h, w, generator=generator) < 0.15] = IGNORE
    return segments, labels


def drawing(side: int, inside) -> torch.Tensor:
    """Segments 0 (outside) and 1 (inside) of a shape given by a test on centred coordinates."""
    at = torch.arange(side) - (side - 1) / 2
    row, col = torch.meshgrid(at, at, indexing="ij")
    return inside(row, col).long()


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_region_features_are_the_means_of_a_loop(seed):
    segments, _ = random_case(seed)
    values = torch.randn(
        5, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    loop = torch.stack([values[:, segments == r].mean(1) for r in range(4)])
    torch.testing.assert_close(region_features(values, segments), loop, rtol=0, atol=1e-12)


def test_an_id_without_pixels_gets_zeros():
    features = region_features(torch.ones(1, 1, 2), torch.tensor([[0, 2]]))
    assert features.tolist() == [[1.0], [0.0], [1.0]]


def test_an_id_without_pixels_has_a_finite_shape():
    shapes = region_shapes(torch.tensor([[0, 0, 2], [0, 0, 2]]))  # a nan would spoil all gradients
    assert shapes.isfinite().all()
    assert torch.equal(shapes[[0, 2]], region_shapes(torch.tensor([[0, 0, 1], [0, 0, 1]])))


def test_region_features_pass_gradients_to_the_features():
    values = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    segments = torch.tensor([[0, 0, 1], [0, 1, 1], [2, 2, 2]])
    assert torch.autograd.gradcheck(lambda v: region_features(v, segments), values)


@pytest.mark.parametrize("seed", range(8))
def test_no_labelling_of_the_segments_beats_the_oracles_accuracy(seed):
    segments, labels = random_case(seed)
    known = labels != IGNORE
    best = max(
        int((torch.tensor(choice)[segments] == labels)[known].sum())
        for choice in itertools.product(range(3), repeat=4)
    )
    oracle = oracle_labels(segments, labels, num_classes=3)
    assert int((oracle == labels)[known].sum()) == best


def test_the_oracle_bounds_accuracy_but_not_mean_iou():
    # Segment 0 holds two pixels of the rare class 1 and three of class 0; segment 1 is all 0.
    segments = torch.tensor([[0] * 5 + [1] * 15])
    labels = torch.tensor([[1, 1, 0, 0, 0] + [0] * 15])
    oracle = oracle_labels(segments, labels, num_classes=2)
    other = torch.tensor([1, 0])[segments]
    assert (oracle == labels).sum() > (other == labels).sum()
    scores = [mean_iou(confusion_matrix(p[None], labels[None], 2)) for p in (oracle, other)]
    assert scores[1] > scores[0]


def test_segments_of_single_pixels_give_a_perfect_oracle():
    _, labels = random_case(3)
    oracle = oracle_labels(torch.arange(42).reshape(6, 7), labels, num_classes=3)
    assert torch.equal(oracle[labels != IGNORE], labels[labels != IGNORE])


def test_void_neither_votes_nor_teaches():
    segments = torch.tensor([[0, 0, 0, 1, 1]])
    labels = torch.tensor([[IGNORE, IGNORE, 2, IGNORE, IGNORE]])
    assert region_labels(segments, labels, num_classes=3).tolist() == [2, IGNORE]
    assert oracle_labels(segments, labels, num_classes=3).tolist() == [[2, 2, 2, 0, 0]]


def test_classify_regions_gives_each_pixel_its_segments_logits():
    segments, _ = random_case(0)
    features = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    classifier = RegionClassifier(5, num_classes=3)
    logits = classify_regions(classifier, features, segments)
    assert logits.shape == (3, 6, 7)
    for r in range(4):
        assert (logits[:, segments == r] == classifier(features)[r][:, None]).all()


def test_shapes_do_not_change_with_place_and_quarter_turns():
    generator = torch.Generator().manual_seed(0)
    blob = (torch.rand(7, 9, generator=generator) > 0.4).long()
    field = torch.zeros(24, 24, dtype=torch.int64)
    field[3:10, 4:13] = blob
    moved = torch.zeros_like(field)
    moved[10:17, 11:20] = blob
    for other in (moved, field.rot90(), field.flip(1)):
        torch.testing.assert_close(region_shapes(field)[1], region_shapes(other)[1])


def test_shapes_tell_disc_square_cross_and_bar_apart():
    shapes = {
        "disc": drawing(31, lambda r, c: r**2 + c**2 < 12**2),
        "square": drawing(31, lambda r, c: (r.abs() < 10.6) & (c.abs() < 10.6)),
        "cross": drawing(31, lambda r, c: torch.minimum(r.abs(), c.abs()) < 3),
        "bar": drawing(31, lambda r, c: (r.abs() < 1.1) & (c.abs() < 14)),
    }
    spread = {name: region_shapes(s)[1, 2].item() for name, s in shapes.items()}
    elongation = {name: region_shapes(s)[1, 3].item() for name, s in shapes.items()}
    assert spread["disc"] == pytest.approx(1 / (2 * torch.pi), rel=0.01)
    assert spread["square"] == pytest.approx(1 / 6, rel=1e-4)
    assert spread["cross"] > 0.2
    assert elongation["disc"] == pytest.approx(1, abs=1e-6)
    assert elongation["bar"] < 0.15


def test_the_share_of_the_border_is_that_of_the_image_border():
    halves = torch.tensor([[0, 0, 1], [0, 0, 1]])
    # Segment 0: perimeter 8, of which two sides touch segment 1; segment 1: perimeter 6, two.
    assert region_shapes(halves)[:, 5].tolist() == pytest.approx([6 / 8, 4 / 6])


def test_a_region_classifier_learns_discs_from_squares():
    discs = [drawing(31, lambda r, c, q=q: r**2 + c**2 < q**2) for q in range(4, 15)]
    squares = [drawing(31, lambda r, c, q=q: (r.abs() < q) & (c.abs() < q)) for q in range(4, 15)]
    rows = torch.stack([region_shapes(s)[1] for s in discs + squares])
    rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    truth = torch.tensor([0] * 11 + [1] * 11)
    torch.manual_seed(0)
    classifier = RegionClassifier(6, num_classes=2)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(rows), truth).backward()
        optimizer.step()
    assert (classifier(rows).argmax(1) == truth).all()


def test_segments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"segments of shape \(2, 2\) for \(3, 3\)"):
        region_features(torch.zeros(1, 3, 3), torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="segments hold id -1"):
        region_shapes(torch.tensor([[0, -1]]))
    with pytest.raises(ValueError, match="segment 4 has no row in 2 rows"):
        classify_regions(nn.Identity(), torch.zeros(2, 3), torch.tensor([[0, 4]]))
    with pytest.raises(ValueError, match=r"labels outside 0\.\.2"):
        oracle_labels(torch.zeros(1, 2).long(), torch.tensor([[0, 3]]), num_classes=3)
