"""Optimizer and learning rate of a run: AdamW or SGD; constant, step or poly with warm-up.

A schedule is a function of the step in closed form, so a test can hold it against the formula and
a resumed run needs nothing but its step. book/sliding_window.ipynb trains with them.
"""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from segcourse.config import Config
from segcourse.errors import UsageError


def optimizer(config: Config, model: nn.Module) -> Optimizer:
    """Build AdamW (Loshchilov and Hutter 2019) or SGD with momentum over a model's parameters.

    Weight decay acts on kernels and matrices; biases and the scales of norm layers (tensors of
    fewer than two axes) are left free, since pulling them to zero regularises nothing.

    Raises:
        UsageError: every parameter is frozen.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise UsageError(
            f"{type(model).__name__} has no parameter that trains: "
            "set requires_grad on those that shall"
        )
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum)
    return AdamW(groups, lr=config.lr)


def schedule(config: Config, optimizer: Optimizer) -> LambdaLR:
    """Let the learning rate of `optimizer` follow `factor`; call `step()` once an optimizer step.

    torch's SequentialLR would compose the same curve from LinearLR and PolynomialLR, but both
    multiply the last rate by a ratio, which drifts; a factor of the step is exact.
    """
    return LambdaLR(optimizer, lambda step: factor(config, step))


def factor(config: Config, step: int) -> float:
    """The part of `config.lr` that holds in optimizer step `step`.

    Over the first `warmup` steps it rises as (step + 1) / warmup. What is left of the run then
    falls from 1: not at all (constant), by `gamma` past each milestone (step), or as
    (1 - progress) ** power (poly; DeepLab v2, section 4.1).

    Args:
        config: the run.
        step: 0 .. steps; at `steps`, after the last step, poly is 0.

    Returns:
        A number in 0..1.

    >>> run = Config(steps=10, warmup=2, schedule="poly", power=1.0)
    >>> [round(factor(run, step), 3) for step in range(11)]
    [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "step":
        passed = sum(step >= math.ceil(part * config.steps) for part in config.milestones)
        return config.gamma**passed
    if config.schedule == "poly":
        progress = (step - config.warmup) / (config.steps - config.warmup)
        return (1 - min(progress, 1.0)) ** config.power
    return 1.0
