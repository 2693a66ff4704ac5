"""One training run as a function: from a configuration and opened data to its history.

`segcourse train` calls it once, `segcourse bench suite` once for each run of its list, so that
both train by the same code.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from segcourse import distributed, elastic, losses, training
from segcourse.cli.flags import GROUPS
from segcourse.cli.models import as_dense, trains_on_patches
from segcourse.cli.objects import CELL_CLASS, border_loss
from segcourse.cli.runs import claim
from segcourse.cli.sources import Sets
from segcourse.config import Config
from segcourse.data.augment import Augmentation
from segcourse.data.base import SegmentationData
from segcourse.data.batches import LoaderBatches, PatchBatches, ResidentBatches
from segcourse.data.copy_paste import PastedBatches
from segcourse.data.deformed import DeformedBatches
from segcourse.data.resident import ResidentSet, evaluation_batches, evaluation_images
from segcourse.errors import UsageError

EVALUATED_AT_ONCE = 4
"""Images in a batch of the evaluation; without gradients it matters little for speed."""

Load = Callable[[SegmentationData, torch.device], ResidentSet]


@dataclass(frozen=True)
class Trained:
    """What a run leaves in memory.

    history: what `training.fit` measured. evaluate: (dense model) to its (K, K) matrix on val.
    val: to all batches of val. evaluation_seconds: of the last evaluation, 0 where this call had
    none. pixels, val_pixels: (K,) labelled pixels of each class in the train and the val split.
    """

    history: training.History
    evaluate: Callable[[nn.Module], Tensor]
    val: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    evaluation_seconds: float
    pixels: Tensor
    val_pixels: Tensor


def check(config: Config, sets: Sets, model: nn.Module, device: torch.device) -> None:
    """Refuse what cannot run before anything is read or written.

    Raises:
        UsageError: options that the patch model or the data do not have, a crop larger than the
            images, a batch larger than the train split or not divisible among the processes, bf16
            on a GPU without it.
    """
    _check_patch_options(config, model)
    if config.border_weight and config.data not in CELL_CLASS:
        raise UsageError(
            f"--border-weight parts cells that touch, and {config.data} has no class of cells: "
            f"leave it out, or train on {' or '.join(CELL_CLASS)}"
        )
    largest = [side * max(config.scale[1], 1.0) for side in sets.size]
    if all(crop > side for crop, side in zip(config.crop, largest, strict=True)):
        raise UsageError(
            f"--crop {config.crop[0]} {config.crop[1]} is larger than the images of "
            f"{sets.size[0]}x{sets.size[1]}, and the rest would be void: give a smaller crop, or "
            "leave it out for whole images"
        )
    if config.copy_paste and config.batch < 2:
        raise UsageError(
            "--copy-paste takes from another image of the batch, and --batch is 1: give 2 or more"
        )
    distributed.check_precision(config.precision, device)
    distributed.check_batch(config.batch)
    if config.batch > len(sets.train) and not trains_on_patches(model):
        raise UsageError(
            f"--batch {config.batch} is more than the {len(sets.train)} images of the train split: "
            f"give 1 to {len(sets.train)}"
        )


def train(
    config: Config,
    sets: Sets,
    model: nn.Module,
    device: torch.device,
    *,
    resume: bool = False,
    start: dict | None = None,
    load: Load = ResidentSet.load,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train `model` in place, with checkpoints, log and run.json in `config.out`.

    Args:
        config: the run, `out` filled in.
        sets: its data, opened.
        model: as built for the run.
        device: of this process.
        resume: go on with the run in `config.out`.
        start: what `starting.start_from` told, for run.json.
        load: reads a split onto the device; one that remembers saves reading it again.
        stop: as for `training.fit`.

    Raises:
        UsageError, DataError, DivergedError, ValueError: as `training.fit` and the data.
    """
    out, K = Path(config.out), len(sets.classes)
    if config.workers == 0:
        train_set, val = load(sets.train, device), load(sets.val, device)
        pixels, val_pixels = (losses.label_counts(s.labels, K) for s in (train_set, val))
        batches = _batches(config, model, train_set)
        whole_images = functools.partial(evaluation_batches, val, EVALUATED_AT_ONCE)
    else:
        pixels, val_pixels = (losses.label_statistics(s) for s in (sets.train, sets.val))
        batches = LoaderBatches(
            sets.train,
            config.batch,
            augmentation(config),
            config.seed,
            config.workers,
            pin_memory=device.type == "cuda",
        )
        whole_images = functools.partial(evaluation_images, sets.val, device)
    batches = augmented_further(config, batches, pixels)

    took = [0.0]

    def evaluate(dense: nn.Module) -> Tensor:
        started = perf_counter()
        cm = training.evaluate(dense, whole_images, K, config.precision).cpu()
        took.append(perf_counter() - started)  # .cpu() waited for the device
        return cm

    distributed.from_first(lambda: claim(out, config, sets, resume, start))
    history = training.fit(
        config,
        model,
        batches,
        out,
        loss=loss_of(config, class_weights(config, pixels.to(device))),
        evaluate=evaluate,
        as_dense=as_dense,
        resume=resume,
        stop=stop,
    )
    return Trained(history, evaluate, whole_images, took[-1], pixels.sum(0), val_pixels.sum(0))


