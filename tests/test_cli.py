"""The command line as a whole: help, versions, exit codes, flags, no traceback."""

import argparse
import io
import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest
from cli_tools import call

import segcourse
from segcourse import cli
from segcourse.cli import flags, models
from segcourse.config import Config
from segcourse.errors import DataError, UsageError


def python(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "segcourse", *words], capture_output=True, text=True, timeout=120
    )


def test_the_module_runs_and_gives_the_exit_code_to_the_shell():
    done = python("predict", "nowhere.png", "--run", "nowhere", "--out", "out")
    assert done.returncode == 1
    assert "nowhere.png does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_do_not_wait_for_torch():
    code = (
        "import sys; from segcourse.cli import main; a = main(['--help']); b = main(['--version']);"
        "print(a, b, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 0 False"


def test_version_names_the_package_and_torch(capsys):
    code, out, _ = call(capsys, "--version")
    assert code == 0
    assert out.startswith(f"segcourse {segcourse.__version__} (torch 2.")


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_each_command_has_a_help_with_an_example_and_the_exit_codes(command, capsys):
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert "exit codes:" in out
    assert "130  interrupted" in out
    if command not in ("data", "weights", "bench", "grade"):
        several = "s" if command in ("train", "eval", "check") else ""
        assert f"example{several}:\n  segcourse {command}" in out
        assert "--debug" in out


@pytest.mark.parametrize(
    "words",
    [
        *(("data", what) for what in ("check", "get", "convert", "preview", "stats")),
        ("bench", "model"),
        ("bench", "crf"),
        ("bench", "profile"),
        *(("weights", what) for what in ("list", "check", "export")),
        *(("grade", what) for what in ("build", "intake", "run", "mutants", "report")),
    ],
)
def test_each_subcommand_has_a_help_with_an_example(words, capsys):
    code, out, _ = call(capsys, *words, "--help")
    assert code == 0
    assert f"example:\n  segcourse {words[0]} {words[1]}" in out


def test_every_field_of_config_is_one_flag_of_train(capsys):
    grouped = [name for names in flags.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(f.name for f in fields(Config))
    _, out, _ = call(capsys, "train", "--help")
    for f in fields(Config):
        assert re.search(rf"--{f.name.replace('_', '-')}[ ,]", out)


@pytest.mark.parametrize("words", [("train",), ("bench", "model"), ("bench", "profile")])
def test_a_help_has_short_lines_and_names_every_model(words, capsys):
    _, out, _ = call(capsys, *words, "--help")
    assert max(map(len, out.splitlines())) <= 100
    assert set(models.MODELS) <= set(re.findall(r"[\w-]+", out))


def test_flags_left_out_give_the_default_config():
    parser = argparse.ArgumentParser()
    flags.add_config_flags(parser)
    assert flags.config_from(parser.parse_args([])) == Config()


def test_flags_given_arrive_with_their_types():
    parser = argparse.ArgumentParser()
    flags.add_config_flags(parser)
    words = "--crop 8 9 --scale 0.5 2 --milestones 0.1 0.2 0.3 --channels-last --no-compile"
    config = flags.config_from(parser.parse_args([*words.split(), "--lr", "1e-2", "--steps", "7"]))
    assert config.crop == (8, 9)
    assert config.scale == (0.5, 2.0)
    assert config.milestones == (0.1, 0.2, 0.3)
    assert (config.channels_last, config.compile) == (True, False)
    assert (config.lr, config.steps) == (0.01, 7)


def test_the_default_model_is_in_the_table_and_meets_the_contract():
    import torch

    assert Config().model in models.MODELS
    for build in models.MODELS.values():
        with torch.device("meta"):  # shapes without numbers: large models cost nothing
            dense = models.as_dense(build(5)).eval()
            # The backbones of the papers make nothing of less than 32 pixels.
            assert dense(torch.zeros(1, 3, 37, 43)).shape == (1, 5, 37, 43)


def test_a_model_depends_on_its_seed_and_leaves_the_global_random_state_alone():
    import torch

    before = torch.get_rng_state()
    a, b, c = (models.build("full-resolution", 3, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    first = next(iter(a))
    assert torch.equal(a[first], b[first])
    assert not torch.equal(a[first], c[first])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("trian",), "invalid choice: 'trian'"),
        (("train", "--step", "3"), "unrecognized arguments: --step 3"),
        (("train", "--steps", "many"), "argument --steps: invalid int value: 'many'"),
        (("train", "--model", "unet5000"), "argument --model: invalid choice: 'unet5000'"),
        (("train", "--data", "imagenet"), "argument --data: invalid choice: 'imagenet'"),
        (("train", "--steps", "0"), "steps is 0: give a value above 0"),
        (("train", "--height", "90"), "height is 90 and width is 0: give both"),
        (("train", "--crop", "8"), "argument --crop: expected 2 arguments"),
        (("train", "--device", "quantum"), "device is 'quantum', which torch does not know"),
        (("train", "--device", "cuda:99"), "GPU number 99 is needed"),
        (("train", "--data", "camvid"), "--data camvid needs --root, and none was given"),
        (("train", "--model", "patch", "--jitter", "0.2"), "--jitter does not apply to the patch"),
        (("eval",), "the following arguments are required: RUN_DIR"),
        (("predict", "a.png"), "the following arguments are required: --out"),
        (("predict", "a.png", "--out", "o"), "one of the arguments --run --weights is required"),
        (("weights", "export", "x"), "the following arguments are required: --name"),
        (("crf", "a.png"), "the following arguments are required: --labels, --out"),
        (("data", "preview", "--out", "x.png", "--count", "0"), "--count is 0: give 1 or more"),
        (("data", "get", "mnist", "--root", "x"), "argument NAME: invalid choice: 'mnist'"),
        (("bench", "model", "--batch", "0"), "--batch is 0: give 1 or more"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_says_what_is_wrong(words, told, capsys):
    code, _, err = call(capsys, *words)
    assert code == 2
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "help_of"),
    [
        (("train", "--step", "3"), "segcourse train"),
        (("train", "--model", "unet5000"), "segcourse train"),
        (("data", "check", "x", "--fast"), "segcourse data check"),
        (("data", "get", "mnist", "--root", "x"), "segcourse data get"),
        (("trian",), "segcourse"),
    ],
)
def test_a_complaint_is_two_lines_and_names_the_help_to_read(words, help_of, capsys):
    _, out, err = call(capsys, *words)
    complaint, advice = err.splitlines()
    assert complaint.startswith(f"{help_of}: ")
    assert advice == f"`{help_of} --help` explains"
    assert out == ""


def test_a_reader_that_goes_away_is_no_fault(capsys, monkeypatch):
    def fail(args):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("segcourse.cli.bench.run", fail)
    monkeypatch.setattr("sys.stdout", sys.stdout)  # put back afterwards
    capsys.readouterr()
    assert cli.main(["bench", "model"]) == 0
    sys.stdout.close()
    assert capsys.readouterr().err == ""


def test_a_reader_that_is_gone_before_the_last_line_is_no_fault_either(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as nobody:  # what is printed waits in it, and is written at the end
        monkeypatch.setattr("sys.stdout", nobody)
        monkeypatch.setattr("segcourse.cli.bench.run", lambda args: print("done") or 0)
        assert cli.main(["bench", "model"]) == 0
        assert sys.stdout is not nobody
        sys.stdout.close()
        with pytest.raises(BrokenPipeError):
            nobody.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), nobody.fileno())


def test_ctrl_c_while_torch_is_imported_leaves_without_a_traceback(capsys, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    assert call(capsys, "train") == (130, "", "\ninterrupted\n")


def test_names_that_the_output_can_not_write_are_printed_all_the_same(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii", "strict"))
    name = os.fsdecode(b"caf\xe9.png")
    monkeypatch.setattr("segcourse.cli.bench.run", lambda args: print(name, "\ub3c4\ub85c") or 0)
    assert cli.main(["bench", "model"]) == 0
    assert written.getvalue() == rb"caf\udce9.png \ub3c4\ub85c" + b"\n"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (DataError("mask.png is missing"), 1, "segcourse bench: mask.png is missing\n"),
        (UsageError("a and b exclude each other"), 2, "segcourse bench: a and b exclude"),
        (PermissionError(13, "Permission denied", "x/y"), 1, "x/y: Permission denied"),
        (OSError(28, "No space left on device"), 1, "on device: free some, then give the command"),
        (RuntimeError("CUDA out of memory. Tried 2 GiB\nmore"), 1, "Use a smaller --batch"),
        (MemoryError(), 1, "out of memory\nUse a smaller --batch"),
        (KeyboardInterrupt("the last checkpoint is c"), 130, "interrupted: the last checkpoint"),
    ],
)
def test_an_error_of_the_input_is_its_text_and_its_exit_code(
    error, code, told, capsys, monkeypatch
):
    def fail(args):
        raise error

    monkeypatch.setattr("segcourse.cli.bench.run", fail)
    found, _, err = call(capsys, "bench", "model")
    assert found == code
    assert told in err
    with pytest.raises(type(error)):
        cli.main(["bench", "model", "--debug"])


@pytest.mark.parametrize(
    ("words", "module", "function"),
    [
        (("train",), "train", "run"),
        (("eval", "x"), "evaluate", "run"),
        (("predict", "x", "--run", "x", "--out", "x"), "predict", "run"),
        (("crf", "x", "--labels", "x", "--out", "x"), "crf", "run"),
        (("crf-search", "x"), "crf_search", "run"),
        (("data", "preview", "--out", "x"), "data", "run_preview"),
        (("weights", "check"), "weights", "run_check"),
        (("bench", "model"), "bench", "run"),
    ],
)
def test_the_cure_for_too_little_memory_names_flags_that_the_command_has(
    words, module, function, capsys, monkeypatch
):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(f"segcourse.cli.{module}.{function}", fail)
    code, _, err = call(capsys, *words)
    assert code == 1
    named = re.findall(r"--[a-z-]+", err)
    assert named
    _, out, _ = call(
        capsys,
        *(words[:2] if module in ("data", "weights", "bench", "grade") else words[:1]),
        "--help",
    )
    assert set(named) <= set(re.findall(r"--[a-z-]+", out))


@pytest.mark.parametrize("error", [TypeError("f() got 3"), RuntimeError("mat1 and mat2")])
def test_an_error_of_the_package_itself_keeps_its_traceback(error, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr("segcourse.cli.bench.run", fail)
    with pytest.raises(type(error)):
        cli.main(["bench", "model"])
