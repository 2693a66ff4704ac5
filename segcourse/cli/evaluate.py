"""`segcourse eval`: measure a trained run on one split of a data set."""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segcourse.cli import objects
from segcourse.cli.crf_flags import Settings, add_crf_flags, settings_if_asked, words
from segcourse.cli.flags import add_device
from segcourse.cli.predict import predict
from segcourse.cli.report import summary, table
from segcourse.cli.runs import Run, load_run
from segcourse.cli.sources import DATASETS, open_split
from segcourse.data import GENERATED, SegmentationData
from segcourse.distributed import choose_device
from segcourse.errors import DataError, UsageError
from segcourse.labels import IGNORE
from segcourse.metrics import confusion_matrix, mean_iou, trimap
from segcourse.records import record, write_record

DESCRIPTION = """\
Measure a trained run on a data set: mean IoU, IoU and accuracy of every class, pixel accuracy,
mean class accuracy, frequency-weighted IoU, and the mean IoU near borders (trimap). All are read
off one confusion matrix over the whole set; void pixels count nowhere. Data with cells (isbi,
cells) are also scored as objects: adapted Rand error, merged, split and missed cells. The weights
are those of the best checkpoint, which was chosen on val: choose by val, report test, once.
--crf measures the labels that a dense CRF makes of the scores, as `segcourse predict --crf`."""

EPILOG = """\
examples:
  segcourse eval runs/x
  segcourse eval runs/x --split test --full-size --json results/test.json
  segcourse eval runs/x --split test --crf --sxy 60 --srgb 5"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse eval`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="output folder of `segcourse train`"
    )
    add_data(parser, "what it is measured on")
    parser.add_argument(
        "--trimap-width",
        type=int,
        default=3,
        metavar="PX",
        help="how far from a border between labels the trimap reaches, in pixels",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--crf", action="store_true", help="refine the scores with a dense CRF")
    add_crf_flags(parser, "CRF, with --crf")
    add_device(parser)


def add_data(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the flags that say on which images a run is looked at, read by `open_for`."""
    data = parser.add_argument_group(title)
    data.add_argument("--split", choices=("val", "test", "train"), default="val", help="split")
    data.add_argument("--data", choices=DATASETS, help="data set; the run's own if left out")
    data.add_argument("--root", help="folder of the data set; the run's own if left out")
    data.add_argument(
        "--full-size",
        action="store_true",
        help="compare at the size of the files: the network sees the image scaled as in training, "
        "and its scores are enlarged; without this both are compared at the training size",
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    if args.trimap_width < 1:
        raise UsageError(f"--trimap-width is {args.trimap_width}: give 1 pixel or more")
    crf = settings_if_asked(args)
    started = time.perf_counter()
    trained = load_run(args.run_dir, choose_device(args.device))
    config = trained.config
    name, data, area, size = open_for(trained, args)
    cells = objects.scores_for(name)
    cm, near = measure(trained, data, area, args.trimap_width, cells, crf)
    numbers = summary(cm, data.classes)
    if cells is not None:
        numbers["objects"] = cells.result()
    numbers["trimap"] = {"width": args.trimap_width, "miou": mean_iou(near)}

    compared = "the size of the files" if size is None else f"{size[0]}x{size[1]}"
    print(f"{args.run_dir} on {name} {args.split}: {len(data)} images, compared at {compared}")
    print(f"weights: {trained.weights}")
    print("" if crf is None else f"CRF: {words(crf)}\n")
    print(table(numbers))
    print(f"\n  mean IoU within {args.trimap_width} px of a border: {mean_iou(near):.4f}")
    if cells is not None:
        print(objects.table(numbers["objects"]))
    if args.json is not None:
        command = ["segcourse", "eval", *args.words]
        seconds, speed = time.perf_counter() - started, None
        made = record(command, config, config.seed, numbers, [], seconds, speed, trained.device)
        write_record(args.json, made)
        print(f"written: {args.json}", file=sys.stderr)
    return 0


def open_for(
    trained: Run, args: argparse.Namespace
) -> tuple[str, SegmentationData, int | None, tuple[int, int] | None]:
    """Open the split that the flags of `add_data` name.

    Args:
        trained: the run, whose own data set and size are taken where no flag says otherwise.
        args: with run_dir and the flags.

    Returns:
        Name of the data set, its split, the pixels that the network sees of an image (None: all),
        and the (H, W) at which labels are compared (None: that of the files).

    Raises:
        UsageError: the flags do not fit the data.
        DataError: the data are not there, or have other classes.
    """
    config = trained.config
    name = args.data or config.data
    root = args.root if args.root is not None else (config.root if name == config.data else "")
    if args.full_size and name in GENERATED:
        raise UsageError(f"--full-size is for files, and {name} are generated: leave it out")
    # A run on files of their own size keeps it; a resized run is measured as it was trained.
    size = trained.size if config.height or name in GENERATED else None
    size = None if args.full_size else size
    data = open_split(name, root, args.split, size)
    if len(data.classes) != len(trained.classes):
        raise DataError(
            f"{args.run_dir} was trained for {len(trained.classes)} classes and {name} has "
            f"{len(data.classes)}: measure it on {config.data}, or a set with the same classes"
        )
    area = trained.size[0] * trained.size[1] if config.height else None
    return name, data, area, size


def measure(
    trained: Run,
    data: SegmentationData,
    area: int | None,
    width: int,
    cells: objects.ObjectScores | None = None,
    crf: Settings | None = None,
) -> tuple[Tensor, Tensor]:
    """Count the confusion matrices of a set: of all pixels, and of those near a border.

    Args:
        trained: the run.
        data: the split; images may differ in size.
        area: pixels that the network sees of an image; None: as it is.
        width: of the trimap, in pixels.
        cells: counts the set's cells as well, image by image; None: there are none.
        crf: refines the scores; None: none does.

    Returns:
        Two (K, K) int64 matrices.
    """
    K = len(data.classes)
    cm, near = torch.zeros(2, K, K, dtype=torch.int64)
    for i in tqdm(range(len(data)), unit="image", disable=None):  # silent in a file or a pipe
        image, labels = data[i]
        predicted = predict(trained.model, image, area, trained.device, crf)[None]
        border = trimap(labels[None], width)
        cm += confusion_matrix(predicted, labels[None], K)
        near += confusion_matrix(predicted, labels[None].where(border, IGNORE), K)
        if cells is not None:
            cells.add(predicted, labels[None])
    return cm, near
