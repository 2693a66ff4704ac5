# %% [markdown]
# # Exercises: stamps, and the matrix that is transposed
#
# These exercises belong to the chapter "Upsampling: from a small grid to a large one". Write your
# code where it says `raise NotImplementedError`, and run the tests below it. The tests that you see
# are not all tests: think of sizes and cases that they leave out. You may use torch and numpy. In a
# terminal, `segcourse check upsampling.ipynb` runs the tests as marking does, and says where to
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
VALUES = [[rng.randint(1, 4) for c in range(3)] for r in range(2)]
KERNEL = [[rng.randint(1, 5) for c in range(3)] for r in range(3)]
VALUES[0][:2] = rng.sample(range(1, 5), 2)
KERNEL[0][2], KERNEL[2][0] = 7, 6
KERNEL[1][0], KERNEL[1][2] = 3, 8  # turned or mirrored it is another kernel
TAPS = rng.choice([[2, 1, 5], [3, 1, 4], [4, 2, 1]])
LENGTH = rng.choice([7, 9])
GRID = rng.choice([8, 16])

# %% [markdown]
# ## 1. Stamp
#
# A transposed convolution takes each input pixel, multiplies the whole kernel with its value, and
# adds the result to the output. From one input pixel to the next the stamp moves by `stride`
# output pixels. There is no padding: the output ends where the last stamp ends.


# %% answer stamp read="Transposed convolution, the first way: stamping"
def stamp(x, kernel, stride):
    """Transposed convolution of one map with one kernel, without padding.

    x: (h, w). kernel: (kh, kw), of the same dtype. stride: a whole number from 1 up.

    Returns ((h - 1) * stride + kh, (w - 1) * stride + kw).
    """
    raise NotImplementedError("add the kernel, times each value of x, to the output")


# %% test stamp_one points=1
kernel = torch.tensor(KERNEL, dtype=torch.float32)
got = stamp(torch.tensor([[2.0]]), kernel, 2)
check(got, 2 * kernel, "One pixel of value 2 leaves one stamp: twice the kernel, not turned.")

# %% test stamp_adds points=1
x = torch.tensor(VALUES, dtype=torch.float32)
got = stamp(x, torch.tensor(KERNEL, dtype=torch.float32), 2)
assert got is not None, "the function returned None: end it with `return ...`"
assert tuple(got.shape) == (5, 7), (
    f"two rows and three columns at stride 2 and a 3x3 kernel give 5x7, got {tuple(got.shape)}"
)
want = VALUES[0][0] * KERNEL[1][2] + VALUES[0][1] * KERNEL[1][0]
assert got[1][2] == want, (
    f"expected the stamps to add where they overlap: at (1, 2) got {got[1][2]:g}, wanted {want}"
)
check(torch.as_tensor(got).sum(), sum(map(sum, VALUES)) * sum(map(sum, KERNEL)), "The sum of all.")

# %% [markdown]
# ## 2. The matrix, transposed
#
# A convolution in one dimension is a matrix: row i holds the taps at the inputs that output i
# reads. Its transpose carries numbers from the outputs back to the inputs, and this is what a
# transposed convolution does. Build the transpose.
#
# Output i of the convolution is the sum of `taps[k] * x[i * stride - padding + k]`, where x is
# zero outside. It has an output wherever the taps fit into the padded input.


# %% answer transposed_matrix read="The third way: transpose the matrix"
def transposed_matrix(taps, length, stride, padding):
    """The transpose of a 1D convolution's matrix.

    taps: (k,) tensor. length: inputs of the convolution, with length + 2 * padding >= k.
    stride: from 1 up. padding: zeros at each end, below k.

    Returns (length, outputs): column i holds what output i sends back to each input.
    """
    raise NotImplementedError("put the taps into each column, at the inputs that its output reads")


# %% test transposed_matrix_shape points=1
taps = torch.tensor(TAPS, dtype=torch.float32)
got = transposed_matrix(taps, LENGTH, 2, 0)
assert got is not None, "the function returned None: end it with `return ...`"
outputs = (LENGTH - 3) // 2 + 1
shape = tuple(torch.as_tensor(got).shape)
assert shape == (LENGTH, outputs), (
    f"{LENGTH} inputs and {outputs} outputs: the transpose is {LENGTH}x{outputs}, yours {shape}"
)
column = [0, 0, *TAPS] + [0] * (LENGTH - 5)
check(torch.as_tensor(got)[:, 1], column, "Output 1 reads inputs 2, 3 and 4 at stride 2.")

# %% test transposed_matrix_stamps points=1
taps = torch.tensor(TAPS, dtype=torch.float32)
got = torch.as_tensor(transposed_matrix(taps, 6, 1, 1)).float()
want = torch.nn.functional.conv_transpose1d(torch.ones(1, 1, 6), taps[None, None], padding=1)[0, 0]
assert got.shape == (6, 6), f"padding 1 and three taps keep the length: 6x6, got {tuple(got.shape)}"
check(
    got @ torch.ones(6), want, "The transpose times ones: six stamps, the frame of zeros cut off."
)

# %% [markdown] question grid points=4
# ## 3. To write about
#
# A colleague replaces all transposed convolutions of a segmentation network by
# resize-convolutions, "because deconvolution undoes the pooling badly and causes checkerboards".
# Each object of interest is about GRID pixels wide. The mIoU does not change.
#
# In about half a page: what is wrong with the name "deconvolution", and where does a checkerboard
# come from? What does a grid in the logits do to a label map, and what not? What would you measure
# to see whether the grid was there, and what does the change cost?
