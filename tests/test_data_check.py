"""A data set is read through, and every fault comes back at once with its file and its cure."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcourse.data import GENERATED, Folder, check, convert_masks, published
from segcourse.data.faults import share_between
from segcourse.data.files import identity_table
from segcourse.errors import DataError
from segcourse.labels import IGNORE, SCENES, Classes, indices_to_colors

SIDE = 24


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def blocks(side: int = SIDE) -> np.ndarray:
    """Four classes in squares, as masks are: wide regions."""
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[: side // 2, side // 2 :] = 4
    mask[side // 2 :, : side // 2] = 2
    mask[side // 2 :, side // 2 :] = 7
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound folder data set with the classes of the scenes."""
    for n, split in enumerate(("train", "val")):
        for i in range(3):
            save(tmp_path / split / "images" / f"{i}.png", picture(10 * n + i))
            save(tmp_path / split / "masks" / f"{i}.png", blocks())
    lines = [
        f"{name} #{r:02x}{g:02x}{b:02x}"
        for name, (r, g, b) in zip(SCENES.names, SCENES.palette, strict=True)
    ]
    (tmp_path / "classes.txt").write_text("\n".join(lines))
    return tmp_path


def test_a_sound_data_set_has_no_faults(root):
    assert check(root, "folder") == []


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_has_no_faults(name, tmp_path):
    assert check(tmp_path, name) == []


# One kind of damage each: what is done, on which file the fault is, its kind, words of its text.


def missing_mask(root: Path) -> None:
    (root / "train/masks/1.png").unlink()


def mask_without_image(root: Path) -> None:
    (root / "train/images/1.png").unlink()


def other_size(root: Path) -> None:
    save(root / "train/masks/1.png", blocks(20))


def out_of_range(root: Path) -> None:
    mask = blocks()
    mask[0, :3], mask[1, :2] = 8, 30
    save(root / "train/masks/1.png", mask)


def truncated_image(root: Path) -> None:
    path = root / "train/images/1.png"
    path.write_bytes(path.read_bytes()[:200])


def truncated_mask(root: Path) -> None:
    path = root / "train/masks/1.png"
    path.write_bytes(path.read_bytes()[:50])


def empty_mask_file(root: Path) -> None:
    (root / "train/masks/1.png").write_bytes(b"")


def sixteen_bit_image(root: Path) -> None:
    save(root / "train/images/1.png", np.full((SIDE, SIDE), 4000, dtype=np.uint16))


def colour_mask(root: Path) -> None:
    save(root / "train/masks/1.png", indices_to_colors(blocks(), SCENES))


def palette_in_another_order(root: Path) -> None:
    mask = Image.fromarray(blocks()).convert("P")
    mask.putdata(blocks().ravel().tolist())
    mask.putpalette([c for color in reversed(SCENES.palette) for c in color])
    mask.save(root / "train/masks/1.png")


def jpeg_mask(root: Path) -> None:
    (root / "train/masks/1.png").unlink()
    Image.fromarray(np.zeros((SIDE, SIDE), dtype=np.uint8)).save(root / "train/masks/1.jpg")


def interpolated_mask(root: Path) -> None:
    small = Image.fromarray(blocks(16))
    small.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(root / "train/masks/1.png")


def empty_split(root: Path) -> None:
    for path in (root / "val").rglob("*.png"):
        path.unlink()


def leak(root: Path) -> None:
    # The same pixels in another format and under another name.
    Image.open(root / "train/images/1.png").save(root / "val/images/2.png", compress_level=1)


def two_formats(root: Path) -> None:
    save(root / "train/images/1.bmp", picture(99))


def nested(root: Path) -> None:
    save(root / "train/images/more/4.png", picture(98))


def bad_classes(root: Path) -> None:
    (root / "classes.txt").write_text("ground #12\n")


