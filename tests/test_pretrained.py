"""Small trained weights: their files, their cards, and what measuring them again finds."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from cli_tools import call, make_folder, train_words
from PIL import Image

from segcourse import pretrained
from segcourse.cli import main, weights_files
from segcourse.cli.models import MODELS
from segcourse.cli.weights_card import NOT_FOR, card, commands
from segcourse.errors import DataError, UsageError
from segcourse.pretrained import load_pretrained, published, read_record

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.parent.name for path in (ROOT / "weights").glob("*/record.json"))
DATA = {"camvid": "SEGCOURSE_CAMVID", "isbi": "SEGCOURSE_ISBI"}
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of data, and a run of six steps on it."""
    root = make_folder(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("runs") / "toy"
    assert main(train_words(root, out, "--model", "unet-light")) == 0
    return root, out


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("weights")
    words = ["weights", "export", run[1], "--name", "toy", "--out", out, "--licence", "Free."]
    assert main([str(word) for word in words]) == 0
    return out / "toy"


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "copy")


def change(folder: Path, **fields) -> None:
    record = json.loads((folder / "record.json").read_text("utf-8")) | fields
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")


# ---- what is committed


def test_the_weights_of_the_repository_are_found():
    assert list(published()) == NAMES
    data = {read_record(published()[name])["data"]["name"] for name in NAMES}
    assert data >= {"scenes", "camvid", "isbi"}
    assert "scenes-unet-light" in NAMES


@each
def test_a_folder_holds_fp16_weights_of_8_mb_at_most_and_a_card_of_its_record(name):
    folder = ROOT / "weights" / name
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md",
        "model.safetensors",
        "record.json",
    ]
    record, file = read_record(folder), folder / "model.safetensors"
    assert record["name"] == name
    assert file.stat().st_size == record["file"]["bytes"] <= 8_000_000
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record["file"]["sha256"]
    tensors = safetensors.torch.load_file(file)
    for key, tensor in tensors.items():
        statistic = key.endswith(("running_mean", "running_var"))
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float32 if statistic else torch.float16), key
    assert (folder / "card.md").read_text("utf-8") == card(record)


@each
def test_a_card_says_data_recipe_metric_licence_and_limits(name):
    record, text = read_record(ROOT / "weights" / name), (ROOT / "weights" / name / "card.md")
    text = text.read_text("utf-8")
    for heading in ("Data", "Recipe", "Measured", "Licence of the data", "Limits"):
        assert f"\n## {heading}\n" in text
    assert "\n".join(commands(record["training"])) in text
    assert NOT_FOR in text
    split = "val" if record["metrics"]["test"] is None else "test"
    assert f"{record['metrics'][split]['miou']:.4f}" in text
    for class_name in record["classes"]["names"]:
        assert f"| IoU of {class_name} |" in text
    if record["data"]["name"] in DATA:
        assert "commercial" in record["licence"]
    assert "/" not in record["config"]["root"]  # no path of a machine


@each
def test_the_weights_are_worth_more_than_one_class_everywhere(name):
    record = read_record(ROOT / "weights" / name)
    found = record["metrics"]["test"] or record["metrics"]["val"]
    assert found["miou"] > 2 / len(record["classes"]["names"]) or found["miou"] > 0.6
    # Measured from the halves, not copied; yet halves lose next to nothing.
    assert abs(record["metrics"]["val"]["miou"] - record["training"]["chosen"]["val_miou"]) < 0.005


@pytest.mark.slow
def test_the_scenes_card_is_found_again_from_the_weights(capsys):
    code, out, _ = call(capsys, "weights", "check", "scenes-unet-light", "--split", "test")
    assert code == 0, out
    assert "scenes-unet-light test: 200 images, mean IoU" in out
    assert "other pixels" not in out  # the scenes are the same bytes on every machine


@pytest.mark.slow
@each
def test_other_cards_are_found_again_where_their_data_are(name, capsys):
    data = read_record(published()[name])["data"]["name"]
    if data not in DATA:
        pytest.skip("generated: tested above")
    if DATA[data] not in os.environ:
        pytest.skip(f"{DATA[data]} does not name the folder of {data}, or its pack")
    code, out, _ = call(capsys, "weights", "check", name, "--root", os.environ[DATA[data]])
    assert code == 0, out


# ---- from Python


