"""Flags of the dense CRF, in pixels and colour units, and scores of a network refined by it."""

import argparse
from dataclasses import dataclass, fields

from torch import Tensor
from torch.nn import functional as F

from segcourse.dense_crf import DenseCRF
from segcourse.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """What a dense CRF is set to; the defaults are those of the usual C++ package's example."""

    appearance_weight: float = 10.0
    sxy: float = 80.0
    srgb: float = 13.0
    smoothness_weight: float = 3.0
    sxy_smooth: float = 3.0
    iterations: int = 5


HELP = {
    "appearance_weight": "how much near pixels of like colour pull each other to one label",
    "sxy": "how near, in pixels (sigma)",
    "srgb": "how alike, in colour units of 0..255 (sigma)",
    "smoothness_weight": "how much near pixels of any colour do",
    "sxy_smooth": "how near those, in pixels (sigma)",
    "iterations": "rounds of mean field",
}


def add_crf_flags(parser: argparse.ArgumentParser, title: str = "CRF") -> None:
    """Add one flag for each field of Settings."""
    group = parser.add_argument_group(title)
    for f in fields(Settings):
        group.add_argument(
            as_flag(f.name), type=f.type, default=f.default, metavar="X", help=HELP[f.name]
        )


def as_flag(name: str) -> str:
    """The flag of a field: sxy_smooth is --sxy-smooth."""
    return "--" + name.replace("_", "-")


def settings_from(args: argparse.Namespace) -> Settings:
    """Read the flags back.

    Raises:
        UsageError: a sigma is not positive, a weight is negative or infinite, or there is no
            iteration.
    """
    settings = Settings(**{f.name: getattr(args, f.name) for f in fields(Settings)})
    for name in ("sxy", "srgb", "sxy_smooth"):
        value = getattr(settings, name)
        if not 0 < value < float("inf"):
            raise UsageError(
                f"{as_flag(name)} is {value}: a sigma is above 0; to switch a kernel off, give "
                "its weight as 0"
            )
    for name in ("appearance_weight", "smoothness_weight"):
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise UsageError(f"{as_flag(name)} is {value}: give 0 or more")
    if settings.iterations < 1:
        raise UsageError(f"--iterations is {settings.iterations}: give 1 or more")
    return settings


def settings_if_asked(args: argparse.Namespace) -> Settings | None:
    """The settings where --crf was given, None where it was not.

    Raises:
        UsageError: as `settings_from`; or a flag of the CRF was changed without --crf.
    """
    settings = settings_from(args)
    if args.crf:
        return settings
    changed = [f.name for f in fields(Settings) if getattr(settings, f.name) != f.default]
    if changed:
        raise UsageError(
            f"{as_flag(changed[0])} belongs to the CRF, which is off: give --crf too, or leave "
            "it out"
        )
    return None


def words(settings: Settings) -> str:
    """The settings as flags, to be pasted."""
    return " ".join(f"{as_flag(f.name)} {getattr(settings, f.name):.4g}" for f in fields(Settings))


def build_crf(settings: Settings, num_labels: int) -> DenseCRF:
    """The layer with these settings.

    Raises:
        UsageError: there is one label only.
    """
    if num_labels < 2:
        raise UsageError(f"{num_labels} label: a CRF chooses between two or more")
    values = {f.name: getattr(settings, f.name) for f in fields(Settings)}
    return DenseCRF(num_labels, **values).requires_grad_(False)


def refine(logits: Tensor, image: Tensor, settings: Settings) -> Tensor:
    """Label one image by its network's scores and its colours.

    Args:
        logits: (K, h, w); enlarged to the image first, for the CRF works at the image's size.
        image: (3, H, W) uint8.
        settings: of the CRF.

    Returns:
        (H, W) int64, where the logits are.
    """
    size = image.shape[1:]
    scores = logits[None].float()
    if scores.shape[2:] != size:
        scores = F.interpolate(scores, size, mode="bilinear")
    crf = build_crf(settings, scores.shape[1]).to(scores.device)
    return crf(scores, image[None].to(scores.device)).argmax(1)[0]
