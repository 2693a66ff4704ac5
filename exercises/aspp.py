# %% [markdown]
# # Exercises: the taps that are left, and the kernel that branches make
#
# These exercises belong to the chapter "ASPP: many fields of view at once". Write your code where
# it says `raise NotImplementedError`, and run the tests below it. The tests that you see are not
# all tests: think of sizes and cases that they leave out. You may use torch and numpy. In a
# terminal, `segcourse check aspp.ipynb` runs the tests as marking does, and says where to read.

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
MAP_H, MAP_W, RATE = rng.choice([(5, 6, 2), (6, 7, 2), (7, 8, 3)])
TABLE = [
    [
        sum(
            0 <= r + i < MAP_H and 0 <= c + j < MAP_W
            for i in (-RATE, 0, RATE)
            for j in (-RATE, 0, RATE)
        )
        for c in range(MAP_W)
    ]
    for r in range(MAP_H)
]
CELLS, WIDE = rng.choice([(65, 24), (65, 18), (97, 36)])
SHORT, LONG = rng.choice([(1, 3), (1, 2), (2, 3)])
FIRST = rng.sample(range(1, 10), 3)
SECOND = rng.sample(range(1, 10), 3)
CROP = rng.choice([256, 224, 320])
BATCH = rng.choice([2, 3])
RATES = rng.choice([[1, 2, 4], [1, 3, 5], [2, 3, 6]])
CHANNELS, CLASSES = rng.choice([(2, 3), (3, 2), (2, 4)])

# %% [markdown]
# ## 1. How many taps are left
#
# A kernel with an odd side stands on a cell with its middle. Its taps are `rate` cells apart.
# Around the map lie zeros, so that the kernel may stand at every cell; a tap on a zero adds
# nothing. Count for every cell the taps that lie on the map.


# %% answer valid_taps read="How many taps are left"
def valid_taps(height, width, rate, kernel_size):
    """Taps of a dilated kernel that lie on the map, for every cell.

    height, width: of the map, in cells.
    rate: from tap to tap, 1 or more; it may be larger than the map.
    kernel_size: taps along each side, odd.

    Returns (height, width), whole numbers from 1 to kernel_size ** 2.
    """
    raise NotImplementedError("count the taps that lie on the map")


# %% test valid_taps_small points=1
got = valid_taps(MAP_H, MAP_W, RATE, 3)
assert got is not None, "the function returned None: end it with `return ...`"
if torch.as_tensor(got).shape == (MAP_H, MAP_W) and (torch.as_tensor(got) == 9).all():
    raise AssertionError(
        "yours counts nine taps everywhere: the padding lets the kernel stand at every cell, but "
        "it holds zeros, and a tap on a zero is not used"
    )
check(
    got,
    TABLE,
    f"A 3x3 kernel at rate RATE on MAP_H x MAP_W cells. In row 0 the upper taps lie {RATE} rows "
    "above the map; in column 0 the left ones lie as far outside.",
)