def test_each_line_of_a_recipe_starts_from_what_the_line_before_it_writes():
    suite = "segcourse bench suite --only a --small --data-pack camvid=somewhere --out again"
    train = "segcourse train --data camvid --root CamVid --start /x/a-s0 --out b"
    assert commands({"start": {"command": suite}, "command": train}) == [
        "segcourse bench suite --only a --small --data-pack camvid=CamVid --out again",
        "segcourse train --data camvid --root CamVid --start again/trained/a-s0 --out b",
    ]
    first = "segcourse train --data scenes --out 'my a'"
    train = "segcourse train --data scenes --start runs/a --out b"
    assert commands({"start": {"command": first}, "command": train}) == [
        first,
        "segcourse train --data scenes --start 'my a' --out b",
    ]
    # A recipe whose first command is not known, or that has none, is the one line as typed.
    for start in (None, {"command": None}):
        assert commands({"start": start, "command": train}) == [train]


def test_the_networks_are_those_of_the_command_line():
    for name, builder in pretrained.NETWORKS.items():
        with torch.device("meta"):
            ours, theirs = builder(5), MODELS[name](5)
        assert type(ours) is type(theirs)
        shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, theirs)]
        assert shapes[0] == shapes[1]


def test_loading_gives_the_rounded_weights_of_the_best_checkpoint_and_no_new_random_state(
    run, exported
):
    before = torch.get_rng_state()
    loaded = load_pretrained(exported)
    assert torch.equal(torch.get_rng_state(), before)
    assert (loaded.name, loaded.size, loaded.classes.names) == (
        "toy",
        (16, 20),
        ("ground", "square"),
    )
    assert not loaded.model.training
    step = loaded.record["training"]["chosen"]["step"]
    file = run[1] / "checkpoints" / f"step-{step:06d}" / "weights.safetensors"
    for key, value in safetensors.torch.load_file(file).items():
        here = loaded.model.state_dict()[key]
        if key.endswith(("running_mean", "running_var", "tracked")):
            assert torch.equal(here, value)
        else:
            assert torch.equal(here, value.half().float())


