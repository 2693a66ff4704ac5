"""Workers forked from one process that has imported torch: milliseconds a submission, not seconds.

Most of what marking a submission takes is the import of torch. `ForkServer` starts one process
behind the wall, which imports it once (`fork_server`), and has that process fork a worker for each
submission. Why a student's code is as far from the next submission as in a sandbox of its own:

- The server runs no student's code and holds nothing of a student's, so a fork begins with nothing.
- Before a fork runs anything of a student's, it closes all files of the server's and goes into new
  namespaces of its own: users, processes, mounts, network, IPC. It sees no process but its own, and
  can neither signal nor trace the server or another worker; being of one user does not help it.
- It has new, empty file systems at /tmp and /dev/shm, new terminals, a new network and a new
  keyring; everything else is read-only. There is no place where it could leave something.
- It has no capability, can't get one, and can't make namespaces. Its limits are set after the fork.
- We hold a handle (a pidfd) on the first process of its namespaces. Killing that one ends all, also
  what has detached itself, and the system reports it dead when all are: only then comes the next.
- A server whose forks did not end, or that has a process more than at its start, is thrown away.

Where the system does not allow this, each worker is a sandbox of its own, which is slow, and
`ForkServer` says so once.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

from segcourse.grading import walls
from segcourse.grading.processes import family, is_first, runs, system_v_mib

STARTED_WITHIN = walls.IMPORTED_WITHIN
ENDED_WITHIN = 10
SLOW = "segcourse grade: {} ({}); every submission imports torch anew, which is slow"
NOT_ALLOWED = "this system does not let a sandbox make sandboxes"
NOT_STARTED = "the process that forks workers did not start"


class NoForks(RuntimeError):
    """Forks can't be had here."""


class ForkServer:
    """Forks workers; the process starts with the first of them, again where it was thrown away."""

    def __init__(self):
        self.process: subprocess.Popen | None = None
        self.control: socket.socket | None = None
        self.at_start: set[int] = set()
        self.why_not = ""

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def fork(self, output: int, limits: dict) -> tuple[socket.socket, "Fork"]:
        """Fork a worker; returns the connection with it, too.

        Args:
            output: a pipe for what it prints.
            limits: as `worker.limit` takes them.

        Raises:
            NoForks: the system does not allow it; each later call says so, too.
        """
        told, cause = "", NOT_STARTED
        for _ in range(0 if self.why_not else 2):
            ours, theirs = socket.socketpair()
            try:
                if self.process is None:
                    self._start()
                return ours, self._fork(ours, theirs, output, limits)
            except (OSError, EOFError) as error:
                told = str(error)
                ours.close()
                self.close()
                if isinstance(error, PermissionError):
                    cause = NOT_ALLOWED
                    break
            finally:
                theirs.close()
        if told:
            self.why_not = told
            print(SLOW.format(cause, told), file=sys.stderr, flush=True)
        raise NoForks(self.why_not)

    def _start(self) -> None:
        if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
            raise OSError("this Python knows no pidfd")
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [*walls.walls(forks=True), *walls.PYTHON]
        command += [f"{walls.INSIDE}/fork_server.py", str(theirs.fileno())]
        command += map(json.dumps, (walls.own_folders(), walls.library_folders()))
        with theirs:
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.control.settimeout(STARTED_WITHIN)
        if self.control.recv(16) != b"ready":
            said = self.process.stdout.read().decode("utf-8", "replace").strip()
            raise EOFError(said[-300:] or "it ended without a word")
        self.at_start = set(family(self.process.pid))

    def _fork(
        self, ours: socket.socket, theirs: socket.socket, output: int, limits: dict
    ) -> "Fork":
        socket.send_fds(self.control, [json.dumps(limits).encode()], [theirs.fileno(), output])
        theirs.close()  # when a fork has ended, nobody holds it
        ours.settimeout(STARTED_WITHIN)
        said, handles, *_ = socket.recv_fds(ours, 1, 4)
        if said == b"." and len(handles) == 4:
            return Fork(self, *handles)
        if said == b"!":
            raise PermissionError(ours.recv(300).decode("utf-8", "replace"))
        raise EOFError("the server ended")

    def check(self) -> None:
        """Throw the server away when it has another process than at its start."""
        end = time.monotonic() + 1
        while self.process and set(family(self.process.pid)) != self.at_start:
            if time.monotonic() > end:
                self.close()
            time.sleep(0.001)

    def close(self) -> None:
        """End the server and every fork of it."""
        if self.process is None:
            return
        self.control.close()
        end_tree(self.process)
        self.process.stdout.close()
        self.process = None


class Fork:
    """A worker that was forked.

    Args:
        server: its server.
        handle: a pidfd of the first process of its namespaces.
        lists: of System V's shared memory, messages and semaphores there, as in /proc/sysvipc.
    """

    def __init__(self, server: ForkServer, handle: int, *lists: int):
        self.server, self.handle, self.lists = server, handle, lists
        with open(f"/proc/self/fdinfo/{handle}") as file:
            fields = dict(line.split(":", 1) for line in file)
        self.pid = int(fields["Pid"])

    def processes(self) -> list[int]:
        """The processes of the student's code: all but the first."""
        return [pid for pid in family(self.pid) if pid != self.pid]

    def unmapped_mib(self) -> float:
        """Memory that the system holds for its code, whether a process maps it or not."""
        return system_v_mib(*self.lists)

    def end(self) -> None:
        """Kill all of it, and wait until it is gone."""
        if self.handle < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        gone, _, _ = select.select([self.handle], [], [], ENDED_WITHIN)
        for file in (self.handle, *self.lists):
            os.close(file)
        self.handle = -1
        if not gone:
            self.server.close()


class Own:
    """A worker that is a process of its own, behind a wall of its own or none.

    Args:
        theirs: its end of the connection with it.
        output: a pipe for what it prints.
        limits: as `worker.limit` takes them.
        walled: whether there is a wall.
    """

    def __init__(self, theirs: socket.socket, output: int, limits: dict, walled: bool):
        place = walls.INSIDE if walled else str(walls.HERE)
        command = [*walls.walls()] if walled else []
        command += [*walls.PYTHON, f"{place}/worker.py", str(theirs.fileno())]
        ours = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
        self.process = subprocess.Popen(
            [*command, json.dumps(limits), json.dumps(walls.library_folders())],
            env=ours | {"PYTHONHASHSEED": "0"},  # behind a wall it gets none of these
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def processes(self) -> list[int]:
        """The processes of the student's code, and those of the wall."""
        return list(family(self.pid))

    def unmapped_mib(self) -> float:
        """Nobody can tell from outside."""
        return 0.0

    def end(self) -> None:
        """Kill all of it."""
        end_tree(self.process)


def end_tree(process: subprocess.Popen) -> None:
    """End a process and everything that it has started.

    The first process of a sandbox takes all others with it, and bwrap, which waits for it, leaves
    no zombie; where there is no sandbox, the process is killed with its group.
    """
    pids = family(process.pid)
    firsts = [pid for pid in pids if is_first(pid)]
    for pid in firsts:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2 if firsts else 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + ENDED_WITHIN
    while any(map(runs, pids)) and time.monotonic() < end:
        time.sleep(0.001)
