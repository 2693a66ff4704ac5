"""Small trained weights that come with the course, each with a card that says what they are.

    weights/NAME/model.safetensors   fp16, at most 8 MB
                 record.json         network, classes, data, recipe, and what was measured from it
                 card.md             the same for a person

In a clone they lie beside the package; in an installed package, inside it. What they are worth
stands beside the long runs, in book/results.ipynb.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import segcourse
from segcourse import weights
from segcourse.data.augment import normalise
from segcourse.data.base import resize_image
from segcourse.deconvnet import deconvnet_light
from segcourse.deeplab_networks import (
    aspp_l_light,
    aspp_s_light,
    deeplab_v3_light,
    largefov_light,
)
from segcourse.dilated_networks import dilated_context_light, dilated_light
from segcourse.errors import DataError, UsageError
from segcourse.fcn_networks import fcn_light
from segcourse.full_resolution import FullResolutionNet
from segcourse.labels import Classes
from segcourse.residual_unet import residual_unet
from segcourse.segnet import segnet_light
from segcourse.unet import unet_light

FORMAT = "segcourse weights 1"
MODEL, RECORD, CARD = "model.safetensors", "record.json", "card.md"

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "full-resolution": FullResolutionNet,
    "fcn32s-light": fcn_light,
    "fcn16s-light": lambda num_classes: fcn_light(num_classes, (16,)),
    "fcn8s-light": lambda num_classes: fcn_light(num_classes, (16, 8)),
    "unet-light": unet_light,
    "unet-aspp-light": lambda num_classes: residual_unet(num_classes, 16),
    "deconvnet-light": deconvnet_light,
    "segnet-light": segnet_light,
    "dilated-light": dilated_light,
    "dilated-context-light": dilated_context_light,
    "largefov-light": largefov_light,
    "aspp-s-light": aspp_s_light,
    "aspp-l-light": aspp_l_light,
    "deeplab-v3-light": deeplab_v3_light,
}
"""The networks that are small enough, by the names that `--model` has for them: from the number of
classes K to a module with random weights."""


@dataclass(frozen=True)
class Pretrained:
    """A trained network, ready to label images.

    name: of the weights. model: (N, 3, H, W), normalised, to logits (N, K, H, W), in evaluation
    mode. classes: names and colours of the K classes. size: (H, W) in pixels of the images that it
    was trained on. record: all that record.json holds. weights: the file.
    """

    name: str
    model: nn.Module
    classes: Classes
    size: tuple[int, int]
    record: dict
    weights: Path

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def label(self, image: Tensor) -> Tensor:
        """Label one image, as `segcourse predict` does.

        The network sees it scaled, in its own shape, to as many pixels as its training images had;
        the scores are enlarged again.

        Args:
            image: (3, H, W) uint8. Some networks need 32 px a side of what they see, so a picture
                many times as long as it is high is too narrow for them.

        Returns:
            (H, W) int64 in 0..K-1, on the CPU.

        Raises:
            ValueError: another shape or dtype, or too narrow for the network.
        """
        if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
            raise ValueError(
                f"the image is {tuple(image.shape)} {image.dtype}: give (3, H, W) torch.uint8, "
                "red, green and blue in 0..255"
            )
        H, W = image.shape[1:]
        scale = math.sqrt(math.prod(self.size) / (H * W))
        seen = resize_image(image, (max(round(H * scale), 1), max(round(W * scale), 1)))
        logits = self.model(normalise(seen[None].to(self.device).float() / 255))
        return F.interpolate(logits, (H, W), mode="bilinear")[0].argmax(0).cpu()


def load_pretrained(name: str | Path, device: torch.device | str = "cpu") -> Pretrained:
    """Load weights that come with the course, or a folder that `segcourse weights export` wrote.

    Args:
        name: as `published` has it, or the path of a folder.
        device: where the model goes.

    Raises:
        UsageError: there are no weights of this name; the text lists those that there are.
        DataError: the folder lacks a file, or a file is not the one that was written.
    """
    folder = find(name)
    record = read_record(folder)
    file = folder / MODEL
    _verify(file, record)
    model = build(record["model"], len(record["classes"]["names"]))
    weights.load(model, file)
    classes = record["classes"]
    return Pretrained(
        record["name"],
        model.to(device).eval(),
        Classes(
            tuple(classes["names"]),
            tuple(tuple(color) for color in classes["palette"]),
            tuple(classes["void"]),
        ),
        tuple(record["size"]),
        record,
        file,
    )


def published() -> dict[str, Path]:
    """The weights that come with the course: names to folders, in alphabetical order."""
    package = Path(segcourse.__file__).parent
    for place in (package / "_weights", package.parent / "weights"):
        if (place / "README.md").is_file():
            return {path.parent.name: path.parent for path in sorted(place.glob(f"*/{RECORD}"))}
    return {}


def find(name: str | Path) -> Path:
    """The folder of weights by their name, or a folder that was given itself.

    Raises:
        UsageError: neither of the two.
    """
    known = published()
    if str(name) in known:
        return known[str(name)]
    if (Path(name) / RECORD).is_file():
        return Path(name)
    if known:
        raise UsageError(
            f"there are no weights {name}: choose one of {', '.join(known)}, or give a folder "
            "that `segcourse weights export` wrote"
        )
    raise UsageError(
        f"there are no weights {name}, and none at all beside this package: install it again from "
        "https://github.com/segcourse/segcourse, whose folder weights/ has them, or give a folder "
        "that `segcourse weights export` wrote"
    )


def read_record(folder: Path) -> dict:
    """Read record.json of a folder of weights.

    Raises:
        DataError: it is not what `segcourse weights export` writes.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise DataError(
                f"{path} is of the format {record['format']!r}, and this version of segcourse "
                f"reads {FORMAT!r}: use the version that it was made with"
            )
        for name in ("name", "model", "classes", "size", "file", "data", "metrics", "training"):
            record[name]
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}): fetch the folder again, or "
            "export the run again"
        ) from error
    return record


def build(model: str, num_classes: int) -> nn.Module:
    """Build one of NETWORKS; its weights are random, the global random state stays as it was.

    Raises:
        UsageError: it is none of them.
    """
    if model not in NETWORKS:
        raise UsageError(
            f"{model} is no network that small weights are kept of: choose one of "
            f"{', '.join(NETWORKS)}"
        )
    with torch.random.fork_rng(devices=[]):
        return NETWORKS[model](num_classes)


def _verify(file: Path, record: dict) -> None:
    """Raise DataError unless `file` is the one that the record was written for."""
    if not file.is_file():
        raise DataError(f"{file} is missing: fetch the folder again, its record alone is no model")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != record["file"]["sha256"]:
        raise DataError(
            f"{file} is not the file that its record describes (sha256 {found[:12]}..., the record "
            f"has {record['file']['sha256'][:12]}...): it is damaged or was changed; fetch the "
            "folder again"
        )
