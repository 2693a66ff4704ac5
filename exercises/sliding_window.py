# %% [markdown]
# # Exercises: stitching, and what windows cost
#
# These exercises belong to the chapter "Sliding window: classify every window". Write your code
# where it says `raise NotImplementedError`, and run the tests below it. The tests that you see are
# not all tests: think of sizes and cases that they leave out. You may use torch and numpy. In a
# terminal, `segcourse check sliding_window.ipynb` runs the tests as marking does, and says where to
# read.

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
STRIDE = rng.choice([2, 3])
SIDE_H, SIDE_W = rng.choice([(5, 7), (7, 5), (8, 5)])
WIDTH_1, WIDTH_2, OUT = rng.choice([(8, 16, 5), (6, 12, 7), (10, 20, 3)])
IMAGE_H, IMAGE_W = rng.choice([(20, 32), (24, 18), (30, 21)])
WINDOW = rng.choice([65, 97])

# %% [markdown]
# ## 1. Stitch shifted maps together
#
# A classifier of stride s answers for every s-th pixel. Shift the image by 0, 1, ..., s - 1 pixels
# in each direction, run it each time, and the answers of all shifts together are the answer of
# stride 1. Your function gets the coarse maps and weaves them together.
#
# The map of shift (i, j) was made from `image[:, i:, j:]`. Where the size is not divisible by s,
# the maps of larger shifts have a row or a column less.


# %% answer stitch read="What breaks it, too: stride"
def stitch(maps):
    """Weave the maps of all shifts into one of stride 1.

    maps: s lists of s tensors; maps[i][j] has shape (K, h_i, w_j) and belongs to the image
        shifted by i pixels up and j pixels to the left.

    Returns (K, H, W), where H is the sum of all h_i and W the sum of all w_j.
    """
    raise NotImplementedError("weave the maps of all shifts together")


# %% test stitch_two points=1
want = torch.arange(24.0).reshape(1, 4, 6)
maps = [[want[:, i::2, j::2] for j in range(2)] for i in range(2)]
got = stitch(maps)
blocks = torch.cat([torch.cat(row, 2) for row in maps], 1)
if got is not None and torch.equal(torch.as_tensor(got).float(), blocks):
    raise AssertionError(
        "yours puts the maps side by side: neighbours of one map lie s pixels apart, and the other "
        "maps fill what is between them"
    )
check(got, want, "Shift (i, j) holds the pixels in rows i, i + s, ... and columns j, j + s, ...")

# %% test stitch_uneven points=1
generator = torch.Generator().manual_seed(0)
want = torch.rand(2, SIDE_H, SIDE_W, generator=generator)
maps = [[want[:, i::STRIDE, j::STRIDE] for j in range(STRIDE)] for i in range(STRIDE)]
check(stitch(maps), want, "Here the maps differ in size: some shifts have a row or a column less.")

# %% [markdown]
# ## 2. Count the multiply-adds
#
# A network has convolutions of stride 1 without padding. Run densely, each layer computes its
# whole map once. Run on one window for each output, each window is computed from scratch, and in
# it every layer's map is as large as that window allows. The window is the smallest image with one
# output.


# %% answer costs read="What neighbouring windows share"
def costs(layers, height, width):
    """Multiply-adds of one dense pass, and of one window for each output.

    layers: list of (kernel, in_channels, out_channels), first layer first; stride 1, no padding.
    height, width: of the image, at least as large as a window.

    Returns two whole numbers: (dense pass, all windows).
    """
    raise NotImplementedError("count outputs times kernel size times channels, layer by layer")


# %% test costs_one_layer points=1
got = costs([(3, 3, OUT)], IMAGE_H, IMAGE_W)
want = (IMAGE_H - 2) * (IMAGE_W - 2) * 9 * 3 * OUT
check(
    got,
    [want, want],
    "With one layer no window shares anything with its neighbour, and both ways cost the same. "
    "A 3x3 layer without padding has an output where the kernel fits whole.",
)

# %% test costs_two_layers points=1
got = costs([(3, 3, WIDTH_1), (3, WIDTH_1, OUT)], IMAGE_H, IMAGE_W)
first = (IMAGE_H - 2) * (IMAGE_W - 2) * 9 * 3 * WIDTH_1
second = (IMAGE_H - 4) * (IMAGE_W - 4) * 9 * WIDTH_1 * OUT
assert len(got) == 2, f"expected two numbers, got {got}"
check(got[0], first + second, "The dense pass: the second layer works on what the first left.")
windows = (IMAGE_H - 4) * (IMAGE_W - 4)
each = 9 * 9 * 3 * WIDTH_1 + 9 * WIDTH_1 * OUT
check(got[1], windows * each, "A window has 5x5 pixels, and 3x3 outputs after the first layer.")

# %% [markdown] question reuse points=4
# ## 3. To write about
#
# A hospital wants to find cell borders in microscope slices of 4096 by 4096 pixels. A colleague
# proposes a patch classifier with a window of WINDOW pixels: it is trained on sampled windows,
# because "training on samples is fast, so labelling will be fast as well".
#
# In about half a page: what is right in this, and why does it not carry over to use? What would
# you do with the same weights, and is the result the same? What changes at the border of a slice,
# and what changes if the classifier has stride 2?
