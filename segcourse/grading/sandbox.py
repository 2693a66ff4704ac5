"""The trusted side of the wall: start a worker, ask it under limits, restart it when it dies."""

import contextlib
import math
import os
import select
import socket
import time
from dataclasses import dataclass

from segcourse.grading import processes, student, walls, wire
from segcourse.grading.forks import ENDED_WITHIN, STARTED_WITHIN, Fork, ForkServer, NoForks, Own
from segcourse.grading.marking import StudentError, not_plain

MOST_RESTARTS = 20
"""Of all workers of one submission."""
MOST_DEATHS = 5
"""Of workers in the tests of one answer, and in all cells together."""
TIMES_IN_ALL = 15
"""So many cells and answers may use up all of their time, in both runs of one submission."""
UNSEEN = 0.1
"""CPU seconds that a process which ended may have used since the last look at it."""


@dataclass
class Time:
    """What is left: of CPU time, and by the clock, seconds; and how often a worker died in it."""

    cpu: float
    clock: float
    deaths: int = 0


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Args:
        cell_seconds: of CPU time, for running one cell.
        answer_seconds: of CPU time, for all calls that the tests of one answer make.
        patience: seconds by the clock for each of these, so that what sleeps ends, too; on a
            machine that is so busy no honest answer runs out of time.
        memory_mib: of all its processes together.
        processes: and threads.
        output_kib: printed in all; what is more ends the worker.
    """

    cell_seconds: float = 20
    answer_seconds: float = 20
    patience: float = 4
    memory_mib: int = 2048
    processes: int = 64
    output_kib: int = 16 * 1024

    @property
    def longest(self) -> float:
        """Seconds by the clock after which the tests of an answer have ended."""
        return self.patience * self.answer_seconds + 10

    @property
    def whole(self) -> Time:
        """What a submission may use in all, and what replays of its cells take is in it."""
        seconds = TIMES_IN_ALL * max(self.cell_seconds, self.answer_seconds)
        return Time(seconds, self.patience * seconds)

    @property
    def cell(self) -> Time:
        """What a cell may use."""
        return Time(self.cell_seconds, self.patience * self.cell_seconds)

    def of_process(self, shared: bool) -> dict[str, int]:
        """Limits that the system holds for each process; names as in `resource`.

        Args:
            shared: whether the system counts its processes with all others of this user.
        """
        limits = {"CORE": 0, "NOFILE": 128, "CPU": 900}
        limits |= {"FSIZE": walls.TEMPORARY, "DATA": 2 * self.memory_mib << 20}
        limits["NPROC"] = self.processes + (processes.threads_of_user() if shared else 0)
        return limits


@dataclass
class Cell:
    """A cell that was run, and the time that it took."""

    source: str
    cpu: float
    clock: float

    def again(self, limits: Limits) -> Time:
        """Time to run it again: what it took, and as much again for a machine that is busy."""
        most = limits.cell
        cpu, clock = 2 * self.cpu + 1, limits.patience * (2 * self.clock + 5)
        return Time(min(most.cpu, cpu), min(most.clock, clock))


class OutOfTime(Exception):
    """The CPU time is used up."""


class Worker:
    """A process that runs a student's code, behind the wall or not.

    Args:
        limits: of this submission.
        walled: False runs it with the rights of this process.
        server: has torch imported and forks it, where there is a wall and the system allows it.
    """

    def __init__(self, limits: Limits, walled: bool, server: ForkServer | None = None):
        self.limits, self.output, self.printed = limits, bytearray(), 0
        self.pipe, output = os.pipe()
        try:
            self.sock, self.process = self._start(output, walled, server)
        finally:
            os.close(output)
        os.set_blocking(self.pipe, False)
        self.looked, self.most_cpu, self.seen_cpu = 0.0, math.inf, 0.0
        try:
            wire.receive(self.sock, time.monotonic() + STARTED_WITHIN, self.wait)
        except (OSError, EOFError, ValueError) as error:
            said = bytes(self.output).decode("utf-8", "replace")[-500:]
            self.kill()
            raise RuntimeError(f"a worker did not start: {error} {said}") from error

    def _start(
        self, output: int, walled: bool, server: ForkServer | None
    ) -> tuple[socket.socket, Fork | Own]:
        if walled and server:
            with contextlib.suppress(NoForks):
                return server.fork(output, self.limits.of_process(shared=False))
        ours, theirs = socket.socketpair()
        with theirs:
            return ours, Own(theirs, output, self.limits.of_process(shared=not walled), walled)

    def ask(self, message: dict, blobs: list[bytes], left: Time) -> tuple[dict, list[bytes]]:
        """Send a message and return the answer.

        Args:
            message: what to do.
            blobs: bytes of its tensors.
            left: time that it may take; less afterwards.

        Raises:
            StudentError: too slow, too much, or gone. The worker is dead then.
        """
        start, given = time.monotonic(), self.cpu()
        self.most_cpu, self.seen_cpu = given + left.cpu, given
        try:
            wire.send(self.sock, message, blobs, start + left.clock)
            answer = wire.receive(self.sock, start + left.clock, self.wait)
            left.cpu -= max(0.0, self.cpu() - given)
            left.clock -= time.monotonic() - start
            return answer
        except OutOfTime:
            told = f"no answer within {left.cpu:.3g} s: an endless loop?"
        except TimeoutError:
            told = f"no answer within {left.clock:.3g} s by the clock: does it wait for something?"
        except StudentError as error:
            told = str(error)
        except (OSError, EOFError):
            told = "the process ended: a crash, or an exit"
        except (ValueError, RecursionError, MemoryError, KeyError, TypeError):
            told = "the process gave an answer that can't be read"
        # The CPU time of what has ended went with it; the clock would charge for a busy machine.
        used = max(self.seen_cpu, self.cpu()) - given
        self.kill()
        left.cpu -= used + UNSEEN
        left.clock -= time.monotonic() - start
        raise StudentError(told)

    def cpu(self) -> float:
        """Seconds of CPU time that it has used up to now."""
        return processes.cpu_seconds(self.process.processes())

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
                self.look()
            if self.sock in ready:
                return

    def look(self) -> None:
        """Raise where it has used too much memory or CPU time."""
        pids = self.process.processes()
        most = self.limits.memory_mib - self.process.unmapped_mib()
        # A fork has all pages of its parent's, and owns few of them.
        if processes.memory_mib(pids) > most < processes.memory_mib(pids, once=True):
            raise StudentError(f"more than {self.limits.memory_mib} MiB of memory")
        self.seen_cpu = max(self.seen_cpu, processes.cpu_seconds(pids))
        if self.seen_cpu > self.most_cpu:
            raise OutOfTime

    def take_output(self) -> None:
        """Read what was printed; more than the limit is an error."""
        while self.pipe >= 0:
            try:
                piece = os.read(self.pipe, 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                self._close_pipe()
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
        self.process.end()
        self._end_of_pipe()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
        self.pipe = -1

    def _end_of_pipe(self) -> None:
        """Every process of the sandbox holds the pipe: its end is theirs."""
        end = time.monotonic() + ENDED_WITHIN
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
        server: forks the workers; else each starts a Python of its own.
    """

    def __init__(self, limits: Limits, walled: bool = True, server: ForkServer | None = None):
        self.limits, self.walled, self.server = limits, walled, server
        self.worker: Worker | None = None
        self.cells: list[Cell] = []
        self.before: list[Cell] | None = None
        self.left: dict[str | None, Time] = {}  # by answer; None: of the whole submission
        self.answer, self.restarts = "", -1
        self.incidents: list[str] = []

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        if self.worker and self.worker.alive:
            self.worker.kill()
        if self.server:
            self.server.check()

    def run(self, source: str) -> tuple[str, str]:
        """Run a cell: what it printed, and its error in words."""
        left, most = self.limits.cell, self.limits.cell
        try:
            if self._whole().deaths >= MOST_DEATHS:
                raise StudentError("the process ended too often")
            self._ready()
            said, _ = self._spend({"do": "run", "source": source}, [], left)
        except StudentError as error:
            # What made it die is not run again; its functions are wanted.
            source = student.definitions(source)
            self.cells.append(Cell(source, most.cpu - left.cpu, most.clock - left.clock))
            self.left[None].deaths += left.deaths
            self.incidents.append(str(error))
            return "", str(error)
        self.cells.append(Cell(source, most.cpu - left.cpu, most.clock - left.clock))
        error = said.get("error")
        return self.worker.printed_since(), error[:2000] if isinstance(error, str) else "no answer"

    def start_tests(self, answer: str) -> None:
        """Calls that follow are on this answer's time."""
        self.answer = answer

    def again(self, cells: int) -> None:
        """Go on in a new worker that has run the first cells alone; or from there to more cells.

        A cell that made a worker die runs as its definitions.
        """
        if self.before is None:
            self.before, self.cells = self.cells, []
            if self.worker and self.worker.alive:
                self.worker.kill()
                self.restarts -= 1
        while len(self.cells) < cells:
            self.run(self.before[len(self.cells)].source)

    def call(self, name: str, args: tuple, kwargs: dict):
        """Call a function by name, by value."""
        blobs: list[bytes] = []
        message = {"do": "call", "name": name}
        message |= {"args": wire.pack(args, blobs), "kwargs": wire.pack(kwargs, blobs)}
        return self._ask(message, blobs, name)

    def value(self, name: str):
        """A value by name."""
        return self._ask({"do": "value", "name": name}, [], name)

    def _whole(self) -> Time:
        """What is left of the submission's time."""
        left = self.left.setdefault(None, self.limits.whole)
        if left.cpu <= 0 or left.clock <= 0:
            raise StudentError("no time left for this submission")
        return left

    def _spend(self, message: dict, blobs: list[bytes], own: Time) -> tuple[dict, list[bytes]]:
        """Ask, on time of its own and on that of the submission."""
        whole = self._whole()
        given = Time(min(own.cpu, whole.cpu), min(own.clock, whole.clock))
        left = Time(given.cpu, given.clock)
        try:
            return self.worker.ask(message, blobs, left)
        except StudentError:
            own.deaths += 1
            raise
        finally:
            for each in (own, whole):
                each.cpu -= given.cpu - left.cpu
                each.clock -= given.clock - left.clock

    def _ask(self, message: dict, blobs: list[bytes], name: str):
        most = self.limits.answer_seconds
        left = self.left.setdefault(self.answer, Time(most, self.limits.patience * most))
        if left.cpu <= 0 or left.clock <= 0:
            raise StudentError(f"no time left for the tests of {self.answer}")
        if left.deaths >= MOST_DEATHS:
            raise StudentError(f"the process ended too often in the tests of {self.answer}")
        self._ready()
        try:
            said, values = self._spend(message, blobs, left)
        except StudentError as error:
            self.incidents.append(str(error))
            raise
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
            self._whole()
            self.restarts += 1
            if self.restarts > MOST_RESTARTS:
                raise StudentError("the process ended too often")
            self.worker = Worker(self.limits, self.walled, self.server)
            for cell in self.cells:
                message = {"do": "run", "source": cell.source}
                try:
                    self._spend(message, [], cell.again(self.limits))
                except StudentError:
                    fewer = student.definitions(cell.source)
                    cell.source = fewer if fewer != cell.source else ""
                    break
            self.worker.printed_since()
