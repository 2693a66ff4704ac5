"""Zero padding in every layer, and where it breaks the sliding window (book/sliding_window.ipynb).

An unpadded network run over a padded image scores every window as if it stood alone. The same
weights with padding in every layer keep the size of the image, and give other scores near its
border: each layer sees zeros where the layer below would have computed something.
"""

import copy

from torch import Tensor, nn

from segcourse.sliding_window import PatchClassifier, dense


def padded_twin(classifier: PatchClassifier) -> PatchClassifier:
    """A copy with the same weights whose every convolution pads with zeros and keeps the size.

    Args:
        classifier: of stride 1.

    Returns:
        A classifier whose forward takes (N, 3, H, W) to (N, K, H, W).

    Raises:
        ValueError: the classifier has a stride.
    """
    if classifier.stride != 1:
        raise ValueError(
            f"a padded twin needs stride 1, this classifier has {classifier.stride}: "
            "build it with stride=1"
        )
    twin = copy.deepcopy(classifier)
    for layer in twin.layers:
        if isinstance(layer, nn.Conv2d):
            layer.padding = tuple(k // 2 for k in layer.kernel_size)
    return twin


def border_strip(classifier: PatchClassifier) -> int:
    """Width in pixels of the border where `differs` is true: (P - k) / 2, k the first kernel.

    The first layer sees zeros outside the image either way. Every later layer sees zeros in the
    twin, but what the first layer made of the padding (its batch norm's shift, at least) in the
    other.

    Raises:
        ValueError: the classifier has a stride.

    >>> border_strip(PatchClassifier(9, num_classes=2)), border_strip(PatchClassifier(3, 2))
    (3, 0)
    """
    if classifier.stride != 1:
        raise ValueError(f"needs stride 1, this classifier has {classifier.stride}")
    return (classifier.window - classifier.layers[0].kernel_size[0]) // 2


def differs(classifier: PatchClassifier, image: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Where zero padding in each layer changes the score of a window padded once.

    Args:
        classifier: of stride 1, in evaluation mode. Use float64: float32 rounding is above the
            default tolerance.
        image: (N, 3, H, W).
        tolerance: largest absolute difference of a logit that still counts as equal.

    Returns:
        (N, H, W) bool: True in a strip of `border_strip(classifier)` pixels along the border.

    Raises:
        ValueError: the classifier has a stride.
    """
    half = classifier.window // 2
    once = dense(classifier, nn.functional.pad(image, (half,) * 4))
    every_layer = padded_twin(classifier).layers(image)
    return (once - every_layer).abs().amax(1) > tolerance
