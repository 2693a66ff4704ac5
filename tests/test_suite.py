"""The suite of long runs: time limits, failures, other configurations, and its list."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cli_tools import call
from PIL import Image
from suite_kills import LENGTHS, RUN, records, without_clock
from torch.nn import functional as F

from segcourse import data, losses
from segcourse.cli import (
    models,
    suite,
    suite_budget,
    suite_crf,
    suite_maps,
    suite_measure,
    suite_place,
    suite_runs,
    suite_table,
    suite_work,
)
from segcourse.cli.crf_flags import Settings, words
from segcourse.cli.deadline import Deadline
from segcourse.cli.runs import load_run
from segcourse.cli.suite_place import Job, jobs_of
from segcourse.cli.suite_runs import Entry, equal_seconds
from segcourse.config import Config
from segcourse.data import DATASETS
from segcourse.data.augment import normalise
from segcourse.data.resident import ResidentSet
from segcourse.errors import UsageError
from segcourse.metrics import confusion_matrix, pixel_accuracy

SHORT = RUN + "--steps 20 --eval-every 10 --batch 2 "
FIRST = Entry("first", SHORT + "--ema 0.9")
LONGER = Entry("longer", SHORT + "--lr 0.001", start="first")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Scenes few enough for runs of a second, and two runs of which one starts from the other."""
    monkeypatch.setattr(data, "LENGTHS", LENGTHS)
    monkeypatch.setattr(suite, "TOYS", (FIRST, LONGER))


