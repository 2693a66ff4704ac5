"""What the sliding-window experiments share: scenes, sampled training pixels, dense evaluation."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segcourse.data import scene
from segcourse.data.augment import normalise
from segcourse.labels import IGNORE, SCENES
from segcourse.losses import cross_entropy
from segcourse.metrics import confusion_matrix, iou, mean_iou, pixel_accuracy, trimap
from segcourse.records import plain
from segcourse.sliding_window import PatchClassifier, SlidingWindow, reflect_pad

K = len(SCENES)
POND, PLAZA = SCENES.names.index("pond"), SCENES.names.index("plaza")
GRID = 4  # training pixels lie on a grid of this step, whatever the classifier's stride


@dataclass(frozen=True)
class Budget:
    """What every model of an experiment gets alike."""

    train_scenes: int = 500
    test_scenes: int = 60
    steps: int = 1500
    crops: int = 24
    crop: int = 32
    learning_rate: float = 1e-2


def load(length: int, split: str, swap_context: bool = False) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 128, 128) normalised, labels (N, 128, 128) int64; ponds and plazas swapped?"""
    made = [scene(0, i, split=split, swap_context=swap_context) for i in range(length)]
    images = torch.stack([one.image for one in made]).float() / 255
    return normalise(images), torch.stack([one.labels for one in made])


def pixels_of_each_class(labels: Tensor) -> list[Tensor]:
    """(n, 3) places (image, row, col) for each of the K classes."""
    return [(labels == c).nonzero() for c in range(K)]


def crops_of(
    images: Tensor,
    labels: Tensor,
    pixels: list[Tensor],
    half: int,
    budget: Budget,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One step's crops with `half` more image pixels on each side, turned and mirrored at random.

    Each crop lies around a pixel of a class drawn uniformly: ponds are one pixel in eighty, and a
    short run would hardly see them otherwise. The draws do not depend on `half`, so every window
    size is shown the same pixels.
    """
    c = budget.crop
    parts = []
    for _ in range(budget.crops):
        places = pixels[int(torch.randint(K, (), generator=generator))]
        i, row, col = places[int(torch.randint(len(places), (), generator=generator))].tolist()
        turn, mirror = torch.randint(4, (2,), generator=generator).tolist()
        row, col = (
            min(max(at - int(torch.randint(c, (), generator=generator)), 0), side - c)
            for at, side in ((row, labels.shape[1]), (col, labels.shape[2]))
        )
        image = reflect_pad(images[i : i + 1], half)[0]
        image = image[:, row : row + c + 2 * half, col : col + c + 2 * half].rot90(turn, (1, 2))
        target = labels[i, row : row + c, col : col + c].rot90(turn)
        parts.append((image.flip(2), target.flip(1)) if mirror % 2 else (image, target))
    return torch.stack([image for image, _ in parts]), torch.stack([t for _, t in parts])


def train(
    model: nn.Module,
    half: int,
    stride: int,
    images: Tensor,
    labels: Tensor,
    budget: Budget,
    seed: int,
) -> float:
    """Train on the crops' pixels at every `GRID`-th row and column.

    A dense pass scores all windows of a crop at once: the same loss and gradient as cutting them
    out one by one (tests/test_sliding_window.py), without computing their overlap again.

    Args:
        model: (n, 3, c + 2 half, ...) to logits at every `stride`-th pixel of the c x c crop.
        half: image pixels that it takes away on each side; 0 for a padded network.
        stride: 1, 2 or 4.
        images, labels: of the training scenes.
        budget: steps, crops and learning rate.
        seed: of the crops.

    Returns:
        CPU seconds (one thread) spent.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = pixels_of_each_class(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=budget.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, budget.learning_rate, total_steps=budget.steps, pct_start=0.15
    )
    start = time.process_time()
    model.train().to(memory_format=torch.channels_last)  # twice as fast on a CPU
    for _ in range(budget.steps):
        x, target = crops_of(images, labels, pixels, half, budget, generator)
        logits = model(x.contiguous(memory_format=torch.channels_last))[
            ..., :: GRID // stride, :: GRID // stride
        ]
        loss = cross_entropy(logits, target[:, ::GRID, ::GRID])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return time.process_time() - start


def train_patches(
    window: int, stride: int, width: int, images: Tensor, labels: Tensor, budget: Budget, seed: int
) -> tuple[SlidingWindow, float]:
    """A trained patch classifier, ready for whole images, and its CPU seconds."""
    torch.manual_seed(seed)  # the initial weights; this script is the program, so the seed is its
    classifier = PatchClassifier(window, K, width=width, stride=stride)
    seconds = train(classifier, window // 2, stride, images, labels, budget, seed)
    return SlidingWindow(classifier).eval(), seconds


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> tuple[Tensor, float]:
    """Logits of every image (N, K, H, W), one at a time, and CPU seconds an image."""
    start = time.process_time()
    logits = torch.cat(
        [model(image[None].contiguous(memory_format=torch.channels_last)) for image in images]
    )
    return logits, (time.process_time() - start) / len(images)


def scores(predictions: Tensor, labels: Tensor) -> dict[str, object]:
    """Metrics of dense predictions (N, H, W) over the set; see `experiments/README.md`."""
    cm = confusion_matrix(predictions, labels, K)
    band = torch.stack([trimap(one, 3) for one in labels])
    edges = confusion_matrix(predictions, labels.where(band, IGNORE), K)
    pair = cm[[POND, PLAZA]][:, [POND, PLAZA]].sum().double()
    found = cm[[POND, PLAZA]].sum() + cm[:, [POND, PLAZA]].sum() - pair
    return {
        "pixel_accuracy": pixel_accuracy(cm),
        "miou": mean_iou(cm),
        "trimap_3px_miou": mean_iou(edges),
        "iou": iou(cm),
        "pair_found_iou": (pair / found).item(),
    }


def right_of_the_pair(logits: Tensor, labels: Tensor) -> Tensor:
    """On pixels that are pond or plaza: 1.0 where the right one of the two is the higher logit.

    Equal logits count as half, which is what guessing would give.

    Args:
        logits: (N, K, H, W).
        labels: (N, H, W) int64.

    Returns:
        One float64 for each pixel of the pair.
    """
    lead = (logits[:, PLAZA] - logits[:, POND]).double().sign()
    truth = (labels == PLAZA).double() - (labels == POND).double()
    return ((1 + lead * truth) / 2)[truth != 0]


def evaluate(model: nn.Module, length: int) -> dict[str, object]:
    """Scores on `length` test scenes, and on the same scenes with ponds and plazas swapped.

    Every pond is scored once as it is and once as the plaza that differs from it in the markers
    alone. So what does not see the markers gets 0.5 to the pixel, whatever it learnt by chance.
    """
    images, labels = load(length, "test")
    logits, seconds = predict(model, images)
    swapped_images, swapped_labels = load(length, "test", swap_context=True)
    swapped, _ = predict(model, swapped_images)
    right = [right_of_the_pair(logits, labels), right_of_the_pair(swapped, swapped_labels)]
    return {
        **plain(scores(logits.argmax(1), labels)),
        "pair_told_apart": torch.cat(right).mean().item(),
        "inference_cpu_s": seconds,
    }


def spread(values: list[float]) -> str:
    """Mean and half range of a few runs, in per cent."""
    return f"{100 * statistics.mean(values):5.1f} ± {50 * (max(values) - min(values)):.1f}"
