"""Every path of a GPU run keeps its tensors on one device, computes what a CPU computes, and does
not make the GPU wait where it should not: shown on a pretended GPU (`pretended_gpu`)."""

import importlib
import json
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from cli_tools import call, make_folder, train_words
from pretended_gpu import GPU, OnGPU, pretended_gpu
from safetensors.torch import load_file
from suite_kills import LENGTHS
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from segcourse import crf, data, gaussian_filters, training
from segcourse.averaging import RunningAverage
from segcourse.cli import bench_profile, suite, suite_budget, suite_crf
from segcourse.cli.models import MODELS, build
from segcourse.cli.stepping import training_step
from segcourse.cli.suite_runs import Entry, equal_seconds
from segcourse.config import Config
from segcourse.data import Cells, Scenes
from segcourse.data.augment import Augmentation
from segcourse.data.batches import LoaderBatches, PatchBatches, ResidentBatches
from segcourse.data.copy_paste import PastedBatches
from segcourse.data.deformed import DeformedBatches
from segcourse.data.resident import ResidentSet
from segcourse.dense_crf import DenseCRF
from segcourse.elastic import deform, displacement_vectors
from segcourse.gibbs import gibbs
from segcourse.grid_crf import contrast_grid
from segcourse.losses import cross_entropy, dice
from segcourse.mean_field import mean_field
from segcourse.views import AveragedViews

LIGHT = [name for name in MODELS if "light" in name or name in ("full-resolution", "unet-narrow")]


@pytest.fixture
def gpu(monkeypatch):
    with pretended_gpu(monkeypatch) as found:
        yield found


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data")


def same_on_both(compute, *tensors, **tolerance):
    """`compute` gives the same of tensors on the CPU and on the GPU; there everything stays."""
    expected, found = compute(*tensors), compute(*(x.to("cuda") for x in tensors))
    for a, b in zip(expected, found, strict=True):
        assert b.device == GPU
        torch.testing.assert_close(b.cpu(), a, **(tolerance or {"rtol": 0, "atol": 0}))


# ---- the pretended GPU itself


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda x, i: x + torch.ones(4), "Expected all tensors to be on the same device"),
        (lambda x, i: torch.ones(4).add_(x.sum()), "Expected all tensors to be on the same device"),
        (lambda x, i: torch.ones(4)[x.long()], "Expected all tensors to be on the same device"),
        (lambda x, i: x.gather(0, i), "Expected all tensors to be on the same device"),
        (lambda x, i: x.index_select(0, i), "Expected all tensors to be on the same device"),
        (lambda x, i: torch.cat([x, torch.ones(4)]), "Expected all tensors to be on the same"),
        (lambda x, i: F.cross_entropy(x[None], i[:1]), "Expected all tensors to be on the same"),
        (lambda x, i: F.linear(x, torch.ones(2, 4)), "Expected all tensors to be on the same"),
        (lambda x, i: x.bernoulli_(0.5, generator=torch.Generator()), "generator but found 'cpu'"),
        (lambda x, i: x.long()[None] @ x.long()[:, None], "not implemented for integers"),
        (lambda x, i: x.pin_memory(), "only dense CPU tensors can be pinned"),
        (lambda x, i: x.numpy(), r"Use Tensor.cpu\(\) first"),
        (lambda x, i: x.to("cpu", non_blocking=True), "before it has arrived"),
    ],
)
def test_a_planted_mistake_is_found(gpu, mistake, told):
    x, index = torch.ones(4).cuda(), torch.zeros(4, dtype=torch.int64)
    with pytest.raises((RuntimeError, TypeError, AssertionError), match=told):
        mistake(x, index)


def test_what_cuda_permits_is_permitted(gpu):
    x, number = torch.arange(4.0).cuda(), torch.tensor(2.0)
    assert (x * number).tolist() == [0, 2, 4, 6]
    assert x[torch.tensor([3, 1])].tolist() == [3, 1]
    x[torch.tensor([0])] = number
    x[x > 2.5] = number
    assert x.where(x > 1, number).tolist() == [2, 2, 2, 2]
    assert torch.zeros(2, device="cuda").add_(x[:2]).cpu().device.type == "cpu"
    with torch.inference_mode():
        assert torch.zeros(4).copy_(x).device.type == "cpu"


