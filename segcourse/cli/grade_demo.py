"""`segcourse grade demo`: a class of generated students, to try the grader with."""

import argparse
from pathlib import Path

from segcourse.errors import UsageError

NOT_AS_EXPECTED = 3
TEXTS = (
    "make a class of generated students, to try the rest with",
    "Write submissions of every kind into a new folder: right, partly right, late, damaged, "
    "copied and\nhostile ones. What each should get stands in _class.csv beside them; after `run`, "
    "--compare says\nwhether the marks are those (exit code 3 where they are not).",
    "segcourse grade demo fcn --course course --received downloads --students 30",
)


def configure(command: argparse.ArgumentParser) -> None:
    """Add the flags of `segcourse grade demo`."""
    command.add_argument(
        "--received", type=Path, required=True, metavar="DIR", help="where the class hands in"
    )
    command.add_argument("--students", type=int, default=30, metavar="N", help="how many")
    command.add_argument("--seed", type=int, default=0, help="another seed is another class")
    command.add_argument(
        "--private",
        type=Path,
        default=Path("exercises/private"),
        metavar="DIR",
        help="holds answers/NAME.py, hand-written answers",
    )
    command.add_argument(
        "--compare", action="store_true", help="compare the marks of a class that was marked"
    )


def run(args: argparse.Namespace) -> int:
    """Make a class, or with --compare look whether it got the marks that it should get."""
    from segcourse.grading import demo
    from segcourse.grading.course import Course
    from segcourse.grading.gradebook import Gradebook

    course = Course(args.course)
    if args.compare:
        wrong = demo.compare(args.received, course.records(args.stem))
        count = len(demo.expected(args.received))
        right = f"{count - len(wrong)} of {count} have the marks they should have"
        print("\n".join([*wrong, right]))
        return NOT_AS_EXPECTED if wrong else 0
    if args.students < 1:
        raise UsageError(f"--students is {args.students}: give 1 or more")
    release, source = course.read("release", args.stem), course.read("source", args.stem)
    answers = demo.read_answers(args.private / "answers" / f"{args.stem}.py")
    due = None if args.no_gradebook else Gradebook(course).due(args.stem)
    students = demo.make(release, source, answers, args.students, args.seed)
    demo.write(students, release, args.received, due, args.seed)
    print(f"{args.stem}: {len(students)} students hand in, {args.received}")
    print(f"{args.received / demo.TABLE} says who did what, and what it should get")
    return 0
