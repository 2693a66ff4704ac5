"""How much memory a training step holds, estimated before it runs; and numbers for people.

Counted on the meta device, where tensors have shapes and no memory, so that a network too large
for this machine is counted as quickly as a small one. Exact for what it counts, in float32:
weights, gradients, optimizer state, and every tensor that the forward pass and the loss keep for
the backward pass. What comes and goes inside one operator is left out, so a peak is higher.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcourse import cost, losses

OPTIMIZER_COPIES = {"sgd": 1, "adamw": 2}
"""Tensors as large as the weights that an optimizer keeps: momentum; first and second moment."""


@dataclass(frozen=True)
class Estimate:
    """Bytes that one training step holds at once, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    averaged_weights: int
    kept_for_backward: int

    @property
    def total(self) -> int:
        """All of them."""
        parts = self.weights, self.gradients, self.optimizer, self.averaged_weights
        return sum(parts) + self.kept_for_backward


class _Loss(nn.Module):
    """The loss keeps tensors too: its softmax is as large as the logits."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor) -> Tensor:
        labels = torch.zeros_like(logits[:, 0], dtype=torch.int64)
        return self.loss(logits, labels)


def estimate(
    model: nn.Module,
    batch: int,
    size: tuple[int, int],
    optimizer: str,
    ema: bool,
    loss: Callable[[Tensor, Tensor], Tensor] = losses.cross_entropy,
) -> Estimate:
    """Count what a training step holds, without computing it.

    Args:
        model: (N, 3, H, W) to (N, K, h, w), in training mode.
        batch: N.
        size: (H, W) in pixels.
        optimizer: "sgd" or "adamw".
        ema: whether a running average of the weights is kept.
        loss: (logits, labels) to a scalar.

    Raises:
        ValueError: the model does not take an input of this size.
    """
    image = torch.empty(batch, 3, *size, device="meta")
    try:
        kept = cost.measured_training_bytes(nn.Sequential(model, _Loss(loss)), image)
    except RuntimeError as error:
        raise ValueError(
            f"{type(model).__name__} does not take {batch} images of {size[0]}x{size[1]}: {error}"
        ) from error
    weights = 4 * cost.parameters(model)
    return Estimate(
        weights=weights,
        gradients=weights,
        optimizer=OPTIMIZER_COPIES[optimizer] * weights,
        averaged_weights=weights if ema else 0,
        kept_for_backward=kept,
    )


def readable_bytes(count: float) -> str:
    """Bytes for people, in powers of 1024.

    >>> readable_bytes(900), readable_bytes(1536 * 1024)
    ('900 B', '1.5 MiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} GiB"


def readable_count(count: float) -> str:
    """A large number for people.

    >>> readable_count(12), readable_count(3_145_728)
    ('12', '3.15 million')
    """
    if count < 1e6:
        return f"{count:,.0f}"
    for unit, size in (("million", 1e6), ("billion", 1e9)):
        if count < 1000 * size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e12:.3g} trillion"
