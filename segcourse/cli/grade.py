"""`segcourse grade`: build assignments, take submissions in, mark them, and report."""

import argparse
import functools
import os
from pathlib import Path

from tqdm import tqdm

from segcourse.cli import grade_demo, grade_marks
from segcourse.cli.flags import adder
from segcourse.errors import UsageError

NOT_KILLED = 3
DESCRIPTION = "Hand out exercises, collect them and mark them (exercises/README.md)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `segcourse grade`."""
    parser.description = DESCRIPTION
    add = adder(parser)

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

    command = add("demo", grade_demo.run, *grade_demo.TEXTS)
    _add_stem(command)
    _add_course(command)
    grade_demo.configure(command)

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
        "--seconds",
        type=float,
        default=20,
        help="of CPU time, for a cell and for the tests of an answer",
    )
    command.add_argument(
        "--only", nargs="+", metavar="STUDENT", help="mark these, and mark them again"
    )
    command.add_argument("--memory", type=int, default=2048, metavar="MIB", help="of a submission")
    command.add_argument(
        "--without-sandbox",
        action="store_true",
        help="run students' code with your rights; only for code that you trust",
    )

    command = add(
        "mutants",
        run_mutants,
        "put faults into the references and see whether the tests notice",
        "Change each operator, number and choice of every reference, one at a time, and run the "
        "tests.\nMutants that pass are listed. Those that compute the same stand with the argument "
        "in\nPRIVATE/equivalent.txt ('NAME: MUTANT | why' a line). Exit code 3 when another one "
        "passes.",
        "segcourse grade mutants fcn",
    )
    _add_sources(command)
    command.add_argument("--seconds", type=float, default=3, help="for the tests of one mutant")

    command = add(
        "report",
        run_report,
        "marks, their spread, and what a person should look at",
        "Write report/NAME.html, a page that opens offline, and report/NAME.csv for a learning "
        "platform;\nmarks given by hand in formgrader are in it. With --feedback, nbgrader's pages "
        "for students, too.",
        "segcourse grade report fcn --course course --feedback",
    )
    _add_stem(command)
    _add_course(command)
    command.add_argument("--feedback", action="store_true", help="write pages for students")

    for name, run, texts, more in (
        ("sheet", grade_marks.run_sheet, grade_marks.SHEET, grade_marks.configure_sheet),
        ("total", grade_marks.run_total, grade_marks.TOTAL, grade_marks.configure_total),
        ("fill", grade_marks.run_fill, grade_marks.FILL, grade_marks.configure_fill),
    ):
        command = add(name, run, *texts)
        if name != "total":
            _add_stem(command)
        _add_course(command)
        more(command)


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


def _check_seconds(args: argparse.Namespace) -> None:
    """Without time every answer is wrong, and marks would say so."""
    if not 0 < args.seconds < float("inf"):
        raise UsageError(f"--seconds is {args.seconds:g}: give more than 0")


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
        with course.whole(assignment.stem):
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
    people = sum(row["human"] for row in rows)
    print(f"{args.stem}: {len(rows)} submissions taken in, {people} for a person to look at")
    if kept := course.kept(args.stem, [row["student"] for row in rows]):
        print(f"{args.stem}: {len(kept)} from before that are not in {args.received} are kept")
    course.write_intake(args.stem, sorted(rows + kept, key=lambda row: row["student"]))
    return 0


def run_run(args: argparse.Namespace) -> int:
    """Mark, keep the records, fill the gradebook."""
    from segcourse.grading import batch, walls
    from segcourse.grading.course import Course

    for name in ("shards", "memory"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is {getattr(args, name)}: give 1 or more")
    _check_seconds(args)
    if not args.without_sandbox and not args.scheduler:
        walls.require()
    course = Course(args.course)
    book = _gradebook(args, course)
    limits = {"cell_seconds": args.seconds, "answer_seconds": args.seconds}
    limits["memory_mib"] = args.memory
    tasks = course.tasks(args.stem, limits, not args.without_sandbox)
    if args.only:
        tasks = course.only(tasks, args.only)
    if args.scheduler:
        run = functools.partial(batch.grade_on_cluster, address=args.scheduler)
    else:
        run = functools.partial(batch.grade_here, shards=min(args.shards, max(1, len(tasks))))
    folder = course.root / "records" / args.stem
    done = batch.grade_all(tasks, folder, run)
    records = list(tqdm(done, total=len(tasks), unit="submission", disable=None))
    lost = []
    if book:
        lost = book.save(args.stem, sorted(records, key=lambda record: record["student"]))
    ended = sum(bool(record["incidents"]) for record in records)
    print(f"{args.stem}: {len(records)} submissions marked, {ended} with code that had to be ended")
    if lost:
        print(f"{args.stem}: not saved, for a person to look at: {', '.join(lost)}")
    return 0


def run_mutants(args: argparse.Namespace) -> int:
    """Print a table of mutants; `NOT_KILLED` when one passes and is not listed."""
    from segcourse.grading import walls
    from segcourse.grading.forks import ForkServer
    from segcourse.grading.mutants import equivalents, survivors
    from segcourse.grading.sandbox import Limits, Session

    _check_seconds(args)
    limits = Limits(answer_seconds=args.seconds, memory_mib=1024)
    listed = equivalents((args.private or args.exercises / "private") / "equivalent.txt")
    walled, missed = not walls.why_not(), 0
    print("| assignment | mutants | killed | equivalent | not killed |\n|---|---|---|---|---|")
    told = []
    for assignment in assignments(args):
        with ForkServer() as server, Session(limits, walled, server) as session:
            count, found = survivors(assignment, session, limits.longest)
        names = [f"{assignment.stem}: {mutant.name}" for mutant in found]
        left = [name for name in names if name not in listed]
        missed += len(left)
        row = [assignment.stem, count, count - len(found), len(found) - len(left), len(left)]
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        told += [f"- {name}: {listed.get(name, '**passes every test**')}" for name in names]
    print("\n".join(["", *told]) if told else "")
    return NOT_KILLED if missed else 0


def run_report(args: argparse.Namespace) -> int:
    """Write the page and the CSV, and with --feedback nbgrader's pages."""
    from segcourse.grading import notebook, report
    from segcourse.grading.course import Course

    course = Course(args.course)
    if args.feedback and args.no_gradebook:
        raise UsageError("--feedback are nbgrader's pages: leave --no-gradebook out")
    release, source = course.read("release", args.stem), course.read("source", args.stem)
    book = _gradebook(args, course)
    found = report.lines(course, args.stem, book.scores(args.stem) if book else None)
    graded = report.items(release)
    stubs = source["metadata"]["segcourse"]["stubs"]
    texts = {notebook.grade_id(c): notebook.text_of(c) for c in source["cells"]}
    title = notebook.text_of(release["cells"][0]).splitlines()[0].lstrip("# ")
    folder = course.root / "report"
    folder.mkdir(exist_ok=True)
    page, table = folder / f"{args.stem}.html", folder / f"{args.stem}.csv"
    known = {
        item.name: f"{texts[f'{item.name}_text']}\n{texts[item.name]}"
        for item in graded
        if item.written
    }
    page.write_text(report.page(title, graded, found, stubs, known), "utf-8")
    table.write_text(report.to_csv(args.stem, graded, found), "utf-8")
    people, open_ = sum(bool(line.reasons) for line in found), sum(line.open for line in found)
    print(f"{args.stem}: {len(found)} submissions, {people} for a person to look at, ", end="")
    print(f"{open_} with a part that is not graded")
    print(f"{page}\n{table}")
    if args.feedback:
        print(book.feedback(args.stem))
    return 0
