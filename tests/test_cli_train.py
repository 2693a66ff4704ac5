"""`segcourse train` and `segcourse eval`: a run from the command line to its record."""

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cli_tools import call, make_folder, train_words
from safetensors.torch import load_file
from torch import nn

from segcourse import losses
from segcourse.cli import memory, report, running, runs
from segcourse.config import Config
from segcourse.errors import DataError
from segcourse.labels import Classes


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    from segcourse.cli import main

    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(train_words(data, out, "--lr", 0.01)) == 0
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / "step-000006" / "weights.safetensors")


def test_a_run_leaves_a_record_with_its_command_and_numbers(trained):
    record = json.loads((trained / "record.json").read_text(encoding="utf-8"))
    assert record["command"].startswith("segcourse train --data folder --root ")
    assert record["config"]["steps"] == 6
    metrics = record["metrics"]
    assert set(metrics["iou"]) == {"ground", "square"}
    # 64 of the 320 - 10 labelled pixels of an image are square.
    always = metrics["always_majority"]
    assert always["class"] == "ground"
    assert always["pixel_accuracy"] == pytest.approx(246 / 310, abs=1e-5)
    assert always["miou"] == pytest.approx(246 / 310 / 2, abs=1e-5)
    assert [line["step"] for line in record["curve"] if "miou" in line] == [3, 6]
    assert record["curve"][-1]["miou"] == pytest.approx(metrics["miou"], abs=1e-5)


def test_the_report_sets_the_run_beside_the_majority(data, tmp_path, capsys):
    code, out, _ = call(capsys, *train_words(data, tmp_path / "run"))
    assert code == 0
    assert "this run  always ground" in out
    assert "0.3968" in out  # 246 / 310 / 2
    assert "on val (2 images of 16x20)" in out


