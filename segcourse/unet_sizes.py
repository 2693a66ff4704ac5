"""Which image sizes an unpadded U-Net takes, and what becomes of them level by level.

Every pool needs an even map, and every 3x3 convolution without padding takes two pixels, so only
some sizes come out whole: 572 gives 388 (Ronneberger et al. 2015, figure 1; book/unet.ipynb).
"""

from dataclasses import dataclass

CONVOLUTIONS = 2
"""3x3 convolutions of a level, on the way down and again on the way up."""


@dataclass(frozen=True)
class Level:
    """One level's sizes along one axis, in px of its own map; None on the lowest level's way up.

    Args:
        entered: the map that the level gets, from the image or from a pool.
        encoded: after its convolutions: what the skip hands on.
        enlarged: what comes up from the level below.
        crop: taken from each end of `encoded` to fit `enlarged`.
        decoded: after the convolutions on the way up.
    """

    entered: int
    encoded: int
    enlarged: int | None = None
    crop: int | None = None
    decoded: int | None = None


@dataclass(frozen=True)
class Levels:
    """Sizes on the way down and up, finest level first."""

    levels: tuple[Level, ...]

    @property
    def output(self) -> int:
        """Size of the logits, px."""
        return self.levels[0].decoded

    @property
    def margin(self) -> int:
        """Image pixels at each end that get no logit."""
        return (self.levels[0].entered - self.output) // 2


def levels(size: int, depth: int = 4, padding: int = 0) -> Levels:
    """Follow one axis of an image through a U-Net.

    Args:
        size: of the image along the axis, px.
        depth: how often the map is halved.
        padding: of every 3x3 convolution, 0 or 1.

    Returns:
        The sizes of all depth + 1 levels.

    Raises:
        ValueError: a pool would get an odd map, or nothing is left; the text names the nearest
            sizes that work.

    >>> levels(572).output
    388
    """
    found = _follow(size, depth, padding)
    if found is None:
        near = " or ".join(str(n) for n in nearest_legal(size, depth, padding))
        raise ValueError(
            f"{size} px do not come out whole in a U-Net of depth {depth} with padding {padding}: "
            f"use {near}"
        )
    return found


def nearest_legal(size: int, depth: int = 4, padding: int = 0) -> tuple[int, ...]:
    """The size itself where it is legal, else the nearest ones below and above.

    Args:
        size: of an image along one axis, px.
        depth: how often the map is halved, 1 or more.
        padding: of every 3x3 convolution, 0 or 1.

    Returns:
        One size, or two, or one where none below works.

    Raises:
        ValueError: the depth is below 1, or the padding is not 0 or 1.

    >>> nearest_legal(512), nearest_legal(572), nearest_legal(100)
    ((508, 524), (572,), (188,))
    """
    step, first = 2**depth, smallest_legal(depth, padding)
    if size <= first:
        return (first,)
    below = first + (size - first) // step * step
    return (below,) if below == size else (below, below + step)


def smallest_legal(depth: int = 4, padding: int = 0) -> int:
    """The smallest image that leaves at least one pixel of logits, px along one axis.

    Legal sizes go on from it in steps of 2^depth.

    Raises:
        ValueError: the depth is below 1, or the padding is not 0 or 1.

    >>> smallest_legal(4), smallest_legal(4, padding=1)
    (188, 16)
    """
    if depth < 1 or padding not in (0, 1):
        raise ValueError(
            f"depth is {depth} and padding {padding}: give a depth of 1 or more, and padding 0 or 1"
        )
    size = 1
    while _follow(size, depth, padding) is None:
        size += 1
    return size


def descend(size: int, depth: int = 4, padding: int = 0) -> tuple[Level, ...]:
    """The levels on the way down, as far as it goes.

    Args:
        size: of the image along one axis, px.
        depth: how often the map is to be halved.
        padding: of every 3x3 convolution, 0 or 1.

    Returns:
        All depth + 1 levels, or fewer: then the last one's map is odd, or nothing is left of it.

    >>> [(level.entered, level.encoded) for level in descend(570)]
    [(570, 566), (283, 279)]
    """
    taken, down = CONVOLUTIONS * 2 * (1 - padding), []
    for level in range(depth + 1):
        down.append(Level(size, size - taken))
        size -= taken
        if size < 1 or (level < depth and size % 2):
            break
        size //= 2
    return tuple(down)


def _follow(size: int, depth: int, padding: int) -> Levels | None:
    """The sizes of all levels, or None where they are not whole or nothing is left."""
    taken = CONVOLUTIONS * 2 * (1 - padding)
    down = descend(size, depth, padding)
    size = down[-1].encoded
    if len(down) <= depth or size < 1:
        return None
    found = [down[-1]]
    for one in reversed(down[:-1]):
        enlarged, decoded = 2 * size, 2 * size - taken
        if decoded < 1:
            return None
        crop = (one.encoded - enlarged) // 2
        found.append(Level(one.entered, one.encoded, enlarged, crop, decoded))
        size = decoded
    return Levels(tuple(reversed(found)))