def test_waits_and_launches_are_counted_where_they_are_asked_for(gpu):
    x = torch.ones(4).cuda()
    gpu.start()
    y = x.view(2, 2).relu() + 1
    assert (dict(gpu.launches), dict(gpu.waits)) == ({"relu": 1, "add": 1}, {})
    y.to(x.device), y.T, y[0], y.detach()
    assert sum(gpu.launches.values()) == 2
    y.sum().item(), y.cpu(), (y > 0).nonzero(), y[y > 0], x.new_tensor([1.0])
    kinds = sorted(what for what, _ in gpu.waits)
    assert kinds == ["_local_scalar_dense", "from the CPU", "mask", "nonzero", "to the CPU"]
    assert all(place.startswith("tests/test_devices.py") for _, place in gpu.waits)
    gpu.start()
    x.copy_(torch.ones(4).pin_memory(), non_blocking=True)
    torch.ones(4).pin_memory().to("cuda", non_blocking=True)
    assert not gpu.waits


def test_backward_optimizer_and_autocast_are_cudas(gpu):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 1))
    parameters = list(model.parameters())
    model.cuda()
    assert all(
        a is b and isinstance(a, OnGPU) for a, b in zip(model.parameters(), parameters, strict=True)
    )
    images, labels = torch.rand(2, 3, 8, 8).cuda(), torch.zeros(2, 6, 6, dtype=torch.int64).cuda()
    gpu.start()
    training_step(model, torch.optim.AdamW(parameters), images, labels, bf16=True)
    assert gpu.launches["native_dropout"] == 1
    assert gpu.launches["_foreach_lerp_"] == 1  # all tensors of the optimizer at once
    assert not gpu.waits
    seen = {name for name, dtypes in gpu.seen if torch.bfloat16 in dtypes}
    assert {"aten.convolution.default", "aten.convolution_backward.default"} <= seen
    with torch.autocast("cuda", torch.bfloat16):
        assert model(images).dtype == torch.bfloat16
        assert model(images).softmax(1).dtype == torch.float32


def test_dropout_is_a_function_of_seed_and_step_there(gpu):
    """It draws from the GPU's generator, which a run seeds at every step and gives back."""
    resident = ResidentSet.load(Scenes(4, (32, 32)), "cuda")
    batches = ResidentBatches(resident, 2, Augmentation(), seed=0)
    weights = []
    for used in (1, 2):  # whatever the generator was used for before
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Dropout(), nn.Conv2d(8, 8, 1))
        state = gpu.generator.manual_seed(used).get_state()
        run = Config(steps=3, batch=2, device="cuda")
        training.fit(run, model, batches, None, loss=cross_entropy)
        assert torch.equal(torch.cuda.get_rng_state(), state)
        weights.append(model[2].weight.cpu())
    assert torch.equal(*weights)
    assert gpu.launches["native_dropout"] == 6


# ---- networks and batches


@pytest.mark.parametrize("name", LIGHT)
def test_a_network_trains_there_in_bf16_and_labels_as_on_a_cpu(gpu, name):
    model, image = build(name, 5, seed=0).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(image)
        model.to("cuda", memory_format=torch.channels_last)
        found = model(image.cuda().to(memory_format=torch.channels_last))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)
    optimizer = torch.optim.AdamW(model.parameters())
    labels = torch.randint(0, 5, (2, 64, 64)).cuda()
    gpu.start()
    loss = training_step(model.train(), optimizer, image.cuda(), labels, bf16=True)
    assert {what for what, _ in gpu.waits} == {"from the CPU"}  # the images above
    assert loss.isfinite()


def streams(resident, augmentation):
    plain = ResidentBatches(resident, 4, augmentation, seed=0)
    vectors = partial(displacement_vectors, sigma=2.0)
    bent = DeformedBatches(plain, lambda n, g: vectors(n, generator=g), deform, seed=0)
    rare = torch.arange(len(resident.classes)) > 2
    return plain, PastedBatches(bent, rare, 1.0, seed=0), PatchBatches(resident, 6, 9, seed=0)


