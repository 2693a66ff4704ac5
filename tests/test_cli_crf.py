"""The dense CRF on the command line: `crf`, `crf-search`, and --crf of `predict` and `eval`."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import call, make_folder, train_words
from PIL import Image

from segcourse.cli import crf, crf_flags, main
from segcourse.cli.crf_flags import Settings
from segcourse.cli.crf_search import SEARCHED, coordinate_search, search, spread
from segcourse.dense_crf import DenseCRF
from segcourse.errors import DataError, UsageError
from segcourse.labels import IGNORE

EASY = ("--sxy", 20, "--srgb", 20, "--appearance-weight", 4, "--sxy-smooth", 1)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    root = make_folder(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(train_words(root, out)) == 0
    return out


def disc(at: Path, values=(0, 1), mode="L") -> tuple[Path, Path, np.ndarray]:
    """A bright disc on dark ground; labels that are right but for a shift of three pixels."""
    rows, cols = np.mgrid[:40, :48]
    truth = ((rows - 20) ** 2 + (cols - 24) ** 2 < 120).astype(np.uint8)
    image = np.random.default_rng(0).integers(0, 25, (40, 48, 3)) + 180 * truth[..., None]
    rough = np.array(values, np.uint8)[np.roll(truth, 3, axis=1)]
    Image.fromarray(image.astype(np.uint8)).save(at / "disc.png")
    picture = Image.fromarray(rough)
    if mode == "P":
        picture.putpalette([7, 8, 9] * 256)
    picture.save(at / "rough.png")
    return at / "disc.png", at / "rough.png", truth


def crf_words(at: Path, *more) -> list:
    return ["crf", at / "disc.png", "--labels", at / "rough.png", "--out", at / "o", *more]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


# ---- segcourse crf


def test_borders_of_a_rough_mask_move_to_where_the_colours_change(tmp_path, capsys):
    _, rough, truth = disc(tmp_path)
    code, out, err = call(capsys, *crf_words(tmp_path, *EASY))
    assert code == 0, err
    refined = read(tmp_path / "o" / "labels" / "disc.png")
    wrong = [(labels != truth).mean() for labels in (read(rough), refined)]
    assert wrong[0] > 0.03
    assert wrong[1] < 0.005
    changed = (refined != read(rough)).sum()
    assert f"{changed} of 1,920 labelled pixels changed\n" in out
    assert "unknown" not in out
    with Image.open(tmp_path / "o" / "overlays" / "disc.png") as overlay:
        assert overlay.width >= 48
        assert overlay.height > 40  # the legend is under it


def test_refined_labels_keep_the_values_and_the_palette_of_the_file(tmp_path, capsys):
    disc(tmp_path, values=(3, 17), mode="P")
    assert call(capsys, *crf_words(tmp_path, *EASY))[0] == 0
    with Image.open(tmp_path / "o" / "labels" / "disc.png") as refined:
        assert refined.mode == "P"
        assert refined.getpalette()[:3] == [7, 8, 9]
        assert set(np.unique(np.asarray(refined))) == {3, 17}


def test_a_label_map_of_many_labels_has_as_many_colours(tmp_path, capsys):
    disc(tmp_path)
    labels = (np.mgrid[:40, :48].sum(0) // 8).astype(np.uint8)  # eleven slanting stripes
    Image.fromarray(labels).save(tmp_path / "rough.png")
    none = ("--appearance-weight", 0, "--smoothness-weight", 0)
    assert call(capsys, *crf_words(tmp_path, *none))[0] == 0
    assert np.array_equal(read(tmp_path / "o" / "labels" / "disc.png"), labels)
    legend = read(tmp_path / "o" / "overlays" / "disc.png")[40:].reshape(-1, 3)
    _, counts = np.unique(legend, axis=0, return_counts=True)
    assert (counts > 50).sum() >= 11  # eleven swatches under the picture


def test_unknown_pixels_are_filled_and_counted(tmp_path, capsys):
    _, rough, truth = disc(tmp_path)
    labels = np.full((40, 48), IGNORE, np.uint8)
    labels[:4], labels[18:22, 22:26] = 0, 1  # two strokes of a brush
    Image.fromarray(labels).save(rough)
    code, out, _ = call(capsys, *crf_words(tmp_path, *EASY, "--certainty", 0.9))
    assert code == 0
    assert "0 of 208 labelled pixels changed, 1,712 unknown ones were filled" in out
    refined = read(tmp_path / "o" / "labels" / "disc.png")
    assert (refined != truth).mean() < 0.02


def test_a_black_and_white_mask_needs_every_value_to_be_a_label(tmp_path, capsys):
    disc(tmp_path, values=(0, 255))
    code, _, err = call(capsys, *crf_words(tmp_path))
    assert code == 1
    assert "holds 0, 255, which is 1 label apart from the unknown pixels" in err
    assert "a black and white mask needs --unknown none" in err
    assert call(capsys, *crf_words(tmp_path, *EASY, "--unknown", "none"))[0] == 0
    assert set(np.unique(read(tmp_path / "o" / "labels" / "disc.png"))) == {0, 255}


def test_values_above_255_come_back_as_they_were(tmp_path, capsys):
    _, rough, truth = disc(tmp_path)
    Image.fromarray(truth.astype(np.uint16) * 700 + 300).save(rough)
    assert call(capsys, *crf_words(tmp_path, *EASY))[0] == 0
    assert set(np.unique(read(tmp_path / "o" / "labels" / "disc.png"))) == {300, 1000}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--sxy", "0"], 2, "--sxy is 0.0: a sigma is above 0; to switch a kernel off"),
        (["--srgb", "nan"], 2, "--srgb is nan: a sigma is above 0"),
        (["--sxy-smooth", "-3"], 2, "--sxy-smooth is -3.0"),
        (["--appearance-weight", "-1"], 2, "--appearance-weight is -1.0: give 0 or more"),
        (["--smoothness-weight", "inf"], 2, "--smoothness-weight is inf: give 0 or more"),
        (["--iterations", "0"], 2, "--iterations is 0: give 1 or more"),
        (["--certainty", "0.3"], 2, "for 2 labels: give at least 0.5"),
        (["--certainty", "1"], 2, "less than 1 (nothing left to refine)"),
        (
            ["--unknown", "white"],
            2,
            "argument --unknown: 'white' is no value of a pixel: give a number",
        ),
        (["--max-pixels", "9"], 1, "48 x 40 = 1,920 pixels, more than 9"),
    ],
)
def test_bad_words_to_crf_are_told_without_a_traceback(words, code, told, tmp_path, capsys):
    disc(tmp_path)
    found, _, err = call(capsys, *crf_words(tmp_path, *words))
    assert (found, told in err) == (code, True), err
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()


def test_labels_that_do_not_fit_are_told_what_fits(tmp_path, capsys):
    image, rough, _ = disc(tmp_path)
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(rough)
    code, _, err = call(capsys, *crf_words(tmp_path))
    assert code == 1
    assert "rough.png is 20x30 and the image 40x48 (height x width)" in err
    rough.unlink()
    assert "rough.png does not exist" in call(capsys, *crf_words(tmp_path))[2]
    Image.open(image).save(rough)
    assert "a mask holds one class index a pixel" in call(capsys, *crf_words(tmp_path))[2]
    many = np.arange(1920, dtype=np.uint16).reshape(40, 48)
    with pytest.raises(DataError, match="holds 1920 labels, at most 255 are taken"):
        crf.as_indices(many, None, (40, 48), rough)


def test_the_rough_labels_are_never_overwritten(tmp_path, capsys):
    image, rough, _ = disc(tmp_path)
    (tmp_path / "labels").mkdir()
    mine = rough.rename(tmp_path / "labels" / "disc.png")
    before = mine.read_bytes()
    code, _, err = call(capsys, "crf", image, "--labels", mine, "--out", tmp_path)
    assert code == 2
    assert f"{mine} would be overwritten by the result: change --out" in err
    assert mine.read_bytes() == before


def test_an_out_that_is_a_file_is_told_before_the_work(tmp_path, capsys):
    words = ["a.png", "--labels", "b.png", "--out", __file__]  # neither image is looked for
    code, _, err = call(capsys, "crf", *words)
    assert code == 2
    assert f"--out {__file__} is a file: give a folder" in err


# ---- flags


def test_the_flags_are_the_arguments_of_the_layer_with_its_defaults():
    layer = DenseCRF(2)
    built = crf_flags.build_crf(Settings(), 2)
    assert torch.equal(layer.weights, built.weights)
    for name in ("sxy", "srgb", "sxy_smooth", "iterations"):
        assert getattr(layer, name) == getattr(built, name) == getattr(Settings(), name)
    assert not any(p.requires_grad for p in built.parameters())
    assert set(crf_flags.HELP) == {f.name for f in fields(Settings)}
    with pytest.raises(UsageError, match="1 label: a CRF chooses between two or more"):
        crf_flags.build_crf(Settings(), 1)


def test_refining_is_the_layer_on_scores_enlarged_to_the_image():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 5, generator=generator)
    image = torch.randint(0, 256, (3, 12, 10), generator=generator, dtype=torch.uint8)
    up = torch.nn.functional.interpolate(logits[None], (12, 10), mode="bilinear")
    settings = Settings(srgb=40.0, iterations=3)
    with torch.no_grad():
        expected = DenseCRF(3, srgb=40.0, iterations=3)(up, image[None]).argmax(1)[0]
    assert torch.equal(crf_flags.refine(logits, image, settings), expected)
    no_weight = replace(settings, appearance_weight=0.0, smoothness_weight=0.0)
    assert torch.equal(crf_flags.refine(logits, image, no_weight), up[0].argmax(0))


# ---- predict and eval


def test_predict_with_a_crf_of_no_weight_is_predict_without_one(run_dir, tmp_path, capsys):
    image, _, _ = disc(tmp_path)
    none = ("--crf", "--appearance-weight", 0, "--smoothness-weight", 0)
    labels = []
    for name, words in (("plain", ()), ("none", none), ("crf", ("--crf", *EASY))):
        out = tmp_path / name
        code, _, err = call(capsys, "predict", image, "--run", run_dir, "--out", out, *words)
        assert code == 0, err
        labels.append(read(out / "labels" / "disc.png"))
    assert np.array_equal(labels[0], labels[1])
    assert labels[2].shape == labels[0].shape
    assert not np.array_equal(labels[0], labels[2])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--srgb", "5"], "--srgb belongs to the CRF, which is off: give --crf too"),
        (["--crf", "--tile", "8"], "every pixel listen to the whole image, which --tile cuts up"),
        (["--crf", "--sxy", "-2"], "--sxy is -2.0: a sigma is above 0"),
    ],
)
def test_flags_of_the_crf_that_do_not_fit_predict_are_refused(
    words, told, run_dir, tmp_path, capsys
):
    image, _, _ = disc(tmp_path)
    code, _, err = call(capsys, "predict", image, "--run", run_dir, "--out", tmp_path / "o", *words)
    assert (code, told in err) == (2, True), err
    assert not (tmp_path / "o").exists()


def test_eval_measures_the_labels_that_the_crf_makes(run_dir, tmp_path, capsys):
    numbers = []
    for words in ((), ("--crf", "--appearance-weight", 0, "--smoothness-weight", 0)):
        file = tmp_path / "x.json"
        code, out, err = call(capsys, "eval", run_dir, "--json", file, *words)
        assert code == 0, err
        assert ("CRF: --appearance-weight 0 --sxy 80 --srgb 13" in out) == bool(words)
        numbers.append(json.loads(file.read_text())["metrics"])
    assert numbers[0] == numbers[1]


# ---- crf-search


def test_the_search_climbs_a_hill_and_scores_no_setting_twice():
    top = {"appearance_weight": 4.0, "sxy": 45.0, "srgb": 5.0, "smoothness_weight": 2.0}
    top["sxy_smooth"] = 1.5

    def hill(settings: Settings) -> float:
        return -sum(math.log(getattr(settings, n) / top[n]) ** 2 for n in SEARCHED)

    tried = list(coordinate_search(hill, Settings(), hill(Settings()), 200))
    assert len({Settings(), *(settings for settings, _ in tried)}) == len(tried) + 1 <= 201
    best, _ = max(tried, key=lambda pair: pair[1])
    for name in SEARCHED:
        assert getattr(best, name) == pytest.approx(top[name], rel=0.1)
    assert list(coordinate_search(hill, Settings(), hill(Settings()), 7)) == tried[:7]
    assert all(s.iterations == 5 for s, _ in tried)


def test_a_kernel_that_is_switched_off_stays_off_in_the_search():
    off = Settings(smoothness_weight=0.0)
    found = list(search(lambda s: s.sxy, off, 30, torch.Generator().manual_seed(0)))
    assert all(s.smoothness_weight == 0 for s, _ in found)
    assert len(found) == 30


def test_random_trials_find_the_slope_that_small_steps_from_a_flat_start_do_not():
    def plateau(settings: Settings) -> float:
        return -abs(math.log(settings.srgb / 1.5)) if settings.appearance_weight < 2 else -9.0

    steps = list(coordinate_search(plateau, Settings(), plateau(Settings()), 20))
    assert {score for _, score in steps} == {-9.0}
    mixed = list(search(plateau, Settings(), 30, torch.Generator().manual_seed(0)))
    assert mixed[0] == (Settings(), -9.0)
    assert max(score for _, score in mixed) > -0.3
    again = list(search(plateau, Settings(), 30, torch.Generator().manual_seed(0)))
    assert again == mixed
    for settings, _ in mixed[1:10]:
        assert all(
            getattr(Settings(), n) / 16.1 < getattr(settings, n) < getattr(Settings(), n) * 2.01
            for n in SEARCHED
        )


def test_searched_images_are_spread_over_the_split():
    assert spread(101, 4) == [0, 25, 50, 75]
    assert spread(3, 9) == [0, 1, 2]


def test_search_prints_flags_that_give_the_score_again(run_dir, tmp_path, capsys):
    file = tmp_path / "search.json"
    words = ("crf-search", run_dir, "--images", 9, "--trials", 8, "--srgb", 40, "--json", file)
    code, out, err = call(capsys, *words)
    assert code == 0, err
    assert "run on folder val: 2 of 2 images" in out
    assert f"written: {file}" in err
    found = json.loads(file.read_text())["metrics"]
    assert len(found["trials"]) == 8
    assert found["trials"][0]["srgb"] == 40
    assert found["best"]["miou"] == max(trial["miou"] for trial in found["trials"])
    if found["best"]["miou"] > found["without_crf"]:
        flags = out.splitlines()[-1].split()
        assert flags[0] == "--crf"
    else:
        assert out.endswith(
            "no setting tried is better than no CRF on these images: leave --crf out\n"
        )
        best = found["best"]
        pairs = [(crf_flags.as_flag(f.name), best[f.name]) for f in fields(Settings)]
        flags = ["--crf", *(str(word) for pair in pairs for word in pair)]
    again = tmp_path / "again.json"
    assert call(capsys, "eval", run_dir, "--json", again, *flags)[0] == 0
    measured = json.loads(again.read_text())["metrics"]["miou"]
    assert measured == pytest.approx(found["best"]["miou"], abs=1e-9)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--trials", "0"], 2, "--trials is 0: give 1 or more"),
        (["--images", "0"], 2, "--images is 0: give 1 or more"),
        (["--srgb", "0"], 2, "--srgb is 0.0: a sigma is above 0"),
        (["--data", "scenes", "--full-size"], 2, "--full-size is for files"),
    ],
)
def test_bad_words_to_crf_search_are_told(words, code, told, run_dir, capsys):
    found, _, err = call(capsys, "crf-search", run_dir, *words)
    assert (found, told in err) == (code, True), err
