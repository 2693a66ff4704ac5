# %% [markdown]
# # Exercises: a linear layer that slides, and what a cell sees
#
# These exercises belong to the chapter "Fully convolutional networks". Write your code where it
# says `raise NotImplementedError`, and run the tests below it. The tests that you see are not all
# tests: think of sizes and cases that they leave out. You may use torch and numpy. In a terminal,
# `segcourse check fcn.ipynb` runs the tests as marking does, and says where to read.

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
CHANNELS, NATIVE_H, NATIVE_W = rng.choice([(2, 2, 3), (3, 3, 2), (2, 3, 4)])
CLASSES = rng.choice([4, 5, 6])
FIRST = rng.choice([(3, 1, 1, 1), (5, 1, 2, 1), (5, 1, 1, 1)])
SECOND = rng.choice([(4, 3, 0, 1), (5, 3, 1, 1)])
SMALL = rng.choice([6, 8, 10])

# %% [markdown]
# ## 1. Let a linear layer slide
#
# A classifier flattens a map of `height` by `width` cells and multiplies it by one matrix. Slide
# the same matrix over a larger map: one vector of scores for each place where a part of `height`
# by `width` cells fits. `flatten` reads channel by channel, and in a channel row by row.


# %% answer slide_linear read="A linear layer is a convolution: by hand"
def slide_linear(weight, bias, features, height, width):
    """Scores of a linear layer at every place of a larger map.

    weight: (K, C * height * width), as in `torch.nn.Linear` after `flatten`.
    bias: (K,).
    features: (C, H, W), H >= height and W >= width.

    Returns (K, H - height + 1, W - width + 1).
    """
    raise NotImplementedError("reshape the matrix into kernels, and convolve")


# %% test slide_linear_native points=1
generator = torch.Generator().manual_seed(0)
weight = torch.randn(CLASSES, CHANNELS * NATIVE_H * NATIVE_W, generator=generator)
bias = torch.randn(CLASSES, generator=generator)
features = torch.randn(CHANNELS, NATIVE_H, NATIVE_W, generator=generator)
want = weight @ features.flatten() + bias
check(
    slide_linear(weight, bias, features, NATIVE_H, NATIVE_W),
    want[:, None, None],
    "At the native size there is one place, and the scores are those of the linear layer. Is your "
    "reshape in the order in which flatten reads the cells, and is the bias in?",
)

# %% test slide_linear_larger points=1
generator = torch.Generator().manual_seed(1)
weight = torch.randn(CLASSES, CHANNELS * NATIVE_H * NATIVE_W, generator=generator)
bias = torch.randn(CLASSES, generator=generator)
features = torch.randn(CHANNELS, 6, 9, generator=generator)
got = slide_linear(weight, bias, features, NATIVE_H, NATIVE_W)
assert got is not None, "the function returned None: end it with `return ...`"
size = (CLASSES, 6 - NATIVE_H + 1, 9 - NATIVE_W + 1)
assert tuple(got.shape) == size, f"expected the shape {size}, got {tuple(got.shape)}"
part = features[:, 1 : 1 + NATIVE_H, 2 : 2 + NATIVE_W]
want = weight @ part.flatten() + bias
check(got[:, 1, 2], want, "These are the scores of the part that begins in row 1, column 2.")

# %% [markdown]
# ## 2. What a cell sees
#
# A stack of layers, each with (kernel, stride, padding, dilation), along one axis. Find what one
# cell of the last map sees: the side of its receptive field in pixels, the step from cell to cell
# in pixels, and where the centre of cell 0 lies. Pixel 0 has its centre at 0.0.


# %% answer field read="What one cell sees: by hand"
def field(layers):
    """Receptive field of a stack of layers along one axis.

    layers: list of (kernel, stride, padding, dilation), first layer first; may be empty.

    Returns three numbers: (size, stride, centre of cell 0), in pixels of the image.
    """
    raise NotImplementedError("follow size, stride and centre through the layers")


# %% test field_two_layers points=1
got = field([FIRST, (2, 2, 0, 1)])
assert got is not None, "the function returned None: end it with `return ...`"
assert len(got) == 3, f"expected three numbers (size, stride, centre), got {got}"
assert got[0] == FIRST[0] + 1, (
    f"size: got {got[0]}, wanted {FIRST[0] + 1}. The pool adds one step of the map below, which is "
    "one pixel here"
)
assert got[1] == 2, f"stride: got {got[1]}, wanted 2, the product of all strides"
centre = (FIRST[0] - 1) / 2 - FIRST[2] + 0.5
assert got[2] == centre, f"centre of cell 0: got {got[2]}, wanted {centre}"

# %% test field_after_strides points=1
got = field([(3, 2, 1, 1), SECOND, (3, 1, 1, 1)])
size = 3 + (SECOND[0] - 1) * 2 + 2 * 6
check(got[0], size, "Size: the last kernel adds two steps, and a step is 6 pixels long by now.")
check(got[1], 6, "Stride: the product of all strides.")
check(got[2], (SECOND[0] - 1) - 2 * SECOND[2], "Centre of cell 0: padding moves it back.")

# %% [markdown] question skips points=4
# ## 3. To write about
#
# A colleague's FCN-32s finds ships in satellite images: tankers of 300 pixels in length and
# fishing boats of SMALL. She wants to add skips, "since FCN-8s is better than FCN-32s in the
# paper".
#
# In about half a page: which of her errors can skips mend, which can they not, and why? What would
# you measure before you train anything? Why does a new skip start with weights of zero?
