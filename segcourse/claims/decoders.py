"""The claims about decoding: upsampling, U-Net, DeconvNet (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, points, seeds, spread

STRIDED = ("kernel 3, stride 2", "kernel 4, stride 2", "kernel 2, stride 2")


def _grid(record: dict, layer: str, at: int) -> list[float]:
    """Strength of the grid on flat patches, in grey levels, one number a seed."""
    (row,) = (row for row in record["metrics"]["layers"] if row["layer"] == layer)
    return [run["steps"][at]["flat_grid_grey_levels"] for run in row["runs"]]


@claim("upsampling", "upsampling/checkerboard")
def even_overlap_leaves_no_grid(record: dict) -> Finding:
    """A kernel that the stride divides paints no grid.

    After training, less than half a grey level on flat patches, for kernels 4 and 2 at stride
    2, in every seed.
    """
    trained = [_grid(record, layer, -1) for layer in STRIDED[1:]]
    told = (f"{layer}: {spread(v)}" for layer, v in zip(STRIDED[1:], trained, strict=True))
    return Finding(f"grey levels: {'; '.join(told)}", tuple(v < 0.5 for s in trained for v in s))


@claim("upsampling", "upsampling/checkerboard")
def resizing_leaves_no_grid(record: dict) -> Finding:
    """A resize-convolution paints no grid.

    Less than half a grey level at any time, in every seed.
    """
    steps = range(len(record["config"]["steps"]))
    found = [value for at in steps for value in _grid(record, "resize-convolution", at)]
    measured = f"at most {max(found):.4f} grey levels at any time"
    return Finding(measured, tuple(value < 0.5 for value in found))


@claim("upsampling", "upsampling/checkerboard")
def training_removes_the_grid(record: dict) -> Finding:
    """Training removes the grid.

    Weaker after training than before, and less than half a grey level, for three layers, in
    every seed.
    """
    before, after = ([_grid(record, layer, at) for layer in STRIDED] for at in (0, -1))
    weaker = [ok for a, b in zip(after, before, strict=True) for ok in ahead(b, a)]
    gone = [value < 0.5 for values in after for value in values]
    told = (
        f"{layer}: {spread(b)} to {spread(a)}"
        for layer, b, a in zip(STRIDED, before, after, strict=True)
    )
    return Finding(f"grey levels: {'; '.join(told)}", (*weaker, *gone))


def _lost(record: dict, without: str, key: str) -> list[float]:
    networks = record["metrics"]["networks"]
    pairs = zip(
        seeds(networks["all"]["runs"], key), seeds(networks[without]["runs"], key), strict=True
    )
    return [whole - cut for whole, cut in pairs]


@claim("unet", "unet/skips")
def skips_carry_outlines(record: dict) -> Finding:
    """Skips carry outlines, the bottom of the U carries the rest.

    Without skips more than 10 points of IoU are lost within 1 px of an outline and less than 1
    point far from any, in every seed.
    """
    near, far = (_lost(record, "none", key) for key in ("near_1px_iou", "far_iou"))
    measured = f"lost within 1 px of an outline {points(near)} points, far from any {points(far)}"
    return Finding(measured, (*(v > 0.1 for v in near), *(abs(v) < 0.01 for v in far)))


@claim("unet", "unet/skips")
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


@claim("unet", "unet/touching_cells")
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


@claim("unet", "unet/touching_cells")
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


@claim("unet", "unet/overlap_tile_memory")
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


def _decoder(record: dict, name: str, key: str = "miou") -> list[float]:
    runs = record["metrics"]["trained"][name]["runs"]
    if key == "shapes":  # the six classes that are told by their shape
        return [sum(run["iou"][:6]) / 6 for run in runs]
    return seeds(runs, key)


@claim("deconvnet", "deconvnet/switches")
def true_switches_win(record: dict) -> Finding:
    """Switches bring place back.

    mIoU: true switches ahead of fixed corners, corners ahead of random places, in every seed.
    """
    true, fixed, random = (_decoder(record, name) for name in ("true", "fixed", "random"))
    measured = f"true {points(true)}, fixed corners {points(fixed)}, random {points(random)}"
    return Finding(measured, (*ahead(true, fixed), *ahead(fixed, random)))


@claim("deconvnet", "deconvnet/switches")
def switches_matter_near_borders(record: dict) -> Finding:
    """Switches help most near borders.

    Their lead over fixed corners is larger within 1 px of a border than over all pixels, in
    every seed.
    """

    def lead(key: str) -> list[float]:
        pairs = zip(_decoder(record, "true", key), _decoder(record, "fixed", key), strict=True)
        return [true - fixed for true, fixed in pairs]

    near, everywhere = lead("trimap_1px_miou"), lead("miou")
    measured = f"lead {points(near)} points within 1 px, {points(everywhere)} over all pixels"
    return Finding(measured, ahead(near, everywhere))


@claim("deconvnet", "deconvnet/switches")
def a_learned_decoder_wins(record: dict) -> Finding:
    """A learned decoder with switches beats bilinear enlargement.

    mIoU of all classes, and of the six that are told by their shape, in every seed.
    """
    checks, told = [], []
    for key, name in (("miou", "all classes"), ("shapes", "the six classes of shape")):
        learned, bilinear = (_decoder(record, n, key) for n in ("true", "no_decoder"))
        checks += ahead(learned, bilinear)
        told.append(f"{name}: learned {points(learned)}, bilinear {points(bilinear)}")
    return Finding("; ".join(told), tuple(checks))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
