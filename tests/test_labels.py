"""Label maps: what is a class, what is void, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.labels import (
    CAMVID,
    CITYSCAPES,
    IGNORE,
    ISBI,
    PETS,
    SCENES,
    VOC,
    Classes,
    check_labels,
    colors_to_indices,
    distinct_colors,
    indices_to_colors,
)

ALL = {
    "SCENES": (SCENES, 8),
    "CAMVID": (CAMVID, 11),
    "ISBI": (ISBI, 2),
    "VOC": (VOC, 21),
    "PETS": (PETS, 2),
    "CITYSCAPES": (CITYSCAPES, 19),
}


@pytest.mark.parametrize(("classes", "count"), ALL.values(), ids=ALL)
def test_each_data_set_has_its_classes_with_names_and_colours_that_differ(classes, count):
    assert len(classes) == count
    assert len(set(classes.names)) == len(set(classes.palette)) == count
    assert classes.void not in classes.palette


def test_camvid_keeps_segnets_order():
    assert CAMVID.names[3] == "Road"
    assert CAMVID.palette[3] == (128, 64, 128)
    assert CAMVID.names[10] == "Bicyclist"


def simulate(rgb, matrix) -> np.ndarray:
    linear = (np.array(rgb) / 255) ** 2.2
    return np.clip(matrix @ linear, 0, 1) ** (1 / 2.2) * 255


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        # Machado, Oliveira and Fernandes 2009: protanopia, deuteranopia, tritanopia.
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    ],
    ids=["full colour", "no red cones", "no green cones", "no blue cones"],
)
def test_the_colours_of_the_scenes_stay_apart_for_colour_blind_eyes(matrix):
    seen = [simulate(c, np.array(matrix)) for c in (*SCENES.palette, SCENES.void)]
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(gaps) > 30


def test_vocs_colours_are_the_published_ones():
    assert distinct_colors(21)[15] == (192, 128, 128)  # person
    assert len(set(distinct_colors(255))) == 255


def test_check_labels_takes_classes_and_void():
    labels = torch.tensor([[0, 10], [IGNORE, 3]])
    check_labels(labels, 11)
    check_labels(labels.to(torch.uint8), 11)
    assert labels.tolist() == [[0, 10], [IGNORE, 3]]


def test_check_labels_names_the_values_their_pixels_and_the_cure():
    labels = torch.zeros(4, 4, dtype=torch.int64)
    labels[0] = 11
    labels[1, :2] = -1
    labels[2, 0] = 40
    with pytest.raises(
        ValueError,
        match=r"11 at 4 pixels, -1 at 2 pixels, 40 at 1 pixel, outside 0\.\.10: map void to 255",
    ):
        check_labels(labels, 11)


def test_check_labels_lists_five_values_and_counts_the_rest():
    with pytest.raises(ValueError, match="and 2 more values, outside"):
        check_labels(torch.arange(9), 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_check_labels_refuses_what_is_no_integer(dtype):
    with pytest.raises(TypeError, match="need integers"):
        check_labels(torch.zeros(2, 2, dtype=dtype), 2)


def test_labels_of_every_integer_type_are_checked():
    with pytest.raises(ValueError, match="hold -1 at 1 pixel"):  # as int8, 255 would be -1
        check_labels(torch.tensor([[0, -1]], dtype=torch.int8), 2)
    for dtype in (torch.uint16, torch.uint32, torch.uint64):
        check_labels(torch.tensor([[0, 1, IGNORE]]).to(dtype), 2)
        with pytest.raises(ValueError, match="hold 300 at 1 pixel"):
            check_labels(torch.tensor([[0, 300]]).to(dtype), 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_painting_and_reading_colours_are_inverse(height, width, seed):
    rng = np.random.default_rng(seed)
    for classes, _ in ALL.values():
        labels = rng.choice([*range(len(classes)), IGNORE], (height, width)).astype(np.uint8)
        painted = indices_to_colors(labels, classes)
        assert painted.shape == (height, width, 3)
        assert painted.dtype == np.uint8
        assert np.array_equal(colors_to_indices(painted, classes), labels)


def test_painting_follows_any_leading_shape():
    labels = torch.tensor([[[1, IGNORE]]])
    assert indices_to_colors(labels, PETS).tolist() == [[[list(PETS.palette[1]), list(PETS.void)]]]


def test_painting_refuses_a_label_without_colour():
    with pytest.raises(ValueError, match="2 at 1 pixel"):
        indices_to_colors(torch.tensor([0, 2]), PETS)


def test_reading_colours_names_those_that_the_palette_lacks():
    rgb = np.zeros((2, 3, 3), dtype=np.uint8)
    rgb[0] = (128, 0, 1)
    with pytest.raises(
        ValueError, match=r"#800001 at 3 pixels, which the palette of 21 classes lacks"
    ):
        colors_to_indices(rgb, VOC)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8)]
)
def test_reading_colours_refuses_what_is_no_colour_mask(array):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8, got"):
        colors_to_indices(array, VOC)


def test_classes_need_one_colour_a_name():
    with pytest.raises(ValueError, match="2 class names but 1 colours"):
        Classes(("a", "b"), ((0, 0, 0),))
    with pytest.raises(ValueError, match="0 classes"):
        Classes((), ())
