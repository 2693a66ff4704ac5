"""Max pooling that remembers where, and its way back (book/upsampling.ipynb).

A switch is the place of a window's maximum. Unpooling puts a value back at its switch and zeros
everywhere else: exactly what the backward pass of max pooling does with a gradient. Fixed and
random switches have the same form and know nothing of the image: what they lack is what the true
ones carry (book/deconvnet.ipynb).
"""

import torch
from torch import Tensor


def max_pool(x: Tensor, kernel_size: int, stride: int | None = None) -> tuple[Tensor, Tensor]:
    """The maximum of each window, and its switch.

    Args:
        x: (N, C, H, W), H and W at least `kernel_size`; rows and columns left over by the last
            whole window are dropped.
        kernel_size: side of a window in pixels.
        stride: pixels from one window to the next; `kernel_size` by default. Below it windows
            overlap, and neighbours may share a switch.

    Returns:
        Values (N, C, h, w), with h = (H - kernel_size) // stride + 1, and switches (N, C, h, w)
        int64, where row r, column c of `x` is r * W + c; of equal values the first in reading
        order wins. Both as `torch.nn.functional.max_pool2d` with `return_indices`.

    Raises:
        ValueError: the image holds no whole window; a size or stride below 1.

    >>> values, switches = max_pool(Tensor([[[[1, 5, 2, 0], [3, 4, 8, 6]]]]), 2)
    >>> values.tolist(), switches.tolist()
    ([[[[5.0, 8.0]]]], [[[[1, 6]]]])
    """
    k, s = _window(kernel_size, stride)
    H, W = x.shape[-2:]
    if min(H, W) < k:
        raise ValueError(f"a {H}x{W} map holds no {k}x{k} window: it has to be {k}x{k} or larger")
    windows = x.unfold(2, k, s).unfold(3, k, s).flatten(4)  # (N, C, h, w, k * k)
    values, inside = windows.max(dim=-1)
    return values, _corners((H, W), k, s, x) + inside // k * W + inside % k


def max_unpool(y: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """Put each value at its switch in a map of zeros; values that share a switch are added.

    This is the backward pass of max pooling. Where no windows overlap it equals
    `torch.nn.functional.max_unpool2d`, which writes in place of adding: of values that share a
    switch one survives there, and nothing says which.

    Args:
        y: (N, C, h, w), of either sign.
        switches: (N, C, h, w) int64, places r * W + c.
        size: (H, W) of the result in pixels: the size of what was pooled.

    Returns:
        (N, C, H, W), like `y` in device and type.

    Raises:
        ValueError: `y` and `switches` differ in shape; a switch lies outside `size` (looked for on
            a CPU alone: a GPU would have to wait for the answer, and refuses by itself).

    >>> max_unpool(Tensor([[[[5, 8]]]]), torch.tensor([[[[1, 6]]]]), (2, 4)).tolist()
    [[[[0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 8.0, 0.0]]]]
    """
    H, W = size
    if y.shape != switches.shape:
        raise ValueError(
            f"values of shape {tuple(y.shape)} and switches of shape {tuple(switches.shape)}: each "
            f"value needs its switch, so give values of shape {tuple(switches.shape)}"
        )
    # A network that is compiled or exported has no numbers to look at.
    looks = switches.device.type == "cpu" and not torch.compiler.is_compiling()
    if looks and switches.numel():
        low, high = (int(place) for place in switches.aminmax())
        if low < 0 or high >= H * W:
            raise ValueError(
                f"switches lie in {low}..{high}, a map of {H}x{W} has places 0..{H * W - 1}: "
                f"give the size of the map that was pooled, at least {high // W + 1} rows at {W} "
                "columns"
                if low >= 0
                else f"switches start at {low}: places are counted from 0"
            )
    out = y.new_zeros(*y.shape[:2], H * W)
    return out.scatter_add(2, switches.flatten(2), y.flatten(2)).unflatten(2, (H, W))


def fixed_switches(
    y: Tensor, size: tuple[int, int], kernel_size: int = 2, stride: int | None = None
) -> Tensor:
    """Switches that all point to the top-left corner of their window: a bed of nails.

    Args:
        y: (N, C, h, w), the values to place; only its shape and device matter.
        size: (H, W) of the unpooled map in pixels.
        kernel_size, stride: of the pooling that is undone, as in `max_pool`.

    Returns:
        (N, C, h, w) int64.

    Raises:
        ValueError: pooling a map of `size` does not give h x w values.

    >>> fixed_switches(torch.zeros(1, 1, 2, 2), (4, 4)).tolist()
    [[[[0, 2], [8, 10]]]]
    """
    k, s = _window(kernel_size, stride)
    _same_grid(y, size, k, s)
    return _corners(size, k, s, y).expand(y.shape).contiguous()


def random_switches(
    y: Tensor,
    size: tuple[int, int],
    generator: torch.Generator,
    kernel_size: int = 2,
    stride: int | None = None,
) -> Tensor:
    """Switches drawn uniformly inside their window: a place, but of no maximum.

    Args:
        y: (N, C, h, w), the values to place; only its shape and device matter.
        size: (H, W) of the unpooled map in pixels.
        generator: of the draws, on any device.
        kernel_size, stride: of the pooling that is undone, as in `max_pool`.

    Returns:
        (N, C, h, w) int64.

    Raises:
        ValueError: pooling a map of `size` does not give h x w values.
    """
    k, s = _window(kernel_size, stride)
    _same_grid(y, size, k, s)
    draw = torch.randint(k * k, y.shape, generator=generator, device=generator.device)
    inside = draw.to(y.device)
    return _corners(size, k, s, y) + inside // k * size[1] + inside % k


def _window(kernel_size: int, stride: int | None) -> tuple[int, int]:
    stride = kernel_size if stride is None else stride
    if kernel_size < 1 or stride < 1:
        raise ValueError(f"kernel size {kernel_size} and stride {stride}: both are 1 px or more")
    return kernel_size, stride


def _corners(size: tuple[int, int], k: int, s: int, like: Tensor) -> Tensor:
    """(h, w) int64: the place r * W + c of each window's top-left pixel."""
    rows, cols = (torch.arange(0, n - k + 1, s, device=like.device) for n in size)
    return rows[:, None] * size[1] + cols


def _same_grid(y: Tensor, size: tuple[int, int], k: int, s: int) -> None:
    grid = tuple((n - k) // s + 1 for n in size)
    if grid != tuple(y.shape[-2:]):
        h, w = y.shape[-2:]
        raise ValueError(
            f"pooling a {size[0]}x{size[1]} map by {k}x{k} windows every {s} px gives "
            f"{grid[0]}x{grid[1]} values, not {h}x{w}: use size {(h - 1) * s + k}x{(w - 1) * s + k}"
        )
