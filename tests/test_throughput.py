"""The throughput benchmark: its peers get the same work, its ratios are what they say, and what
fails ends as an entry."""

import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import tv_tensors

from segcourse.data import Scenes
from segcourse.data.augment import MEAN, Augmentation
from segcourse.data.resident import ResidentSet, evaluation_batches
from segcourse.labels import IGNORE

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SIZE = (32, 40)


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark, or a module beside it, by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def pipeline(script):
    return script("peers.torchvision_pipeline")


@pytest.fixture
def networks(script):
    return script("peers.smp_networks")


@pytest.fixture
def folder(tmp_path, pipeline):
    resident = ResidentSet.load(Scenes(4, SIZE))
    assert pipeline.write_folder(resident, tmp_path) == sum(
        path.stat().st_size for path in tmp_path.iterdir()
    )
    return resident, tmp_path


# ---- (a) torchvision's pipeline


@pytest.mark.parametrize("augmented", [True, False])
def test_pipeline_that_changes_nothing_gives_our_batches(augmented, folder, pipeline):
    resident, files = folder
    transform = pipeline.views(Augmentation(), SIZE) if augmented else pipeline.plain()
    data = pipeline.PngFolder(files, 4, transform)
    ((images, labels),) = evaluation_batches(resident, 4)
    found = next(iter(pipeline.loader(data, 4, 0, False, False)))
    assert torch.equal(found[1], labels)
    assert found[1].dtype == torch.int64
    torch.testing.assert_close(found[0], images, atol=2e-6, rtol=0)


def test_pipeline_fills_what_it_makes_smaller_with_the_mean_and_void(folder, pipeline):
    _, files = folder
    data = pipeline.PngFolder(files, 4, pipeline.views(Augmentation(scale=(0.5, 0.5)), SIZE))
    image, labels = data[0]
    assert image.shape == (3, *SIZE)
    assert labels.shape == SIZE
    filled = image.abs().amax(0) < 0.02  # the mean, rounded to whole grey levels
    assert filled.sum() >= SIZE[0] * SIZE[1] * 3 // 4
    assert (labels == IGNORE)[filled].float().mean() > 0.99


def test_pipeline_mirrors_image_and_labels_together(folder, pipeline):
    resident, files = folder
    transform = pipeline.views(Augmentation(flip=1.0), SIZE)
    image, labels = pipeline.PngFolder(files, 4, transform)[1]
    ((images, truth),) = evaluation_batches(resident, 4)
    torch.testing.assert_close(image, images[1].flip(2), atol=2e-6, rtol=0)
    assert torch.equal(labels, truth[1].flip(1))


