"""Overlap-tile: label an image of any size piece by piece, as if it were whole (book/unet.ipynb).

Each tile is seen with a margin of what surrounds it, and only its middle is kept. That equals the
whole image under two conditions: the margin covers all that a pixel looks at, and tiles start at
multiples of the network's stride, since pooling pairs pixels by their place (Ronneberger et al.
2015, figure 2). Memory then depends on the tile and not on the image.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """A piece of an image: rows and columns in px.

    Args:
        core: what the tile answers for; the cores of an image neither overlap nor leave gaps.
        seen: what the network is given, the core and its margin, cut at the image's border.
    """

    core: Window
    seen: Window

    @property
    def kept(self) -> Window:
        """The core, counted from the corner of what is seen."""
        return tuple(
            slice(core.start - seen.start, core.stop - seen.start)
            for core, seen in zip(self.core, self.seen, strict=True)
        )


@dataclass(frozen=True)
class Geometry:
    """What decides where tiles may lie.

    Args:
        step: tiles start at multiples of it, px: 2^depth of a U-Net.
        reach: how far a logit looks, px, to the farther side.
    """

    step: int
    reach: int

    @property
    def margin(self) -> int:
        """A multiple of the step above the reach, which max pools can make measure 1 px short."""
        return (self.reach // self.step + 1) * self.step


def tiles(size: tuple[int, int], tile: int, margin: int, step: int) -> Iterator[Tile]:
    """Cut an image into tiles, row by row.

    Args:
        size: (H, W) of the image in px.
        tile: side of a core in px; at the right and lower border cores are smaller.
        margin: px seen around a core, where the image goes on.
        step: of the network; tile and margin are multiples of it.

    Yields:
        The tiles.

    Raises:
        ValueError: a number is out of range or not a multiple of the step; the text names the
            nearest that is.
    """
    if min(*size, tile, step) < 1 or margin < 0:
        raise ValueError(
            f"size is {tuple(size)}, tile {tile}, margin {margin}, step {step}: give 1 px or more, "
            "and a margin of 0 or more"
        )
    for name, value in (("tile", tile), ("margin", margin)):
        if value % step:
            below, above = value // step * step, -(-value // step) * step
            choice = f"{below} or {above}" if below else f"{above}"
            raise ValueError(
                f"the {name} is {value} px and the network's stride {step}: pools would pair other "
                f"pixels than in the whole image, so use {choice}"
            )
    H, W = size
    for top in range(0, H, tile):
        for left in range(0, W, tile):
            core = slice(top, min(top + tile, H)), slice(left, min(left + tile, W))
            seen = tuple(
                slice(max(c.start - margin, 0), min(c.stop + margin, n))
                for c, n in zip(core, size, strict=True)
            )
            yield Tile(core, seen)


@torch.inference_mode()
def logits_by_tile(
    model: nn.Module,
    read: Callable[[slice, slice], Tensor],
    size: tuple[int, int],
    tile: int,
    margin: int,
    step: int,
) -> Iterator[tuple[Window, Tensor]]:
    """Run a model over an image that is read piece by piece.

    Args:
        model: meets the model contract, in eval mode.
        read: (rows, columns) to that part of the image, (1, 3, h, w) float, on the model's device.
        size: (H, W) of the image in px.
        tile, margin, step: see `tiles`; `measure` gives step and margin.

    Yields:
        Each core, and its logits (1, K, h, w).

    Raises:
        ValueError: as `tiles`.
    """
    for one in tiles(size, tile, margin, step):
        yield one.core, model(read(*one.seen))[:, :, *one.kept]


def label_by_tile(
    model: nn.Module,
    read: Callable[[slice, slice], Tensor],
    size: tuple[int, int],
    tile: int,
    margin: int,
    step: int,
    out: Tensor | None = None,
) -> Tensor:
    """The label map of an image that is read piece by piece.

    Args:
        model, read, size, tile, margin, step: as `logits_by_tile`.
        out: (H, W) uint8 on the CPU to write to, as one that `torch.from_file` maps; None: new.

    Returns:
        `out`: the class with the highest logit.

    Raises:
        ValueError: as `tiles`; `out` has another size; the model has more than 256 classes.
    """
    out = torch.empty(size, dtype=torch.uint8) if out is None else out
    if tuple(out.shape) != tuple(size) or out.dtype != torch.uint8:
        raise ValueError(
            f"out is {tuple(out.shape)} {out.dtype}: {tuple(size)} torch.uint8 is needed"
        )
    for core, logits in logits_by_tile(model, read, size, tile, margin, step):
        if logits.shape[1] > 256:
            raise ValueError(f"{logits.shape[1]} classes do not fit in a byte: use logits_by_tile")
        out[core] = logits[0].argmax(0).to("cpu", torch.uint8)
    return out


def measure(model: nn.Module, side: int = 256, largest: int = 2048) -> Geometry:
    """Find a model's step and reach by trying, whatever it is made of.

    The step is the smallest power of two by which an image may be moved so that the logits move
    with it. The reach is where gradients end: those of the logits at every place of one step.

    Args:
        model: meets the model contract, in eval mode; on any device.
        side: of the noise image that is tried first, px; it is doubled until no gradient reaches
            its border.
        largest: side at which to give up, px.

    Returns:
        The geometry.

    Raises:
        ValueError: the model sees further than `largest` allows, as image pooling does, or its
            logits do not move with the image.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    while side <= largest:
        noise = torch.randn(1, 3, side, side, generator=generator, dtype=dtype).to(device)
        if dtype != torch.float64 and _is_flat(model, noise):
            model, noise = deepcopy(model).double().cpu(), noise.double().cpu()
            device, dtype = noise.device, noise.dtype
        step = _step(model, noise)
        reach = None if step is None else _reach(model, noise, step)
        if reach is not None:
            return Geometry(step, reach)
        side *= 2
    raise ValueError(
        f"a logit of this model looks further than {largest // 2} px, or at the whole image as "
        "image pooling does: no margin makes tiles equal to the whole; choose one yourself"
    )


