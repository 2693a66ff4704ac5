"""Forked workers: nothing of one submission reaches the next, or the process that forks them."""

import math
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from grading_tools import called

from segcourse.grading import forks, sandbox, walls
from segcourse.grading.forks import ForkServer, NoForks
from segcourse.grading.processes import cpu_seconds, family, memory_mib, runs

REASON = walls.why_not()
needs_walls = pytest.mark.skipif(bool(REASON), reason=REASON or "there is a sandbox")
LIMITS = sandbox.Limits(cell_seconds=10, answer_seconds=10, patience=12, processes=40)


@pytest.fixture(scope="module")
def server():
    """One server for all tests that do not end it."""
    with ForkServer() as made:
        yield made


def inside(server, *cells, limits=LIMITS):
    """Run cells in a new submission: what the last one printed."""
    with sandbox.Session(limits, server=server) as session:
        for cell in cells:
            printed, error = session.run(cell)
    assert isinstance(session.worker.process, forks.Fork)
    assert not error, error
    return printed


STATE = """
import ctypes, fcntl, os, random, resource, signal, socket
import numpy, torch

def tree(top):
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in ("proc", "usr", "site-packages")]
        for name in [".", *folders, *files]:
            path = os.path.join(folder, name)
            found = os.lstat(path)
            yield path, oct(found.st_mode), found.st_uid, found.st_size, found.st_mtime < START

libc = ctypes.CDLL(None, use_errno=True)
START = os.stat("/proc/1").st_ctime - 1
folders = sorted(tree("/dev")) + sorted(tree("/tmp")) + sorted(tree("/grader"))
keys = ctypes.create_string_buffer(4096)
size = libc.syscall(250, 11, -3, keys, len(keys))
print(*folders, sep="\\n")
print("keys", size)
print("processes", [pid for pid in os.listdir("/proc") if pid.isdigit()])
print("open", sorted(os.listdir("/proc/self/fd"))[:4], fcntl.fcntl(0, fcntl.F_GETFL))
print("limits", [resource.getrlimit(kind) for kind in range(16)])
print("shared memory", open("/proc/sysvipc/shm").read().count("\\n"))
print("sockets", open("/proc/net/unix").read().count("\\n"), open("/proc/net/tcp").read())
print("process", os.umask(0o22), os.nice(0), os.sched_getaffinity(0), os.getcwd(), os.environ)
print("signals", signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT))
print("name", socket.gethostname())
print("random", random.random(), numpy.random.rand(), torch.rand(1), torch.initial_seed())
"""
"""Everything that one submission could leave for another to find."""

LEAVES = """
import ctypes, fcntl, os, random, resource, signal, socket, sys, time
import torch
libc = ctypes.CDLL(None)

def all_of(*calls):
    for call in calls:
        try:
            call()
        except (OSError, ValueError):
            pass

for folder, _, names in os.walk("/"):
    if not folder.startswith(("/proc", "/usr")) and "site-packages" not in folder:
        all_of(lambda: os.chmod(folder, 0o777), lambda: open(folder + "/left", "w").write("x"))
        for name in names:
            all_of(lambda: os.chmod(os.path.join(folder, name), 0o777))
fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)
libc.syscall(248, b"user", b"left", b"x", 1, -3)
libc.shmget(77, 4096, 0o1777)
listening = []
for kind, place in ((1, "\\0left"), (1, "/tmp/left.socket"), (2, ("", 9999))):
    listening.append(socket.socket(kind))
    listening[-1].bind(place)
    listening[-1].listen()
os.openpty()
for kind in range(16):
    all_of(lambda: resource.prlimit(1, kind, (-1, -1)))
    if kind not in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_DATA):
        all_of(lambda: resource.setrlimit(kind, (10, 10)))
all_of(lambda: os.setpriority(os.PRIO_PGRP, 0, 9), lambda: os.setpriority(os.PRIO_USER, 0, 9))
all_of(lambda: os.sched_setaffinity(0, {0}), lambda: socket.sethostname("left"))
os.umask(0), os.environ.update(LEFT="1"), random.seed(7), torch.manual_seed(7)
signal.signal(signal.SIGINT, signal.SIG_IGN)
for name in ("worker", "student", "wire", "fork_server"):
    for thing in list(vars(sys.modules.get(name, os)).values()):
        if callable(thing) and hasattr(thing, "__defaults__"):
            thing.__defaults__ = None
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        while True:
            all_of(lambda: open("/tmp/left", "w").write("x"), lambda: os.kill(-1, signal.SIGKILL))
            time.sleep(0.01)
    os._exit(0)
"""