DAMAGE: list[tuple[Callable[[Path], None], str, str, str]] = [
    (missing_mask, "train/images/1.png", "missing mask", "need .*1.png, or remove the image"),
    (mask_without_image, "train/masks/1.png", "mask without image", "no image of the stem 1"),
    (other_size, "train/masks/1.png", "size mismatch", "is 20x20 but its image .* is 24x24"),
    (out_of_range, "train/masks/1.png", "label out of range", "8 at 3 pixels, 30 at 2 pixels"),
    (truncated_image, "train/images/1.png", "unreadable image", "cut short, so fetch it again"),
    (truncated_mask, "train/masks/1.png", "unreadable mask", "cut short, so fetch it again"),
    (empty_mask_file, "train/masks/1.png", "unreadable mask", "cannot be read as an image"),
    (sixteen_bit_image, "train/images/1.png", "unreadable image", "need 8 bits a channel"),
    (colour_mask, "train/masks/1.png", "colour mask", "data convert .*masks --out DIR.*colors_to_"),
    (palette_in_another_order, "train/masks/1.png", "palette mask", "index 0 is painted #d55e00"),
    (jpeg_mask, "train/masks/1.jpg", "lossy mask", "saved as PNG"),
    (interpolated_mask, "train/masks/1.png", "interpolated mask", "Resize .* nearest neighbour"),
    (empty_split, "val/images", "empty split", "no images for the val split"),
    (leak, "val/images/2.png", "leak between splits", "same picture as .*1.png of train"),
    (two_formats, "train/images/1.bmp", "same stem twice", "1.png: keep one of the two"),
    (nested, "train/images/more", "folder in a folder", "1 image files in it are not read"),
    (bad_classes, "classes.txt", "bad classes.txt", "line 1: .*no colour"),
]


@pytest.mark.parametrize(
    ("damage", "path", "kind", "text"), DAMAGE, ids=[d[0].__name__ for d in DAMAGE]
)
def test_each_kind_of_damage_is_one_fault_with_its_file_and_cure(damage, path, kind, text, root):
    damage(root)
    faults = check(root, "folder")
    assert [(Path(f.path), f.kind) for f in faults] == [(root / path, kind)]
    assert re.search(text, faults[0].message), faults[0].message


def test_a_palette_is_compared_only_with_colours_that_someone_gave(root):
    palette_in_another_order(root)
    names = "\n".join(SCENES.names)
    (root / "classes.txt").write_text(names)
    assert check(root, "folder") == []
    (root / "classes.txt").write_text(names.replace("triangle", "triangle #123456"))
    assert check(root, "folder") == []  # no pixel of it
    (root / "classes.txt").write_text(names.replace("square", "square #123456"))
    assert [f.kind for f in check(root, "folder")] == ["palette mask"]


def test_all_faults_come_at_once(root):
    for damage in (missing_mask, leak, bad_classes, two_formats):
        damage(root)
    save(root / "val/masks/0.png", blocks(16))
    (root / "val/masks/1.png").write_text("no picture")
    kinds = {f.kind for f in check(root, "folder")}
    assert kinds == {
        "missing mask",
        "leak between splits",
        "bad classes.txt",
        "same stem twice",
        "size mismatch",
        "unreadable mask",
    }


def test_a_root_that_is_no_folder_and_one_without_layout_are_faults(tmp_path):
    assert [f.kind for f in check(tmp_path / "nowhere", "folder")] == ["no folder"]
    assert [f.kind for f in check(tmp_path, "folder")] == ["no layout"]


def test_a_classes_file_that_cannot_be_read_is_one_fault_among_all(root, monkeypatch):
    missing_mask(root)
    path = root / "classes.txt"
    path.write_bytes("fu\u00dfweg #101010\n".encode("latin-1"))
    faults = check(root, "folder")
    assert [f.kind for f in faults] == ["bad classes.txt", "missing mask"]
    assert faults[0].path == str(path)
    assert faults[0].message.startswith(f"{path} is not UTF-8 text (")
    with pytest.raises(DataError, match=r"classes\.txt is not UTF-8 text"):
        Folder(root, "val")

    def refuse(self, encoding):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    faults = check(root, "folder")
    assert [f.kind for f in faults] == ["bad classes.txt", "missing mask"]
    assert faults[0].message == f"{path} cannot be read: Permission denied"


def test_a_missing_val_split_is_a_fault_whose_cure_helps(root):
    shutil.rmtree(root / "val")
    (fault,) = check(root, "folder")
    assert (fault.path, fault.kind) == (str(root), "no val split")
    assert "needs one: make val/images and val/masks" in fault.message
    for kind in ("images", "masks"):
        (root / "train" / kind).rename(root / kind)
    (fault,) = check(root, "folder")
    assert "move images and masks into train/, then make val/images and val/masks" in fault.message
    with pytest.raises(DataError, match="has no val split"):
        Folder(root, "val")

    for kind in ("images", "masks"):  # the cure, word by word
        (root / kind).rename(root / "train" / kind)
        (root / "val" / kind).mkdir(parents=True)
        (root / "train" / kind / "0.png").rename(root / "val" / kind / "0.png")
    assert check(root, "folder") == []
    assert len(Folder(root, "val")) == 1


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match='no data set "kitti"'):
        check(tmp_path, "kitti")


