# Mutants of the references that no test can tell from them, and why:
# - valid_taps: at - s for at + s. The taps lie the same to both sides.
# - one_kernel: kernels[-1] for kernels[0], shape[-2] for shape[-1]. All branches have the same
#   channels and type, and kernels are square.

# Mutants of pyramid that no test can tell from it: conv2d(...)[-1] for conv2d(...)[0], since there
# is one image; zip without strict, since the two lists have the same length by definition.

# %% solution valid_taps
def valid_taps(height, width, rate, kernel_size):
    """Taps of a dilated kernel that lie on the map, for every cell."""
    steps = [rate * (tap - kernel_size // 2) for tap in range(kernel_size)]

    def along(cells):
        return torch.tensor([sum(0 <= at + s < cells for s in steps) for at in range(cells)])

    return along(height)[:, None] * along(width)


# %% hidden valid_taps_sizes points=1
for height, width, rate in [
    (1, 1, 1),
    (3, 8, 2),
    (8, 3, 3),
    (4, 9, 4),
    (6, 5, 5),
    (5, 7, 30),
    (9, 4, 1),
]:
    got = valid_taps(height, width, rate, 3)
    want = torch.zeros(height, width)
    for row in range(height):
        for col in range(width):
            for i in (-rate, 0, rate):
                for j in (-rate, 0, rate):
                    want[row, col] += 0 <= row + i < height and 0 <= col + j < width
    check(got, want)

# %% hidden valid_taps_kernels points=1
from segcourse.aspp import valid_taps as ours

for kernel_size in (1, 5, 7):
    for height, width, rate in [(7, 10, 1), (9, 6, 2), (12, 5, 3)]:
        check(
            valid_taps(height, width, rate, kernel_size), ours((height, width), rate, kernel_size)
        )


# %% solution one_kernel
def one_kernel(kernels, rates):
    """The kernel whose convolution equals the sum of dilated branches."""
    halves = [rates[i] * (kernel.shape[-1] // 2) for i, kernel in enumerate(kernels)]
    half = max(halves)
    merged = kernels[0].new_zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1)
    for i, kernel in enumerate(kernels):
        taps = slice(half - halves[i], half + halves[i] + 1, rates[i])
        merged[:, :, taps, taps] += kernel
    return merged


# %% hidden one_kernel_overlaps points=1
# Taps of different branches meet away from the middle, and branches with one rate meet in all taps.
from torch.nn.functional import conv2d

generator = torch.Generator().manual_seed(1)
for sides, rates in [
    ((3, 5), (4, 2)),
    ((5, 3), (3, 1)),
    ((5, 3), (1, 2)),
    ((3, 3, 3), (3, 1, 3)),
    ((3, 7, 5), (2, 1, 3)),
]:
    kernels = [
        torch.rand(2, 3, k, k, generator=generator, dtype=torch.float64) - 0.4 for k in sides
    ]
    got = torch.as_tensor(one_kernel(kernels, rates)).double()
    half = max((k // 2) * r for k, r in zip(sides, rates, strict=True))
    assert got.shape == (2, 3, 2 * half + 1, 2 * half + 1), f"the shape is {tuple(got.shape)}"
    x = torch.rand(2, 3, 8, 11, generator=generator, dtype=torch.float64)
    want = sum(
        conv2d(x, kernel, padding=(kernel.shape[-1] // 2) * rate, dilation=rate)
        for kernel, rate in zip(kernels, rates, strict=True)
    )
    assert (conv2d(x, got, padding=half) - want).abs().max() < 1e-10

# %% hidden one_kernel_point points=1
# A branch of 1x1, whose rate says nothing, as in DeepLab v3; and one branch alone.
generator = torch.Generator().manual_seed(2)
point = torch.rand(4, 1, 1, 1, generator=generator)
three = torch.rand(4, 1, 3, 3, generator=generator)
want = torch.zeros(4, 1, 5, 5)
want[:, :, ::2, ::2] = three
check(one_kernel([three], [2]), want, "One branch: the kernel with its holes.")
want[:, :, 2:3, 2:3] += point
check(one_kernel([point, three], [9, 2]), want)
check(one_kernel([three, point], [2, 1]), want)
check(one_kernel([point, point], [3, 1]), 2 * point, "Points only: a point, whatever the rates.")


# %% solution pyramid
def pyramid(features, kernels, rates):
    """The sum of dilated 3x3 convolutions of one map."""
    conv2d = torch.nn.functional.conv2d
    scores = 0
    for kernel, rate in zip(kernels, rates, strict=True):
        scores = scores + conv2d(features[None], kernel, padding=rate, dilation=rate)[0]
    return scores


# %% hidden pyramid_many points=1
import torch.nn.functional as F

generator = torch.Generator().manual_seed(2)
for C, K, H, W, rates in [
    (2, 3, 7, 9, [1, 2, 4]),
    (1, 1, 5, 4, [6, 12]),
    (3, 2, 8, 6, [2, 2]),
    (1, 4, 1, 3, [1]),
]:
    features = torch.randn(C, H, W, generator=generator)
    kernels = [torch.randn(K, C, 3, 3, generator=generator) for _ in rates]
    want = sum(
        F.conv2d(F.pad(features[None], [r] * 4), k, dilation=r)[0]
        for k, r in zip(kernels, rates, strict=True)
    )
    check(pyramid(features, kernels, rates), want)

# %% hidden pyramid_precise points=1
generator = torch.Generator().manual_seed(3)
features = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
kernels = [torch.randn(3, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
got = torch.as_tensor(pyramid(features, kernels, [64, 1]), dtype=torch.float64)
middle = torch.einsum("kc,chw->khw", kernels[0][:, :, 1, 1], features)
want = middle + torch.nn.functional.conv2d(features[None], kernels[1], padding=1)[0]
check(got, want, "At rate 64 the middle tap alone is left.")
assert (got - want).abs().max() < 1e-12, "at rate 64 the middle tap alone is left"

# %% [markdown] rubric crops
# - 1 point: the rates. A crop has CROP / 16 cells a side at stride 16. At rate 6 a few cells in the
#   middle use all nine taps. At rates 12 and 18 none does, and at 18 most cells, or all, use the
#   middle tap only: the outer weights are hardly trained. In use most cells have all nine taps.
# - 1 point: image pooling averages CROP by CROP pixels in training and the whole photograph in use,
#   in which most classes occur. The layers behind it have not seen such means.
# - 1 point: the batch. Image pooling leaves one value for each channel and image, and batch norm
#   standardises over BATCH of these: what is left depends on the other images in the batch, and
#   hardly on the values. In use the running statistics come in.
# - 1 point: at stride 8 every rate doubles, also those that are 1, and cells are read where they
#   were in training. And one sensible plan: look first at crops of the training size, at stride 16
#   and in evaluation mode, then change one thing at a time; larger crops, smaller rates, tiles of
#   the training size in use, or a norm that does not look across images.
#
# **Model answer.** At stride 16 a crop has CROP / 16 cells a side. Rate 6 needs 13 cells from its
# first tap to its last, so a few cells in the middle use all nine taps. Rate 12 needs 25 and rate
# 18 needs 37, and the crop has not that many. At rate 18 most cells use the middle tap alone: the
# kernel is nearly a 1x1 convolution, and its outer weights stay about where they began. In a
# photograph of 4,000 pixels most cells have all nine, and weights that were hardly trained speak
# nearly everywhere.
#
# Image pooling has the same fault in another form. In training it averages a crop, with perhaps a
# meadow and a road in it. In use it averages the whole land, and the layer behind it has never seen
# such a mean. And with BATCH images batch norm has BATCH numbers for each channel: it makes of them
# nearly the same pattern, whatever they were. In use the running statistics take its place, so
# training and use differ twice.
#
# At output stride 8 the cells are twice as dense, and each rate must double to reach as many
# pixels: 12, 24 and 36, and the plain 3x3 in the head as well. The enlargement must read the cells
# where they were.
#
# First I would run the trained network on crops of CROP pixels that were not trained on, at stride
# 16 and in evaluation mode. If these are poor, I suspect batch norm. If they are good, it is the
# size of what the head looks at. Then I would run whole photographs at stride 16, and only then at
# 8. As a quick mend I would label photographs in overlapping tiles of the size of a crop. As a
# lasting one I would train with larger crops, with rates that fit them, and with a norm that does
# not look across images.
