"""What `make gpu` does: the list of long runs, and what is measured once beside it.

    python -m tools.gpu --minutes 60 --out runs/suite --data-pack camvid.zip     (from the root)

On a GPU the dense CRF is timed first, which takes seconds. When the first runs of the list are
recorded, the other measurements are made, where there is time for them; a measurement whose record
is there is not made again. Then the list goes on. Without a GPU, and where flags choose among the
runs, only the list is worked through. Other flags are those of `segcourse bench suite`.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST = 3
"""Runs of the list that go before the measurements."""

CHOOSING = ("--only", "--seeds", "--toy", "--small", "--list")
STOPPED = 130


@dataclass(frozen=True)
class Measurement:
    """Something that is measured once.

    name: as it is told. record: the file that it leaves. minutes: that it may take; it is not begun
    with fewer left. words: for Python.
    """

    name: str
    record: Path
    minutes: float
    words: tuple[str, ...]


def measurements(out: Path, camvid: str | None) -> list[Measurement]:
    """All of them, in order of worth; the first one goes before the runs.

    Args:
        out: folder of the suite's records.
        camvid: what --data-pack gives for CamVid. Without it throughput is measured on generated
            scenes, and there is no speedrun.
    """
    speed = out / "speed"
    pack = ("--data-pack", camvid) if camvid else ()
    bench = ("-m", "segcourse", "bench")

    def of(name: str, minutes: float, *words: str, to: str = "--json") -> Measurement:
        record = speed / f"{name}.json"
        return Measurement(name, record, minutes, (*words, to, str(record)))

    found = [of("crf", 1, *bench, "crf")]
    if camvid:
        record = out / "speedrun" / "seed-0.json"
        words = (*bench, "speedrun", *pack, "--limit", "120", "--json", str(record))
        found.append(Measurement("speedrun", record, 3, words))
    throughput = ("benchmarks/throughput.py", "--minutes", "6", *pack)
    found.append(of("throughput", 8, *throughput, to="--out"))
    for model in ("unet", "deeplab-v3-resnet50"):
        words = ("profile", "--model", model, "--precision", "bf16", "--channels-last")
        found.append(of(f"profile-{model}", 1, *bench, *words))
    return found


class Process:
    """Runs Python, one at a time, and passes a SIGTERM on to it."""

    def __init__(self):
        self.child: subprocess.Popen | None = None
        self.stopped = False

    def __call__(self, words: Sequence[str], told: bool, seconds: float | None) -> int:
        """Run and wait.

        Args:
            words: for Python.
            told: whether its output is ours; else it goes to the standard error.
            seconds: after which it is ended; None: never.

        Returns:
            Its exit code; STOPPED where a signal came.
        """
        if self.stopped:
            return STOPPED
        to = None if told else sys.stderr
        self.child = subprocess.Popen([sys.executable, *words], stdout=to)
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        return STOPPED if self.stopped or code == -signal.SIGINT else code

    def receive(self, number: int, frame) -> None:
        """Remember a signal. Ctrl-C reaches the child by itself, as all of a terminal's do."""
        self.stopped = True
        if number == signal.SIGTERM and self.child is not None:
            self.child.send_signal(number)


def work(
    args: argparse.Namespace,
    rest: Sequence[str],
    python: Callable[[Sequence[str], bool, float | None], int],
    gpu: Callable[[], bool],
    first: Sequence[str],
    camvid: str | None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Work through everything.

    Args:
        args: minutes, out, data_pack, began.
        rest: other flags, for the suite.
        python: as `Process`.
        gpu: whether there is one.
        first: names of the runs that go before the measurements.
        camvid: as in `measurements`.
        clock: seconds, as `args.began`.

    Returns:
        The suite's exit code.
    """

    def left() -> float:
        return args.minutes - (clock() - args.began) / 60

    def suite(*words: str) -> int:
        given = ["-m", "segcourse", "bench", "suite", "--minutes", f"{max(0.01, left()):.2f}"]
        given += ["--out", str(args.out)]
        given += ["--data-pack", *args.data_pack] if args.data_pack else []
        return python([*given, *rest, *words], True, None)

    def measure(wanted: Sequence[Measurement]) -> bool:
        """Returns whether a signal stopped it."""
        for one in wanted:
            if one.record.exists() or left() < one.minutes:
                continue
            one.record.parent.mkdir(parents=True, exist_ok=True)
            code = python(one.words, False, 60 * (one.minutes + 1))
            if code == STOPPED:
                return True
            if code and not one.record.exists():  # a speedrun that misses its target exits with 1
                print(f"{one.name}: exit code {code}, not recorded", file=sys.stderr)
        return False

    if any(word.partition("=")[0] in CHOOSING for word in rest):
        return suite()
    wanted = measurements(args.out, camvid)
    if "--dry-run" in rest:
        code = suite()
        print(plan(wanted, gpu()))
        return code
    if not gpu():
        return suite()
    if measure(wanted[:1]):
        return STOPPED
    if camvid and not all(_settled(args.out, name) for name in first):
        code = suite("--only", *first, "--seeds", "0")
        if code not in (0, 1):
            return code
    settled = not camvid or all(_settled(args.out, name) for name in first)
    if settled and measure(wanted[1:]):
        return STOPPED
    return suite()


def plan(wanted: Sequence[Measurement], gpu: bool) -> str:
    """What is measured beside the runs, and what is done."""
    lines = ["Measured once beside the runs" + ("" if gpu else ", on a GPU alone") + ":"]
    for one in wanted:
        state = "done" if one.record.exists() else f"open, {one.minutes:g} min at most"
        lines.append(f"  {one.name:<28} {state}")
    return "\n".join(lines)


def _settled(out: Path, name: str) -> bool:
    return any((folder / f"{name}-s0.json").exists() for folder in (out, out / "failed"))


def _camvid(given: Sequence[str]) -> str | None:
    from segcourse.cli.suite_data import find
    from segcourse.errors import DataError, UsageError

    for word in given:
        try:
            if "camvid" in find([word]):
                return word
        except (DataError, UsageError):
            pass  # the suite says what is wrong with it
    return None


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, default=60, help="for everything")
    parser.add_argument("--out", type=Path, default=Path("runs/suite"), help="of all records")
    parser.add_argument("--data-pack", nargs="+", default=[], help="as the suite takes it")
    parser.add_argument("--began", type=float, default=time.time(), help="seconds since 1970")
    args, rest = parser.parse_known_args(words)
    from segcourse.cli.suite_runs import RUNS

    process = Process()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.receive)
    first = [entry.name for entry in RUNS[:FIRST]]
    return work(args, rest, process, _gpu, first, _camvid(args.data_pack))


if __name__ == "__main__":
    sys.exit(main())
