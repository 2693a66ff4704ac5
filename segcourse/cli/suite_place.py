"""What a suite keeps in its folder, and what each of its runs has come to.

OUT/NAME-s0.json              the record of a run that is done
OUT/NAME-s0.maps.png          its label maps of a few frames
OUT/runs/NAME-s0/             a run in hand: checkpoints, log
OUT/trained/NAME-s0/          a run that is done: log and best weights, as --run and --start want
OUT/failed/NAME-s0.json       why a run failed
OUT/superseded/               what was made with another configuration than the list's
"""

import fnmatch
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from segcourse import resuming
from segcourse.cli import suite_budget
from segcourse.cli.flags import parse_config
from segcourse.cli.runs import FILE, saved_config, start_of
from segcourse.cli.suite_runs import Entry
from segcourse.config import Config, differences
from segcourse.errors import DataError, UsageError
from segcourse.records import plain

DONE, IN_HAND, FAILED, PENDING, NO_DATA = "done", "in hand", "failed", "pending", "no data"


@dataclass(frozen=True)
class Job:
    """One entry of the list with one seed.

    `config` is without the places that the suite gives it. Where the entry has a budget in
    seconds, its steps are those of equal epochs until `Place.settle` has others.
    """

    entry: Entry
    seed: int
    config: Config

    @property
    def label(self) -> str:
        """Its name in files and tables."""
        return f"{self.entry.name}-s{self.seed}"

    @property
    def start(self) -> str:
        """The label of the job whose weights it starts from, or ""."""
        return f"{self.entry.start}-s{self.seed}" if self.entry.start else ""

    @property
    def of(self) -> str:
        """The label of the job that it repeats with a budget in seconds, or ""."""
        return f"{self.entry.of}-s{self.seed}" if self.entry.of else ""


@dataclass(frozen=True)
class State:
    """What a job has come to: a word, the step it is at, and its record or its failure."""

    word: str
    step: int = 0
    found: dict | None = None


def jobs_of(entries: Sequence[Entry], seeds: Sequence[int], only: Sequence[str] = ()) -> list[Job]:
    """List the jobs in the order in which they are done: the first seed of every entry first.

    Those with a budget in seconds come after all seeds of the others, whose speed they need.

    Args:
        entries: the list.
        seeds: as asked for.
        only: names of entries, or patterns as best*; those that they start from or repeat come
            with them. Empty: all.

    Raises:
        UsageError: `only` names what is not in the list, or an entry starts from a later one.
    """
    names = [entry.name for entry in entries]
    unknown = [word for word in only if not fnmatch.filter(names, word)]
    if unknown:
        raise UsageError(f"--only {' '.join(unknown)}: not in the list: {', '.join(names)}")
    wanted = {name for word in only or "*" for name in fnmatch.filter(names, word)}
    for entry in reversed(entries):
        for needed, how in ((entry.start, "starts from"), (entry.of, "repeats")):
            if needed and needed not in names[: names.index(entry.name)]:
                raise UsageError(f"{entry.name} {how} {needed}, which does not stand before it")
            if needed and entry.name in wanted:
                wanted.add(needed)
    jobs = [
        Job(entry, seed, parse_config(f"{entry.flags} --seed {seed}".split()))
        for seed in seeds
        for entry in entries
        if entry.name in wanted
    ]
    return sorted(jobs, key=lambda job: bool(job.of))  # a stable sort: the order stays otherwise


