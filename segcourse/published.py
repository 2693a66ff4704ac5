"""The published numbers on CamVid, each with its protocol (book/results.ipynb).

Eleven classes, SegNet's split, 233 test images. The numbers do not share one protocol, so the
columns that say so belong to every one of them.
"""

from dataclasses import dataclass

TIRAMISU = "Jégou 2017"
SEGNET = "Badrinarayanan 2017"
"""Table 3 of either paper."""


@dataclass(frozen=True)
class Published:
    """One line of a published table.

    miou and accuracy in percent, accuracy None where it is not given. images: what was trained on.
    pretrained: on other data. size: (H, W) in pixels. ours: the network of the course that is
    nearest to it, without its backbone; "" where there is none.
    """

    model: str
    miou: float
    accuracy: float | None
    images: int
    pretrained: bool
    size: tuple[int, int]
    source: str
    ours: str = ""


FULL = (360, 480)

CAMVID = (
    Published("FC-DenseNet103", 66.9, 91.5, 367, False, FULL, TIRAMISU),
    Published("FC-DenseNet67", 65.8, 90.8, 367, False, FULL, TIRAMISU),
    Published("FC-DenseNet56", 58.9, 88.9, 367, False, FULL, TIRAMISU),
    Published("Classic upsampling, like U-Net", 55.2, 86.8, 367, False, FULL, TIRAMISU, "unet"),
    Published("Dilation8", 65.3, None, 367, True, (480, 640), TIRAMISU, "dilated-context"),
    Published("Bayesian SegNet", 63.1, 86.9, 367, True, FULL, TIRAMISU),
    Published("DeepLab-LargeFOV", 61.6, None, 367, True, FULL, TIRAMISU, "largefov"),
    Published("FCN-8s", 57.0, 88.0, 367, True, FULL, TIRAMISU, "fcn8s"),
    Published("DeconvNet", 48.9, 85.9, 367, True, FULL, TIRAMISU, "deconvnet"),
    Published("SegNet", 60.10, 90.40, 3433, True, FULL, SEGNET, "segnet"),
    Published("DeconvNet", 59.77, 89.58, 3433, True, FULL, SEGNET, "deconvnet"),
    Published("DeepLab-LargeFOV", 53.88, 88.20, 3433, True, FULL, SEGNET, "largefov"),
    Published("DeepLab-LargeFOV + CRF", 54.74, 89.71, 3433, True, FULL, SEGNET),
    Published("FCN", 49.83, 83.27, 3433, True, FULL, SEGNET),
    Published("FCN, learnt deconvolution", 51.96, 83.14, 3433, True, FULL, SEGNET),
)
"""Best of each protocol first."""
