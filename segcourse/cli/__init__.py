"""The command line: its commands, their exit codes, and errors without a traceback (README.md).

Each command is one module with `configure(parser)` and `run(args) -> exit code`. A module is
imported only when its command is named, so `segcourse --help` does not wait for torch.
"""

import argparse
import errno
import io
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from segcourse import __version__
from segcourse.errors import UsageError

COMMANDS = {
    "train": "train a model on a data set, or resume a run that was stopped",
    "eval": "measure a trained run on a data set: IoU by class, mIoU, accuracies, borders",
    "predict": "label images with a trained run: label PNGs and overlays",
    "crf": "refine your own rough label map by the colours of its image",
    "crf-search": "find CRF parameters for a run on held-out images",
    "data": "check, download, convert, pack, preview or count a data set",
    "weights": "list, measure and export small trained weights",
    "bench": "time a model, count its parameters, multiply-adds and memory",
    "check": "run the visible tests of an exercise notebook",
    "grade": "build, collect and mark exercises",
}
MODULES = {
    "train": "segcourse.cli.train",
    "eval": "segcourse.cli.evaluate",
    "predict": "segcourse.cli.predict",
    "crf": "segcourse.cli.crf",
    "crf-search": "segcourse.cli.crf_search",
    "data": "segcourse.cli.data",
    "weights": "segcourse.cli.weights",
    "bench": "segcourse.cli.bench",
    "check": "segcourse.cli.check",
    "grade": "segcourse.cli.grade",
}

SMALLER = {
    "train": "Use a smaller --batch or --crop, or smaller --height and --width.",
    "eval": "Leave --full-size out, or measure on images that are smaller.",
    "predict": "Use a smaller --size, and leave --full-size out; --crf holds every class at the "
    "image's own size.",
    "crf": "Scale the image and its labels down; --max-pixels refuses large ones before reading.",
    "crf-search": "Use fewer --images, and leave --full-size out.",
    "data": "Use a smaller --size where the command has it, or smaller images.",
    "weights": "Check one NAME and one --split at a time, and close other programs.",
    "bench": "Use a smaller --batch, or smaller --height and --width.",
    "check": "Give your functions smaller inputs, and close other programs.",
    "grade": "Use fewer --shards.",
}
"""What takes less memory, by command."""

DONE, BAD_INPUT, BAD_COMMAND, FAULTS, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = """\
exit codes:
  0    done
  1    the input or the data is at fault; standard error says what and where
  2    the command line is wrong, or its options do not go together
  3    `segcourse data check` found faults; `segcourse check`: a test does not pass;
       `segcourse weights check`: a number is not the card's;
       `segcourse grade mutants`: the tests miss a fault;
       `segcourse grade demo --compare`: a mark is not the expected one
  130  interrupted (Ctrl-C); training says where its last checkpoint is"""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there is one to show; keeps names whole and the epilog's lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))

    def _split_lines(self, text: str, width: int) -> list[str]:
        # A name with hyphens stays whole, to be copied.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default == ():
            return action.help
        if isinstance(default, tuple):
            return f"{action.help} (default: {' '.join(map(str, default))})"
        if default is None or default is False or default == "" or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Complains in two lines; argparse would print every flag of the command before its word."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and leave with BAD_COMMAND."""
        self.exit(BAD_COMMAND, f"{self.prog}: {message}\n`{self.prog} --help` explains\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `EXIT_CODES`).

    Args:
        argv: the words after `segcourse`; None takes them from the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _print_every_name()
    try:
        args, unknown = _parser(words).parse_known_args(words)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return stop.code if isinstance(stop.code, int) else BAD_COMMAND
    except KeyboardInterrupt:  # torch is imported here, which takes seconds
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    if unknown:  # argparse would answer in the name of segcourse alone
        prog = " ".join(filter(None, ("segcourse", args.command, vars(args).get("subcommand"))))
        print(
            f"{prog}: unrecognized arguments: {' '.join(unknown)}\n`{prog} --help` explains",
            file=sys.stderr,
        )
        return BAD_COMMAND
    try:
        # `train --resume` reads its words a second time, with the run's own values as defaults.
        args.words = words[words.index(args.command) + 1 :]
        code = args.run(args)
        sys.stdout.flush()  # else a reader that is gone would be noticed after this function
        return code
    except BrokenPipeError:  # as of `| head`: nobody reads on, which is no fault
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes it at its end
        return DONE
    except KeyboardInterrupt as stop:
        if args.debug:
            raise
        print(f"\ninterrupted{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if args.debug or not _is_told_to_a_person(error):
            raise
        print(f"segcourse {args.command}: {_text(error, args.command)}", file=sys.stderr)
        return BAD_COMMAND if isinstance(error, UsageError) else BAD_INPUT


def _print_every_name() -> None:
    """Let a file or class be named that the output's encoding lacks, as \\udce9, not as an error.

    Such are names that are no UTF-8, and others than Latin ones where Windows writes into a file.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="segcourse",
        description="Semantic segmentation: train models, measure them, label images, and look "
        "after data sets.",
        epilog="example:\n  segcourse train --data scenes --steps 100 --out runs/first\n\n"
        "`segcourse COMMAND --help` explains a command.\n\n" + EXIT_CODES,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=HelpFormatter, allow_abbrev=False
        )
        if name in words:
            import_module(MODULES[name]).configure(command)
            command.epilog = f"{command.epilog}\n\n{EXIT_CODES}" if command.epilog else EXIT_CODES
    return parser


def _versions() -> str:
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "missing"
    python = ".".join(map(str, sys.version_info[:3]))
    return f"segcourse {__version__} (torch {torch}, Python {python})"


def _is_told_to_a_person(error: Exception) -> bool:
    """A fault of the package itself keeps its traceback; a fault of the input does not need one.

    The package raises ValueError and OSError for input. RuntimeError is torch's word for many
    things; only running out of memory is the input's (a batch or an image too large).
    """
    if isinstance(error, RuntimeError):
        words = str(error).lower()
        return "out of memory" in words or "can't allocate memory" in words
    return True


def _text(error: Exception, command: str) -> str:
    if isinstance(error, MemoryError | RuntimeError):
        first = str(error).splitlines()[0] if str(error) else "out of memory"
        return f"{first}\n{SMALLER[command]}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        again = " with --resume" if command == "train" else ""
        return f"{error.strerror}: free some, then give the command again{again}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
