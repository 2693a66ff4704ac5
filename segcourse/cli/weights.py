"""`segcourse weights`: list the small trained weights, measure them again, export your own."""

import argparse
import re
from pathlib import Path

from segcourse.cli.flags import adder
from segcourse.cli.sources import open_split
from segcourse.cli.suite_data import find
from segcourse.cli.weights_files import LIMIT, export, hashes, measured, numbers
from segcourse.data import GENERATED
from segcourse.data.resident import ResidentSet
from segcourse.errors import UsageError
from segcourse.pretrained import Pretrained, load_pretrained, published, read_record

DESCRIPTION = "Small trained weights: what there is, what it is worth, and your own."
DIFFERS = 3

ROUNDING, RECODED = 0.001, 0.01
"""How far a number may be from its card: on the same pixels, where another machine adds up in
another order; and on other pixels with the same labels, as of pictures stored by another codec."""

RAND = 20
"""The Rand error may be that many times as far off: one pixel can make one cell of two."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `segcourse weights`."""
    parser.description = DESCRIPTION
    add = adder(parser)
    add(
        "list",
        run_list,
        "the weights that come with the course",
        "The weights that come with the course, with their network, data and mean IoU. Each has a "
        "card:\nweights/NAME/card.md in the repository.",
        "segcourse weights list",
    )

    command = add(
        "check",
        run_check,
        "measure weights again and compare with their cards",
        "Measure weights again, from their file, on this machine's CPU, and compare every number "
        "with the\ncard's. Exit code 3 where one differs by more than rounding. Without NAME: all "
        "whose data are\ngenerated or given.",
        "segcourse weights check camvid-unet-aspp-light --root CamVid",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="weights, or folders of weights")
    command.add_argument("--root", metavar="ROOT", help="folder or pack of the data of NAME")
    command.add_argument(
        "--data-pack",
        nargs="+",
        default=(),
        metavar="FILE",
        help="data of several: packs, or NAME=FOLDER, as camvid=path/to/CamVid",
    )
    command.add_argument(
        "--split", nargs="+", choices=("val", "test"), default=("val", "test"), help="splits"
    )

    command = add(
        "export",
        run_export,
        "write a run's best weights as a folder with a card",
        "Write the weights of a run's best checkpoint as fp16, measure them again on val and "
        f"test, and write\nrecord and card. At most {LIMIT // 10**6} MB: for light networks.",
        "segcourse weights export runs/x --name streets",
    )
    command.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="output folder of `segcourse train`"
    )
    command.add_argument("--name", required=True, metavar="NAME", help="of the weights")
    command.add_argument(
        "--out", type=Path, default=Path("weights"), metavar="DIR", help="where NAME/ goes"
    )
    command.add_argument("--root", help="folder or pack of the data; the run's own if left out")
    command.add_argument(
        "--licence", metavar="TEXT", help="what the terms of the data allow, for the card"
    )
    command.add_argument("--note", metavar="TEXT", help="one more line among the card's limits")
    command.add_argument("--replace", action="store_true", help="write over a folder of this name")


def run_list(args: argparse.Namespace) -> int:
    """Print one line for each folder of weights."""
    records = [read_record(folder) for folder in published().values()]
    rows = [("name", "network", "data", "pixels", "val", "test", "bytes")]
    for record in records:
        scores = [record["metrics"][split] for split in ("val", "test")]
        rows.append(
            (
                record["name"],
                record["model"],
                record["data"]["name"],
                "{}x{}".format(*record["size"]),
                *("-" if s is None else f"{s['miou']:.4f}" for s in scores),
                f"{record['file']['bytes']:,}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    if not records:
        print("none beside this package: https://github.com/segcourse/segcourse has them")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Measure again; DIFFERS where a number is not the card's."""
    roots = find(list(args.data_pack))
    loaded = [load_pretrained(name) for name in args.names or published()]
    if args.root is not None:
        kinds = {one.record["data"]["name"] for one in loaded} if args.names else set()
        if len(kinds) != 1:
            raise UsageError("--root is for the data of one NAME: give --data-pack for several")
        roots |= {kind: args.root for kind in kinds}
    faults = []
    for one in loaded:
        data = one.record["data"]["name"]
        if data not in GENERATED and data not in roots:
            how = f"give --data-pack {data}=FOLDER, or its pack"
            if args.names:
                raise UsageError(f"{one.name} is measured on {data}: {how}")
            print(f"{one.name}: not measured, {how}")
            continue
        for split in args.split:
            faults += _check(one, split, roots.get(data, ""))
    for fault in faults:
        print(fault)
    return DIFFERS if faults else 0


def run_export(args: argparse.Namespace) -> int:
    """Write the folder and say what is in it."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", args.name):
        raise UsageError(
            f"--name {args.name}: give lower-case letters and digits with hyphens between, as "
            "camvid-unet-aspp-light"
        )
    made = export(
        args.run_dir, args.name, args.out, args.root, args.licence, args.note, args.replace
    )
    told = ", ".join(
        f"{split} {made['metrics'][split]['miou']:.4f}"
        for split in ("val", "test")
        if made["metrics"][split] is not None
    )
    print(f"{args.out / args.name}: {made['file']['bytes']:,} bytes; mean IoU {told}")
    return 0


def _check(one: Pretrained, split: str, root: str) -> list[str]:
    """Measure one split, print a line, and return what differs."""
    written = one.record["metrics"][split]
    if written is None:
        print(f"{one.name} {split}: not measured, the card has no numbers of it")
        return []
    known, size = one.record["data"][split], one.record["data"]["size"]
    data = one.record["data"]["name"]
    resident = ResidentSet.load(
        open_split(data, root, split, None if size is None else tuple(size))
    )
    found = hashes(resident)
    here = f"{one.name} {split}"
    if found["labels_sha256"] != known["labels_sha256"]:
        return [
            f"{here}: the {found['images']} label maps in {root or data} are not the "
            f"{known['images']} that the card was measured on"
        ]
    same = found["sha256"] == known["sha256"]
    again, card = numbers(measured(one.model, resident, data)), numbers(written)
    print(
        f"{here}: {len(resident)} images, mean IoU {again['mean IoU']:.4f}, card "
        f"{card['mean IoU']:.4f}" + ("" if same else "; other pixels with the same labels")
    )
    allowed = ROUNDING if same else RECODED
    return [
        f"{here}: {name} is {_shown(again[name])} and {_shown(card[name])} in the card"
        for name in card
        if _far(again[name], card[name], allowed * (RAND if "Rand" in name else 1))
    ]


def _far(a: float | None, b: float | None, allowed: float) -> bool:
    return a is not b if a is None or b is None else abs(a - b) > allowed


def _shown(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"