def run(capsys, out: Path, *words, toy: bool = True) -> tuple[int, str, str]:
    """`segcourse bench suite` on the toy list, with seed 0, on the CPU."""
    more = ["--toy"] if toy else []
    words = ["--seeds", 0, "--device", "cpu", *words]
    return call(capsys, "bench", "suite", *more, "--out", out, *words)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A suite that was left alone."""
    out = tmp_path_factory.mktemp("suite") / "alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "LENGTHS", LENGTHS)
        patch.setattr(suite, "TOYS", (FIRST, LONGER))
        words = ["bench", "suite", "--toy", "--seeds", "0", "--device", "cpu", "--out", str(out)]
        assert suite_main(words) == 0
    return out


def suite_main(words) -> int:
    from segcourse.cli import main

    return main(words)


def record(folder: Path, label: str) -> dict:
    return json.loads((folder / f"{label}.json").read_text(encoding="utf-8"))


def copy(alone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(alone, tmp_path / "copy"))


# ---- time


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_deadline_leaves_time_for_the_next_steps_and_a_checkpoint():
    clock = Clock()
    deadline = Deadline(10, clock)  # 600 s, of which 15 are kept
    answers = []
    for _ in range(20):
        clock.now += 50
        answers.append((clock.now, deadline.stop()))
    assert next(at for at, stops in answers if stops) == 500  # 100 s for the next 50 and a save
    deadline.begin()
    assert not deadline.allows(0)  # no other run is begun

    clock.now = 0.0
    deadline = Deadline(10, clock)
    deadline.begin(20.0)  # assumed of a checkpoint, before there is one
    clock.now = 540
    assert deadline.allows(0)
    deadline.begin(20.0)
    clock.now = 546
    assert deadline.stop()

    clock.now = 0.0
    deadline = Deadline(10, clock)
    clock.now = 100
    assert not deadline.stop()
    clock.now = 560
    deadline.begin()
    clock.now = 562
    assert not deadline.stop()  # another run, with shorter steps
    assert Deadline(None, clock).allows(1e9)
    assert Deadline(1, clock).allows(58)  # the reserve of a short suite is 3 % of it
    assert not Deadline(1, clock).allows(59)


@pytest.mark.parametrize("when", ["training", "measuring"])
def test_stopped_in_time_it_goes_on_to_the_same_records(when, alone, tmp_path, capsys, monkeypatch):
    over = []
    with monkeypatch.context() as patch:

        def allows(self, seconds):
            if when == "measuring" and seconds > 0:
                over.append(True)
            return not over

        def stop(self):
            if when == "training":
                over.append(True)
            return bool(over)

        patch.setattr(Deadline, "allows", allows)
        patch.setattr(Deadline, "stop", stop)
        code, out, _ = run(capsys, tmp_path, "--minutes", 1)
    assert code == 0
    step = {"training": 10, "measuring": 20}[when]
    assert re.search(rf"first-s0 +step {step} of 20", out)
    assert re.search(r"longer-s0 +pending", out)
    assert "pending: first-s0, longer-s0. The same command goes on with them." in out
    code, out, _ = run(capsys, tmp_path)
    assert code == 0
    assert f"first-s0: 20 steps, from step {step}" in out
    assert "Nothing is pending." in out
    assert records(tmp_path) == records(alone)


def test_no_run_is_begun_when_the_time_is_over(tmp_path, capsys):
    code, out, _ = run(capsys, tmp_path, "--minutes", 1e-9)
    assert code == 0
    assert "pending: first-s0, longer-s0" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_at_a_checkpoint(number, alone, tmp_path, capsys, monkeypatch):
    cross_entropy, steps = losses.cross_entropy, []

    def signalled(logits, labels, weights=None):
        steps.append(len(steps))
        if len(steps) == 5:
            os.kill(os.getpid(), number)
        return cross_entropy(logits, labels, weights)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(losses, "cross_entropy", signalled)
        code, out, err = run(capsys, tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert code == 130
    assert f"{number.name}: stopping at the next checkpoint" in err
    assert re.search(r"first-s0 +step 10 of 20", out)
    assert len(steps) == 10
    code, out, _ = run(capsys, tmp_path)
    assert "first-s0: 20 steps, from step 10" in out
    assert records(tmp_path) == records(alone)


# ---- the record


def test_peak_memory_is_trainings_and_the_highest_of_its_parts(tmp_path, monkeypatch):
    def part(first, last, peak):
        monkeypatch.setattr(suite_work, "peak_memory_mib", lambda _: peak)
        history = SimpleNamespace(first_step=first, steps=last)
        return suite_work.peak_of_training(tmp_path, history, torch.device("cpu"))

    assert part(20, 20, 900.0) is None  # a part without a step only measured
    assert part(0, 10, 300.0) == 300.0
    assert part(10, 15, 200.0) == 300.0
    assert part(15, 20, 400.5) == 400.5
    assert part(20, 20, 900.0) == 400.5


def test_what_measuring_takes_is_not_in_the_peak(tmp_path, capsys, monkeypatch):
    """The peak is read before views, CRF and maps are made."""
    order = []
    for name in ("peak_of_training", "measured"):
        whole = getattr(suite_work, name)
        monkeypatch.setattr(
            suite_work, name, lambda *args, n=name, f=whole: order.append(n) or f(*args)
        )
    monkeypatch.setattr(suite_work, "peak_memory_mib", lambda _: 12.5)
    assert run(capsys, tmp_path, "--only", "first")[0] == 0
    assert order == ["peak_of_training", "measured"]
    assert record(tmp_path, "first-s0")["peak_memory_mib"] == 12.5
    assert not list(tmp_path.rglob(suite_work.PEAK))


def test_a_record_holds_what_makes_its_numbers_again(alone):
    made = record(alone, "first-s0")
    assert set(made) == {
        *("command", "config", "curve", "data", "date", "epochs", "hardware", "images_per_second"),
        *("maps", "metrics", "name", "parameters", "peak_memory_mib", "seconds", "seed", "start"),
        *("versions", "weights"),
    }
    assert made["epochs"] == 20 * 2 / LENGTHS["train"]
    assert made["seed"] == 0
    assert made["peak_memory_mib"] > 0
    assert {"val", "test", "chosen", "always_majority", "crf"} == set(made["metrics"])
    assert made["metrics"]["crf"] is None
    for split in ("val", "test"):
        assert made["metrics"][split]["images"] == LENGTHS[split]
        assert 0 <= made["metrics"][split]["trimap"]["miou"] <= 1
        assert len(made["metrics"][split]["iou"]) == 8
        assert made["data"][split]["images"] == LENGTHS[split]
        assert re.fullmatch("[0-9a-f]{64}", made["data"][split]["sha256"])
    assert (made["config"]["root"], made["config"]["out"]) == ("", "")
    longer = record(alone, "longer-s0")
    assert longer["start"]["run"] == longer["config"]["start"] == "first-s0"
    assert longer["start"]["sha256"] == made["weights"]["sha256"]


def test_the_best_checkpoint_on_val_is_chosen_and_test_is_measured_once(
    tmp_path, capsys, monkeypatch
):
    measured = []
    measure = suite_measure.measure

    def counted(dense, split, precision, name):
        measured.append(len(split))
        return measure(dense, split, precision, name)

    monkeypatch.setattr(suite_measure, "measure", counted)
    scored = Entry("first", SHORT + "--lr 0.05 --schedule constant --eval-every 1")
    monkeypatch.setattr(suite, "TOYS", (scored,))
    monkeypatch.setattr(data, "LENGTHS", LENGTHS | {"test": 5})
    assert run(capsys, tmp_path)[0] == 0
    assert measured == [LENGTHS["val"], 5]
    made = record(tmp_path, "first-s0")
    scores = {line["step"]: line["miou"] for line in made["curve"] if "miou" in line}
    assert len(scores) == 20
    best = max(scores, key=lambda step: (scores[step], -step))
    assert best < 20
    assert made["metrics"]["chosen"] == {"step": best, "val_miou": scores[best]}
    assert made["metrics"]["val"]["miou"] == scores[best]


def test_views_at_test_time_are_measured_on_test_alone_and_reported_apart(
    tmp_path, capsys, monkeypatch
):
    plain, several = tmp_path / "plain", tmp_path / "several"
    for out, views in ((plain, ()), (several, (1.0, 1.5))):
        monkeypatch.setattr(suite, "TOYS", (Entry("first", FIRST.flags, views=views),))
        assert run(capsys, out)[0] == 0
    once, more = (record(out, "first-s0") for out in (plain, several))
    apart = more["metrics"].pop("test_views")
    assert without_clock(more) == without_clock(once)
    assert (apart["scales"], apart["flip"]) == ([1.0, 1.5], True)
    assert apart["images"] == LENGTHS["test"]
    assert apart["pixel_accuracy"] != more["metrics"]["test"]["pixel_accuracy"]
    # By hand: four looks at each image, their probabilities averaged.
    trained = load_run(several / "trained" / "first-s0", torch.device("cpu"))
    images, labels = zip(*data.Scenes(LENGTHS["test"], (32, 32), split="test"), strict=True)
    x, total = normalise(torch.stack(images).float() / 255), 0.0
    with torch.no_grad():
        for size in ((32, 32), (48, 48)):
            view = F.interpolate(x, size, mode="bilinear")
            for logits in (trained.model(view), trained.model(view.flip(3)).flip(3)):
                total = total + F.interpolate(logits, (32, 32), mode="bilinear").softmax(1)
    cm = confusion_matrix(total.argmax(1), torch.stack(labels), 8)
    assert abs(apart["pixel_accuracy"] - pixel_accuracy(cm)) < 1e-3


def test_a_crf_is_searched_on_val_and_measured_on_val_and_test_apart(
    alone, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(suite_crf, "IMAGES", 4)
    monkeypatch.setattr(suite_crf, "SETTINGS", 5)
    monkeypatch.setattr(suite, "TOYS", (Entry("first", FIRST.flags, crf=True),))
    out, told = tmp_path / "out", tmp_path / "e.json"
    assert run(capsys, out, "--minutes", 5)[0] == 0
    made = record(out, "first-s0")
    apart = made["metrics"].pop("crf")
    # Nothing else in the record changes.
    plain = record(alone, "first-s0")
    assert without_clock(made) == without_clock(plain | {"metrics": made["metrics"]})
    assert without_clock(plain["metrics"]) == without_clock(made["metrics"] | {"crf": None})
    assert apart["searched_on"] == "val"
    assert apart["search"]["images"] == 4
    assert apart["search"]["settings"] == 5
    assert apart["parameters"]["iterations"] == 10
    # As `segcourse eval --crf` measures it, with the same fields as without.
    flags = words(Settings(**apart["parameters"])).split()
    for split in ("val", "test"):
        assert set(apart[split]) == set(made["metrics"][split])
        assert apart[split]["images"] == LENGTHS[split]
        command = ["eval", out / "trained" / "first-s0", "--split", split, "--crf", *flags]
        assert call(capsys, *command, "--device", "cpu", "--json", told)[0] == 0
        found = json.loads(told.read_text())["metrics"]
        assert found["miou"] == pytest.approx(apart[split]["miou"], abs=1e-4)
        assert found["trimap"]["miou"] == pytest.approx(apart[split]["trimap"]["miou"], abs=1e-4)


def test_the_best_of_the_settings_tried_is_taken(monkeypatch):
    split = ResidentSet.load(data.Scenes(3, (32, 32), split="val"))
    scores = iter([0.2, 0.5, 0.4, 0.1])
    tried = []

    def search(score, start, trials, generator):
        for _ in range(trials):
            tried.append(replace(start, srgb=float(10 + len(tried))))
            yield tried[-1], next(scores)

    monkeypatch.setattr(suite_crf, "search", search)
    monkeypatch.setattr(suite_crf, "SETTINGS", 4)
    dense = models.build("full-resolution", 8, 0)
    found = suite_crf.measure(dense, split, None, "fp32", 3)
    assert found["parameters"] == asdict(tried[1])
    assert found["search"]["miou"] == 0.5
    assert found["test"] is None
    assert tried[0].sxy == 32 / 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_crf_and_the_label_maps_are_those_of_the_cpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suite_crf, "SETTINGS", 1)
    entry = Entry("first", FIRST.flags + " --precision bf16 --channels-last", crf=True)
    monkeypatch.setattr(suite, "TOYS", (entry,))
    out, told = tmp_path / "out", tmp_path / "e.json"
    assert run(capsys, out, "--device", "cuda")[0] == 0
    made = record(out, "first-s0")
    assert made["hardware"]["gpu"]
    flags = words(Settings(**made["metrics"]["crf"]["parameters"])).split()
    command = ["eval", out / "trained" / "first-s0", "--split", "test", "--crf", *flags]
    assert call(capsys, *command, "--device", "cpu", "--json", told)[0] == 0
    found = json.loads(told.read_text())["metrics"]["pixel_accuracy"]
    assert found == pytest.approx(made["metrics"]["crf"]["test"]["pixel_accuracy"], abs=0.02)
    trained = load_run(out / "trained" / "first-s0", torch.device("cpu"))
    images = [image for image, _ in data.Scenes(LENGTHS["test"], (32, 32), split="test")]
    with torch.no_grad():
        labels = trained.model(normalise(torch.stack(images).float() / 255)).argmax(1)
    with Image.open(out / made["maps"]["file"]) as picture:
        assert (np.asarray(picture) == torch.cat(list(labels), 1).numpy()).mean() > 0.98


def test_there_is_time_for_the_crf_or_it_waits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suite, "TOYS", (Entry("first", FIRST.flags, crf=True),))
    monkeypatch.setattr(suite_crf, "seconds_an_image", lambda *given: 1.0)
    images = 6 * suite_crf.SETTINGS + LENGTHS["val"] + LENGTHS["test"]
    assert suite_crf.refinements(LENGTHS["val"], LENGTHS["test"]) == images
    code, told, _ = run(capsys, tmp_path, "--minutes", images / 60)
    assert code == 0
    assert re.search(r"first-s0 +step 20 of 20", told)
    assert not (tmp_path / "first-s0.json").exists()


def test_equal_seconds_are_the_steps_that_fit_and_the_same_shares():
    config = Config(steps=5500, warmup=200, eval_every=500, checkpoint_every=0, batch=8)
    short = suite_budget.shared_out(config, 60, 100.0)
    assert (short.steps, short.warmup, short.eval_every) == (750, 27, 69)  # 60 * 100 / 8 steps
    assert short.checkpoint_every == 0
    assert math.ceil(short.steps / short.eval_every) == math.ceil(5500 / 500)
    long = suite_budget.shared_out(config, 600, 1000.0)
    assert (long.steps, long.warmup, long.eval_every) == (75000, 2727, 6819)
    one = suite_budget.shared_out(config, 1e-9, 1.0)
    assert (one.steps, one.warmup, one.eval_every) == (1, 0, 1)
    unchanged = {"steps": 5500, "warmup": 200, "eval_every": 500}
    assert replace(long, **unchanged) == config


def test_a_run_with_a_budget_in_seconds_has_the_steps_of_the_record_that_it_repeats(
    alone, tmp_path, capsys, monkeypatch
):
    out = copy(alone, tmp_path)
    both = equal_seconds((FIRST, LONGER), 3.0)
    monkeypatch.setattr(suite, "TOYS", (FIRST, LONGER, *both))
    for name, speed in (("first", 8.0), ("longer", 12.0)):  # images in a second, 2 in a step
        made = record(out, f"{name}-s0") | {"images_per_second": speed}
        (out / f"{name}-s0.json").write_text(json.dumps(made))
    code, told, _ = run(capsys, out)
    assert code == 0
    assert "first-s0: 20 steps" not in told
    assert "[3/4] first-seconds-s0: 12 steps" in told
    assert "[4/4] longer-seconds-s0: 18 steps" in told
    made, longer = (record(out, f"{name}-seconds-s0") for name in ("first", "longer"))
    assert made["budget"] == {"seconds": 3.0, "steps": 12, "of": "first"}
    assert made["config"]["steps"] == 12
    assert longer["start"]["run"] == "first-seconds-s0"
    assert "budget" not in record(out, "first-s0")
    assert (out / "first-seconds-s0.maps.png").exists()
    assert "--only first-seconds --seeds 0" in made["command"]

    # What is done stays so, whatever speed the record that it repeats has later, and without it.
    assert "steps" not in run(capsys, out)[1]
    faster = record(out, "longer-s0") | {"images_per_second": 14.0}
    (out / "longer-s0.json").write_text(json.dumps(faster))
    assert "steps" not in run(capsys, out)[1]
    (out / "first-s0.json").unlink()
    told = run(capsys, out)[1]
    assert "first-s0: 20 steps" in told
    assert "seconds-s0: 1" not in told
    assert not (out / "superseded").exists()

    # Another budget makes it again, at the speed that there is now.
    monkeypatch.setattr(suite, "TOYS", (FIRST, LONGER, *equal_seconds((FIRST, LONGER), 2.0)))
    first = record(out, "first-s0") | {"images_per_second": 6.0}
    (out / "first-s0.json").write_text(json.dumps(first))
    told = run(capsys, out)[1]
    assert re.search(r"first-seconds-s0.json: .*steps: 12 -> 6", told)
    assert "longer-seconds-s0: 14 steps" in told  # 2 s at 14 images a second


def test_runs_with_a_budget_in_seconds_come_last_and_wait_for_what_they_repeat(
    tmp_path, capsys, monkeypatch
):
    entries = (Entry("first", SHORT + "--lr 1e30"), LONGER)
    entries = (entries[0], *equal_seconds(entries[:1], 60.0), Entry("other", SHORT))
    labels = [job.label for job in jobs_of(entries, (0, 1))]
    assert labels[:4] == ["first-s0", "other-s0", "first-s1", "other-s1"]
    assert labels[4:] == ["first-seconds-s0", "first-seconds-s1"]
    assert [job.label for job in jobs_of(entries, (1,), ["*-seconds"])] == [
        "first-s1",
        "first-seconds-s1",
    ]
    with pytest.raises(UsageError, match="first-seconds repeats first, which does not stand befo"):
        jobs_of(entries[1:], (0,))

    monkeypatch.setattr(suite, "TOYS", entries[:2])
    code, told, _ = run(capsys, tmp_path / "out", "--dry-run")
    assert re.search(r"first-seconds-s0 +pending +1\.0\n", told)
    code, told, _ = run(capsys, tmp_path / "out")
    assert code == 1
    assert "first-seconds-s0 waits for first-s0" in told
    assert "pending: first-seconds-s0" in told


def test_equal_seconds_are_for_the_networks_of_the_list():
    runs = {entry.name: entry for entry in suite_runs.RUNS}
    repeated = {entry.of for entry in suite_runs.RUNS if entry.of}
    assert {"unet", "deeplab-v3-resnet50", "patch", "dilated-context-vgg16"} <= repeated
    assert not any(runs[name].change or "isbi" in name or "staged" in name for name in repeated)
    for name in repeated:
        assert runs[f"{name}-seconds"].flags == runs[name].flags


def test_label_maps_of_the_same_frames_are_kept_for_every_run(alone):
    made, other = (record(alone, f"{name}-s0")["maps"] for name in ("first", "longer"))
    assert (made["file"], other["file"]) == ("first-s0.maps.png", "longer-s0.maps.png")
    assert made | {"file": ""} == other | {"file": ""}
    assert made["split"] == "test"
    assert made["size"] == [32, 32]
    test = data.Scenes(LENGTHS["test"], (32, 32), split="test")
    assert made["frames"] == [test.stem(i) for i in range(suite_maps.FRAMES)]
    assert made["classes"] == list(test.classes.names)
    assert made["palette"][1] == "#e69f00"
    with Image.open(alone / made["truth"]) as picture:
        truth = np.asarray(picture)
        assert picture.getpalette()[:3] == [0x2C, 0x30, 0x36]
    assert np.array_equal(truth, torch.cat([labels for _, labels in test], 1).numpy())
    # The maps are those of the weights that are kept.
    trained = load_run(alone / "trained" / "first-s0", torch.device("cpu"))
    images = torch.stack([image for image, _ in test])
    with torch.no_grad():
        found = trained.model(normalise(images.float() / 255)).argmax(1)
    with Image.open(alone / made["file"]) as picture:
        agree = np.asarray(picture) == torch.cat(list(found), 1).numpy()
    assert agree.mean() > 0.999  # the weights are kept in float32, a tie may fall otherwise


def test_what_is_kept_of_a_run_can_be_measured_and_used(alone, tmp_path, capsys):
    kept = alone / "trained" / "first-s0"
    code, _, err = call(
        capsys, "eval", kept, "--split", "test", "--device", "cpu", "--json", tmp_path / "e.json"
    )
    assert code == 0, err
    found = json.loads((tmp_path / "e.json").read_text())["metrics"]
    noted = record(alone, "first-s0")["metrics"]["test"]
    assert found["miou"] == pytest.approx(noted["miou"], abs=1e-5)
    assert found["trimap"]["miou"] == pytest.approx(noted["trimap"]["miou"], abs=1e-5)
    assert [path.name for path in (kept / "checkpoints").iterdir()] == [
        f"step-{record(alone, 'first-s0')['metrics']['chosen']['step']:06d}"
    ]
    assert (kept / "log.jsonl").exists()
    assert not list((alone / "runs").iterdir())


def test_the_command_in_a_record_makes_the_same_record(alone, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(record(alone, "longer-s0")["command"])
    assert words[:4] == ["segcourse", "bench", "suite", "--only"]
    assert call(capsys, *words[1:])[0] == 0
    assert records(Path("again")) == records(alone)


@pytest.mark.slow
def test_the_toy_list_runs_as_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    code, out, _ = run(capsys, tmp_path, "--only", "toy")
    assert code == 0
    assert re.search(r"toy-s0 +done +0\.\d{4} +0\.\d{4}", out)
    assert record(tmp_path, "toy-s0")["data"]["train"]["images"] == 1000


def test_without_tensorboard_matplotlib_and_jupyter_it_runs_and_says_what_is_missing(tmp_path):
    absent = "tensorboard torch.utils.tensorboard matplotlib ipywidgets IPython ipykernel nbformat "
    absent += "jupyter_book skimage sklearn scipy pytest"
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent.split()!r}))
from segcourse.cli import main, suite
from segcourse import data
from segcourse.cli.suite_runs import Entry, equal_seconds
from segcourse.config import Config
data.LENGTHS.update({LENGTHS!r})
suite.TOYS = (Entry("first", {FIRST.flags!r}),)
words = ["bench", "suite", "--toy", "--seeds", "0", "--device", "cpu", "--out", {str(tmp_path)!r}]
sys.exit(main(words))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensorboard is not installed" in done.stderr
    assert (tmp_path / "first-s0.json").exists()


# ---- merging, other configurations, failures


def test_what_is_done_is_passed_over(alone, tmp_path, capsys):
    out = copy(alone, tmp_path)
    before = (out / "first-s0.json").read_bytes()
    (out / "runs" / "first-s0").mkdir()  # left by a kill just after the record
    code, told, _ = run(capsys, out)
    assert code == 0
    assert "steps" not in told
    assert (out / "first-s0.json").read_bytes() == before
    assert not (out / "runs" / "first-s0").exists()


def test_a_record_of_another_configuration_is_put_aside_and_made_again(
    alone, tmp_path, capsys, monkeypatch
):
    out = copy(alone, tmp_path)
    old = (out / "first-s0.json").read_bytes()
    monkeypatch.setattr(suite, "TOYS", (Entry("first", FIRST.flags + " --lr 0.02"), LONGER))
    code, told, _ = run(capsys, out)
    assert code == 0
    moved = out / "superseded" / "first-s0-1.json"
    assert f"first-s0.json: lr: 0.01 -> 0.02: moved to {moved}" in told
    assert "longer-s0.json: first-s0: lr: 0.01 -> 0.02: moved to" in told  # it started from that
    assert moved.read_bytes() == old
    assert (out / "superseded" / "first-s0.maps-1.png").exists()
    assert record(out, "first-s0")["config"]["lr"] == 0.02
    assert (
        record(out, "longer-s0")["start"]["sha256"]
        == (record(out, "first-s0")["weights"]["sha256"])
    )


def test_a_field_that_came_after_a_record_has_its_default_there(alone, tmp_path, capsys):
    out = copy(alone, tmp_path)
    made = record(out, "first-s0")
    del made["config"]["jitter"]
    (out / "first-s0.json").write_text(json.dumps(made))
    assert "steps" not in run(capsys, out)[1]


def test_records_of_other_runs_stay_and_are_named(alone, tmp_path, capsys, monkeypatch):
    out = copy(alone, tmp_path)
    monkeypatch.setattr(suite, "TOYS", (FIRST,))
    code, told, _ = run(capsys, out)
    assert code == 0
    assert f"also in {out}, and left as they are: longer-s0" in told
    assert (out / "longer-s0.json").exists()


def test_a_run_whose_start_has_lost_its_weights_makes_them_again(alone, tmp_path, capsys):
    out = copy(alone, tmp_path)
    (out / "longer-s0.json").unlink()
    shutil.rmtree(out / "trained")
    code, told, _ = run(capsys, out)
    assert code == 0
    assert "first-s0.json stays: its weights are not here, and are trained again" in told
    assert "for its weights: first-s0: 20 steps" in told
    assert "for its weights: first-s0: has its weights again" in told
    assert not (out / "superseded").exists()
    assert (out / "first-s0.json").read_bytes() == (alone / "first-s0.json").read_bytes()
    assert records(out) == records(alone)
    again, before = (weights_of(folder / "trained" / "first-s0") for folder in (out, alone))
    assert again == before


def weights_of(folder: Path) -> bytes:
    (file,) = folder.glob("checkpoints/*/weights.safetensors")
    return file.read_bytes()


def test_weights_that_are_made_again_survive_a_stop(alone, tmp_path, capsys, monkeypatch):
    out = copy(alone, tmp_path)
    (out / "longer-s0.json").unlink()
    shutil.rmtree(out / "trained")
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "stop", lambda self: not self.allows(1e9))
        code, told, _ = run(capsys, out, "--minutes", 10)
    assert "for its weights: first-s0: in hand" in told
    assert "longer-s0 waits for first-s0" in told
    code, told, _ = run(capsys, out)
    assert code == 0
    assert re.search(r"for its weights: first-s0: 20 steps, from step \d+\n", told)
    assert records(out) == records(alone)
    assert not (out / "runs" / "first-s0").exists()


class Hungry(torch.nn.Module):
    """Stands for a model that the GPU has no room for."""

    def __init__(self, num_classes):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, num_classes, 1)

    def forward(self, image):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 99.00 GiB")


def test_a_run_that_fails_is_noted_and_the_next_one_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(models.MODELS, "hungry", Hungry)
    wild = Entry("wild", SHORT + "--lr 1e30")
    fat = Entry("fat", SHORT + "--model hungry")
    more = Entry("more", SHORT, start="wild")
    monkeypatch.setattr(suite, "TOYS", (wild, fat, more, FIRST))
    code, told, _ = run(capsys, tmp_path)
    assert code == 1
    assert "fat-s0: failed: CUDA out of memory" in told
    assert "more-s0 waits for wild-s0" in told
    assert re.search(r"first-s0 +done", told)
    assert "failed: wild-s0, fat-s0. --retry tries them again." in told
    noted = json.loads((tmp_path / "failed" / "wild-s0.json").read_text())
    assert noted["error"] == "DivergedError"
    assert "Traceback" in noted["traceback"]
    assert "--only wild --seeds 0" in noted["command"]

    code, told, _ = run(capsys, tmp_path)
    assert (code, "wild-s0: 20 steps" in told) == (0, False)
    monkeypatch.setitem(models.MODELS, "hungry", models.MODELS["full-resolution"])
    code, told, _ = run(capsys, tmp_path, "--retry")
    assert code == 1  # the wild one fails again
    assert re.search(r"fat-s0 +done", told)
    assert not (tmp_path / "failed" / "fat-s0.json").exists()


def test_a_failed_run_is_tried_again_when_its_configuration_has_changed(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(suite, "TOYS", (Entry("first", SHORT + "--lr 1e30"),))
    assert run(capsys, tmp_path)[0] == 1
    monkeypatch.setattr(suite, "TOYS", (FIRST,))
    code, told, _ = run(capsys, tmp_path)
    assert code == 0
    assert "first-s0.json: ema: 0.0 -> 0.9; lr: 1e+30 -> 0.01: moved to" in told
    assert re.search(r"first-s0 +done", told)


def test_a_damaged_record_is_named(alone, tmp_path, capsys):
    out = copy(alone, tmp_path)
    (out / "first-s0.json").write_text("{")
    code, _, err = run(capsys, out)
    assert (code, f"{out / 'first-s0.json'} is damaged" in err) == (1, True)


# ---- data


def make_pack(tmp_path: Path, capsys, seed: int) -> Path:
    """A pack of CamVid's layout and classes, with pictures of noise."""
    draw = np.random.default_rng(seed)
    root = tmp_path / f"noise{seed}"
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for name in (split, f"{split}annot"):
            (root / name).mkdir(parents=True)
        for i in range(count):
            picture = draw.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(picture).save(root / split / f"{i}.png")
            labels = draw.integers(0, 12, (32, 32)).astype(np.uint8)
            Image.fromarray(labels).save(root / f"{split}annot" / f"{i}.png")
    out = tmp_path / f"noise{seed}.zip"
    assert call(capsys, "data", "pack", "camvid", "--root", root, "--out", out)[0] == 0
    return out


