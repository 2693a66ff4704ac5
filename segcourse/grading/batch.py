"""Many submissions: in shards on this machine, or on a Dask cluster; each is marked exactly once.

The unit of work is the same for both: a `Task` in, a record out. A record is kept on disk as soon
as it is there, so a batch that was stopped goes on where it was.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from segcourse.errors import UsageError
from segcourse.grading.shard import Shard, ShardDied, Task

TRIES = 2


def grade_here(tasks: Sequence[Task], shards: int) -> Iterator[dict]:
    """Mark on this machine, `shards` submissions at a time; records come as they are done."""
    own = threading.local()
    every: list[Shard] = []

    def one(task: Task) -> dict:
        if not hasattr(own, "shard"):
            own.shard = Shard()
            every.append(own.shard)
        return _tried(own.shard, task)

    with ThreadPoolExecutor(shards) as pool:
        futures = [pool.submit(one, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            for shard in every:
                shard.close()


def grade_on_cluster(tasks: Sequence[Task], address: str) -> Iterator[dict]:
    """Mark on a Dask cluster whose workers have this package; records come as they are done.

    Raises:
        UsageError: Dask is not installed, or there is no scheduler.
    """
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'segcourse[grading]'") from error
    try:
        client = distributed.Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        # Not pure: two submissions that are alike are two submissions.
        futures = [client.submit(grade_remotely, asdict(task), pure=False) for task in tasks]
        for future in distributed.as_completed(futures):
            yield future.result()


_REMOTE = threading.local()


def grade_remotely(task: dict) -> dict:
    """The unit of work on a Dask worker: it keeps one marking process for each of its threads."""
    if not hasattr(_REMOTE, "shard"):
        _REMOTE.shard = Shard()
    return _tried(_REMOTE.shard, Task(**task))


def _tried(shard: Shard, task: Task) -> dict:
    """A record, also where the marking process died: then one that a person must look at."""
    for _ in range(TRIES):
        try:
            return shard.grade(task)
        except ShardDied as error:
            told = str(error)
    return {
        "student": task.student,
        "assignment": task.notebook["metadata"]["segcourse"]["assignment"],
        "marks": [],
        "printed": {},
        "incidents": [f"could not be marked: {told}"],
        "seconds": 0,
        "failed": True,
    }


def key(task: Task) -> str:
    """A digest of all that a record depends on, but for the limits."""
    about = asdict(task) | {"limits": {}}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def holds(record: Mapping, task: Task) -> bool:
    """Whether a record is what marking the task again would give."""
    if record.get("key") != key(task) or record.get("failed"):
        return False
    # Other limits matter to what they have ended, and to nothing else.
    return not record.get("incidents") or record.get("limits") == dict(task.limits)


def grade_all(
    tasks: Sequence[Task], folder: Path, run: Callable[[Sequence[Task]], Iterator[dict]]
) -> Iterator[dict]:
    """Mark those tasks that have no record yet; what was handed in anew is marked anew.

    Args:
        tasks: one a student.
        folder: of the records, STUDENT.json.
        run: `grade_here` or `grade_on_cluster`, with its other arguments bound.

    Yields:
        Every record, those of earlier runs first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left, known = [], {task.student: task for task in tasks}
    for task in tasks:
        path = folder / f"{task.student}.json"
        record = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if holds(record, task):
            yield record
        else:
            left.append(task)
    for record in run(left) if left else ():
        task = known[record["student"]]
        record |= {"key": key(task), "limits": dict(task.limits)}
        path = folder / f"{record['student']}.json"
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(record, indent=1), "utf-8")
        os.replace(partial, path)
        yield record
