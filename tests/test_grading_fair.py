"""Right answers get their marks wherever torch lies, however busy the machine, in every run."""

import argparse
import json

import pytest
from grading_tools import called

from segcourse.cli import check
from segcourse.errors import UsageError
from segcourse.grading import forks, notebook, sandbox, shard, walls
from segcourse.grading.marking import StudentError
from segcourse.grading.source import load

REASON = walls.why_not()
needs_walls = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
LIMITS = sandbox.Limits(cell_seconds=20, answer_seconds=20)


@pytest.fixture(scope="module")
def server():
    """What forks workers."""
    with forks.ForkServer() as made:
        yield made


@pytest.fixture
def task(request):
    """A right submission, as it goes to a marking process."""
    toys = request.config.rootpath / "tests" / "grading_toy"
    made = load(toys / "plain.py", toys / "private" / "plain.py")
    release = notebook.release(made)
    solutions = {cell.name: cell.solved for cell in made.of("answer")}
    for cell in release["cells"]:
        cell["source"] = solutions.get(notebook.grade_id(cell), cell["source"])
    hidden = notebook.hidden_sources(notebook.source(made))
    return vars(shard.Task("anna", release, hidden, {}, walled=False))


# ---- libraries


@needs_walls
@pytest.mark.parametrize("forked", [True, False])
def test_libraries_in_a_folder_of_the_users_own_are_found_inside(monkeypatch, tmp_path, forked):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "only_mine.py").write_text("VALUE = 8")
    (folder / "json.py").write_text("raise SystemExit")  # the library of this Python goes first
    for place in (folder, tmp_path):
        place.chmod(0o755)
    monkeypatch.setattr(walls.sys, "path", [*walls.sys.path, str(folder)])
    walls.walls.cache_clear()
    try:
        with forks.ForkServer() as server:
            with sandbox.Session(LIMITS, server=server if forked else None) as session:
                source = "import json, only_mine; print(only_mine.VALUE)"
                assert session.run(source) == ("8\n", "")
            assert isinstance(session.worker.process, forks.Fork if forked else forks.Own)
    finally:
        walls.walls.cache_clear()


@needs_walls
def test_a_batch_is_refused_where_a_library_can_not_be_imported_inside(monkeypatch):
    assert walls.libraries_missing() == ""
    monkeypatch.setattr(walls, "LIBRARIES", ("numpy", "no_such_torch"))
    with pytest.raises(walls.NoSandbox) as error:
        walls.require()
    told = str(error.value)
    assert told.startswith(
        "numpy and no_such_torch can't be imported in the sandbox: "
        "ModuleNotFoundError: No module named 'no_such_torch'. It sees folders"
    )
    assert walls.OVERRIDE not in told


def test_an_import_that_does_not_end_is_told(monkeypatch):
    def late(command, **_):
        raise walls.subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(walls.subprocess, "run", late)
    assert walls.libraries_missing() == "the import did not end within 180 s"


def test_a_given_cell_that_fails_leaves_the_submission_to_a_person(task, monkeypatch):
    assert all(found["passed"] for found in shard.grade(task)["marks"])
    run = sandbox.Session.run

    def failing(session, source):
        return ("", "ModuleNotFoundError: torch") if "prod" in source else run(session, source)

    monkeypatch.setattr(sandbox.Session, "run", failing)
    record = shard.grade(task)
    assert record["failed"]
    assert record["marks"] == []
    name = notebook.grade_id(task["notebook"]["cells"][1])
    assert record["incidents"] == [
        f"could not be marked: the given cell {name} fails: ModuleNotFoundError: torch"
    ]


def test_a_check_says_that_cells_before_a_given_one_break_it(task, tmp_path):
    cell = {"cell_type": "code", "metadata": {}, "source": "__builtins__ = {}"}
    task["notebook"]["cells"].insert(1, cell)
    (tmp_path / "plain.ipynb").write_text(json.dumps(task["notebook"]), "utf-8")
    with pytest.raises(UsageError, match=r"__import__ not found.*cells before it have changed"):
        check.run(argparse.Namespace(notebook=tmp_path / "plain.ipynb", released=None))


@needs_walls
def test_only_a_system_that_forbids_sandboxes_in_sandboxes_is_said_to(monkeypatch, capfd):
    monkeypatch.setattr(walls, "walls", lambda forks: ("sh", "-c", "echo no torch; exit 1"))
    with forks.ForkServer() as server, pytest.raises(forks.NoForks, match="no torch"):
        server.fork(1, {})
    said = capfd.readouterr().err
    assert "the process that forks workers did not start (no torch" in said
    assert "let a sandbox make sandboxes" not in said


# ---- chance

CHANCE = """
import random, numpy, torch
print(hash("a"), list({"a", "b", "c", "d", "e"}), random.random(), numpy.random.rand())
print(torch.rand(1), torch.initial_seed())
"""


@needs_walls
def test_chance_is_the_same_in_every_run_forked_or_not():
    seen = set()
    with forks.ForkServer() as server:
        for walled, forking in ((True, server), (True, None), (False, None)):
            with sandbox.Session(LIMITS, walled, forking) as session:
                printed, error = session.run(CHANCE)
                assert not error
                seen.add(printed)
    assert len(seen) == 1


# ---- time


