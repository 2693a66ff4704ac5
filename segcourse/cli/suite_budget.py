"""Equal seconds: a run once more, with as many steps as fit into so many seconds of training.

Epochs are the same for all networks, and a slow one may take ten times as long for them. The run
NAME-seconds has the flags of NAME. Its steps follow from how many images NAME trained on in a
second, so it waits for the record of NAME with the same seed. Its own record keeps them.
"""

import math
from dataclasses import replace

from segcourse.config import Config


def shared_out(config: Config, seconds: float, images_per_second: float) -> Config:
    """The configuration with the steps that fit into so many seconds of training.

    Warm-up, evaluations and checkpoints keep their share of the run: there are as many of them,
    however long it is. Evaluations and checkpoints do not count as training.

    Args:
        config: of the run with equal epochs.
        seconds: the budget.
        images_per_second: of its training, or windows for the patch model.

    Returns:
        The configuration with other steps, warm-up, eval_every and checkpoint_every.
    """
    return with_steps(config, max(round(seconds * images_per_second / config.batch), 1))


def with_steps(config: Config, steps: int) -> Config:
    """The configuration with so many steps, and the shares of the others as they were."""
    share = steps / config.steps
    return replace(
        config,
        steps=steps,
        warmup=math.floor(config.warmup * share),
        eval_every=math.ceil(config.eval_every * share),
        checkpoint_every=math.ceil(config.checkpoint_every * share),
    )


def images_per_second(record: dict) -> float:
    """The speed of training that a record holds."""
    return record["images_per_second"]
