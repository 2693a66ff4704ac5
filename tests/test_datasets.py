"""Every data set, in its own layout, gives the same kind of item; bad files are named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.data import (
    DATASETS,
    GENERATED,
    CamVid,
    Folder,
    IsbiEM,
    Scenes,
    SegmentationData,
    open_data,
)
from segcourse.data.torchvision_sets import CITYSCAPES_IDS
from segcourse.errors import DataError
from segcourse.labels import CAMVID, CITYSCAPES, IGNORE, ISBI, PETS, VOC, check_labels

rng = np.random.default_rng(0)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))


def picture(height: int = 6, width: int = 8) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def values(choices: list[int], height: int = 6, width: int = 8) -> np.ndarray:
    """A mask in which every choice occurs."""
    mask = np.resize(np.array(choices, dtype=np.uint8), height * width)
    return rng.permutation(mask).reshape(height, width)


def make_camvid(root: Path, suffix: str = ".png") -> None:
    for split, count in [("train", 3), ("val", 2), ("test", 1)]:
        for i in range(count):
            save(root / split / f"{split}_{i}{suffix}", picture())
            save(root / f"{split}annot" / f"{split}_{i}.png", values([*range(12)]))


def make_isbi(root: Path, count: int = 30) -> None:
    for i in range(count):
        save(root / "image" / f"{i}.png", np.full((4, 4), i, dtype=np.uint8))
        save(root / "label" / f"{i}.png", values([0, 255], 4, 4))


def make_folder(root: Path, splits: tuple[str, ...] = ("train", "val")) -> None:
    for split in splits:
        for i in range(2):
            save(root / split / "images" / f"{i}.png", picture())
            save(root / split / "masks" / f"{i}.png", values([0, 1, 2, 255]))


def make_voc(root: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for split in ("train", "val"):
        save(base / "JPEGImages" / f"{split}1.jpg", picture())
        mask = Image.fromarray(values([0, 15, 20, 255])).convert("P")
        mask.putdata(values([0, 15, 20, 255]).ravel().tolist())
        mask.putpalette([c for color in VOC.palette for c in color])
        (base / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(base / "SegmentationClass" / f"{split}1.png")
        listing = base / "ImageSets" / "Segmentation" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text(f"{split}1\n")


def make_pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    for split, count in [("trainval", 10), ("test", 2)]:
        lines = []
        for i in range(count):
            stem = f"Birman_{split}_{i}"
            save(base / "images" / f"{stem}.jpg", picture())
            save(base / "annotations" / "trimaps" / f"{stem}.png", values([1, 2, 3]))
            lines.append(f"{stem} 1 1 1\n")
        (base / "annotations" / f"{split}.txt").write_text("".join(lines))


def make_cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        for city in ("ulm", "aachen"):
            name = f"{city}_000000_000019"
            save(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture())
            ids = values([*range(34), 255], 7, 8)
            save(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", ids[:6])


def make_sbd(root: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    for split in ("train", "val"):
        save(root / "img" / f"{split}1.jpg", picture())
        (root / "cls").mkdir(exist_ok=True)
        kind = np.dtype([("Segmentation", object)])
        content = np.empty((1, 1), dtype=kind)
        content[0, 0]["Segmentation"] = values([0, 3, 20])
        scipy_io.savemat(root / "cls" / f"{split}1.mat", {"GTcls": content})
        (root / f"{split}.txt").write_text(f"{split}1\n")


MAKERS = {
    "camvid": make_camvid,
    "isbi": make_isbi,
    "voc": make_voc,
    "sbd": make_sbd,
    "pets": make_pets,
    "cityscapes": make_cityscapes,
    "folder": make_folder,
}


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_gives_uint8_images_and_int64_labels(name, tmp_path):
    if name not in GENERATED:
        MAKERS[name](tmp_path)
    for split in ("train", "val"):
        data = open_data(name, tmp_path, split)
        assert isinstance(data, SegmentationData)
        assert (data.name, data.split) == (name, split)
        assert len(data) > 0
        image, labels = data[len(data) - 1]
        assert image.dtype == torch.uint8
        assert image.shape == (3, *labels.shape)
        assert image.is_contiguous()
        assert labels.dtype == torch.int64
        check_labels(labels, len(data.classes))
        with pytest.raises(IndexError):
            data[len(data)]
        stems = [data.stem(i) for i in range(len(data))]
        assert len(set(stems)) == len(stems)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_resizes_images_smoothly_and_labels_by_nearest(name, tmp_path):
    if name not in GENERATED:
        MAKERS[name](tmp_path)
    size = (40, 33)
    data = open_data(name, tmp_path, "train", size)
    image, labels = data[0]
    assert image.shape == (3, *size)
    assert labels.shape == size
    assert (image.dtype, labels.dtype) == (torch.uint8, torch.int64)
    if name not in GENERATED:
        original = open_data(name, tmp_path, "train")[0][1]
        assert set(labels.unique().tolist()) <= set(original.unique().tolist())


def test_resized_labels_stay_over_their_pixels(tmp_path):
    # Left half 0 and dark, right half 1 and bright: the borders must fall together.
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:, 4:] = 1
    save(tmp_path / "images" / "a.png", np.repeat(mask[:, :, None] * 200, 3, axis=2))
    save(tmp_path / "masks" / "a.png", mask)
    for size in [(4, 4), (16, 16), (5, 12)]:
        image, labels = open_data("folder", tmp_path, "train", size)[0]
        bright = image[0] > 100
        certain = (image[0] < 60) | (image[0] > 140)
        assert torch.equal(bright[certain], labels[certain] == 1)
        assert certain.float().mean() > 0.6


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_camvid_reads_any_image_format_and_its_void_is_eleven(suffix, tmp_path):
    make_camvid(tmp_path, suffix)
    data = CamVid(tmp_path, "train")
    assert [len(CamVid(tmp_path, s)) for s in ("train", "val", "test")] == [3, 2, 1]
    assert data.classes is CAMVID
    image, labels = data[1]
    raw = np.array(Image.open(tmp_path / "trainannot" / "train_1.png")).astype(np.int64)
    assert torch.equal(labels, torch.from_numpy(np.where(raw == 11, IGNORE, raw)))
    assert np.array_equal(image.permute(1, 2, 0), Image.open(data.pairs[1][0]))
    assert data.stem(1) == "train_1"


def test_isbi_keeps_white_as_cell_and_splits_by_blocks_of_slices(tmp_path):
    make_isbi(tmp_path)
    train, val = IsbiEM(tmp_path, "train"), IsbiEM(tmp_path, "val")
    assert [train.stem(i) for i in range(24)] == [str(i) for i in range(24)]
    assert [val.stem(i) for i in range(6)] == [str(i) for i in range(24, 30)]
    image, labels = val[0]
    raw = np.array(Image.open(tmp_path / "label" / "24.png"))
    assert torch.equal(labels, torch.from_numpy((raw == 255).astype(np.int64)))
    assert ISBI.names == ("membrane", "cell")
    assert image.unique().tolist() == [24]
    with pytest.raises(DataError, match=r"no test split \(it has: train, val\)"):
        IsbiEM(tmp_path, "test")


def test_voc_reads_palette_indices(tmp_path):
    make_voc(tmp_path)
    labels = open_data("voc", tmp_path, "val")[0][1]
    assert set(labels.unique().tolist()) == {0, 15, 20, IGNORE}


def test_pets_trimap_becomes_pet_background_and_void(tmp_path):
    make_pets(tmp_path)
    train, val, test = (open_data("pets", tmp_path, s) for s in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (8, 2, 2)
    stems = {d.stem(i) for d in (train, val, test) for i in range(len(d))}
    assert len(stems) == 12
    raw = np.array(Image.open(val.pairs[0][1])).astype(np.int64)
    expected = np.select([raw == 1, raw == 2], [1, 0], IGNORE)
    assert torch.equal(val[0][1], torch.from_numpy(expected))
    assert val.classes is PETS


def test_pets_equal_torchvisions_own_reading(tmp_path):
    from torchvision.datasets import OxfordIIITPet

    make_pets(tmp_path)
    ours = open_data("pets", tmp_path, "test")
    theirs = OxfordIIITPet(tmp_path, split="test", target_types="segmentation")
    assert len(ours) == len(theirs)
    for (image, labels), (picture_, trimap) in zip(ours, theirs, strict=True):
        assert np.array_equal(image.permute(1, 2, 0), picture_)
        assert np.array_equal(labels == 1, np.array(trimap) == 1)


def test_cityscapes_ids_become_train_ids_in_sorted_order(tmp_path):
    from torchvision.datasets import Cityscapes

    make_cityscapes(tmp_path)
    data = open_data("cityscapes", tmp_path, "train")
    assert [data.stem(i)[:4] for i in range(2)] == ["aach", "ulm_"]
    official = {c.id: c.train_id for c in Cityscapes.classes if c.id >= 0}
    raw = np.array(Image.open(data.pairs[0][1])).ravel().tolist()
    labels = data[0][1].flatten().tolist()
    for value, label in zip(raw, labels, strict=True):
        train_id = official.get(value, 255)
        assert label == (train_id if 0 <= train_id < 19 else IGNORE)
    names = {c.train_id: (c.name, c.color) for c in Cityscapes.classes if 0 <= c.train_id < 19}
    assert [names[k] for k in range(19)] == list(
        zip(CITYSCAPES.names, CITYSCAPES.palette, strict=True)
    )
    assert len(CITYSCAPES_IDS) == 19


def test_sbd_reads_matlab_masks(tmp_path):
    make_sbd(tmp_path)
    labels = open_data("sbd", tmp_path, "train")[0][1]
    assert set(labels.unique().tolist()) == {0, 3, 20}


def test_a_folder_counts_its_classes_over_all_splits(tmp_path):
    make_folder(tmp_path)
    save(tmp_path / "val" / "masks" / "1.png", values([0, 4]))
    assert len(Folder(tmp_path, "train").classes) == 5


def test_a_folder_without_splits_is_train(tmp_path):
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", values([0, 1]))
    assert len(Folder(tmp_path, "train")) == 1
    with pytest.raises(DataError, match=r"no val split \(it has: train\)"):
        Folder(tmp_path, "val")


def test_a_folder_takes_names_and_colours_from_classes_txt(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.txt").write_text(
        "road #804080\n\n// a note\nblue sky\nvoid #010203\ncar\n"
    )
    classes = Folder(tmp_path, "train").classes
    assert classes.names == ("road", "blue sky", "car")
    assert classes.palette[0] == (128, 64, 128)
    assert classes.void == (1, 2, 3)


def test_grey_images_get_three_equal_channels(tmp_path):
    grey = rng.integers(0, 256, (5, 4), dtype=np.uint8)
    save(tmp_path / "images" / "a.png", grey)
    save(tmp_path / "masks" / "a.png", values([0, 1], 5, 4))
    image, _ = Folder(tmp_path, "train")[0]
    assert torch.equal(image, torch.from_numpy(grey).expand(3, 5, 4))


def test_black_and_white_masks_are_zero_and_one(tmp_path):
    bits = rng.integers(0, 2, (5, 4)).astype(bool)
    save(tmp_path / "images" / "a.png", picture(5, 4))
    save(tmp_path / "masks" / "a.png", bits)
    assert torch.equal(Folder(tmp_path, "train")[0][1], torch.from_numpy(bits.astype(np.int64)))


# Bad input: what is done to a good CamVid or folder, and what the reader says about it.


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def test_a_truncated_image_is_named(tmp_path):
    make_camvid(tmp_path)
    truncate(tmp_path / "train" / "train_0.png")
    with pytest.raises(DataError, match=r"train_0\.png cannot be read as an image .*cut short"):
        CamVid(tmp_path, "train")[0]


def test_a_file_that_is_no_image_is_named(tmp_path):
    make_camvid(tmp_path)
    (tmp_path / "trainannot" / "train_0.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"trainannot.train_0\.png cannot be read"):
        CamVid(tmp_path, "train")[0]


def test_a_file_removed_after_opening_is_named(tmp_path):
    make_camvid(tmp_path)
    data = CamVid(tmp_path, "train")
    (tmp_path / "train" / "train_2.png").unlink()
    with pytest.raises(DataError, match=r"train_2\.png does not exist"):
        data[2]


def test_sizes_that_differ_are_given_with_both_files(tmp_path):
    make_camvid(tmp_path)
    save(tmp_path / "trainannot" / "train_0.png", values([0, 1], 7, 8))
    with pytest.raises(DataError, match=r"train_0\.png is 7x8 but its image .* is 6x8"):
        CamVid(tmp_path, "train")[0]


def test_a_label_out_of_range_is_given_with_its_pixels(tmp_path):
    make_camvid(tmp_path)
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[0, :5] = 12
    save(tmp_path / "trainannot" / "train_0.png", mask)
    with pytest.raises(DataError, match=r"holds 12 at 5 pixels.*11 classes.*void is 11 or 255"):
        CamVid(tmp_path, "train")[0]


def test_a_sixteen_bit_mask_is_read_and_its_range_checked(tmp_path):
    make_camvid(tmp_path)
    mask = np.full((6, 8), 3, dtype=np.uint16)
    save(tmp_path / "trainannot" / "train_0.png", mask)
    assert CamVid(tmp_path, "train")[0][1].unique().tolist() == [3]
    mask[0, 0] = 3000
    save(tmp_path / "trainannot" / "train_0.png", mask)
    with pytest.raises(DataError, match="3000 at 1 pixel"):
        CamVid(tmp_path, "train")[0]


def test_a_sixteen_bit_image_is_refused_instead_of_clipped(tmp_path):
    make_camvid(tmp_path)
    save(tmp_path / "train" / "train_0.png", np.full((6, 8), 3000, dtype=np.uint16))
    with pytest.raises(DataError, match="need 8 bits a channel"):
        CamVid(tmp_path, "train")[0]


def test_a_colour_mask_is_refused_with_the_conversion(tmp_path):
    make_camvid(tmp_path)
    save(tmp_path / "trainannot" / "train_0.png", picture())
    with pytest.raises(DataError, match=r"RGB image.*segcourse data convert"):
        CamVid(tmp_path, "train")[0]


def test_files_without_partner_are_counted_and_the_check_is_named(tmp_path):
    make_camvid(tmp_path)
    (tmp_path / "trainannot" / "train_1.png").unlink()
    save(tmp_path / "trainannot" / "zzz.png", values([0]))
    with pytest.raises(DataError, match=r"2 files .* first train_1.*--data camvid"):
        CamVid(tmp_path, "train")


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_folder_without_the_data_is_refused(name, tmp_path):
    with pytest.raises(
        DataError, match=r"holds no images|holds no data|does not hold|no train split"
    ):
        open_data(name, tmp_path, "train")
    with pytest.raises(DataError):
        open_data(name, tmp_path / "nowhere", "train")


@pytest.mark.parametrize("name", ["voc", "sbd", "cityscapes"])
def test_a_test_split_without_public_labels_is_refused(name, tmp_path):
    with pytest.raises(DataError, match="no test split with labels"):
        open_data(name, tmp_path, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("road #80408", r"line 1: \"#80408\" is no colour"),
        ("road\nroad", "line 2: the class road stands there twice"),
        ("\n#804080", "line 2: the name is missing"),
        ("\n\n", "names no class"),
    ],
)
def test_a_bad_classes_txt_is_given_with_its_line(text, message, tmp_path):
    make_folder(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        Folder(tmp_path, "train")


def test_a_folder_of_void_alone_has_no_classes(tmp_path):
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", values([255]))
    with pytest.raises(DataError, match=r"largest label .* is -1"):
        Folder(tmp_path, "train")


def test_a_folder_of_binary_masks_is_refused_instead_of_read_as_one_class(tmp_path):
    save(tmp_path / "images" / "a.png", picture())
    save(tmp_path / "masks" / "a.png", values([0, 255]))
    with pytest.raises(DataError, match="hold only 0 and 255, which is void"):
        Folder(tmp_path, "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("camvit", ".", "train"), 'no data set "camvit": choose one of scenes, cells, camvid'),
        (("scenes", None, "all"), 'no split "all": choose one of train, val, test'),
        (("camvid", None, "train"), "give the folder that holds it"),
        (("scenes", None, "train", (16, 16)), "at least 32"),
    ],
)
def test_open_data_refuses_arguments_it_does_not_know(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_data(*arguments)


def test_a_size_without_pixels_is_refused(tmp_path):
    make_camvid(tmp_path)
    with pytest.raises(ValueError, match=r"size is \(0, 8\)"):
        open_data("camvid", tmp_path, "train", (0, 8))


def test_scenes_are_opened_with_a_fixed_length_and_the_asked_size():
    assert [len(open_data("scenes", None, s)) for s in ("train", "val", "test")] == [1000, 200, 200]
    data = open_data("scenes", None, "val", (48, 64))
    assert data[0][0].shape == (3, 48, 64)
    assert torch.equal(data[3][1], Scenes(10, (48, 64), split="val")[3][1])
