# %% [markdown]
# # Exercises: switches, and unpooling
#
# These exercises belong to the chapter "DeconvNet: a decoder that remembers where". Write your code
# where it says `raise NotImplementedError`, and run the tests below it. The tests that you see are
# not all tests: think of sizes and cases that they leave out. You may use torch and numpy. In a
# terminal, `segcourse check deconvnet.ipynb` runs the tests as marking does, and says where to
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
PERMUTED = [rng.sample(range(1, 10), 4) for _ in range(4)]  # each 2x2 window, row by row
SIGNED = rng.sample([5, -2, 8, -4], 4)
PLACES = [rng.choice([0, 1, 5, 4]), rng.choice([2, 3, 6, 7]), 8 + rng.choice([0, 1, 4, 5])]
CLASSES = rng.choice([11, 12, 19])

# %% [markdown]
# ## 1. Where the maxima stood
#
# Max pooling keeps the largest value of each window. Its *switch* is the place of that value in
# the map that was pooled: the number of its cell in reading order, row r and column c being r * W
# + c. Of equal values the first one in reading order wins.
#
# Return the switches. Windows that do not fit whole at the right and the bottom are left out; with
# a stride below the kernel they overlap.


# %% answer switches read="Pool and unpool by hand"
def switches(x, kernel_size, stride):
    """Place of each window's maximum.

    x: (H, W), H and W at least kernel_size. kernel_size, stride: from 1 up.

    Returns (h, w) whole numbers, h = (H - kernel_size) // stride + 1: places r * W + c in x.
    """
    raise NotImplementedError("find the cell of each window's maximum, counted in the whole map")


# %% test switches_square points=1
a, b, c, d = (torch.tensor(window).reshape(2, 2) for window in PERMUTED)
x = torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)]).float()
got = switches(x, 2, 2)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got)
assert tuple(got.shape) == (2, 2), f"four windows: expected (2, 2), got {tuple(got.shape)}"
place = int(got[1, 1])
assert 0 <= place < 16, f"a place in a map of 16 cells lies in 0..15, got {place}"
row, col = place // 4, place % 4
assert min(row, col) >= 2, (
    f"the window at the bottom right covers rows and columns 2 and 3; your switch {place} is row "
    f"{row}, column {col}: count places in the whole map, not in the window"
)
check(
    x.flatten()[got.long()], [[a.max(), b.max()], [c.max(), d.max()]], "The values at the places."
)

# %% test switches_wide points=1
x = torch.zeros(4, 6)
x[0, 1], x[1, 3], x[0, 4] = 5, 7, 6
x[3, 1], x[2, 2], x[3, 5] = 3, 2, 9
check(switches(x, 2, 2), [[1, 9, 4], [19, 14, 23]], "The map has six columns: row r begins at 6 r.")

# %% [markdown]
# ## 2. Unpooling
#
# Put each value at its switch, in a map of zeros. Values that share a switch are *added*, as the
# backward pass of max pooling adds the gradients of all windows that had the same maximum.


# %% answer unpool read="Unpooling is max pooling, backwards"
def unpool(values, places, size):
    """Put values back at their places.

    values: (h, w). places: (h, w) int64, places r * W + c. size: (H, W) of the result.

    Returns (H, W), of the dtype of values.
    """
    raise NotImplementedError("start from zeros, and add each value at its place")


# %% test unpool_places points=1
values = torch.tensor([*SIGNED[:3], 9]).float().reshape(2, 2)
places = torch.tensor([*PLACES, 15]).reshape(2, 2)
got = unpool(values, places, (4, 4))
want = torch.zeros(16)
for value, place in zip([*SIGNED[:3], 9], [*PLACES, 15], strict=True):
    want[place] = value
check(got, want.reshape(4, 4), "Each value stands at its switch, and everything else is zero.")

# %% test unpool_shared points=1
values = torch.tensor([[2.0, 3.0, 4.0]])
got = unpool(values, torch.tensor([[4, 1, 4]]), (2, 3))
assert got is not None, "the function returned None: end it with `return ...`"
assert float(got[1][1]) == 6, (
    "two values share the switch 4: expected 2 + 4 = 6 in row 1, column 1, got "
    f"{float(got[1][1]):g}"
)
check(got, [[0, 3, 0], [0, 6, 0]])

# %% [markdown] question smoother points=4
# ## 3. To write about
#
# A colleague replaces the unpoolings of a trained DeconvNet with CLASSES classes by bilinear
# enlarging, "because the result looks smoother", without training again. Another one trains the
# network with bilinear enlarging from the start.
#
# In about half a page: why does the first break the network, and the second not? What do the
# switches hold, and what not? What would you measure to choose between switches and bilinear
# enlarging for pictures of streets?
