"""The wall: what a student's code can't do, what it may, and what crosses by value."""

import math
import os
import re
import socket
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from segcourse.grading import forks, sandbox, walls, wire
from segcourse.grading.marking import StudentError
from segcourse.grading.processes import family

REASON = walls.why_not()
needs_walls = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
QUICK = sandbox.Limits(
    cell_seconds=3, answer_seconds=3, patience=20, memory_mib=1024, output_kib=512
)


@pytest.fixture(scope="module", params=["forked", "own"])
def server(request):
    """What forks workers, or nothing: then each is a sandbox of its own."""
    if request.param == "own":
        yield None
        return
    with forks.ForkServer() as made:
        yield made


@pytest.fixture(scope="module")
def session(server):
    """One worker for all tests that do not kill it."""
    limits = sandbox.Limits(cell_seconds=30, answer_seconds=60)
    with sandbox.Session(limits, server=server) as made:
        yield made


def returned(session, expression):
    """What an expression is worth inside."""
    _, error = session.run(f"def f():\n    return {expression}")
    assert not error
    return session.call("f", (), {})


# ---- values


PLAIN = [
    *(None, True, -3, 10**400, 0.1, math.inf, 2 + 3j, "text \u00e9"),
    *([1, [2.5, None]], (1, (2,)), {"a": 1, (1, 2): [3]}, {1, 2}, range(0, 9, 3), slice(1, None)),
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_cross_unchanged(value):
    got = wire.copied(value)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in wire.DTYPES], ids=str)
def test_tensors_cross_to_the_bit(dtype):
    tensor = torch.arange(12).reshape(3, 4).to(dtype).T
    got = wire.copied(tensor)
    assert got.dtype == dtype
    assert torch.equal(got, tensor)
    assert wire.copied(torch.empty(0, 3, dtype=dtype)).shape == (0, 3)
    one = tensor[::4, ::3]  # its only element has a step to a next one
    assert torch.equal(wire.copied(one), one)


def test_arrays_and_subclasses_cross_as_what_they_extend():
    assert np.array_equal(wire.copied(np.eye(3)[::-1]), np.eye(3)[::-1])
    assert wire.copied(np.float64(0.5)) == 0.5

    class Clever(int):
        def __eq__(self, other):
            return True

    assert type(wire.copied(Clever(3))) is int
    assert type(wire.copied(torch.nn.Parameter(torch.ones(2)))) is torch.Tensor
    assert wire.copied(torch.Size([1, 2])) == (1, 2)


@pytest.mark.parametrize(
    ("value", "told"),
    [(len, "a builtin_function"), (object(), "an object"), (iter([]), "a list_it")],
)
def test_objects_do_not_cross(value, told):
    with pytest.raises(wire.NotPlain, match=told):
        wire.pack(value, [])


def test_a_value_nested_too_deep_does_not_cross():
    value = []
    value.append(value)
    with pytest.raises(wire.NotPlain, match="nested more than 12 deep"):
        wire.pack(value, [])


@pytest.mark.parametrize(
    "packed",
    [
        {"t": "float32", "shape": [3], "blob": 0},
        {"t": "float32", "shape": [2**39, 2**39], "blob": 0},
        {"t": "float32", "shape": [-1], "blob": 0},
        {"t": "float32", "shape": [2], "blob": 1},
        {"t": "object", "shape": [2], "blob": 0},
        {"f": "nonsense"},
        {"l": 3},
        {"x": [1]},
        {},
        [1],
    ],
    ids=str,
)
def test_what_pack_never_makes_is_refused(packed):
    with pytest.raises((ValueError, KeyError, TypeError)):
        wire.unpack(packed, [bytes(8)])


def test_a_byte_that_is_no_bool_becomes_one():
    got = wire.unpack({"t": "bool", "shape": [3], "blob": 0}, [bytes([0, 1, 77])])
    assert got.long().tolist() == [0, 1, 1]


def test_the_deadline_is_for_the_whole_message_however_slowly_it_comes():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("<I", 20) + b"{")
        start = time.monotonic()

        def drip(deadline):
            time.sleep(0.02)
            theirs.sendall(b" ")  # each read brings something

        with pytest.raises(TimeoutError):
            wire.receive(ours, start + 0.2, lambda deadline: drip(deadline))


def test_a_header_of_gigabytes_is_refused_before_it_is_read():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("<I", 2**31))
        with pytest.raises(ValueError, match="header too long"):
            wire.receive(ours, time.monotonic() + 5)


# ---- the wall


@needs_walls
def test_answers_are_called_by_value(session):
    assert session.run("import torch\ndef twice(x):\n    x *= 2\n    return x") == ("", "")
    x = torch.arange(3.0)
    assert session.call("twice", (x,), {}).tolist() == [0, 2, 4]
    assert x.tolist() == [0, 1, 2]
    with pytest.raises(StudentError, match="no cell defines thrice"):
        session.call("thrice", (), {})
    with pytest.raises(StudentError, match=r"twice\(\) missing 1 required"):
        session.call("twice", (), {})


@needs_walls
def test_what_a_cell_prints_is_kept_and_what_a_call_prints_is_not(session):
    assert session.run("import sys; print('a'); print('b', file=sys.stderr)")[0] == "a\nb\n"
    session.run("def f(x): print('the test gave me', x)")
    session.call("f", (3,), {})
    assert session.run("print('c')")[0] == "c\n"


