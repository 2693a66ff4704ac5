"""A data set in one file: the same pixels and labels, small enough to travel, damage is named."""

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import call, make_folder, train_words
from PIL import Image

from segcourse.data import open_data
from segcourse.data.pack import content_hash, is_pack, read_contents, write_pack
from segcourse.data.resident import ResidentSet
from segcourse.errors import DataError, UsageError


def equal(a, b) -> bool:
    """Whether two sets hold the same stems, pixels and labels."""
    if len(a) != len(b) or a.classes != b.classes:
        return False
    return all(
        a.stem(i) == b.stem(i) and all(torch.equal(x, y) for x, y in zip(a[i], b[i], strict=True))
        for i in range(len(a))
    )


def test_threads_read_a_pack_as_one_reader_does(tmp_path):
    data = open_data("folder", make_folder(tmp_path / "data", train=9), "train")
    write_pack({"train": data}, tmp_path / "data.zip")
    packed = open_data("folder", tmp_path / "data.zip", "train")
    together = ResidentSet.load(packed, threads=4)
    alone = ResidentSet.load(data)
    assert torch.equal(together.images, alone.images)
    assert torch.equal(together.labels, alone.labels)


def make_camvid(root: Path) -> Path:
    """CamVid's folders with lossy WebP images and index PNGs, 11 for void, and a test split."""
    rng = np.random.default_rng(1)
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        for name in (split, f"{split}annot"):
            (root / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 256, (18, 24, 3)).astype(np.uint8)
            Image.fromarray(image).save(root / split / f"{i}_L.webp", quality=60)
            labels = rng.integers(0, 12, (18, 24)).astype(np.uint8)
            Image.fromarray(labels).save(root / f"{split}annot" / f"{i}_L.png")
    return root


