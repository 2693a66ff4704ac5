"""`make gpu`: the runs, and what is measured once beside them, as the minutes allow."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from segcourse.cli import main as segcourse
from segcourse.cli.suite_runs import RUNS
from tools import gpu

ROOT = Path(__file__).resolve().parent.parent


class Python:
    """Notes what it is asked to run, and leaves the records that the real one would leave."""

    def __init__(self, out, took=0.0, codes=()):
        self.out, self.took, self.codes = out, took, dict(codes)
        self.calls, self.minutes, self.now = [], [], 0.0
        self.content = '{"metrics": {"networks": []}}'

    def __call__(self, words, told, seconds):
        self.now += 60 * self.took
        name = words[words.index("bench") + 1] if "bench" in words else "throughput"
        if name == "suite":
            self.minutes.append(float(words[words.index("--minutes") + 1]))
            chosen = words[words.index("--only") + 1 : -2] if "--only" in words else ["all"]
            self.calls.append(" ".join(["suite", *chosen]))
            assert told
            self.made([*chosen])
            return self.codes.get("suite", 0)
        record = Path(words[-1])
        name = "/".join(record.parts[-2:]).removesuffix(".json")
        self.calls.append(name)
        assert not told
        code = self.codes.get(name, 0)
        if code == 0:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(self.content)
        return code

    def made(self, names):
        self.out.mkdir(exist_ok=True)
        for name in names:
            (self.out / f"{name}-s0.json").touch()


def go(python, *rest, minutes=60.0, has_gpu=True, camvid="c.zip"):
    args = Namespace(minutes=minutes, out=python.out, data_pack=["c.zip"], began=python.now)
    return gpu.work(args, rest, python, lambda: has_gpu, ["a", "b"], camvid, lambda: python.now)


ONCE = ["speedrun/seed-0", "throughput/gpu", "profile/unet", "profile/deeplab-v3-resnet50"]


def test_first_runs_go_before_the_measurements_and_none_is_made_twice(tmp_path):
    python = Python(tmp_path)
    assert go(python) == 0
    assert python.calls == ["crf/gpu", "suite a b", *ONCE, "suite all"]
    python.calls.clear()
    assert go(python) == 0
    assert python.calls == ["suite all"]


def test_measurement_waits_for_a_call_that_has_the_minutes(tmp_path):
    python = Python(tmp_path, took=2.0)
    assert go(python, minutes=10) == 0
    # 10 minutes, two a call: 6 are left for what needs 3, and then too few for what needs 8.
    assert python.calls == ["crf/gpu", "suite a b", "speedrun/seed-0", *ONCE[2:], "suite all"]
    assert python.minutes == [8, 0.01]
    python.calls.clear()
    assert go(python, minutes=10) == 0
    assert python.calls == ["throughput/gpu", "suite all"]


def test_speedrun_that_misses_its_target_is_recorded_and_not_called_a_failure(tmp_path, capsys):
    python = Python(tmp_path)
    usual = python.__call__

    def misses(words, told, seconds):
        return usual(words, told, seconds) or int("speedrun" in words)

    args = Namespace(minutes=60.0, out=tmp_path, data_pack=["c.zip"], began=0.0)
    assert gpu.work(args, (), misses, lambda: True, ["a", "b"], "c.zip", lambda: 0.0) == 0
    assert python.calls == ["crf/gpu", "suite a b", *ONCE, "suite all"]
    assert "not recorded" not in capsys.readouterr().err


def test_failed_measurement_is_told_and_tried_again_in_the_next_call(tmp_path, capsys):
    python = Python(tmp_path, codes={"throughput/gpu": 1})
    assert go(python) == 0
    assert python.calls[-1] == "suite all"
    assert "throughput: exit code 1, not recorded" in capsys.readouterr().err
    python.calls.clear()
    python.codes.clear()
    go(python)
    assert python.calls == ["throughput/gpu", "suite all"]


UNET = {"model": "unet", "peer": {"name": "smp.Unet"}}
WITHOUT = {"model": "unet", "peer": {"missing": "segmentation_models.pytorch is not there"}}


@pytest.mark.parametrize(
    ("networks", "lacks"),
    [
        ([UNET, {"model": "v3", "error": "not reached"}], "v3: not reached"),
        ([WITHOUT], "unet: measured without segmentation_models.pytorch"),
        (None, "it cannot be read"),
    ],
)
def test_incomplete_throughput_is_measured_again_three_times(
    networks, lacks, tmp_path, capsys, monkeypatch
):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    assert WITHOUT["peer"]["missing"] in importlib.import_module("peers.smp_networks").MISSING
    python = Python(tmp_path)
    python.content = json.dumps({"metrics": {"networks": networks}})
    monkeypatch.setattr(gpu, "_has_peer", lambda: False)
    go(python)
    if networks == [WITHOUT]:  # it is as good as it can be, until there is a peer
        python.calls.clear()
        go(python)
        assert python.calls == ["suite all"]
    monkeypatch.setattr(gpu, "_has_peer", lambda: True)
    capsys.readouterr()
    go(python, "--dry-run")
    assert f"throughput                   open, 8 min at most; incomplete: {lacks}\n" in (
        capsys.readouterr().out
    )
    for _ in range(2):
        python.calls.clear()
        go(python)
        assert python.calls == ["throughput/gpu", "suite all"]
        assert f"throughput: incomplete: {lacks}" in capsys.readouterr().err
    python.calls.clear()
    go(python)
    assert python.calls == ["suite all"]
    told = capsys.readouterr().out
    assert f"throughput: not measured: made 3 times, and left so: {lacks}\n" in told
    assert "crf: not measured: done\n" in told


def test_what_there_is_no_time_for_is_told(tmp_path, capsys):
    python = Python(tmp_path, took=2.0)
    go(python, minutes=10)
    told = capsys.readouterr().out
    assert "throughput: not measured in this call: it may take 8 minutes, and 4.0 are left" in told
    python = Python(tmp_path / "other")
    python.made = lambda names: None
    go(python)
    told = capsys.readouterr().out
    assert "profile-deeplab-v3-resnet50: the runs go first: a, b\n" in told


def test_first_runs_are_of_the_list():
    names = [entry.name for entry in RUNS]
    assert set(gpu.FIRST) < set(names)


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("crf/gpu", ["crf/gpu"]),
        ("suite", ["crf/gpu", "suite a b"]),
        ("throughput/gpu", ["crf/gpu", "suite a b", *ONCE[:2]]),
    ],
)
def test_signal_ends_everything(where, calls, tmp_path):
    python = Python(tmp_path, codes={where: gpu.STOPPED})
    assert go(python) == gpu.STOPPED
    assert python.calls == calls


def test_failed_runs_of_the_first_count_as_tried(tmp_path):
    python = Python(tmp_path)
    python.made(["a", "failed/b"][:1])
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "b-s0.json").touch()
    go(python)
    assert python.calls == ["crf/gpu", *ONCE, "suite all"]


@pytest.mark.parametrize("flag", ["--only", "--only=x", "--seeds", "--toy", "--small", "--list"])
def test_flags_that_choose_among_the_runs_leave_the_measurements_out(flag, tmp_path):
    python = Python(tmp_path)
    go(python, flag, *(["x", "--seeds", "0"] if flag == "--only" else []))
    assert len(python.calls) == 1
    assert python.calls[0].startswith("suite")


def test_without_a_gpu_only_the_runs_are_made(tmp_path):
    python = Python(tmp_path)
    go(python, has_gpu=False)
    assert python.calls == ["suite all"]


def test_without_camvid_there_is_no_speedrun_and_nothing_to_wait_for(tmp_path):
    python = Python(tmp_path)
    go(python, camvid=None)
    assert python.calls == ["crf/gpu", *ONCE[1:], "suite all"]


def test_dry_run_lists_what_is_measured(tmp_path, capsys):
    python = Python(tmp_path)
    (tmp_path / "crf").mkdir()
    (tmp_path / "crf" / "gpu.json").write_text("{}")
    go(python, "--dry-run")
    assert python.calls == ["suite all"]
    out = capsys.readouterr().out
    assert "Measured once beside the runs:\n  crf                          done\n" in out
    assert "  throughput                   open, 8 min at most\n" in out
    go(python, "--dry-run", has_gpu=False)
    assert "on a GPU alone:" in capsys.readouterr().out


def test_commands_of_the_measurements_are_commands(tmp_path, monkeypatch):
    """Each is understood by its own command line, and leaves its record where it is looked for."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for one in gpu.measurements(tmp_path, "c.zip"):
        words = list(one.words)
        assert str(one.record) in words
        if words[0] == "-m":
            assert segcourse([*words[2:], "--help"]) == 0
            continue
        assert (ROOT / words[0]).is_file()
        monkeypatch.setattr(sys, "argv", [*words, "--help"])
        with pytest.raises(SystemExit) as end:
            importlib.import_module(Path(words[0]).stem).main()
        assert end.value.code == 0