@needs_walls
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import segcourse", "ModuleNotFoundError"),
        ("import socket; socket.create_connection(('127.0.0.1', 22), 1)", "refused|unreachable"),
        ("import socket; socket.create_connection(('192.0.2.1', 80), 1)", "unreachable"),
        ("open('/etc/passwd').read()", "FileNotFoundError|PermissionError"),
        ("open('/usr/x', 'w')", "Read-only|Permission"),
        ("open('/x', 'w')", "Read-only|Permission"),
        ("open('/dev/x', 'w')", "Read-only|Permission"),
        ("import os; os.setuid(0)", "PermissionError|OSError"),
        ("import os; os.kill(1, 9); ", "Perm|^$"),
        ("import resource as r; r.setrlimit(r.RLIMIT_NPROC, (9999, 9999))", "ValueError|Perm"),
        ("x = open('/tmp/big', 'wb'); [x.write(bytes(1 << 20)) for _ in range(100)]", "OSError"),
        ("import torch; torch.empty(10**11)", "RuntimeError"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_code_inside_can_not(session, code, error):
    found = session.run(code)[1]
    assert re.search(error, found)
    assert session.restarts == 0


@needs_walls
def test_nothing_of_this_machine_is_seen_inside(session):
    session.run("import os")
    assert returned(session, "sorted(os.environ)") == sorted([*walls._environment(), "PWD"])
    processes = returned(session, "[p for p in os.listdir('/proc') if p.isdigit()]")
    assert len(processes) < 8
    here = Path(__file__).resolve().parent
    assert not returned(session, f"os.path.exists({str(here)!r})")
    assert not returned(session, "os.path.exists('/var') or os.path.exists('/etc/hostname')")


@needs_walls
def test_the_worker_is_not_root_even_where_the_grader_is(session):
    pids = family(session.worker.process.pid)
    users = {Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] for pid in pids}
    if os.geteuid() == 0:
        assert len(users - {"0"}) == 1
    innermost = max(pids)
    status = Path(f"/proc/{innermost}/status").read_text()
    assert status.split("Uid:")[1].split()[0] != "0"
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


@needs_walls
def test_dead_workers_come_back_with_the_definitions_and_leave_nothing_behind(server):
    with sandbox.Session(QUICK, server=server) as session:
        session.run("import os\ndef good(x): return x + 1\ndef bad(x):\n    while True: pass")
        assert "the process ended" in session.run("SEEN = 1\nos._exit(0)")[1]
        assert session.call("good", (1,), {}) == 2
        first = session.worker.process.pid
        session.start_tests("bad")
        with pytest.raises(StudentError, match="no answer within 3 s: an endless loop"):
            session.call("bad", (1,), {})
        with pytest.raises(StudentError, match="no time left for the tests of bad"):
            session.call("bad", (1,), {})
        session.start_tests("good")
        assert session.call("good", (1,), {}) == 2
        last = session.worker.process.pid
        assert session.restarts == 2
    assert not Path(f"/proc/{first}").exists()
    assert not Path(f"/proc/{last}").exists()


@needs_walls
def test_copies_that_an_answer_forks_do_not_answer_in_its_place(server):
    with sandbox.Session(QUICK, server=server) as session:
        session.run("import os\nMINE = os.getpid()\nfor _ in range(3): os.fork()")
        session.run("def mine(): return os.getpid() == MINE")
        assert all(session.call("mine", (), {}) for _ in range(8))


@needs_walls
def test_code_that_takes_too_much_is_ended_and_leaves_nothing_behind(server):
    greedy = {
        "while True: print('x' * 1000)": "more than 512 KiB of output",
        "import torch; x = [torch.ones(1 << 24) for _ in range(100)]": "memory|Memory|alloc",
        "import os\nwhile True: os.fork()": "BlockingIOError|memory|no answer|ended",
    }
    seen = set()
    with sandbox.Session(QUICK, server=server) as session:
        for code, told in greedy.items():
            assert re.search(told, session.run(code)[1]), code
            if session.worker.alive:
                seen |= set(family(session.worker.process.pid))
        session.run("def f(): return 1")
        assert session.call("f", (), {}) == 1
        seen |= set(family(session.worker.process.pid))
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)


def test_without_bubblewrap_there_is_a_reason_and_the_flag(monkeypatch):
    monkeypatch.setattr(walls.shutil, "which", lambda tool: None)
    with pytest.raises(
        walls.NoSandbox, match=r"bwrap is not installed.*--without-sandbox"
    ) as error:
        walls.require()
    assert "apt-get install bubblewrap" in str(error.value)
    assert str(error.value).endswith("pass --without-sandbox")
    monkeypatch.setattr(walls.sys, "platform", "darwin")
    assert walls.why_not() == "bubblewrap needs Linux; this is darwin"


def test_a_bubblewrap_that_fails_is_told_with_its_words(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "bwrap: No permissions to create namespace")
    monkeypatch.setattr(walls.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(walls.subprocess, "run", lambda *a, **k: failed)
    assert walls.why_not() == "bwrap fails: bwrap: No permissions to create namespace"


@needs_walls
def test_code_that_ends_every_process_is_given_up(monkeypatch, server):
    monkeypatch.setattr(sandbox, "MOST_RESTARTS", 1)
    with sandbox.Session(QUICK, server=server) as session:
        for _ in range(3):
            _, error = session.run("import os; os._exit(1)")
        assert error == "the process ended too often"
        with pytest.raises(StudentError, match="ended too often"):
            session.call("f", (), {})
