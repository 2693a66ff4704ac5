"""Classify every window: segmentation with nothing but a classifier (book/sliding_window.ipynb).

A window of P x P pixels around a pixel goes through a small unpadded network and gives that
pixel's class. Neighbouring windows share almost all their pixels, so one pass of the same weights
over the whole image gives the same scores for a small part of the work; the functions here do it
both ways. `window_cost` counts the work, `zero_padding` shows what breaks the equality.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

# Weight layers that share the window between them. Four with larger kernels train in seconds on a
# CPU, where one layer for every two pixels (31 layers of 3x3 for 63 pixels) would not.
DEPTH = 4


def kernel_sizes(window: int, stride: int = 1) -> list[int]:
    """Kernels that take a window to 1x1 once the strided stages have shrunk it.

    Each strided stage is a 3x3 convolution and a 3x3 max pool of stride 2, so it turns n pixels
    into (n - 3) / 2. What is left is shared between at most `DEPTH` convolutions as evenly as odd
    kernels allow; only a leftover of even size ends in one even kernel.

    Args:
        window: side of the window in pixels, odd. Stride 1 takes 1, 3, 5, ...; stride 2 takes
            5, 7, 9, ...; stride 4 takes 13, 17, 21, ...
        stride: total stride of the network, 1, 2 or 4.

    Returns:
        Kernel sizes in pixels of the reduced grid, empty when the stages leave one pixel.

    Raises:
        ValueError: the window cannot become exactly 1x1, or the stride is not 1, 2 or 4.

    >>> kernel_sizes(9), kernel_sizes(31), kernel_sizes(53, stride=4)
    ([3, 3, 3, 3], [9, 9, 9, 7], [5, 3, 3, 3])
    """
    first_and_step = {1: (1, 2), 2: (5, 2), 4: (13, 4)}
    if stride not in first_and_step:
        raise ValueError(f"stride {stride} is not built here: use 1, 2 or 4")
    first, step = first_and_step[stride]
    if window < first or (window - first) % step:
        nearest = max(first, first + round((window - first) / step) * step)
        raise ValueError(
            f"a window of {window} pixels does not become 1x1 at stride {stride}: "
            f"windows {first}, {first + step}, {first + 2 * step}, ... do; use {nearest}"
        )
    rest = window
    for _ in range(stride.bit_length() - 1):
        rest = (rest - 3) // 2
    if rest == 1:
        return [1] if stride == 1 else []
    pairs = (rest - 1) // 2
    depth = min(DEPTH, max(pairs, 1))
    kernels = [1 + 2 * (pairs // depth + (i < pairs % depth)) for i in range(depth)]
    kernels[-1] += (rest - 1) % 2
    return kernels


class PatchClassifier(nn.Module):
    """Classify the pixel in the middle of a window, with unpadded convolutions only.

    Nothing in it depends on the size of its input, so a larger image gives a grid of scores, one
    for each window at every `stride` pixels. A window's score is its own only after `eval()`: in
    training mode batch norm takes its mean over everything in the batch.

    Shapes: (N, 3, P, P) to (N, K, 1, 1), where P is `window`; (N, 3, H, W) to
    (N, K, (H - P) // stride + 1, (W - P) // stride + 1).

    Args:
        window: side P of the window in pixels, odd; see `kernel_sizes` for those that fit.
        num_classes: K.
        width: channels of every hidden layer.
        stride: total stride, 1, 2 or 4. Stride is what makes a large window cheap.

    Raises:
        ValueError: the window does not fit the stride; forward is given a smaller image, or one
            window alone in training mode.
    """

    def __init__(self, window: int, num_classes: int, width: int = 32, stride: int = 1):
        super().__init__()
        kernels = kernel_sizes(window, stride)
        self.window, self.num_classes, self.stride = window, num_classes, stride
        layers: list[nn.Module] = []
        channels = 3
        for _ in range(stride.bit_length() - 1):
            layers += [*_convolution(channels, width, 3), nn.MaxPool2d(3, stride=2)]
            channels = width
        for kernel in (*kernels, 1):
            layers += _convolution(channels, width, kernel)
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float to logits (N, K, h, w), one for each whole window."""
        H, W = image.shape[-2:]
        if min(H, W) < self.window:
            raise ValueError(
                f"an image of {H}x{W} holds no window of {self.window}x{self.window}: pad it, or "
                "use SlidingWindow(classifier), which does"
            )
        if self.training and len(image) == 1 and max(H, W) < self.window + self.stride:
            raise ValueError(
                "one window alone has no variance for batch norm to learn from: train with two "
                "windows or more in a batch, or call eval() first"
            )
        return self.layers(image)


def _convolution(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    # No bias: the batch norm that follows would take it away again.
    conv = nn.Conv2d(in_channels, out_channels, kernel, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]


def windows(image: Tensor, size: int, stride: int = 1) -> Tensor:
    """Every size x size window of an image, row by row. Costs size^2 times the image's memory.

    Args:
        image: (N, C, H, W), padded or not; windows lie wholly inside it.
        size: side of a window in pixels.
        stride: pixels from one window to the next.

    Returns:
        (N, P, C, size, size), P = ((H - size) // stride + 1) * ((W - size) // stride + 1).

    Raises:
        ValueError: the image is smaller than one window.

    >>> windows(torch.arange(9.0).reshape(1, 1, 3, 3), 2)[0, :, 0, 0, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    N, C = image.shape[:2]
    view = _window_view(image, size, stride)
    return view.permute(0, 2, 3, 1, 4, 5).reshape(N, -1, C, size, size)


def window_chunks(image: Tensor, size: int, chunk: int) -> Iterator[Tensor]:
    """The windows of `windows(image, size)` at most `chunk` at a time, in bounded memory.

    Args:
        image: (N, C, H, W).
        size: side of a window in pixels.
        chunk: windows held in memory at once.

    Yields:
        (n, C, size, size) with n <= chunk: image by image, row by row.

    Raises:
        ValueError: the image is smaller than one window.
    """
    view = _window_view(image, size, 1).permute(0, 2, 3, 1, 4, 5)  # a view: no memory yet
    N, rows, cols = view.shape[:3]
    for places in torch.arange(N * rows * cols, device=image.device).split(chunk):
        yield view[places // (rows * cols), places // cols % rows, places % cols]


def _window_view(image: Tensor, size: int, stride: int) -> Tensor:
    """(N, C, H, W) to a view (N, C, rows, cols, size, size)."""
    H, W = image.shape[-2:]
    if size < 1 or min(H, W) < size:
        raise ValueError(f"an image of {H}x{W} holds no window of {size}x{size}: pad it first")
    return image.unfold(2, size, stride).unfold(3, size, stride)


def classify_windows(classifier: PatchClassifier, image: Tensor, chunk: int = 1024) -> Tensor:
    """One forward pass a window: the slow way, which shares nothing.

    Args:
        classifier: any total stride; here it only ever sees one window.
        image: (N, 3, H, W).
        chunk: windows in one batch; bounds the memory, changes no score.

    Returns:
        Logits (N, K, H - P + 1, W - P + 1): one for each whole window.

    Raises:
        ValueError: the image is smaller than one window, or the classifier is in training mode.
    """
    if classifier.training:
        raise ValueError(
            "the classifier is in training mode, where batch norm mixes the windows of a batch "
            "and a score depends on the chunk: call classifier.eval() first"
        )
    N, _, H, W = image.shape
    rows, cols = H - classifier.window + 1, W - classifier.window + 1
    scores = [classifier(batch) for batch in window_chunks(image, classifier.window, chunk)]
    return torch.cat(scores).reshape(N, rows, cols, -1).permute(0, 3, 1, 2)


def dense(classifier: PatchClassifier, image: Tensor) -> Tensor:
    """One pass over the whole image with the same weights: windows share their work.

    Equal to `classify_windows(classifier, image)[..., ::s, ::s]` at total stride s.

    Args:
        classifier: unpadded.
        image: (N, 3, H, W).

    Returns:
        Logits (N, K, (H - P) // s + 1, (W - P) // s + 1).

    Raises:
        ValueError: the image is smaller than one window.
    """
    return classifier(image)


def shift_and_stitch(classifier: PatchClassifier, image: Tensor) -> Tensor:
    """Every window's score from a strided classifier: s x s shifted passes, interleaved.

    The pass over the image without its first r rows and c columns scores the windows at rows
    r, r + s, r + 2s, ... and columns c, c + s, ... Exact (Sermanet et al. 2014, section 3;
    Long et al. 2015, section 3.2).

    Args:
        classifier: of total stride s.
        image: (N, 3, H, W).

    Returns:
        Logits (N, K, H - P + 1, W - P + 1), equal to `classify_windows`.

    Raises:
        ValueError: the image is smaller than one window.
    """
    s, rows, cols = classifier.stride, *(n - classifier.window + 1 for n in image.shape[-2:])
    first = classifier(image)
    out = first.new_empty(*first.shape[:2], rows, cols)
    for r in range(min(s, rows)):
        for c in range(min(s, cols)):
            shifted = first if r == c == 0 else classifier(image[..., r:, c:])
            out[..., r::s, c::s] = shifted
    return out


def reflect_pad(image: Tensor, padding: int) -> Tensor:
    """Pad by reflection about the border pixels, as often as a tiny image needs.

    Args:
        image: (N, C, H, W), any H and W from 1 up. torch's own padding refuses padding >= H.
        padding: pixels added on each side.

    Returns:
        (N, C, H + 2 * padding, W + 2 * padding).

    >>> reflect_pad(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 2)[0, 0, 2].tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    for axis in (2, 3):
        last = image.shape[axis] - 1
        place = torch.arange(-padding, last + 1 + padding, device=image.device).abs()
        place = place % max(2 * last, 1)  # the reflection of a reflection repeats every 2 * last
        image = image.index_select(axis, torch.minimum(place, 2 * last - place))
    return image


class SlidingWindow(nn.Module):
    """A patch classifier as a segmentation network: logits at the image's own size.

    Pads by half a window with reflection, so that every pixel has a window of pixels that look
    like the image; then one dense pass, or shift-and-stitch where the classifier has a stride.

    Args:
        classifier: its weights are shared, not copied.
    """

    def __init__(self, classifier: PatchClassifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float, any H and W, to logits (N, K, H, W)."""
        return shift_and_stitch(self.classifier, reflect_pad(image, self.classifier.window // 2))