def test_packs_and_folders_are_one_data_set_and_other_pictures_are_refused(
    tmp_path, capsys, monkeypatch
):
    entry = Entry("noise", SHORT.replace("--data scenes", "--data camvid"))
    monkeypatch.setattr(suite, "TOYS", (entry, FIRST))
    code, told, _ = run(capsys, tmp_path / "out")
    assert code == 0
    assert "left out, since --data-pack does not give camvid: noise-s0" in told
    assert re.search(r"first-s0 +done", told)

    pack, other = (make_pack(tmp_path, capsys, seed) for seed in (0, 1))
    out = tmp_path / "out"
    assert run(capsys, out, "--data-pack", pack)[0] == 0
    made = record(out, "noise-s0")
    assert "--data-pack noise0.zip" in made["command"]
    assert made["config"]["root"] == "noise0.zip"
    # The folder is the same data: only the other seed is trained.
    folder = f"camvid={tmp_path / 'noise0'}"
    code, told, _ = run(capsys, out, "--data-pack", folder, "--seeds", 0, 1)
    assert code == 0
    assert "noise-s0: 20 steps" not in told
    assert record(out, "noise-s1")["data"] == made["data"]
    assert re.search(r"noise: test mIoU 0\.\d{4} \(0\.\d{4} to 0\.\d{4}\) over 2 seeds", told)
    code, _, err = run(capsys, out, "--data-pack", other, "--seeds", 2)
    assert code == 2
    assert "was made on other camvid images or labels than those given now" in err


