"""The claims about atrous convolution (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, rising, seeds, spread

EQUAL = tuple((rate,) * 5 for rate in (1, 2, 3, 4))
MIXED = ((1, 1, 2, 3, 3), (1, 2, 3, 4, 5), (1, 2, 4, 5, 8))


def _stacks(record: dict) -> dict[tuple[int, ...], list[dict]]:
    return {tuple(row["rates"]): row["runs"] for row in record["metrics"]["stacks"]}


def _pair(runs: list[dict]) -> list[float]:
    return [sum(run["iou"][6:8]) / 2 for run in runs]


@claim("atrous", "atrous/rates", section="On whole scenes")
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


@claim("atrous", "atrous/rates", section="In a trained network")
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


@claim(
    "atrous",
    "atrous/output_stride_scenes",
    section="The same weights on the scenes, and context behind them",
)
def holes_give_a_finer_map_for_free(record: dict) -> Finding:
    """Strides exchanged for holes give a finer and better map without training.

    Higher mIoU at stride 8 than at 32 with the same weights, in every seed.
    """
    strided, dense = _strides(record, "trained_32"), _strides(record, "same_weights_8")
    measured = f"stride 32 {points(strided)}, the same weights at stride 8 {points(dense)}"
    return Finding(measured, ahead(dense, strided))


@claim("atrous", "atrous/output_stride_scenes", section="When it fails: strides out, no holes in")
def strides_need_their_holes(record: dict) -> Finding:
    """A stride that is taken out must be replaced by a hole.

    Higher mIoU with holes than without, the same weights, in every seed.
    """
    holes, none = _strides(record, "same_weights_8"), _strides(record, "no_holes_8")
    measured = f"at stride 8 with holes {points(holes)}, without {points(none)}"
    return Finding(measured, ahead(holes, none))


@claim(
    "atrous",
    "atrous/output_stride_scenes",
    section="The same weights on the scenes, and context behind them",
)
def a_finer_grid_pays(record: dict) -> Finding:
    """Training on a finer grid pays.

    mIoU rises from stride 32 to 16 to 8, in every seed.
    """
    found = [_strides(record, f"trained_{stride}") for stride in (32, 16, 8)]
    told = (f"{points(v)} at stride {s}" for s, v in zip((32, 16, 8), found, strict=True))
    return Finding(f"trained there: {', '.join(told)}", rising(found))


@claim(
    "atrous",
    "atrous/output_stride_scenes",
    section="The same weights on the scenes, and context behind them",
)
def context_pays(record: dict) -> Finding:
    """The context module pays.

    Higher mIoU than the front end trained for as long without it, in every seed.
    """
    plain, context = _strides(record, "trained_8_longer"), _strides(record, "context")
    measured = f"with the module {points(context)}, as long without it {points(plain)}"
    return Finding(measured, ahead(context, plain))


@claim("atrous", "atrous/longer", section="On whole scenes")
def wider_is_better_in_the_end(record: dict) -> Finding:
    """With time to learn, a wider field is the better one.

    Mixed rates, three times the steps: IoU of pond and plaza rises with every step of the field,
    in every seed.
    """
    rows = sorted(record["metrics"]["stacks"], key=lambda row: row["field_px"])
    found = [_pair(row["runs"]) for row in rows]
    told = (f"{points(v)} at {row['field_px']} px" for row, v in zip(rows, found, strict=True))
    return Finding(f"IoU of the pair: {', '.join(told)}", rising(found))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