def test_batches_are_made_there_without_waiting_and_are_the_cpus(gpu):
    augmentation = Augmentation((24, 32), (0.5, 2.0), 0.5, 0.3, 0.3, 0.3)
    resident = ResidentSet.load(Scenes(6, (32, 40)))
    moved = ResidentSet(resident.images.cuda(), resident.labels.cuda(), resident.classes)
    both = zip(streams(resident, augmentation), streams(moved, augmentation), strict=True)
    for ours, theirs in both:
        theirs.batch(0)  # sends the constants
        gpu.start()
        images, labels = theirs.batch(1)
        assert not gpu.waits
        expected, truth = ours.batch(1)
        assert images.device == labels.device == GPU
        torch.testing.assert_close(images.cpu(), expected, rtol=0, atol=0)
        assert torch.equal(labels.cpu(), truth)


def test_pinned_batches_of_workers_are_sent_without_waiting(gpu):
    def pinning(loader):
        for images, labels in loader:
            yield images.pin_memory(), labels.pin_memory()

    batches = LoaderBatches(Scenes(4, (32, 32)), 2, Augmentation(flip=0.5), seed=0)
    batches.stream = lambda start, rank, world: pinning(LoaderBatches.stream(batches, start))
    model = nn.Conv2d(3, 8, 1)
    seen = []

    def loss(logits, labels):
        seen.append(sum(gpu.waits.values()))
        return cross_entropy(logits, labels)

    training.fit(Config(steps=6, batch=2, device="cuda"), model, batches, None, loss=loss)
    assert seen[1:] == [seen[1]] * 5


def test_a_step_of_training_waits_for_nothing(gpu, monkeypatch):
    """But for the losses, read once in LOG_EVERY steps."""
    monkeypatch.setattr(training, "LOG_EVERY", 4)
    resident = ResidentSet.load(Scenes(6, (32, 32)), "cuda")
    _, batches, _ = streams(resident, Augmentation((32, 32), (0.5, 2.0), 0.5, 0.3, 0.3, 0.3))
    weights = torch.ones(len(resident.classes)).cuda()
    counted = []

    def loss(logits, labels):
        return cross_entropy(logits, labels, weights) + dice(logits, labels)

    def stop():
        counted.append((sum(gpu.waits.values()), sum(gpu.launches.values())))
        return False

    run = Config(
        steps=16, batch=4, ema=0.9, clip=1.0, precision="bf16", channels_last=True, device="cuda"
    )
    model = build("full-resolution", len(resident.classes), seed=0)
    training.fit(run, model, batches, None, loss=loss, stop=stop)
    waits, launches = ([b - a for a, b in pairwise(x)] for x in zip(*counted, strict=True))
    assert waits == [1, 1, 1]
    assert max(launches) < 4 * 400


def test_the_running_average_waits_for_nothing(gpu):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).cuda()
    average = RunningAverage(model, 0.9)
    gpu.start()
    average.update(model)
    average.update(model)
    assert not gpu.waits
    assert (
        sum(gpu.launches.values()) == 3
    )  # all of them copied, then floats averaged, counts copied


# ---- the CRF and what belongs to it


def test_the_dense_crf_and_its_gradients_are_those_of_a_cpu(gpu):
    logits, images = torch.randn(2, 3, 12, 14), (255 * torch.rand(2, 3, 12, 14)).byte()

    def refined(logits, images):
        crf = DenseCRF(3, sxy=5, iterations=2).to(logits.device)
        with torch.no_grad():
            fused = crf(logits, images)
        logits = logits.detach().requires_grad_()
        out = crf(logits, images)
        out[:, 0].sum().backward()
        crf.compatibility.data = crf.compatibility + 0.1
        with torch.inference_mode():
            learned = crf(logits.detach(), images)
        return fused, out.detach(), logits.grad, crf.weights.grad, learned

    same_on_both(refined, logits, images, rtol=1e-5, atol=1e-5)