def test_a_dry_run_prints_the_plan_and_writes_nothing(data, tmp_path, capsys):
    out = tmp_path / "run"
    code, told, _ = call(capsys, *train_words(data, out, "--dry-run"))
    assert code == 0
    assert "4 train and 2 val images, 16x20" in told
    assert "2: ground, square" in told
    assert "6 steps of 2: 3.0 epochs" in told
    assert f"output    {out}" in told
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_run_resumes_to_the_same_weights_from_the_out_folder_alone(
    data, trained, tmp_path, capsys, monkeypatch
):
    out, steps = tmp_path / "run", []
    cross_entropy = losses.cross_entropy

    def stop_in_step_five(logits, labels, weights=None):
        steps.append(len(steps))
        if len(steps) == 5:
            raise KeyboardInterrupt
        return cross_entropy(logits, labels, weights)

    monkeypatch.setattr(losses, "cross_entropy", stop_in_step_five)
    code, _, err = call(capsys, *train_words(data, out, "--lr", 0.01))
    assert code == 130
    assert f"the last checkpoint is {out / 'checkpoints' / 'step-000004'}" in err
    assert f"segcourse train --out {out} --resume" in err

    monkeypatch.undo()
    code, _, _ = call(capsys, "train", "--out", out, "--resume")
    assert code == 0
    ours, whole = weights(out), weights(trained)
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_a_run_stopped_before_its_first_checkpoint_says_so(data, tmp_path, capsys, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(losses, "cross_entropy", stop)
    code, _, err = call(capsys, *train_words(data, tmp_path / "run"))
    assert code == 130
    assert "no checkpoint was written yet: give the same command again" in err
    monkeypatch.undo()
    code, _, err = call(capsys, *train_words(data, tmp_path / "run", "--lr", 0.02))
    assert code == 0, err


def test_resuming_with_another_value_is_refused_and_named(data, trained, capsys):
    code, _, err = call(capsys, "train", "--out", trained, "--resume", "--lr", "0.5")
    assert code == 2
    assert "lr: 0.01 -> 0.5" in err


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_refused_resume_changes_nothing_in_the_run(trained, tmp_path, capsys):
    other = make_folder(tmp_path / "data", train=5, size=(24, 28))
    (other / "classes.txt").write_text("sky\nsquare\nthird\n", encoding="utf-8")
    before = contents(trained)
    words = ["train", "--out", trained, "--resume", "--root", other]
    code, _, err = call(capsys, *words, "--lr", "0.5")
    assert (code, "lr: 0.01 -> 0.5" in err) == (2, True)
    code, _, err = call(capsys, *words)
    assert code == 2
    assert "classes: ground, square -> sky, square, third" in err
    assert "size: 16x20 -> 24x28" in err
    assert "training images: 4 -> 5" in err
    assert contents(trained) == before


def test_resuming_a_finished_run_leaves_its_record_alone(trained, capsys):
    before = (trained / "record.json").read_bytes()
    code, told, _ = call(capsys, "train", "--out", trained, "--resume")
    assert code == 0
    assert "nothing was left to do: all 6 steps are taken" in told
    assert (trained / "record.json").read_bytes() == before


def test_a_damaged_run_file_is_written_anew_by_a_resume(trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "run.json").write_text("{", encoding="utf-8")
    assert call(capsys, "train", "--out", copy, "--resume")[0] == 0
    assert (copy / "run.json").read_bytes() == (trained / "run.json").read_bytes()


def test_the_patch_model_trains_on_windows_and_is_measured_on_whole_images(data, tmp_path, capsys):
    out = tmp_path / "run"
    code, told, _ = call(capsys, *train_words(data, out, "--model", "patch"))
    assert code == 0
    assert "on val (2 images of 16x20)" in told
    code, told, _ = call(
        capsys, *train_words(data, tmp_path / "x", "--model", "patch", "--dry-run")
    )
    assert "12 windows of 31x31 pixels" in told


def test_loader_workers_read_images_of_several_sizes_with_a_crop(tmp_path, capsys):
    root = make_folder(tmp_path / "data", train=2)
    make_folder(tmp_path / "other", train=2, size=(24, 28))
    for kind in ("images", "masks"):
        for i in range(2):
            target = root / "train" / kind / f"big{i}.png"
            (tmp_path / "other" / "train" / kind / f"{i}.png").rename(target)
    words = train_words(root, tmp_path / "run", "--crop", 12, 12)
    code, _, err = call(capsys, *words)
    assert code == 1
    assert "one size is needed here. Resize them (--height H --width W;" in err
    assert "--crop H W --workers 1" in err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns where it forks with threads, by version
        code, told, _ = call(capsys, *words, "--workers", 1)
    assert code == 0
    assert "on val (2 images):" in told


def test_training_reads_train_and_val_and_never_test(data, tmp_path, capsys, monkeypatch):
    from segcourse.cli import sources

    opened = []
    open_data = sources.open_data
    monkeypatch.setattr(
        sources, "open_data", lambda *words: opened.append(words[2]) or open_data(*words)
    )
    assert call(capsys, *train_words(data, tmp_path / "run"))[0] == 0
    assert sorted(set(opened)) == ["train", "val"]


def test_class_weights_and_dice_change_the_loss(data, tmp_path, capsys):
    first = []
    for i, more in enumerate(([], ["--class-weights", "median"], ["--loss", "ce+dice"])):
        out = tmp_path / str(i)
        assert call(capsys, *train_words(data, out, *more))[0] == 0
        first.append(json.loads((out / "log.jsonl").read_text().splitlines()[0])["loss"])
    assert len(set(first)) == 3


def test_the_mild_class_weights_are_the_roots_of_the_median_ones():
    logits = torch.randn(1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[0, 0], [0, 1]]])
    pixels = torch.tensor([[3, 1]])
    median = losses.median_frequency_weights(pixels)
    for name, weights in (("none", None), ("median", median), ("median-root", median.sqrt())):
        config = Config(class_weights=name)
        loss = running.loss_of(config, running.class_weights(config, pixels))
        assert loss(logits, labels) == losses.cross_entropy(logits, labels, weights)