def test_camvid_is_found_among_the_packs(tmp_path):
    for name in ("other", "camvid"):
        (tmp_path / name).mkdir()
    given = [f"isbi={tmp_path}/other", "absent.zip", f"camvid={tmp_path}/camvid"]
    assert gpu._camvid(given) == given[2]
    assert gpu._camvid(given[:2]) is None


def test_process_passes_a_sigterm_on_and_says_that_it_stopped():
    process = gpu.Process()
    wait = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(7))\n"
    wait += "print('ready', flush=True)\ntime.sleep(30)"
    assert process(["-c", "raise SystemExit(3)"], True, None) == 3
    assert process(["-c", "import time; time.sleep(30)"], False, 0.1) == -signal.SIGKILL

    with subprocess.Popen([sys.executable, "-c", wait], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        process.child = child
        process.receive(signal.SIGTERM, None)
        assert child.wait(20) == 7
    assert process(["-c", ""], True, None) == gpu.STOPPED


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_gpu_hands_everything_on(tmp_path):
    """A stand-in for Python notes what it is asked, and has every package."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\n')
    python.chmod(0o755)
    words = [
        "make",
        "gpu",
        f"PYTHON={python}",
        "OUT=o",
        "MINUTES=10",
        "PACK=c.zip",
        "ARGS=--dry-run",
    ]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(words, cwd=ROOT, env=alone, capture_output=True, check=False)
    assert done.returncode == 0
    last = log.read_text().splitlines()[-1].split()
    began = float(last[5])
    assert abs(began - time.time()) < 60
    expected = "-m tools.gpu --minutes 10 --began N --out o --data-pack c.zip --dry-run"
    assert [*last[:5], "N", *last[6:]] == expected.split()