def test_sampling_grids_and_mean_field_are_those_of_a_cpu(gpu):
    logits, image = torch.randn(1, 3, 5, 6), (255 * torch.rand(1, 3, 5, 6)).byte()

    def computed(logits, image):
        unary, mu = crf.unary(logits), crf.potts(3)
        features = gaussian_filters.appearance(image, 3.0, 20.0)
        matrix = crf.pair_matrix([features], [2.0])
        labels = list(gibbs(unary, matrix, mu, 2, torch.Generator().manual_seed(0)))[-1]
        exact, energies = mean_field(unary, gaussian_filters.from_matrix(matrix), mu, 3)
        chunked, _ = mean_field(unary, gaussian_filters.brute_force(features, chunk=7), mu, 3)
        near, _ = mean_field(unary, contrast_grid(image, 20.0, 8), mu, 3)
        return labels, exact, energies, chunked, near

    same_on_both(computed, logits, image, rtol=1e-5, atol=1e-5)


# ---- commands


def test_a_run_that_was_stopped_there_and_resumed_ends_with_the_cpus_weights(
    gpu, folder, tmp_path, capsys
):
    more = ("--ema", 0.9, "--copy-paste", 0.5, "--elastic", 1, "--class-weights", "median")
    more += ("--jitter", 0.2, "--scale", 0.8, 1.2, "--crop", 16, 16, "--clip", 1, "--workers", 0)
    weights = {}
    for device in ("cpu", "cuda"):
        words = train_words(folder, tmp_path / device, *more)
        words[words.index("cpu", words.index("--device"))] = device
        if device == "cuda":
            batch = PastedBatches.batch
            with pytest.MonkeyPatch.context() as patch:

                def killed(self, pair, step, rank, world, inner=PastedBatches._pasted):
                    if step == 4:
                        raise KeyboardInterrupt
                    return inner(self, pair, step, rank, world)

                patch.setattr(PastedBatches, "_pasted", killed)
                call(capsys, *words)
            words.append("--resume")
            assert batch is PastedBatches.batch
        code, _, err = call(capsys, *words)
        assert code == 0, err
        last = tmp_path / device / "checkpoints" / "step-000006"
        weights[device] = [load_file(last / name) for name in ("weights.safetensors",) * 1]
        weights[device].append(load_file(last / "ema.safetensors"))
    for a, b in zip(weights["cpu"], weights["cuda"], strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)

    on_gpu = ("--device", "cuda")
    started = train_words(folder, tmp_path / "next", "--start", tmp_path / "cuda")
    assert call(capsys, *[w if w != "cpu" else "cuda" for w in started])[0] == 0
    assert call(capsys, "eval", tmp_path / "cuda", "--crf", "--iterations", 1, *on_gpu)[0] == 0
    search = ("crf-search", tmp_path / "cuda", "--images", 1, "--trials", 2)
    assert call(capsys, *search, "--iterations", 1, *on_gpu)[0] == 0
    image = folder / "val" / "images" / "0.png"
    rough = ("crf", image, "--labels", folder / "val" / "masks" / "0.png")
    assert call(capsys, *rough, "--out", tmp_path / "refined", *on_gpu)[0] == 0
    for flags in (("--tile", 16), ("--crf", "--iterations", 2), ("--size", 24, 24)):
        made = []
        for device in ("cpu", "cuda"):
            out = tmp_path / "labelled" / device
            words = ["predict", image, "--run", tmp_path / "cuda", "--out", out, *flags]
            code, _, err = call(capsys, *words, "--device", device)
            assert code == 0, err
            made.append((out / "labels" / "0.png").read_bytes())
        assert made[0] == made[1]


def test_cells_with_border_weights_train_there(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "LENGTHS", {"train": 4, "val": 2, "test": 2})
    words = ["train", "--data", "cells", "--height", 48, "--width", 48, "--border-weight", 5]
    words += ["--steps", 2, "--batch", 2, "--out", tmp_path / "run", "--device", "cuda"]
    code, _, err = call(capsys, *words)
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["hardware"]["gpu"] == "Pretended GPU"
    assert record["peak_memory_mib"] == 2
    assert isinstance(Cells(1)[0][0], torch.Tensor)


def test_views_in_bf16_are_averaged_there(gpu):
    model = nn.Conv2d(3, 4, 3, padding=1).cuda()
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        logs = AveragedViews(model, (0.75, 1.0))(torch.rand(1, 3, 48, 48).cuda())
    assert (logs.device, logs.dtype) == (GPU, torch.float32)
    torch.testing.assert_close(logs.exp().sum(1).cpu(), torch.ones(1, 48, 48))


