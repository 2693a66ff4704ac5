# %% [markdown]
# # Exercises on stamps
#
# Two short functions and one question.

# %%

import torch

# %% variants
SIDE = rng.choice([2, 3])
COUNT = rng.randint(3, 5)

# %% [markdown]
# ## Stamping
#
# Add a square of ones, SIDE pixels wide, at every place.


# %% answer stamp read="Three ways to one layer"
def stamp(size, places):
    """Add a stamp of ones, SIDE x SIDE, at each place.

    size: (H, W). places: list of (row, col) of top-left corners. Returns an (H, W) float tensor.
    """
    raise NotImplementedError("write stamp")


# %% test stamp_one points=1
out = stamp((6, 6), [(0, 0)])
assert out.shape == (6, 6), f"expected shape (6, 6); yours is {tuple(out.shape)}"
assert out.sum() == SIDE * SIDE, f"one stamp adds {SIDE * SIDE} in all; yours adds {out.sum():g}"

# %% test stamp_overlap points=1
out = stamp((6, 6), [(0, 0), (0, 0)])
assert out.max() == 2, f"expected the stamps to add where they overlap; got {out.max():g}, wanted 2"


# %% answer count read="Uneven overlap"
def count(places):
    """How many places are given. Returns an int."""
    raise NotImplementedError("write count")


# %% test count_some points=1
places = [(i, i) for i in range(COUNT)]
assert count(places) == COUNT, f"expected {COUNT} places; yours says {count(places)}"

# %% [markdown] question why points=2
# Why do stamps that overlap add, and not overwrite?
