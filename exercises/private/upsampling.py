# %% solution stamp
def stamp(x, kernel, stride):
    """Transposed convolution of one map with one kernel, without padding."""
    h, w = x.shape
    kh, kw = kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for r in range(h):
        for c in range(w):
            top, left = r * stride, c * stride
            out[top : top + kh, left : left + kw] += x[r, c] * kernel
    return out


# %% hidden stamp_strides points=1
import torch.nn.functional as F

generator = torch.Generator().manual_seed(0)
for stride in (1, 2, 3, 4, 5):
    for size, side in [((1, 4), (3, 3)), ((3, 2), (2, 4)), ((4, 5), (4, 1)), ((2, 2), (1, 1))]:
        x = torch.randn(size, generator=generator)
        kernel = torch.randn(side, generator=generator)
        want = F.conv_transpose2d(x[None, None], kernel[None, None], stride=stride)[0, 0]
        check(stamp(x, kernel, stride), want)

# %% hidden stamp_precise points=1
generator = torch.Generator().manual_seed(1)
x = torch.randn(3, 3, generator=generator, dtype=torch.float64)
kernel = torch.randn(3, 3, generator=generator, dtype=torch.float64)
got = torch.as_tensor(stamp(x, kernel, 2), dtype=torch.float64)
want = torch.nn.functional.conv_transpose2d(x[None, None], kernel[None, None], stride=2)[0, 0]
check(got, want)
assert (got - want).abs().max() < 1e-12, "64-bit numbers lost digits"
whole = torch.tensor([[100, 3]])
stamped = stamp(whole, torch.tensor([[1, 2], [0, 1]]), 1)
check(stamped, [[100, 203, 6], [0, 100, 3]], "Whole numbers stay whole.")


# %% solution transposed_matrix
def transposed_matrix(taps, length, stride, padding):
    """The transpose of a 1D convolution's matrix."""
    outputs = (length + 2 * padding - len(taps)) // stride + 1
    matrix = taps.new_zeros(length, outputs)
    for i in range(outputs):
        for k in range(len(taps)):
            read = i * stride - padding + k
            if 0 <= read < length:
                matrix[read, i] = taps[k]
    return matrix


# %% hidden transposed_matrix_adjoint points=1
import torch.nn.functional as F

generator = torch.Generator().manual_seed(2)
for k, length, stride, padding in [
    (3, 7, 3, 1),
    (4, 6, 2, 3),
    (2, 9, 3, 0),
    (5, 5, 2, 2),
    (3, 10, 4, 2),
    (1, 4, 3, 0),
    (6, 11, 1, 5),
]:
    taps = torch.randn(k, generator=generator)
    columns = []
    for i in range(length):
        x = torch.zeros(1, 1, length)
        x[..., i] = 1
        columns.append(F.conv1d(x, taps[None, None], stride=stride, padding=padding)[0, 0])
    check(transposed_matrix(taps, length, stride, padding), torch.stack(columns))

# %% hidden transposed_matrix_edges points=1
one = torch.tensor([3.0])
check(transposed_matrix(one, 1, 1, 0), [[3]])
check(transposed_matrix(torch.tensor([1, 2, 3]), 1, 1, 1), [[2]], "Most of the taps read zeros.")
check(transposed_matrix(torch.tensor([1, 2]), 5, 3, 0), [[1, 0], [2, 0], [0, 0], [0, 1], [0, 2]])
check(transposed_matrix(torch.tensor([1, 2]), 2, 5, 0), [[1], [2]])
check(transposed_matrix(torch.tensor([1, 2]), 3, 2, 0), [[1], [2], [0]], "Nobody reads the last.")

# %% [markdown] rubric grid
# - 1 point: the name. The layer inverts nothing: it is the transpose of a convolution's matrix
#   (its backward pass). The size comes back, the values that were dropped do not.
# - 1 point: the grid. At a stride that does not divide the kernel, neighbouring outputs get
#   different numbers of stamps; and with any kernel the taps of the phases may sum to different
#   values. Training weakens it and does not remove it.
# - 1 point: in a label map only the largest logit counts. A grid in the logits flips pixels only
#   where two classes are nearly level: along borders, in uncertain regions. So an mIoU that does
#   not change says little; labels inside large objects do not show it.
# - 1 point: a measurement (logits of a constant image or region, energy at the period of the
#   stride, phase sums of the kernels, error by position modulo stride, trimap IoU), and the cost:
#   a resize-convolution works at the large size, with more multiply-adds at the same kernel.
#
# **Model answer.** A transposed convolution undoes nothing. It carries numbers the way that the
# gradient of a strided convolution takes: the matrix is transposed, not inverted. So it cannot
# undo pooling well or badly.
#
# A checkerboard comes from stamps that overlap unevenly. At kernel 3 and stride 2 an output has
# one, two or four stamps, by its place. At kernel 4 the count is constant, but the weights may
# still give each phase its own sum. A resize-convolution enlarges first and has the same weights
# for every phase, so it has no grid to begin with.
#
# The label map takes the largest logit at each pixel. A small ripple changes it only where two
# classes are nearly level, so the middle of an object of GRID pixels stays what it is and its
# border may get teeth of the period of the stride. I would run both networks on a constant image
# and look at the energy of the logits at that period, and compare the IoU within a few pixels of
# borders, and the share of errors by position modulo the stride. If nothing differs there, the
# grid was not there or did not matter. And the change is paid for: a 3x3 convolution at the large
# size does more multiply-adds than a transposed one, where three of four products at stride 2
# would be with zeros and are left out.
