"""How far the choice of the metric moves one result: truth shrunk and restored (book/index.ipynb).

The truth of a set is put on a grid of stride 1, 2, 4, 8, 16 and 32, restored by nearest
neighbour, and scored by every metric of the course. Nothing is trained. With `--camvid ROOT` the
test labels of CamVid are scored, too; the images are not read.

    python experiments/metric_choice.py
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from shared.command_line import parsed

from segcourse import metrics
from segcourse.data import Scenes, open_data
from segcourse.degrade import shrink_and_restore
from segcourse.labels import IGNORE, Classes
from segcourse.records import record, write_record

STRIDES = (1, 2, 4, 8, 16, 32)
TRIMAP_WIDTH = 3


def scores(truth: torch.Tensor, classes: Classes) -> dict[str, list[float]]:
    """Every metric at every stride, for labels (N, H, W) int64 with void."""
    K = len(classes)
    columns: dict[str, list[float]] = {}
    for stride in STRIDES:
        coarse = shrink_and_restore(truth, stride)
        # A prediction must name a class: void falls to class 0.
        coarse = coarse.masked_fill(coarse == IGNORE, 0)
        matrix = metrics.confusion_matrix(coarse, truth, K)
        row = {
            "pixel_accuracy": metrics.pixel_accuracy(matrix),
            "mean_class_accuracy": metrics.mean_class_accuracy(matrix),
            "miou": metrics.mean_iou(matrix),
            "miou_per_image": metrics.mean_iou_per_image(coarse, truth, K),
            "frequency_weighted_iou": metrics.frequency_weighted_iou(matrix),
            "trimap_iou": metrics.trimap_iou(coarse, truth, K, TRIMAP_WIDTH),
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(float(value))
    return columns


def main() -> None:
    """Measure and write results/index/metric_choice.json (or metric_choice_camvid.json)."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--camvid", type=Path, help="folder of CamVid; without it, the scenes")
    parser.add_argument("--quick", action="store_true", help="8 images only, to try it out")
    parser.add_argument("--out", type=Path, default=Path("results/index"), help="folder to write")
    args = parsed(parser)

    start = time.perf_counter()
    name = "metric_choice_camvid" if args.camvid else "metric_choice"
    data = (
        open_data("camvid", args.camvid, "test")
        if args.camvid
        else Scenes(200, seed=1, split="val")
    )
    count = min(8, len(data)) if args.quick else len(data)
    truth = torch.stack([data[i][1] for i in range(count)])
    measured = scores(truth, data.classes)
    config = {"data": data.name, "split": data.split, "images": count, "strides": STRIDES}
    config |= {"trimap_width_px": TRIMAP_WIDTH, "classes": len(data.classes)}
    command = f"python experiments/metric_choice.py{' --camvid ROOT' if args.camvid else ''}"
    seconds = time.perf_counter() - start
    write_record(args.out / f"{name}.json", record(command, config, 1, measured, [], seconds))
    print(f"{'stride':>22}" + "".join(f"{s:>8}" for s in STRIDES))
    for metric, values in measured.items():
        print(f"{metric:>22}" + "".join(f"{value:8.3f}" for value in values))
    print(f"{count} images, {seconds:.1f} s, {args.out / name}.json", file=sys.stderr)


if __name__ == "__main__":
    main()