@pytest.mark.parametrize(
    ("change", "words", "code", "told"),
    [
        (None, ["--root", "nowhere"], 1, "--root nowhere does not exist.\nNeeded: the folder with"),
        (None, ["--root", __file__], 1, "is a file.\nNeeded: the folder with"),
        (
            None,
            ["--data", "camvid"],
            1,
            "has no trainannot/ in it.\nNeeded: the folder with",
        ),
        (None, ["--data", "camvid"], 1, "`segcourse data get camvid --root DIR`"),
        (None, ["--batch", "9"], 2, "--batch 9 is more than the 4 images of the train split"),
        (None, ["--resume"], 2, "holds no run to resume"),
        (None, ["--out", __file__], 2, "test_cli_train.py is a file: give a folder"),
        (None, ["--model", "patch", "--crop", "8", "8"], 2, "--crop does not apply to the patch"),
        (None, ["--crop", "17", "21"], 2, "--crop 17 21 is larger than the images of 16x20"),
        (None, ["--lr", "1e30"], 2, "start a new run with a lower lr"),
        ("train/masks/0.png", [], 1, "no partner"),
        ("val/images/1.png", [], 1, "no partner"),
    ],
)
def test_bad_input_to_train_is_told_without_a_traceback(
    change, words, code, told, data, tmp_path, capsys
):
    root = make_folder(tmp_path / "data")
    if change:
        (root / change).unlink()
    found, _, err = call(capsys, *train_words(root, tmp_path / "run"), *words)
    assert (found, told in err) == (code, True), err
    assert "Traceback" not in err


def test_a_crop_may_be_as_large_as_a_rescaled_image(tmp_path):
    sets = SimpleNamespace(size=(16, 20), train=range(8))
    for crop, scale in (((32, 40), (1.0, 2.0)), ((16, 99), (1.0, 1.0)), ((0, 0), (0.5, 1.0))):
        running.check(Config(crop=crop, scale=scale), sets, nn.Identity(), torch.device("cpu"))


def test_a_folder_without_the_layout_is_told_the_layout(tmp_path, capsys):
    code, _, err = call(capsys, *train_words(tmp_path, tmp_path / "run"))
    assert code == 1
    assert f"{tmp_path} holds no data: it needs the folders images and masks" in err


def test_a_folder_that_holds_a_run_is_refused(data, trained, capsys):
    code, _, err = call(capsys, *train_words(data, trained))
    assert code == 2
    assert f"{trained} already holds a run: give --resume" in err


def test_a_mask_with_a_label_out_of_range_is_named(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    (root / "classes.txt").write_text("ground\n", encoding="utf-8")
    code, _, err = call(capsys, *train_words(root, tmp_path / "run"))
    assert code == 1
    assert "0.png holds 1 at 64 pixels" in err


def test_eval_gives_the_numbers_that_training_ended_with(trained, tmp_path, capsys):
    code, told, _ = call(capsys, "eval", trained, "--json", tmp_path / "e.json")
    assert code == 0
    measured = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))["metrics"]
    ended = json.loads((trained / "record.json").read_text(encoding="utf-8"))["metrics"]
    if ended["best"]["step"] == 6:
        assert measured["iou"] == ended["iou"]
    assert measured["miou"] == pytest.approx(ended["best"]["miou"], abs=1e-5)
    assert f"mean IoU                   {measured['miou']:.4f}" in told
    assert "mean IoU within 3 px of a border" in told


def test_eval_at_full_size_compares_with_the_labels_of_the_files(data, tmp_path, capsys):
    out = tmp_path / "run"
    small = ["--height", 8, "--width", 10]
    assert call(capsys, *train_words(data, out, *small))[0] == 0
    pixels = {}
    for name, more in (("small", []), ("full", ["--full-size"])):
        code, told, _ = call(capsys, "eval", out, *more)
        assert code == 0
        pixels[name] = told.splitlines()[0]
    assert pixels["small"].endswith("compared at 8x10")
    assert pixels["full"].endswith("compared at the size of the files")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 1, "nowhere does not exist: give the output folder of `segcourse train`"),
        ([__file__], 1, "is a file: give the output folder of `segcourse train`"),
        (["RUN", "--split", "test"], 1, "no test split"),
        (["RUN", "--trimap-width", "0"], 2, "--trimap-width is 0: give 1 pixel or more"),
        (["RUN", "--root", "gone"], 1, "--root gone does not exist"),
        (["RUN", "--data", "scenes", "--full-size"], 2, "--full-size is for files"),
    ],
)
def test_bad_input_to_eval_is_told_without_a_traceback(words, code, told, trained, capsys):
    words = [trained if word == "RUN" else word for word in words]
    found, _, err = call(capsys, "eval", *words)
    assert (found, told in err) == (code, True), err


def test_a_run_is_not_measured_on_a_set_with_other_classes(data, trained, tmp_path, capsys):
    for kind, target in (("images", "val"), ("masks", "valannot"), ("masks", "trainannot")):
        shutil.copytree(data / "val" / kind, tmp_path / target)
    code, _, err = call(capsys, "eval", trained, "--data", "camvid", "--root", tmp_path)
    assert code == 1
    assert "was trained for 2 classes and camvid has 11" in err


