# Mutants of the references that no test can tell from them, and why:
# - cells_read: cell - step for cell + step. The steps -r, 0 and r are the same three
#   when their signs change.
# - dense_twin: / for //, the numbers in max() in the other order. The output stride divides the
#   stride of every layer behind it, and in front of it the larger of the two is 1.

# %% solution dilate_kernel
def dilate_kernel(kernel, rate_rows, rate_cols):
    """A kernel with its holes written as zeros."""
    kh, kw = kernel.shape
    out = kernel.new_zeros((kh - 1) * rate_rows + 1, (kw - 1) * rate_cols + 1)
    out[::rate_rows, ::rate_cols] = kernel
    return out


# %% hidden dilate_kernel_convolves points=1
import torch.nn.functional as F

generator = torch.Generator().manual_seed(0)
x = torch.randn(1, 1, 14, 17, generator=generator, dtype=torch.float64)
for size, rates in [
    ((3, 3), (1, 1)),
    ((3, 2), (2, 5)),
    ((2, 4), (6, 1)),
    ((3, 3), (4, 3)),
    ((1, 5), (7, 2)),
]:
    kernel = torch.randn(size, generator=generator, dtype=torch.float64)
    got = torch.as_tensor(dilate_kernel(kernel, *rates), dtype=torch.float64)
    want = F.conv2d(x, kernel[None, None], dilation=rates)
    made = F.conv2d(x, got[None, None])
    check(made, want)
    assert (made - want).abs().max() < 1e-12, "64-bit numbers lost digits"

# %% hidden dilate_kernel_edges points=1
check(dilate_kernel(torch.tensor([[7.0]]), 5, 9), [[7]], "One tap has no distance to another.")
check(dilate_kernel(torch.tensor([[1], [2]]), 3, 1), [[1], [0], [0], [2]])
check(dilate_kernel(torch.tensor([[0.0, 1.0]]), 4, 2), [[0, 0, 1]], "A zero is a tap, too.")


# %% solution cells_read
def cells_read(rates):
    """Offsets of the input cells that one output of a stack reads, along one axis."""
    cells = {0}
    for rate in rates:
        cells = {cell + step for cell in cells for step in (-rate, 0, rate)}
    return sorted(cells)


# %% hidden cells_read_stacks points=1
from segcourse.gridding import paths

for rates in [(1, 2, 5), (2, 2, 2), (1, 1), (3, 3, 1), (2, 4, 6), (1, 2, 9), (5, 1, 7, 2)]:
    read = paths(rates).nonzero()[:, 0] - sum(rates)
    got = [int(cell) for cell in cells_read(list(rates))]
    assert got == read.tolist(), f"rates {rates}: got {got}"

# %% hidden cells_read_edges points=1
assert [int(cell) for cell in cells_read([])] == [0], "no layer: a cell reads itself"
assert [int(cell) for cell in cells_read([1])] == [-1, 0, 1]
got = [int(cell) for cell in cells_read([64])]
assert got == [-64, 0, 64], got
got = [int(cell) for cell in cells_read([1, 2, 4, 8, 16])]
assert got == list(range(-31, 32)), "rates that double read every cell"