def test_data_without_a_test_split_are_measured_on_val_alone(tmp_path, capsys, monkeypatch):
    draw = np.random.default_rng(0)
    for kind in ("image", "label"):
        (tmp_path / "isbi" / kind).mkdir(parents=True)
        for i in (0, 1, 2, 3, 24):
            values = (255 * draw.integers(0, 2, (32, 32))).astype(np.uint8)
            Image.fromarray(values).save(tmp_path / "isbi" / kind / f"{i}.png")
    monkeypatch.setattr(
        suite, "TOYS", (Entry("cells", SHORT.replace("--data scenes", "--data isbi")),)
    )
    code, _, err = run(capsys, tmp_path / "out", "--data-pack", f"isbi={tmp_path / 'isbi'}")
    assert code == 0, err
    made = record(tmp_path / "out", "cells-s0")
    assert made["metrics"]["test"] is None
    assert made["metrics"]["val"]["images"] == 1
    assert made["metrics"]["val"]["objects"]["objects"] > 0  # its cells are counted, too


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--only", "nothing"], 2, "--only nothing: not in the list: first, longer"),
        (["--minutes", 0], 2, "--minutes is 0: give more than 0"),
        (["--seeds", -1], 2, "--seeds -1: give 0 or more"),
        (["--data-pack", "gone.zip"], 1, "--data-pack gone.zip does not exist: give a file that"),
        (["--data-pack", "camvid=gone"], 1, "gone does not exist"),
        (["--out", __file__], 2, "is a file: give a folder"),
    ],
)
def test_bad_input_to_the_suite_is_told(words, code, told, tmp_path, capsys):
    found, _, err = run(capsys, tmp_path / "out", *words)
    assert (found, told in err) == (code, True), err
    assert not (tmp_path / "out").exists()


