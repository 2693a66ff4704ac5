"""The claims about U-Net (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, seeds, spread


def _lost(record: dict, without: str, key: str) -> list[float]:
    networks = record["metrics"]["networks"]
    pairs = zip(
        seeds(networks["all"]["runs"], key), seeds(networks[without]["runs"], key), strict=True
    )
    return [whole - cut for whole, cut in pairs]


@claim("unet", "unet/skips", section="The experiment: skips removed one at a time")
def skips_carry_outlines(record: dict) -> Finding:
    """Skips carry outlines, the bottom of the U carries the rest.

    Without skips more than 10 points of IoU are lost within 1 px of an outline and less than 1
    point far from any, in every seed.
    """
    near, far = (_lost(record, "none", key) for key in ("near_1px_iou", "far_iou"))
    measured = f"lost within 1 px of an outline {points(near)} points, far from any {points(far)}"
    return Finding(measured, (*(v > 0.1 for v in near), *(abs(v) < 0.01 for v in far)))


@claim("unet", "unet/skips", section="The experiment: skips removed one at a time")
def the_finest_skip_matters_most(record: dict) -> Finding:
    """The finest skip is missed most.

    Without it more is lost near outlines than without any other, in every seed.
    """
    levels = [_lost(record, f"without_{level}", "near_1px_iou") for level in range(3)]
    told = (f"without level {level} {points(lost)}" for level, lost in enumerate(levels))
    checks = tuple(finest > max(others) for finest, *others in zip(*levels, strict=True))
    return Finding(f"points lost within 1 px: {', '.join(told)}", checks)


def _cells(record: dict, variant: str, key: str) -> list[float]:
    return seeds(record["metrics"]["variants"][variant]["runs"], key)


@claim("unet", "unet/touching_cells", section="One pixel between two cells: the border weight map")
def border_weights_part_cells(record: dict) -> Finding:
    """Border weights part cells that touch.

    Fewer merged cells than with balanced classes, and than with a heavy background, in every
    seed.
    """
    names = {"balanced": "balanced", "heavy_background": "heavy background", "border": "border"}
    found = {name: _cells(record, name, "merged") for name in names}
    told = (f"{said} {spread(found[name])}" for name, said in names.items())
    checks = (ahead(found[other], found["border"]) for other in ("balanced", "heavy_background"))
    return Finding(f"merged cells of 30, {', '.join(told)}", tuple(ok for c in checks for ok in c))


@claim("unet", "unet/touching_cells", section="One pixel between two cells: the border weight map")
def bending_stretches_one_image(record: dict) -> Finding:
    """Bent copies make one image teach more.

    A lower Rand error and a higher IoU of cells than without bending, in every seed.
    """
    plain, bent = "one_image", "one_image_bent_4px"
    rand = [_cells(record, name, "adapted_rand_error") for name in (plain, bent)]
    iou = [_cells(record, name, "cell_iou") for name in (plain, bent)]
    measured = (
        f"Rand error {points(rand[0])} plain, {points(rand[1])} bent; "
        f"IoU {points(iou[0])} plain, {points(iou[1])} bent"
    )
    return Finding(measured, (*ahead(rand[0], rand[1]), *ahead(iou[1], iou[0])))


@claim("unet", "unet/overlap_tile_memory", section="Memory that does not grow")
def tiles_need_no_more_memory(record: dict) -> Finding:
    """Tiles label an image of any size in constant memory.

    At twice the side no more than 5 % more memory, and the labels of the whole image.
    """
    rows = record["metrics"]["rows"]
    tiles = sorted((r for r in rows if r["way"] == "tiles"), key=lambda r: r["side_px"])
    small, large = ((r["peak_mib"] - r["before_mib"]) for r in tiles[-2:])
    same = [row["agrees_with_whole"] == 1 for row in tiles if "agrees_with_whole" in row]
    sides = " and ".join(str(row["side_px"]) for row in tiles[-2:])
    measured = f"{small:.0f} and {large:.0f} MiB at {sides} px a side; equal to the whole image"
    return Finding(measured, (large < 1.05 * small, *same))


@claim("unet", "unet/skips", section="The experiment: skips removed one at a time")
def skips_stand_in_for_each_other(record: dict) -> Finding:
    """Skips stand in for each other.

    The losses near outlines without each one of the three add up to less than half of the loss
    without any, in every seed.
    """
    single = [_lost(record, f"without_{level}", "near_1px_iou") for level in range(3)]
    total, without = (
        [sum(lost) for lost in zip(*single, strict=True)],
        _lost(record, "none", "near_1px_iou"),
    )
    measured = f"one at a time {points(total)} points in sum, all at once {points(without)}"
    return Finding(measured, ahead([none / 2 for none in without], total))


@claim("unet", "unet/skips", section="What low-level features cannot decide alone")
def no_level_decides_alone(record: dict) -> Finding:
    """No level of features decides alone.

    Near outlines each level by itself has less than half of the IoU of all together, in every
    seed.
    """
    together = seeds(record["metrics"]["networks"]["all"]["runs"], "near_1px_iou")
    alone = [seeds(runs, "near_1px_iou") for runs in record["metrics"]["levels_alone"].values()]
    best = [max(found) for found in zip(*alone, strict=True)]
    measured = f"within 1 px: all together {points(together)}, the best level {points(best)}"
    checks = [ok for found in alone for ok in ahead([t / 2 for t in together], found)]
    return Finding(measured, tuple(checks))


@claim(
    "unet",
    "unet/touching_cells",
    section="One pixel between two cells: the border weight map",
)
def pixels_prefer_merged_cells(record: dict) -> Finding:
    """A metric of pixels prefers the network that merges cells.

    Border weights lower the IoU of cells and the Rand error, against balanced classes, in every
    seed.
    """
    iou, rand = (
        [_cells(record, name, key) for name in ("balanced", "border")]
        for key in ("cell_iou", "adapted_rand_error")
    )
    measured = (
        f"IoU {points(iou[0])} balanced, {points(iou[1])} border; "
        f"Rand error {points(rand[0])} balanced, {points(rand[1])} border"
    )
    return Finding(measured, (*ahead(iou[0], iou[1]), *ahead(rand[0], rand[1])))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
