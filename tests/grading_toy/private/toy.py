# %% solution stamp
def stamp(size, places):
    """Add a stamp of ones, SIDE x SIDE, at each place."""
    out = torch.zeros(size)
    for row, col in places:
        out[row : row + SIDE, col : col + SIDE] += 1
    return out


# %% hidden stamp_many points=2
generator = torch.Generator().manual_seed(0)
places = torch.randint(0, 7, (5, 2), generator=generator).tolist()
expected = torch.zeros(6, 9)
for row, col in places:
    for i in range(row, min(row + SIDE, 6)):
        for j in range(col, min(col + SIDE, 9)):
            expected[i, j] += 1
assert torch.equal(stamp((6, 9), places), expected), "a secret about stamps"


# %% solution count
def count(places):
    """How many places are given. Returns an int."""
    return len(places)


# %% hidden count_none points=1
assert count([]) == 0

# %% [markdown] rubric why
# 1 point: a sum over inputs. 1 point: linear, so the order does not matter.
