"""Full resolution in every layer: the plain idea and its bill (book/sliding_window.ipynb).

Padded 3x3 convolutions that never shrink give a score for every pixel in one pass. Nothing is
lost, and every layer pays for every pixel, in time and in memory.
"""

from torch import Tensor, nn


class FullResolutionNet(nn.Module):
    """Padded 3x3 convolutions that keep every pixel: no stride, no pooling, no dilation.

    Simple and expensive: each layer costs 9 * in * out multiply-adds for every pixel, and its
    output waits in memory at full size for the backward pass.

    Shapes: (N, 3, H, W) to (N, K, H, W), any H and W.

    Args:
        num_classes: K.
        widths: channels of each 3x3 layer; a pixel sees 2 * len(widths) + 1 pixels across.

    Raises:
        ValueError: no widths.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (32, 32, 64, 64)):
        super().__init__()
        if not widths:
            raise ValueError("widths is empty: give the channels of one 3x3 layer at least")
        self.num_classes, self.widths = num_classes, tuple(widths)
        layers: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            # No bias: the batch norm that follows would take it away again.
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float to logits (N, K, H, W)."""
        return self.layers(image)
