"""`segcourse predict --tile`: the labels of the whole image, in pieces."""

import numpy as np
import pytest
import torch
from cli_tools import call, make_folder, train_words
from PIL import Image
from torch import nn

from segcourse.cli import main, tiling
from segcourse.cli.predict import predict
from segcourse.errors import UsageError
from segcourse.overlap_tile import Geometry, measure
from segcourse.unet import UNet


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    root = make_folder(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(train_words(root, out)) == 0
    return out


@pytest.fixture
def image(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "plate.png")
    return tmp_path / "plate.png"


def labels_of(folder):
    with Image.open(folder / "labels" / "plate.png") as found:
        return np.asarray(found).copy()


def test_tiles_give_the_labels_of_the_whole_image(run_dir, image, tmp_path, capsys):
    whole, tiled = tmp_path / "whole", tmp_path / "tiled"
    words = ("predict", image, "--run", run_dir, "--out")
    assert call(capsys, *words, whole, "--full-size")[0] == 0
    code, _, err = call(capsys, *words, tiled, "--tile", "24")
    assert code == 0
    assert "tiles of 24 px" in err
    assert "differ" not in err
    assert (labels_of(whole) == labels_of(tiled)).all()
    assert (tiled / "overlays" / "plate.png").exists()


def test_a_margin_that_is_too_small_is_allowed_and_said(run_dir, image, tmp_path, capsys):
    words = ("predict", image, "--run", run_dir, "--out", tmp_path / "o", "--tile", "24")
    code, _, err = call(capsys, *words, "--margin", "0")
    assert code == 0
    assert "labels near the tiles' borders differ" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--margin", "4"), "give --tile too"),
        (("--tile", "0"), "--tile 0"),
        (("--tile", "24", "--full-size"), "not allowed with"),
    ],
)
def test_what_does_not_go_together_is_told(run_dir, image, tmp_path, capsys, words, said):
    code, _, err = call(capsys, "predict", image, "--run", run_dir, "--out", tmp_path / "o", *words)
    assert code == 2
    assert said in err


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(3, 4, depth=3, width=4).eval()


def test_a_tile_that_is_not_divisible_names_the_sizes_that_are(net):
    with pytest.raises(UsageError, match=r"--tile 100 .* use 96 or 104"):
        tiling.plan(net, 100, None)
    with pytest.raises(UsageError, match=r"--margin 3 .* use 8"):
        tiling.plan(net, 96, 3)


def test_the_margin_follows_from_how_far_the_network_looks(net, capsys):
    planned = tiling.plan(net, 96, None)
    assert (planned.step, planned.margin) == (8, 56)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 130, 100), dtype=torch.uint8, generator=generator)
    by_tile = tiling.by_tile(net, image, planned, torch.device("cpu"))
    whole = predict(net, image, None, torch.device("cpu"))
    assert (by_tile.long() == whole).double().mean() > 0.999  # float32: ties may fall either way


class SeesEverything(nn.Module):
    def forward(self, x):
        return x + x.mean((2, 3), keepdim=True)


def test_a_model_that_sees_the_whole_image_is_refused_without_a_margin(monkeypatch):
    monkeypatch.setattr(tiling, "measure", measure_small)
    with pytest.raises(UsageError, match=r"choose one yourself with --margin, .* --full-size"):
        tiling.plan(SeesEverything(), 96, None)


def test_with_a_margin_such_a_model_labels_each_tile_as_an_image_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(tiling, "measure", measure_small)
    net = SeesEverything()
    planned = tiling.plan(net, 30, 5)
    assert planned == tiling.Tiling(30, 5, 1)
    assert "labels differ from the whole image's" in capsys.readouterr().err
    image = torch.zeros(3, 30, 60, dtype=torch.uint8)
    image[0, :, 40:], image[1] = 255, 120
    labels = tiling.by_tile(net, image, planned, torch.device("cpu"))
    seen = (slice(0, 35), slice(25, 60))  # of the two tiles: the first 35 columns, the last 35
    for columns, core, kept in zip(seen, ((0, 30), (30, 60)), ((0, 30), (5, 35)), strict=True):
        alone = predict(net, image[:, :, columns], None, torch.device("cpu"))
        assert (labels[:, slice(*core)] == alone[:, slice(*kept)]).all()


def test_a_tile_and_a_margin_out_of_range_are_told(monkeypatch):
    monkeypatch.setattr(tiling, "measure", measure_small)
    with pytest.raises(UsageError, match=r"--tile 0 .* use 1"):
        tiling.plan(SeesEverything(), 0, 8)
    with pytest.raises(UsageError, match="--margin -8 is negative"):
        tiling.plan(SeesEverything(), 96, -8)


def test_a_given_margin_bounds_what_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(
        tiling, "measure", lambda model, largest=2048: tried.append(largest) or Geometry(8, 40)
    )
    for tile, margin in ((96, 40), (2048, 64), (96, None)):
        tiling.plan(nn.Identity(), tile, margin)
    assert tried == [1024, 2048 + 2 * 64, 2048]


def measure_small(model, largest=64):
    return measure(model, side=64, largest=64)


def test_the_overview_of_a_large_image_is_small():
    image, labels = np.zeros((5000, 300, 3), np.uint8), np.zeros((5000, 300), np.uint8)
    small, its_labels = tiling.overview(image, labels)
    assert small.shape[:2] == its_labels.shape == (1667, 100)
    assert tiling.overview(image[:100], labels[:100])[0].shape == (100, 300, 3)
