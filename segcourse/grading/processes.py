"""What processes use, read from /proc: memory and CPU time of one and of all that it started."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def family(pid: int, depth: int = 100) -> Sequence[int]:
    """A process and its descendants, so many generations deep; itself first."""
    found, todo = [], [(pid, 0)]
    while todo:
        each, generation = todo.pop()
        found.append(each)
        if generation == depth:
            continue
        try:
            tasks = os.listdir(f"/proc/{each}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                children = Path(f"/proc/{each}/task/{task}/children").read_text().split()
            except OSError:
                continue
            todo += [(int(child), generation + 1) for child in children]
    return found


def memory_mib(pids: Iterable[int]) -> float:
    """Memory of processes, MiB; a page that two of them share counts twice."""
    return sum(_resident_mib(pid) for pid in pids)


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of processes, and of children of theirs that have ended."""
    return sum(_ticks(pid) for pid in pids) / TICKS


def threads_of_user() -> int:
    """Threads of all processes of this user."""
    count, user = 0, os.geteuid()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == user:
                count += len(list((path / "task").iterdir()))
        except OSError:
            continue
    return count


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    kib = [int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in fields]
    return sum(kib) / 1024


def _ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return 0
    # Behind the name, which may hold anything: utime, stime, cutime, cstime are fields 14 to 17.
    return sum(map(int, text[text.rindex(")") + 2 :].split()[11:15]))
