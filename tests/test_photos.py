"""A photograph is the same pixels wherever it is read: upright, and on white."""

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.cli import images
from segcourse.data import Folder, check
from segcourse.data.base import read_image
from segcourse.data.photos import mismatch, turn
from segcourse.errors import DataError

UPRIGHT = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
STORED = {  # how a camera stores it, by the turn that it notes
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    6: np.rot90(UPRIGHT),
    8: np.rot90(UPRIGHT, -1),
}


def save(path, pixels, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", list(STORED))
def test_training_and_prediction_see_a_photograph_upright(orientation, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(STORED[orientation])
    Image.fromarray(pixels).save(
        path, exif=exif, **({"lossless": True} if suffix == "webp" else {})
    )
    assert np.array_equal(images.read_image(path, 1000), UPRIGHT)
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), UPRIGHT)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_training_and_prediction_see_transparent_parts_white(mode, tmp_path):
    rgba = np.zeros((4, 5, 4), np.uint8)
    rgba[:2, :, 3] = 255  # black above, nothing below
    Image.fromarray(rgba).convert(mode).save(tmp_path / "a.png")
    for seen in (
        images.read_image(tmp_path / "a.png", 1000).transpose(2, 0, 1),
        read_image(tmp_path / "a.png"),
    ):
        seen = torch.as_tensor(seen)
        assert (seen[:, :2] == 0).all()
        assert (seen[:, 2:] == 255).all()


def test_a_mask_of_the_stored_pixels_is_told_of_the_turn(tmp_path):
    save(tmp_path / "train/images/a.png", STORED[6], 6)
    mask = tmp_path / "train/masks/a.png"
    mask.parent.mkdir()
    Image.fromarray(np.eye(9, 6, dtype=np.uint8)).save(mask)
    told = r"a\.png is 9x6 but its image .* is 6x9 .*the mask has to be turned upright too"
    with pytest.raises(DataError, match=told):
        Folder(tmp_path, "train")[0]
    (fault,) = (f for f in check(tmp_path, "folder") if f.kind == "size mismatch")
    assert "turned upright" in fault.message
    Image.fromarray(np.eye(6, 9, dtype=np.uint8)).save(mask)
    image, labels = Folder(tmp_path, "train")[0]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), UPRIGHT)
    assert labels.shape == (6, 9)


def test_sizes_that_are_no_turn_are_not_called_one():
    assert "upright" not in mismatch((4, 4), (6, 9), "a.png")


def test_a_damaged_note_of_the_camera_counts_as_upright(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(UPRIGHT).save(path, exif=b"Exif\x00\x00no such thing")
    with Image.open(path) as picture:
        assert turn(picture) == 1
    assert read_image(path).shape == (3, 6, 9)
