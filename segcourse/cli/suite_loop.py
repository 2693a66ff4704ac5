"""The loop of a suite: every run in turn, whatever becomes of the one before."""

import gc
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import torch

from segcourse.cli import suite_table
from segcourse.cli.deadline import Deadline
from segcourse.cli.suite_data import SuiteData
from segcourse.cli.suite_place import DONE, FAILED, NO_DATA, PENDING, Job, Place, State
from segcourse.cli.suite_work import command, work
from segcourse.errors import UsageError
from segcourse.records import write_record


class Suite:
    """The runs of one call.

    Args:
        place: the folder and its jobs.
        data: what there is to train on.
        deadline: when to stop.
        words: of the command line that a single run's command needs too.
        retry: whether failed runs are tried again.
    """

    def __init__(
        self, place: Place, data: SuiteData, deadline: Deadline, words: Sequence[str], retry: bool
    ):
        self.place, self.data, self.deadline = place, data, deadline
        self.words, self.retry = words, retry
        self.failures: set[str] = set()

    def states(self) -> dict[str, State]:
        """Every job's state by its label."""
        return {label: self.state(label) for label in self.place.jobs}

    def state(self, label: str) -> State:
        """A job's state; without its data it can only be done."""
        job = self.place.settle(label)
        if job is None:
            job = self.place.jobs[label]
            return State(PENDING if self.data.has(job.config.data) else NO_DATA)
        state = self.place.state(job)
        if state.word != DONE and not self.data.has(job.config.data):
            return State(NO_DATA)
        return state

    def check_data(self) -> None:
        """Refuse to go where no job has its data."""
        names = {job.config.data for job in self.place.jobs.values()}
        if not any(self.data.has(name) for name in names):
            name = sorted(names)[0]
            raise UsageError(
                f"the runs need {', '.join(sorted(names))}, and --data-pack gives "
                f"{', '.join(self.data.roots) or 'nothing'}: give --data-pack {name}={name}-folder,"
                f" or a file made by\n  segcourse data pack {name} --root DIR --out {name}.zip"
            )

    def go(self) -> None:
        """Work on every job in turn, until all are done or the deadline stops."""
        for number, label in enumerate(list(self.place.jobs), start=1):
            if job := self.place.settle(label):
                for told in self.place.put_aside(job):
                    print(told, flush=True)
            if not self.deadline.allows(0):
                continue
            self._attempt(label, f"[{number}/{len(self.place.jobs)}]")

    def _attempt(self, label: str, number: str, again: bool = False) -> bool:
        """Work on a job unless it is done, failed, or without data.

        Returns:
            Whether its weights are there for another run to start from.
        """
        state = self.state(label)
        job = self.place.jobs[label]
        if state.word == DONE and not again:
            if has_weights := self.place.has_weights(job.label):
                self.place.drop_run(job.label)  # a kill may have left it
            return has_weights  # where there are none, a run in hand is making them again
        if state.word == NO_DATA or job.label in self.failures:
            return False
        if state.word == FAILED:
            if not self.retry:
                return False
            if state.found["error"] == "DivergedError":
                self.place.drop_run(job.label)  # its checkpoints lead to the same step
            self.place.failed(job.label).unlink()
        if self.place.settle(label) is None:
            print(f"{number} {label} waits for {job.of}", flush=True)
            return False
        missing = job.start and not self.place.has_weights(job.start)
        if missing and not self._attempt(job.start, f"{number} for its weights:", again=True):
            print(f"{number} {label} waits for {job.start}", flush=True)
            return False
        return self._work(job, number, again)

    def _work(self, job: Job, number: str, again: bool) -> bool:
        identity = self.data.use(job.config)
        self._check_identity(identity)
        state = self.place.state(job)
        if again and state.word == DONE:
            print(f"{job.label}.json stays: its weights are not here, and are trained again")
        step = self.place.step(job)
        at = f", from step {step}" if step else ""
        print(f"{number} {job.label}: {job.config.steps} steps{at}", flush=True)
        try:
            made = work(job, self.place, self.data, self.deadline, self.words)
        except Exception as error:  # whatever a model may raise: the next run is another model
            self._note(job, error)
            told = f"failed: {suite_table.first_line(error)}"
            made = None
        else:
            told = "in hand" if made is None else suite_table.result(made)
            told = "has its weights again" if made and state.word == DONE else told
        print(f"{number} {job.label}: {told}", flush=True)
        gc.collect()  # a model and its optimizer hold each other
        if self.data.device.type == "cuda":
            _check_gpu()
            torch.cuda.empty_cache()
        return made is not None

    def _note(self, job: Job, error: Exception) -> None:
        self.failures.add(job.label)
        path = self.place.failed(job.label)
        start = {"run": job.start} if job.start else None
        write_record(
            path,
            {
                "error": type(error).__name__,
                "reason": str(error),
                "traceback": "".join(traceback.format_exception(error)),
                "command": command(job, self.words),
                "config": asdict(job.config),
                "start": start,
                "device": str(self.data.device),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def _check_identity(self, identity: dict) -> None:
        """Refuse to put runs on different images of one name into one table."""
        for label, made in self.place.records().items():
            before = made["data"]
            same_kind = all(before[key] == identity[key] for key in ("name", "size"))
            if same_kind and before != identity:
                raise UsageError(
                    f"{self.place.record(label)} was made on other {identity['name']} images or "
                    "labels than those given now (their hashes differ): give the same data, or "
                    "another --out"
                )


def _check_gpu() -> None:
    """Some failures leave the GPU unusable to the process: then no further run can succeed."""
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        raise UsageError(
            f"the GPU does not answer any more ({suite_table.first_line(error)}): give the same "
            "command again to go on with the other runs"
        ) from error