def test_a_damaged_run_file_is_named(trained, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "run.json").write_text("{", encoding="utf-8")
    code, _, err = call(capsys, "eval", copy)
    assert code == 1
    assert f"{copy / 'run.json'} is damaged" in err
    (copy / "run.json").unlink()
    code, _, err = call(capsys, "eval", copy)
    assert code == 1
    assert "has no run.json" in err


def test_the_estimate_counts_what_autograd_keeps():
    """One convolution: its input, the logits' softmax, the labels and the count of them."""
    model = torch.nn.Conv2d(3, 4, 1)
    held = memory.estimate(model, 2, (8, 8), "adamw", ema=True)
    assert held.weights == held.gradients == held.averaged_weights == 4 * (12 + 4)
    assert held.optimizer == 2 * held.weights
    image, softmax, labels = 2 * 3 * 64 * 4, 2 * 4 * 64 * 4, 2 * 64 * 8
    assert held.kept_for_backward == pytest.approx(image + softmax + labels, abs=16)
    assert held.total == 5 * held.weights + held.kept_for_backward


def test_the_estimate_counts_the_runs_own_loss(data, tmp_path, capsys):
    model = torch.nn.Conv2d(3, 4, 1)
    plain, with_dice = (
        memory.estimate(model, 2, (8, 8), "sgd", ema=False, loss=loss).kept_for_backward
        for loss in (losses.cross_entropy, losses.dice)
    )
    logits = 2 * 4 * 64 * 4
    assert with_dice - plain > logits  # three tensors of that size in place of one
    told = [
        call(capsys, *train_words(data, tmp_path / "run", "--dry-run", "--loss", loss))[1]
        for loss in ("ce", "ce+dice")
    ]
    kept = [next(x for x in t.splitlines() if "kept for the backward" in x) for t in told]
    assert kept[0] != kept[1]


def test_building_a_model_touches_no_generator_but_its_own(monkeypatch):
    from segcourse.cli import models

    def refuse(seed):
        raise AssertionError("a GPU's generator was touched")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    before = torch.get_rng_state()
    a, b = (models.build("full-resolution", 3, seed).state_dict() for seed in (1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert any(not torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", 9], "--batch 9 is more than the 4 images of the train split"),
        (["--scale", 0.05, 1], "scale is (0.05, 1.0): give the smallest factor, 0.1 or more"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(workers, words, told, data, tmp_path, capsys):
    words = train_words(data, tmp_path / "run", "--workers", workers, *words)
    for more in ([], ["--dry-run"]):
        code, _, err = call(capsys, *words, *more)
        assert (code, told in err) == (2, True), err
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_prints_the_plan(data, tmp_path, capsys, monkeypatch):
    from segcourse import distributed

    monkeypatch.setattr(distributed, "rank", lambda: 1)
    code, told, _ = call(capsys, *train_words(data, tmp_path / "run", "--dry-run"))
    assert (code, told) == (0, "")


def test_the_majority_predictor_has_the_iou_of_its_share():
    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    numbers = report.summary(report.always(1, torch.tensor([10, 30])), classes)
    assert numbers["miou"] == 0.375
    assert numbers["pixel_accuracy"] == 0.75
    assert numbers["iou"] == {"a": 0.0, "b": 0.75}


@pytest.mark.gpu
def test_a_run_on_a_gpu_is_measured_and_predicts_there(data, tmp_path, capsys):
    out, labelled = tmp_path / "run", tmp_path / "labelled"
    words = train_words(data, out, "--class-weights", "median", "--loss", "ce+dice")
    words[words.index("cpu")] = "cuda"
    code, _, err = call(capsys, *words)
    assert code == 0, err
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert record["hardware"]["gpu"] == torch.cuda.get_device_name()
    image = data / "val" / "images" / "0.png"
    made = {}
    for device in ("cuda", "cpu"):
        target = labelled / device
        words = ["predict", image, "--run", out, "--out", target, "--device", device]
        code, _, err = call(capsys, *words)
        assert code == 0, err
        made[device] = {path.name for path in target.rglob("*") if path.is_file()}
    assert made["cuda"] == made["cpu"] != set()


def test_a_configuration_that_is_no_object_is_damaged(tmp_path):
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        runs.saved_config(tmp_path)
