"""A fully connected CRF as a layer: mean field whose gradients reach everything (book/crf.ipynb).

Every pixel hears every other one, near pixels of like colour most, and a few rounds of hearing
settle the labels (Kraehenbuehl and Koltun 2011). Each round is Gaussian filtering and a softmax,
so that a network before it can learn with it (Zheng et al. 2015, CRF as RNN).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcourse.fused_mean_field import fused_mean_field
from segcourse.gaussian_filters import Filter, check_sigma
from segcourse.permutohedral import Lattice, lattice


class DenseCRF(nn.Module):
    """Mean field with an appearance and a smoothness kernel.

    The appearance kernel joins pixels that are near each other and of like colour, the smoothness
    kernel those that are near. Both are normalized symmetrically, K_ij / sqrt(sum K_i sum K_j),
    and a pixel hears itself (j = i), as in the usual C++ package and unlike the paper's sums.

    Under autocast it computes in the weights' dtype all the same: give it `logits.float()`.

    Where no gradient is asked for (under `torch.no_grad()`) and both filters are lattices a fused
    loop gives the same numbers sooner.

    Args:
        num_labels: K.
        appearance_weight: of the appearance kernel, learned from here.
        sxy: its reach in pixels.
        srgb: its reach in colour units of 0..255.
        smoothness_weight: of the smoothness kernel, learned from here.
        sxy_smooth: its reach in pixels.
        iterations: rounds of mean field, 0 or more; 5 are enough in most images.
        appearance_filter: builds a filter from features (N, P, 5), as `permutohedral.lattice` and
            `gaussian_filters.brute_force` do.
        smoothness_filter: the same for features (N, P, 2).

    Raises:
        ValueError: a sigma is not positive, there are fewer than 2 labels, or iterations are
            negative; forward: shapes, sizes, dtypes or NaN that do not fit.
    """

    def __init__(
        self,
        num_labels: int,
        appearance_weight: float = 10.0,
        sxy: float = 80.0,
        srgb: float = 13.0,
        smoothness_weight: float = 3.0,
        sxy_smooth: float = 3.0,
        iterations: int = 5,
        appearance_filter: Callable[[Tensor], Filter] = lattice,
        smoothness_filter: Callable[[Tensor], Filter] = lattice,
    ):
        super().__init__()
        check_sigma("sxy", sxy, "pixels")
        check_sigma("srgb", srgb, "colour units (0..255)")
        check_sigma("sxy_smooth", sxy_smooth, "pixels")
        if num_labels < 2:
            raise ValueError(f"num_labels is {num_labels}: a choice takes 2 or more")
        if iterations < 0:
            raise ValueError(f"iterations is {iterations}: give 0 or more")
        self.sxy, self.srgb, self.sxy_smooth = sxy, srgb, sxy_smooth
        self.iterations = iterations
        self.builders = (appearance_filter, smoothness_filter)
        self.weights = nn.Parameter(
            torch.tensor([float(appearance_weight), float(smoothness_weight)])
        )
        self.compatibility = nn.Parameter(1 - torch.eye(num_labels))  # Potts

    def forward(self, logits: Tensor, images: Tensor) -> Tensor:
        """Refine scores by the image.

        Args:
            logits: (N, K, H, W), of the weights' dtype.
            images: (N, 3, H, W) uint8.

        Returns:
            (N, K, H, W), the logarithm of each pixel's label probabilities.
        """
        self._check(logits, images)
        # In the half precision of autocast neither places nor messages have enough digits.
        with torch.autocast(logits.device.type, enabled=False):
            return self._mean_field(logits, images)

    def _mean_field(self, logits: Tensor, images: Tensor) -> Tensor:
        features = self.features(images, logits.dtype)
        asked = torch.is_grad_enabled() and (
            logits.requires_grad or any(p.requires_grad for p in self.parameters())
        )
        if not asked and self.builders == (lattice, lattice):
            lattices = [Lattice(each, symmetric=True) for each in features]
            potts = torch.equal(self.compatibility, 1 - torch.eye(logits.shape[1]).to(logits))
            return fused_mean_field(
                logits,
                lattices,
                self.weights.tolist(),
                None if potts else self.compatibility,
                self.iterations,
            )
        kernels = [build(each) for build, each in zip(self.builders, features, strict=True)]
        kernels = [_symmetric(kernel, each) for kernel, each in zip(kernels, features, strict=True)]
        unary = logits.flatten(2).mT  # (N, H * W, K)
        log_marginals = F.log_softmax(unary, 2)
        for _ in range(self.iterations):
            marginals = log_marginals.exp()
            heard = sum(
                w * kernel(marginals) for w, kernel in zip(self.weights, kernels, strict=True)
            )
            log_marginals = F.log_softmax(unary - heard @ self.compatibility.T, 2)
        return log_marginals.mT.reshape(logits.shape)

    def features(self, images: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Positions and colours, and positions, in sigmas: (N, H * W, 5) and (N, H * W, 2).

        x comes before y, as in the C++ package: in another order the same filter is approximated
        by another lattice.
        """
        N, _, H, W = images.shape
        rows = torch.arange(H, device=images.device, dtype=dtype)
        columns = torch.arange(W, device=images.device, dtype=dtype)
        positions = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2).view(1, H * W, 2)
        positions = positions.expand(N, -1, -1)
        colours = images.flatten(2).mT.to(dtype)
        appearance = torch.cat([positions / self.sxy, colours / self.srgb], 2)
        return appearance, positions / self.sxy_smooth

    def _check(self, logits: Tensor, images: Tensor) -> None:
        K = len(self.compatibility)
        N, _, H, W = logits.shape if logits.dim() == 4 else (None,) * 4
        if logits.dim() != 4 or logits.shape[1] != K or 0 in logits.shape:
            raise ValueError(f"logits have shape {tuple(logits.shape)}: give (N, {K}, H, W)")
        if logits.dtype != self.weights.dtype:
            raise ValueError(
                f"logits are {logits.dtype} and the weights {self.weights.dtype}: convert either"
            )
        if logits.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"logits and weights are {logits.dtype}, which cannot tell the places of pixels "
                "apart: call float() on the CRF and on the logits"
            )
        if images.shape != (N, 3, H, W):
            raise ValueError(
                f"images have shape {tuple(images.shape)}: logits {tuple(logits.shape)} need "
                f"{(N, 3, H, W)}; resize the logits to the image first"
            )
        if images.dtype != torch.uint8:
            raise ValueError(
                f"images are {images.dtype}: give uint8, 0..255, the unit in which srgb is counted"
            )
        if not torch.isfinite(logits.detach().sum()):
            wrong = (~torch.isfinite(logits)).sum().item()
            if wrong:
                raise ValueError(f"logits hold NaN or infinity at {wrong} places: mend them first")


def _symmetric(kernel: Filter, features: Tensor) -> Filter:
    """`gaussian_filters.normalized`, with the row sums taken once for all iterations."""
    scale = kernel(torch.ones_like(features[..., :1])).rsqrt()
    return lambda values: scale * kernel(scale * values)
