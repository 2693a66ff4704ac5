# %% solution confusion
def confusion(truth, prediction, num_classes):
    """Count pixels by true and predicted class."""
    known = truth != VOID
    t, p = truth[known].long(), prediction[known].long()
    counts = torch.bincount(t * num_classes + p, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


# %% hidden confusion_absent points=1
check(
    confusion(torch.tensor([[2]]), torch.tensor([[1]]), 4),
    [[0] * 4, [0] * 4, [0, 1, 0, 0], [0] * 4],
)
void = torch.full((2, 3), VOID)
check(confusion(void, torch.zeros(2, 3, dtype=torch.long), 2), [[0, 0], [0, 0]])
check(confusion(void, void, 3), torch.zeros(3, 3), "A prediction on void is not looked at.")
check(confusion(torch.tensor([0, 0, VOID]), torch.tensor([0, 0, 1]), 1), [[2]])

# %% hidden confusion_types points=1
from segcourse.metrics import confusion_matrix

generator = torch.Generator().manual_seed(HITS_0)
for shape, K in [((2, 5, 7), MANY), ((1, 9, 4), 5), ((3, 300, 2), 2)]:
    truth = torch.randint(0, K, shape, generator=generator)
    truth[torch.rand(shape, generator=generator) < 0.2] = VOID
    prediction = torch.randint(0, K, shape, generator=generator)
    prediction[truth == K - 1] = 0  # the last pair does not occur
    want = confusion_matrix(prediction, truth, K)
    for dtype in (torch.int64, torch.uint8, torch.int32):
        check(
            confusion(
                truth.to(torch.uint8 if dtype == torch.uint8 else torch.int64),
                prediction.to(dtype),
                K,
            ),
            want,
        )


# %% solution mean_iou
def mean_iou(matrix):
    """Mean of the IoU over the classes that occur."""
    counts = matrix.double()
    right = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - right
    occurs = union > 0
    return (right[occurs] / union[occurs]).mean().item()


# %% hidden mean_iou_edges points=1
check(
    mean_iou(torch.tensor([[4, 2], [0, 0]])), 4 / 6 / 2, "A class that is only predicted has IoU 0."
)
check(
    mean_iou(torch.tensor([[4, 0], [2, 0]])),
    4 / 6 / 2,
    "A class that is never predicted has IoU 0.",
)
check(mean_iou(torch.tensor([[0, 1], [0, 0]])), 0)

# %% hidden mean_iou_empty points=1
import math

got = mean_iou(torch.zeros(3, 3, dtype=torch.long))
check(got, math.nan, "Without a pixel there is no mean.")
check(mean_iou(torch.tensor([[1]])), 1)

# %% hidden mean_iou_many points=1
from segcourse import metrics

generator = torch.Generator().manual_seed(HITS_1)
for K in (1, 2, 5, MANY):
    matrix = torch.randint(0, 50, (K, K), generator=generator)
    check(mean_iou(matrix), metrics.mean_iou(matrix))
    if K == 1:
        continue
    matrix[K // 2], matrix[:, K // 2] = 0, 0
    check(mean_iou(matrix), metrics.mean_iou(matrix))

# %% [markdown] rubric accuracy
# - 1 point: the program may have learned nothing. Saying "road" everywhere has a pixel accuracy of
#   the share of road, whatever the images hold.
# - 1 point: asks for mIoU (or the IoU of each class) over the set, and says why: each class counts
#   the same, so classes that are never found pull it down.
# - 1 point: asks for a baseline (the constant program), or class accuracy, or the IoU near
#   borders, with what it shows.
# - 1 point: both choices. The mean over images weighs an image with few classes or few pixels like
#   any other and depends on how the pixels are cut into images; one matrix over the set does not.
#   Void has no right answer: it belongs neither to the union nor to a class of its own.
#
# **Model answer.** Road covers as many percent of the pixels as her program gets right. A program
# that says "road" everywhere and looks at no pixel has the same accuracy, so the number alone does
# not show that anything was learned. I would ask for three numbers. First the mIoU from one
# confusion matrix over all images: a class that is never found adds a zero. Second the IoU of each
# class, which says which classes are missing. Third the same numbers for the program that always
# says "road", since a metric means something only beside a baseline. Trimap IoU would say how
# outlines are met.
#
# Averaging over images is another metric. An image in which a class covers three pixels decides as
# much about it as one in which it covers half the picture, and in an image without the class it is
# left out or, worse, counts as zero. So the value changes when the same pixels are cut into other
# images. Counts should be added first, and divided once. And void means that nobody knows the
# class. As a class it punishes every prediction there, or rewards a program that learns to draw
# the rims of objects. It has to be left out before anything is counted.
