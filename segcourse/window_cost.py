"""What neighbouring windows share, and what it costs not to share it (book/sliding_window.ipynb).

One window a pixel computes every feature again for each window that holds it. The ratio between
that and one pass over the image follows from the layers alone, before any clock is read.
"""

from torch import nn

from segcourse.sliding_window import PatchClassifier


def shared_fraction(window: int, offset: tuple[int, int]) -> float:
    """Fraction of a window's pixels that its neighbour at `offset` (rows, cols) holds too.

    Args:
        window: side in pixels.
        offset: whole pixels down and right, of either sign.

    >>> shared_fraction(31, (0, 1)), shared_fraction(3, (1, -1)), shared_fraction(3, (0, 3))
    (0.967741935483871, 0.4444444444444444, 0.0)
    """
    rows, cols = (max(0, window - abs(step)) for step in offset)
    return rows * cols / window**2


def pass_multiply_adds(classifier: PatchClassifier, size: tuple[int, int]) -> list[int]:
    """Multiply-adds of one forward pass, convolution by convolution.

    A convolution costs k * k * in * out for each pixel that it puts out; pooling, ReLU and batch
    norm (which folds into the convolution before it) are left out.

    Args:
        classifier: the network.
        size: (H, W) of its input in pixels, at least one window.

    Returns:
        One number for each convolution, first to last.
    """
    H, W = size
    costs = []
    for layer in classifier.layers:
        if isinstance(layer, nn.Conv2d):
            (k, _), s = layer.kernel_size, 1
        elif isinstance(layer, nn.MaxPool2d):
            k, s = layer.kernel_size, layer.stride
        else:
            continue
        H, W = (H - k) // s + 1, (W - k) // s + 1
        if isinstance(layer, nn.Conv2d):
            costs.append(H * W * k * k * layer.in_channels * layer.out_channels)
    return costs


def predicted_ratio(classifier: PatchClassifier, size: tuple[int, int]) -> float:
    """Multiply-adds of one window a pixel over those of the passes that share their work.

    The sharing way is one dense pass at stride 1, and the s * s passes of shift-and-stitch at
    stride s: both give the score of every window.

    Args:
        classifier: the network.
        size: (H, W) in pixels of the image as given to it, with any padding already added.

    Returns:
        How many times more the slow way computes. It tends to the mean of (side of a layer's
        output within one window)^2, weighted by the layers' cost, as the image grows.
    """
    P, s = classifier.window, classifier.stride
    rows, cols = size[0] - P + 1, size[1] - P + 1
    slow = rows * cols * sum(pass_multiply_adds(classifier, (P, P)))
    shared = sum(
        sum(pass_multiply_adds(classifier, (size[0] - r, size[1] - c)))
        for r in range(min(s, rows))
        for c in range(min(s, cols))
    )
    return slow / shared
