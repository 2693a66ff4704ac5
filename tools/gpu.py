"""What `make gpu` does: the list of long runs, and what is measured once beside it.

    python -m tools.gpu --minutes 60 --out runs/suite --data-pack camvid.zip     (from the root)

On a GPU the dense CRF is timed first, which takes seconds. When the first runs of the list are
recorded, the other measurements are made, where there is time for them; a measurement whose record
is there and complete is not made again, and what is left out is told with its reason. Then the list
goes on. Without a GPU, and where flags choose among the runs, only the list is worked through.
Other flags are those of `segcourse bench suite`.

--unbundle FOLDER first puts back what --bundle FOLDER kept of an earlier machine (`tools.bundle`).
"""

import argparse
import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segcourse.errors import DataError, UsageError
from tools import bundle

FIRST = ("patch", "fcn8s-light", "unet")
"""Runs of the list that go before the measurements: cheap ones, whose checkpoints are small."""

TRIES = 3
"""Times that a measurement is made whose record stays incomplete."""

CHOOSING = ("--only", "--seeds", "--toy", "--small", "--list")
STOPPED = 130


@dataclass(frozen=True)
class Measurement:
    """Something that is measured once.

    name: as it is told. record: the file that it leaves. minutes: that it may take; it is not begun
    with fewer left. words: for Python. lacks: what a record still lacks, or "".
    """

    name: str
    record: Path
    minutes: float
    words: tuple[str, ...]
    lacks: Callable[[dict], str] = lambda record: ""

    @property
    def tries(self) -> Path:
        """The file that counts how often it was made."""
        return self.record.with_suffix(".tries")

    def lacking(self) -> str:
        """What its record lacks; "" where it is complete."""
        try:
            return self.lacks(json.loads(self.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "it cannot be read"

    def done(self) -> str:
        """Why it is not made again, or "": there is no record, or one to make again."""
        if not self.record.exists():
            return ""
        if not (lacking := self.lacking()):
            return "done"
        tried = self.tried()
        return f"made {tried} times, and left so: {lacking}" if tried >= TRIES else ""

    def tried(self) -> int:
        """How often it was made."""
        return len(self.tries.read_text()) if self.tries.exists() else 0


def measurements(out: Path, camvid: str | None) -> list[Measurement]:
    """All of them, in order of worth; the first one goes before the runs.

    Args:
        out: folder of the suite's records.
        camvid: what --data-pack gives for CamVid. Without it throughput is measured on generated
            scenes, and there is no speedrun.
    """
    pack = ("--data-pack", camvid) if camvid else ()
    bench = ("-m", "segcourse", "bench")

    def of(name: str, record: str, minutes: float, *words: str, to: str = "--json") -> Measurement:
        return Measurement(name, out / record, minutes, (*words, to, str(out / record)))

    found = [of("crf", "crf/gpu.json", 1, *bench, "crf")]
    if camvid:
        words = (*bench, "speedrun", *pack, "--limit", "120")
        found.append(of("speedrun", "speedrun/seed-0.json", 3, *words))
    words = ("benchmarks/throughput.py", "--minutes", "6", *pack)
    throughput = of("throughput", "throughput/gpu.json", 8, *words, to="--out")
    found.append(replace(throughput, lacks=throughput_lacks))
    for model in ("unet", "deeplab-v3-resnet50"):
        words = ("profile", "--model", model, "--precision", "bf16", "--channels-last")
        found.append(of(f"profile-{model}", f"profile/{model}.json", 1, *bench, *words))
    return found


def throughput_lacks(record: dict) -> str:
    """The first network that was not measured, or not against the peer that is there now."""
    for network in record["metrics"]["networks"]:
        if "error" in network:
            return f"{network['model']}: {network['error']}"
        if "not there" in network["peer"].get("missing", "") and _has_peer():
            return f"{network['model']}: measured without segmentation_models.pytorch"
    return ""


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
            if why := one.done():
                print(f"{one.name}: not measured: {why}", flush=True)
                continue
            if left() < one.minutes:
                print(
                    f"{one.name}: not measured in this call: it may take {one.minutes:g} minutes, "
                    f"and {max(left(), 0):.1f} are left",
                    flush=True,
                )
                continue
            one.record.parent.mkdir(parents=True, exist_ok=True)
            code = python(one.words, False, 60 * min(one.minutes + 1, left()))
            if code == STOPPED:
                return True
            if one.record.exists():
                one.tries.write_text("x" * (one.tried() + 1))
                if lacking := one.lacking():
                    print(f"{one.name}: incomplete: {lacking}", file=sys.stderr)
            elif code:  # a speedrun that misses its target exits with 1, and has a record
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
    if not settled:
        print(
            f"not measured in this call: {', '.join(o.name for o in wanted[1:])}: the runs go "
            f"first: {', '.join(name for name in first if not _settled(args.out, name))}",
            flush=True,
        )
    elif measure(wanted[1:]):
        return STOPPED
    return suite()


def plan(wanted: Sequence[Measurement], gpu: bool) -> str:
    """What is measured beside the runs, and what is done."""
    lines = ["Measured once beside the runs" + ("" if gpu else ", on a GPU alone") + ":"]
    for one in wanted:
        state = one.done() or f"open, {one.minutes:g} min at most"
        if not one.done() and one.record.exists():
            state += f"; incomplete: {one.lacking()}"
        lines.append(f"  {one.name:<28} {state}")
    return "\n".join(lines)


def _settled(out: Path, name: str) -> bool:
    return any((folder / f"{name}-s0.json").exists() for folder in (out, out / "failed"))


def _camvid(given: Sequence[str]) -> str | None:
    from segcourse.cli.suite_data import find

    for word in given:
        try:
            if "camvid" in find([word]):
                return word
        except (DataError, UsageError):
            pass  # the suite says what is wrong with it
    return None


def _has_peer() -> bool:
    return importlib.util.find_spec("segmentation_models_pytorch") is not None


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
    parser.add_argument("--bundle", type=Path, help="folder for what is to leave this machine")
    parser.add_argument("--unbundle", type=Path, help="folder with what is put into --out first")
    args, rest = parser.parse_known_args(words)

    if args.unbundle and args.out.exists():
        print(f"{args.out} is there: {args.unbundle} is not put into it", flush=True)
    elif args.unbundle:
        try:
            print(bundle.load(args.unbundle, args.out), flush=True)
        except DataError as error:
            print(f"--unbundle: {error}", file=sys.stderr)
            return 1
    process = Process()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.receive)

    def python(words: Sequence[str], told: bool, seconds: float | None) -> int:
        code = process(words, told, seconds)
        if args.bundle and args.out.is_dir():  # each time: the machine may stop what takes too long
            print(bundle.save(args.out, args.bundle), flush=True)
        return code

    return work(args, rest, python, _gpu, FIRST, _camvid(args.data_pack))


if __name__ == "__main__":
    sys.exit(main())
