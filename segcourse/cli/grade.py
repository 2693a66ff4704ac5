"""`segcourse grade`: build assignments, take submissions in, mark them, and report."""

import argparse
from pathlib import Path

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
        "students,\nand the source, with solutions and hidden tests, for you.",
        "segcourse grade build fcn unet --course course",
    )
    _add_sources(command)
    command.add_argument("--course", type=Path, required=True, metavar="DIR", help="course folder")


def _add_sources(command: argparse.ArgumentParser) -> None:
    command.add_argument("stems", nargs="*", metavar="NAME", help="assignments; none: all of them")
    command.add_argument("--exercises", type=Path, default=Path("exercises"), metavar="DIR")
    command.add_argument("--private", type=Path, metavar="DIR", help="default: EXERCISES/private")
    command.add_argument("--seed", type=int, default=0, help="variant of the numbers; 0: published")


def assignments(args: argparse.Namespace) -> list:
    """The assignments that the arguments name."""
    from segcourse.grading.source import load

    folder = args.exercises
    private = args.private or folder / "private"
    stems = args.stems or sorted(path.stem for path in folder.glob("*.py"))
    if not stems:
        raise UsageError(f"{folder} holds no assignment: give --exercises, a folder of NAME.py")
    return [load(folder / f"{stem}.py", private / f"{stem}.py", args.seed) for stem in stems]


def run_build(args: argparse.Namespace) -> int:
    """Write the notebooks."""
    from segcourse.grading import notebook

    for assignment in assignments(args):
        stem = assignment.stem
        for kind, made in (("source", notebook.source), ("release", notebook.release)):
            notebook.write(made(assignment), args.course / kind / stem / f"{stem}.ipynb")
        points = sum(cell.points for cell in assignment.cells)
        print(f"{stem}: {points} points, {args.course / 'release' / stem / f'{stem}.ipynb'}")
    return 0
