# %% [markdown]
# # Exercises without torch
#
# Two short functions and one question.

# %%
from math import prod

# %% variants
SIDE = rng.choice([2, 3])
COUNT = rng.randint(3, 5)


# %% answer stamp
def stamp(size, places):
    """Add a stamp of ones, SIDE x SIDE, at each place.

    size: (H, W). places: list of (row, col) of top-left corners. Returns H lists of W numbers.
    """
    raise NotImplementedError("write stamp")


# %% test stamp_one points=1
out = stamp((6, 5), [(0, 0)])
assert [len(row) for row in out] == [5] * 6, "expected 6 rows of 5"
assert sum(map(sum, out)) == prod((SIDE, SIDE)), f"one stamp adds {SIDE * SIDE} in all"

# %% test stamp_overlap points=1
out = stamp((6, 6), [(0, 0), (0, 0)])
assert max(map(max, out)) == 2, "expected the stamps to add where they overlap"


# %% answer count
def count(places):
    """How many places are given. Returns an int."""
    raise NotImplementedError("write count")


# %% test count_some points=1
places = [(i, i) for i in range(COUNT)]
assert count(places) == COUNT, f"expected {COUNT} places"

# %% [markdown] question why points=2
# Why do stamps that overlap add, and not overwrite?
