"""What `segcourse train --dry-run` prints: the run before it runs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcourse import cost
from segcourse.cli.memory import estimate, readable_bytes, readable_count
from segcourse.cli.models import as_dense, trains_on_patches
from segcourse.cli.sources import Sets
from segcourse.config import Config


def plan(
    config: Config,
    sets: Sets,
    model: nn.Module,
    device: torch.device,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> str:
    """Say what a run would do and hold.

    Args:
        config: the run, with `out` filled in.
        sets: opened, not read.
        model: as it would be trained, on any device.
        device: where the run would be.
        loss: (logits, labels) to a scalar, as the run would have it.

    Raises:
        ValueError: the model does not take images of this size.
    """
    H, W = sets.size
    images = len(sets.train)
    size, length = sets.size, f"{config.steps * config.batch / images:.1f} epochs"
    if max(config.crop):
        size = config.crop
    if trains_on_patches(model):
        size = model.window, model.window
        length = f"{config.steps * config.batch:,} windows of {size[0]}x{size[1]} pixels"

    held = estimate(model, config.batch, size, config.optimizer, config.ema > 0, loss)
    parts = {
        "weights": held.weights,
        "gradients": held.gradients,
        config.optimizer: held.optimizer,
        "averaged weights": held.averaged_weights,
        "kept for the backward pass": held.kept_for_backward,
    }
    if config.workers == 0:
        parts["the two splits"] = 4 * H * W * (images + len(sets.val))
    adds, _ = cost.measured_multiply_adds(as_dense(model), torch.empty(1, 3, H, W, device="meta"))

    place = f" in {config.root}" if config.root else ""
    lines = {
        "data": f"{config.data}{place}: {images} train and {len(sets.val)} val images, {H}x{W}",
        "classes": f"{len(sets.classes)}: {', '.join(sets.classes.names)}",
        "model": f"{config.model}: {cost.parameters(model):,} parameters, "
        f"{readable_count(adds)} multiply-adds for one {H}x{W} image",
        "length": f"{config.steps} steps of {config.batch}: {length}",
        "memory": f"{readable_bytes(sum(parts.values()))} on {device} for a training step",
    }
    text = [f"{name:<9} {value}" for name, value in lines.items()]
    text += [f"{'':<9}   {readable_bytes(n):>10}  {name}" for name, n in parts.items() if n]
    text += [
        f"{'':<9} An estimate: counted from shapes, in float32, without what comes and goes",
        f"{'':<9} inside an operator and without the program itself.",
        f"{'output':<9} {config.out}",
        "This was the plan: nothing was trained and nothing written.",
    ]
    return "\n".join(text)