def test_binary_masks_of_0_and_255_are_called_out(root):
    (root / "classes.txt").unlink()
    for path in root.rglob("masks/*.png"):
        save(path, np.where(blocks() > 3, 255, 0).astype(np.uint8))
    (fault,) = check(root, "folder")
    assert fault.kind == "binary masks"
    assert "foreground #ffffff" in fault.message


def test_labels_with_wide_gaps_are_called_out(root):
    (root / "classes.txt").unlink()
    for path in root.rglob("masks/*.png"):
        save(path, np.where(blocks() > 3, 128, 0).astype(np.uint8))
    (fault,) = check(root, "folder")
    assert fault.kind == "sparse labels"
    assert "values 0, 128, which would be 129 classes" in fault.message


def test_void_borders_do_not_look_interpolated():
    # Class 0, a void pixel, class 7: as VOC draws its borders.
    mask = np.zeros((12, 12), dtype=np.uint8)
    mask[:, 6], mask[:, 7:] = IGNORE, 7
    assert share_between(mask, identity_table(8)) == 0
    thin = np.zeros((12, 12), dtype=np.uint8)
    thin[:, 6], thin[:, 7:] = 3, 7
    assert share_between(thin, identity_table(8)) > 0.3


def test_the_generated_scenes_do_not_look_interpolated():
    from segcourse.data import scene

    shares = [share_between(scene(0, i).labels.numpy(), identity_table(8)) for i in range(10)]
    assert max(shares) < 0.1


# CamVid, ISBI and torchvision's sets go through the same checks.


def make_camvid(root: Path) -> None:
    for n, split in enumerate(("train", "val", "test")):
        for i in range(2):
            save(root / split / f"{split}{i}.png", picture(10 * n + i))
            save(root / f"{split}annot" / f"{split}{i}.png", blocks())


@pytest.fixture
def small_camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CamVid's layout with six small frames that pass for the published ones."""
    make_camvid(tmp_path)
    digests = {s: published.digest_masks(tmp_path / f"{s}annot") for s in ("train", "val", "test")}
    monkeypatch.setattr(published, "CAMVID_DIGESTS", digests)
    monkeypatch.setattr(published, "CAMVID_FRAMES", dict.fromkeys(digests, 2))
    return tmp_path


def test_camvid_is_sound_when_its_masks_are_the_published_ones(small_camvid):
    assert check(small_camvid, "camvid") == []


def test_one_changed_pixel_is_not_the_published_camvid(small_camvid):
    mask = blocks()
    mask[0, 0] = 1
    save(small_camvid / "valannot" / "val1.png", mask)
    (fault,) = check(small_camvid, "camvid")
    assert fault.kind == "not the published masks"
    assert fault.path.endswith("valannot")
    assert "results will not compare" in fault.message


def test_the_digest_is_of_the_labels_and_not_of_the_files(small_camvid):
    path = small_camvid / "valannot" / "val1.png"
    Image.open(path).save(path.with_suffix(".bmp"))
    path.unlink()
    assert check(small_camvid, "camvid") == []
    path.with_suffix(".bmp").rename(path.with_name("other.bmp"))
    assert published.verify_camvid(small_camvid)[0].kind == "not the published masks"


def test_another_number_of_frames_is_not_the_published_camvid(tmp_path):
    make_camvid(tmp_path)
    faults = check(tmp_path, "camvid")
    assert {f.kind for f in faults} == {"not the published masks"}
    for fault, split, count in zip(faults, ("train", "val", "test"), (367, 101, 233), strict=True):
        assert f"holds 2 masks, the published {split} split has {count}" in fault.message


def test_camvid_knows_its_own_void_and_range(small_camvid):
    mask = blocks()
    mask[0, 0], mask[5, 5] = 11, 12
    save(small_camvid / "trainannot" / "train0.png", mask)
    kinds = {f.kind: f.message for f in check(small_camvid, "camvid")}
    assert set(kinds) == {"label out of range", "not the published masks"}
    assert "holds 12 at 1 pixel, which" in kinds["label out of range"]