def test_runs_without_their_data_are_refused_with_what_to_do(tmp_path, capsys):
    code, _, err = run(capsys, tmp_path / "out", toy=False)
    assert code == 2
    assert "segcourse data pack camvid --root DIR --out camvid.zip" in err


def test_two_suites_do_not_share_a_folder(tmp_path, capsys):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, err = run(capsys, tmp_path)
    assert (code, "another suite is at work in" in err) == (2, True)


def test_the_suite_does_not_run_under_torchrun(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = run(capsys, tmp_path)
    assert (code, "in one process" in err) == (2, True)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_gpu_takes_a_python_that_has_torch_and_installs_nothing(tmp_path):
    root = Path(__file__).resolve().parent.parent
    words = ["make", "gpu", f"PYTHON={sys.executable}", "ARGS=--toy --list", f"OUT={tmp_path}"]
    # Called from another make, as these tests are, it would print the folders that it goes to.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(words, cwd=root, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == suite_table.listing(suite_runs.TOYS, suite_runs.SEEDS) + "\n"


# ---- the list, the plan


def test_the_list_has_what_only_asks_for_and_what_that_repeats(capsys, tmp_path, monkeypatch):
    """In the list's order, and no flags of anything else."""
    monkeypatch.setattr(suite, "TOYS", suite_runs.TOYS)
    code, out, _ = run(capsys, tmp_path, "--list", "--only", "toy-seconds")
    named = [line.split(":")[0].split(",")[0] for line in out.splitlines()[:-1:2]]
    assert (code, named) == (0, ["toy", "toy-seconds"])


LISTS = {"runs": suite_runs.RUNS, "small": suite_runs.SMALL, "toys": suite_runs.TOYS}


@pytest.mark.parametrize("entries", LISTS.values(), ids=LISTS)
def test_every_line_of_the_list_is_a_run(entries):
    jobs = jobs_of(entries, suite_runs.SEEDS)
    assert len({job.label for job in jobs}) == len(entries) * len(suite_runs.SEEDS)
    for job in jobs:
        assert re.fullmatch(r"[a-z0-9-]+", job.entry.name)
        assert job.config.model in models.MODELS
        assert job.config.data in DATASETS
        given = job.config
        assert (given.root, given.out, given.start, given.device) == ("", "", "", "auto")


def test_a_checkpoint_is_assumed_to_take_as_long_as_its_bytes():
    model = torch.nn.Linear(10, 10, dtype=torch.float64)  # 880 bytes
    adam = suite_work.seconds_to_save(Config(ema=0.9, optimizer="adamw"), model)
    assert adam == pytest.approx(4 * 880 / 300e6)
    assert suite_work.seconds_to_save(Config(ema=0, optimizer="sgd"), model) == adam / 2


def test_few_checkpoints_are_written_in_a_run_of_the_list():
    """One of VGG16 has 2 GB: at most five, and the best run's 23."""
    for job in jobs_of(suite_runs.RUNS, (0,)):
        config = job.config
        if "vgg16" in config.model:
            assert config.eval_every == config.checkpoint_every or job.of
            assert math.ceil(config.steps / config.eval_every) == 5
        assert config.steps / config.checkpoint_every <= 23


def test_runs_on_camvid_are_under_one_protocol():
    for entry in suite_runs.RUNS:
        config = Job(entry, 0, suite_place.parse_config(entry.flags.split())).config
        if config.data == "camvid":
            assert (config.height, config.width) == (360, 480)
            assert config.eval_every > 0


def test_the_small_list_has_one_size_and_one_length():
    runs = {entry.name: entry for entry in suite_runs.RUNS}
    for job in jobs_of(suite_runs.SMALL, (0,)):
        config = job.config
        if config.data == "isbi":
            assert (config.model, config.steps, config.crop) == ("unet-light", 300, (160, 160))
            continue
        assert (config.data, config.height, config.width) == ("camvid", 120, 160)
        if job.entry in suite_runs.SMALL_LADDER:
            continue  # a recipe of its own: tests/test_suite_ladder.py
        assert (config.steps, config.eval_every, config.precision) == (736, 184, "fp32")
        if config.model == "patch":
            assert config.batch == round(8 * 120 * 160 / 31**2)
        else:
            assert (config.batch, config.crop) == (8, (120, 160))
        # Where the long list has the name, too: the same model, start and views.
        long = runs.get(job.entry.name, job.entry)
        assert (long.start, long.views) == (job.entry.start, job.entry.views)
        assert f"--model {config.model} " in f"{long.flags} "


def test_the_first_seed_of_every_entry_goes_first():
    labels = [job.label for job in jobs_of((FIRST, LONGER), (0, 1))]
    assert labels == ["first-s0", "longer-s0", "first-s1", "longer-s1"]
    assert [job.label for job in jobs_of((FIRST, LONGER), (2,), ["longer"])] == [
        "first-s2",
        "longer-s2",
    ]
    with pytest.raises(UsageError, match="longer starts from first, which does not stand before"):
        jobs_of((LONGER, FIRST), (0,))
    with pytest.raises(UsageError, match="--stepps 5 is no flag"):
        jobs_of((Entry("x", "--stepps 5"),), (0,))


def test_the_list_can_be_printed(capsys):
    code, told, _ = run(capsys, Path("nowhere"), "--list", toy=False)
    assert code == 0
    for entry in suite_runs.RUNS:
        assert f"\n    segcourse train {' '.join(entry.flags.split())}" in told
    assert not Path("nowhere").exists()


def test_a_dry_run_estimates_from_the_records_and_writes_nothing(alone, tmp_path, capsys):
    code, told, _ = run(capsys, tmp_path / "out", "--dry-run")
    assert code == 0
    assert "no run was timed yet: minutes assume" in told
    assert not (tmp_path / "out").exists()
    out = copy(alone, tmp_path)
    made = record(out, "first-s0") | {"seconds": 600.0}
    (out / "first-s0.json").write_text(json.dumps(made))
    code, told, _ = run(capsys, out, "--dry-run", "--seeds", 0, 1, "--only", "first")
    assert re.search(r"first-s1 +pending +0\.\d\d +10\.0", told)
    assert "about 10 minutes are left on cpu; minutes are scaled from the records" in told


def test_the_plan_counts_every_network_of_the_list(tmp_path, capsys):
    code, told, _ = run(capsys, tmp_path / "out", "--dry-run", toy=False)
    assert code == 0
    for entry in suite_runs.RUNS:
        work = "" if entry.of else r" +[\d,]+\.\d\d"
        assert re.search(rf"^{entry.name}-s0 +no data{work}$", told, re.M), entry.name


def test_the_work_of_a_run_is_three_forward_passes_a_step():
    (job,) = jobs_of((Entry("x", SHORT + "--crop 16 24"),), (0,))
    per_pixel = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 64 * 8
    assert suite_table.training_work(job) == 3 * per_pixel * 16 * 24 * 2 * 20


def test_only_the_clock_and_the_machine_are_left_out_of_the_comparison():
    made = {"seed": 1, "seconds": 2.0, "curve": [{"images_per_second": 3.0, "loss": 4.0}]}
    assert without_clock(made) == {"seed": 1, "curve": [{"loss": 4.0}]}
