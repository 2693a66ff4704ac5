# %% [markdown]
# # Exercises: holes in a kernel, what a stack reads, and strides that become holes
#
# These exercises belong to the chapter "Atrous convolution: holes in the kernel". Write your code
# where it says `raise NotImplementedError`, and run the tests below it. The tests that you see are
# not all tests: think of sizes and cases that they leave out. You may use torch and numpy. In a
# terminal, `segcourse check atrous.ipynb` runs the tests as marking does, and says where to read.

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
KERNEL = [rng.sample(range(1, 10), 3) for _ in range(3)]
TAPS = rng.sample(range(1, 10), 3)
RATE = rng.choice([3, 4])
EVEN = rng.choice([2, 4])
PLANT = rng.choice([20, 30, 40])
SIDE = rng.choice([3, 5])
MIDDLE = rng.choice([(3, 1, 1), (5, 1, 2), (4, 1, 1)])

# %% [markdown]
# ## 1. Put holes into a kernel
#
# A kernel at rate r has its taps r cells apart. Written out with the holes as zeros, it is an
# ordinary kernel that gives the same result at rate 1. Write it out. Rows and columns may have
# different rates.


# %% answer dilate_kernel read="Two dimensions"
def dilate_kernel(kernel, rate_rows, rate_cols):
    """A kernel with its holes written as zeros.

    kernel: (kh, kw). rate_rows, rate_cols: cells from one tap to the next, from 1 up.

    Returns the smallest kernel that holds all taps, of the same dtype.
    """
    raise NotImplementedError("put zeros between the taps")


# %% test dilate_kernel_line points=1
got = dilate_kernel(torch.tensor([TAPS]).float(), 1, RATE)
assert got is not None, "the function returned None: end it with `return ...`"
wide = tuple(torch.as_tensor(got).shape)[-1]
assert wide == 1 + 2 * RATE, (
    f"three taps at rate {RATE} have two distances of {RATE}: they span {1 + 2 * RATE} cells, "
    f"yours {wide}"
)
want = [0] * (1 + 2 * RATE)
want[::RATE] = TAPS
check(got, [want], "The taps stand RATE cells apart, in their order, with zeros between them.")

# %% test dilate_kernel_square points=1
kernel = torch.tensor(KERNEL).float()
got = dilate_kernel(kernel, 2, 2)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got)
assert tuple(got.shape) == (5, 5), f"3x3 at rate 2 spans 5x5 cells, got {tuple(got.shape)}"
nonzero = int((got != 0).sum())
assert nonzero == 9, f"a dilated kernel has the same nine weights, yours has {nonzero}"
check(got[::2, ::2], kernel, "Every second row and column holds the kernel.")

# %% [markdown]
# ## 2. Which cells a stack reads
#
# Layers with three taps along one axis follow each other, each at its own rate and at stride 1. A
# tap of a layer at rate r reads the cell r to the left, the cell itself, or the cell r to the
# right. Say which cells of the input one output reads, as offsets from its own place. Where rates
# have a common factor, cells are left out between: that is gridding.


# %% answer cells_read read="Gridding"
def cells_read(rates):
    """Offsets of the input cells that one output of a stack reads, along one axis.

    rates: list of the layers' rates, each from 1 up; empty for no layer.

    Returns a sorted list of whole numbers, each once.
    """
    raise NotImplementedError("add -r, 0 and r of each layer in all ways")


# %% test cells_read_one points=1
got = cells_read([RATE])
assert got is not None, "the function returned None: end it with `return ...`"
assert [int(cell) for cell in got] == [-RATE, 0, RATE], (
    f"three taps at rate {RATE} read three cells, {[-RATE, 0, RATE]}, got {list(got)}"
)

# %% test cells_read_grid points=1
got = cells_read([EVEN, EVEN])
assert got is not None, "the function returned None: end it with `return ...`"
got = [int(cell) for cell in got]
odd = [cell for cell in got if cell % 2]
assert not odd, f"rates {EVEN} and {EVEN} read even cells only: the field has holes; got {odd}, too"
assert len(got) == 5, (
    f"each tap of the second layer reaches the first layer's three: five cells, got {got}"
)
got = [int(cell) for cell in cells_read([1, 3])]
assert got == list(range(-4, 5)), f"rates 1 and 3 read each of nine cells, got {got}"