def test_the_suite_runs_there_with_crf_views_and_equal_seconds(gpu, tmp_path, capsys, monkeypatch):
    flags = "--data scenes --height 32 --width 32 --crop 32 32 --batch 2 --model full-resolution "
    flags += "--steps 4 --eval-every 2 --precision bf16 --channels-last --ema 0.9"
    first = Entry("first", flags, crf=True, views=(1.0,))
    monkeypatch.setattr(data, "LENGTHS", LENGTHS)
    monkeypatch.setattr(suite, "TOYS", (first, *equal_seconds([first], 1.0)))
    monkeypatch.setattr(suite_crf, "SETTINGS", 1)
    monkeypatch.setattr(suite_crf, "IMAGES", 1)
    monkeypatch.setattr(suite_budget, "images_per_second", lambda record: 6.0)
    words = ["bench", "suite", "--toy", "--out", tmp_path / "s", "--minutes", 60, "--seeds", 0]
    code, told, err = call(capsys, *words, "--device", "cuda")
    assert code == 0, told + err
    made = json.loads((tmp_path / "s" / "first-s0.json").read_text())
    assert made["metrics"]["crf"]["test"]["miou"] is not None
    assert (tmp_path / "s" / "first-seconds-s0.json").exists()
    assert (tmp_path / "s" / made["maps"]["file"]).exists()


def test_the_benchmarks_run_there(gpu, tmp_path, capsys, monkeypatch):
    def on_cpu(activities, **options):  # the profiler would ask a driver
        return profile(activities=[a for a in activities if a is ProfilerActivity.CPU], **options)

    monkeypatch.setattr(bench_profile, "profile", on_cpu)
    monkeypatch.setattr("segcourse.cli.bench_crf.copy_bandwidth", lambda *_: 1e9)
    monkeypatch.setattr(data, "LENGTHS", LENGTHS)
    size = ("--height", 32, "--width", 32, "--device", "cuda")
    recipe = "--data scenes --height 32 --width 32 --crop 32 32 --model full-resolution --batch 4 "
    recipe += "--steps 4 --warmup 1"
    race = ("--target", 0, "--checks", 1, "--limit", 1e6, "--json", tmp_path / "speedrun.json")
    for words in (
        ("crf", *size, "--labels", 3, "--iterations", 2, "--repeats", 1),
        ("profile", *size, "--batch", 2, "--steps", 1, "--precision", "bf16", "--channels-last"),
        ("speedrun", f"--recipe={recipe}", *race, "--device", "cuda"),
    ):
        code, told, err = call(capsys, "bench", *words)
        assert code == 0, told + err


@pytest.mark.filterwarnings("default")  # of what torch imports to reset its compiler
def test_the_throughput_benchmark_runs_there(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "benchmarks"))
    throughput = importlib.import_module("throughput")
    made = throughput.loader

    def pinning(*words):  # the loader's own thread would ask a driver
        for images, labels in made(*words[:-1], False):
            yield images.pin_memory(), labels.pin_memory()

    class Loader:
        def __init__(self, *words):
            self.words = words

        def __iter__(self):
            return pinning(*self.words)

    monkeypatch.setattr(throughput, "loader", Loader)
    for name, value in (("others_busy", 0.0), ("matrix_rate", 1e9), ("copy_bandwidth", 1e9)):
        monkeypatch.setattr(throughput, name, lambda *_, value=value: value)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    words = ["--device", "cuda", "--height", 32, "--width", 32, "--images", 6, "--batch", 4]
    words += ["--repeats", 1, "--workers", 0, "--out", tmp_path / "t.json", "--no-compile"]
    words += ["--models", "full-resolution"]
    monkeypatch.setattr(sys, "argv", ["throughput.py", *map(str, words)])
    assert throughput.main() == 0
    capsys.readouterr()
    (network,) = json.loads((tmp_path / "t.json").read_text())["metrics"]["networks"]
    for kind in ("ours", "torchvision_pipeline"):
        assert network["training"][kind]["peak_bytes"] == 2**21 - 2**20
