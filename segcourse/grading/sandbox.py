"""The trusted side of the wall: start a worker, ask it under limits, restart it when it dies."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segcourse.grading import student, walls, wire
from segcourse.grading.marking import StudentError, not_plain

STARTED_WITHIN = 180
"""Seconds that a worker may take to import torch on a busy machine."""
MOST_RESTARTS = 20


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Args:
        cell_seconds: for running one cell.
        answer_seconds: for all calls that the tests of one answer make.
        memory_mib: of all its processes together.
        processes: and threads.
        output_kib: printed in all; what is more ends the worker.
    """

    cell_seconds: float = 20
    answer_seconds: float = 20
    memory_mib: int = 2048
    processes: int = 64
    output_kib: int = 16 * 1024

    def of_process(self, walled: bool) -> dict[str, int]:
        """Limits that the system holds for each process; names as in `resource`."""
        limits = {"CORE": 0, "NOFILE": 128, "CPU": 900}
        limits |= {"FSIZE": walls.TEMPORARY, "DATA": 2 * self.memory_mib << 20}
        # Without a user namespace the system counts all processes of this user.
        limits["NPROC"] = self.processes + (0 if walled else _threads_of_user())
        return limits


class Worker:
    """One process behind the wall (or none: `walled` False)."""

    def __init__(self, limits: Limits, walled: bool):
        self.limits, self.walled, self.output, self.printed = limits, walled, bytearray(), 0
        self.sock, theirs = socket.socketpair()
        place = walls.INSIDE if walled else str(walls.HERE)
        command = [*walls.walls()] if walled else []
        command += [sys.executable, "-I", f"{place}/worker.py", str(theirs.fileno())]
        command.append(json.dumps(limits.of_process(walled)))
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        self.pipe = self.process.stdout.fileno()
        os.set_blocking(self.pipe, False)
        self.looked = 0.0
        try:
            wire.receive(self.sock, time.monotonic() + STARTED_WITHIN, self.wait)
        except (OSError, EOFError, ValueError) as error:
            said = bytes(self.output).decode("utf-8", "replace")[-500:]
            self.kill()
            raise RuntimeError(f"a worker did not start: {error} {said}") from error

    def ask(self, message: dict, blobs: list[bytes], seconds: float) -> tuple[dict, list[bytes]]:
        """Send a message and return the answer.

        Raises:
            StudentError: too slow, too much, or gone. The worker is dead then.
        """
        deadline = time.monotonic() + seconds
        try:
            wire.send(self.sock, message, blobs, deadline)
            return wire.receive(self.sock, deadline, self.wait)
        except TimeoutError:
            told = f"no answer within {seconds:.3g} s: an endless loop?"
        except StudentError as error:
            told = str(error)
        except (OSError, EOFError):
            told = "the process ended: a crash, or an exit"
        except (ValueError, RecursionError, MemoryError, KeyError, TypeError):
            told = "the process gave an answer that can't be read"
        self.kill()
        raise StudentError(told)

    def wait(self, deadline: float) -> None:
        """Wait until there is something to read; meanwhile take the output and watch the limits."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no time left")
            pipes = [self.pipe] if self.pipe >= 0 else []
            ready, _, _ = select.select([self.sock, *pipes], [], [], min(left, 0.1))
            if self.pipe in ready:
                self.take_output()
            if time.monotonic() - self.looked > 0.1:
                self.looked = time.monotonic()
                used = memory_mib(self.process.pid)
                if used > self.limits.memory_mib:
                    raise StudentError(f"more than {self.limits.memory_mib} MiB of memory")
            if self.sock in ready:
                return

    def take_output(self) -> None:
        """Read what was printed; more than the limit is an error."""
        while self.pipe >= 0:
            try:
                piece = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                self.pipe = -1
                return
            self.printed += len(piece)
            if len(self.output) < 1 << 16:
                self.output += piece
            if self.printed > self.limits.output_kib << 10:
                raise StudentError(f"more than {self.limits.output_kib} KiB of output")

    def printed_since(self) -> str:
        """What was printed since the last call, shortened."""
        try:
            self.take_output()
        except StudentError:
            self.kill()
        text = bytes(self.output).decode("utf-8", "replace")
        self.output.clear()
        return text if len(text) < 10_000 else text[:10_000] + "\n[more was printed]"

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.sock.fileno() >= 0

    def kill(self) -> None:
        """End it and everything that it has started."""
        self.sock.close()
        # The first process of the sandbox takes all others with it, and bwrap, which waits for
        # it, leaves no zombie; where there is no sandbox, the children are killed with the group.
        for child in self.children():
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2 if self.walled else 0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._end_of_pipe()
        self.process.stdout.close()
        self.pipe = -1

    def children(self) -> Sequence[int]:
        """Processes that it has started itself."""
        return [pid for pid in family(self.process.pid, depth=1) if pid != self.process.pid]

    def _end_of_pipe(self) -> None:
        """Every process of the sandbox holds the pipe: its end is theirs."""
        end = time.monotonic() + 10
        while self.pipe >= 0 and time.monotonic() < end:
            select.select([self.pipe], [], [], 0.5)
            try:
                if not os.read(self.pipe, 1 << 16):
                    return
            except BlockingIOError:
                continue


class Session:
    """A submission's code behind the wall; a dead worker is replaced by one with its definitions.

    Args:
        limits: of this submission.
        walled: False runs the code with the rights of this process.
    """

    def __init__(self, limits: Limits, walled: bool = True):
        self.limits, self.walled = limits, walled
        self.worker: Worker | None = None
        self.cells: list[str] = []
        self.left: dict[str, float] = {}
        self.answer, self.restarts = "", -1
        self.incidents: list[str] = []

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        if self.worker and self.worker.alive:
            self.worker.kill()

    def run(self, source: str) -> tuple[str, str]:
        """Run a cell: what it printed, and its error in words."""
        try:
            self._ready()
            said, _ = self.worker.ask({"do": "run", "source": source}, [], self.limits.cell_seconds)
        except StudentError as error:
            # What made it die is not run again; its functions are wanted.
            self.cells.append(student.definitions(source))
            self.incidents.append(str(error))
            return "", str(error)
        self.cells.append(source)
        error = said.get("error")
        return self.worker.printed_since(), error[:2000] if isinstance(error, str) else "no answer"

    def start_tests(self, answer: str) -> None:
        """Calls that follow are on this answer's time."""
        self.answer = answer
        self.left.setdefault(answer, self.limits.answer_seconds)

    def call(self, name: str, args: tuple, kwargs: dict):
        """Call a function by name, by value."""
        blobs: list[bytes] = []
        message = {"do": "call", "name": name}
        message |= {"args": wire.pack(args, blobs), "kwargs": wire.pack(kwargs, blobs)}
        return self._ask(message, blobs, name)

    def value(self, name: str):
        """A value by name."""
        return self._ask({"do": "value", "name": name}, [], name)

    def _ask(self, message: dict, blobs: list[bytes], name: str):
        left = self.left.get(self.answer, self.limits.answer_seconds)
        if left <= 0:
            raise StudentError(f"no time left for the tests of {self.answer}")
        self._ready()
        start = time.monotonic()
        try:
            said, values = self.worker.ask(message, blobs, left)
        except StudentError as error:
            self.incidents.append(str(error))
            raise
        finally:
            self.left[self.answer] = left - (time.monotonic() - start)
        self.worker.printed_since()
        if isinstance(said.get("opaque"), str):
            raise StudentError(not_plain(name, said["opaque"]))
        if "value" not in said:
            raise StudentError(str(said.get("error", "no answer"))[:2000])
        try:
            return wire.unpack(said["value"], values)
        except Exception:
            raise StudentError("the process gave an answer that can't be read") from None

    def _ready(self) -> None:
        """Start a worker where there is none, and bring it to where the last one was."""
        while self.worker is None or not self.worker.alive:
            self.restarts += 1
            if self.restarts > MOST_RESTARTS:
                raise StudentError("the process ended too often")
            self.worker = Worker(self.limits, self.walled)
            for place, source in enumerate(self.cells):
                try:
                    message = {"do": "run", "source": source}
                    self.worker.ask(message, [], self.limits.cell_seconds)
                except StudentError:
                    self.cells[place] = student.definitions(source)
                    break
            self.worker.printed_since()


def memory_mib(pid: int) -> float:
    """Memory of a process and of all that descend from it, MiB."""
    return sum(_resident_mib(each) for each in family(pid))


def family(pid: int, depth: int = 100) -> Sequence[int]:
    """A process and its descendants, so many generations deep."""
    found, todo = [], [(pid, 0)]
    while todo:
        each, generation = todo.pop()
        found.append(each)
        if generation == depth:
            continue
        try:
            tasks = list(Path(f"/proc/{each}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                children = (task / "children").read_text().split()
                todo += [(int(child), generation + 1) for child in children]
            except OSError:
                continue
    return found


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    kib = [int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in fields]
    return sum(kib) / 1024


def _threads_of_user() -> int:
    count, user = 0, os.geteuid()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == user:
                count += len(list((path / "task").iterdir()))
        except OSError:
            continue
    return count
