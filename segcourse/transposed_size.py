"""How large a transposed convolution's output is, and which sizes work (book/upsampling.ipynb).

A strided convolution gives one output size for several input sizes. Going back, somebody has to
say which of them is meant: that is all that output_padding does.
"""

from torch import Tensor

Size = int | tuple[int, int]


def pair(value: Size) -> tuple[int, int]:
    """One number for both axes, or (rows, cols)."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def output_size(
    size: Size,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
) -> tuple[int, int]:
    """Height and width after a transposed convolution.

    (n - 1) * stride + dilation * (kernel_size - 1) + 1 pixels are stamped on; `padding` cuts that
    many from each end, and `output_padding` adds some at the last end alone.

    Args:
        size: of the input, px. This and the others: one number, or (rows, cols).
        kernel_size: taps.
        stride: output pixels from one stamp to the next.
        padding: output pixels cut from each end: the padding of the convolution that is undone.
        output_padding: output pixels added at the last row and column.
        dilation: output pixels from tap to tap.

    Returns:
        (H, W) of the output.

    Raises:
        ValueError: nothing would be left, or output_padding is not below stride or dilation; the
            message names the values that would work.

    >>> output_size(2, 3, stride=2), output_size(2, 3, stride=2, padding=1, output_padding=1)
    ((5, 5), (4, 4))
    """
    arguments = (size, kernel_size, stride, padding, output_padding, dilation)
    return tuple(_axis_size(*axis) for axis in zip(*map(pair, arguments), strict=True))


def _check_axis(n: int, k: int, s: int, d: int) -> None:
    named = {"size": n, "kernel_size": k, "stride": s, "dilation": d}
    for name, value in named.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: use 1 or more")


def _axis_size(n: int, k: int, s: int, p: int, extra: int, d: int) -> int:
    _check_axis(n, k, s, d)
    if p < 0:
        raise ValueError(f"padding is {p}: use 0 or more; to enlarge the output use output_padding")
    if not 0 <= extra < max(s, d):
        raise ValueError(
            f"output_padding is {extra} at stride {s} and dilation {d}: use 0 to {max(s, d) - 1}; "
            "it only says which of the sizes that a strided convolution merges is meant"
        )
    stamped = (n - 1) * s + d * (k - 1) + 1 + extra
    if stamped <= 2 * p:
        rows = -(-(2 * p + 1 - d * (k - 1) - 1 - extra) // s) + 1
        raise ValueError(
            f"padding {p} cuts {2 * p} px from an output of {stamped} px: use a padding of at most "
            f"{(stamped - 1) // 2}, or an input of at least {rows} px"
        )
    return stamped - 2 * p


def restoring_output_padding(
    size: Size, kernel_size: Size, stride: Size = 1, padding: Size = 0, dilation: Size = 1
) -> tuple[int, int]:
    """The output_padding with which the transposed convolution gives back a convolution's size.

    A convolution of stride s gives the same output size for s input sizes in a row.

    Args:
        size: of the convolution's input, px.
        kernel_size: taps.
        stride: of the convolution.
        padding: of the convolution.
        dilation: of the convolution.

    Returns:
        (rows, cols), each in 0..stride - 1.

    Raises:
        ValueError: the convolution's input is smaller than its kernel, or a number is out of range.

    >>> restoring_output_padding(8, 3, stride=2, padding=1)
    (1, 1)
    """
    over = []
    arguments = (size, kernel_size, stride, padding, dilation)
    for n, k, s, p, d in zip(*map(pair, arguments), strict=True):
        _check_axis(n, k, s, d)
        rest = n + 2 * p - d * (k - 1) - 1
        if rest < 0:
            raise ValueError(
                f"{n} px hold no kernel that reaches over {d * (k - 1) + 1}: use an input of "
                f"{d * (k - 1) + 1 - 2 * p} px or more"
            )
        over.append(rest % s)
    return over[0], over[1]


def checked_size(
    x: Tensor,
    weight: Tensor,
    stride: Size,
    padding: Size,
    output_padding: Size,
    dilation: Size,
    groups: int,
) -> tuple[int, int]:
    """The output's size, once x (N, C, h, w) and weight (C, D / groups, kh, kw) fit each other.

    Raises:
        ValueError: they do not, or `output_size` refuses; the message says what would work.
    """
    if x.dim() != 4 or weight.dim() != 4:
        raise ValueError(
            f"x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}: (N, C, h, w) and "
            "(C, D / groups, kh, kw) are needed"
        )
    if x.shape[1] != len(weight):
        raise ValueError(
            f"x has {x.shape[1]} channels and weight is for {len(weight)}: a transposed "
            "convolution's weight is (in, out / groups, kh, kw), input channels first"
        )
    if groups < 1 or len(weight) % groups:
        raise ValueError(f"{len(weight)} channels do not split into {groups} groups of one size")
    kernel = tuple(weight.shape[2:])
    return output_size(tuple(x.shape[2:]), kernel, stride, padding, output_padding, dilation)
