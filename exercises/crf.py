# %% [markdown]
# # Exercises: which pixels count, what a labelling costs, and one update
#
# These exercises belong to the chapter "Fully connected conditional random fields". Write your code
# where it says `raise NotImplementedError`, and run the tests below it. The tests that you see are
# not all tests: think of sizes and cases that they leave out. You may use torch and numpy. In a
# terminal, `segcourse check crf.ipynb` runs the tests as marking does, and says where to read.

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
SURE, WAVERS = rng.choice([(0.9, 0.4), (0.8, 0.3), (0.95, 0.45)])
NEAR, FAR = rng.choice([(0.6, 0.1), (0.7, 0.2), (0.8, 0.1)])
MILD, HARSH = rng.choice([(0.5, 2.0), (0.4, 3.0), (0.3, 1.5)])
POLE = rng.choice([3, 4, 5])
REACH = rng.choice([60, 80, 100])
SXY, SRGB = rng.choice([(2, 10), (3, 15), (2, 20)])
STEP = rng.choice([12, 18, 24])

# %% [markdown]
# ## 1. Which pixels a pixel listens to
#
# With the appearance kernel a pixel listens to pixels that are near *and* have a like colour. The
# weight of the pixel at p with colour I, for the pixel at q with colour J, is
#
# $$\exp\left( -\frac{|p - q|^2}{2 \sigma_{xy}^2} - \frac{|I - J|^2}{2 \sigma_{rgb}^2} \right) .$$
#
# Places are counted in pixels, colours in 0 to 255. Compute the weights of all pixels for one.


# %% answer weights read="Which pixels a pixel listens to"
def weights(image, row, col, sxy, srgb):
    """How much the pixel at (row, col) listens to every pixel, by the appearance kernel.

    image: (3, H, W), colours 0 to 255, uint8 or floating point.
    sxy: sigma of the place, in pixels. srgb: sigma of the colour, in steps of colour.

    Returns (H, W), in 0 to 1; 1 at the pixel itself.
    """
    raise NotImplementedError("squared distances of place and colour, each by its sigma")


# %% test weights_place points=1
image = torch.full((3, 7, 10), 90.0)
got = weights(image, 4, 3, SXY, SRGB)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got).double()
assert got.shape == (7, 10), f"expected a weight for each pixel, (7, 10), got {tuple(got.shape)}"
check(got[4, 3], 1, "The pixel itself has distance 0 in both, and exp(0) is 1.")
assert abs(got[4 - SXY, 3].item() - 0.3679) > 1e-3, (
    "one sigma away got exp(-1), wanted exp(-1/2): squares are divided by 2 sigma squared"
)
check(got[4 - SXY, 3], 0.60653066, "All colours alike, SXY rows up: one sigma, exp(-1/2).")
check(got[4, 3 + 2 * SXY], 0.13533528, "All colours alike, two sigma to the right: exp(-2).")
check(got[4 - SXY, 3 + SXY], 0.36787944, "One sigma up and one to the right: exp(-1).")

# %% test weights_colour points=1
image = torch.full((3, 5, 6), 100.0)
image[1, :, 3:] += STEP
far = 2.718281828459045 ** (-(STEP**2) / (2 * SRGB**2))
near = 2.718281828459045 ** (-1 / (2 * SXY**2))
got = weights(image, 2, 2, SXY, SRGB)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got).double()
assert got.shape == (5, 6), f"expected a weight for each pixel, (5, 6), got {tuple(got.shape)}"
assert abs(got[2, 3].item() - near - far) > 1e-3, (
    "yours adds two kernels: a pixel that is near *or* alike would count. Add the exponents"
)
check(got[2, 1], near, "To the left, the same colour: the place alone decides.")
check(
    got[2, 3],
    near * far,
    f"To the right green differs by {STEP} steps, red and blue do not: the squares of the three "
    "channels are added.",
)

# %% [markdown]
# ## 2. What a labelling costs
#
# From here on pixels stand in one row, P of them, and the kernel is written out as a matrix:
# `kernel[i, j]` says how much pixel i listens to pixel j. Its diagonal holds ones, as above, and
# yet no pixel is its own neighbour.
#
# The energy of a labelling is what its pixels cost alone, and what its pairs cost. A pixel i with
# label a costs `unary[i, a]`. A pair of pixels i and j with labels a and b costs `kernel[i, j] *
# compatibility[a, b]`. Each pair counts once. The compatibility need not be the Potts one: pairs
# with the same label may cost something as well.


# %% answer energy read="The energy"
def energy(unary, labels, kernel, compatibility):
    """Energy of one labelling.

    unary: (P, K), what each label costs each pixel alone.
    labels: (P,) int64 in 0..K-1.
    kernel: (P, P), symmetric; a pixel makes no pair with itself, whatever the diagonal holds.
    compatibility: (K, K), symmetric.

    Returns one number.
    """
    raise NotImplementedError("add up the unary costs and the costs of all pairs")


# %% test energy_three_pixels points=1
cat = torch.tensor([SURE, WAVERS, 0.2], dtype=torch.float64)
unary = -torch.stack([cat, 1 - cat], 1).log()
kernel = torch.tensor([[1, NEAR, 0], [NEAR, 1, FAR], [0, FAR, 1]], dtype=torch.float64)
potts = torch.tensor([[0.0, 1], [1, 0]], dtype=torch.float64)
for labels, pairs in (([0, 1, 1], NEAR), ([0, 0, 1], FAR), ([1, 0, 1], NEAR + FAR)):
    alone = unary[[0, 1, 2], labels].sum()
    got = energy(unary, torch.tensor(labels), kernel, potts)
    assert got is not None, "the function returned None: end it with `return ...`"
    assert abs(float(got) - float(alone + 2 * pairs)) > 1e-6, (
        f"labels {labels}: yours counts each pair twice. Pixels 0 and 1 are the same pair as 1 and "
        "0; the sum is over i < j"
    )
    check(
        got,
        alone + pairs,
        f"Labels {labels} cost {alone:.3f} alone, and pairs of different labels {pairs:g}.",
    )

