# %% solution stamp
def stamp(size, places):
    """Add a stamp of ones, SIDE x SIDE, at each place."""
    height, width = size
    out = [[0] * width for _ in range(height)]
    for row, col in places:
        for i in range(row, min(row + SIDE, height)):
            for j in range(col, min(col + SIDE, width)):
                out[i][j] += 1
    return out


# %% hidden stamp_many points=2
expected = [[0] * 9 for _ in range(6)]
places = [(0, 0), (1, 1), (3, 8), (5, 4), (5, 4)]
for row, col in places:
    for i in range(6):
        for j in range(9):
            expected[i][j] += 0 <= i - row < SIDE and 0 <= j - col < SIDE
assert stamp((6, 9), places) == expected, "a secret about stamps"


# %% solution count
def count(places):
    """How many places are given. Returns an int."""
    return len(places)


# %% hidden count_none points=1
assert count([]) == 0

# %% [markdown] rubric why
# 1 point: a sum over inputs. 1 point: linear, so the order does not matter.
