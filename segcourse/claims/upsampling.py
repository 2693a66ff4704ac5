"""The claims about upsampling (see book/results.ipynb)."""

from segcourse.claims.judging import Claim, Finding, ahead, claim, spread

STRIDED = ("kernel 3, stride 2", "kernel 4, stride 2", "kernel 2, stride 2")


def _grid(record: dict, layer: str, at: int) -> list[float]:
    """Strength of the grid on flat patches, in grey levels, one number a seed."""
    (row,) = (row for row in record["metrics"]["layers"] if row["layer"] == layer)
    return [run["steps"][at]["flat_grid_grey_levels"] for run in row["runs"]]


@claim(
    "upsampling",
    "upsampling/checkerboard",
    section="The experiment: does training remove the grid?",
)
def even_overlap_leaves_no_grid(record: dict) -> Finding:
    """A kernel that the stride divides paints no grid.

    After training, less than half a grey level on flat patches, for kernels 4 and 2 at stride
    2, in every seed.
    """
    trained = [_grid(record, layer, -1) for layer in STRIDED[1:]]
    told = (f"{layer}: {spread(v)}" for layer, v in zip(STRIDED[1:], trained, strict=True))
    return Finding(f"grey levels: {'; '.join(told)}", tuple(v < 0.5 for s in trained for v in s))


@claim(
    "upsampling",
    "upsampling/checkerboard",
    section="The experiment: does training remove the grid?",
)
def resizing_leaves_no_grid(record: dict) -> Finding:
    """A resize-convolution paints no grid.

    Less than half a grey level at any time, in every seed.
    """
    steps = range(len(record["config"]["steps"]))
    found = [value for at in steps for value in _grid(record, "resize-convolution", at)]
    measured = f"at most {max(found):.4f} grey levels at any time"
    return Finding(measured, tuple(value < 0.5 for value in found))


@claim(
    "upsampling",
    "upsampling/checkerboard",
    section="The experiment: does training remove the grid?",
)
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


@claim(
    "upsampling",
    "upsampling/checkerboard",
    section="The experiment: does training remove the grid?",
)
def an_even_start_lasts(record: dict) -> Finding:
    """A kernel that starts even stays even.

    Kernel 2 at stride 2 with equal taps: less than half a grey level after training, in every
    seed.
    """
    (layer,) = (
        row["layer"]
        for row in record["metrics"]["layers"]
        if row["layer"].startswith("kernel 2") and row["layer"] not in STRIDED
    )
    before, after = (_grid(record, layer, at) for at in (0, -1))
    measured = f"grey levels: {spread(before)} before, {spread(after)} after"
    return Finding(measured, tuple(value < 0.5 for value in after))


@claim(
    "upsampling",
    "upsampling/checkerboard",
    section="The experiment: does training remove the grid?",
)
def resizing_paints_as_well(record: dict) -> Finding:
    """A resize-convolution paints as well as a transposed convolution.

    A test error no larger than with kernels 3, 4 and 2 at stride 2, in every seed.
    """

    def error(layer: str) -> list[float]:
        (row,) = (row for row in record["metrics"]["layers"] if row["layer"] == layer)
        return [run["steps"][-1]["rmse_grey_levels"] for run in row["runs"]]

    found = {layer: error(layer) for layer in ("resize-convolution", *STRIDED)}
    resized = found["resize-convolution"]
    checks = [
        ours <= theirs
        for layer in STRIDED
        for ours, theirs in zip(resized, found[layer], strict=True)
    ]
    told = ", ".join(f"{layer.split(',')[0]} {spread(v)}" for layer, v in found.items())
    return Finding(f"grey levels: {told}", tuple(checks))


CLAIMS = tuple(found for found in globals().values() if isinstance(found, Claim))
