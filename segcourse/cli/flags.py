"""Flags from `segcourse.config.Config`: a field gives its name, type, default, help, choices.

A new field becomes a flag by standing in `GROUPS`; a test refuses a field that stands nowhere.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import get_args, get_origin

from segcourse.config import Config
from segcourse.errors import UsageError

GROUPS: dict[str, tuple[str, ...]] = {
    "what is trained": ("data", "root", "height", "width", "model", "start", "out"),
    "length and batch": ("steps", "batch", "seed"),
    "augmentation": ("crop", "scale", "flip", "jitter", "elastic", "copy_paste"),
    "optimization": (
        "optimizer",
        "lr",
        "momentum",
        "weight_decay",
        "schedule",
        "warmup",
        "power",
        "milestones",
        "gamma",
        "loss",
        "class_weights",
        "border_weight",
        "clip",
        "ema",
    ),
    "machine": ("device", "precision", "channels_last", "compile", "workers"),
    "evaluation and checkpoints": ("eval_every", "checkpoint_every"),
}
"""Titles of the groups in `segcourse train --help`, and the fields under each."""

FEW = 4
"""More choices than these are listed in a flag's help and not in its usage."""


def add_config_flags(
    parser: argparse.ArgumentParser, choices: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Add one flag for each field of Config, in groups.

    Args:
        parser: gets the flags.
        choices: for fields whose possible values Config does not know, such as the models.
    """
    by_name = {f.name: f for f in fields(Config)}
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add(group, by_name[name], (choices or {}).get(name))


def config_from(args: argparse.Namespace) -> Config:
    """Build the Config that the flags describe; raises UsageError as Config does."""
    values = {f.name: getattr(args, f.name) for f in fields(Config)}
    return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def parse_config(words: Sequence[str]) -> Config:
    """Build the Config that words of `segcourse train` describe, where all are flags of Config.

    Raises:
        UsageError: a word is no flag, or its value is none; or as Config does.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False, add_help=False)
    add_config_flags(parser)
    try:
        args, rest = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise UsageError(f"{' '.join(words)}: {error}") from error
    if rest:
        raise UsageError(f"{' '.join(words)}: {' '.join(rest)} is no flag of `segcourse train`")
    return config_from(args)


def _add(group, field: Field, choices: Sequence[str] | None) -> None:
    flag = "--" + field.name.replace("_", "-")
    options = {"dest": field.name, "default": field.default, "help": field.metadata["help"]}
    options["help"] = options["help"].replace("%", "%%")
    choices = choices or field.metadata.get("choices")
    if field.type is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif get_origin(field.type) is tuple:
        element, *rest = get_args(field.type)
        count = "+" if rest == [...] else 1 + len(rest)
        group.add_argument(
            flag, type=element, nargs=count, metavar=_metavar(field, count), **options
        )
    elif choices:
        if len(choices) > FEW:  # else they are one word without a blank, wider than a screen
            options |= {"metavar": "NAME", "help": f"{options['help']}: {', '.join(choices)}"}
        group.add_argument(flag, choices=tuple(choices), **options)
    else:
        group.add_argument(flag, type=field.type, **options)


def _metavar(field: Field, count: int | str) -> str | tuple[str, ...]:
    names = {"crop": ("H", "W"), "scale": ("MIN", "MAX")}
    return names.get(field.name, "X" if count == "+" else ("X",) * count)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add --debug, which every command has."""
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def adder(parser: argparse.ArgumentParser) -> Callable[..., argparse.ArgumentParser]:
    """Let a command have subcommands; returns what adds one.

    It takes the subcommand's name, what runs it, a summary, a description and an example, gives it
    --debug, and returns its parser.
    """
    commands = parser.add_subparsers(dest="subcommand", metavar="WHAT", required=True)

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        summary: str,
        description: str,
        example: str,
    ) -> argparse.ArgumentParser:
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

    return add


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, with Config's words, and --debug."""
    device = next(f for f in fields(Config) if f.name == "device")
    _add(parser, device, None)
    add_debug(parser)


def check_folder(out: Path) -> None:
    """Refuse an --out that is a file, before there is any work to lose.

    Raises:
        UsageError: it is a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: give a folder")


def typed(args: argparse.Namespace) -> list[str]:
    """The command line as it was given, for a record."""
    return ["segcourse", args.command, *args.words]


def options(args: argparse.Namespace) -> dict:
    """The options of a measurement, for its record: names to values, output files left out."""
    left_out = ("run", "debug", "command", "subcommand", "words", "json", "trace")
    return {name: value for name, value in vars(args).items() if name not in left_out}
