"""The generated cells keep what the experiments on them rest on: they touch and never overlap."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.border_weights import two_nearest
from segcourse.data import CELL_LENGTHS, CellImage, Cells, cell_image, open_data
from segcourse.data.colonies import SMALLEST
from segcourse.instances import connected_components
from segcourse.labels import CELLS


@pytest.fixture(scope="module")
def many() -> list[CellImage]:
    return [cell_image(0, i, (96, 96)) for i in range(30)]


def digest(made: CellImage) -> str:
    content = made.image.numpy().tobytes() + made.instances.numpy().astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


# The bytes of an image are a promise to every record and page that shows one.
@pytest.mark.parametrize(
    ("seed", "index", "size", "split", "expected"),
    [
        (0, 0, (128, 128), "train", "8f7c31e9b06cdd09"),
        (0, 1, (96, 96), "train", "33cf27606e60aee5"),
        (7, 1000, (96, 96), "val", "de739d0d6757980f"),
        (0, 0, (96, 96), "test", "7874e1f02576c5e6"),
        (3, 2, (45, 70), "train", "15048d5fde018cd2"),
        (3, 2, (32, 32), "train", "38507ed3e891671d"),
    ],
)
def test_bytes_are_fixed_by_seed_index_size_and_split(seed, index, size, split, expected):
    assert digest(cell_image(seed, index, size, split)) == expected


def test_an_image_does_not_depend_on_the_calls_before_it():
    data = Cells(5, (40, 40))
    forward = [data[i] for i in range(5)]
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002 (the global state is the point)
    for i in (4, 0, -2):
        assert torch.equal(data[i][0], forward[i][0])
        assert torch.equal(data[i][1], forward[i][1])
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_splits_seeds_and_indices_share_no_image():
    made = {
        digest(cell_image(seed, index, (32, 32), split))
        for seed in (0, 1)
        for index in range(10)
        for split in ("train", "val", "test")
    }
    assert len(made) == 60


@settings(max_examples=25, deadline=None)
@given(st.integers(32, 110), st.integers(32, 110), st.integers(0, 2**32 - 1))
def test_every_cell_is_one_piece_and_any_two_are_apart(height, width, seed):
    made = cell_image(seed, 0, (height, width))
    assert made.image.shape == (3, height, width)
    assert made.image.dtype == torch.uint8
    assert made.labels.shape == made.instances.shape == (height, width)
    assert made.labels.dtype == made.instances.dtype == torch.int64
    assert torch.equal(made.labels, (made.instances > 0).long())
    number = int(made.instances.max())
    assert number >= 1
    assert (torch.bincount(made.instances.flatten(), minlength=number + 1)[1:] >= SMALLEST).all()
    # The components of the labels are the cells, whichever neighbours count as connected: one
    # component for each cell and one cell for each component.
    for corners in (False, True):
        components = connected_components(made.labels == 1, corners)
        pairs = torch.unique(torch.stack((components, made.instances)).flatten(1), dim=1)
        assert components.max() == number
        assert pairs.shape[1] == number + bool((made.instances == 0).any())


def gaps(made: CellImage) -> dict[tuple[int, int], float]:
    """The width of the background between each pair of neighbours at its narrowest, in px."""
    instances, narrowest = made.instances, {}
    H, W = instances.shape
    for rows in range(4):
        for cols in range(-3, 4):
            if rows == 0 and cols <= 0:
                continue
            here = instances[: H - rows, max(0, -cols) : W - max(0, cols)]
            there = instances[rows:, max(0, cols) : W - max(0, -cols)]
            met = (here != there) & (here > 0) & (there > 0)
            width = max(rows, abs(cols)) - 1
            for a, b in torch.unique(torch.stack((here[met], there[met])), dim=1).T.tolist():
                pair = (min(a, b), max(a, b))
                narrowest[pair] = min(width, narrowest.get(pair, width))
    return narrowest


def test_most_cells_touch_a_neighbour_across_one_or_two_pixels(many):
    widths, touching, cells = [], 0, 0
    for made in many:
        found = gaps(made)
        widths += found.values()
        touching += len({k for pair in found for k in pair})
        cells += int(made.instances.max())
    assert set(widths) <= {1, 2}
    assert 0.4 < np.mean([w == 1 for w in widths]) < 0.8
    assert touching / cells > 0.9
    assert len(widths) / len(many) > 25  # pairs of neighbours in an image


def test_membranes_are_a_small_part_of_the_pixels_and_both_classes_a_large_one(many):
    membrane = [
        ((made.instances == 0) & (sum(two_nearest(made.instances)) <= 3)).float().mean().item()
        for made in many
    ]
    assert 0.03 < np.mean(membrane) < 0.12
    assert 0.5 < np.mean([made.labels.float().mean() for made in many]) < 0.7


def test_cells_differ_in_size_and_an_image_holds_dozens(many):
    counts = [int(made.instances.max()) for made in many]
    assert min(counts) > 20
    pixels = np.concatenate([np.bincount(made.instances.flatten())[1:] for made in many])
    assert np.quantile(pixels, 0.9) > 2.5 * np.quantile(pixels, 0.1)


def test_membranes_are_brighter_than_cells_but_some_hardly(many):
    lifts = []
    for made in many[:10]:
        grey, cells = made.image[0].float(), made.instances > 0
        nearest, second = two_nearest(made.instances)
        membrane = ~cells & (nearest + second <= 2)
        for row, col in membrane.nonzero().tolist():
            window = (slice(max(0, row - 3), row + 4), slice(max(0, col - 3), col + 4))
            lifts.append((grey[row, col] - grey[window][cells[window]].mean()).item())
    # Noise alone has a deviation of 6.5 levels.
    assert np.mean(lifts) > 10
    assert np.quantile(lifts, 0.1) < 8


def test_pictures_are_grey_noisy_and_not_clipped(many):
    for made in many[:5]:
        assert torch.equal(made.image[0], made.image[1])
        assert torch.equal(made.image[0], made.image[2])
        grey = made.image[0].float()
        assert ((grey == 0) | (grey == 255)).float().mean() < 0.01
        assert (grey[:, 1:] - grey[:, :-1]).abs().median() > 3


def test_the_data_set_has_the_papers_number_of_images_to_learn_from():
    sets = [open_data("cells", None, split) for split in ("train", "val", "test")]
    assert [len(data) for data in sets] == list(CELL_LENGTHS.values()) == [30, 20, 50]
    data = open_data("cells", None, "val", (48, 64))
    assert data.classes is CELLS
    made = cell_image(0, 3, (48, 64), "val")
    assert torch.equal(data[3][0], made.image)
    assert torch.equal(data[3][1], made.labels)
    assert data.stem(3) == "cells-val-0-00003"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cell_image(-1, 0), ValueError, "seed -1, index 0"),
        (lambda: cell_image(0, 2**32), ValueError, "0 to 2\\^32 - 1"),
        (lambda: cell_image(0, 0, (31, 90)), ValueError, "at least 32 pixels"),
        (lambda: Cells(3, split="all"), ValueError, 'split is "all"'),
        (lambda: Cells(-1), ValueError, "length is -1"),
        (lambda: Cells(3)[3], IndexError, "image 3 of 3"),
    ],
)
def test_bad_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
