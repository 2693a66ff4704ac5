"""A process that marks submissions: one JSON line in, one JSON line out.

Tests run in its main thread, so that a time limit can stop them; it ends when its input ends, so
nothing is left when the process that started it is killed. `Shard` is the other end.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

START = 180
"""Seconds for the first record's imports on a busy machine."""
ENDS_WITHIN = 2
MOST_MEMORY = 4 << 30
"""Bytes of data of a marking process: a test that takes more fails, and the others go on."""


@dataclass(frozen=True)
class Task:
    """One unit of work: a submission, and what it takes to mark it.

    Args:
        student: whose it is.
        notebook: from `intake`.
        hidden: sources of the hidden tests by name.
        limits: fields of `sandbox.Limits`.
        walled: False runs the student's code without a sandbox.
    """

    student: str
    notebook: dict
    hidden: dict[str, str]
    limits: dict = field(default_factory=dict)
    walled: bool = True


def grade(task: dict, server=None) -> dict:
    """Mark one submission.

    Args:
        task: the fields of a `Task`.
        server: a `forks.ForkServer`, for many submissions one after the other.

    Returns:
        A record: student, marks (as `marking.Mark`), printed (by cell, text and error), incidents
        (what the sandbox had to end) and seconds; with `failed` where a person must look at it.
    """
    from segcourse.grading.marking import NotMarked, mark
    from segcourse.grading.sandbox import Limits, Session

    start = time.perf_counter()
    limits, failed = Limits(**task["limits"]), {}
    with Session(limits, task["walled"], server) as session:
        try:
            marks, printed = mark(task["notebook"], session, task["hidden"], limits.longest)
        except NotMarked as error:
            marks, printed, failed = [], {}, {"failed": True}
            session.incidents.append(f"could not be marked: {error}")
    return {
        "student": task["student"],
        "assignment": task["notebook"]["metadata"]["segcourse"]["assignment"],
        "marks": [{**asdict(found), "score": found.score} for found in marks],
        "printed": printed,
        "incidents": session.incidents,
        "seconds": round(time.perf_counter() - start, 3),
        **failed,
    }


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a test prints to the real output must not be taken for a record.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from segcourse.grading.forks import ForkServer

    limit_memory(MOST_MEMORY)
    with ForkServer() as server:
        for line in sys.stdin:
            answers.write(json.dumps(grade(json.loads(line), server)) + "\n")
            answers.flush()


def limit_memory(most: int) -> None:
    """Hold this process to so many bytes of data, where the system can do it.

    What it starts may have more: workers have limits of their own.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


class ShardDied(RuntimeError):
    """The marking process itself ended or hung."""


class Shard:
    """A marking process, started when it is first needed."""

    def __init__(self):
        self.process: subprocess.Popen | None = None

    def grade(self, task: Task) -> dict:
        """Have one submission marked.

        Raises:
            ShardDied: the process ended or hung; the next call starts a new one.
        """
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "segcourse.grading.shard"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        try:
            self.process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self.process.stdin.flush()
            return json.loads(self._line(time.monotonic() + self._longest(task)))
        except (OSError, ValueError, EOFError) as error:
            self.close()
            raise ShardDied(f"{type(error).__name__}: {error}") from error

    def _longest(self, task: Task) -> float:
        """Every limit used up, and as much again."""
        from segcourse.grading.sandbox import Limits

        limits = Limits(**task.limits)
        each = limits.patience * limits.cell_seconds + limits.longest + 10
        return START + 2 * each * len(task.notebook["cells"])

    def _line(self, deadline: float) -> bytes:
        data, pipe = bytearray(), self.process.stdout.fileno()
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if not select.select([pipe], [], [], max(left, 0))[0]:
                raise TimeoutError("the marking process hangs")
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise EOFError("the marking process ended")
            data += piece
        return bytes(data)

    def close(self) -> None:
        """End the process; its workers end with it."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:  # it was marking, or it hangs
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.process = None


if __name__ == "__main__":
    main()
