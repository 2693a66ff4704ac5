"""Shards and a Dask cluster: nothing is lost and nothing marked twice when a process is killed."""

import copy
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from segcourse.errors import UsageError
from segcourse.grading import batch, notebook, walls
from segcourse.grading.shard import Shard, Task
from segcourse.grading.source import load

REASON = walls.why_not()
needs_walls = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")


@pytest.fixture(scope="module")
def good(request):
    """A task with full marks, and a function that makes others of it."""
    toys = request.config.rootpath / "tests" / "grading_toy"
    made = load(toys / "plain.py", toys / "private" / "plain.py")
    release = notebook.release(made)
    hidden = notebook.hidden_sources(notebook.source(made))
    solutions = {cell.name: cell.solved for cell in made.of("answer")}

    def task(student, **answers):
        filled = copy.deepcopy(release)
        for cell in filled["cells"]:
            cell["source"] = (solutions | answers).get(notebook.grade_id(cell), cell["source"])
        return Task(student, filled, hidden, {"cell_seconds": 20, "answer_seconds": 20})

    return task


def total(record):
    return sum(found["score"] for found in record["marks"])


@needs_walls
def test_a_marking_process_that_was_killed_is_replaced(good):
    shard = Shard()
    try:
        assert total(shard.grade(good("anna"))) == 6
        os.kill(shard.process.pid, signal.SIGKILL)
        shard.process.wait()
        shard.process.stdin.close()
        shard.process.stdout.close()
        assert total(shard.grade(good("anna"))) == 6
    finally:
        shard.close()


def test_a_submission_that_kills_its_marking_process_is_left_to_a_person(good, monkeypatch):
    command = [sys.executable, "-c", "import sys; sys.stdin.readline()"]
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **how: start(command, **how))
    record = batch._tried(Shard(), good("anna"))
    assert record["failed"]
    assert record["incidents"][0].startswith("could not be marked: EOFError")
    assert record["marks"] == []


def test_records_are_kept_and_what_is_handed_in_anew_is_marked_anew(good, tmp_path):
    asked = []

    def run(tasks):
        for task in tasks:
            asked.append(task.student)
            yield {"student": task.student, "marks": [], "failed": task.student == "cem"}

    tasks = [good("anna"), good("ben"), good("cem")]
    assert len(list(batch.grade_all(tasks, tmp_path, run))) == 3
    tasks[1] = good("ben", count="def count(places): return 1")
    assert [r["student"] for r in batch.grade_all(tasks, tmp_path, run)] == ["anna", "ben", "cem"]
    assert asked == ["anna", "ben", "cem", "ben", "cem"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anna.json", "ben.json", "cem.json"]


def test_a_cluster_that_is_not_there_is_told(good, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="--scheduler needs Dask: pip install"):
        list(batch.grade_on_cluster([], "tcp://127.0.0.1:1"))


@needs_walls
def test_a_dask_worker_that_is_killed_loses_nothing_and_nothing_is_marked_twice(good, tmp_path):
    pytest.importorskip("distributed")
    names = [f"s{i:02}" for i in range(12)]
    # Slow enough that one of the two workers is in the middle of something.
    slow = "import time\ntime.sleep(0.4)\ndef count(places): return len(places)"
    with Cluster(tmp_path) as cluster:
        saved = []
        tasks = [good(name, count=slow) for name in names]
        run = batch.grade_all(
            tasks, tmp_path / "records", lambda left: batch.grade_on_cluster(left, cluster.address)
        )
        for record in run:
            saved.append(record["student"])
            assert total(record) == 6
            if len(saved) == 3:
                cluster.kill_one()
    assert sorted(saved) == names
    written = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "records").iterdir()}
    assert sorted(written) == names
    assert {total(record) for record in written.values()} == {6}


class Cluster:
    """A scheduler and two workers, as processes of their own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []

    def start(self, *words):
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        self.processes.append(
            subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        )
        log.close()

    def __enter__(self):
        place = self.folder / "scheduler.json"
        common = ["--scheduler-file", str(place), "--no-dashboard"]
        self.start("dask_scheduler", *common, "--port", "0", "--host", "127.0.0.1")
        end = time.monotonic() + 120
        while not place.exists() and time.monotonic() < end:
            time.sleep(0.1)
        self.address = json.loads(place.read_text())["address"]
        for i in range(2):
            local = ["--local-directory", str(self.folder / f"worker-{i}"), "--no-nanny"]
            self.start("dask_worker", *common, *local, "--nthreads", "1")
        return self

    def kill_one(self):
        self.processes[1].kill()

    def __exit__(self, *_):
        for process in self.processes[::-1]:
            process.kill()
            process.wait()
