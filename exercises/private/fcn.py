# A mutant of the references that no test can tell from them: in slide_linear, conv2d(...)[-1] for
# conv2d(...)[0]. There is one image, and it is the first and the last.

# %% solution slide_linear
def slide_linear(weight, bias, features, height, width):
    """Scores of a linear layer at every place of a larger map."""
    kernels = weight.reshape(len(weight), len(features), height, width)
    return torch.nn.functional.conv2d(features[None], kernels, bias)[0]


# %% hidden slide_linear_every_place points=1
generator = torch.Generator().manual_seed(2)
for K, C, h, w, H, W in [
    (3, 2, 2, 3, 5, 4),
    (1, 1, 1, 1, 2, 3),
    (2, 3, 4, 1, 4, 6),
    (5, 1, 1, 3, 4, 5),
]:
    weight = torch.randn(K, C * h * w, generator=generator)
    bias = torch.randn(K, generator=generator)
    features = torch.randn(C, H, W, generator=generator)
    got = slide_linear(weight, bias, features, h, w)
    want = torch.empty(K, H - h + 1, W - w + 1)
    for row in range(H - h + 1):
        for col in range(W - w + 1):
            part = features[:, row : row + h, col : col + w]
            want[:, row, col] = weight @ part.flatten() + bias
    check(got, want)

# %% hidden slide_linear_float64 points=1
generator = torch.Generator().manual_seed(3)
weight = torch.randn(2, 8, generator=generator, dtype=torch.float64)
bias = torch.full((2,), 1000.0, dtype=torch.float64)
features = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
got = torch.as_tensor(slide_linear(weight, bias, features, 2, 2), dtype=torch.float64)
want = weight @ features[:, 1:, :2].flatten() + bias
check(got[:, 1, 0], want)
assert (got[:, 1, 0] - want).abs().max() < 1e-10, "64-bit numbers lost digits"


# %% solution field
def field(layers):
    """Receptive field of a stack of layers along one axis."""
    size, step, centre = 1, 1, 0.0
    for kernel, stride, padding, dilation in layers:
        reach = (kernel - 1) * dilation
        size += reach * step
        centre += (reach / 2 - padding) * step
        step *= stride
    return size, step, centre


# %% hidden field_dilated points=1
check(field([(3, 1, 1, 2)]), [5, 1, 1.0], "Taps two pixels apart.")
check(field([(2, 2, 0, 1), (3, 1, 4, 4), (3, 2, 0, 3)]), [30, 4, 6.5])
check(field([(3, 3, 0, 1), (5, 2, 1, 2)]), [27, 6, 10.0])
check(field([(4, 3, 1, 2), (4, 1, 0, 3)]), [34, 3, 15.5])

# %% hidden field_networks points=1
from torch import nn

from segcourse.receptive_field import receptive_field

check(field([]), [1, 1, 0.0], "No layer: a cell is a pixel.")
check(field([(1, 1, 0, 1)]), [1, 1, 0.0])
vgg = [row for count in (2, 2, 3, 3, 3) for row in [(3, 1, 1, 1)] * count + [(2, 2, 0, 1)]]
check(field([*vgg, (7, 1, 0, 1)]), [404, 32, 15.5 + 3 * 32], "VGG16 up to fc6.")
alexnet = [(11, 4, 2, 1), (3, 2, 0, 1), (5, 1, 2, 1), (3, 2, 0, 1), (3, 1, 1, 1), (4, 3, 1, 1)]
want = receptive_field(nn.Sequential(*(nn.Conv2d(1, 1, *row) for row in alexnet)))
check(field(alexnet), [want.size, want.stride, want.offset])

# %% [markdown] rubric skips
# - 1 point: skips bring back *where*: borders of ships, and ships smaller than a cell of 32
#   pixels, which share their cell with water.
# - 1 point: skips do not bring back *what*: the field of the deep layers is fixed. The middle of
#   an object larger than the field looks like a picture of one colour, and a skip sees even less.
#   What the shallow layers score alone is local.
# - 1 point: a measurement before training: the ceiling (the truth shrunk by 32, 16, 8 and enlarged
#   again, by object size), the field against the sizes of objects (closed form, gradient), or
#   errors of the present network by object size and distance from the border.
# - 1 point: with zero weights the new network gives exactly the scores of the old one, so the
#   start is as good as what was trained; random scores would be added to good ones. The layer
#   learns all the same, since its gradient does not depend on its own weights.
#
# **Model answer.** FCN-32s has one cell of scores for 32 by 32 pixels. A fishing boat is smaller
# than a cell: it shares the cell with water and mostly loses. The outlines of tankers are rough
# for the same reason. Skips from strides 16 and 8 mend this kind of error, a lack of *where*: maps
# before the last pools still have a cell for 16 or 8 pixels.
#
# They do not mend a lack of *what*. If the middle of a tanker is missing since no cell there sees
# its outline, a finer cell, which sees less, will not know it either. That asks for a larger
# field, or for the image at half its size, which would cost the small boats. Boats that look like
# waves in every small window stay hard too.
#
# Before training I would measure two things. I would shrink the true label maps by 32, 16 and 8
# and enlarge them again: the IoU of small boats and of tankers shows what a grid can reach at
# best. And I would sort the errors of the present network by size and by distance to a border. If
# most errors lie near borders or on boats, skips are worth their cost. The new score layer starts
# at zero, so training begins from the scores of the FCN-32s and not from their sum with noise; its
# gradient is not zero, so it learns.
