"""U-Net's border weights once more, on the membranes of ISBI-EM (see book/results.ipynb).

Val is six slices, and no label of the challenge's own test slices is public: what is said here is
of val, whose slices are neighbours of training's in one block of tissue.
"""

from collections.abc import Mapping, Sequence

from segcourse.claims.judging import Finding, ahead, points, spread

ENTRIES = {"light": ("unet-isbi-light", "unet-isbi-light-no-border")}
ENTRIES["full"] = ("unet-isbi", "unet-isbi-no-border")
"""With border weights, and without: of the small list and of the long one."""


def judge_border(runs: Mapping[str, Sequence[dict]], size: str = "light") -> Finding | None:
    """Border weights part cells: fewer merged cells and a lower Rand error, seed by seed.

    Args:
        runs: from an entry's name to its records, as `segcourse.scoreboard.by_entry` gives them.
        size: a key of ENTRIES.

    Returns:
        The finding over the seeds that both entries have; None where they share none.
    """
    found = [{run["seed"]: _objects(run) for run in runs.get(name, ())} for name in ENTRIES[size]]
    shared = sorted(found[0].keys() & found[1].keys())
    if not shared:
        return None
    checks, told = [], []
    for key, name, say in (
        ("merged", "merged cells", whole),
        ("adapted_rand_error", "adapted Rand error", points),
    ):
        border, plain = ([of[seed][key] for seed in shared] for of in found)
        checks += ahead(plain, border)
        told.append(f"{name} {say(border)} with border weights, {say(plain)} without")
    return Finding("; ".join(told), tuple(checks))


def whole(values: Sequence[float]) -> str:
    """Counts with their spread."""
    return spread(values, 0)


def _objects(run: dict) -> dict:
    return run["metrics"]["val"]["objects"]
