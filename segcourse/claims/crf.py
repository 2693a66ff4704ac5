"""The claims about conditional random fields (see book/results.ipynb)."""

from segcourse.claims.judging import BAR, Claim, Finding, ahead, claim, points, spread


def _scores(record: dict, method: str, key: str = "miou") -> list[float]:
    runs = [run[method] for run in record["metrics"]["runs"]]
    return [run["iou"][BAR] if key == "bar" else run[key] for run in runs]


def _gain(record: dict, method: str, key: str) -> list[float]:
    pairs = zip(_scores(record, method, key), _scores(record, "network", key), strict=True)
    return [after - before for after, before in pairs]


@claim("crf", "crf/refine", section="Measured on the scenes")
def short_range_harms(record: dict) -> Finding:
    """A short-range CRF harms the smooth scores of a network.

    Lower mIoU, and lower IoU of the thin bars, in every seed.
    """
    checks, told = [], []
    for key, name in (("miou", "mIoU"), ("bar", "thin bars")):
        before, after = (_scores(record, method, key) for method in ("network", "short"))
        checks += ahead(before, after)
        told.append(f"{name}: network {points(before)}, with it {points(after)}")
    return Finding("; ".join(told), tuple(checks))


@claim("crf", "crf/refine", section="Measured on the scenes")
def dense_sharpens_borders(record: dict) -> Finding:
    """A fully connected CRF sharpens borders.

    Higher mIoU, and a larger gain within 1 px of a border than over all pixels, in every seed.
    """
    near, everywhere = (_gain(record, "dense", key) for key in ("trimap_1px_miou", "miou"))
    measured = f"gains {points(near)} points within 1 px of a border, {points(everywhere)} over all"
    return Finding(measured, (*(gain > 0 for gain in everywhere), *ahead(near, everywhere)))


@claim("crf", "crf/refine", section="Measured on the scenes")
def few_iterations_do(record: dict) -> Finding:
    """A few iterations of mean field are enough.

    The first five give more than 95 % of the gain of all, in every seed.
    """
    checks, shares = [], []
    for run in record["metrics"]["runs"]:
        film, before = run["miou_by_iteration"], run["network"]["miou"]
        shares.append((film[4] - before) / (film[-1] - before))
        checks.append(film[-1] > before and shares[-1] > 0.95)
    measured = f"the first five of {len(film)} give {points(shares)} % of the gain"
    return Finding(measured, tuple(checks))


@claim("crf", "crf/refine", section="When it fails: thin things")
def smoothing_erases_thin_things(record: dict) -> Finding:
    """Too much smoothness erases thin things.

    Lower IoU of the thin bars than the network alone, in every seed.
    """
    before, after = (_scores(record, method, "bar") for method in ("network", "too_smooth"))
    measured = f"IoU of the bars {points(before)} before, {points(after)} too smooth"
    return Finding(measured, ahead(before, after))


@claim("crf", "crf/refine", section="The CRF as a layer")
def end_to_end_is_best(record: dict) -> Finding:
    """Training through the CRF beats putting it behind.

    Higher mIoU after as many steps, in every seed.
    """
    through = _scores(record, "end_to_end")
    behind = _scores(record, "longer_dense")
    measured = (
        f"trained through it {points(through)}, trained as long and put behind {points(behind)}"
    )
    return Finding(measured, ahead(through, behind))


@claim("crf", "crf/scaling", section="What it costs")
def the_lattice_is_linear(record: dict) -> Finding:
    """With the lattice, time is linear in the number of pixels.

    The exponent is far from 2 (below 1.5), and it is 1 (below 1.1).
    """
    exponent = record["metrics"]["exponent_pixels"]
    measured = f"time grows with the number of pixels to the power {exponent:.2f}; all pairs: 2"
    return Finding(measured, (exponent < 1.5, exponent < 1.1))


@claim("crf", "crf/speed", section="Against the C++ package")
def torch_keeps_up_with_cpp(record: dict) -> Finding:
    """Written in torch, the CRF keeps up with the C++ package.

    Faster in every timed setting with iterations, and the same labels on every picture.
    """
    timed = [row["ratio"] for row in record["metrics"]["times"] if row["iterations"]]
    labels = [row["labels_agree"] for row in record["metrics"]["agreement"]]
    measured = (
        f"{spread(timed)} times as fast with its iterations; "
        f"at least {100 * min(labels):.1f} % of the labels are the same"
    )
    return Finding(
        measured, (*(ratio > 1 for ratio in timed), *(share > 0.999 for share in labels))
    )


@claim("crf", "crf/refine", section="Smoothing what is smooth")
def smoothing_is_for_noise(record: dict) -> Finding:
    """A short-range CRF is made for noise.

    On scores with noise it gains more than on the network's own, in every seed.
    """
    clean = _gain(record, "short", "miou")
    noisy = [
        after - before
        for after, before in zip(
            _scores(record, "noisy_short"), _scores(record, "noisy"), strict=True
        )
    ]
    measured = f"gains {points(noisy)} points on noisy scores, {points(clean)} on clean ones"
    return Finding(measured, ahead(noisy, clean))


@claim("crf", "crf/refine", section="When it fails: thin things")
def good_parameters_help_thin_things(record: dict) -> Finding:
    """A fully connected CRF with good parameters helps thin things.

    Higher IoU of the thin bars than the network alone, in every seed.
    """
    before, after = (_scores(record, method, "bar") for method in ("network", "dense"))
    measured = f"IoU of the bars {points(before)} before, {points(after)} after"
    return Finding(measured, ahead(after, before))


@claim("crf", "crf/refine", section="When it fails: thin things")
def the_mean_hides_it(record: dict) -> Finding:
    """A mean over classes hides what was erased.

    Too smooth: the bars lose more than 20 points, and the mIoU is still above the network's, in
    every seed.
    """
    lost = [-gain for gain in _gain(record, "too_smooth", "bar")]
    mean = _gain(record, "too_smooth", "miou")
    measured = f"the bars lose {points(lost)} points, the mean gains {points(mean)}"
    return Finding(measured, (*(v > 0.2 for v in lost), *(v > 0 for v in mean)))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
