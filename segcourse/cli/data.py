"""`segcourse data`: check, get, convert, pack, preview and count data sets."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from segcourse.cli import pack
from segcourse.cli.drawing import contact_sheet, overlay, with_legend
from segcourse.cli.flags import adder
from segcourse.cli.sources import DATASETS, check_root, open_split
from segcourse.data import GENERATED, check, convert_masks, download
from segcourse.data.pack import is_pack
from segcourse.errors import UsageError
from segcourse.labels import CAMVID, CITYSCAPES, IGNORE, VOC
from segcourse.losses import label_counts, median_frequency_weights

DESCRIPTION = "Look after data sets: check them, fetch them, convert their masks, look at them."
FAULTS = 3
PALETTES = {"camvid": CAMVID, "cityscapes": CITYSCAPES, "voc": VOC}
ON_DISK = tuple(name for name in DATASETS if name not in GENERATED)
FETCHED = tuple(name for name in ON_DISK if name != "folder")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `segcourse data`."""
    parser.description = DESCRIPTION
    add = adder(parser)

    command = add(
        "check",
        run_check,
        "read a data set through and report every fault",
        "Read every file of a data set and report all faults at once: missing masks, sizes that "
        "differ,\nlabels out of range, unreadable files, colour masks. Exit code 3 when there are "
        "any.",
        "segcourse data check CamVid --data camvid",
    )
    command.add_argument("root", metavar="ROOT", help="folder of the data set, or its pack")
    command.add_argument("--data", choices=ON_DISK, default="folder", help="its layout")

    command = add(
        "get",
        run_get,
        "download a data set, or say how to get it",
        "Download a data set and check its hashes; where there is no network, or the data need "
        "an\naccount, say what to do by hand.",
        "segcourse data get camvid --root CamVid",
    )
    command.add_argument("data", choices=FETCHED, metavar="NAME", help=" ".join(FETCHED))
    command.add_argument("--root", required=True, metavar="DIR", help="where it goes")

    command = add(
        "convert",
        run_convert,
        "turn colour masks into index masks",
        "Write every mask under ROOT as an index PNG under --out, at the same relative path. The "
        "palette\nis classes.txt in ROOT or above it (one 'name #rrggbb' a line, in the order of "
        "the indices), or\nthat of --palette.",
        "segcourse data convert masks-in-colour --out masks",
    )
    command.add_argument("root", metavar="ROOT", help="folder of masks, or of a data set")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="where they go")
    command.add_argument("--palette", choices=tuple(PALETTES), help="a known data set's colours")

    pack.configure(add)
    command = add(
        "preview",
        run_preview,
        "a sheet of images and their labels, as one PNG",
        "Draw images, each beside its labels laid over it, and the names of the classes.",
        "segcourse data preview --data scenes --out scenes.png",
    )
    _add_source(command)
    command.add_argument("--count", type=int, default=12, metavar="N", help="images to show")
    command.add_argument("--columns", type=int, default=3, metavar="N", help="pairs in a row")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="PNG to write")

    command = add(
        "stats",
        run_stats,
        "sizes of the images, and how much of each class there is",
        "Read one split through: sizes, void, and for each class its share of the labelled "
        "pixels, the\nimages that hold it, and its median-frequency weight (as --class-weights "
        "median would use it).",
        "segcourse data stats --data camvid --root CamVid --split train",
    )
    _add_source(command)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", choices=DATASETS, default="scenes", help="data set")
    command.add_argument("--root", default="", help="folder or pack; generated sets need none")
    command.add_argument("--split", choices=("train", "val", "test"), default="train", help="split")
    command.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="resize to H x W")


def run_check(args: argparse.Namespace) -> int:
    """Print every fault; FAULTS when there is one."""
    if is_pack(args.root):
        return pack.check(args.root)
    if not Path(args.root).is_dir():
        check_root(args.data, args.root, flag="")  # raises; anything else is a fault to be listed
    faults = check(args.root, args.data)
    for fault in faults:
        print(f"{fault.path}: {fault.kind}: {fault.message}")
    if not faults:
        print(f"{args.root}: no fault found, read as {args.data}")
        return 0
    kinds = Counter(fault.kind for fault in faults)
    listed = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
    print(f"\n{count} in {args.root}, read as {args.data}: {listed}")
    return FAULTS


def run_get(args: argparse.Namespace) -> int:
    """Download, or raise with what to do by hand."""
    download(args.data, args.root)
    print(f"{args.data} is in {args.root}; `segcourse data check {args.root} --data {args.data}`")
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Convert and count."""
    written = convert_masks(args.root, args.out, PALETTES.get(args.palette))
    print(f"{len(written)} masks written under {args.out}")
    return 0


def run_preview(args: argparse.Namespace) -> int:
    """Write the sheet."""
    for name in ("count", "columns"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is {getattr(args, name)}: give 1 or more")
    data = open_split(args.data, args.root, args.split, _size(args))
    tiles, present = [], set()
    # Evenly through the set: neighbours in a video look alike.
    for i in np.linspace(0, len(data) - 1, min(args.count, len(data))).round().astype(int):
        image, labels = data[int(i)]
        pixels, indices = image.permute(1, 2, 0).numpy(), labels.numpy()
        present |= set(np.unique(indices).tolist()) - {IGNORE}
        pair = [Image.fromarray(pixels), overlay(pixels, indices, data.classes)]
        tiles.append(contact_sheet(pair, columns=2, gap=1))
    sheet = with_legend(contact_sheet(tiles, args.columns), data.classes, sorted(present))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.out, format="PNG")
    print(f"{args.out}: {len(tiles)} of {len(data)} images of {args.data} {args.split}")
    return 0


def run_stats(args: argparse.Namespace) -> int:
    """Print the counts."""
    data = open_split(args.data, args.root, args.split, _size(args))
    K = len(data.classes)
    sizes, void, rows = Counter(), 0, []
    for i in tqdm(range(len(data)), unit="image", disable=None):
        labels = data[i][1]
        sizes[tuple(labels.shape)] += 1
        void += int((labels == IGNORE).sum())
        rows.append(label_counts(labels[None], K))
    counts = np.concatenate(rows)
    weights = median_frequency_weights(torch.from_numpy(counts)).tolist()
    total = counts.sum()
    listed = ", ".join(f"{h}x{w} ({n})" for (h, w), n in sizes.most_common(5))
    print(f"{args.data} {args.split}: {len(data)} images, {listed}")
    print(f"void: {void / (void + total):.2%} of the pixels\n")
    width = max(len("class"), *map(len, data.classes.names))
    print(f"  {'class':<{width}}  share of pixels  images with it  median-frequency weight")
    for k, name in enumerate(data.classes.names):
        share, images = counts[:, k].sum() / total, (counts[:, k] > 0).sum()
        print(f"  {name:<{width}}  {share:>15.2%}  {images:>14}  {weights[k]:>23.3f}")
    return 0


def _size(args: argparse.Namespace) -> tuple[int, int] | None:
    return None if args.size is None else tuple(args.size)
