"""The speedrun: a clock from the process's start, stages of two sizes, target reached or not."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli_tools import call
from suite_kills import LENGTHS

from segcourse import data, results, speed_tables
from segcourse.cli import speedrun, speedrun_train
from segcourse.cli.flags import parse_config
from segcourse.cli.models import MODELS
from segcourse.cli.speedrun_train import Race, Run
from segcourse.cli.stopwatch import Stopwatch, process_age
from segcourse.cli.suite_runs import SMALL
from segcourse.config import differences
from segcourse.data import Scenes
from segcourse.data.augment import Augmentation
from segcourse.data.batches import ResidentBatches
from segcourse.data.resident import ResidentSet
from segcourse.data.staged import StagedBatches, halved
from segcourse.errors import UsageError
from segcourse.labels import IGNORE, SCENES
from segcourse.records import plain
from segcourse.training import evaluate

ROOT = Path(__file__).resolve().parent.parent
TINY = (
    "--data scenes --height 32 --width 32 --crop 32 32 --model full-resolution --batch 4 "
    "--steps 8 --warmup 1 --precision fp32 --no-channels-last --copy-paste 0 "
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(data, "LENGTHS", LENGTHS)


def timeline(metrics) -> dict[str, float]:
    return {one["part"]: one["seconds"] for one in metrics["timeline"]}


def race(capsys, out, *words, recipe=""):
    # The clock started with the process, that of all tests: no limit but where one is tested.
    always = ["--device", "cpu", "--limit", 1e6, "--json", out / "s.json"]
    words = [f"--recipe={TINY}{recipe}", *always, *words]
    code, told, err = call(capsys, "bench", "speedrun", *words)
    made = json.loads((out / "s.json").read_text()) if (out / "s.json").exists() else None
    return code, told, err, made


# ---- the clock


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_parts_are_counted_without_what_happens_inside_them_and_sum_to_the_total():
    clock = Clock()
    watch = Stopwatch(3.0, clock)
    clock.now += 1
    with watch.part("train"):
        clock.now += 10
        with watch.part("eval"):
            clock.now += 2
        clock.now += 5
        with watch.part("eval"):
            clock.now += 0.5
    clock.now += 0.25
    assert watch.timeline() == {"import": 3, "other": 1.25, "train": 15, "eval": 2.5}
    assert watch.total() == sum(watch.timeline().values()) == 21.75


def test_the_clock_starts_with_the_process_not_with_the_first_line():
    program = "import time, segcourse.cli.stopwatch as s; time.sleep(0.3); print(s.process_age())"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.29 < float(run.stdout) < 60


def test_where_the_system_does_not_say_the_clock_starts_with_the_command(
    tmp_path, capsys, monkeypatch
):
    assert process_age() > 0
    monkeypatch.setattr("segcourse.cli.stopwatch.Path", lambda name: tmp_path / "nothing")
    assert process_age() is None
    monkeypatch.setattr(speedrun, "process_age", lambda: None)
    code, told, _, made = race(capsys, tmp_path, "--target", 0)
    assert (code, made["metrics"]["clock"]) == (0, "the command")
    assert "since the start of the command" in told
    assert "import" not in timeline(made["metrics"])


def test_the_processors_seconds_are_those_of_the_process_alone(tmp_path, capsys, monkeypatch):
    """What other work on the machine takes is in the wall clock and not in them."""
    began, slept = time.process_time(), []

    class Slow(Run):
        def go(self):
            time.sleep(0.5)
            slept.append(self.watch.total())
            return super().go()

    monkeypatch.setattr(speedrun, "Run", Slow)
    _, told, _, made = race(capsys, tmp_path, "--target", 0, "--checks", 1, "--processor")
    metrics = made["metrics"]
    assert metrics["clock"] == "the processor"
    assert began <= slept[0] <= metrics["seconds"] <= time.process_time()
    assert sum(timeline(metrics).values()) == pytest.approx(metrics["seconds"], abs=0.1)
    assert metrics["checks"][0]["seconds"] <= metrics["seconds"]
    said = f"{metrics['wall_seconds']:.2f} s of wall clock"
    assert f"{metrics['seconds']:.2f} s of the processor, {said}" in told
    (line,) = (one for one in speed_tables.speedruns([made]).splitlines() if "the clock" in one)
    assert line == (
        f"| the clock | the processor's; the wall's said {metrics['wall_seconds']:.0f} |"
    )


def test_the_processors_seconds_say_nothing_of_a_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speedrun, "choose_device", lambda name: torch.device("cuda"))
    code, _, err, made = race(capsys, tmp_path, "--processor")
    assert (code, made) == (2, None)
    assert "--processor does not count what cuda does: leave it out there" in err


# ---- stages


def test_a_halved_set_has_means_of_pixels_and_labels_where_four_agree():
    images = torch.tensor([[0, 1, 8, 8, 9], [2, 3, 8, 8, 9], [7, 7, 7, 7, 7]], dtype=torch.uint8)
    labels = torch.tensor([[1, 1, 2, 2, 0], [1, 1, 2, 3, 0], [0] * 5], dtype=torch.uint8)
    whole = ResidentSet(images.expand(2, 3, 3, 5), labels.expand(2, 3, 5), SCENES)
    half = halved(whole, at_once=1)
    assert half.images.tolist() == [[[[2, 8]]] * 3] * 2  # 1.5 rounds to even
    assert half.labels.tolist() == [[[1, IGNORE]]] * 2
    assert half.labels.dtype == torch.uint8
    assert half.classes is SCENES


def test_labels_of_a_halved_set_are_void_or_those_of_all_four_pixels():
    whole = ResidentSet.load(Scenes(3, (32, 40)))
    half = halved(whole)
    restored = half.labels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    known = restored != IGNORE
    assert torch.equal(restored[known], whole.labels[known])
    assert known.double().mean() > 0.5


def test_stages_follow_each_other_at_their_steps():
    whole = ResidentSet.load(Scenes(6, (32, 40)))
    small, large = (ResidentBatches(s, 2, Augmentation(), 0) for s in (halved(whole), whole))
    staged = StagedBatches([(0, small), (3, large)])
    assert [tuple(staged.batch(t)[1].shape[1:]) for t in range(5)] == [(16, 20)] * 3 + [
        (32, 40)
    ] * 2
    for t, pair in enumerate(itertools.islice(staged.stream(2, 1, 2), 3), 2):
        expected = (small if t < 3 else large).batch(t, 1, 2)
        assert torch.equal(pair[0], expected[0])
    for wrong, told in (
        ([(1, small)], r"stages begin at \[1\]: give rising steps"),
        ([(0, small), (0, large)], "rising steps"),
        ([], "rising steps"),
        ([(0, small), (1, ResidentBatches(whole, 3, Augmentation(), 0))], r"batches of \[2, 3\]"),
    ):
        with pytest.raises(ValueError, match=told):
            StagedBatches(wrong)


def test_threads_read_the_same_set_in_the_same_order():
    a, b = ResidentSet.load(Scenes(9, (32, 32))), ResidentSet.load(Scenes(9, (32, 32)), threads=3)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)


# ---- reached or not


def test_the_run_ends_at_the_check_at_which_val_is_high_enough(tmp_path, capsys):
    code, told, _, made = race(capsys, tmp_path, "--target", 0.001, "--margin", 0, "--checks", 4)
    metrics = made["metrics"]
    assert code == 0
    assert metrics["reached"]
    assert metrics["steps"] == 2
    (check,) = metrics["checks"]
    assert check["step"] == 2
    assert metrics["test"]["miou"] >= 0.001
    assert check["val_miou"] == metrics["val"]["miou"]
    assert metrics["ended_by_val"]
    assert "the target 0.001 is reached" in told
    assert sum(timeline(metrics).values()) == pytest.approx(metrics["seconds"], abs=0.1)
    parts = ["import", "other", "device", "data", "build", "train", "eval"]
    assert list(timeline(metrics)) == parts
    assert metrics["seconds_without_compile"] == metrics["seconds"]
    assert check["seconds"] <= metrics["seconds"]
    assert made["config"]["recipe"]["model"] == "full-resolution"
    assert (made["config"]["target"], made["config"]["benchmark"]) == (0.001, True)
    assert made["command"].startswith("segcourse bench speedrun '--recipe=--data scenes")


def test_a_target_that_is_not_reached_is_recorded_and_test_is_measured_once(tmp_path, capsys):
    words = ("--target", 0.99, "--checks", 3, "--no-benchmark")
    code, told, _, made = race(capsys, tmp_path, *words)
    assert not made["config"]["benchmark"]
    metrics = made["metrics"]
    assert code == 1
    assert not metrics["reached"]
    assert metrics["steps"] == 8
    assert [check["step"] for check in metrics["checks"]] == [3, 6, 8]
    assert not metrics["ended_by_val"]
    assert all(set(check) == {"step", "seconds", "val_miou"} for check in metrics["checks"])
    assert "the target 0.99 is not reached" in told


def test_a_target_that_val_never_shows_may_be_reached_on_test(tmp_path, capsys):
    code, _, _, made = race(capsys, tmp_path, "--target", 0.001, "--margin", 1, "--checks", 2)
    metrics = made["metrics"]
    assert code == 0
    assert metrics["reached"]
    assert (metrics["steps"], metrics["ended_by_val"]) == (8, False)


@pytest.mark.parametrize(
    ("val", "test", "steps", "reached"),
    [
        ([0.2, 0.7, 0.9, 0.9], 0.5, 4, False),  # val ends it, and test stays below: not reached
        ([0.2, 0.6, 0.7, 0.9], 0.6, 6, True),  # val at the target alone does not end it
        ([0.2, 0.6, 0.6, 0.6], 0.9, 8, True),
    ],
)
def test_val_alone_ends_training_and_test_is_measured_once_after_it(val, test, steps, reached):
    config = parse_config([*speedrun.RECIPE.split(), *TINY.split()])
    run = Run(config, Race(0.6, 0.1, 0.5, 4, 60.0, 1, True), torch.device("cpu"), Stopwatch())
    looked = []

    def measure(model, split):
        looked.append("val" if split is run.val else "test")
        right = val[len(looked) - 1] if split is run.val else test
        # One class, so that its IoU is the share that is right.
        return torch.tensor([[round(100 * right), 100 - round(100 * right)], [0, 0]])

    run._measure = measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speedrun_train.metrics, "mean_iou", lambda cm: (cm[0, 0] / 100).item())
        found = run.go()
    assert found.history.steps == steps
    assert looked == ["val"] * (steps // 2) + ["test"]
    assert found.reached == reached
    assert found.ended_by_val == (steps < 8)


def test_training_ends_at_the_limit_and_the_network_is_measured(tmp_path, capsys):
    words = ("--target", 0.99, "--checks", 2, "--limit", 0.001)
    code, _, _, made = race(capsys, tmp_path, *words, recipe="--steps 60")
    assert code == 1
    assert made["metrics"]["steps"] == 10  # the first time the loop asks
    assert [check["step"] for check in made["metrics"]["checks"]] == [10]


def test_the_matrices_are_those_of_the_averaged_network_at_the_end():
    config = parse_config([*speedrun.RECIPE.split(), *TINY.split(), "--ema", "0.5"])
    run = Run(config, Race(0.99, 0.0, 0.5, 2, 60.0, 1, True), torch.device("cpu"), Stopwatch())
    built = []

    def build(*args):
        built.append(MODELS["full-resolution"](8))
        return built[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speedrun_train, "build", build)
        found = run.go()
    batches = speedrun_train.evaluation_batches(run.test, 2)
    assert torch.equal(evaluate(built[0], batches, 8), found.test)


def test_cudnn_looks_for_kernels_where_it_is_told_to_and_is_left_as_it_was():
    before = torch.backends.cudnn.benchmark
    with speedrun_train._benchmark(True):
        assert torch.backends.cudnn.benchmark
        with speedrun_train._benchmark(False):
            assert not torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_every_second_is_accounted_for(tmp_path, capsys):
    words = ["--target", 0.99, "--checks", 2, "--device", "cuda"]
    recipe = "--model unet-aspp-light --precision bf16 --channels-last"
    _, _, _, made = race(capsys, tmp_path, *words, recipe=recipe)
    metrics = made["metrics"]
    assert metrics["steps"] == 8
    assert sum(timeline(metrics).values()) == pytest.approx(metrics["seconds"], abs=0.1)
    assert made["hardware"]["gpu"] == torch.cuda.get_device_name()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_set_halved_on_a_gpu_equals_the_cpus():
    whole = ResidentSet.load(Scenes(3, (32, 40)))
    moved = halved(ResidentSet(whole.images.cuda(), whole.labels.cuda(), whole.classes))
    assert moved.labels.is_cuda
    assert torch.equal(moved.images.cpu(), halved(whole).images)
    assert torch.equal(moved.labels.cpu(), halved(whole).labels)


# ---- as a table


def test_the_table_has_a_row_a_part_and_says_what_was_reached(tmp_path, capsys):
    made = race(capsys, tmp_path, "--target", 0.99, "--checks", 1)[3]
    table = speed_tables.speedruns([made]).splitlines()
    assert table[0] == "| seconds | full-resolution, 32×32, seed 0 |"
    parts = [line.split(" | ")[0][2:] for line in table[2:]]
    assert parts[:-7] == list(timeline(made["metrics"]))
    assert f"| test mIoU | {100 * made['metrics']['test']['miou']:.1f} |" in table
    assert table[-3:] == [
        "| the target | 99.0, not reached |",
        "| training was ended by | its last step or the limit |",
        "| the clock | the wall's |",
    ]

    other = {
        "seed": 1,
        "config": {"recipe": {"model": "unet-aspp"}},
        "metrics": {
            "timeline": [
                {"part": "compile", "seconds": 30.04},
                {"part": "train", "seconds": 20.0},
            ],
            "seconds": 50.04,
            "seconds_without_compile": 20.0,
            "target": 0.601,
            "reached": True,
            "ended_by_val": True,
            "val": {"miou": 0.7345},
            "test": {"miou": 0.6123},
        },
    }
    made["metrics"]["timeline"] = [{"part": "train", "seconds": 7.0}]
    assert speed_tables.speedruns([made, other]).splitlines()[2:4] == [
        "| train | 7.0 | 20.0 |",
        "| compile | – | 30.0 |",
    ]
    assert speed_tables.speedruns([other]).splitlines()[-7:] == [
        "| **all** | **50.0** |",
        "| all but compiling | 20.0 |",
        "| val mIoU | 73.5 |",
        "| test mIoU | 61.2 |",
        "| the target | 60.1, reached |",
        "| training was ended by | val |",
        "| the clock | the wall's |",
    ]


def raced(val, test, checks, *, ended=True, target=0.25, margin=0.125):
    """A record of a speedrun whose checks had these numbers on val, 100 steps and 10 s apart."""
    steps = [
        {"step": 100 * i, "seconds": 10.0 * i, "val_miou": one} for i, one in enumerate(checks, 1)
    ]
    found = {"checks": steps, "val": {"miou": val}, "test": {"miou": test}, "target": target}
    found |= {"ended_by_val": ended, "reached": test >= target}
    return {"config": {"margin": margin}, "metrics": found}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            raced(0.4, 0.35, [0.1, 0.31, 0.36, 0.4]),
            "At the end val was 40.0 and test 35.0: val was 5.0 points above test, and the rule's "
            "margin is 12.5. A margin of just this gap would have ended training at step 200 in "
            "place of 400, after 20 s in place of 40 s.",
        ),
        (raced(0.4, 0.3, [0.1, 0.3, 0.4]), "would have ended training at the same check."),
        (raced(0.4, 0.2, [0.4]), "The margin was too small: training ended before test had the"),
        (raced(0.3, 0.26, [0.3], ended=False), "Val never reached the target and the margin"),
        (raced(0.4, 0.45, [0.1, 0.4]), "val was 5.0 points below test"),
        (raced(0.4, 0.3, [None, 0.4]), "at the same check."),
    ],
)
def test_hindsight_says_which_margin_would_have_been_enough(record, said):
    assert said in speed_tables.margin(record)


# ---- compiling


def test_compiling_is_a_part_of_its_own_and_changes_no_weight_and_no_average(
    tmp_path, capsys, monkeypatch
):
    """Stands in for the compiler, which needs a C++ compiler and half a minute."""
    seen, calls = [], []

    def compile_in_place(self, dynamic):
        def call(*images):
            calls.append((len(images[0]), self.training, torch.is_grad_enabled()))
            return self._call_impl(*images)

        seen.append(dynamic)
        self._compiled_call_impl = call

    monkeypatch.setattr(torch.nn.Module, "compile", compile_in_place)
    words = ("--target", 0.99, "--checks", 1)
    plain = race(capsys, tmp_path, *words)[3]["metrics"]
    again = race(capsys, tmp_path, *words, recipe="--compile")[3]["metrics"]
    assert seen == [False]
    assert calls == [(4, True, True)] * (2 + 8)  # two sizes, eight steps, and no evaluation
    assert again["test"] == plain["test"]
    assert timeline(again)["compile"] > 0
    rest = again["seconds"] - timeline(again)["compile"]
    assert again["seconds_without_compile"] == pytest.approx(rest, abs=1e-3)


# ---- what is refused


@pytest.mark.parametrize(
    ("words", "recipe", "told"),
    [
        (["--target", 60.1], "", "--target is 60.1: give a number from 0 to 1"),
        (["--half", -1], "", "--half is -1: give a number from 0 to 1"),
        (["--checks", 0], "", "--checks is 0: give 1 or more"),
        (["--threads", 0], "", "--threads is 0: give 1 or more"),
        (["--limit", 0], "", "--limit is 0: give seconds above 0"),
        ([], "--workers 2", "--recipe gives --workers, which a speedrun does not take"),
        ([], "--model patch", "give another model than patch"),
        ([], "--data camvid --height 0 --width 0", "camvid: give --data-pack camvid=FOLDER"),
    ],
)
def test_bad_input_to_a_speedrun_is_told(words, recipe, told, tmp_path, capsys):
    code, _, err, made = race(capsys, tmp_path, *words, recipe=recipe)
    assert code == 2
    assert told in err
    assert made is None


def test_a_pack_of_other_data_than_the_recipes_is_refused(tmp_path, capsys):
    code, _, err, _ = race(capsys, tmp_path, "--data-pack", f"isbi={tmp_path}")
    assert code == 2
    assert "--data-pack gives isbi and the recipe trains on scenes" in err


def test_a_speedrun_does_not_run_under_torchrun(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err, _ = race(capsys, tmp_path)
    assert code == 2
    assert "start it without torchrun" in err


def test_the_small_recipe_is_that_of_the_small_list_and_its_target_is_of_its_record():
    listed = {entry.name: parse_config(entry.flags.split()) for entry in SMALL}["fcn8s-light"]
    small = parse_config(speedrun.SMALL_RECIPE.split())
    differ = {line.split(":")[0] for line in differences(plain(vars(listed)), small)}
    assert differ == {"steps", "eval_every", "checkpoint_every"}
    segnet = results.read("suite_small/segnet-light-s0")
    assert f"{segnet['metrics']['test']['miou']:.3f}" == str(speedrun.SMALL_TARGET)


@pytest.mark.parametrize(
    ("words", "target"), [([], 0.601), (["--small"], 0.261), (["--small", "--target", 0.5], 0.5)]
)
def test_small_has_a_target_and_a_recipe_of_its_own_and_the_record_has_both(
    words, target, tmp_path, capsys
):
    _, _, _, made = race(capsys, tmp_path, *words, "--checks", 1)
    assert made["metrics"]["target"] == made["config"]["target"] == target
    assert made["config"]["recipe"]["lr"] == 0.003
    # The two recipes differ in what the test's own changes leave alone.
    assert made["config"]["recipe"]["scale"] == ([0.5, 2.0] if "--small" in words else [0.6, 1.8])
    assert made["metrics"]["wall_seconds"] > 0


def test_the_recipe_is_one_that_the_command_takes():
    config = parse_config(speedrun.RECIPE.split())
    assert (config.data, config.height, config.width) == ("camvid", 360, 480)
    assert config.model in MODELS
    with pytest.raises(UsageError, match="no flag"):
        parse_config([*speedrun.RECIPE.split(), "--halff", "1"])