class Place:
    """A suite's folder.

    Args:
        out: the folder; it need not exist.
        jobs: all that may be asked about.
    """

    def __init__(self, out: Path, jobs: Sequence[Job]):
        self.out = out
        self.jobs = {job.label: job for job in jobs}
        for label in self.jobs:
            self.settle(label)

    def settle(self, label: str) -> Job | None:
        """A job with the steps that its budget in seconds allows, or as it is without one.

        Once it has a record, the steps are those of the record, whatever the clock says later.

        Returns:
            The job, which `jobs` has from now on; None while the run that it repeats is not done.
        """
        job = self.jobs[label]
        if not job.of:
            return job
        repeated = self.jobs[job.of]
        budget = (read(self.record(label)) or {}).get("budget")
        if budget and (budget["seconds"], budget["of"]) == (job.entry.seconds, job.entry.of):
            config = suite_budget.with_steps(repeated.config, budget["steps"])
        else:
            state = self.state(repeated)
            if state.word != DONE:
                return None
            speed = suite_budget.images_per_second(state.found)
            config = suite_budget.shared_out(repeated.config, job.entry.seconds, speed)
        self.jobs[label] = replace(job, config=config)
        return self.jobs[label]

    def record(self, label: str) -> Path:
        """The file of a run's record."""
        return self.out / f"{label}.json"

    def maps(self, label: str) -> Path:
        """The file of a run's label maps, or of the true ones of a data set."""
        return self.out / f"{label}.maps.png"

    def run(self, label: str) -> Path:
        """The folder of a run in hand."""
        return self.out / "runs" / label

    def trained(self, label: str) -> Path:
        """The folder of a run that is done."""
        return self.out / "trained" / label

    def failed(self, label: str) -> Path:
        """The file that says why a run failed."""
        return self.out / "failed" / f"{label}.json"

    def has_weights(self, label: str) -> bool:
        """Whether another run can start from this one."""
        return (self.trained(label) / FILE).is_file() and resuming.holds_run(self.trained(label))

    def state(self, job: Job) -> State:
        """What a job has come to; what is there with another configuration counts as nothing."""
        record = read(self.record(job.label))
        if record is not None and not self.changes(job, record):
            return State(DONE, job.config.steps, record)
        failure = read(self.failed(job.label))
        if failure is not None and not self.changes(job, failure):
            return State(FAILED, found=failure)
        step = self.step(job)
        return State(IN_HAND, step) if step else State(PENDING)

    def step(self, job: Job) -> int:
        """The step that a run in hand is at; 0 where there is none with the job's configuration."""
        return 0 if self._run_changes(job) else self._step(job.label)

    def changes(self, job: Job, saved: dict) -> list[str]:
        """In what a record, or a failure, is of another configuration than the job."""
        found = changes(saved["config"], job.config)
        start = saved.get("start") or {}
        if start.get("run", "") != job.start:
            found.append(f"start: {start.get('run') or 'none'} -> {job.start or 'none'}")
        elif job.start and "config" in start:
            before = changes(start["config"], self.jobs[job.start].config)
            found += [f"{job.start}: {change}" for change in before]
        return found

    def put_aside(self, job: Job) -> list[str]:
        """Move what was made with another configuration to superseded/; say what and why."""
        told = []
        for path in (self.record(job.label), self.failed(job.label)):
            saved = read(path)
            if saved is not None and (found := self.changes(job, saved)):
                told.append(f"{path.name}: {'; '.join(found)}: moved to {self.supersede(path)}")
                for left in (self.trained(job.label), self.maps(job.label)):
                    if left.exists():
                        self.supersede(left)
        if found := self._run_changes(job):
            path = self.run(job.label)
            told.append(f"{path.name}: {'; '.join(found)}: moved to {self.supersede(path)}")
        return told

    def supersede(self, path: Path) -> Path:
        """Move a file or folder to superseded/, under a name that is free."""
        folder = self.out / "superseded"
        folder.mkdir(exist_ok=True)
        n = 1
        while (target := folder / f"{path.stem}-{n}{path.suffix}").exists():
            n += 1
        os.replace(path, target)
        return target

    def drop_run(self, label: str) -> None:
        """Remove the folder of a run in hand: it is recorded, or it starts over."""
        shutil.rmtree(self.run(label), ignore_errors=True)

    def records(self) -> dict[str, dict]:
        """Every record in the folder by its label, of the jobs and of others."""
        labels = sorted(p.stem for p in self.out.glob("*.json") if re.search(r"-s\d+$", p.stem))
        return {label: read(self.record(label)) for label in labels}

    def _run_changes(self, job: Job) -> list[str]:
        saved = saved_config(self.run(job.label))
        if saved is None or not resuming.holds_run(self.run(job.label)):
            return []
        return self.changes(job, {"config": saved, "start": start_of(self.run(job.label))})

    def _step(self, label: str) -> int:
        folder = self.run(label) / "checkpoints"
        return max((int(p.name[5:]) for p in folder.glob("step-*")), default=0)


def read(path: Path) -> dict | None:
    """Read a record or a failure; None where there is none.

    Raises:
        DataError: it is not what was written.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["config"], dict):
            raise TypeError("its configuration is no object")
        return found
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}): restore it, or remove it and its run is made again"
        ) from error


def changes(saved: dict, config: Config) -> list[str]:
    """The fields in which a saved configuration differs; one that came later has its default."""
    return differences(plain(asdict(Config())) | plain(saved), config)
