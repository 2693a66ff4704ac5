"""torchvision's usual way to feed a network: PNG files, worker processes, v2 transforms.

The views are those of `segcourse.data.augment`, drawn in the same way: magnified log-uniformly,
cropped with padding, mirrored, recoloured, normalised. Files are read by Pillow, as torchvision's
data sets and training scripts do it; the transforms work on tensors, an image at a time.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from segcourse.data.augment import MEAN, STD, Augmentation
from segcourse.data.resident import ResidentSet
from segcourse.labels import IGNORE


def write_folder(resident: ResidentSet, folder: Path) -> int:
    """Write a set as PNG files, an image and a label map each; returns their bytes."""
    for i, (image, labels) in enumerate(zip(resident.images, resident.labels, strict=True)):
        v2.functional.to_pil_image(image.cpu()).save(folder / f"{i}.png")
        v2.functional.to_pil_image(labels.cpu()[None]).save(folder / f"{i}-labels.png")
    return sum(path.stat().st_size for path in folder.iterdir())


class Rescale(v2.Transform):
    """Magnify by a random factor whose logarithm is uniform, as halving is as likely as doubling.

    torchvision's `ScaleJitter` draws the factor itself uniformly and so makes larger images.
    """

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list) -> dict:
        """Draw the size of one image."""
        factor = self.low * (self.high / self.low) ** torch.rand(()).item()
        return {"size": [max(1, round(factor * side)) for side in flat_inputs[0].shape[-2:]]}

    def transform(self, inpt, params: dict):
        """Resize: an image bilinearly, labels by the nearest; unsmoothed, as ours is."""
        return v2.functional.resize(inpt, params["size"], antialias=False)


def views(augmentation: Augmentation, size: tuple[int, int]) -> v2.Transform:
    """The transforms of training images, all but their normalization on bytes."""
    a = augmentation
    fill = {tv_tensors.Image: [255 * mean for mean in MEAN], tv_tensors.Mask: IGNORE}
    return v2.Compose(
        [
            Rescale(*a.scale),
            v2.RandomCrop(size, pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(a.flip),
            v2.ColorJitter(a.brightness, a.contrast, a.saturation),
            plain(),
        ]
    )


def plain() -> v2.Transform:
    """What an image needs that is only looked at: floats, normalised."""
    kinds = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
    return v2.Compose([v2.ToDtype(kinds, scale=True), v2.Normalize(MEAN, STD)])


class PngFolder(Dataset):
    """What `write_folder` wrote, as the transform leaves it: image (3, H, W), labels (H, W)."""

    def __init__(self, folder: Path, length: int, transform: v2.Transform):
        self.folder, self.length, self.transform = folder, length, transform

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = _read(self.folder / f"{index}.png")
        labels = _read(self.folder / f"{index}-labels.png")
        image, labels = self.transform(tv_tensors.Image(image), tv_tensors.Mask(labels))
        # As plain tensors they are sent between processes and batched without overrides.
        return image.as_subclass(Tensor), labels[0].as_subclass(Tensor)


def loader(data: PngFolder, batch: int, workers: int, train: bool, pinned: bool) -> DataLoader:
    """Batches by workers that live on from epoch to epoch; without the last one if not training."""
    return DataLoader(
        data,
        batch,
        shuffle=train,
        num_workers=workers,
        pin_memory=pinned,
        drop_last=not train,
        persistent_workers=workers > 0,
    )


def _read(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return v2.functional.pil_to_tensor(picture)