@needs_walls
def test_a_submission_finds_everything_as_if_it_were_the_first(server):
    before = inside(server, STATE)
    with sandbox.Session(LIMITS, server=server) as session:
        assert session.run(LEAVES) == ("", "")
        left = family(session.worker.process.pid)
    assert "random" in before
    assert inside(server, STATE) == before
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)


ATTACKS = {
    "its group": "os.kill(0, 9)",
    "everything": "[os.kill(pid, 9) for pid in (-1, 1)]",
    "the first process": "[os.kill(1, s) for s in (signal.SIGSTOP, signal.SIGINT, 9)]",
    "every descriptor": "[os.write(fd, b'ready') for fd in (3, 4, 5, 6, 7)]",
    "memory": "open('/proc/1/mem', 'r+b').write(b'x')",
    "a trace": "1 / (1 + libc.ptrace(16, 1, None, None))",
    "a file of the first process": "os.listdir('/proc/1/fd')",
    "a file of another": "1 / (1 + libc.syscall(438, os.pidfd_open(1), 0, 0))",
    "a namespace of another": "os.readlink('/proc/1/ns/pid')",
    "new namespaces": "1 / (1 + libc.unshare(0x10000000))",
    "the folder below": "1 / (1 + libc.umount2(b'/tmp', 2))",
    "a writable system": "1 / (1 + libc.mount(None, b'/', None, 32 | 4096, None))",
    "the system's settings": "open('/proc/sys/user/max_user_namespaces', 'w').write('9')",
    "more rights": "os.setuid(0)",
}


@needs_walls
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_fails_and_the_same_server_goes_on(server, attack):
    inside(server, "pass")
    process, at_start = server.process, server.at_start
    with sandbox.Session(LIMITS, server=server) as session:
        error = session.run(f"import ctypes, os, signal\nlibc = ctypes.CDLL(None)\n{attack}")[1]
    wanted = "Permission|Invalid|No such|Bad file|Operation not|ZeroDivision|be read|ended"
    assert re.search(wanted, error) or attack.startswith("[os.kill")
    assert server.process is process
    assert set(family(process.pid)) == at_start
    assert inside(server, "print(7)") == "7\n"


