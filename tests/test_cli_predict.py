"""`segcourse predict`: which images it reads, what it writes, and what it says of bad ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import call, make_folder, train_words
from PIL import Image

from segcourse.cli import drawing, images, main
from segcourse.cli.predict import enlarged_argmax, predict
from segcourse.errors import DataError, UsageError
from segcourse.labels import IGNORE, Classes

CLASSES = Classes(("ground", "square"), ((10, 20, 30), (200, 100, 0)), void=(1, 2, 3))
LIMIT = 10_000


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    root = make_folder(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(train_words(root, out)) == 0
    return out


def picture(path: Path, size=(16, 20), mode="RGB") -> Path:
    noise = np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def test_it_writes_indices_with_a_palette_and_an_overlay_at_the_image_s_size(
    run_dir, tmp_path, capsys
):
    image = picture(tmp_path / "a.jpg", size=(31, 47))
    code, out, _ = call(capsys, "predict", image, "--run", run_dir, "--out", tmp_path / "o")
    assert code == 0
    assert f"{image} -> {tmp_path / 'o' / 'labels' / 'a.png'}" in out
    with Image.open(tmp_path / "o" / "labels" / "a.png") as labels:
        assert (labels.mode, labels.size) == ("P", (47, 31))
        assert set(np.unique(np.asarray(labels))) <= {0, 1}
        assert labels.getpalette()[3:6] == [0xE6, 0x9F, 0x00]
    with Image.open(tmp_path / "o" / "overlays" / "a.png") as overlay:
        assert overlay.mode == "RGB"
        assert overlay.width >= 47
        assert overlay.height > 31  # the legend is under it


def test_one_bad_image_among_many_is_reported_and_the_others_are_done(run_dir, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png")
    picture(folder / "c.png")
    (folder / "b.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not an image by name: passed over", encoding="utf-8")
    code, out, err = call(capsys, "predict", folder, "--run", run_dir, "--out", tmp_path / "o")
    assert code == 1
    assert f"{folder / 'b.png'} cannot be read as an image" in err
    assert "1 of 3 images could not be labelled" in err
    assert out.count(" -> ") == 2
    assert sorted(p.name for p in (tmp_path / "o" / "labels").iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    ("make", "words", "code", "told"),
    [
        (
            lambda at: at / "gone.png",
            [],
            1,
            "gone.png does not exist: give image files",
        ),
        (lambda at: at, [], 1, "holds no image: looked for .bmp .gif"),
        (
            lambda at: picture(at / "a.png"),
            ["--max-pixels", "9"],
            1,
            "20 x 16 = 320 pixels",
        ),
        (
            lambda at: picture(at / "a.png"),
            ["--size", "0", "5"],
            2,
            "both must be at least 1",
        ),
        (
            lambda at: picture(at / "a.png"),
            ["--size", "5", "5", "--full-size"],
            2,
            "not allowed with",
        ),
        (
            lambda at: picture(at / "a.png"),
            ["--run", "nowhere"],
            1,
            "nowhere does not exist",
        ),
        (
            lambda at: picture(at / "a.png"),
            ["--out", __file__],
            2,
            "test_cli_predict.py is a file: give a folder",
        ),
    ],
)
def test_bad_input_to_predict_is_told_without_a_traceback(
    make, words, code, told, run_dir, tmp_path, capsys
):
    image = make(tmp_path)
    found, _, err = call(
        capsys, "predict", image, "--run", run_dir, "--out", tmp_path / "o", *words
    )
    assert (found, told in err) == (code, True), err
    assert "Traceback" not in err


def test_hidden_files_are_left_out_and_folders_inside_a_folder_are_told(run_dir, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    (folder / "notes").mkdir()
    (folder / "odd.png").mkdir()
    picture(folder / "a.png")
    picture(folder / "more" / "a.png")
    (folder / "._a.png").write_bytes(b"what macOS puts beside a file")
    words = ["predict", folder, "--run", run_dir, "--out", tmp_path / "o"]
    code, out, err = call(capsys, *words)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert err == f"{folder / 'more'} is not opened: name it too to label its images\n"
    assert images.unopened([folder, folder / "more"]) == []
    (folder / "a.png").unlink()
    code, _, err = call(capsys, *words)
    assert code == 1
    assert "holds no image" in err
    assert "folders inside it are not opened" in err


def test_two_images_of_one_stem_are_refused_before_anything_is_written(run_dir, tmp_path, capsys):
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "A.bmp")
    code, _, err = call(capsys, "predict", a, b, "--run", run_dir, "--out", tmp_path / "o")
    assert code == 2
    assert f"{a} and {b} would both be written as A.png" in err
    assert not (tmp_path / "o").exists()
    assert images.find_images([a, a]) == [a]  # the same file named twice is one image
    with pytest.raises(UsageError):
        images.find_images([a, tmp_path / "A.bmp"])


def test_an_image_is_never_overwritten_by_its_own_result(run_dir, tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    image = picture(tmp_path / "labels" / "a.png")
    before = image.read_bytes()
    code, _, err = call(capsys, "predict", image, "--run", run_dir, "--out", tmp_path)
    assert code == 1
    assert "would be overwritten by its own result: change --out" in err
    assert image.read_bytes() == before


def test_a_photograph_is_turned_upright(tmp_path):
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = 255  # top left as a person sees it
    stored = Image.fromarray(np.rot90(upright).copy())  # the camera stored it a quarter turned
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise to show"
    stored.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(images.read_image(tmp_path / "turned.png", LIMIT), upright)


def test_grey_becomes_three_equal_channels_and_16_bits_become_8(tmp_path):
    grey = np.array([[0, 255], [256, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    read = images.read_image(tmp_path / "deep.png", LIMIT)
    assert read[..., 0].tolist() == [[0, 0], [1, 255]]
    assert (read == read[..., :1]).all()
    Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / "grey.png")
    assert np.array_equal(images.read_image(tmp_path / "grey.png", LIMIT), read)


def test_transparent_parts_become_white(tmp_path):
    rgba = np.array([[[9, 8, 7, 255], [9, 8, 7, 0]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    assert images.read_image(tmp_path / "clear.png", LIMIT).tolist() == [[[9, 8, 7], [255] * 3]]


def test_a_truncated_and_a_floating_point_image_are_data_errors(tmp_path):
    path = picture(tmp_path / "cut.png", size=(30, 30))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.png cannot be read as an image"):
        images.read_image(path, LIMIT)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(DataError, match="floating point: save it with 8 or 16 bits"):
        images.read_image(tmp_path / "f.tiff", LIMIT)


def test_a_huge_image_is_refused_by_its_header_without_a_warning(tmp_path):
    """A file that says 60000 x 60000 and holds next to nothing; Pillow alone would warn."""
    path = picture(tmp_path / "bomb.bmp")
    content = bytearray(path.read_bytes())
    content[18:26] = (60000).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"60000 x 60000 = 3,600,000,000 pixels, more than 10,000"):
        images.read_image(path, LIMIT)


def test_enlarging_class_by_class_equals_enlarging_all_at_once():
    logits = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    whole = torch.nn.functional.interpolate(logits[None], (23, 17), mode="bilinear")[0].argmax(0)
    assert torch.equal(enlarged_argmax(logits, 23, 17), whole)
    assert torch.equal(enlarged_argmax(logits, 5, 6), logits.argmax(0))


def test_the_network_sees_the_wanted_number_of_pixels_in_the_image_s_own_shape():
    seen = []

    class Watch(torch.nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return x[:, :2]

    image = torch.zeros(3, 40, 20, dtype=torch.uint8)
    labels = predict(Watch(), image, 200, torch.device("cpu"))
    assert labels.shape == (40, 20)
    predict(Watch(), image, None, torch.device("cpu"))
    assert seen == [(1, 3, 20, 10), (1, 3, 40, 20)]


def test_an_overlay_mixes_colours_and_keeps_the_image_under_void():
    image = np.full((1, 3, 3), 100, np.uint8)
    labels = np.array([[0, 1, IGNORE]])
    mixed = np.asarray(drawing.overlay(image, labels, CLASSES, alpha=0.5))
    assert mixed.tolist() == [[[55, 60, 65], [150, 100, 50], [100, 100, 100]]]


def test_a_label_image_gives_its_indices_and_colours_back():
    labels = np.array([[0, 1], [IGNORE, 1]])
    image = drawing.label_image(labels, CLASSES)
    assert np.array_equal(np.asarray(image), labels)
    colors = np.asarray(image.convert("RGB"))
    assert colors[0, 1].tolist() == [200, 100, 0]
    assert colors[1, 0].tolist() == [1, 2, 3]


def test_a_legend_shows_the_colour_of_each_class_that_is_present():
    blank = Image.new("RGB", (30, 20), (0, 255, 0))
    sheet = drawing.with_legend(blank, CLASSES, [1])
    below = np.asarray(sheet)[20:].reshape(-1, 3).tolist()
    assert [200, 100, 0] in below
    assert [10, 20, 30] not in below
    assert drawing.with_legend(blank, CLASSES, []).size == (30, 20)


def test_a_sheet_holds_its_tiles_in_rows():
    tiles = [Image.new("RGB", (4, 2), (i, 0, 0)) for i in (10, 20, 30)]
    sheet = np.asarray(drawing.contact_sheet(tiles, columns=2, gap=1))
    assert sheet.shape == (2 * 3 + 1, 2 * 5 + 1, 3)
    assert sheet[1, 1, 0] == 10
    assert sheet[1, 6, 0] == 20
    assert sheet[4, 1, 0] == 30
    assert sheet[4, 6].tolist() == [255, 255, 255]
