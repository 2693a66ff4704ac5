# %% [markdown]
# # Exercises: one matrix of counts, and mIoU
#
# These exercises belong to the chapter "What semantic segmentation is". Write your code where it
# says `raise NotImplementedError`, and run the tests below it. The tests that you see are not all
# tests: think of sizes and cases that they leave out. You may use torch and numpy. In a terminal,
# `segcourse check metrics.ipynb` runs the tests as marking does, and says where to read.

# %%
import torch

VOID = 255


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
order = [0, 1, 2]
rng.shuffle(order)
pairs = [(0, 0)] * 3 + [(0, 1)] * 3 + [(1, 1)] * 2 + [(1, 2)] * 1 + [(2, 2)] * 2 + [(2, 0)] * 1
rng.shuffle(pairs)
TRUTH = [order[t] for t, p in pairs]
PREDICTION = [order[p] for t, p in pairs]
ROWS, COLS = rng.choice([(3, 4), (2, 6), (4, 3), (6, 2)])
HOLES = sorted(pairs.index((k, k)) for k in range(3))  # every class keeps a right pixel
HITS_0, HITS_1, HITS_2 = rng.sample(range(3, 9), 3)
MANY = rng.choice([20, 21, 23])
SHARE = rng.choice([88, 90, 92])

# %% [markdown]
# ## 1. Count the pairs
#
# Count how often each pair of (true class, predicted class) occurs. Rows are the truth, columns
# the prediction. A pixel whose *truth* is 255 is void: it counts nowhere, whatever was predicted
# there.


# %% answer confusion read="The metrics by hand"
def confusion(truth, prediction, num_classes):
    """Count pixels by true and predicted class.

    truth: integer tensor of any shape and any integer dtype (uint8, too): 0..K-1, or 255 for void.
    prediction: the same shape, any integer dtype; on void pixels it may hold anything.
    num_classes: K, also when some classes do not occur.

    Returns (K, K) whole numbers: rows are truth, columns prediction.
    """
    raise NotImplementedError("count the pairs of true and predicted class")


# %% test confusion_pairs points=1
truth = torch.tensor(TRUTH).reshape(ROWS, COLS)
prediction = torch.tensor(PREDICTION).reshape(ROWS, COLS)
got = confusion(truth, prediction, 3)
want = torch.zeros(3, 3)
for t in range(3):
    for p in range(3):
        want[t, p] = ((truth == t) & (prediction == p)).sum()
if got is not None and torch.equal(torch.as_tensor(got).double(), want.T.double()):
    raise AssertionError("yours is the transpose: rows are the truth, columns the prediction")
check(got, want, "Each entry is a number of pixels: how often this pair occurs.")

# %% test confusion_void points=1
truth = torch.tensor(TRUTH)
prediction = torch.tensor(PREDICTION)
truth[HOLES] = VOID
got = confusion(truth, prediction, 3)
assert got is not None, "the function returned None: end it with `return ...`"
total = int(torch.as_tensor(got).sum())
assert total == 9, f"9 of 12 pixels have a label, your matrix counts {total}: leave void out"
for t in range(3):
    row = [int(((truth == t) & (prediction == p)).sum()) for p in range(3)]
    check(torch.as_tensor(got)[t], row, f"This is the row of true class {t}.")

# %% [markdown]
# ## 2. From counts to mIoU
#
# The IoU of a class is right / (true + predicted - right). The mIoU is the mean over the classes
# that *occur*, in the truth or in the prediction. A class that neither has is left out of the
# mean. A class that is predicted and never true occurs: its IoU is 0. Without any pixel there is
# nothing to average, and the result is `float("nan")`.


# %% answer mean_iou read="The metrics by hand"
def mean_iou(matrix):
    """Mean of the IoU over the classes that occur.

    matrix: (K, K) tensor of pixel counts, rows are truth, columns prediction.

    Returns a float in 0..1, or nan when the matrix counts no pixel.
    """
    raise NotImplementedError("divide what is right by the union, then average")


# %% test mean_iou_by_hand points=1
matrix = torch.tensor([[HITS_0, 2, 0], [1, HITS_1, 1], [0, 3, HITS_2]])
first, second, third = HITS_0 / (HITS_0 + 3), HITS_1 / (HITS_1 + 7), HITS_2 / (HITS_2 + 4)
want = (first + second + third) / 3
check(
    mean_iou(matrix),
    want,
    f"The IoUs of the classes are {first:.3f}, {second:.3f} and {third:.3f}: a pixel of the union "
    "counts once, also when truth and prediction both have it.",
)

# %% test mean_iou_absent points=1
matrix = torch.tensor([[HITS_0, 1, 0], [2, HITS_1, 0], [0, 0, 0]])
want = (HITS_0 / (HITS_0 + 3) + HITS_1 / (HITS_1 + 3)) / 2
check(mean_iou(matrix), want, "Class 2 does not occur at all: it is left out of the mean.")

# %% [markdown] question accuracy points=4
# ## 3. To write about
#
# A colleague labels street scenes in which road covers SHARE percent of the labelled pixels. Her
# program has a pixel accuracy of SHARE percent. She computes the mIoU of each image and averages
# these values, and void counts as a class of its own, "to be fair".
#
# In about half a page: what may her program have learned? Which numbers do you ask for, and what
# does each of them show that pixel accuracy hides? What is wrong with her two choices, the mean of
# means and void as a class?
