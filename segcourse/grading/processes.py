"""What processes use, read from /proc: memory and CPU time of one and of all that it started."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

A_SEMAPHORE = 64
"""Bytes that the kernel takes for one."""


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


def memory_mib(pids: Iterable[int], once: bool = False) -> float:
    """Memory of processes, MiB, and of files of theirs that have no name and lie in memory.

    Args:
        pids: the processes.
        once: a page that processes share counts as one page, which takes longer to find out; else
            it counts for each of them. A process that does not let itself be read counts in full.
    """
    pids = list(pids)
    each = _own_share_mib if once else _resident_mib
    return sum(map(each, pids)) + _nameless_mib(pids)


def system_v_mib(shared: int, messages: int, semaphores: int) -> float:
    """Memory of System V's IPC, MiB.

    Args:
        shared: the open file /proc/sysvipc/shm of the namespace that is meant.
        messages: msg in the same folder.
        semaphores: sem in the same folder.
    """
    size = sum(row["rss"] + row["swap"] for row in _rows(shared))
    size += sum(row["cbytes"] for row in _rows(messages))
    return (size + sum(row["nsems"] for row in _rows(semaphores)) * A_SEMAPHORE) / (1 << 20)


def _rows(file: int) -> list[dict[str, int]]:
    pieces, place = [], 0
    while piece := os.pread(file, 1 << 16, place):
        pieces.append(piece)
        place += len(piece)
    names, *rows = [line.split() for line in b"".join(pieces).decode().splitlines()]
    # The first column holds keys, of which some are negative.
    return [dict(zip(names, map(int, row), strict=True)) for row in rows]


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
    return sum(_kib(f"/proc/{pid}/status", "RssAnon", "RssShmem")) / 1024


def _own_share_mib(pid: int) -> float:
    kib = _kib(f"/proc/{pid}/smaps_rollup", "Pss_Anon", "Pss_Shmem")
    return sum(kib) / 1024 if kib else _resident_mib(pid)


def _kib(path: str, *names: str) -> list[int]:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return [int(fields[name].split()[0]) for name in names if name in fields]


def _nameless_mib(pids: Iterable[int]) -> float:
    """Open files without a name (memfd_create): they take memory where nobody maps them."""
    found = {}
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                file = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if stat.S_ISREG(file.st_mode) and file.st_nlink == 0:
                found[file.st_dev, file.st_ino] = file.st_blocks
    return sum(found.values()) / 2048  # blocks have 512 bytes


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
