"""Two processes equal one: gradients, a whole run, evaluation; and torchrun's environment."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from segcourse import distributed
from segcourse.errors import UsageError

# Two forked processes with the environment that torchrun gives them; the parent is the one
# process that they are compared with.
DRIVER = """
import copy, os, sys, traceback
from functools import partial
import torch
from torch import nn
from segcourse import checkpoints, distributed, training
from segcourse.config import Config
from segcourse.losses import cross_entropy, dice

torch.set_num_threads(1)
folder = sys.argv[1]
draw = torch.Generator().manual_seed(0)
images = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=draw)
labels = torch.randint(0, 3, (4, 8, 8), generator=draw)
labels[0], labels[1, :5] = 255, 255          # the first process has far fewer labelled pixels
weights = torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64)
model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 3, 1)).double()
LOSSES = {
    "ce": cross_entropy,
    "weighted": partial(cross_entropy, weights=weights),
    "dice": dice,
}

class Batches:
    images_per_batch, steps_per_epoch = 4, 1
    def stream(self, start=0, rank=0, world=1):
        step = start
        while True:
            n = 4 // world
            shifted = images.roll(step, 3), labels.roll(step, 2)
            yield tuple(x[rank * n : (rank + 1) * n] for x in shifted)
            step += 1

def gradients():
    rank, world = distributed.rank(), distributed.world()
    mine = slice(rank * 4 // world, (rank + 1) * 4 // world)
    found = {}
    for name, loss in LOSSES.items():
        own = copy.deepcopy(model)
        net = distributed.wrap(own, torch.device("cpu"))
        value = loss(*distributed.whole_batch(net(images[mine]), labels[mine]))
        (value * world).backward()
        found[name] = [value.detach(), *(p.grad for p in own.parameters())]
    # What averaging the processes' own means would give: it must differ, or nothing is shown.
    own = copy.deepcopy(model)
    cross_entropy(distributed.wrap(own, torch.device("cpu"))(images[mine]), labels[mine]).backward()
    found["naive"] = [p.grad for p in own.parameters()]
    return found

def run(out):
    own = copy.deepcopy(model)
    config = Config(steps=6, lr=0.1, optimizer="sgd", device="cpu", clip=0.5, ema=0.5,
                    checkpoint_every=3, eval_every=3)
    source = [(images[i : i + 1], labels[i : i + 1]) for i in range(3)]  # 2 for one, 1 for other
    evaluate = partial(training.evaluate, source=source, num_classes=3)
    history = training.fit(config, own, Batches(), out, loss=cross_entropy, evaluate=evaluate)
    refused = None
    try:
        training.fit(config, own, Batches(), out, loss=cross_entropy)
    except ValueError as error:
        refused = str(error)
    miou = [line["miou"] for line in history.curve if "miou" in line]
    return {"weights": list(own.parameters()), "miou": miou, "refused": refused}

class Brighter(Batches):                       # the second process sees other statistics
    def stream(self, start=0, rank=0, world=1):
        return ((x * (1 + 8 * rank), y) for x, y in super().stream(start, rank, world))

def normed():
    layers = nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.Tanh(), nn.Conv2d(5, 3, 1)
    return nn.Sequential(*layers).double()

def with_norm(ema):
    config = Config(steps=3, lr=0.1, device="cpu", ema=ema)
    made = []
    def source(rank, world):
        for i in range(rank, 3, world):
            made.append(i)
            yield images[i : i + 1], labels[i : i + 1] % 3
    evaluate = partial(training.evaluate, source=source, num_classes=3)
    out = f"{folder}/norm{ema}"
    history = training.fit(config, normed(), Brighter(), out, loss=cross_entropy, evaluate=evaluate)
    return history.confusion, made

def saved_with_norm(ema):
    own = normed()
    checkpoints.load_weights(own, f"{folder}/norm{ema}")
    return training.evaluate(own, [(images[:3], labels[:3] % 3)], 3)

def odd():
    three = Batches()
    three.images_per_batch = 3
    try:
        training.fit(Config(device="cpu"), model, three, None, loss=cross_entropy)
    except ValueError as error:
        return str(error)

def work(rank):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
    with distributed.processes("cpu"):
        found = {"gradients": gradients(), "run": run(folder + "/two"), "odd": odd(),
                 "norm": [with_norm(0.0), with_norm(0.9)]}
        torch.save(found, f"{folder}/{rank}.pt")

# What torch imports on first use is imported once, before forking.
import torch.utils.tensorboard
training.fit(Config(steps=1, device="cpu"), copy.deepcopy(model), Batches(), None,
             loss=cross_entropy)
children = []
for rank in range(2):
    pid = os.fork()
    if pid == 0:
        try:
            work(rank)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(pid)
found = {"gradients": gradients(), "run": run(folder + "/one")}
if max(os.waitpid(pid, 0)[1] for pid in children) > 0:
    sys.exit(1)
found["norm"] = [saved_with_norm(0.0), saved_with_norm(0.9)]
torch.save(found, folder + "/alone.pt")
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("forks processes")
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "driver.py").write_text(DRIVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [sys.executable, str(folder / "driver.py"), str(folder), str(port)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers = {
        name: torch.load(folder / f"{name}.pt", weights_only=True) for name in ("alone", "0", "1")
    }
    return folder, answers


def largest_difference(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("loss", ["ce", "weighted", "dice"])
def test_two_processes_have_the_loss_and_the_gradient_of_one(found, loss):
    _, answers = found
    one = answers["alone"]["gradients"][loss]
    for rank in ("0", "1"):
        assert largest_difference(one, answers[rank]["gradients"][loss]) < 1e-12


def test_averaging_the_means_of_the_processes_would_be_another_gradient(found):
    _, answers = found
    one = answers["alone"]["gradients"]["ce"][1:]
    assert largest_difference(one, answers["0"]["gradients"]["naive"]) > 1e-3


def test_a_run_of_two_processes_ends_with_the_weights_of_one(found):
    _, answers = found
    one = answers["alone"]["run"]["weights"]
    for rank in ("0", "1"):
        assert largest_difference(one, answers[rank]["run"]["weights"]) < 1e-12


def test_two_processes_evaluate_the_set_of_one(found):
    _, answers = found
    one = answers["alone"]["run"]["miou"]
    assert len(one) == 2
    assert answers["0"]["run"]["miou"] == answers["1"]["run"]["miou"] == one


@pytest.mark.parametrize("averaged", [0, 1])
def test_the_reported_matrix_is_that_of_the_saved_weights(found, averaged):
    """Where batch norm's statistics differ between the processes, those of the first count."""
    _, answers = found
    expected = answers["alone"]["norm"][averaged]
    for rank in ("0", "1"):
        assert answers[rank]["norm"][averaged][0].tolist() == expected.tolist()


def test_each_process_makes_only_its_own_evaluation_batches(found):
    _, answers = found
    assert [answers[rank]["norm"][0][1] for rank in ("0", "1")] == [[0, 2], [1]]


def test_the_first_process_alone_writes_and_all_hear_a_refusal(found):
    folder, answers = found
    for name in ("one", "two"):
        assert len(list((folder / name / "tensorboard").iterdir())) == 1
        assert len((folder / name / "log.jsonl").read_text().splitlines()) == 4
    for rank in ("0", "1"):
        assert "already holds a run" in answers[rank]["run"]["refused"]


def test_a_batch_that_does_not_divide_is_refused(found):
    _, answers = found
    assert "a batch of 3 does not divide among 2 processes" in answers["1"]["odd"]


def test_without_torchrun_everything_is_the_identity(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    x, y, model = torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3), torch.nn.Conv2d(3, 2, 1)
    with distributed.processes("cpu") as device:
        assert device == torch.device("cpu")
        assert (distributed.rank(), distributed.world()) == (0, 1)
        assert distributed.whole_batch(x, y) == (x, y)
        assert distributed.wrap(model, device) is model
        assert distributed.from_first(lambda: 5) == 5


def test_half_of_torchruns_environment_is_refused(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with (
        pytest.raises(UsageError, match="WORLD_SIZE is set and LOCAL_RANK, MASTER_ADDR, MASTER_PO"),
        distributed.processes("cpu"),
    ):
        pass


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cpu"), (2, "cuda:1")])
def test_auto_takes_the_processes_own_gpu_where_there_is_one(monkeypatch, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.choose_device("auto") == torch.device(expected)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match=r"GPU number 2 is needed and torch finds 2 GPUs.*fewer"):
        distributed.choose_device("cuda")
