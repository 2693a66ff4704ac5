"""The claims of the first three chapters: metrics, windows, FCN (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, rising, seeds, spread


@claim("index", "index/metric_choice_camvid")
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


@claim("sliding_window", "sliding_window/patch_size")
def wider_windows_score_higher(record: dict) -> Finding:
    """Context names pixels: the wider the window, the better.

    mIoU rises with every step of the window, in every seed.
    """
    rows = record["metrics"]["windows"]
    miou = [seeds(row["runs"], "miou") for row in rows]
    first, last = rows[0]["window"], rows[-1]["window"]
    measured = f"mIoU {points(miou[0])} at {first} px, {points(miou[-1])} at {last} px"
    return Finding(measured, rising(miou))


@claim("sliding_window", "sliding_window/patch_size")
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


@claim("sliding_window", "sliding_window/dense_vs_windows")
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


@claim("sliding_window", "sliding_window/models")
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


@claim("fcn", "fcn/fcn_vs_crops")
def one_fcn_pass_is_five_times_faster(record: dict) -> Finding:
    """A classifier made convolutional is more than five times faster than crop after crop.

    AlexNet, padded once, forward and backward.
    """
    row = record["metrics"]["padded once"]
    measured = f"{row['forward']:.1f} times forward, {row['backward']:.1f} times backward"
    return Finding(measured, (row["forward"] > 5, row["backward"] > 5))


def _fcn(record: dict, variant: str, key: str = "miou", cycles: int = 3) -> list[float]:
    runs = [
        r for r in record["metrics"]["runs"] if (r["variant"], r["cycles"]) == (variant, cycles)
    ]
    return seeds(sorted(runs, key=lambda run: run["seed"]), key)


@claim("fcn", "fcn/skips")
def every_skip_pays(record: dict) -> Finding:
    """Every skip pays: 32s, 16s, 8s.

    mIoU rises at both steps, in every seed.
    """
    steps = [_fcn(record, variant) for variant in ("32s", "16s", "8s")]
    told = zip(("32s", "16s", "8s"), steps, strict=True)
    return Finding("; ".join(f"{name} {points(found)}" for name, found in told), rising(steps))


@claim("fcn", "fcn/skips")
def one_skip_at_a_time(record: dict) -> Finding:
    """Skips are best added one at a time.

    8s in stages ahead of 8s at once, for equal steps, in every seed.
    """
    staged, once = _fcn(record, "8s"), _fcn(record, "8s at once")
    measured = f"one at a time {points(staged)}, all at once {points(once)}"
    return Finding(measured, ahead(staged, once))


@claim("fcn", "fcn/skips")
def the_ceiling_holds(record: dict) -> Finding:
    """Truth, shrunk and restored, is a ceiling for a network of that stride.

    No 8s, in stages or at once, above the truth through stride 8, in every seed.
    """
    (ceiling,) = (row["miou"] for row in record["metrics"]["ceiling"] if row["stride"] == 8)
    checks, told = [], []
    for variant in ("8s", "8s at once"):
        found = _fcn(record, variant)
        checks += [value <= ceiling for value in found]
        told.append(f"{variant} {points(found)}")
    return Finding(f"truth through stride 8: {100 * ceiling:.1f}; {', '.join(told)}", tuple(checks))


@claim("fcn", "fcn/field")
def wide_fields_find_large_objects(record: dict) -> Finding:
    """A wider receptive field finds larger objects.

    IoU of the largest objects rises with every step of the field, in every seed.
    """
    rows = record["metrics"]["networks"]
    large = [[run["iou_by_size"][3] for run in row["runs"]] for row in rows]
    told = (f"{points(v)} at {row['field']} px" for row, v in zip(rows, large, strict=True))
    return Finding(f"IoU of objects from 48 px: {', '.join(told)}", rising(large))


@claim("fcn", "fcn/skips")
def cells_listen_to_less(record: dict) -> Finding:
    """A cell listens to much less than it could see.

    After training, half of its listening lies within half of the way to the edge, in every
    network.
    """
    rows = [row for row in record["metrics"]["effective_field"] if row["cycles"]]
    inner = [row["radius_50"] for row in rows]
    half = rows[0]["size"] / 2
    measured = (
        f"half of the listening lies within {spread(inner, 0)} px, the field reaches {half:.0f}"
    )
    return Finding(measured, tuple(row["radius_50"] < row["size"] / 4 for row in rows))


@claim("fcn", "fcn/skips")
def training_widens_the_field(record: dict) -> Finding:
    """Training widens the effective field.

    A larger sigma after training than before, in every seed.
    """
    rows = record["metrics"]["effective_field"]
    before = {row["seed"]: row["sigma"] for row in rows if not row["cycles"]}
    last = max(row["cycles"] for row in rows)
    after = {row["seed"]: row["sigma"] for row in rows if row["cycles"] == last}
    old, new = (list(found.values()) for found in (before, after))
    measured = f"sigma {spread(old)} px before training, {spread(new)} px after"
    return Finding(measured, tuple(after[seed] > before[seed] for seed in before))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
