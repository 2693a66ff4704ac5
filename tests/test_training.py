"""The loop: one step by hand, resuming to the bit, kills, refusals, and evaluation."""

import copy
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segcourse import checkpoints, distributed, metrics, training
from segcourse.config import Config
from segcourse.data.augment import Augmentation
from segcourse.data.batches import ResidentBatches
from segcourse.data.resident import ResidentSet
from segcourse.errors import DataError, UsageError
from segcourse.labels import IGNORE, Classes
from segcourse.losses import cross_entropy

CLASSES = Classes(("dark", "light"), ((0, 0, 0), (255, 255, 255)))


def resident(n=6, size=12, seed=0):
    """Images whose red channel gives the class, with some void."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=draw)
    labels = (images[:, 0] > 127).to(torch.uint8)
    labels[:, :2] = IGNORE
    return ResidentSet(images, labels, CLASSES)


def batches(batch=4):
    augmentation = Augmentation(crop=(8, 8), flip=0.5, brightness=0.1)
    return ResidentBatches(resident(), batch, augmentation, seed=1)


def net(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 2, 1),
        )


def config(**values):
    values = {"steps": 12, "lr": 0.01, "eval_every": 6, "checkpoint_every": 4, "ema": 0.8} | values
    return Config(device="cpu", **values)


def source():
    held_out = resident(seed=9)
    return [(held_out.images.float() / 128 - 1, held_out.labels.long())]


def fit(run, model, out, **options):
    options = {"batches": batches(), "loss": cross_entropy} | options
    if "evaluate" not in options:
        options["evaluate"] = partial(training.evaluate, source=source(), num_classes=2)
    return training.fit(run, model, out=out, **options)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def numbers(curve):
    """A curve without what a clock decides."""
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in curve]


def test_a_run_learns_what_the_majority_predictor_cannot():
    history = fit(config(steps=60, lr=0.05), net(), None)
    truth = source()[0][1]
    majority = metrics.confusion_matrix(torch.ones_like(truth), truth, 2)
    assert history.best_miou > metrics.mean_iou(majority) + 0.3
    losses = [line["loss"] for line in history.curve if "loss" in line]
    assert losses[-1] < 0.6 * losses[0]


def test_one_sgd_step_is_the_gradient_times_the_rate():
    run = config(steps=1, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=0.3, ema=0.0)
    model = nn.Conv2d(3, 2, 3, padding=1)
    images, labels = batches().batch(0)
    loss = cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    expected = [p.detach() - 0.3 * g for p, g in zip(model.parameters(), gradients, strict=True)]
    history = fit(run, model, None)
    for p, e in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), e, rtol=0, atol=1e-6)
    assert history.curve[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_clipping_bounds_the_step():
    run = config(steps=1, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, ema=0.0)
    moved = {}
    for clip in (0.0, 0.01):
        model = nn.Conv2d(3, 2, 3, padding=1)
        before = nn.utils.parameters_to_vector(model.parameters()).detach()
        fit(Config(**(vars(run) | {"clip": clip})), model, None)
        after = nn.utils.parameters_to_vector(model.parameters()).detach()
        moved[clip] = (after - before).norm().item()
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)
    assert moved[0.0] > 0.05


def test_the_averaged_weights_are_those_of_the_recurrence(tmp_path):
    model, seen = net(), []

    def watching(logits, labels):
        seen.append(copy.deepcopy(model.state_dict()))  # the weights before each step
        return cross_entropy(logits, labels)

    fit(config(steps=5, ema=0.8), model, tmp_path, loss=watching)
    raw = net()
    checkpoints.load_weights(raw, tmp_path / "checkpoints" / "step-000005" / "weights.safetensors")
    after = [*seen[1:], raw.state_dict()]
    expected = after[0]["0.weight"]
    for weights in after[1:]:
        expected = 0.8 * expected + 0.2 * weights["0.weight"]
    torch.testing.assert_close(model.state_dict()["0.weight"], expected, rtol=0, atol=1e-6)
    assert not torch.equal(raw[0].weight, model[0].weight)


def test_the_global_random_state_is_neither_used_nor_touched():
    a, b = net(), net()
    torch.manual_seed(1)
    fit(config(), a, None)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    fit(config(), b, None)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(a, b)


def test_another_seed_drops_other_units():
    a, b = net(), net()
    fit(config(seed=0), a, None)
    fit(config(seed=1), b, None)  # the batches are the same: only dropout differs
    assert not same(a, b)


class Interrupted(Exception):
    pass


class Breaking:
    """Batches that break off at a step, as Ctrl-C does."""

    def __init__(self, at):
        self.whole, self.at = batches(), at
        self.images_per_batch = self.whole.images_per_batch
        self.steps_per_epoch = self.whole.steps_per_epoch

    def stream(self, start, rank=0, world=1):
        for step, batch in enumerate(self.whole.stream(start, rank, world), start):
            if step == self.at:
                raise Interrupted
            yield batch


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("at", [0, 3, 4, 7, 11])
def test_a_run_resumed_from_any_step_ends_with_the_same_bits(tmp_path, at, optimizer):
    run = config(optimizer=optimizer, warmup=2, clip=1.0)
    whole, model = net(), net()
    expected = fit(run, whole, None)
    with pytest.raises(Interrupted):
        fit(run, model, tmp_path / "run", batches=Breaking(at))
    model = net(seed=5)  # what the model holds before a resume does not matter, once there
    if at < 4:  # is a checkpoint; before the first one the run starts over
        model = net()
    history = fit(run, model, tmp_path / "run", resume=True)
    assert same(model, whole)
    assert numbers(history.curve) == numbers(expected.curve)
    assert (history.best_step, history.best_miou) == (expected.best_step, expected.best_miou)


def test_a_run_told_to_stop_ends_at_a_checkpoint_and_is_resumed_to_the_same_bits(tmp_path):
    whole, model, asked = net(), net(), []
    run = config(steps=25, eval_every=10, checkpoint_every=0)
    expected = fit(run, whole, tmp_path / "whole")

    def at_the_second_time():
        asked.append(len(asked))
        return len(asked) == 2

    stopped = fit(run, model, tmp_path / "run", stop=at_the_second_time)
    assert (stopped.steps, len(asked)) == (20, 2)
    assert checkpoints.latest(tmp_path / "run" / "checkpoints").step == 20
    model = net(seed=5)
    history = fit(run, model, tmp_path / "run", resume=True, stop=lambda: False)
    assert (history.first_step, history.steps) == (20, 25)
    assert same(model, whole)
    assert numbers(history.curve) == numbers(expected.curve)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    model, again = net(), net(seed=5)
    first = fit(config(), model, tmp_path)
    second = fit(config(), again, tmp_path, resume=True)
    assert same(model, again)
    assert numbers(first.curve) == numbers(second.curve)
    assert (first.first_step, second.first_step) == (0, 12)
    assert second.images_per_second == pytest.approx(first.images_per_second)


def test_time_and_throughput_count_the_parts_before_a_resume(tmp_path, monkeypatch):
    now = [0.0]

    def slow(logits, labels):
        now[0] += 10.0  # a step takes ten seconds, and nothing else any time
        return cross_entropy(logits, labels)

    monkeypatch.setattr(training, "perf_counter", lambda: now[0])
    with pytest.raises(Interrupted):
        fit(config(), net(), tmp_path, loss=slow, batches=Breaking(9))
    now[0] = 1e6
    history = fit(config(), net(), tmp_path, loss=slow, resume=True)  # from step 8
    assert history.first_step == 8
    assert history.seconds == pytest.approx(120)
    assert history.images_per_second == pytest.approx(0.4)


def test_a_run_of_no_step_has_no_throughput(tmp_path):
    fit(config(), net(), tmp_path)
    last = checkpoints.latest(tmp_path / "checkpoints")
    state = checkpoints.load_state(last)
    del state["spent"]  # as from a checkpoint that does not know
    checkpoints.save(tmp_path / "checkpoints", 12, net(), net(), state, last.config, None)
    assert fit(config(), net(), tmp_path, resume=True).images_per_second is None


def test_the_history_ends_with_the_matrix_of_the_final_weights():
    model = net()
    history = fit(config(), model, None)
    assert torch.equal(history.confusion, training.evaluate(model, source(), 2))
    assert fit(config(), net(), None, evaluate=None).confusion is None


def test_a_run_that_left_no_checkpoint_leaves_its_folder_free(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        fit(config(checkpoint_every=0, eval_every=0), net(), out, batches=Breaking(11))
    assert (out / "log.jsonl").read_text() != ""
    left = set((out / "tensorboard").iterdir())
    (out / "checkpoints").mkdir(exist_ok=True)  # a kill inside the first checkpoint
    history = fit(config(lr=0.02), net(), out)
    assert json.loads((out / "config.json").read_text())["lr"] == 0.02
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == [line["step"] for line in history.curve]
    assert len(list((out / "tensorboard").iterdir())) == 1
    assert left.isdisjoint((out / "tensorboard").iterdir())


DRIVER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import torch.utils.tensorboard
sys.path.insert(0, sys.argv[1])
import test_training as t
torch.set_num_threads(1)
out, whole, seed = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
run = t.config(steps=60, checkpoint_every=3, eval_every=20)
chance = random.Random(seed)

def child(folder):
    pid = os.fork()
    if pid == 0:
        resume = (folder / "config.json").exists()
        t.fit(run, t.net(), folder, resume=resume)
        os._exit(0)
    return pid

def writing():   # in the middle of a checkpoint
    return list((out / "checkpoints").glob(".partial*"))

def newer(before):
    return set((out / "checkpoints").glob("step-*")) - before

t.fit(t.config(steps=1), t.net(), None)  # torch imports what optimizers need once, before forking
assert os.waitpid(child(whole), 0)[1] == 0
kills = 0
for moment in ("start", "writing", "later", "writing", "later"):
    before = set((out / "checkpoints").glob("step-*"))
    pid = child(out)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        time.sleep(0.0005)
        if moment == "start":
            time.sleep(chance.uniform(0, 0.1))
            break
        if newer(before) and (moment == "later" or writing()):
            if moment == "later":
                time.sleep(chance.uniform(0, 0.03))
            break
    else:
        continue
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    kills += os.WIFSIGNALED(status)
assert os.waitpid(child(out), 0)[1] == 0
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_run_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    here, killed, whole = str(Path(__file__).parent), tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(driver), here, str(killed), str(whole), "7"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # TQDM_DISABLE is obeyed
    assert int(done.stdout) >= 3
    last = [checkpoints.latest(folder / "checkpoints") for folder in (killed, whole)]
    assert [c.step for c in last] == [60, 60]
    for name in ("weights.safetensors", "ema.safetensors"):
        a, b = ((c.path / name).read_bytes() for c in last)
        assert a == b
    logs = [
        numbers(json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines())
        for folder in (killed, whole)
    ]
    assert logs[0] == logs[1]
    assert not list((killed / "checkpoints").glob(".partial*"))


def test_a_damaged_last_checkpoint_costs_its_steps_and_nothing_else(tmp_path):
    whole, model = net(), net()
    fit(config(), whole, tmp_path)
    weights = tmp_path / "checkpoints" / "step-000012" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"step-000012.*is damaged.*next best checkpoint is used"):
        fit(config(), model, tmp_path, resume=True)
    assert same(model, whole)
    assert checkpoints.latest(tmp_path / "checkpoints").step == 12


def test_the_best_checkpoint_is_the_one_with_the_highest_score(tmp_path):
    scores = iter([0.2, 0.9, 0.4, 0.4])

    def evaluate(model):
        good = round(100 * next(scores))
        return torch.tensor([[good, 100 - good], [100 - good, good]])

    run = config(steps=8, eval_every=2, checkpoint_every=0)
    history = fit(run, net(), tmp_path, evaluate=evaluate)
    assert checkpoints.best(tmp_path / "checkpoints").step == history.best_step == 4


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(config(), net(), None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    fit(config(), net(), tmp_path)
    with pytest.raises(UsageError, match="already holds a run: give --resume"):
        fit(config(), net(), tmp_path)


def test_resuming_where_no_run_is_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run to resume: give the folder of one"):
        fit(config(), net(), tmp_path / "nowhere", resume=True)


def test_resuming_with_another_configuration_names_the_fields(tmp_path):
    fit(config(), net(), tmp_path)
    with pytest.raises(UsageError, match=r"configuration \(lr: 0\.01 -> 0\.5; seed: 0 -> 3\)"):
        fit(config(lr=0.5, seed=3, root="elsewhere", workers=2), net(), tmp_path, resume=True)


def test_resuming_with_a_model_for_other_classes_says_both_numbers(tmp_path):
    fit(config(), net(), tmp_path)
    model = net()
    model[4] = nn.Conv2d(8, 5, 1)
    with pytest.raises(DataError, match="trained for 2 classes and the model has 5"):
        fit(config(), model, tmp_path, resume=True)


def test_resuming_with_a_damaged_configuration_is_refused(tmp_path):
    fit(config(), net(), tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        fit(config(), net(), tmp_path, resume=True)


def test_a_nan_loss_stops_the_run_and_names_step_rate_and_checkpoint(tmp_path):
    calls = iter(range(100))

    def failing(logits, labels):
        return cross_entropy(logits, labels) * (float("nan") if next(calls) == 6 else 1)

    run = config(schedule="constant", lr=0.02)
    message = r"the loss is nan after step 7 of 12, at learning rate 0\.02;.*step-000006\. .*lower"
    with pytest.raises(training.DivergedError, match=message):
        fit(run, net(), tmp_path, loss=failing)
    model = net()
    checkpoints.load_weights(model, tmp_path)
    assert all(p.isfinite().all() for p in model.parameters())


def test_weights_that_overflow_are_never_saved(tmp_path):
    run = config(steps=4, optimizer="sgd", lr=3e38, momentum=0.0, ema=0.0, checkpoint_every=1)

    def steep(logits, labels):
        return logits.mean() * 1e6

    with pytest.raises(training.DivergedError, match="no checkpoint was written yet"):
        fit(run, net(), tmp_path, loss=steep, evaluate=None)
    assert checkpoints.latest(tmp_path / "checkpoints") is None


def test_logits_of_another_size_than_the_labels_are_refused():
    shrinking = nn.Conv2d(3, 2, 3)
    with pytest.raises(ValueError, match=r"logits \(4, 2, 6, 6\) for labels \(4, 8, 8\)"):
        fit(config(), shrinking, None)


def test_labels_outside_the_models_classes_are_refused():
    with pytest.raises(ValueError, match="labels hold 1 at"):
        fit(config(), nn.Conv2d(3, 1, 1), None)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = Config(device="cuda", steps=1)
    with pytest.raises(UsageError, match="GPU number 0 is needed and torch finds 0 GPUs: give"):
        fit(run, net(), None)


def test_a_device_that_torch_does_not_know_is_refused():
    with pytest.raises(UsageError, match="device is 'gpu', which torch does not know: give auto"):
        fit(Config(device="gpu", steps=1), net(), None)


def test_bf16_on_a_gpu_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda d: torch.random.fork_rng(devices=[]))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda d: "Tesla T4")
    with pytest.raises(UsageError, match=r"T4 has no bf16 arithmetic .*: give precision fp32"):
        distributed.check_precision("bf16", torch.device("cuda", 0))


def test_bf16_computes_the_network_in_bf16_and_the_loss_in_float32():
    model, kinds = net(), set()
    model[4].register_forward_hook(lambda module, x, y: kinds.add(y.dtype))

    def loss(logits, labels):
        kinds.add(("loss", logits.dtype))
        return cross_entropy(logits, labels)

    fit(config(steps=2, precision="bf16", eval_every=0), model, None, loss=loss, evaluate=None)
    assert kinds == {torch.bfloat16, ("loss", torch.float32)}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_channels_last_changes_the_memory_order_and_not_the_result():
    a, b, strides = net(), net(), set()
    a[3].p = b[3].p = 0.0  # dropout draws its mask in memory order
    b[0].register_forward_hook(lambda module, x, y: strides.add(x[0].stride()[1]))
    run = {"steps": 3, "optimizer": "sgd"}  # Adam would blow rounding up where a gradient is zero
    fit(config(**run), a, None, evaluate=None)
    fit(config(channels_last=True, **run), b, None, evaluate=None)
    assert strides == {1}
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-4)


def test_a_compiled_run_saves_weights_under_the_models_own_names(tmp_path, monkeypatch):
    compiled = []

    class Compiled(nn.Module):  # names its child as torch.compile does, without a compiler
        def __init__(self, model):
            super().__init__()
            self._orig_mod = model
            compiled.append(model)

        def forward(self, x):
            return self._orig_mod(x)

    monkeypatch.setattr(torch, "compile", Compiled)
    model, plain = net(), net()
    fit(config(compile=True), model, tmp_path)
    fit(config(), plain, None)
    assert compiled == [model]
    assert same(model, plain)
    checkpoints.load_weights(net(), tmp_path)


def test_only_the_dense_model_is_evaluated():
    seen = []

    def evaluate(model):
        seen.append(type(model))
        return torch.eye(2, dtype=torch.int64)

    class Dense(nn.Sequential):
        pass

    fit(config(), net(), None, as_dense=Dense, evaluate=evaluate)
    assert seen == [Dense, Dense]


def test_evaluation_counts_the_whole_set_and_restores_every_mode():
    model = net()
    model.train()
    model[1].eval()  # a frozen norm stays frozen
    before = copy.deepcopy(model.state_dict())
    images, labels = source()[0]
    parts = list(zip(images.split(4), labels.split(4), strict=True))
    counted = training.evaluate(model, parts, 2)
    assert [m.training for m in model] == [True, False, True, True, True]
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    with torch.no_grad():
        predicted = model.eval()(images).argmax(1)
    known = (labels != IGNORE).numpy()
    pairs = labels.numpy()[known] * 2 + predicted.numpy()[known]
    assert counted.tolist() == np.bincount(pairs, minlength=4).reshape(2, 2).tolist()


def test_modes_are_restored_when_evaluation_fails():
    model = net().train()
    with pytest.raises(ValueError, match="the model gives 2 classes and the set has 3"):
        training.evaluate(model, source(), 3)
    assert model.training
    assert model[3].training


@pytest.mark.gpu
def test_a_gpu_run_in_bf16_resumes_to_the_same_weights_and_leaves_the_generators(tmp_path):
    # SGD, since Adam blows up the rounding of sums that a GPU adds in any order.
    values = {"steps": 12, "lr": 0.01, "ema": 0.8, "optimizer": "sgd", "warmup": 2}
    every = {"eval_every": 6, "checkpoint_every": 4}
    run = Config(device="cuda", precision="bf16", channels_last=True, **values, **every)
    whole, broken, resumed = net(), net(), net(seed=5)
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    expected = fit(run, whole, None)
    with pytest.raises(Interrupted):
        fit(run, broken, tmp_path, batches=Breaking(7))
    history = fit(run, resumed, tmp_path, resume=True)
    assert history.first_step in (4, 6)  # step 6 is saved where its evaluation is the best
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert a.device.type == "cuda"
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert resumed[0].weight.is_contiguous(memory_format=torch.channels_last)
    changed = (history.confusion - expected.confusion).abs().sum()
    assert changed <= 0.02 * expected.confusion.sum()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(torch.cuda.get_rng_state(), states[1])


class InADict(nn.Module):
    """As torchvision's segmentation models answer."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, images):
        return {"out": self.net(images)}


def every_pixel(logits, labels):
    return nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": InADict()}, r"the model gives a dict, need the logits .*model\(images\)\[\"out"),
        ({"loss": every_pixel}, r"the loss is of shape \(4, 8, 8\), need one number"),
        ({"batches": []}, "batches is a list: give ResidentBatches or LoaderBatches"),
    ],
)
def test_a_part_of_another_make_is_told_what_is_needed_of_it(change, told):
    given = {"model": net(), "batches": batches(), "loss": cross_entropy} | change
    with pytest.raises(ValueError, match=told):
        training.fit(config(), out=None, **given)