# %% [markdown]
# ## 3. Strides become holes
#
# A network shrinks a signal by its strides. With the same weights it can answer more often, at a
# given output stride: the last strides are taken out, and the layers behind them get holes, so that
# each tap finds the cell that it was trained on. Then every s-th output of the dense network is an
# output of the strided one, where s is the stride that was taken out in all.
#
# With `run` you can compare both.


# %%
def run(layers, weights, x):
    """Convolve a signal (1, 1, W) with one layer after the other.

    layers: (kernel, stride, padding) or (kernel, stride, padding, dilation) each.
    weights: (1, 1, kernel) each.
    """
    for (_, stride, padding, *rate), weight in zip(layers, weights, strict=True):
        x = torch.nn.functional.conv1d(x, weight, None, stride, padding, *rate)
    return x


# %% answer dense_twin read="From stride 32 to stride 8 with the same weights"
def dense_twin(layers, output_stride):
    """The same network at a smaller output stride.

    layers: list of (kernel, stride, padding), first layer first.
    output_stride: input cells from one output to the next: 1, or the product of the strides of the
        first layer, of the first two, and so on.

    Returns a list of (kernel, stride, padding, dilation), one for each layer.
    """
    raise NotImplementedError("take the last strides out, and put holes in behind them")


# %% test dense_twin_two_layers points=1
layers = [(SIDE, 2, 0), (3, 1, 0)]
got = dense_twin(layers, 1)
assert got is not None, "the function returned None: end it with `return ...`"
got = [tuple(int(number) for number in layer) for layer in got]
assert [len(layer) for layer in got] == [4, 4], (
    f"expected (kernel, stride, padding, dilation) for each of two layers, got {got}"
)
assert [layer[0] for layer in got] == [SIDE, 3], (
    f"the kernels stay as they are, with the same weights: wanted {SIDE} and 3 taps, got {got}"
)
assert [layer[1] for layer in got] == [1, 1], f"at output stride 1 no stride is left, got {got}"
assert got[0][3] == 1, (
    f"the first layer reads the input, which has not changed: its rate stays 1, got {got[0]}"
)
assert got[1][3] == 2, (
    f"the second layer was trained on cells that were 2 apart: its taps need rate 2, got {got[1]}"
)
assert [layer[2] for layer in got] == [0, 0], f"nothing was padded before, got {got}"

# %% test dense_twin_half points=1
generator = torch.Generator().manual_seed(0)
layers = [(7, 2, 3), (3, 2, 1), MIDDLE, (3, 2, 0), (3, 1, 1)]
weights = [torch.rand(1, 1, layer[0], generator=generator, dtype=torch.float64) for layer in layers]
x = torch.rand(1, 1, 75, generator=generator, dtype=torch.float64)
got = dense_twin(layers, 2)
assert got is not None, "the function returned None: end it with `return ...`"
got = [tuple(int(number) for number in layer) for layer in got]
strides = [layer[1] for layer in got]
assert strides == [2, 1, 1, 1, 1], (
    f"strides 2, 2, 1, 2, 1 at output stride 2: wanted 2, 1, 1, 1, 1, got {strides}. The first "
    "strides stay, until the output stride is reached"
)
strided, dense = run(layers, weights, x)[0, 0], run(got, weights, x)[0, 0, ::4]
assert len(dense) == len(strided), (
    f"every fourth output: {len(dense)} of them, wanted {len(strided)}. Do padding and holes grow "
    f"together? You have {got}"
)
check(dense, strided, f"Every fourth output is one of the strided network. You have {got}")

# %% [markdown] question weeds points=4
# ## 4. To write about
#
# A colleague wants to label weeds in photographs of a field, 2,000 pixels wide. Plants are PLANT
# to 60 pixels large and look alike from near; what tells weed from crop is the row in which the
# crop was sown. She has a trained ResNet-50 and one GPU with little memory.
#
# In about half a page: which output stride and which rates would you choose, and why? What do you
# have to do so that her trained weights still fit? What would you measure first, and what would
# gridding look like in her label maps?