@torch.inference_mode()
def _is_flat(model: nn.Module, noise: Tensor) -> bool:
    """Whether logits hardly differ from place to place, so that rounding hides by how much.

    So it is with deep networks of batch norm before they are trained.
    """
    logits = model(noise)
    return bool((logits.std((0, 2, 3)) < 1e-3 * logits.abs().amax((0, 2, 3))).any())


@torch.inference_mode()
def _step(model: nn.Module, noise: Tensor) -> int | None:
    """The smallest power of two by which the image may move; None where none up to 64 does."""
    whole = model(noise)
    side, middle = noise.shape[-1], noise.shape[-1] // 2
    part = slice(middle - 8, middle + 8)
    tolerance = 1e-2 * whole.std((0, 2, 3), keepdim=True)
    for step in (2**i for i in range(7)):
        if side - step < middle + 8:
            return None
        moved = model(noise[..., step:, step:])
        at = slice(part.start - step, part.stop - step)
        if ((moved[..., at, at] - whole[..., part, part]).abs() <= tolerance).all():
            return step
    return None


@torch.inference_mode(False)
@torch.enable_grad()
def _reach(model: nn.Module, noise: Tensor, step: int) -> int | None:
    """The farthest pixel that a logit in the middle looks at; None where it is at the border."""
    side = noise.shape[-1]
    first = side // 2 // step * step
    farthest, places = 0, [first + phase for phase in sorted({0, step // 2, step - 1})]
    # A ReLU that is off hides what lies behind it, so several images are looked at.
    seen = {at: torch.zeros(side, side, dtype=torch.bool) for at in places}
    for k in range(0, 4 * step, step):
        image = noise.roll(k, 3).requires_grad_()
        logits = model(image)
        for at in places:
            score = logits[0, :, at, at].abs().sum()
            (grad,) = torch.autograd.grad(score, image, retain_graph=True)
            seen[at] |= (grad[0] != 0).any(0).cpu()
    for at in places:
        found = seen[at].nonzero()  # (n, 2)
        if len(found) == 0 or found.min() == 0 or found.max() == side - 1:
            return None
        farthest = max(farthest, at - int(found.min()), int(found.max()) - at)
    return farthest
