"""`segcourse crf-search`: dense CRF parameters for a trained run, by mIoU on held-out images."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from segcourse.cli.crf_flags import Settings, add_crf_flags, build_crf, refine, settings_from, words
from segcourse.cli.evaluate import add_data, open_for
from segcourse.cli.flags import add_device
from segcourse.cli.predict import enlarged_argmax, scores
from segcourse.cli.runs import load_run
from segcourse.distributed import choose_device
from segcourse.errors import UsageError
from segcourse.metrics import confusion_matrix, mean_iou
from segcourse.records import record, write_record

SEARCHED = ("appearance_weight", "sxy", "srgb", "smoothness_weight", "sxy_smooth")
"""What is moved, in this order; iterations stay as given."""

DESCRIPTION = """\
Find parameters of the dense CRF for a trained run. The network scores some images of a split once.
A third of the trials are drawn at random, from a sixteenth of the given values to twice them. From
the best of these one parameter at a time is doubled and halved, and kept where the mean IoU over
those images rises. When no step helps any more the steps become smaller.

What is found fits the images it was found on. Search on val, then measure once on test with
`segcourse eval --split test --crf` and the flags that are printed."""

EPILOG = """\
example:
  segcourse crf-search runs/x --images 50 --trials 60
  segcourse crf-search runs/x --images 20 --sxy 60 --srgb 5 --appearance-weight 4 --json crf.json

Sigmas are in pixels of the images that are compared: with --full-size, of the files."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `segcourse crf-search`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.set_defaults(run=run)
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="output folder of `segcourse train`"
    )
    add_data(parser, "images it is searched on")
    parser.add_argument(
        "--images", type=int, default=50, metavar="N", help="so many of the split, evenly spread"
    )
    parser.add_argument(
        "--trials", type=int, default=40, metavar="N", help="settings to try, the first included"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random trials")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every trial here too")
    add_crf_flags(parser, "where the search begins")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Search, print each better setting and the last one as flags."""
    for name in ("images", "trials"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is {getattr(args, name)}: give 1 or more")
    start = settings_from(args)
    started = time.perf_counter()
    trained = load_run(args.run_dir, choose_device(args.device))
    build_crf(start, len(trained.classes))  # a run of one class is refused before any work
    name, data, area, _ = open_for(trained, args)
    chosen = spread(len(data), args.images)
    held = []
    for i in tqdm(chosen, unit="image", disable=None):
        image, labels = data[i]
        logits = scores(trained.model, image, area, trained.device)
        held.append((logits.cpu(), image, labels))

    K = len(data.classes)
    plain = _miou(held, K, lambda logits, image: enlarged_argmax(logits, *image.shape[1:]))
    print(f"{args.run_dir} on {name} {args.split}: {len(held)} of {len(data)} images")
    print(f"  mean IoU {plain:.4f}  without a CRF")

    @torch.inference_mode()
    def score(settings: Settings) -> float:
        return _miou(
            held, K, lambda logits, image: refine(logits.to(trained.device), image, settings)
        )

    generator = torch.Generator().manual_seed(args.seed)
    trials = []
    best, found = -math.inf, start
    for settings, miou in search(score, start, args.trials, generator):
        trials.append(asdict(settings) | {"miou": miou})
        if miou > best:
            best, found = miou, settings
            print(f"  mean IoU {miou:.4f}  trial {len(trials)}: {words(settings)}", flush=True)
    if best > plain:
        print(f"\n--crf {words(found)}")
    else:
        print("\nno setting tried is better than no CRF on these images: leave --crf out")
    if args.json is not None:
        numbers = {"without_crf": plain, "best": asdict(found) | {"miou": best}, "trials": trials}
        command = ["segcourse", "crf-search", *args.words]
        seconds = time.perf_counter() - started
        config = trained.config
        made = record(command, config, args.seed, numbers, [], seconds, None, trained.device)
        write_record(args.json, made)
        print(f"written: {args.json}", file=sys.stderr)
    return 0


def search(
    score: Callable[[Settings], float], start: Settings, trials: int, generator: torch.Generator
) -> Iterator[tuple[Settings, float]]:
    """A third at random, then `coordinate_search` from the best of them.

    Where the start makes everything one class, a small step changes nothing or makes it worse;
    random settings, most of them weaker than the start, find the slope.

    Args:
        score: larger is better.
        start: the first setting.
        trials: settings to score at most.
        generator: of the random settings.

    Yields:
        (setting, score) in the order they were tried, the start first.
    """
    tried = []
    for i in range(max(trials // 3, 1)):
        # From 2^-4 to 2^1 times the start, evenly in the exponent.
        powers = 2 ** (5 * torch.rand(len(SEARCHED), generator=generator) - 4)
        moved = {
            name: float(f"{getattr(start, name) * power:.4g}")
            for name, power in zip(SEARCHED, powers.tolist(), strict=True)
        }
        settings = replace(start, **moved) if i else start
        tried.append((settings, score(settings)))
        yield tried[-1]
    best, best_score = max(tried, key=lambda pair: pair[1])
    yield from coordinate_search(score, best, best_score, trials - len(tried))


def coordinate_search(
    score: Callable[[Settings], float], start: Settings, start_score: float, trials: int
) -> Iterator[tuple[Settings, float]]:
    """Climb one parameter at a time, by factors that shrink: 2, then its root, and so on.

    A weight of 0 stays 0, so a kernel that is switched off stays off.

    Args:
        score: larger is better.
        start: where it begins.
        start_score: of the start.
        trials: settings to score at most; none is scored twice.

    Yields:
        (setting, score) in the order they were tried, without the start.
    """
    best, best_score = start, start_score
    seen = {start}
    factor = 2.0
    while factor > 1.05:
        moved = False
        for name in SEARCHED:
            for step in (factor, 1 / factor):
                value = float(f"{getattr(best, name) * step:.4g}")  # what `words` prints
                trial = replace(best, **{name: value})
                if trial in seen:
                    continue
                if len(seen) > trials:
                    return
                seen.add(trial)
                trial_score = score(trial)
                yield trial, trial_score
                if trial_score > best_score:
                    best, best_score, moved = trial, trial_score, True
                    break
        if not moved:
            factor = math.sqrt(factor)


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` indices, evenly spread; all where there are not so many.

    >>> spread(10, 3), spread(2, 5)
    ([0, 3, 6], [0, 1])
    """
    count = min(count, total)
    return [i * total // count for i in range(count)]


def _miou(held: list[tuple], num_classes: int, label: Callable[[Tensor, Tensor], Tensor]) -> float:
    cm = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for logits, image, labels in held:
        cm += confusion_matrix(label(logits, image).cpu()[None], labels[None], num_classes)
    return mean_iou(cm)