# %% test energy_compatibility points=1
costs = torch.tensor([[0, MILD, HARSH], [MILD, 0, 1], [HARSH, 1, 0]], dtype=torch.float64)
unary = torch.zeros(4, 3, dtype=torch.float64)
kernel = torch.full((4, 4), NEAR, dtype=torch.float64)
kernel[0, 3] = kernel[3, 0] = FAR
got = energy(unary, torch.tensor([0, 1, 1, 2]), kernel, costs)
want = NEAR * (MILD + MILD + 1 + 1) + FAR * HARSH
check(
    got,
    want,
    f"Labels 0 and 1 cost {MILD}, 0 and 2 cost {HARSH}, 1 and 2 cost 1, each times the weight of "
    "its pair. Every pair counts, also of pixels that are no neighbours.",
)

# %% [markdown]
# ## 3. One update of all pixels
#
# Mean field gives each pixel one table of probabilities. One parallel update has three steps. A
# pixel sums up the tables of all *other* pixels, weighted by the kernel. The compatibility turns
# this message into a cost of each label. The softmax of the negative costs, the unary cost with
# them, is the new table. All pixels listen to the tables from before the update.


# %% answer update read="One update by hand"
def update(probs, unary, kernel, compatibility):
    """One parallel mean-field update.

    probs: (P, K), the tables of all pixels before the update; they need not be the softmax of
        -unary.
    unary: (P, K), what each label costs each pixel alone.
    kernel: (P, P), symmetric; a pixel does not listen to itself, whatever the diagonal holds.
    compatibility: (K, K), symmetric.

    Returns the tables after the update, (P, K); each row adds up to 1.
    """
    raise NotImplementedError("message, compatibility, softmax")


# %% test update_by_hand points=1
cat = torch.tensor([SURE, WAVERS, 0.2], dtype=torch.float64)
probs = torch.stack([cat, 1 - cat], 1)
unary = -probs.log()
potts = torch.tensor([[0.0, 1], [1, 0]], dtype=torch.float64)
kernel = torch.tensor([[1, NEAR, 0], [NEAR, 1, FAR], [0, FAR, 1]], dtype=torch.float64)
got = update(probs, unary, kernel, potts)
assert got is not None, "the function returned None: end it with `return ...`"
got = torch.as_tensor(got).double()
assert got.shape == (3, 2), f"expected the shape (3, 2), got {tuple(got.shape)}"
sums = got.sum(1).tolist()
assert all(abs(s - 1) < 1e-5 for s in sums), (
    f"the table of a pixel adds up to 1, yours add up to {[round(s, 3) for s in sums]}: the "
    "softmax is over the labels of one pixel"
)
as_cat = unary[1, 0] + NEAR * (1 - SURE) + FAR * 0.8
as_ground = unary[1, 1] + NEAR * SURE + FAR * 0.2
itself = torch.softmax(-torch.stack([as_cat + 1 - WAVERS, as_ground + WAVERS]), 0)
assert not torch.allclose(got[1], itself), (
    "yours lets a pixel listen to itself: leave out the diagonal of the kernel"
)
want = torch.softmax(-torch.stack([as_cat, as_ground]), 0)
check(
    got[1],
    want,
    f"The middle pixel: cat costs it {as_cat:.3f} and ground {as_ground:.3f}. A label costs what "
    "the others say for *other* labels.",
)
last = torch.softmax(-unary[2] - FAR * torch.tensor([1 - WAVERS, WAVERS]), 0)
check(got[2], last, "The last pixel listens to the table that the middle one had before.")

# %% test update_compatibility points=1
costs = torch.tensor([[0, MILD, HARSH], [MILD, 0, 1], [HARSH, 1, 0]], dtype=torch.float64)
probs = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
unary = torch.tensor([[0.5, 0.1, 0.9], [1.0, 0.3, 0.2]], dtype=torch.float64)
kernel = torch.tensor([[1, NEAR], [NEAR, 1]], dtype=torch.float64)
got = update(probs, unary, kernel, costs)
heard = NEAR * torch.tensor([0.2 * MILD + 0.6 * HARSH, 0.2 * MILD + 0.6, 0.2 * HARSH + 0.2])
want = torch.softmax(-unary[0] - heard.double(), 0)
assert got is not None, "the function returned None: end it with `return ...`"
check(
    torch.as_tensor(got)[0],
    want,
    "Pixel 0 hears pixel 1 only. Each label costs the sum over all labels of what the two labels "
    "cost together, times what was heard for the second.",
)

# %% [markdown] question poles points=4
# ## 4. To write about
#
# A colleague adds a dense CRF to her network for road scenes: Potts, an appearance kernel with
# REACH pixels and 20 grey levels, a smoothness kernel, ten iterations. The mean IoU rises by one
# point. The class "pole", whose members are POLE pixels wide and mostly grey before a grey road,
# falls by eight.
#
# In about half a page: why can both happen at once? Say it with the terms of the energy. What could
# she change in the CRF, and what does each change cost? Which numbers should she report beside the
# mean?
