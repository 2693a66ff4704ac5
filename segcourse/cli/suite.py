"""`segcourse bench suite`: a list of training runs, worked through within a number of minutes."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from segcourse.cli import suite_table
from segcourse.cli.deadline import Deadline
from segcourse.cli.flags import add_device, check_folder
from segcourse.cli.suite_data import SuiteData, find
from segcourse.cli.suite_loop import Suite
from segcourse.cli.suite_place import Place, jobs_of
from segcourse.cli.suite_runs import RUNS, SEEDS, SMALL, TOYS
from segcourse.distributed import choose_device
from segcourse.errors import UsageError

DESCRIPTION = """\
Work through a list of training runs, the most worthwhile first, for so many minutes; give the same
command again and it goes on where it stopped. Each run is trained, the checkpoint with the highest
mean IoU on val is chosen, test is measured with it once, and one JSON record is written: the
configuration, seed, versions, hardware, data, curve, metrics on val and test, seconds, images per
second, peak memory, and the command that makes this one run again.

The list is segcourse/cli/suite_runs.py; --list shows it. Runs whose data are not given are left
out. Before the minutes are over, on SIGTERM, and on Ctrl-C, the run in hand writes a checkpoint and
stops; after a kill without warning it goes on from its last checkpoint. A run that fails (out of
memory, diverged) is noted with the reason, and the next one starts."""

EPILOG = """\
examples:
  segcourse data pack camvid --root CamVid --height 360 --width 480 --out camvid.zip
  segcourse bench suite --data-pack camvid.zip --dry-run
  segcourse bench suite --data-pack camvid.zip --minutes 60 --out runs/suite
  segcourse bench suite --data-pack camvid.zip --only patch --seeds 0 --out runs/patch
  segcourse bench suite --small --data-pack camvid=CamVid --out runs/small     (on a CPU)
  segcourse bench suite --toy --minutes 2 --out runs/toy      (on generated scenes, on a CPU)

what is in --out:
  NAME-s0.json            the record of a run that is done; s0 is its seed
  NAME-s0.maps.png        its label maps of a few frames, side by side
  truth-DATA.maps.png     the true ones
  runs/NAME-s0/           a run in hand: checkpoints and log
  trained/NAME-s0/        a run that is done: log and weights, for `segcourse eval` and `predict`
  failed/NAME-s0.json     why a run failed
  superseded/             what was made before its configuration in the list changed

NAME-seconds is the run NAME once more, with as many steps as fit into a number of seconds at the
speed that the record of NAME has; it waits for that record.

A record is kept as long as the list has its run with the same configuration. Where the list has
another one now, the record is moved to superseded/ and the run is made again.
The exit code is 1 where a run failed in this call, and 130 where a signal stopped it."""

INTERRUPTED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse bench suite`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/suite"), metavar="DIR", help="records and runs"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="stop before these are over; default: no limit"
    )
    parser.add_argument(
        "--data-pack",
        nargs="+",
        default=(),
        metavar="FILE",
        help="files of `segcourse data pack`, or NAME=FOLDER, as camvid=path/to/CamVid",
    )
    which = parser.add_argument_group("which runs")
    which.add_argument(
        "--only",
        nargs="+",
        default=(),
        metavar="NAME",
        help="these (best* for all that begin so), and what they start from or repeat",
    )
    which.add_argument(
        "--seeds", nargs="+", type=int, default=SEEDS, metavar="S", help="with these seeds"
    )
    lists = which.add_mutually_exclusive_group()
    lists.add_argument(
        "--small", action="store_true", help="the list for a CPU: light networks at 120x160"
    )
    lists.add_argument("--toy", action="store_true", help="the list of toy runs, for a try")
    which.add_argument("--retry", action="store_true", help="try failed runs again, too")
    instead = parser.add_argument_group("instead of running").add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="print the list and its flags")
    instead.add_argument(
        "--dry-run", action="store_true", help="print what is done, and minutes for what is not"
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Work through the list; or print it, or the plan."""
    if args.minutes is not None and args.minutes <= 0:
        raise UsageError(f"--minutes is {args.minutes:g}: give more than 0")
    if min(args.seeds) < 0:
        raise UsageError(f"--seeds {min(args.seeds)}: give 0 or more")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError("the suite runs in one process, one run after the other: without torchrun")
    check_folder(args.out)
    deadline = Deadline(args.minutes)
    entries = TOYS if args.toy else SMALL if args.small else RUNS
    jobs = jobs_of(entries, list(dict.fromkeys(args.seeds)), args.only)
    if args.list:
        asked = {job.entry.name for job in jobs}
        print(suite_table.listing([e for e in entries if e.name in asked], args.seeds))
        return 0
    device = choose_device(args.device)
    data = SuiteData(find(args.data_pack), device)
    place = Place(args.out, jobs)
    suite = Suite(place, data, deadline, _repeating(args), args.retry)
    if args.dry_run:
        states = suite.states()
        print(suite_table.plan(list(place.jobs.values()), states, device))
        return 0
    suite.check_data()
    args.out.mkdir(parents=True, exist_ok=True)
    with _alone(args.out), deadline.signals():
        suite.go()
    states = suite.states()
    print(suite_table.table(list(place.jobs.values()), states))
    others = [label for label in place.records() if label not in place.jobs]
    if others:
        print(f"also in {args.out}, and left as they are: {', '.join(others)}")
    if deadline.signal is not None:
        return INTERRUPTED
    return 1 if suite.failures else 0


def _repeating(args: argparse.Namespace) -> list[str]:
    """The words of the command line that a single run's command needs too."""
    words = ["--toy"] if args.toy else ["--small"] if args.small else []
    if args.data_pack:
        words += ["--data-pack", *(_without_folders(word) for word in args.data_pack)]
    return words + (["--device", args.device] if args.device != "auto" else [])


def _without_folders(word: str) -> str:
    name, equals, folder = word.partition("=")
    return f"{name}{equals}{Path(folder).name}" if equals else Path(word).name


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse a second suite in the same folder; the system lets go of the lock at any end."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another suite is at work in {out}: wait for it, or give another --out"
            ) from error
        yield
