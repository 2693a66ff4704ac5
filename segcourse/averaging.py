"""A running average of the weights, which is steadier than the weights themselves.

Networks of the results chapter (book/results.ipynb) are evaluated with it. torch's `AveragedModel`
gives the same numbers, but makes a GPU's queue run dry twice a step: it sends its count there anew.
"""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class RunningAverage:
    """An exponential average of a model's weights and buffers, kept as a model.

    After the first update it holds the model's values, from then on `decay` of its own and the
    rest of the model's. Whole numbers, as batch norm's count of steps, are the model's.

    Args:
        model: what is averaged; on its device, in its memory order.
        decay: 0 up to 1.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.module, self.updates = deepcopy(model), 0
        self._average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's values of now."""
        averaged, copied = {}, []  # all tensors of one dtype take a few kernels together
        for own, theirs in zip(_values(self.module), _values(model), strict=True):
            if self.updates and own.is_floating_point():
                averaged.setdefault(own.dtype, []).append((own, theirs))
            else:
                copied.append((own, theirs))
        for pairs in averaged.values():
            self._average(*map(list, zip(*pairs, strict=True)), None)
        if copied:
            torch._foreach_copy_(*map(list, zip(*copied, strict=True)))
        self.updates += 1


def _values(model: nn.Module) -> Iterator[Tensor]:
    yield from (parameter.detach() for parameter in model.parameters())
    yield from model.buffers()
