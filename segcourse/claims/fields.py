"""The claims about fields of view: atrous convolution and ASPP (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, rising, seeds, spread

EQUAL = tuple((rate,) * 5 for rate in (1, 2, 3, 4))
MIXED = ((1, 1, 2, 3, 3), (1, 2, 3, 4, 5), (1, 2, 4, 5, 8))
SINGLE = tuple(f"rate_{rate}" for rate in (1, 2, 3, 4, 6, 9, 12))


def _stacks(record: dict) -> dict[tuple[int, ...], list[dict]]:
    return {tuple(row["rates"]): row["runs"] for row in record["metrics"]["stacks"]}


def _pair(runs: list[dict]) -> list[float]:
    return [sum(run["iou"][6:8]) / 2 for run in runs]


@claim("atrous", "atrous/rates")
def wider_rates_find_the_pair(record: dict) -> Finding:
    """A wider field of equal weights tells the context pair apart.

    IoU of pond and plaza rises with every step of the field, in every seed.
    """
    stacks = _stacks(record)
    found = [_pair(stacks[EQUAL[0]]), *(_pair(stacks[rates]) for rates in MIXED)]
    fields = {tuple(r["rates"]): r["field_px"] for r in record["metrics"]["stacks"]}
    names = (fields[rates] for rates in (EQUAL[0], *MIXED))
    told = (f"{points(v)} at {field} px" for field, v in zip(names, found, strict=True))
    return Finding(f"IoU of the pair: {', '.join(told)}", rising(found))


@claim("atrous", "atrous/rates")
def mixed_rates_cure_gridding(record: dict) -> Finding:
    """Mixed rates cure gridding.

    Less unrest of the scores than with equal rates of the same field, for three fields, in
    every seed.
    """
    stacks = _stacks(record)
    checks, told = [], []
    for mixed, equal in zip(MIXED, EQUAL[1:], strict=True):
        calm, restless = (seeds(stacks[rates], "unrest") for rates in (mixed, equal))
        checks += ahead(restless, calm)
        told.append(f"{spread(calm, 2)} against {spread(restless, 2)}")
    return Finding(f"unrest, mixed against equal rates: {'; '.join(told)}", tuple(checks))


def _strides(record: dict, name: str, key: str = "miou") -> list[float]:
    return seeds(record["metrics"]["networks"][name], key)


@claim("atrous", "atrous/output_stride_scenes")
def holes_give_a_finer_map_for_free(record: dict) -> Finding:
    """Strides exchanged for holes give a finer and better map without training.

    Higher mIoU at stride 8 than at 32 with the same weights, in every seed.
    """
    strided, dense = _strides(record, "trained_32"), _strides(record, "same_weights_8")
    measured = f"stride 32 {points(strided)}, the same weights at stride 8 {points(dense)}"
    return Finding(measured, ahead(dense, strided))


@claim("atrous", "atrous/output_stride_scenes")
def strides_need_their_holes(record: dict) -> Finding:
    """A stride that is taken out must be replaced by a hole.

    Higher mIoU with holes than without, the same weights, in every seed.
    """
    holes, none = _strides(record, "same_weights_8"), _strides(record, "no_holes_8")
    measured = f"at stride 8 with holes {points(holes)}, without {points(none)}"
    return Finding(measured, ahead(holes, none))


@claim("atrous", "atrous/output_stride_scenes")
def a_finer_grid_pays(record: dict) -> Finding:
    """Training on a finer grid pays.

    mIoU rises from stride 32 to 16 to 8, in every seed.
    """
    found = [_strides(record, f"trained_{stride}") for stride in (32, 16, 8)]
    told = (f"{points(v)} at stride {s}" for s, v in zip((32, 16, 8), found, strict=True))
    return Finding(f"trained there: {', '.join(told)}", rising(found))


@claim("atrous", "atrous/output_stride_scenes")
def context_pays(record: dict) -> Finding:
    """The context module pays.

    Higher mIoU than the front end trained for as long without it, in every seed.
    """
    plain, context = _strides(record, "trained_8_longer"), _strides(record, "context")
    measured = f"with the module {points(context)}, as long without it {points(plain)}"
    return Finding(measured, ahead(context, plain))


def _heads(record: dict, more: dict) -> dict[str, list[float]]:
    rows = record["metrics"]["heads"] | more["metrics"]["heads"]
    return {name: seeds(row["runs"], "miou") for name, row in rows.items()}


@claim("aspp", "aspp/branches", "aspp/branches_more")
def a_pyramid_beats_its_branches(record: dict, more: dict) -> Finding:
    """Several rates side by side beat the best single one.

    mIoU of ASPP-S above the best single rate of equal width, in every seed.
    """
    miou = _heads(record, more)
    best = max(SINGLE, key=lambda name: sum(miou[name]))
    rate = best.removeprefix("rate_")
    measured = f"ASPP-S {points(miou['aspp_s'])}, best single rate ({rate}) {points(miou[best])}"
    return Finding(measured, ahead(miou["aspp_s"], miou[best]))


@claim("aspp", "aspp/branches", "aspp/branches_more")
def wide_pyramids_are_better(record: dict, more: dict) -> Finding:
    """The wider pyramid is the better one.

    mIoU of ASPP-L above ASPP-S, in every seed, as in the paper.
    """
    miou = _heads(record, more)
    measured = f"ASPP-L {points(miou['aspp_l'])}, ASPP-S {points(miou['aspp_s'])}"
    return Finding(measured, ahead(miou["aspp_l"], miou["aspp_s"]))


@claim("aspp", "aspp/branches", "aspp/branches_more")
def a_wide_pyramid_beats_one_wide_rate(record: dict, more: dict) -> Finding:
    """A wide pyramid beats one wide rate.

    mIoU of ASPP-L above LargeFOV, in every seed, as in the paper.
    """
    miou = _heads(record, more)
    measured = f"ASPP-L {points(miou['aspp_l'])}, LargeFOV {points(miou['rate_6'])}"
    return Finding(measured, ahead(miou["aspp_l"], miou["rate_6"]))


@claim("aspp", "aspp/branches", "aspp/branches_more")
def fields_and_not_weights(record: dict, more: dict) -> Finding:
    """What helps are the fields of view, not the weights.

    mIoU of ASPP-S above a single rate with as many weights, in every seed.
    """
    miou = _heads(record, more)
    measured = f"ASPP-S {points(miou['aspp_s'])}, one rate as heavy {points(miou['rate_3_wide'])}"
    return Finding(measured, ahead(miou["aspp_s"], miou["rate_3_wide"]))


@claim("aspp", "aspp/branches", "aspp/branches_more")
def version_three_is_better(record: dict, more: dict) -> Finding:
    """The head of version 3 is better than those of version 2.

    mIoU above ASPP-S and above ASPP-L, in every seed.
    """
    miou = _heads(record, more)
    told = f"v3 {points(miou['v3'])}, S {points(miou['aspp_s'])}, L {points(miou['aspp_l'])}"
    return Finding(told, (*ahead(miou["v3"], miou["aspp_s"]), *ahead(miou["v3"], miou["aspp_l"])))


@claim("aspp", "aspp/recipe")
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


@claim("aspp", "aspp/recipe")
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


@claim("aspp", "aspp/recipe")
def several_views_help(record: dict) -> Finding:
    """Averaging several views at test time helps.

    Three sizes, each also mirrored: higher mIoU, in every seed.
    """
    one = _ways(record, "at 8, as trained", "miou")
    many = _ways(record, "at 8, three sizes, mirrored", "miou")
    return Finding(f"one view {points(one)}, six views {points(many)}", ahead(many, one))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