def test_labels_from_python_are_those_that_predict_writes(exported, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (33, 47, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    words = ("predict", tmp_path / "a.png", "--weights", exported, "--out", tmp_path / "o")
    assert call(capsys, *words)[0] == 0
    with Image.open(tmp_path / "o" / "labels" / "a.png") as written:
        assert written.getpalette()[3:6] == [0xE6, 0x9F, 0x00]
        labels = np.asarray(written)
    image = torch.from_numpy(noise).permute(2, 0, 1)
    assert np.array_equal(load_pretrained(exported).label(image), labels)
    with pytest.raises(ValueError, match=r"is \(33, 47, 3\) torch.uint8: give \(3, H, W\)"):
        load_pretrained(exported).label(torch.from_numpy(noise))


def test_a_file_of_halves_is_a_start_for_training(run, exported, tmp_path):
    words = train_words(run[0], tmp_path / "on", "--model", "unet-light", "--start")
    assert main([*words, str(exported / "model.safetensors")]) == 0
    start = json.loads((tmp_path / "on" / "run.json").read_text("utf-8"))["start"]
    assert start == {"sha256": read_record(exported)["file"]["sha256"], "new": []}


def test_an_unknown_name_lists_the_names(capsys, monkeypatch):
    with pytest.raises(UsageError, match=f"no weights sky: choose one of {', '.join(NAMES)}, or"):
        load_pretrained("sky")
    code, _, err = call(capsys, "predict", ROOT / "README.md", "--weights", "sky", "--out", "o")
    assert code == 2
    assert "choose one of" in err
    monkeypatch.setattr(pretrained, "published", dict)
    with pytest.raises(UsageError, match="none at all beside this package: install it again from"):
        load_pretrained("sky")


def test_a_changed_cut_or_missing_file_is_refused(copy):
    file = copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"model.safetensors is not the file that its record desc"):
        load_pretrained(copy)
    file.unlink()
    with pytest.raises(DataError, match=r"model.safetensors is missing: fetch the folder again"):
        load_pretrained(copy)


def test_a_file_of_another_network_is_refused_even_with_the_right_hash(copy):
    file = copy / "model.safetensors"
    file.write_bytes(b"no tensors")
    change(copy, file={"sha256": hashlib.sha256(b"no tensors").hexdigest()})
    with pytest.raises(DataError, match="is not a safetensors file"):
        load_pretrained(copy)
    change(copy, model="vgg")
    with pytest.raises(UsageError, match="vgg is no network that small weights are kept of"):
        load_pretrained(copy)


def test_a_damaged_record_and_one_of_another_format_are_refused(copy):
    change(copy, format="segcourse weights 9")
    with pytest.raises(DataError, match=r"of the format 'segcourse weights 9', and this version"):
        load_pretrained(copy)
    (copy / "record.json").write_text('{"format": "segcourse weights 1"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"record.json is damaged \(KeyError: 'name'\)"):
        load_pretrained(copy)
    (copy / "record.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"record.json is damaged \(JSONDecodeError"):
        load_pretrained(copy)


# ---- export


def test_an_export_measures_its_file_and_says_where_it_comes_from(run, exported):
    record = read_record(exported)
    assert record["metrics"]["test"] is None
    assert record["metrics"]["val"]["images"] == 2
    assert record["licence"] == "Free."
    assert record["config"]["root"] == run[0].name
    assert record["training"]["command"].startswith("segcourse train --data folder")
    assert record["training"]["chosen"]["val_miou"] == max(
        line["val_miou"] for line in record["training"]["curve"]
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--name", "Toy 1"], 2, "--name Toy 1: give lower-case letters and digits with hyphens"),
        (["--name", "toy"], 2, "toy is there already: give another --name, or --replace"),
        (["--name", "new"], 2, "the terms of folder are not known here: say with --licence"),
    ],
)
def test_an_export_that_lacks_something_says_what(words, code, told, run, exported, capsys):
    found, _, err = call(capsys, "weights", "export", run[1], *words, "--out", exported.parent)
    assert (found, told in err) == (code, True), err
    assert sorted(path.name for path in exported.parent.iterdir()) == ["toy"]


def test_an_export_replaces_nothing_but_weights(run, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("mine")
    words = ("--name", "photos", "--out", tmp_path, "--licence", "Paid.", "--replace")
    code, _, err = call(capsys, "weights", "export", run[1], *words)
    assert code == 2
    assert "is no folder of weights, and --replace would remove it: give another --name" in err
    assert (tmp_path / "photos" / "mine.txt").read_text() == "mine"


def test_an_export_can_replace_one(run, exported, tmp_path, capsys):
    shutil.copytree(exported, tmp_path / "toy")
    words = ("--name", "toy", "--out", tmp_path, "--licence", "Paid.", "--replace")
    words += ("--note", "Grey.")
    assert call(capsys, "weights", "export", run[1], *words)[0] == 0
    assert "\n- Grey.\n" in (tmp_path / "toy" / "card.md").read_text("utf-8")
    assert read_record(tmp_path / "toy")["licence"] == "Paid."
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_network_that_is_too_large_is_refused(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights_files, "LIMIT", 1000)
    words = ("--name", "toy", "--out", tmp_path, "--licence", "Free.")
    code, _, err = call(capsys, "weights", "export", run[1], *words)
    assert code == 2
    assert "and 1,000 is the most for weights that are committed" in err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="patch is no network that small weights are kept of"):
        pretrained.build("patch", 2)


def test_a_run_without_a_record_and_one_with_a_damaged_record_are_refused(run, tmp_path, capsys):
    copied = shutil.copytree(run[1], tmp_path / "run")
    words = ("weights", "export", copied, "--name", "x", "--licence", "-", "--out", tmp_path)
    (copied / "record.json").write_text("{}", encoding="utf-8")
    code, _, err = call(capsys, *words)
    assert (code, "record.json is damaged" in err) == (1, True), err
    (copied / "record.json").unlink()
    code, _, err = call(capsys, *words)
    assert (code, "has no record.json of its own: the run has not ended" in err) == (1, True), err


def test_weights_that_go_on_from_others_name_both_commands(run, tmp_path, capsys):
    words = train_words(run[0], tmp_path / "on", "--model", "unet-light", "--start", run[1])
    assert main(words) == 0
    words = ("--name", "on", "--out", tmp_path / "w", "--licence", "-")
    assert call(capsys, "weights", "export", tmp_path / "on", *words)[0] == 0
    record = read_record(tmp_path / "w" / "on")
    first, second = record["training"]["start"]["command"], record["training"]["command"]
    assert "--start" in second
    assert "--start" not in first
    text = (tmp_path / "w" / "on" / "card.md").read_text("utf-8")
    assert f"{first}\n{second}\n" in text
    assert "then the best of another run (sha256" in text


def test_a_suite_s_run_has_its_record_two_folders_up(run, tmp_path, capsys):
    copied = shutil.copytree(run[1], tmp_path / "suite" / "trained" / "toy-s0")
    shutil.move(copied / "record.json", tmp_path / "suite" / "toy-s0.json")
    words = ("weights", "export", copied, "--name", "x", "--licence", "-", "--out", tmp_path)
    assert call(capsys, *words)[0] == 0


def test_halves_keep_statistics_and_refuse_what_they_cannot_hold():
    state = {
        "a.weight": torch.tensor([1.0, 1e-9]),
        "b.running_var": torch.tensor([1e-9, 1e6]),
        "b.num_batches_tracked": torch.tensor(3),
    }
    rounded = weights_files.halves(state, Path("x"))
    assert [t.dtype for t in rounded.values()] == [torch.float16, torch.float32, torch.int64]
    assert torch.equal(rounded["b.running_var"], state["b.running_var"])
    for wrong in (1e5, torch.inf, torch.nan):
        with pytest.raises(DataError, match=r"x: a.weight holds .*, and fp16 ends at 65,504"):
            weights_files.halves({"a.weight": torch.tensor([1.0, wrong])}, Path("x"))


# ---- check


def test_check_finds_a_number_that_is_not_the_files(run, copy, capsys):
    root = ("--root", run[0])
    code, out, _ = call(capsys, "weights", "check", copy, *root)
    assert code == 0
    assert "toy val: 2 images, mean IoU" in out
    metrics = read_record(copy)["metrics"]
    metrics["val"]["iou"]["square"] += 0.002
    change(copy, metrics=metrics)
    code, out, _ = call(capsys, "weights", "check", copy, *root)
    assert code == 3
    assert "toy val: IoU of square is" in out
    metrics["val"]["iou"]["square"] = None
    change(copy, metrics=metrics)
    code, out, _ = call(capsys, "weights", "check", copy, *root)
    assert (code, "and absent in the card" in out) == (3, True)


def test_check_allows_more_on_other_pixels_and_refuses_other_labels(run, copy, tmp_path, capsys):
    root = shutil.copytree(run[0], tmp_path / "data")
    for path in (root / "val" / "images").iterdir():
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0, 0] ^= 1
        Image.fromarray(pixels).save(path)
    metrics = read_record(copy)["metrics"]
    metrics["val"]["iou"]["square"] += 0.005
    change(copy, metrics=metrics)
    code, out, _ = call(capsys, "weights", "check", copy, "--data-pack", f"folder={root}")
    assert code == 0
    assert "other pixels with the same labels" in out
    mask = next((root / "val" / "masks").iterdir())
    Image.fromarray(np.zeros((16, 20), np.uint8)).save(mask)
    code, out, _ = call(capsys, "weights", "check", copy, "--root", root)
    assert code == 3
    assert "the 2 label maps in" in out


def test_check_needs_the_data_of_what_is_named_and_passes_over_the_rest(copy, capsys):
    code, _, err = call(capsys, "weights", "check", copy)
    assert code == 2
    assert "toy is measured on folder: give --data-pack folder=FOLDER" in err
    code, out, _ = call(capsys, "weights", "check", copy, "--root", "x", "--split", "test")
    assert (code, out) == (0, "toy test: not measured, the card has no numbers of it\n")
    code, _, err = call(capsys, "weights", "check", "--root", "x")
    assert code == 2
    assert "--root is for the data of one NAME" in err


def test_check_without_names_says_what_it_does_not_measure(monkeypatch, copy, capsys):
    monkeypatch.setattr("segcourse.cli.weights.published", lambda: {copy: copy})
    code, out, _ = call(capsys, "weights", "check")
    assert code == 0
    assert out == "toy: not measured, give --data-pack folder=FOLDER, or its pack\n"


def test_list_names_each_with_its_score(capsys, monkeypatch):
    code, out, _ = call(capsys, "weights", "list")
    assert code == 0
    for name in NAMES:
        assert f"\n{name}  " in out
    monkeypatch.setattr("segcourse.cli.weights.published", dict)
    assert "none beside this package" in call(capsys, "weights", "list")[1]


# ---- installed


@pytest.mark.slow
def test_a_wheel_has_the_weights_and_finds_them(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md"):
        shutil.copy(ROOT / name, source)
    for path in ROOT.glob("LICENSE*"):
        shutil.copy(path, source)
    for name in ("segcourse", "weights"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*words, "--no-index", "-w", tmp_path, source], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    shutil.rmtree(source)
    program = (
        "import segcourse; from segcourse.pretrained import load_pretrained, published;"
        "print(segcourse.__file__, *published());"
        "load_pretrained('scenes-unet-light')"
    )
    alone = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=alone,
    )
    where, *names = found.stdout.split()
    assert Path(where).is_relative_to(tmp_path / "site")
    assert names == NAMES
