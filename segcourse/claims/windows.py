"""The claims about metrics and sliding windows (see book/results.ipynb)."""

from itertools import pairwise

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, rising, seeds


@claim("index", "index/metric_choice_camvid", section="The experiment: the metric moves the result")
def metric_moves_a_result(record: dict) -> Finding:
    """The choice of metric moves a result by 20 points.

    On CamVid's test labels, put through stride 16: pixel accuracy more than 20 points above
    mIoU.
    """
    at = record["config"]["strides"].index(16)
    names = ("miou", "miou_per_image", "pixel_accuracy")
    dataset, image, pixel = (record["metrics"][name][at] for name in names)
    measured = (
        f"truth through stride 16: {100 * dataset:.1f} mIoU over the set, {100 * image:.1f} as a "
        f"mean of images, {100 * pixel:.1f} pixel accuracy"
    )
    return Finding(measured, (pixel - dataset > 0.2,))


@claim(
    "index",
    "index/metric_choice",
    section="The experiment: the metric moves the result",
)
def accuracy_forgives(record: dict) -> Finding:
    """Pixel accuracy forgives what mIoU does not.

    Truth through a coarser grid: mIoU loses more than twice as much, at every stride.
    """
    rows = list(zip(*(record["metrics"][k] for k in ("miou", "pixel_accuracy")), strict=True))[1:]
    last = record["config"]["strides"][-1]
    miou, pixel = rows[-1]
    measured = f"at stride {last}: {100 * miou:.1f} mIoU, {100 * pixel:.1f} pixel accuracy"
    return Finding(measured, tuple(1 - m > 2 * (1 - p) for m, p in rows))


@claim("sliding_window", "sliding_window/patch_size", section="How large a window")
def wider_windows_score_higher(record: dict) -> Finding:
    """Context names pixels: the wider the window, the better.

    mIoU rises with every step of the window, in every seed.
    """
    rows = record["metrics"]["windows"]
    miou = [seeds(row["runs"], "miou") for row in rows]
    first, last = rows[0]["window"], rows[-1]["window"]
    measured = f"mIoU {points(miou[0])} at {first} px, {points(miou[-1])} at {last} px"
    return Finding(measured, rising(miou))


@claim("sliding_window", "sliding_window/patch_size", section="How large a window")
def the_pair_waits_for_its_window(record: dict) -> Finding:
    """What tells two classes apart must lie inside the window.

    Pond and plaza: a coin toss to the pixel in windows that hold no marker, more than that in
    the widest, in every seed.
    """
    rows = {
        row["window"]: seeds(row["runs"], "pair_told_apart") for row in record["metrics"]["windows"]
    }
    blind = [share == 0.5 for window, found in rows.items() if window <= 13 for share in found]
    seeing = [share > 0.5 for share in rows[max(rows)]]
    measured = f"exactly one half up to 13 px; {points(rows[max(rows)])} % at {max(rows)} px"
    return Finding(measured, (*blind, *seeing))


@claim(
    "sliding_window",
    "sliding_window/dense_vs_windows",
    section="What neighbouring windows share",
)
def one_pass_saves_what_is_counted(record: dict) -> Finding:
    """One dense pass gives what every window gives, and saves what the count says.

    At each size of window: the same scores to 1e-5, and at least as many times faster as
    counted.
    """
    rows = record["metrics"]["windows"]
    told = (f"{r['measured']:.0f} times at {r['window']} px ({r['predicted']:.0f})" for r in rows)
    checks = [row["measured"] >= row["predicted"] for row in rows]
    equal = [row["difference"] < 1e-5 for row in rows]
    return Finding(f"faster by {', '.join(told)}; counted in brackets", (*checks, *equal))


@claim(
    "sliding_window",
    "sliding_window/models",
    section="The experiment: three roads, one data set",
)
def networks_beat_regions(record: dict) -> Finding:
    """A network that looks at windows beats region proposals with a classifier.

    Higher mIoU and higher pixel accuracy, in every seed.
    """
    runs = {name: record["metrics"]["models"][name]["runs"] for name in ("patch", "regions")}
    checks, told = [], []
    for key, name in (("miou", "mIoU"), ("pixel_accuracy", "pixel accuracy")):
        windows, regions = (seeds(runs[road], key) for road in ("patch", "regions"))
        checks += ahead(windows, regions)
        told.append(f"{name}: windows {points(windows)}, regions {points(regions)}")
    return Finding("; ".join(told), tuple(checks))


def _road(record: dict, name: str, key: str = "miou") -> list[float]:
    return seeds(record["metrics"]["models"][name]["runs"], key)


@claim(
    "sliding_window",
    "sliding_window/models",
    section="The experiment: three roads, one data set",
)
def seeing_far_beats_keeping_pixels(record: dict) -> Finding:
    """Seeing far is worth more than keeping every pixel.

    Windows of 41 pixels ahead of padded convolutions at full resolution, in every seed.
    """
    far, sharp = (_road(record, name) for name in ("patch", "full_resolution"))
    measured = f"mIoU: windows {points(far)}, full resolution {points(sharp)}"
    return Finding(measured, ahead(far, sharp))


@claim(
    "sliding_window",
    "sliding_window/camvid_patch",
    "sliding_window/camvid_full_resolution",
    section="The experiment: three roads, one data set",
)
def seeing_far_pays_on_streets(windows: dict, padded: dict) -> Finding:
    """On streets, too, windows beat padded convolutions.

    mIoU on CamVid's val at 90 by 120 pixels, one run each.
    """
    far, sharp = ([record["metrics"]["miou"]] for record in (windows, padded))
    return Finding(f"windows {points(far)}, full resolution {points(sharp)}", ahead(far, sharp))


@claim(
    "sliding_window",
    "sliding_window/models",
    section="The experiment: three roads, one data set",
)
def regions_do_not_know_their_neighbours(record: dict) -> Finding:
    """What surrounds a region has to be part of its description.

    Regions described by themselves tell pond and plaza apart no better than a coin (45 to 55 %),
    windows do better, in every seed.
    """
    windows, regions = (_road(record, name, "pair_told_apart") for name in ("patch", "regions"))
    coin = [0.45 <= share <= 0.55 for share in regions]
    measured = f"told apart: windows {points(windows)} %, regions {points(regions)} %"
    return Finding(measured, (*coin, *ahead(windows, regions)))


@claim(
    "sliding_window",
    "sliding_window/full_resolution_cost",
    section="Keep every pixel: the cost of full resolution",
)
def the_clock_follows_the_count(record: dict) -> Finding:
    """Multiply-adds predict the time.

    From each width of a network to the next: time grows as the count does, to within a quarter.
    """
    rows = record["metrics"]["networks"]
    steps = [
        [sum(row[kind] for kind in kinds) for row in rows]
        for kinds in (
            ("multiply_adds_forward", "multiply_adds_backward"),
            ("forward_s", "backward_s"),
        )
    ]
    counted, timed = ([b / a for a, b in pairwise(found)] for found in steps)
    told = (f"{t:.1f} times ({c:.1f})" for t, c in zip(timed, counted, strict=True))
    checks = (abs(t / c - 1) < 0.25 for t, c in zip(timed, counted, strict=True))
    return Finding(f"the time grows {', then '.join(told)}; counted in brackets", tuple(checks))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
