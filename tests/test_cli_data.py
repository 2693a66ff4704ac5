"""`segcourse data` and `segcourse bench`: what they print, write and refuse."""

import json

import numpy as np
import pytest
import torch
from cli_tools import call, make_folder
from PIL import Image

from segcourse import cost
from segcourse.cli import models
from segcourse.labels import CAMVID, SCENES


def test_check_of_a_sound_set_is_exit_code_0(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    code, out, _ = call(capsys, "data", "check", root)
    assert code == 0, out
    assert "no fault found, read as folder" in out


def test_check_lists_every_fault_with_its_file_and_is_exit_code_3(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    masks = root / "train" / "masks"
    (masks / "0.png").unlink()
    Image.fromarray(np.full((16, 20), 9, np.uint8)).save(masks / "1.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(masks / "2.png")
    (root / "train" / "images" / "3.png").write_bytes(b"no picture")
    code, out, _ = call(capsys, "data", "check", root, "--data", "folder")
    assert code == 3
    lines = out.splitlines()
    for name, kind in (
        ("images/0.png", "missing mask"),
        ("masks/1.png", "label out of range"),
        ("masks/2.png", "size mismatch"),
        ("images/3.png", "unreadable image"),
    ):
        assert any(line.startswith(f"{root / 'train' / name}: {kind}: ") for line in lines), kind
    assert lines[-1].startswith(f"4 faults in {root}, read as folder: ")


def test_convert_turns_colours_into_indices(tmp_path, capsys):
    colors = np.zeros((3, 4, 3), np.uint8)
    colors[0], colors[1:] = CAMVID.palette[3], CAMVID.palette[9]
    (tmp_path / "in").mkdir()
    Image.fromarray(colors).save(tmp_path / "in" / "a.png")
    words = ["data", "convert", tmp_path / "in", "--out", tmp_path / "out"]
    code, _, err = call(capsys, *words)
    assert code == 1
    assert "no palette: write" in err
    code, out, _ = call(capsys, *words, "--palette", "camvid")
    assert (code, out) == (0, f"1 masks written under {tmp_path / 'out'}\n")
    assert np.unique(np.asarray(Image.open(tmp_path / "out" / "a.png"))).tolist() == [3, 9]


def test_preview_shows_the_images_and_the_colours_of_their_classes(tmp_path, capsys):
    target = tmp_path / "new" / "sheet.png"
    words = ["data", "preview", "--count", 2, "--columns", 1, "--size", 32, 48, "--out", target]
    code, out, _ = call(capsys, *words)
    assert code == 0
    assert f"{target}: 2 of 1000 images of scenes train" in out
    sheet = np.asarray(Image.open(target))
    assert sheet.shape[1] >= 2 * 48
    from segcourse.data import open_data

    first = open_data("scenes", "", "train", (32, 48))[0][0].permute(1, 2, 0).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (32, 48, 3))[:8, :8, 0]
    assert (windows == first).all(axis=(2, 3, 4)).any()  # the first image, pixel for pixel
    present = {tuple(c) for c in sheet.reshape(-1, 3).tolist()}
    assert tuple(SCENES.palette[0]) in present


def test_stats_count_pixels_void_and_weights(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    code, out, _ = call(capsys, "data", "stats", "--data", "folder", "--root", root)
    assert code == 0
    assert "folder train: 4 images, 16x20 (4)" in out
    assert "void: 3.12% of the pixels" in out  # 10 of 320
    square = next(line for line in out.splitlines() if line.strip().startswith("square"))
    # 64 of 310; the median of the two shares is 0.5, so the weight is 0.5 / (64 / 310).
    assert square.split() == ["square", "20.65%", "4", "2.422"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["check", "gone"], 1, "gone does not exist.\nNeeded: the folder with train/images/"),
        (["check", "gone"], 1, "segcourse data: gone does not"),
        (["get", "folder", "--root", "x"], 2, "argument NAME: invalid choice: 'folder'"),
        (["convert", "gone", "--out", "x"], 1, "gone is no folder: give the folder that holds"),
        (["preview", "--size", "8", "8", "--out", "x.png"], 1, "both at least 32 pixels"),
        (["preview", "--data", "voc", "--out", "x.png"], 2, "--data voc needs --root"),
        (["stats", "--split", "dev"], 2, "argument --split: invalid choice: 'dev'"),
        (["convert", ".", "--out", "x", "--palette", "mine"], 2, "invalid choice: 'mine'"),
        ([], 2, "the following arguments are required: WHAT"),
    ],
)
def test_bad_input_to_data_is_told_without_a_traceback(words, code, told, capsys):
    found, _, err = call(capsys, "data", *words)
    assert (found, told in err) == (code, True), err


def test_pack_of_an_empty_folder_says_what_is_needed(tmp_path, capsys):
    words = ["pack", "folder", "--root", tmp_path, "--out", tmp_path / "x.zip"]
    code, _, err = call(capsys, "data", *words)
    assert code == 1
    assert f"{tmp_path} holds no data: it needs the folders images and masks" in err


def test_get_without_a_network_says_what_to_do_by_hand(tmp_path, capsys):
    code, _, err = call(capsys, "data", "get", "cityscapes", "--root", tmp_path / "c")
    assert code == 1
    assert "https://" in err


def test_get_offers_only_what_it_fetches(capsys):
    _, out, _ = call(capsys, "data", "get", "--help")
    assert "camvid isbi voc sbd pets cityscapes\n" in out


def test_bench_of_the_patch_model_says_that_one_window_is_too_few(capsys):
    words = ["--model", "patch", "--height", 16, "--width", 20, "--batch", 1, "--device", "cpu"]
    code, out, err = call(capsys, "bench", "model", *words)
    assert (code, out) == (2, "")
    assert "it trains on windows" in err
    assert "needs --batch 2 or more" in err


def small_models():
    """Names of models below two million parameters: the others take a GPU to be timed."""
    with torch.device("meta"):
        built = {name: build(3) for name, build in models.MODELS.items()}
    return [name for name, model in built.items() if cost.parameters(model) < 2_000_000]


@pytest.mark.parametrize("name", small_models())
def test_bench_counts_parameters_and_multiply_adds_and_times_both_ways(name, tmp_path, capsys):
    words = ["--height", 40, "--width", 48, "--batch", 2, "--classes", 3, "--repeats", 1]
    words += ["--device", "cpu", "--json", tmp_path / "b.json"]
    code, out, _ = call(capsys, "bench", "model", "--model", name, *words)
    assert code == 0
    metrics = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["metrics"]
    model = models.build(name, 3, 0)
    assert metrics["parameters"] == sum(p.numel() for p in model.parameters())
    if name == "full-resolution":
        assert metrics["multiply_adds_per_image"] == cost.multiply_adds(model, (40, 48))
    assert f"{metrics['parameters']:,}" in out
    assert metrics["inference_images_per_second"] > 0
    assert metrics["training_bytes_counted"] > 16 * metrics["parameters"]
