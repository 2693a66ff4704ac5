"""The training loop of every run: forward, loss, backward, step, read from top to bottom.

`fit` trains, and `evaluate` counts one confusion matrix over a set; book/sliding_window.ipynb is
the first page that uses them. A run can be killed at any moment and resumed: on a CPU it ends
with the same weights to the bit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from segcourse.config import Config

__all__ = ["Batches", "Config", "History", "evaluate", "fit"]


class Batches(Protocol):
    """A stream of training batches that depends on the step alone, never on what came before."""

    steps_per_epoch: int
    images_per_batch: int

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, Tensor]:
        """This process's part of a step: images (n, 3, h, w) normalised, labels (n, h, w)."""


@dataclass(frozen=True)
class History:
    """What a run measured.

    curve: one dict a log line, in order of the steps: `step` and `loss`, `lr` and
        `images_per_second`, or after an evaluation `step` and `miou`, `pixel_accuracy`, `iou`.
    steps: optimizer steps taken in all, those before a resume included.
    best_step, best_miou: the evaluation with the highest mean IoU; None where there was none.
    seconds: wall clock of this call.
    images_per_second: images trained on in this call, per second outside of evaluations.
    """

    curve: list[dict]
    steps: int
    best_step: int | None
    best_miou: float | None
    seconds: float
    images_per_second: float


def identity(model: nn.Module) -> nn.Module:
    """The model itself: it already maps (N, 3, H, W) to (N, K, H, W)."""
    return model


def fit(
    config: Config,
    model: nn.Module,
    batches: Batches,
    out: str | Path | None,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    evaluate: Callable[[nn.Module], Tensor] | None = None,
    as_dense: Callable[[nn.Module], nn.Module] = identity,
    resume: bool = False,
) -> History:
    """Train `model` in place for `config.steps` steps.

    Args:
        config: the run; data, root, model, crop and such are for the caller who built the rest.
        model: (N, 3, H, W) to (N, K, H, W), on any device; it is moved to the run's.
        batches: the stream of global batches.
        out: folder for checkpoints, log.jsonl and TensorBoard; None writes nothing.
        loss: (logits, labels) to a scalar, the mean over labelled pixels.
        evaluate: (dense model) to a (K, K) confusion matrix, as
            `partial(training.evaluate, source=..., num_classes=...)`; None: no evaluation.
        as_dense: what turns the trained model into one that meets the model contract.
        resume: go on from the last good checkpoint in `out`.

    Returns:
        The run's history; with `config.ema` the model holds the averaged weights at the end.

    Raises:
        UsageError: `out` already holds a run, or `resume` finds none or one with another
            configuration; the device is not there or has no bf16.
        ArithmeticError: the loss became nan or infinite.
    """
    raise NotImplementedError


def evaluate(
    model: nn.Module,
    source: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    precision: str = "fp32",
) -> Tensor:
    """Count one confusion matrix over a whole set, in eval mode and without gradients.

    Under torchrun each process takes its share of the batches and the counts are summed.

    Args:
        model: (N, 3, H, W) to (N, K, H, W); its device is used, its modes are put back.
        source: batches of images (N, 3, H, W) float, normalised, and labels (N, H, W) int64.
        num_classes: K.
        precision: "fp32", or "bf16" for autocast.

    Returns:
        (K, K) int64 pixel counts: rows are truth, columns prediction; void is left out.
    """
    raise NotImplementedError