@needs_walls
def test_what_waits_and_then_crashes_pays_for_the_cpu_time_it_has_used(server):
    limits = sandbox.Limits(cell_seconds=1, answer_seconds=1, patience=40)
    with sandbox.Session(limits, server=server) as session:
        session.run(
            "import os, time\ndef f(waits):\n    if waits:\n        time.sleep(1.3)\n"
            "        os._exit(1)\n    return 7"
        )
        session.start_tests("f")
        with pytest.raises(StudentError, match="the process ended"):
            session.call("f", (True,), {})
        assert session.call("f", (False,), {}) == 7


@needs_walls
def test_an_answer_that_crashes_without_end_is_given_up_and_the_next_one_is_not(server):
    with sandbox.Session(LIMITS, server=server) as session:
        session.run("import os\ndef f(): os._exit(1)\ndef g(): return 7")
        session.start_tests("f")
        told = [called(session, "f") for _ in range(sandbox.MOST_DEATHS + 1)]
        assert set(told[:-1]) == {"the process ended: a crash, or an exit"}
        assert told[-1] == "the process ended too often in the tests of f"
        session.start_tests("g")
        assert session.call("g", (), {}) == 7


@needs_walls
def test_cells_that_end_the_process_without_end_give_their_functions_alone(server):
    with sandbox.Session(LIMITS, server=server) as session:
        for _ in range(sandbox.MOST_DEATHS):
            assert "a crash" in session.run("import os; os._exit(1)")[1]
        told = session.run("def g(): return 7\nprint(1)")
        assert told == ("", "the process ended too often")
        assert session.call("g", (), {}) == 7


@needs_walls
def test_cells_that_are_run_again_use_up_the_time_of_the_submission(server, monkeypatch):
    monkeypatch.setattr(sandbox, "TIMES_IN_ALL", 2)
    limits = sandbox.Limits(cell_seconds=1, answer_seconds=1, patience=2)
    with sandbox.Session(limits, server=server) as session:
        for _ in range(3):
            assert session.run("import time; time.sleep(0.6)") == ("", "")
        session.run("import os\ndef f(): os._exit(1)")
        session.start_tests("f")
        told = [called(session, "f") for _ in range(3)]
        assert told[-1] == "no time left for this submission"
        assert session.run("x = 1")[1] == "no time left for this submission"


@needs_walls
def test_a_cell_that_is_run_again_has_the_time_that_it_took(server):
    with sandbox.Session(LIMITS, server=server) as session:
        session.run("def g(): return 7")
        session.cells[0].source += "\nwhile True: pass"  # as if it knew that it is a replay
        session.worker.kill()
        assert session.call("g", (), {}) == 7
        assert session.limits.whole.cpu - session.left[None].cpu < 5
        # Definitions that end the process are left out, too.
        session.cells[0].source = "import os\ndef g(x=os._exit(1)): pass"
        session.worker.kill()
        with pytest.raises(StudentError, match="no cell defines g"):
            session.call("g", (), {})


def test_an_honest_submission_has_all_of_its_times():
    limits = sandbox.Limits(cell_seconds=20, answer_seconds=30)
    assert limits.whole.cpu >= 2 * 5 * 20 + 3 * 30
    assert limits.whole.clock == limits.patience * limits.whole.cpu


# ---- memory


@needs_walls
def test_processes_that_share_their_pages_do_not_take_them_many_times(server):
    source = (
        "import multiprocessing, time\nfrom pathlib import Path\n"
        "def f(x):\n    time.sleep(0.3)\n    return x * x\n"
        "with multiprocessing.Pool(8) as pool: print(sum(pool.map(f, range(8))))"
    )
    limits = sandbox.Limits(memory_mib=1024)
    with sandbox.Session(limits, server=server) as session:
        assert session.run(source) == ("140\n", "")
        held = "import os, time\nx = bytes([1]) * (300 << 20)\nfor _ in range(4):\n"
        held += "    if os.fork() == 0:\n        y = bytearray(x); time.sleep(60)\ntime.sleep(60)"
        assert session.run(held)[1] == "more than 1024 MiB of memory"


@needs_walls
def test_files_without_a_name_are_memory_once_whoever_has_them_open(server):
    limits = sandbox.Limits(memory_mib=1024)
    source = (
        "import os, time\nfiles = [os.memfd_create('x') for _ in range(COUNT)]\n"
        "for file in files:\n    for _ in range(50): os.write(file, bytes(1 << 20))\n"
        "if os.fork() == 0:\n    time.sleep(0.5)\n    os._exit(0)\ntime.sleep(1)"
    )
    with sandbox.Session(limits, server=server) as session:
        assert session.run(source.replace("COUNT", "6")) == ("", "")
        assert session.run(source.replace("COUNT", "24"))[1] == "more than 1024 MiB of memory"


SYSTEM_V = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for _ in range(COUNT):
    place = libc.shmat(libc.shmget(0, ctypes.c_size_t(100 << 20), 0o1600), None, 0)
    ctypes.memset(place, 1, 100 << 20)
    libc.shmdt(ctypes.c_void_p(place))
    libc.msgget(0, 0o1600), libc.semget(0, 10, 0o1600)
time.sleep(0.5)
"""


@needs_walls
def test_system_vs_shared_memory_is_memory_though_nobody_maps_it(server):
    limits = sandbox.Limits(memory_mib=1024)
    with sandbox.Session(limits, server=server) as session:
        assert session.run(SYSTEM_V.replace("COUNT", "4")) == ("", "")
        assert 400 < session.worker.process.unmapped_mib() < 402
        assert session.run(SYSTEM_V.replace("COUNT", "9"))[1] == "more than 1024 MiB of memory"
