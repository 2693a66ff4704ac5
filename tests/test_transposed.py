"""Transposed convolution: three ways, one result, and what it is the transpose of."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from segcourse.convolution_matrix import by_transposed_matrix, convolution_matrix
from segcourse.transposed import (
    by_pixel_shuffle,
    by_stamping,
    by_zero_insertion,
    insert_zeros,
    stamped_so_far,
)
from segcourse.transposed_size import output_size, restoring_output_padding
from segcourse.transposed_symbols import matrix, stamp, step, times

WAYS = [by_stamping, by_zero_insertion, by_transposed_matrix]


def numbers(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def settings_of_torch(draw):
    """x, weight and arguments that `conv_transpose2d` takes, every one of them drawn."""
    groups, cin, cout = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size, kernel = draw(pairs(1, 5)), draw(pairs(1, 4))
    stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 3))
    extra = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    axes = zip(size, kernel, stride, dilation, extra, strict=True)
    most = [((n - 1) * s + d * (k - 1) + e) // 2 for n, k, s, d, e in axes]
    padding = tuple(draw(st.integers(0, min(m, 4))) for m in most)
    x = numbers((draw(st.integers(1, 2)), groups * cin, *size))
    weight = numbers((groups * cin, cout, *kernel), seed=1)
    arguments = {"stride": stride, "padding": padding, "output_padding": extra}
    return x, weight, arguments | {"dilation": dilation, "groups": groups}


@pytest.mark.parametrize("way", WAYS)
@given(drawn=settings_of_torch())
def test_each_way_equals_torch(way, drawn):
    x, weight, arguments = drawn
    ours, torchs = way(x, weight, **arguments), F.conv_transpose2d(x, weight, **arguments)
    assert ours.shape == torchs.shape
    assert (ours - torchs).abs().max() < 1e-12


@given(settings_of_torch())
def test_the_size_is_known_before(drawn):
    x, weight, arguments = drawn
    torchs = F.conv_transpose2d(x, weight, **arguments).shape[2:]
    arguments.pop("groups")
    assert output_size(tuple(x.shape[2:]), tuple(weight.shape[2:]), **arguments) == tuple(torchs)


@st.composite
def convolutions(draw):
    """An image, a weight and the arguments of a `conv2d` that fits."""
    groups, cin, cout = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel, stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 4)), draw(pairs(1, 3))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(2))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    least = [max(1, r - 2 * p) for r, p in zip(reach, padding, strict=True)]
    size = tuple(n + draw(st.integers(0, 4)) for n in least)
    image = numbers((1, groups * cin, *size))
    weight = numbers((groups * cout, cin, *kernel), seed=1)
    arguments = {"stride": stride, "padding": padding, "dilation": dilation}
    return image, weight, arguments | {"groups": groups}


@given(convolutions())
def test_the_matrix_multiplies_as_the_convolution_does(drawn):
    image, weight, arguments = drawn
    small = F.conv2d(image, weight, **arguments)
    rows = convolution_matrix(weight, tuple(image.shape[2:]), **arguments)
    assert rows.is_sparse
    assert (rows @ image.flatten() - small.flatten()).abs().max() < 1e-12


@given(convolutions())
def test_adjoint_and_backward_pass_of_the_convolution(drawn):
    image, weight, arguments = drawn
    image.requires_grad_()
    small = F.conv2d(image, weight, **arguments)
    y = numbers(small.shape, seed=2)
    small.backward(y)
    sizes = {name: arguments[name] for name in ("stride", "padding", "dilation")}
    extra = restoring_output_padding(tuple(image.shape[2:]), tuple(weight.shape[2:]), **sizes)
    back = by_stamping(y, weight, output_padding=extra, **arguments)
    assert back.shape == image.shape
    assert (back - image.grad).abs().max() < 1e-12, "the backward pass"
    left, right = (small.detach() * y).sum(), (image.detach() * back).sum()
    assert (left - right).abs() < 1e-11, "<Cx, y> = <x, C'y>"


@given(settings_of_torch())
def test_the_backward_pass_of_the_transposed_one_is_the_convolution(drawn):
    x, weight, arguments = drawn
    x.requires_grad_()
    large = by_stamping(x, weight, **arguments)
    image = numbers(large.shape, seed=2)
    large.backward(image)
    arguments.pop("output_padding")
    small = F.conv2d(image, weight, **arguments)[..., : x.shape[2], : x.shape[3]]
    assert (small - x.grad).abs().max() < 1e-12


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), pairs(1, 5))
def test_kernel_equal_to_stride_is_a_pixel_shuffle(C, D, s, size):
    x, weight = numbers((2, C, *size)), numbers((C, D, s, s), seed=1)
    shuffled = by_pixel_shuffle(x, weight)
    assert (shuffled - F.conv_transpose2d(x, weight, stride=s)).abs().max() < 1e-12


@given(st.integers(1, 4), st.integers(1, 4), pairs(1, 4))
def test_the_stamping_figure_agrees_with_torch_at_every_position(k, stride, size):
    x, kernel = numbers(size), numbers((k, k), seed=1)
    for last in range(x.numel()):
        sums, now, counts = stamped_so_far(x, kernel, last, stride)
        upto = torch.where(torch.arange(x.numel()).reshape(size) <= last, x, 0.0)
        alone = torch.where(torch.arange(x.numel()).reshape(size) == last, x, 0.0)
        ones = (torch.arange(x.numel()).reshape(size) <= last).double()
        block = torch.ones_like(kernel)
        for figure, image, taps in [
            (sums, upto, kernel),
            (now, alone, kernel),
            (counts, ones, block),
        ]:
            torchs = F.conv_transpose2d(image[None, None], taps[None, None], stride=stride)[0, 0]
            assert (figure - torchs).abs().max() < 1e-12


def test_zeros_go_between_neighbours_and_not_to_the_ends():
    spread = insert_zeros(torch.ones(1, 1, 3, 2), (2, 3))[0, 0]
    assert spread.shape == (5, 4)
    assert spread[::2, ::3].eq(1).all()
    assert spread.sum() == 6


def test_it_inverts_nothing():
    image, weight = numbers((1, 1, 6, 6)), numbers((1, 1, 3, 3), seed=1)
    back = by_stamping(F.conv2d(image, weight), weight)
    assert (back - image).abs().max() > 1
    rows = convolution_matrix(weight, 6).to_dense()
    assert torch.linalg.matrix_rank(rows) == 16 < 36, "what a convolution drops is gone"


# ---- with letters


def test_one_dimension_as_on_the_board():
    assert stamp("xyz", "ab", stride=1) == ["ax", "ay+bx", "az+by", "bz"]
    assert stamp("xyz", "ab", stride=2) == ["ax", "ay", "az+bx", "by", "bz"]
    rows = matrix("xyz", 6)
    assert rows.shape == (4, 6)
    assert times(rows, "0abcd0") == ["ay+bz", "ax+by+cz", "bx+cy+dz", "cx+dy"]
    assert times(rows.T, "abcd") == ["ax", "ay+bx", "az+by+cx", "bz+cy+dx", "cz+dy", "dz"]
    assert times(matrix("xyz", 6, stride=2).T, "ab") == ["ax", "ay", "az+bx", "by", "bz", "0"]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_letters_stamped_are_the_transposed_matrix(k, n, stride):
    taps, inputs = "pqrstuvwxyz"[:k], "abcdef"[:n]
    rows = matrix(taps, (n - 1) * stride + k, stride)
    assert times(rows.T, inputs) == stamp(taps, inputs, stride)


@given(st.integers(1, 4), st.integers(2, 5), st.integers(1, 4))
def test_letters_say_what_torch_computes(k, n, stride):
    letters = dict(zip("pqrsabcdef", numbers(10).tolist(), strict=True))
    taps, inputs = "pqrs"[:k], "abcdef"[:n]
    weight, x = (torch.tensor([letters[c] for c in word]).double() for word in (taps, inputs))
    torchs = F.conv_transpose1d(x[None, None], weight[None, None], stride=stride)[0, 0]
    for text, value in zip(stamp(taps, inputs, stride), torchs.tolist(), strict=True):
        products = [p for p in text.split("+") if p != "0"]
        assert sum(letters[v] * letters[w] for v, w in products) == pytest.approx(value, abs=1e-6)


@given(st.integers(1, 4), st.integers(1, 4))
def test_the_transpose_is_a_convolution_at_stride_1_alone(k, stride):
    rows = matrix("pqrs"[:k], 3 * stride + k, stride)
    assert step(rows) == stride
    assert step(rows.T) == Fraction(1, stride)
    assert (step(rows.T).denominator == 1) == (stride == 1)


def test_at_stride_1_the_transpose_is_the_convolution_with_the_flipped_filter():
    padded = np.pad(matrix("zyx", 8), 0)
    square = matrix("xyz", 8)[:, 1:-1]  # padding 1: its columns are multiplied with zeros
    assert (padded[:, 1:-1] == square.T).all()


# ---- sizes and faults


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.integers(0, 4))
def test_restoring_output_padding_gives_the_size_back(n, k, s, p):
    if n + 2 * p < k:
        with pytest.raises(ValueError, match=f"use an input of {k - 2 * p} px or more"):
            restoring_output_padding(n, k, s, p)
        return
    small = (n + 2 * p - k) // s + 1
    extra = restoring_output_padding(n, k, s, p)
    assert output_size(small, k, s, p, extra) == (n, n)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(0, 12))
def test_a_padding_that_leaves_nothing_is_told_what_would_work(n, k, s, p):
    full = (n - 1) * s + k
    if full > 2 * p:
        assert output_size(n, k, s, p) == (full - 2 * p,) * 2
        return
    with pytest.raises(ValueError, match="use a padding of at most") as caught:
        output_size(n, k, s, p)
    words = str(caught.value).replace(",", "").split()
    most, least = int(words[words.index("most") + 1]), int(words[words.index("least") + 1])
    assert output_size(n, k, s, most)[0] >= 1
    assert output_size(least, k, s, p)[0] >= 1
    with pytest.raises(ValueError, match="use a padding"):
        output_size(n, k, s, most + 1)
    with pytest.raises(ValueError, match="use a padding"):
        output_size(least - 1, k, s, p) if least > 1 else output_size(n, k, s, p)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"stride": 2, "output_padding": 2}, "use 0 to 1"),
        ({"stride": 2, "output_padding": -1}, "use 0 to 1"),
        ({"stride": 0}, "stride is 0: use 1 or more"),
        ({"dilation": 0}, "dilation is 0: use 1 or more"),
        ({"padding": -1}, "use 0 or more"),
        ({"padding": 4}, "use a padding of at most 1, or an input of at least 7 px"),
        ({"groups": 3}, "do not split into 3 groups"),
    ],
)
def test_every_way_refuses_the_same_bad_arguments(way, arguments, advice):
    with pytest.raises(ValueError, match=advice):
        way(torch.zeros(1, 2, 2, 2), torch.zeros(2, 1, 3, 3), **arguments)


@pytest.mark.parametrize("way", [*WAYS, by_pixel_shuffle])
def test_every_way_names_channels_that_do_not_fit(way):
    with pytest.raises(ValueError, match="x has 3 channels and weight is for 2"):
        way(torch.zeros(1, 3, 2, 2), torch.zeros(2, 1, 2, 2))
    with pytest.raises(ValueError, match=r"\(N, C, h, w\)"):
        way(torch.zeros(3, 2, 2), torch.zeros(3, 1, 2, 2))


def test_other_faults_are_named():
    with pytest.raises(ValueError, match="kernel and stride alike"):
        by_pixel_shuffle(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
    with pytest.raises(ValueError, match="use 0 to 3"):
        stamped_so_far(torch.zeros(2, 2), torch.zeros(3, 3), 4)
    with pytest.raises(ValueError, match="use an input of 5 px or more"):
        convolution_matrix(torch.zeros(1, 1, 3, 3), 4, dilation=2)
    with pytest.raises(ValueError, match="3 channels do not split into 2 groups"):
        convolution_matrix(torch.zeros(3, 1, 2, 2), 4, groups=2)
    with pytest.raises(ValueError, match="stride is 0: use 1 or more"):
        restoring_output_padding(8, 3, stride=0)
    with pytest.raises(ValueError, match="a size of at least 3"):
        matrix("xyz", 2)
    with pytest.raises(ValueError, match="stride 0"):
        stamp("xyz", "ab", 0)
    with pytest.raises(ValueError, match="6 columns"):
        times(matrix("xyz", 6), "ab")
    with pytest.raises(ValueError, match="no pattern repeats"):
        step(matrix("xyz", 3))