def test_halving_is_as_likely_as_doubling(pipeline):
    rescale = pipeline.Rescale(0.5, 2.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sides = [rescale.make_params([torch.empty(3, 1000, 1000)])["size"][0] for _ in range(2000)]
    assert 500 <= min(sides) <= max(sides) <= 2000
    # A third of the logarithm's range on either side of 1: 4 deviations are 0.042.
    assert sum(s < 1000 for s in sides) / 2000 == pytest.approx(0.5, abs=0.045)
    assert sum(s < 1000 / 2 ** (1 / 3) for s in sides) / 2000 == pytest.approx(1 / 3, abs=0.042)


def test_images_are_resized_without_smoothing_as_ours_are(pipeline, monkeypatch):
    """Smoothing costs the workers time that our own views do not spend."""
    rescale = pipeline.Rescale(0.5, 0.5)
    stripes = torch.tensor([0.0, 0.0, 255.0, 255.0]).repeat(8)[None, None].expand(3, 32, 32)
    size = rescale.make_params([stripes])["size"]
    found = rescale.transform(tv_tensors.Image(stripes.to(torch.uint8)), {"size": size})
    expected = F.interpolate(stripes[None], size=size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found.as_subclass(torch.Tensor).float(), expected, atol=1, rtol=0)
    smoothed = F.interpolate(
        stripes[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    assert (smoothed - expected).abs().max() > 20


def test_workers_are_as_many_as_the_process_has_cores(script, monkeypatch):
    throughput = script("throughput")
    monkeypatch.setattr(throughput.os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert throughput.usable_cores() == 3
    monkeypatch.delattr(throughput.os, "sched_getaffinity")
    monkeypatch.setattr(throughput.os, "cpu_count", lambda: 16)
    assert throughput.usable_cores() == 16


def test_mean_is_what_fills(pipeline):
    crop = pipeline.views(Augmentation(), SIZE).transforms[1]
    fill = {kind.__name__: value for kind, value in crop.fill.items()}
    assert fill == {"Image": [255 * mean for mean in MEAN], "Mask": IGNORE}


# ---- (b) segmentation_models.pytorch


class Stub(nn.Module):
    """A network of `width` channels; with `even`, only for multiples of 32, as smp's are."""

    def __init__(self, width: int, even: bool):
        super().__init__()
        self.even = even
        self.net = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 2, 1))

    def forward(self, image):
        if self.even and any(side % 32 for side in image.shape[2:]):
            raise RuntimeError("Wrong input shape")
        return self.net(image)


@pytest.fixture
def stub(networks, monkeypatch):
    """A library in smp's place, whose networks have 5 multiply-adds a pixel and channel."""
    widths = {"resnet18": 10, "resnet34": 20, "resnet50": 40}

    def unet(encoder, depth, encoder_weights, decoder_channels, classes):
        assert encoder_weights is None
        return Stub(widths.get(encoder, 1000) * depth, even=True)

    def deeplab(encoder, encoder_weights, decoder_channels, classes):
        return Stub(widths.get(encoder, 1000) + decoder_channels, even=False)

    library = SimpleNamespace(Unet=unet, DeepLabV3=deeplab)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", library)


def test_nearest_network_is_the_one_nearest_in_multiply_adds(networks, stub):
    size = (64, 32)
    pixels = size[0] * size[1]
    name, build = networks.nearest("unet", 2, size, 5 * 85 * pixels)
    assert name == 'smp.Unet("resnet34", 4, decoder_channels=(128, 64, 32, 16))'
    assert build().net[0].out_channels == 80
    name, build = networks.nearest("deeplab-v3", 2, size, 5 * 150 * pixels)
    assert name == 'smp.DeepLabV3("resnet34", decoder_channels=128)'
    assert build().net[0].out_channels == 148


def test_network_that_needs_multiples_of_32_is_padded_and_cropped(networks, stub):
    name, build = networks.nearest("unet", 2, (40, 50), 1000)
    assert name.endswith(", padded to multiples of 32")
    net, image = build(), torch.randn(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    expected = net.net(F.pad(image, (0, 14, 0, 24)))[..., :40, :50]
    assert torch.equal(net(image), expected)


def test_absent_library_and_absent_family_are_told(networks, stub, monkeypatch):
    with pytest.raises(LookupError, match="has no network of the family aspp-s-light"):
        networks.nearest("aspp-s-light", 2, (32, 32), 1000)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(LookupError, match="pip install segmentation-models-pytorch"):
        networks.nearest("unet", 2, (32, 32), 1000)


def test_real_library_has_a_network_of_as_many_multiply_adds_as_deeplab(script, networks):
    pytest.importorskip("segmentation_models_pytorch")
    counted = script("throughput").costs(
        script("throughput").build("deeplab-v3-resnet50", 11, 0), (64, 64)
    )
    name, build = networks.nearest("deeplab-v3", 11, (64, 64), counted["multiply_adds_forward"])
    assert name == 'smp.DeepLabV3("resnet50", decoder_channels=256)'
    assert script("throughput").costs(build(), (64, 64)) == counted


# ---- the measurement


def way(throughput, epochs, passes, **found):
    empty = {"first_call_seconds": 1.0, "compile_seconds": None, "peak_bytes": None}
    given = {"training": empty | found, "inference": empty}
    return throughput.Way(None, None, None, None, given, epochs, passes)


def test_ratios_are_of_seconds_an_image_turn_by_turn(script):
    throughput = script("throughput")
    ways = {
        "ours": way(throughput, [(1.0, 5, 40), (2.0, 5, 40)], [(1.0, 40), (1.0, 40)]),
        "torchvision_pipeline": way(throughput, [(3.0, 5, 30), (12.0, 5, 30)], [(2.0, 40)] * 2),
        "smp": way(throughput, [(4.0, 5, 40), (4.0, 5, 40)], [(1.0, 40), (1.0, 40)]),
    }
    counted, peer = {"multiply_adds_forward": 10}, {"multiply_adds_forward": 20}
    found = throughput.ratios(ways, counted, peer)
    assert set(found) == {"torchvision_pipeline_over_ours", "smp_over_ours"}
    fed = found["torchvision_pipeline_over_ours"]
    assert fed["training"] == pytest.approx({"median": 6, "lowest": 4, "highest": 8})
    assert fed["inference"]["median"] == 2
    smp = found["smp_over_ours"]
    assert smp["training"]["median"] == 3
    assert smp["training_per_multiply_add"] == 1.5


def test_operations_are_two_a_multiply_add_and_training_goes_back_too(script):
    throughput = script("throughput")
    one = way(throughput, [(2.0, 5, 40), (4.0, 5, 40), (4.0, 5, 40)], [(1.0, 40)] * 3)
    counted = {"multiply_adds_forward": 100, "multiply_adds_backward": 190}
    training, inference = throughput.summary(one, counted)
    assert training["images_per_second"] == {"median": 10, "lowest": 10, "highest": 20}
    assert training["operations_per_second"] == 2 * 290 * 10
    assert training["step_seconds"]["median"] == pytest.approx(0.8)
    assert inference["operations_per_second"] == 2 * 100 * 40
    assert training["turns"] == 3


@pytest.fixture
def measure(script, monkeypatch, tmp_path):
    """Run the benchmark at toy size, without smp; returns its record."""
    throughput = script("throughput")
    monkeypatch.setattr(throughput, "others_busy", lambda: 0.0)
    monkeypatch.setattr(throughput, "matrix_rate", lambda *_: 1e9)
    monkeypatch.setattr(throughput, "copy_bandwidth", lambda *_: 1e9)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back after the test

    def run(*words, code=0):
        given = ["--device", "cpu", "--height", 32, "--width", 32, "--images", 6, "--batch", 4]
        given += ["--repeats", 1, "--workers", 0, "--out", tmp_path / "t.json", *words]
        monkeypatch.setattr(sys, "argv", ["throughput.py", *map(str, given)])
        assert throughput.main() == code
        return json.loads((tmp_path / "t.json").read_text("utf-8"))

    return run


def test_benchmark_measures_both_feeds_and_says_that_smp_is_absent(measure, capsys):
    found = measure("--models", "aspp-s-light")
    (network,) = found["metrics"]["networks"]
    assert "pip install segmentation-models-pytorch" in network["peer"]["missing"]
    assert set(network["training"]) == {"ours", "torchvision_pipeline"}
    ours, fed = network["training"]["ours"], network["training"]["torchvision_pipeline"]
    assert (ours["steps_per_epoch"], ours["images_per_epoch"]) == (2, 8)
    assert (fed["steps_per_epoch"], fed["images_per_epoch"]) == (2, 6)
    ratio = network["ratios"]["torchvision_pipeline_over_ours"]["training"]["median"]
    expected = (fed["epoch_seconds"]["median"] / 6) / (ours["epoch_seconds"]["median"] / 8)
    assert ratio == pytest.approx(expected, rel=1e-4)
    assert found["metrics"]["resident_bytes"] == 6 * 4 * 32 * 32
    assert found["config"]["precision"] == "fp32"
    assert found["command"].startswith("python benchmarks/throughput.py --device cpu")
    out = capsys.readouterr().out
    assert "torchvision pipeline over ours: training" in out
    assert "pip install segmentation-models-pytorch" in out


def test_way_without_memory_ends_as_an_entry_and_the_others_go_on(script, measure, monkeypatch):
    throughput = script("throughput")
    prepare = throughput.Bench.prepare

    def short(self, model, feed, compiled):
        if feed is self.feeds["torchvision_pipeline"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore.")
        return prepare(self, model, feed, compiled)

    monkeypatch.setattr(throughput.Bench, "prepare", short)
    (network,) = measure("--models", "aspp-s-light")["metrics"]["networks"]
    told = "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB."
    for kind in ("training", "inference"):
        assert network[kind]["torchvision_pipeline"] == {"error": told}
        assert network[kind]["ours"]["images_per_second"]["median"] > 0
    assert network["ratios"] == {}


def test_loss_that_is_no_number_is_an_entry(script, measure, monkeypatch):
    throughput = script("throughput")
    monkeypatch.setattr(throughput, "training_step", lambda *_: torch.tensor(math.nan))
    (network,) = measure("--models", "aspp-s-light")["metrics"]["networks"]
    assert network["training"]["ours"] == {"error": "RuntimeError: the loss is nan"}


def test_network_that_breaks_is_an_entry_and_the_record_was_written_before(
    script, measure, monkeypatch, tmp_path, capsys
):
    throughput = script("throughput")
    network = throughput.network

    def broken(bench, name, until):
        if name == "unet-light":
            before = json.loads((tmp_path / "t.json").read_text("utf-8"))["metrics"]["networks"]
            assert before[1] == {"model": "unet-light", "error": "not reached"}
            raise ValueError("a size that it refuses")
        return network(bench, name, until)

    monkeypatch.setattr(throughput, "network", broken)
    found = measure("--models", "aspp-s-light", "unet-light", code=1)["metrics"]["networks"]
    assert found[0]["training"]["ours"]["turns"] == 1
    assert found[1] == {"model": "unet-light", "error": "ValueError: a size that it refuses"}
    assert "a size that it refuses" in capsys.readouterr().err


def test_feed_that_breaks_is_told_and_ours_goes_on(script, measure, monkeypatch, capsys):
    throughput = script("throughput")

    def broken(self, found):
        raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly")

    monkeypatch.setattr(throughput.Bench, "_sent", broken)
    metrics = measure("--models", "aspp-s-light")["metrics"]
    told = {"error": "RuntimeError: DataLoader worker (pid 7) exited unexpectedly"}
    assert metrics["feeds_alone_images_per_second"]["torchvision_pipeline"] == told
    assert metrics["feeds_alone_images_per_second"]["ours"]["median"] > 0
    (network,) = metrics["networks"]
    assert network["training"]["torchvision_pipeline"] == told
    assert network["training"]["ours"]["turns"] == 1
    assert "torchvision_pipeline RuntimeError" in capsys.readouterr().out


def test_networks_for_which_no_minute_is_left_are_told(measure):
    networks = measure("--models", "aspp-s-light", "unet-light", "--minutes", 1e-4, "--compile")
    first, second = networks["metrics"]["networks"]
    told = {"error": "the minutes were over before it was compiled"}
    assert {"error": "the minutes were over"}.items() <= first.items() or (
        first["training"]["ours_compiled"] == told
    )
    assert second == {"model": "unet-light", "error": "the minutes were over"}


def test_last_batch_of_one_image_is_refused(script, capsys, monkeypatch):
    words = ["throughput.py", "--device", "cpu", "--images", "9", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        script("throughput").main()
    assert "give batches of 2 or more" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("default")
def test_benchmark_on_a_gpu_measures_memory_of_each_way(measure):
    words = ["--device", "cuda", "--height", 64, "--width", 64, "--no-compile", "--workers", 2]
    (network,) = measure("--models", "unet-light", *words)["metrics"]["networks"]
    ways = network["training"]
    weights = 4 * network["parameters"]
    for kind in ("ours", "torchvision_pipeline"):
        assert ways[kind]["peak_bytes"] > 4 * weights  # gradients, and two moments of AdamW
        assert network["inference"][kind]["peak_bytes"] < ways[kind]["peak_bytes"]
