"""What README.md tells a stranger to type does what it says."""

import re
import shlex
from pathlib import Path

import pytest

from segcourse import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
GPU = (ROOT / "docs" / "gpu.md").read_text("utf-8")


def blocks(text, language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def commands():
    lines = "\n".join(blocks(README + GPU, "bash")).splitlines()
    shown = [line for line in lines if line.startswith("segcourse ")]
    inline = re.findall(r"`(segcourse [a-z-]+ [^`]*)`", README + GPU)
    return sorted({*shown, *(line for line in inline if "..." not in line)})


@pytest.mark.parametrize("command", [c for c in commands() if "COMMAND" not in c])
def test_every_command_exists_and_its_flags_parse(command, capsys):
    words = shlex.split(command, comments=True)[1:]
    if "--version" in words:
        return
    if len(words) == 1 or words in (["bench", "suite", "--toy"],):
        words.append("--help")
    try:
        args, unknown = cli._parser(words).parse_known_args(words)
    except SystemExit:
        told = capsys.readouterr()
        needs = "the following arguments are required" in told.err  # a command named in a sentence
        assert needs or told.out.startswith("usage: segcourse"), told.err
        return
    assert unknown == []
    assert callable(args.run)


def test_the_example_in_python_trains_and_its_checkpoint_loads(tmp_path, monkeypatch, capsys):
    (program,) = blocks(README, "python")
    small = {"Scenes(200)": "Scenes(4)", 'Scenes(20, split="val")': 'Scenes(1, split="val")'}
    small |= {"steps=100": "steps=1", "batch=4": "batch=2", "train, 4,": "train, 2,"}
    for written, smaller in small.items():
        assert program.count(written) == 1
        program = program.replace(written, smaller)
    program = re.sub(r"\bScenes\((\d+)", r"Scenes(\1, (32, 32)", program)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(program, names)
    assert 0 <= float(capsys.readouterr().out) <= 1
    assert (tmp_path / "runs/first/checkpoints/step-000001/weights.safetensors").is_file()
    assert names["history"].steps == 1


def test_the_exit_codes_are_those_of_the_command_line():
    told = re.findall(r"(?m)^\| (\d+) \| ", README[README.index("| exit code |") :])
    codes = re.findall(r"(?m)^  (\d+) +", cli.EXIT_CODES)
    assert told[: len(codes)] == codes
    row = next(line for line in README.splitlines() if line.startswith("| 3 | "))
    assert re.findall("`(.*?)`", row) == re.findall("`segcourse (.*?)`", cli.EXIT_CODES)


def test_every_place_that_a_link_names_is_there():
    for text, folder in ((README, ROOT), (GPU, ROOT / "docs")):
        titles = re.findall(r"(?m)^#+ (.*)$", text)
        anchors = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in anchors, target
            elif not target.startswith("http"):
                assert (folder / target).exists(), target
