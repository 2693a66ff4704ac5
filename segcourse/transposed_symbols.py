"""Transposed convolution in one dimension with letters for numbers (book/upsampling.ipynb).

What lectures work on the board with a filter (x, y, z) and an input (a, b), done by a few lines
that join letters, so that no formula of the page is typed.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def stamp(taps: Sequence[str], inputs: Sequence[str], stride: int = 1) -> list[str]:
    """Write each input times the filter into the output, `stride` apart; join with "+".

    Args:
        taps: letters of the filter, k of them.
        inputs: letters of the input, n of them.
        stride: outputs from one stamp to the next.

    Returns:
        (n - 1) * stride + k sums; "0" where no stamp lies.

    Raises:
        ValueError: no letters, or a stride below 1.

    >>> stamp("xyz", "ab", stride=2)
    ['ax', 'ay', 'az+bx', 'by', 'bz']
    """
    if stride < 1 or not taps or not inputs:
        raise ValueError(
            f"{len(taps)} taps, {len(inputs)} inputs, stride {stride}: use 1 or more of each"
        )
    terms: list[list[str]] = [[] for _ in range((len(inputs) - 1) * stride + len(taps))]
    for i, value in enumerate(inputs):
        for k, tap in enumerate(taps):
            terms[i * stride + k].append(value + tap)
    return ["+".join(sums) or "0" for sums in terms]


def matrix(taps: Sequence[str], size: int, stride: int = 1) -> np.ndarray:
    """The matrix of a convolution without padding: a row of letters that moves by the stride.

    Args:
        taps: letters of the filter.
        size: length of the input; count its padding in.
        stride: inputs from one row's filter to the next.

    Returns:
        Strings ((size - k) // stride + 1, size), "0" where the filter does not lie.

    Raises:
        ValueError: an input shorter than the filter, or a stride below 1.

    >>> print(matrix("xyz", 5, stride=2))
    [['x' 'y' 'z' '0' '0']
     ['0' '0' 'x' 'y' 'z']]
    """
    if size < len(taps) or stride < 1:
        raise ValueError(
            f"a filter of {len(taps)} at stride {stride} has no place in {size}: use a stride of "
            f"1 or more and a size of at least {len(taps)}"
        )
    rows = np.full(((size - len(taps)) // stride + 1, size), "0", dtype=object)
    for i, row in enumerate(rows):
        row[i * stride : i * stride + len(taps)] = list(taps)
    return rows


def times(rows: np.ndarray, inputs: Sequence[str]) -> list[str]:
    """A matrix of letters times a vector of letters, without the terms that are zero.

    Args:
        rows: strings (m, n).
        inputs: n strings; "0" is a zero, as in padding.

    Returns:
        m sums of products, the vector's letter first.

    Raises:
        ValueError: sizes that do not fit.

    >>> times(matrix("xyz", 6), "0abcd0")
    ['ay+bz', 'ax+by+cz', 'bx+cy+dz', 'cx+dy']
    """
    if rows.shape[1] != len(inputs):
        raise ValueError(
            f"the matrix has {rows.shape[1]} columns and the vector {len(inputs)} letters: give "
            "one letter for each column"
        )
    sums = []
    for row in rows:
        terms = [v + w for v, w in zip(inputs, row, strict=True) if "0" not in (v, w)]
        sums.append("+".join(terms) or "0")
    return sums


def step(rows: np.ndarray) -> Fraction:
    """By how many columns the pattern of a matrix moves from one row to the next.

    A convolution of stride s repeats one row, moved by s columns: step s. Where the rows repeat
    only every s rows, one column further, the step is 1/s, and no convolution has this matrix.

    Args:
        rows: (m, n) strings or numbers.

    Returns:
        The step, columns by rows.

    Raises:
        ValueError: the matrix is too small for its pattern to repeat, or has none.

    >>> step(matrix("xyz", 9, stride=2)), step(matrix("xyz", 9, stride=2).T)
    (Fraction(2, 1), Fraction(1, 2))
    """
    letters = _letters(rows)
    for down in range(1, len(rows)):
        for right in range(1, rows.shape[1]):
            before, after = rows[:-down, :-right], rows[down:, right:]
            if (before == after).all() and _letters(before) == letters:
                return Fraction(right, down)
    raise ValueError(
        f"no pattern repeats in this matrix of {rows.shape}: use one that holds its filter twice"
    )


def _letters(rows: np.ndarray) -> set:
    return set(rows.ravel().tolist()) - {"0", 0}