def test_isbi_masks_hold_0_and_255_only(tmp_path):
    for i in range(30):
        save(tmp_path / "image" / f"{i}.png", picture(i)[:, :, 0])
        save(tmp_path / "label" / f"{i}.png", np.where(blocks() > 3, 255, 0).astype(np.uint8))
    assert check(tmp_path, "isbi") == []
    save(tmp_path / "label" / "7.png", blocks())
    (tmp_path / "label" / "29.png").unlink()
    faults = check(tmp_path, "isbi")
    assert [(Path(f.path).name, f.kind) for f in faults] == [
        ("7.png", "label out of range"),
        ("29.png", "missing mask"),
    ]


def test_torchvisions_sets_are_checked_pair_by_pair(tmp_path):
    base = tmp_path / "oxford-iiit-pet"
    for split in ("trainval", "test"):
        stems = [f"{split}_{i}" for i in range(6)]
        for n, stem in enumerate(stems):
            save(base / "images" / f"{stem}.jpg", picture(n + 50 * (split == "test")))
            trimap = np.clip(blocks(), 1, 3)
            save(base / "annotations" / "trimaps" / f"{stem}.png", trimap)
        (base / "annotations" / f"{split}.txt").write_text("\n".join(f"{s} 1 1 1" for s in stems))
    assert check(tmp_path, "pets") == []
    (base / "images" / "trainval_3.jpg").unlink()
    save(base / "annotations" / "trimaps" / "test_2.png", blocks())
    faults = check(tmp_path, "pets")
    assert {(Path(f.path).name, f.kind) for f in faults} == {
        ("trainval_3.jpg", "unreadable image"),
        ("test_2.png", "label out of range"),
    }
    assert [f.kind for f in check(tmp_path / "empty", "voc")] == ["split not found"] * 2


# Conversion.


def test_colour_masks_convert_to_what_the_check_accepts(root, tmp_path):
    mask = blocks()
    mask[0, 0] = IGNORE
    with_void = Classes(SCENES.names, SCENES.palette, void=(9, 9, 9))
    with (root / "classes.txt").open("a") as file:
        file.write("\nvoid #090909")
    for path in root.rglob("masks/*.png"):
        save(path, indices_to_colors(mask, with_void))
    assert {f.kind for f in check(root, "folder")} == {"colour mask"}

    written = convert_masks(root, tmp_path / "converted")
    assert len(written) == 6
    for split in ("train", "val"):
        shutil.rmtree(root / split / "masks")
        shutil.move(tmp_path / "converted" / split / "masks", root / split / "masks")
    assert check(root, "folder") == []
    assert np.array_equal(Folder(root, "val")[0][1], mask)


def test_palette_and_grey_masks_convert(tmp_path):
    mask = blocks()
    painted = Image.fromarray(mask).convert("P")
    painted.putdata((7 - mask).ravel().tolist())
    painted.putpalette([c for color in reversed(SCENES.palette) for c in color])
    (tmp_path / "in").mkdir()
    painted.save(tmp_path / "in" / "palette.png")
    save(tmp_path / "in" / "grey.png", np.repeat(mask[:, :, None], 3, axis=2))
    convert_masks(tmp_path / "in", tmp_path / "out", SCENES)
    for name in ("palette.png", "grey.png"):
        assert np.array_equal(np.array(Image.open(tmp_path / "out" / name)), mask)


def test_conversion_names_the_masks_it_cannot_read_and_writes_the_others(root, tmp_path):
    for path in root.rglob("masks/*.png"):
        save(path, indices_to_colors(blocks(), SCENES))
    save(root / "train/masks/1.png", np.full((4, 4, 3), (1, 2, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"1 of 6 masks.*\n.*1\.png: the mask holds #010203 at 16"):
        convert_masks(root, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 5


def test_conversion_without_a_palette_lists_the_colours(tmp_path):
    save(tmp_path / "a" / "b" / "c" / "m.png", np.full((4, 4, 3), (255, 0, 128), dtype=np.uint8))
    with pytest.raises(DataError, match=r"classes\.txt.*1 colours:\n  name-me #ff0080    \(16 pix"):
        convert_masks(tmp_path / "a" / "b" / "c", tmp_path / "out")


def test_conversion_keeps_the_originals(root, tmp_path):
    with pytest.raises(DataError, match="to keep the originals"):
        convert_masks(root, root)
    with pytest.raises(DataError, match="is no folder"):
        convert_masks(root / "nowhere", tmp_path / "out")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="holds no masks"):
        convert_masks(root / "empty", tmp_path / "out")
