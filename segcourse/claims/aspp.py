"""The claims about several fields of view (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, seeds

EXPERIMENT = "The experiment: which branch carries what"
SINGLE = tuple(f"rate_{rate}" for rate in (1, 2, 3, 4, 6, 9, 12))


def _heads(record: dict, more: dict) -> dict[str, list[float]]:
    rows = record["metrics"]["heads"] | more["metrics"]["heads"]
    return {name: seeds(row["runs"], "miou") for name, row in rows.items()}


@claim(
    "aspp",
    "aspp/branches",
    "aspp/branches_more",
    section=EXPERIMENT,
)
def a_pyramid_beats_its_branches(record: dict, more: dict) -> Finding:
    """Several rates side by side beat the best single one.

    mIoU of ASPP-S above the best single rate of equal width, in every seed.
    """
    miou = _heads(record, more)
    best = max(SINGLE, key=lambda name: sum(miou[name]))
    rate = best.removeprefix("rate_")
    measured = f"ASPP-S {points(miou['aspp_s'])}, best single rate ({rate}) {points(miou[best])}"
    return Finding(measured, ahead(miou["aspp_s"], miou[best]))


@claim(
    "aspp",
    "aspp/branches",
    "aspp/branches_more",
    section=EXPERIMENT,
)
def wide_pyramids_are_better(record: dict, more: dict) -> Finding:
    """The wider pyramid is the better one.

    mIoU of ASPP-L above ASPP-S, in every seed, as in the paper.
    """
    miou = _heads(record, more)
    measured = f"ASPP-L {points(miou['aspp_l'])}, ASPP-S {points(miou['aspp_s'])}"
    return Finding(measured, ahead(miou["aspp_l"], miou["aspp_s"]))


@claim(
    "aspp",
    "aspp/branches",
    "aspp/branches_more",
    section=EXPERIMENT,
)
def a_wide_pyramid_beats_one_wide_rate(record: dict, more: dict) -> Finding:
    """A wide pyramid beats one wide rate.

    mIoU of ASPP-L above LargeFOV, in every seed, as in the paper.
    """
    miou = _heads(record, more)
    measured = f"ASPP-L {points(miou['aspp_l'])}, LargeFOV {points(miou['rate_6'])}"
    return Finding(measured, ahead(miou["aspp_l"], miou["rate_6"]))


@claim(
    "aspp",
    "aspp/branches",
    "aspp/branches_more",
    section=EXPERIMENT,
)
def fields_and_not_weights(record: dict, more: dict) -> Finding:
    """What helps are the fields of view, not the weights.

    mIoU of ASPP-S above a single rate with as many weights, in every seed.
    """
    miou = _heads(record, more)
    measured = f"ASPP-S {points(miou['aspp_s'])}, one rate as heavy {points(miou['rate_3_wide'])}"
    return Finding(measured, ahead(miou["aspp_s"], miou["rate_3_wide"]))


@claim(
    "aspp",
    "aspp/branches",
    "aspp/branches_more",
    section=EXPERIMENT,
)
def version_three_is_better(record: dict, more: dict) -> Finding:
    """The head of version 3 is better than those of version 2.

    mIoU above ASPP-S and above ASPP-L, in every seed.
    """
    miou = _heads(record, more)
    told = f"v3 {points(miou['v3'])}, S {points(miou['aspp_s'])}, L {points(miou['aspp_l'])}"
    return Finding(told, (*ahead(miou["v3"], miou["aspp_s"]), *ahead(miou["v3"], miou["aspp_l"])))


@claim("aspp", "aspp/recipe", section="The poly schedule")
def poly_beats_step(record: dict) -> Finding:
    """The poly schedule beats steps.

    Higher mIoU at both first rates, in every seed.
    """
    checks, told = [], []
    for rate, runs in record["metrics"]["schedules"].items():
        poly, step = (seeds(runs[name], "miou") for name in ("poly", "step"))
        checks += ahead(poly, step)
        told.append(f"from {rate}: poly {points(poly)}, step {points(step)}")
    return Finding("; ".join(told), tuple(checks))


def _ways(record: dict, name: str, key: str) -> list[float]:
    return seeds(record["metrics"]["ways"][name], key)


@claim("aspp", "aspp/recipe", section="Trained at 16, used at 8")
def finer_in_use_than_in_training(record: dict) -> Finding:
    """A network may be used at a finer output stride than it was trained at, and gains.

    With every rate doubled: higher mIoU, and higher within 3 px of a border, in every seed.
    """
    checks, told = [], []
    for key, name in (("miou", "mIoU"), ("trimap_3px_miou", "within 3 px of a border")):
        trained = _ways(record, "at 8, as trained", key)
        finer = _ways(record, "at 4, every rate doubled", key)
        checks += ahead(finer, trained)
        told.append(f"{name}: {points(trained)} as trained, {points(finer)} finer")
    return Finding("; ".join(told), tuple(checks))


@claim("aspp", "aspp/recipe", section="Trained at 16, used at 8")
def several_views_help(record: dict) -> Finding:
    """Averaging several views at test time helps.

    Three sizes, each also mirrored: higher mIoU, in every seed.
    """
    one = _ways(record, "at 8, as trained", "miou")
    many = _ways(record, "at 8, three sizes, mirrored", "miou")
    return Finding(f"one view {points(one)}, six views {points(many)}", ahead(many, one))


@claim("aspp", "aspp/branches", "aspp/branches_more", section=EXPERIMENT)
def a_rate_is_a_place(record: dict, more: dict) -> Finding:
    """A rate is a place, not everything up to it.

    Pond and plaza: told apart (above 90 %) by rates whose taps reach the markers (3, 4, 6), a
    coin toss (below 60 %) for those that stop short (1) or jump over them (9, 12), in every seed.
    """
    rows = record["metrics"]["heads"] | more["metrics"]["heads"]
    told = {r: seeds(rows[f"rate_{r}"]["runs"], "pair_told_apart") for r in (1, 3, 4, 6, 9, 12)}
    checks = [v > 0.9 for r in (3, 4, 6) for v in told[r]]
    checks += [v < 0.6 for r in (1, 9, 12) for v in told[r]]
    said = ", ".join(f"rate {r}: {points(found, 0)}" for r, found in told.items())
    return Finding(f"% told apart: {said}", tuple(checks))


def _size(record: dict, more: dict, name: str, size: int) -> list[float]:
    rows = record["metrics"]["heads"] | more["metrics"]["heads"]
    return [run["iou_by_size"][size] for run in rows[name]["runs"]]


@claim("aspp", "aspp/branches", "aspp/branches_more", section=EXPERIMENT)
def wide_rates_find_large_objects(record: dict, more: dict) -> Finding:
    """Wide rates are for large objects.

    IoU of objects from 48 px: rates 6, 9 and 12 ahead of rate 3, in every seed.
    """
    found = {rate: _size(record, more, f"rate_{rate}", 3) for rate in (3, 6, 9, 12)}
    told = ", ".join(f"rate {rate} {points(values)}" for rate, values in found.items())
    return Finding(told, tuple(ok for r in (6, 9, 12) for ok in ahead(found[r], found[3])))


@claim("aspp", "aspp/branches", "aspp/branches_more", section=EXPERIMENT)
def a_sum_serves_all_sizes(record: dict, more: dict) -> Finding:
    """A sum of branches serves small and large objects at once.

    IoU of ASPP-S above its branch of rate 4 at each of four sizes, in every seed.
    """
    pairs = [[_size(record, more, n, size) for n in ("aspp_s", "rate_4")] for size in range(4)]
    told = "; ".join(f"{points(s)} against {points(one)}" for s, one in pairs)
    return Finding(f"from small to large: {told}", tuple(ok for p in pairs for ok in ahead(*p)))


@claim("aspp", "aspp/branches", "aspp/branches_more", section=EXPERIMENT)
def several_rates_help_small_objects(record: dict, more: dict) -> Finding:
    """For equal weights, several rates help the small objects.

    IoU of objects below 24 px: ASPP-S above a single rate with as many weights, in every seed.
    """
    pairs = [[_size(record, more, n, s) for n in ("aspp_s", "rate_3_wide")] for s in range(2)]
    told = "; ".join(f"{points(a)} against {points(b)}" for a, b in pairs)
    return Finding(
        f"below 12 px and below 24: {told}", tuple(ok for p in pairs for ok in ahead(*p))
    )


@claim("aspp", "aspp/recipe", section="The poly schedule")
def lowering_the_rate_pays(record: dict) -> Finding:
    """A learning rate that falls beats one that stays.

    mIoU of poly above a constant rate, at both first rates, in every seed.
    """
    checks, told = [], []
    for rate, runs in record["metrics"]["schedules"].items():
        poly, constant = (seeds(runs[name], "miou") for name in ("poly", "constant"))
        checks += ahead(poly, constant)
        told.append(f"from {rate}: poly {points(poly)}, constant {points(constant)}")
    return Finding("; ".join(told), tuple(checks))


@claim("aspp", "aspp/recipe", section="Trained at 16, used at 8")
def the_two_mistakes_cost(record: dict) -> Finding:
    """A finer stride needs every rate doubled, and the grid where it was.

    Rates as they were, or a grid that the resize moves: lower mIoU than as trained, in every seed.
    """
    trained = _ways(record, "at 8, as trained", "miou")
    names = {"at 4, rates as at 8": "rates kept", "at 4, moved by the resize": "moved"}
    found = {name: _ways(record, name, "miou") for name in names}
    told = ", ".join(f"{said} {points(found[name])}" for name, said in names.items())
    checks = [ok for values in found.values() for ok in ahead(trained, values)]
    return Finding(f"as trained {points(trained)}, {told}", tuple(checks))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
