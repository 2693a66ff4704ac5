"""`segcourse grade`: build assignments, take submissions in, mark them, and report."""

import argparse
import functools
import os
from pathlib import Path

from tqdm import tqdm

from segcourse.cli.flags import add_debug
from segcourse.errors import UsageError

DESCRIPTION = "Hand out exercises, collect them and mark them (exercises/README.md)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `segcourse grade`."""
    parser.description = DESCRIPTION
    commands = parser.add_subparsers(dest="subcommand", metavar="WHAT", required=True)

    def add(name: str, run, summary: str, description: str, example: str):
        command = commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=parser.formatter_class,
            allow_abbrev=False,
        )
        command.set_defaults(run=run)
        add_debug(command)
        return command

    command = add(
        "build",
        run_build,
        "make the notebooks of assignments",
        "Merge each public source with its private part and write two notebooks: the release, for "
        "students,\nand the source, with solutions and hidden tests, for you. Cells and points go "
        "into nbgrader's gradebook.",
        "segcourse grade build fcn unet --course course --due '2027-03-01 23:59 UTC'",
    )
    _add_sources(command)
    _add_course(command)
    command.add_argument("--due", metavar="TIME", help="when it is due, for late penalties")

    command = add(
        "intake",
        run_intake,
        "take submissions in",
        "Rebuild each submission on the release: answers and cells of the student's own are taken "
        "over,\neverything else comes from the release. What can't be read becomes the blank "
        "release and is listed.",
        "segcourse grade intake fcn --course course --received downloads",
    )
    _add_stem(command)
    _add_course(command)
    command.add_argument(
        "--received",
        type=Path,
        required=True,
        metavar="DIR",
        help="holds a folder or a notebook for each student: STUDENT/... or STUDENT.ipynb",
    )

    command = add(
        "run",
        run_run,
        "mark what was taken in",
        "Run each submission's answers in a sandbox, and the tests outside of it. A submission "
        "that has its\nrecord already is not marked again unless it was handed in anew. Marks go "
        "into nbgrader's gradebook.",
        "segcourse grade run fcn --course course --shards 4",
    )
    _add_stem(command)
    _add_course(command)
    shards = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    command.add_argument("--shards", type=int, default=shards, help="submissions at a time")
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask cluster, in place of shards"
    )
    command.add_argument(
        "--seconds", type=float, default=20, help="for a cell, and for the tests of an answer"
    )
    command.add_argument("--memory", type=int, default=2048, metavar="MIB", help="of a submission")
    command.add_argument(
        "--without-sandbox",
        action="store_true",
        help="run students' code with your rights; only for code that you trust",
    )


def _add_sources(command: argparse.ArgumentParser) -> None:
    command.add_argument("stems", nargs="*", metavar="NAME", help="assignments; none: all of them")
    command.add_argument(
        "--exercises",
        type=Path,
        default=Path("exercises"),
        metavar="DIR",
        help="folder of the public sources",
    )
    command.add_argument(
        "--private",
        type=Path,
        metavar="DIR",
        help="folder of solutions and hidden tests; else EXERCISES/private",
    )
    command.add_argument("--seed", type=int, default=0, help="variant of the numbers; 0: published")


def _add_stem(command: argparse.ArgumentParser) -> None:
    command.add_argument("stem", metavar="NAME", help="the assignment")


def _add_course(command: argparse.ArgumentParser) -> None:
    command.add_argument("--course", type=Path, required=True, metavar="DIR", help="course folder")
    command.add_argument(
        "--no-gradebook", action="store_true", help="leave nbgrader out: records and reports alone"
    )


def assignments(args: argparse.Namespace) -> list:
    """The assignments that the arguments name."""
    from segcourse.grading.source import load

    folder = args.exercises
    private = args.private or folder / "private"
    stems = args.stems or sorted(path.stem for path in folder.glob("*.py"))
    if not stems:
        raise UsageError(f"{folder} holds no assignment: give --exercises, a folder of NAME.py")
    return [load(folder / f"{stem}.py", private / f"{stem}.py", args.seed) for stem in stems]


def _gradebook(args: argparse.Namespace, course):
    from segcourse.grading.gradebook import Gradebook

    return None if args.no_gradebook else Gradebook(course)


def run_build(args: argparse.Namespace) -> int:
    """Write the notebooks."""
    from segcourse.grading.course import Course

    course = Course(args.course)
    made = assignments(args)
    book = _gradebook(args, course)
    for assignment in made:
        path = course.build(assignment)
        if book:
            book.add(assignment.stem, args.due)
        print(f"{assignment.stem}: {sum(cell.points for cell in assignment.cells)} points, {path}")
    return 0


def run_intake(args: argparse.Namespace) -> int:
    """Take in, and list what is unusual."""
    from segcourse.grading.course import Course
    from segcourse.grading.intake import take_all

    course = Course(args.course)
    release = course.read("release", args.stem)
    if not args.received.is_dir():
        raise UsageError(f"{args.received} is no folder: give the folder of what was handed in")
    rows = []
    for taken in take_all(release, args.received):
        course.put(taken, args.stem)
        row = {"student": taken.student, "file": taken.file, "notes": taken.notes}
        rows.append({**row, "human": taken.human, "timestamp": taken.timestamp})
        for note in taken.notes:
            print(f"{taken.student}: {note}")
    course.write_intake(args.stem, rows)
    people = sum(row["human"] for row in rows)
    print(f"{args.stem}: {len(rows)} submissions taken in, {people} for a person to look at")
    return 0


def run_run(args: argparse.Namespace) -> int:
    """Mark, keep the records, fill the gradebook."""
    from segcourse.grading import batch, walls
    from segcourse.grading.course import Course

    if args.shards < 1:
        raise UsageError(f"--shards is {args.shards}: give 1 or more")
    if not args.without_sandbox and not args.scheduler:
        walls.require()
    course = Course(args.course)
    book = _gradebook(args, course)
    limits = {"cell_seconds": args.seconds, "answer_seconds": args.seconds}
    limits["memory_mib"] = args.memory
    tasks = course.tasks(args.stem, limits, not args.without_sandbox)
    if args.scheduler:
        run = functools.partial(batch.grade_on_cluster, address=args.scheduler)
    else:
        run = functools.partial(batch.grade_here, shards=min(args.shards, max(1, len(tasks))))
    folder = course.root / "records" / args.stem
    done = batch.grade_all(tasks, folder, run)
    records = list(tqdm(done, total=len(tasks), unit="submission", disable=None))
    if book:
        book.save(args.stem, sorted(records, key=lambda record: record["student"]))
    ended = sum(bool(record["incidents"]) for record in records)
    print(f"{args.stem}: {len(records)} submissions marked, {ended} with code that had to be ended")
    return 0