# %% solution dense_twin
def dense_twin(layers, output_stride):
    """The same network at a smaller output stride."""
    strided, twin = 1, []
    for kernel, stride, padding in layers:
        rate = max(strided // output_stride, 1)
        strided *= stride
        kept = stride if strided <= output_stride else 1
        twin.append((kernel, kept, padding * rate, rate))
    return twin


# %% hidden dense_twin_networks points=1
generator = torch.Generator().manual_seed(1)
vgg = [layer for _ in range(3) for layer in ((3, 1, 1), (2, 2, 0))] + [(5, 1, 0)]
for layers, output_strides in [
    (vgg, (1, 2, 4, 8)),
    ([(3, 1, 1), (3, 1, 1)], (1,)),
    ([(7, 4, 2), (3, 3, 1), (5, 2, 2), (3, 1, 2)], (1, 4, 12, 24)),
    ([(4, 2, 1), (4, 2, 1), (4, 2, 1), (4, 2, 1)], (1, 2, 4, 8, 16)),
]:
    weights = [torch.rand(1, 1, k, generator=generator, dtype=torch.float64) for k, _, _ in layers]
    x = torch.rand(1, 1, 131, generator=generator, dtype=torch.float64)
    strided, whole = run(layers, weights, x)[0, 0], 1
    for _, stride, _ in layers:
        whole *= stride
    for output_stride in output_strides:
        got = [tuple(int(n) for n in layer) for layer in dense_twin(layers, output_stride)]
        product = 1
        for layer in got:
            product *= layer[1]
        assert product == output_stride, f"output stride {output_stride}: {got}"
        check(run(got, weights, x)[0, 0, :: whole // output_stride], strided, f"{got}")

# %% hidden dense_twin_points points=1
# A strided 1x1, as on ResNet's shortcuts, has nothing to dilate, and loses its stride all the same.
generator = torch.Generator().manual_seed(2)
for layers, output_stride in [
    ([(3, 2, 1), (1, 2, 0), (3, 1, 1)], 2),
    ([(1, 2, 0), (3, 1, 1), (1, 3, 0), (3, 1, 0)], 1),
]:
    weights = [torch.rand(1, 1, k, generator=generator, dtype=torch.float64) for k, _, _ in layers]
    x = torch.rand(1, 1, 47, generator=generator, dtype=torch.float64)
    got = [tuple(int(n) for n in layer) for layer in dense_twin(layers, output_stride)]
    assert [layer[1] for layer in got] == [2 if output_stride == 2 else 1] + [1] * (len(got) - 1)
    check(
        run(got, weights, x)[0, 0, :: 2 if output_stride == 2 else 6],
        run(layers, weights, x)[0, 0],
        f"{got}",
    )
assert list(dense_twin([], 1)) == [], "no layer"

# %% [markdown] rubric weeds
# - 1 point: output stride 16 or 8 rather than 32, with the reason: plants of PLANT pixels are a
#   cell or two wide at stride 32; stride 4 or less does not fit into memory. Crops of the
#   photograph or tiles are part of the answer.
# - 1 point: rates from the distance that decides: the field has to reach from a plant to the row
#   (far more than 60 pixels), by mixed rates or several branches, with a field that is computed.
# - 1 point: weights: every stride that is taken out is replaced by dilation of all layers after it
#   (and their padding), so each tap meets the cells that it was trained on; nothing is trained
#   again for that.
# - 1 point: a measurement before training (field against distance of rows, memory and
#   multiply-adds at strides 32, 16, 8, IoU by size) and gridding: a pattern with the period of the
#   rate, neighbouring pixels of one plant with changing labels; cure: mixed rates without a common
#   factor, or plain layers after.
#
# **Model answer.** At stride 32 a small plant has one cell, shared with soil, so I would go to
# stride 16, and to 8 if the memory holds it on crops of 800 pixels or so. To keep the trained
# weights, the last strides become 1 and every layer after them gets a dilation of 2, then 4, with
# its padding: each tap finds the cell that it was trained on, and the strided outputs are among
# the new ones.
#
# What decides is not on the plant. A row is seen over some hundred pixels, so the field has to
# reach from a plant to its neighbours in the row. Holes do that without weights. I would compute
# the field of the stack and add layers or branches at mixed rates, such as 1, 2, 5, until it
# covers three plants of a row. Rates with a common factor would not do: they read one cell in four
# or nine, the map falls apart into networks that never meet, and the labels of a plant change from
# pixel to pixel with the period of the rate, like a sieve.
#
# First I would measure memory and multiply-adds at strides 32, 16 and 8 on one crop, and the IoU
# of weed and crop against the field on a small set. If it does not rise when the rows come into
# view, context is not what she lacks.
