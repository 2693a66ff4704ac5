"""The claims about fully convolutional networks (see book/results.ipynb)."""

from segcourse.claims.judging import (
    BAR,
    Claim,
    Finding,
    ahead,
    claim,
    points,
    rising,
    seeds,
    spread,
)


@claim("fcn", "fcn/fcn_vs_crops", section="What it saves: the paper's timing, repeated")
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


@claim("fcn", "fcn/skips", section="The experiment: 32s, 16s, 8s")
def every_skip_pays(record: dict) -> Finding:
    """Every skip pays: 32s, 16s, 8s.

    mIoU rises at both steps, in every seed.
    """
    steps = [_fcn(record, variant) for variant in ("32s", "16s", "8s")]
    told = zip(("32s", "16s", "8s"), steps, strict=True)
    return Finding("; ".join(f"{name} {points(found)}" for name, found in told), rising(steps))


@claim("fcn", "fcn/skips", section="The experiment: 32s, 16s, 8s")
def one_skip_at_a_time(record: dict) -> Finding:
    """Skips are best added one at a time.

    8s in stages ahead of 8s at once, for equal steps, in every seed.
    """
    staged, once = _fcn(record, "8s"), _fcn(record, "8s at once")
    measured = f"one at a time {points(staged)}, all at once {points(once)}"
    return Finding(measured, ahead(staged, once))


@claim("fcn", "fcn/skips", section="The ceiling of a grid")
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


@claim("fcn", "fcn/field", section="Measured: four fields, four sizes")
def wide_fields_find_large_objects(record: dict) -> Finding:
    """A wider receptive field finds larger objects.

    IoU of the largest objects rises with every step of the field, in every seed.
    """
    rows = record["metrics"]["networks"]
    large = [[run["iou_by_size"][3] for run in row["runs"]] for row in rows]
    told = (f"{points(v)} at {row['field']} px" for row, v in zip(rows, large, strict=True))
    return Finding(f"IoU of objects from 48 px: {', '.join(told)}", rising(large))


@claim("fcn", "fcn/skips", section="What a cell listens to")
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


@claim("fcn", "fcn/skips", section="What a cell listens to")
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


@claim("fcn", "fcn/skips", section="The experiment: 32s, 16s, 8s")
def the_first_skip_gives_most(record: dict) -> Finding:
    """The first skip gives more than the second.

    mIoU: the step from 32s to 16s larger than that from 16s to 8s, in every seed, as in the paper.
    """
    coarse, middle, fine = (_fcn(record, variant) for variant in ("32s", "16s", "8s"))
    first, second = (
        [b - a for a, b in zip(before, after, strict=True)]
        for before, after in ((coarse, middle), (middle, fine))
    )
    measured = f"the first gives {points(first)} points, the second {points(second)}"
    return Finding(measured, ahead(first, second))


@claim("fcn", "fcn/skips", section="The experiment: 32s, 16s, 8s")
def thin_things_wait_for_the_fine_skip(record: dict) -> Finding:
    """Thin things wait for the finest skip.

    Bars of 2 pixels: none by 32s and 16s (IoU below 1 %), some by 8s, in every seed.
    """
    bars = {name: [iou[BAR] for iou in _fcn(record, name, "iou")] for name in ("32s", "16s", "8s")}
    checks = [value < 0.01 for name in ("32s", "16s") for value in bars[name]]
    checks += [value >= 0.01 for value in bars["8s"]]
    told = ", ".join(f"{name} {points(found)}" for name, found in bars.items())
    return Finding(f"IoU of the bars: {told}", tuple(checks))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
