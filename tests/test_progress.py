"""A run tells how far it is: by a bar on a terminal, in whole lines in a file."""

import io

import pytest

from segcourse import progress
from segcourse.progress import Progress


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    return now


def run(shown, clock, steps=300, first=0, second_a_step=1.0, evaluate_at=()):
    """Steps of a second, logged every ten."""
    told = Progress(steps, first, shown)
    log = []
    for done in range(first + 1, steps + 1):
        clock[0] += second_a_step
        told.step()
        if done % 10 == 0:
            log.append({"step": done, "loss": 1 / done, "images_per_second": 8.0})
            if done in evaluate_at:
                log.append({"step": done, "miou": 0.25})
            told.show(done, log, done in evaluate_at)
    told.close()


def test_a_file_gets_a_line_each_half_minute_and_no_carriage_return(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    run(True, clock)
    text = progress.sys.stderr.getvalue()
    assert "\r" not in text
    assert len(text.splitlines()) == 10
    assert text.splitlines()[0] == "step 30/300  loss 0.033  images/s 8.0  about 0:04:30 left"
    assert text.splitlines()[-1] == "step 300/300  loss 0.003  images/s 8.0"


def test_ten_thousand_quick_steps_are_a_few_lines_and_every_evaluation_is_one(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    run(True, clock, steps=10_000, second_a_step=0.001, evaluate_at=(4000, 8000))
    lines = progress.sys.stderr.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["4000/10000", "8000/10000", "10000/10000"]
    assert "miou 0.250" in lines[0]


def test_a_resumed_run_tells_the_time_left_by_its_own_speed(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    run(True, clock, steps=200, first=100)
    first = progress.sys.stderr.getvalue().splitlines()[0]
    assert first.startswith("step 130/200")
    assert first.endswith("about 0:01:10 left")


def test_a_terminal_gets_a_bar(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", Screen())
    run(True, clock, steps=30)
    text = progress.sys.stderr.getvalue()
    assert "\r" in text
    assert "30/30" in text
    assert "about" not in text


@pytest.mark.parametrize("screen", [io.StringIO, Screen])
def test_the_other_processes_say_nothing(screen, clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", screen())
    run(False, clock)
    assert progress.sys.stderr.getvalue() == ""


def test_tqdm_disable_silences_the_lines_too(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setenv("TQDM_DISABLE", "1")
    run(True, clock)
    assert progress.sys.stderr.getvalue() == ""