@pytest.fixture(scope="module")
def camvid(tmp_path_factory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


def pack(capsys, name: str, root: Path, out: Path, *more) -> tuple[int, str, str]:
    return call(capsys, "data", "pack", name, "--root", root, "--out", out, *more)


@pytest.mark.parametrize("size", [None, (18, 24), (9, 12)])
def test_a_pack_gives_the_pixels_and_labels_of_the_folder(size, camvid, tmp_path, capsys):
    out = tmp_path / "camvid.zip"
    more = ["--height", size[0], "--width", size[1]] if size else []
    code, told, _ = pack(capsys, "camvid", camvid, out, *more)
    assert code == 0
    assert re.search(r"train +3 images, content [0-9a-f]{16}", told)
    for split in ("train", "val", "test"):
        whole, packed = (open_data("camvid", root, split, size) for root in (camvid, out))
        assert equal(whole, packed)
        assert (whole[0][1] == 255).any()  # void travels
        hashed = content_hash(whole[i] for i in range(len(whole)))
        assert read_contents(out).sha256[split] == hashed


def test_pictures_that_keep_their_size_are_stored_byte_for_byte(camvid, tmp_path, capsys):
    pack(capsys, "camvid", camvid, tmp_path / "whole.zip", "--height", 18, "--width", 24)
    with zipfile.ZipFile(tmp_path / "whole.zip") as file:
        assert file.read("train/0_L.webp") == (camvid / "train" / "0_L.webp").read_bytes()
    pack(capsys, "camvid", camvid, tmp_path / "small.zip", "--height", 9, "--width", 12)
    with zipfile.ZipFile(tmp_path / "small.zip") as file:
        assert "train/0_L.png" in file.namelist()  # lossless: WebP would change the pixels again


def test_the_same_data_make_the_same_file(camvid, tmp_path, capsys):
    for name in ("a.zip", "b.zip"):
        pack(capsys, "camvid", camvid, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_isbi_and_a_plain_folder_can_be_packed(tmp_path, capsys):
    folder = make_folder(tmp_path / "folder")
    assert pack(capsys, "folder", folder, tmp_path / "folder.zip")[0] == 0
    isbi = tmp_path / "isbi"
    rng = np.random.default_rng(2)
    for kind in ("image", "label"):
        (isbi / kind).mkdir(parents=True)
        for i in (0, 1, 25):
            values = rng.integers(0, 2, (12, 12)) * 255
            Image.fromarray(values.astype(np.uint8)).save(isbi / kind / f"{i}.png")
    assert pack(capsys, "isbi", isbi, tmp_path / "isbi.zip")[0] == 0
    for name, root in (("folder", folder), ("isbi", isbi)):
        for split in ("train", "val"):
            packed = open_data(name, tmp_path / f"{name}.zip", split)
            assert equal(open_data(name, root, split), packed)
    with pytest.raises(DataError, match=r"holds no test split of isbi \(it holds: train, val\)"):
        open_data("isbi", tmp_path / "isbi.zip", "test")


def test_training_on_a_pack_ends_with_the_weights_of_training_on_the_folder(tmp_path, capsys):
    root = make_folder(tmp_path / "data")
    pack(capsys, "folder", root, tmp_path / "data.zip")
    for name in ("data", "data.zip"):
        code, _, err = call(capsys, *train_words(tmp_path / name, tmp_path / f"run-{name}"))
        assert code == 0, err
    files = [
        tmp_path / f"run-{name}" / "checkpoints" / "step-000006" / "weights.safetensors"
        for name in ("data", "data.zip")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_pack_can_be_sent_to_another_process(camvid, tmp_path, capsys):
    pack(capsys, "camvid", camvid, tmp_path / "camvid.zip")
    data = open_data("camvid", tmp_path / "camvid.zip", "val")
    data[0]  # opens the file, which cannot be sent
    assert equal(pickle.loads(pickle.dumps(data)), data)


def test_a_pack_that_would_be_too_large_is_not_written(camvid, tmp_path):
    splits = {"train": open_data("camvid", camvid, "train")}
    with pytest.raises(UsageError, match=r"larger than 0\.001 MB, and was not written: pack small"):
        write_pack(splits, tmp_path / "camvid.zip", limit=1000)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found_and_named(camvid, tmp_path, capsys):
    out = tmp_path / "camvid.zip"
    pack(capsys, "camvid", camvid, out)
    assert call(capsys, "data", "check", out) == (
        0,
        f"{out}: no fault found, a pack of camvid with 3 train, 2 val, 2 test images\n",
        "",
    )
    content = bytearray(out.read_bytes())
    with zipfile.ZipFile(out) as file:
        at = file.getinfo("val/0_L.webp").header_offset
    content[at + 200] ^= 255
    out.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as a pack \(Bad CRC-32"):
        open_data("camvid", out, "val")[0]
    code, _, err = call(capsys, "data", "check", out)
    assert (code, "Bad CRC-32" in err) == (1, True)


def test_what_is_no_pack_or_another_pack_is_refused(camvid, tmp_path, capsys):
    out = tmp_path / "camvid.zip"
    pack(capsys, "camvid", camvid, out)
    words = ["train", "--data", "isbi", "--root", out, "--out", tmp_path / "run"]
    code, _, err = call(capsys, *words)
    assert (code, "holds camvid and not isbi: open it as camvid" in err) == (1, True)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("x", "y")
    assert is_pack(other)
    code, _, err = call(capsys, "data", "check", other)
    assert (code, "cannot be read as a pack" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--height", 9], 2, "give both, in pixels, or neither"),
        (["--out", "."], 2, "--out . is a folder: give the file to write"),
        (["--root", "nowhere"], 1, "nowhere does not exist"),
    ],
)
def test_bad_input_to_pack_is_told(words, code, told, camvid, tmp_path, capsys):
    found, _, err = pack(capsys, "camvid", camvid, tmp_path / "x.zip", *words)
    assert (found, told in err) == (code, True), err
    assert list(tmp_path.iterdir()) == []


def test_masks_that_are_not_the_published_ones_are_noted(camvid, tmp_path, capsys):
    told = pack(capsys, "camvid", camvid, tmp_path / "camvid.zip")[1]
    assert "holds 3 masks, the published train split has 367" in told
