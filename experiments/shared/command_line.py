"""What the command lines of all experiments share: where a smoke run writes."""

import argparse
from pathlib import Path


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; the numbers of a smoke run never take the place of a record's.

    Args:
        parser: with the flag --quick, and --out, whose default begins with results/.

    Returns:
        The arguments. With --quick, and without --out, `out` begins with runs/quick/.
    """
    args = parser.parse_args()
    if args.quick and args.out == parser.get_default("out"):
        args.out = Path("runs", "quick", *args.out.parts[1:])
    return args
