"""Test-time augmentation: several looks at one image, averaged (book/aspp.ipynb)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AveragedViews(nn.Module):
    """A model that looks at an image in several sizes, and mirrored, and averages what it sees.

    Shapes: as the model's: (N, 3, H, W) to (N, K, H, W), here the logarithm of the mean of the
    probabilities (v3, section 4.2; v2 takes the highest score of the scales instead). It costs as
    many passes as there are views and is reported apart from the single view.

    Args:
        model: meets the model contract; use it in eval mode.
        scales: factors of the image's size, each giving at least 32 px a side.
        flip: also look at every size mirrored left to right.

    Raises:
        ValueError: no scales, or one that is not positive; forward: an image too small for one.
    """

    def __init__(
        self, model: nn.Module, scales: tuple[float, ...] = (0.75, 1.0, 1.25), flip: bool = True
    ):
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales are {tuple(scales)}: give one or more factors above 0")
        self.model, self.scales, self.flip = model, tuple(scales), flip

    def forward(self, image: Tensor) -> Tensor:
        """Log-probabilities at the image's size."""
        H, W = image.shape[2:]
        total = 0.0
        for scale in self.scales:
            size = (round(H * scale), round(W * scale))
            if min(size) < 32:
                raise ValueError(
                    f"an image of {H}x{W} at scale {scale:g} is {size[0]}x{size[1]} and 32 px a "
                    f"side are needed: leave out scales below {32 / min(H, W):g}"
                )
            view = image
            if size != (H, W):
                view = F.interpolate(image, size, mode="bilinear", antialias=scale < 1)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self.model(view.flip(3) if mirrored else view)
                logits = logits.flip(3) if mirrored else logits
                if size != (H, W):
                    logits = F.interpolate(logits, (H, W), mode="bilinear")
                total = total + logits.softmax(1)
        views = len(self.scales) * (1 + self.flip)
        return (total / views).clamp(min=torch.finfo(total.dtype).tiny).log()
