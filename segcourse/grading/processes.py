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


def runs(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def is_first(pid: int) -> bool:
    """Whether it is the first process of a namespace: all others in there end with it."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return text.partition("NSpid:")[2].split("\n")[0].split()[-1:] == ["1"]


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
    # Fields 14 to 17: utime, stime, cutime, cstime.
    return sum(map(int, _stat(pid)[11:15]))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; nothing of a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return []
    # They follow the name, which is in brackets and may hold anything.
    return text[text.rindex(")") + 2 :].split()
