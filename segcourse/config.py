"""One run's configuration: a frozen dataclass that refuses values which cannot work.

The command line derives its flags from the fields: a field's `help` is the flag's help and its
`choices`, where present, are the flag's. Every page that trains states its run with one of these.
"""

import math
from dataclasses import asdict, dataclass, field, fields

from segcourse.errors import UsageError

MAY_DIFFER = ("root", "device", "workers", "out", "start")
"""Fields that a resumed run may change: where things lie, never what is computed. A resumed run has
its weights from its own checkpoint, so `start` is not read again."""


_KINDS = {int: "a whole number", float: "a number", str: "a text"}


def _option(default, help: str, choices: tuple[str, ...] = ()):
    """A field with the text that the command line shows for it."""
    metadata = {"help": help, "choices": choices} if choices else {"help": help}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's result; sizes are (H, W) in pixels.

    Raises:
        UsageError: a value is outside its range, or two values exclude each other.

    >>> Config(steps=50, warmup=80)
    Traceback (most recent call last):
    ...
    segcourse.errors.UsageError: warmup is 80 of 50 steps, so the full learning rate is never \
reached: give warmup below steps, or more steps
    """

    data: str = _option("scenes", "data set to train on")
    root: str = _option("", "folder of the data set, or its pack; generated sets need none")
    model: str = _option("full-resolution", "model to train")
    height: int = _option(0, "resize images to this height in pixels; 0: as the files are")
    width: int = _option(0, "resize images to this width in pixels; 0: as the files are")
    crop: tuple[int, int] = _option(
        (0, 0), "height and width in pixels of the crop trained on; 0 0: the whole image"
    )
    scale: tuple[float, float] = _option(
        (1.0, 1.0), "smallest and largest factor of the random rescaling; 1 1: none"
    )
    flip: float = _option(0.5, "probability of mirroring an image left to right, 0 to 1")
    jitter: float = _option(
        0.0, "strength of the random brightness, contrast and saturation, 0 to 1; 0: none"
    )
    elastic: float = _option(
        0.0,
        "elastic deformation: deviation in pixels of the 3x3 random vectors, after the crop; 10 in "
        "the U-Net paper for 512 pixels, a sixteenth of the side or less; 0: none",
    )
    copy_paste: float = _option(
        0.0,
        "probability, 0 to 1, that rare classes (fewer pixels than the median class) of another "
        "image of the batch are laid into an image; 0: none",
    )
    batch: int = _option(8, "images (for the patch model: windows) in a step, over all processes")
    start: str = _option(
        "", "run whose best weights this one starts from: its --out; empty: weights by the seed"
    )
    steps: int = _option(1000, "length of the run in optimizer steps")
    optimizer: str = _option("adamw", "how gradients become steps", ("adamw", "sgd"))
    lr: float = _option(1e-3, "highest learning rate, for a loss that is a mean over pixels")
    momentum: float = _option(0.9, "momentum of sgd, 0 up to 1; adamw keeps its own averages")
    weight_decay: float = _option(1e-4, "weight decay; biases and norm layers are left out")
    schedule: str = _option("poly", "how the learning rate falls", ("constant", "step", "poly"))
    warmup: int = _option(0, "steps over which the learning rate rises linearly to its highest")
    power: float = _option(0.9, "exponent of the poly schedule, (1 - step / steps) ** power")
    milestones: tuple[float, ...] = _option(
        (0.6, 0.85), "parts of the run, 0 to 1, after which the step schedule lowers the rate"
    )
    gamma: float = _option(0.1, "factor by which the step schedule lowers the learning rate")
    loss: str = _option("ce", "cross-entropy, or cross-entropy plus Dice", ("ce", "ce+dice"))
    class_weights: str = _option(
        "none",
        "weights of the cross-entropy: none, median frequency, or the root of it, which is milder",
        ("none", "median", "median-root"),
    )
    border_weight: float = _option(
        0.0,
        "w0 of U-Net's border weights, for data with cells: how much more a pixel between two "
        "cells counts in the cross-entropy; 10 in the paper; 0: none",
    )
    precision: str = _option(
        "fp32", "fp32, or bf16 autocast, which needs no loss scaler", ("fp32", "bf16")
    )
    channels_last: bool = _option(False, "keep images and kernels in channels-last memory order")
    compile: bool = _option(False, "compile the model with torch.compile before training")
    clip: float = _option(0.0, "clip the norm of the gradient to this; 0: do not clip")
    ema: float = _option(
        0.0, "decay of the running average of the weights that is evaluated, as 0.99; 0: none"
    )
    seed: int = _option(0, "seed of everything random in the run, 0 or more")
    device: str = _option("auto", "auto (a GPU where there is one), cpu, cuda, cuda:1, mps")
    workers: int = _option(0, "processes that load images; 0: the whole set lives on the device")
    eval_every: int = _option(100, "steps between evaluations; 0: only after the last step")
    checkpoint_every: int = _option(100, "steps between checkpoints; 0: only after the last step")
    out: str = _option("", "folder for checkpoints, logs and the record; empty: runs/DATA-MODEL")

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            kinds = (int, float) if f.type is float else f.type
            if f.type in (int, float, str) and (
                not isinstance(value, kinds) or isinstance(value, bool)
            ):
                raise UsageError(f"{f.name} is {value!r}: give {_KINDS[f.type]}")
            choices = f.metadata.get("choices", ())
            if choices and value not in choices:
                raise UsageError(f"{f.name} is {value!r}: give one of {', '.join(choices)}")
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{f.name} is {value}: give a finite number")
        for name in ("lr", "steps", "batch", "power"):
            self._need(name, getattr(self, name) > 0, "give a value above 0")
        at_least_0 = ("height", "width", "elastic", "border_weight", "weight_decay", "warmup")
        for name in (*at_least_0, "clip", "seed", "workers"):
            self._need(name, getattr(self, name) >= 0, "give 0 or more")
        for name in ("eval_every", "checkpoint_every"):
            self._need(name, getattr(self, name) >= 0, "give a number of steps, or 0 for the end")
        for name in ("momentum", "ema"):
            self._need(name, 0 <= getattr(self, name) < 1, "give 0 or more and less than 1")
        for name in ("flip", "jitter", "copy_paste"):
            self._need(name, 0 <= getattr(self, name) <= 1, "give a number from 0 to 1")
        self._need("gamma", 0 < self.gamma <= 1, "give a factor above 0 and at most 1")
        self._need(
            "milestones",
            all(0 < m < 1 for m in self.milestones)
            and list(self.milestones) == sorted(set(self.milestones)),
            "give parts of the run between 0 and 1, rising, as 0.6 0.85",
        )
        self._need(
            "crop",
            len(self.crop) == 2 and (min(self.crop) > 0 or tuple(self.crop) == (0, 0)),
            "give a height and a width above 0, or 0 0 for the whole image",
        )
        self._need(
            "scale",
            len(self.scale) == 2 and 0.1 <= self.scale[0] <= self.scale[1] < math.inf,
            "give the smallest factor, 0.1 or more, then the largest",
        )
        if (self.height == 0) != (self.width == 0):
            raise UsageError(
                f"height is {self.height} and width is {self.width}: "
                "give both, or neither to keep the size of the files"
            )
        if self.warmup >= self.steps:
            raise UsageError(
                f"warmup is {self.warmup} of {self.steps} steps, so the full learning rate "
                "is never reached: give warmup below steps, or more steps"
            )

    def _need(self, name: str, holds: bool, what_to_do: str) -> None:
        if not holds:
            raise UsageError(f"{name} is {getattr(self, name)}: {what_to_do}")


def differences(saved: dict, config: Config) -> list[str]:
    """The fields in which a saved configuration (read from JSON) and `config` disagree.

    Returns:
        One "name: saved -> given" a field; those in MAY_DIFFER are left out.
    """
    given = {name: _plain(value) for name, value in asdict(config).items()}
    names = sorted((given.keys() | saved.keys()) - set(MAY_DIFFER))
    return [
        f"{name}: {saved.get(name, 'not there')} -> {given.get(name, 'not there')}"
        for name in names
        if name not in saved or name not in given or saved[name] != given[name]
    ]


def _plain(value):
    """What JSON makes of a value: a tuple becomes a list."""
    return list(value) if isinstance(value, tuple) else value
