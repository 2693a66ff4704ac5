# %% [markdown]
# # Exercises: legal sizes, and one skip
#
# These exercises belong to the chapter "U-Net: encoder, decoder, skips". Write your code where it
# says `raise NotImplementedError`, and run the tests below it. The tests that you see are not all
# tests: think of sizes and cases that they leave out. You may use torch and numpy. In a terminal,
# `segcourse check unet.ipynb` runs the tests as marking does, and says where to read.

# %%
import torch


def check(got, want, hint=""):
    """Compare a result with what was wanted, and name the first place where they differ."""
    assert got is not None, "the function returned None: end it with `return ...`"
    got, want = torch.as_tensor(got).double(), torch.as_tensor(want).double()
    assert got.shape == want.shape, (
        f"expected the shape {tuple(want.shape)}, got {tuple(got.shape)}. {hint}"
    )
    wrong = ~torch.isclose(got, want, rtol=1e-5, atol=1e-6, equal_nan=True)
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        place = f"at {at} " if at else ""
        raise AssertionError(f"{place}got {got[at]:g}, wanted {want[at]:g}. {hint}")


# %% variants
DEPTH = rng.choice([2, 3])
STEPS = rng.choice([6, 7, 9])
FROM_SKIP, FROM_BELOW = rng.choice([(3, 2), (2, 4), (4, 1)])
EVEN_H, EVEN_W = rng.choice([(6, 4), (8, 2), (4, 8)])
CELLS = rng.choice([30, 40, 50])

# %% [markdown]
# ## 1. Which sizes are legal
#
# An unpadded U-Net has two 3x3 convolutions on every level, on the way down and on the way up;
# each of them takes one pixel from each end. Between the levels of the way down a 2x2 max pool
# halves the map, and needs an even size. On the way up the map is doubled before the two
# convolutions of the level. The lowest level has its two convolutions once.
#
# Follow one axis of the image, and say how many pixels come out.


# %% answer output_size read="The U, level by level"
def output_size(size, depth):
    """Pixels that come out of an unpadded U-Net, along one axis.

    size: pixels of the image, from 1 up.
    depth: how often the map is halved; 0 is a network of two convolutions.

    Returns a whole number, or None where the size is illegal: where a pool would get a map of odd
    size, or no pixel would be left on some level.
    """
    raise NotImplementedError("follow the size down, then up")


# %% test output_size_paper points=1
got = output_size(572, 4)
assert got == 388, (
    f"572 pixels and depth 4 give 388, got {got}. On the way down: 572, 568, 284, 280, 140, 136, "
    "68, 64, 32, 28"
)
got = output_size(16 * STEPS + 92 + 96, 4)
assert got == 16 * STEPS + 4, f"got {got}, wanted {16 * STEPS + 4}: 184 pixels are lost at depth 4"

# %% test output_size_illegal points=1
got = output_size(570, 4)
assert got is None, f"570 fails on the second level, where a pool gets 283 - 4 = 279; got {got}"
legal = [size for size in range(200, 240) if output_size(size, DEPTH) is not None]
steps = {legal[i + 1] - legal[i] for i in range(len(legal) - 1)}
assert steps == {2**DEPTH}, (
    f"at depth {DEPTH} legal sizes go in steps of {2**DEPTH}: each of the {DEPTH} pools needs an "
    f"even map. Yours go in steps of {sorted(steps)}"
)

# %% [markdown]
# ## 2. One skip
#
# The map of the encoder is larger than the map that comes up from below. Take the middle of it, of
# the size of the map from below, and join the two: the channels of the skip first, then those from
# below. Where the difference in size is odd, take one pixel less from the top or the left than
# from the bottom or the right.


# %% answer join_skip read="Joining, or adding"
def join_skip(encoder_map, from_below):
    """Crop the encoder's map to the middle, and join it with the map from below.

    encoder_map: (C, H, W). from_below: (D, h, w) of the same dtype, h <= H and w <= W.

    Returns (C + D, h, w).
    """
    raise NotImplementedError("crop the middle, then join the channels")


# %% test join_skip_same_size points=1
skip = torch.arange(FROM_SKIP * 6.0).reshape(FROM_SKIP, 2, 3)
below = -torch.ones(FROM_BELOW, 2, 3)
got = join_skip(skip, below)
assert got is not None, "the function returned None: end it with `return ...`"
assert len(got) == FROM_SKIP + FROM_BELOW, (
    f"joining puts channels behind each other: {FROM_SKIP} and {FROM_BELOW} give "
    f"{FROM_SKIP + FROM_BELOW}, yours has {len(got)}. Adding is what FCN does"
)
check(got[:FROM_SKIP], skip, "The skip's channels come first.")
check(got[FROM_SKIP:], below, "The channels from below come last.")

# %% test join_skip_crop points=1
skip = torch.arange(float((EVEN_H + 2) * (EVEN_W + 6))).reshape(1, EVEN_H + 2, EVEN_W + 6)
below = torch.zeros(1, EVEN_H, EVEN_W)
got = join_skip(skip, below)
assert got is not None, "the function returned None: end it with `return ...`"
assert tuple(got.shape) == (2, EVEN_H, EVEN_W), (
    f"expected the size of the map from below, (2, {EVEN_H}, {EVEN_W}), got {tuple(got.shape)}"
)
first = (EVEN_W + 6) + 3
assert got[0][0][0] == first, (
    f"one row and three columns go at each end, so the first pixel is {first}, got "
    f"{got[0][0][0]:g}: a crop at the corner, or a resized map, lies over other pixels than the "
    "map from below"
)

# %% [markdown] question slides points=4
# ## 3. To write about
#
# A hospital has CELLS labelled slices of 512 by 512 pixels, in which nuclei lie close together,
# and wants to count nuclei in slides of 20,000 by 30,000 pixels.
#
# In about half a page: how would you train, and how would you label a slide? Say which loss, which
# augmentation and which tiles, and why. What do the skips bring, and could you classify from the
# finest skip alone? Which of your choices would you check first, and how?