@needs_walls
def test_a_python_under_tmp_is_seen_inside_and_can_not_be_changed(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        Path(name, "library.py").write_text("VALUE = 8")
        Path(name, "library.py").chmod(0o666)
        folders = [*walls.python_folders(), Path(name)]
        monkeypatch.setattr(walls, "python_folders", lambda: folders)
        walls.walls.cache_clear()
        try:
            with ForkServer() as server:
                assert inside(server, f"print(open('{name}/library.py').read())") == "VALUE = 8\n"
                with sandbox.Session(LIMITS, server=server) as session:
                    assert "Read-only" in session.run(f"open('{name}/library.py', 'a')")[1]
        finally:
            walls.walls.cache_clear()


@needs_walls
def test_the_first_process_inside_does_not_end_by_signals_from_inside(server):
    source = "import os, time\nfor s in range(1, 32): os.kill(1, s)\ntime.sleep(0.2)\nprint(1)"
    assert inside(server, source) == "1\n"


@needs_walls
def test_a_fork_has_no_more_than_its_limits(server):
    tight = sandbox.Limits(cell_seconds=10, memory_mib=400, processes=9, output_kib=64)
    seen = {
        "x = [bytes([1]) * 10**7 for _ in range(10**6)]": "memory|Memory",
        "import threading, time\nfor _ in range(20):\n"
        "    threading.Thread(target=time.sleep, args=(99,)).start()": "start new thread",
        "print('x' * 10**6)": "more than 64 KiB of output",
        "import torch; torch.ones(2000, 2000) @ torch.ones(2000, 2000)": "^$",
    }
    for source, told in seen.items():
        with sandbox.Session(tight, server=server) as session:
            assert re.search(told, session.run(source)[1]), source


@needs_walls
def test_time_is_cpu_time_of_all_its_processes_and_what_waits_ends_by_the_clock(server):
    limits = sandbox.Limits(cell_seconds=0.5, answer_seconds=0.5, patience=60)
    with sandbox.Session(limits, server=server) as session:
        assert session.run("import time; time.sleep(1)") == ("", "")
        assert "no answer within 0.5 s" in session.run("while True: pass")[1]
        detached = "import os, time\nif os.fork() == 0:\n    while True: pass\ntime.sleep(50)"
        assert "no answer within 0.5 s" in session.run(detached)[1]
        session.run(
            "import time\ndef f():\n    end = time.process_time() + 0.2\n"
            "    while time.process_time() < end: pass"
        )
        session.start_tests("f")
        calls = [called(session, "f") for _ in range(4)]
        assert calls[0] == ""
        assert calls[3] == "no time left for the tests of f"
    limits = sandbox.Limits(cell_seconds=0.5, patience=2)
    with sandbox.Session(limits, server=server) as session:
        told = session.run("import time; time.sleep(50)")[1]
    assert told == "no answer within 1 s by the clock: does it wait for something?"


@needs_walls
def test_a_server_that_died_is_started_again(server):
    inside(server, "pass")
    first = server.process
    for pid in family(first.pid)[::-1]:
        os.kill(pid, signal.SIGKILL)
    assert inside(server, "print(3)") == "3\n"
    assert server.process is not first
    assert first.returncode is not None


@needs_walls
def test_a_server_with_a_process_too_many_is_thrown_away(server):
    inside(server, "pass")
    server.at_start = server.at_start | {-7}
    server.check()
    assert server.process is None
    assert inside(server, "print(4)") == "4\n"


@needs_walls
def test_a_server_whose_fork_does_not_end_is_thrown_away_with_it(server, monkeypatch):
    with sandbox.Session(LIMITS, server=server) as session:
        session.run("pass")
        pids = family(server.process.pid)
        with monkeypatch.context() as changed:
            changed.setattr(forks.signal, "pidfd_send_signal", lambda *_: None)
            changed.setattr(forks.select, "select", lambda *_: ([], [], []))
            session.worker.process.end()
        assert server.process is None
    assert not any(map(runs, pids))


@needs_walls
def test_where_a_sandbox_can_not_make_sandboxes_each_worker_has_its_own(monkeypatch, capfd):
    one = walls.walls()
    monkeypatch.setattr(walls, "walls", lambda forks=False: one)
    with ForkServer() as server:
        for _ in range(2):
            with sandbox.Session(LIMITS, server=server) as session:
                assert session.run("print(5)") == ("5\n", "")
            assert isinstance(session.worker.process, forks.Own)
        with pytest.raises(NoForks, match="unshare: "):
            server.fork(1, {})
    assert capfd.readouterr().err.count("imports torch anew, which is slow") == 1


def test_without_handles_on_processes_there_are_no_forks(monkeypatch, capfd):
    monkeypatch.delattr(forks.os, "pidfd_open", raising=False)
    with ForkServer() as server, pytest.raises(NoForks, match="this Python knows no pidfd"):
        server.fork(1, {})
    assert "knows no pidfd" in capfd.readouterr().err


def test_a_server_that_does_not_start_says_what_it_said(monkeypatch):
    monkeypatch.setattr(walls, "walls", lambda forks: ("sh", "-c", "echo no room; exit 1"))
    with ForkServer() as server, pytest.raises(NoForks, match="no room"):
        server.fork(1, {})
    monkeypatch.setattr(walls, "walls", lambda forks: ("true",))
    with ForkServer() as server, pytest.raises(NoForks, match="it ended without a word"):
        server.fork(1, {})


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_use_is_read_of_a_process_and_of_what_it_started():
    code = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    spin = "x = bytes([1]) * 50_000_000\nimport time\nend = time.process_time() + 0.3\n"
    spin += "while time.process_time() < end: pass\nprint(1, flush=True); time.sleep(60)"
    command = [forks.sys.executable, "-c", code, spin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        pids = family(process.pid)
        assert len(pids) == 2
        assert family(process.pid, depth=0) == [process.pid]
        assert 0.25 < cpu_seconds(pids) < math.inf
        assert 48 < memory_mib(pids) < 120
        forks.end_tree(process)
    assert memory_mib(pids) == 0
    assert not any(map(runs, pids))
