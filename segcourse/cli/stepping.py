"""One training step and one prediction, as `fit` and `evaluate` do them, for what is timed.

Their parts are regions that torch's profiler knows by name; to a step that nobody profiles they
cost microseconds.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.profiler import record_function

from segcourse import losses

DATA, FORWARD, LOSS, BACKWARD, OPTIMIZER = "data", "forward", "loss", "backward", "optimizer"
"""Names of the regions. The batch's maker opens DATA, the others are opened here."""


def training_step(
    net: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor, bf16: bool
) -> Tensor:
    """Forward, loss, backward, step.

    Args:
        net: in training mode; compiled or not.
        optimizer: over its parameters.
        images: (N, 3, H, W) float, on the network's device.
        labels: (N, H, W) int64, on the same device.
        bf16: whether the forward pass runs under autocast.

    Returns:
        The loss, a scalar without gradient that the device may still be computing.
    """
    with record_function(FORWARD), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits = net(images)
    with record_function(LOSS):
        value = losses.cross_entropy(logits.float(), labels)
    with record_function(BACKWARD):
        optimizer.zero_grad()
        value.backward()
    with record_function(OPTIMIZER):
        optimizer.step()
    return value.detach()


@torch.inference_mode()
def prediction(net: Callable[[Tensor], Tensor], images: Tensor, bf16: bool) -> Tensor:
    """The likeliest class of every pixel: (N, H, W) int64.

    Args:
        net: in evaluation mode; compiled or not.
        images: (N, 3, H, W) float, on the network's device.
        bf16: whether it runs under autocast.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return net(images).argmax(1)
