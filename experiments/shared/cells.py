"""What experiments on generated cells share: one recipe for a light U-Net, and object metrics."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from segcourse import elastic
from segcourse.border_weights import two_nearest
from segcourse.data import cell_image
from segcourse.data.augment import normalise
from segcourse.instances import adapted_rand_error, connected_components, object_errors
from segcourse.losses import weighted_cross_entropy
from segcourse.metrics import confusion_matrix, iou
from segcourse.records import plain

SIDE = 96
"""Height and width of every image in px; about 30 cells."""

MEMBRANE = 3
"""A background pixel is membrane where its two nearest cells are together this close, in px."""


@dataclass(frozen=True)
class Budget:
    """What every network of an experiment gets alike."""

    test_images: int = 40
    steps: int = 300
    batch: int = 4
    learning_rate: float = 1e-2

    def quick(self) -> "Budget":
        """A smoke run of seconds: its numbers say nothing."""
        return Budget(test_images=2, steps=2, batch=2)


def load(length: int, split: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 96, 96) normalised float32, instances (N, 96, 96) int64."""
    made = [cell_image(seed, i, (SIDE, SIDE), split) for i in range(length)]
    images = torch.stack([one.image for one in made]).float() / 255
    return normalise(images), torch.stack([one.instances for one in made])


def train(
    model: nn.Module,
    images: Tensor,
    instances: Tensor,
    pixel_weights: Callable[[Tensor], Tensor],
    sigma: float,
    budget: Budget,
    seed: int,
) -> float:
    """Train in place on whole images, turned by right angles and mirrored at random, then bent.

    The draws are the same whatever the weights and sigma are, so that two runs of one seed see the
    same images in the same order.

    Args:
        model: (n, 3, H, W) to logits (n, 2, H, W).
        images, instances: of the training images.
        pixel_weights: instances (n, H, W) to the weight of each pixel in the loss.
        sigma: of the elastic deformation, in px; 0 for none.
        budget: steps, batch and learning rate.
        seed: of images, turns and deformations; the weights are the caller's.

    Returns:
        CPU seconds (of all threads) spent.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=budget.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, budget.learning_rate, total_steps=budget.steps, pct_start=0.15
    )
    start = time.process_time()
    model.train().to(memory_format=torch.channels_last)
    for _ in range(budget.steps):
        at = torch.randint(len(images), (budget.batch,), generator=generator)
        turn, mirror = torch.randint(4, (2,), generator=generator).tolist()
        vectors = elastic.displacement_vectors(budget.batch, 1.0, generator)
        x, cells = images[at].rot90(turn, (2, 3)), instances[at].rot90(turn, (1, 2))
        if mirror % 2:
            x, cells = x.flip(3), cells.flip(2)
        if sigma:
            x, cells = elastic.deform(x, cells, sigma * vectors)
        logits = model(x.contiguous(memory_format=torch.channels_last))
        loss = weighted_cross_entropy(logits, (cells > 0).long(), pixel_weights(cells))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return time.process_time() - start


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Classes (N, H, W) of normalised images."""
    parts = (part.contiguous(memory_format=torch.channels_last) for part in images.split(10))
    return torch.cat([model(part).argmax(1) for part in parts])


def scores(predictions: Tensor, instances: Tensor) -> dict[str, object]:
    """Compare predicted classes with true cells; both (N, H, W).

    Returns:
        `cell_iou`, `background_iou` from one confusion matrix over the set; `membrane_found`, the
        share of membrane pixels that are predicted background; `adapted_rand_error`, the mean
        over images; `objects`, `merged`, `split`, `missed`, cells an image. A predicted cell is a
        4-connected component of the class.
    """
    K, N = 2, len(predictions)
    background, cell = iou(confusion_matrix(predictions, (instances > 0).long(), K)).tolist()
    nearest, second = two_nearest(instances)
    membrane = (instances == 0) & (nearest + second <= MEMBRANE)
    pairs = list(zip(instances, connected_components(predictions == 1), strict=True))
    errors = [asdict(object_errors(*pair)) for pair in pairs]
    rand = [adapted_rand_error(*pair).error for pair in pairs]
    return plain(
        {
            "cell_iou": cell,
            "background_iou": background,
            "membrane_found": (predictions[membrane] == 0).double().mean(),
            "adapted_rand_error": sum(rand) / N,
            **{key: sum(one[key] for one in errors) / N for key in errors[0]},
        }
    )