# %% test valid_taps_large points=1
got = valid_taps(CELLS, CELLS, WIDE, 3)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got)
assert got.shape == (CELLS, CELLS), f"expected {CELLS}x{CELLS} counts, got {tuple(got.shape)}"
corner, side, nine = int(got[0, 0]), int(got[0, CELLS // 2]), int((got == 9).sum())
assert corner == 4, f"rate {WIDE}, in the corner: got {corner}, wanted 4 taps"
assert side == 6, f"rate {WIDE}, in the middle of the upper side: got {side}, wanted 6 taps"
want = (CELLS - 2 * WIDE) ** 2
assert nine == want, (
    f"rate {WIDE} on {CELLS}x{CELLS} cells: all nine taps at {nine} cells, wanted {want}. Such a "
    f"cell has {WIDE} cells of the map on each of its four sides"
)

# %% [markdown]
# ## 2. Branches without a ReLU
#
# Several branches read the same map, each with a kernel of its own at a rate of its own. Their
# results are added. As long as no branch has a ReLU, the sum is one convolution with one kernel,
# most of which is zero. Write that kernel down.


# %% answer one_kernel read="By hand: two rates on one signal"
def one_kernel(kernels, rates):
    """The kernel whose convolution equals the sum of dilated branches.

    kernels: list of (D, C, k, k), k odd; k may differ from branch to branch. Each branch is padded
        so that it keeps the size of the map.
    rates: one for each kernel, in any order, repeats allowed.

    Returns (D, C, S, S), S the side of the widest branch, its holes included.
    """
    raise NotImplementedError("lay the dilated kernels over each other")


# %% test one_kernel_by_hand points=1
line = torch.zeros(2, 1, 1, 3, 3)
line[0, 0, 0, 1], line[1, 0, 0, 1] = torch.tensor(FIRST), torch.tensor(SECOND)
got = one_kernel([line[0], line[1]], [SHORT, LONG])
want = torch.zeros(1, 1, 2 * LONG + 1, 2 * LONG + 1)
want[0, 0, LONG, LONG - SHORT :: SHORT][:3] = torch.tensor(FIRST)
want[0, 0, LONG, ::LONG] += torch.tensor(SECOND)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got)
assert got.shape == want.shape, (
    f"expected the shape {tuple(want.shape)}, got {tuple(got.shape)}: a 3x3 kernel at rate {LONG} "
    f"spans 2 * {LONG} + 1 cells"
)
middle = got[0, 0, LONG, LONG].item()
assert middle == FIRST[1] + SECOND[1], (
    f"the middle tap: got {middle:g}, wanted {FIRST[1]} + {SECOND[1]}. Both branches stand on the "
    "same cell with their middle, and what falls on one cell is added"
)
check(got, want, f"Rate {SHORT} has the taps {FIRST} in its middle row, rate {LONG} has {SECOND}.")

# %% test one_kernel_on_a_map points=1
generator = torch.Generator().manual_seed(0)
x = torch.rand(1, 2, 9, 10, generator=generator, dtype=torch.float64)
kernels = [torch.rand(3, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
rates = [1, SHORT + 1, LONG + 1]
got = torch.as_tensor(one_kernel(kernels, rates)).to(x)
branches = [
    torch.nn.functional.conv2d(x, kernel, padding=rate, dilation=rate)
    for kernel, rate in zip(kernels, rates, strict=True)
]
side = 2 * LONG + 3
assert got.shape == (3, 2, side, side), (
    f"expected the shape {(3, 2, side, side)}, got {tuple(got.shape)}: branches are added, channel "
    "by channel, not joined"
)
check(
    torch.nn.functional.conv2d(x, got, padding=LONG + 1)[0],
    sum(branches)[0],
    "The convolution with your kernel differs from the sum of the branches.",
)

# %% [markdown]
# ## 3. A pyramid of rates, summed
#
# DeepLab v2's head scores the same features at several rates and adds the scores. Each branch is a
# 3x3 convolution at its own rate, padded so that the map keeps its size. There is no bias here.


# %% answer pyramid read="ASPP: four rates, summed"
def pyramid(features, kernels, rates):
    """The sum of dilated 3x3 convolutions of one map.

    features: (C, H, W). kernels: list of (K, C, 3, 3), one for each rate, of the same dtype.
    rates: list of whole numbers from 1 up, as many as kernels; at least one.

    Returns (K, H, W).
    """
    raise NotImplementedError("convolve the same map at each rate, and add")


# %% test pyramid_one points=1
generator = torch.Generator().manual_seed(0)
features = torch.randn(CHANNELS, 9, 11, generator=generator)
kernels = [torch.zeros(CLASSES, CHANNELS, 3, 3)]
kernels[0][0, 0, 0, 0] = 1.0  # class 0 copies what lies RATE rows above and RATE columns left
got = pyramid(features, kernels, [RATE])
assert got is not None, "the function returned None: end it with `return ...`"
assert tuple(got.shape) == (CLASSES, 9, 11), (
    f"scores have the map's size, ({CLASSES}, 9, 11), got {tuple(got.shape)}: the padding has to "
    "grow with the rate"
)
check(got[0][RATE:, RATE:], features[0, :-RATE, :-RATE], f"At rate {RATE} taps are {RATE} apart.")

# %% test pyramid_sum points=1
generator = torch.Generator().manual_seed(1)
features = torch.randn(CHANNELS, 8, 6, generator=generator)
kernels = [torch.zeros(CLASSES, CHANNELS, 3, 3) for _ in RATES]
for number, kernel in enumerate(kernels, 1):
    kernel[:, 0, 1, 1] = number  # the middle taps: every branch hands on channel 0, n times
got = pyramid(features, kernels, RATES)
assert got is not None, "the function returned None: end it with `return ...`"
check(
    got,
    6 * features[:1].expand(CLASSES, 8, 6),
    "Branches that hand on 1, 2 and 3 times channel 0 sum to 6 times: all branches look at the "
    "same features, and their scores are added, not averaged and not joined.",
)

# %% [markdown] question crops points=4
# ## 4. To write about
#
# A team trains DeepLab v3 for aerial photographs that are 4,000 pixels wide. They train on crops of
# CROP by CROP pixels at output stride 16, with the rates 6, 12 and 18 and BATCH images in a batch.
# In use they run whole photographs at output stride 8. The training loss looks well, and the label
# maps of whole photographs are poor.
#
# In about half a page: what do image pooling and each of the rates see in training, and what in
# use? What do BATCH images in a batch do to image pooling? What has to change with the output
# stride? What would you look at first, and what would you change?
