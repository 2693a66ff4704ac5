"""One process at a time trains in a run's folder, and a killed one leaves it free."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from segcourse import resuming
from segcourse.config import Config
from segcourse.errors import UsageError
from segcourse.losses import cross_entropy
from segcourse.training import fit

pytest.importorskip("fcntl")

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write("process 7 on another-machine\\n")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


class Batches:
    """Two classes by the sign of the red channel."""

    steps_per_epoch, images_per_batch = 1, 2

    def stream(self, start=0, rank=0, world=1):
        while True:
            images = torch.randn(2, 3, 4, 4)
            yield images, (images[:, 0] > 0).long()


def train(out, resume=False):
    config = Config(steps=2, device="cpu", eval_every=0)
    return fit(config, nn.Conv2d(3, 2, 1), Batches(), out, loss=cross_entropy, resume=resume)


@pytest.fixture
def other_process(tmp_path):
    words = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


def test_a_second_process_is_refused_until_the_first_is_killed(other_process, tmp_path):
    with pytest.raises(UsageError, match=r"is in use: process 7 on another-machine is training"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]  # nothing of the first is lost
    other_process.kill()
    other_process.wait()
    assert train(tmp_path).steps == 2


def test_a_folder_is_free_when_its_run_has_ended_or_was_refused(tmp_path):
    train(tmp_path)
    assert tmp_path.resolve() not in resuming._held
    with pytest.raises(UsageError, match="already holds a run"):
        train(tmp_path)
    assert tmp_path.resolve() not in resuming._held
    assert train(tmp_path, resume=True).first_step == 2


def test_one_process_may_claim_twice_as_the_command_line_does(tmp_path):
    config = Config(steps=2, device="cpu", eval_every=0)
    resuming.claim(tmp_path, config, resume=False)
    resuming.claim(tmp_path, config, resume=False)
    assert train(tmp_path).steps == 2
    assert tmp_path.resolve() not in resuming._held


def test_a_disk_without_locks_is_trained_on_all_the_same(tmp_path, monkeypatch):
    def refuses(file, how):
        raise OSError(resuming.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(resuming.fcntl, "lockf", refuses)
    assert train(tmp_path).steps == 2
    monkeypatch.setattr(resuming, "fcntl", None)  # as on Windows
    assert train(tmp_path, resume=True).first_step == 2


def test_resuming_what_is_no_run_makes_no_folder(tmp_path):
    with pytest.raises(UsageError, match="holds no run to resume"):
        train(tmp_path / "typo", resume=True)
    assert list(tmp_path.iterdir()) == []