def loss_of(config: Config, weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a run asks for, with class weights (K,) or none."""
    bordered = border_loss(config, weights) if config.border_weight else None

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if bordered is None:
            value = losses.cross_entropy(logits, labels, weights)
        else:
            value = bordered(logits, labels)
        return value + losses.dice(logits, labels) if config.loss == "ce+dice" else value

    return loss


def augmentation(config: Config) -> Augmentation:
    """What a run does to its training images."""
    return Augmentation(
        crop=config.crop if max(config.crop) else None,
        scale=config.scale,
        flip=config.flip,
        brightness=config.jitter,
        contrast=config.jitter,
        saturation=config.jitter,
    )


def _check_patch_options(config: Config, model: nn.Module) -> None:
    if not trains_on_patches(model):
        return
    defaults = Config()
    for name in (*GROUPS["augmentation"], "border_weight", "workers"):
        if getattr(config, name) != getattr(defaults, name):
            flag = name.replace("_", "-")
            raise UsageError(
                f"--{flag} does not apply to the {config.model} model, which trains on windows "
                f"of {model.window}x{model.window} around random pixels of whole images in "
                "memory: leave it out"
            )


def _batches(config: Config, model: nn.Module, train: ResidentSet) -> training.Batches:
    if trains_on_patches(model):
        return PatchBatches(train, config.batch, model.window, config.seed)
    return ResidentBatches(train, config.batch, augmentation(config), config.seed)


def augmented_further(
    config: Config, batches: training.Batches, pixels: Tensor
) -> training.Batches:
    """What a run does to its batches after `augmentation`: bend, then paste.

    Args:
        config: the run.
        batches: already augmented.
        pixels: (N, K), each training image's pixels by class, which says what is rare.
    """
    if config.elastic:

        def vectors(n: int, generator: torch.Generator) -> Tensor:
            return elastic.displacement_vectors(n, config.elastic, generator)

        batches = DeformedBatches(batches, vectors, elastic.deform, config.seed)
    if config.copy_paste:
        rare = losses.median_frequency_weights(pixels).cpu() > 1
        batches = PastedBatches(batches, rare, config.copy_paste, config.seed)
    return batches


def class_weights(config: Config, pixels: Tensor) -> Tensor | None:
    """Weights (K,) of the cross-entropy, or None.

    Args:
        config: which are asked for.
        pixels: (N, K), each training image's pixels by class.
    """
    if config.class_weights == "none":
        return None
    weights = losses.median_frequency_weights(pixels)
    return weights.sqrt() if config.class_weights == "median-root" else weights
