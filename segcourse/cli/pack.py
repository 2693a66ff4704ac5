"""`segcourse data pack`: a data set as one file, for a machine without a network."""

import argparse
from collections.abc import Callable
from pathlib import Path

from segcourse.cli.sources import check_root, open_split
from segcourse.data.files import layout
from segcourse.data.pack import LIMIT, Packed, content_hash, read_contents, write_pack
from segcourse.data.published import verify_camvid
from segcourse.errors import UsageError

PACKED = ("camvid", "isbi", "folder")

DESCRIPTION = """\
Write all splits of a data set into one file of at most 60 MB, which --root takes wherever it takes
the folder, with the same pixels and labels. Pictures that keep their size are stored as they are;
resized ones as lossless PNG. Labels are stored as PNG, void as 255. The file is read back and
compared before it gets its name. It is a zip: `unzip -l FILE` lists it."""


def configure(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the subcommand.

    Args:
        add: (name, run, summary, description, example) to its parser.
    """
    command = add(
        "pack",
        run,
        "write a data set as one file of at most 60 MB",
        DESCRIPTION,
        "segcourse data pack camvid --root CamVid --height 360 --width 480 --out camvid.zip\n"
        "  segcourse train --data camvid --root camvid.zip --out runs/x",
    )
    command.add_argument("data", choices=PACKED, metavar="NAME", help=" ".join(PACKED))
    command.add_argument("--root", required=True, metavar="DIR", help="folder of the data set")
    command.add_argument(
        "--height", type=int, default=0, metavar="H", help="resize to this; 0: as the files are"
    )
    command.add_argument(
        "--width", type=int, default=0, metavar="W", help="resize to this; 0: as the files are"
    )
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")


def run(args: argparse.Namespace) -> int:
    """Write the file and say what is in it."""
    if min(args.height, args.width) < 0 or (args.height == 0) != (args.width == 0):
        raise UsageError(
            f"--height is {args.height} and --width is {args.width}: give both, in pixels, or "
            "neither to keep the size of the files"
        )
    if args.out.is_dir():
        raise UsageError(f"--out {args.out} is a folder: give the file to write, as camvid.zip")
    check_root(args.data, args.root)
    # Where there is no split, opening one says what is needed.
    names = layout(args.data, Path(args.root)) or ("train",)
    splits = {split: open_split(args.data, args.root, split) for split in names}
    size = (args.height, args.width) if args.height else None
    contents = write_pack(splits, args.out, size, LIMIT)
    print(f"{args.out}: {args.data}, {args.out.stat().st_size / 1e6:.1f} MB")
    for split, pairs in contents.splits.items():
        print(f"  {split:<5} {len(pairs):>4} images, content {contents.sha256[split][:16]}")
    for fault in verify_camvid(args.root) if args.data == "camvid" else ():
        print(f"note: {fault.path}: {fault.message}")
    return 0


def check(path: str) -> int:
    """Read a pack through; print, and return 3 where its content is not what was written."""
    contents = read_contents(path)
    for split, expected in contents.sha256.items():
        data = Packed(path, split)
        if content_hash(data[i] for i in range(len(data))) != expected:
            print(f"{path}: damaged: its {split} split is not what was written: write it again")
            return 3
    listed = ", ".join(f"{len(pairs)} {split}" for split, pairs in contents.splits.items())
    print(f"{path}: no fault found, a pack of {contents.name} with {listed} images")
    return 0
