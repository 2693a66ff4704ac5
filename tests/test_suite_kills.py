"""The suite of long runs, killed: its records are those of a suite that was left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the suites are forks")
def test_killed_at_ten_random_moments_it_ends_with_the_records_of_one_left_alone(tmp_path):
    script = Path(__file__).with_name("suite_kills.py")
    command = [sys.executable, str(script), str(tmp_path / "suites"), "--kills", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left alone: 8 records and 9 files of label maps" in done.stdout
    assert "10 kills" in done.stdout
    assert "all records equal" in done.stdout
