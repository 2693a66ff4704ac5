"""The claims of the chapters once more, on photographs of streets (see book/results.ipynb).

Here a claim is a pair of networks of one list: the one that should be ahead on test, and the other.
The same pairs are asked of the small list, of the light networks at full size, and of VGG16.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segcourse.claims.judging import Finding, ahead, points

FAMILIES = {"light": ("-light", ""), "vgg16": ("-vgg16", "", "-resnet50")}
"""The endings that an entry may have in a family of networks, the first that is there counts."""


@dataclass(frozen=True)
class Pair:
    """A claim about two entries, by the names that they have without an ending."""

    text: str
    chapter: str
    better: str
    worse: str


PAIRS = tuple(
    Pair(text, chapter, better, worse)
    for chapter, better, worse, text in (
        ("sliding_window", "patch", "full-resolution", "Windows beat padded convolutions"),
        ("fcn", "fcn16s", "fcn32s", "The first skip pays: FCN-16s over 32s"),
        ("fcn", "fcn8s", "fcn16s", "The second skip pays: FCN-8s over 16s"),
        ("unet", "unet", "fcn8s", "Joined maps beat added scores: U-Net over FCN-8s"),
        ("deconvnet", "deconvnet", "fcn8s", "A learned decoder pays: DeconvNet over FCN-8s"),
        ("deconvnet", "segnet", "deconvnet", "A light decoder is enough: SegNet over DeconvNet"),
        ("atrous", "largefov", "fcn8s", "Holes beat skips: LargeFOV over FCN-8s"),
        ("atrous", "dilated-context", "dilated", "The context module pays (with twice the steps)"),
        ("aspp", "aspp-s", "largefov", "Several rates beat one: ASPP-S over LargeFOV"),
        ("aspp", "aspp-l", "aspp-s", "The wider pyramid is better: ASPP-L over ASPP-S"),
        ("aspp", "deeplab-v3", "aspp-l", "The later version is better: v3 over ASPP-L"),
    )
)


def entry_of(stem: str, family: str, runs: Mapping[str, Sequence[dict]]) -> str | None:
    """The entry that a name stands for in a family, None where it has no record."""
    return next((stem + end for end in FAMILIES[family] if runs.get(stem + end)), None)


def judge_pair(pair: Pair, family: str, runs: Mapping[str, Sequence[dict]]) -> Finding | None:
    """Compare the test mIoU of two entries, seed by seed.

    Args:
        pair: which is said to be ahead of which.
        family: a key of FAMILIES.
        runs: from an entry's name to its records, as `segcourse.scoreboard.by_entry` gives them.

    Returns:
        The finding over the seeds that both have; None where they share none.
    """
    names = [entry_of(stem, family, runs) for stem in (pair.better, pair.worse)]
    if None in names:
        return None
    better, worse = ({r["seed"]: r["metrics"]["test"]["miou"] for r in runs[n]} for n in names)
    shared = sorted(better.keys() & worse.keys())
    if not shared:
        return None
    first, second = ([found[seed] for seed in shared] for found in (better, worse))
    return Finding(f"{points(first)} against {points(second)}", ahead(first, second))


def judge_crf(runs: Mapping[str, Sequence[dict]], *within: str) -> Finding | None:
    """Does the CRF at test time raise the test mIoU: one check for each record that has both.

    Args:
        runs: records by entry.
        within: where the mIoU stands in the scores of a split; "trimap": that near borders.
    """

    def miou(scores: dict) -> float:
        for key in within:
            scores = scores[key]
        return scores["miou"]

    gains = [
        miou(run["metrics"]["crf"]["test"]) - miou(run["metrics"]["test"])
        for found in runs.values()
        for run in found
        if (run["metrics"].get("crf") or {}).get("test") and run["metrics"].get("test")
    ]
    if not gains:
        return None
    return Finding(f"gains {points(gains)} points over all runs", tuple(gain > 0 for gain in gains))
