# Mutants of the references that no test can tell from them, and why:
# - stitch: the first map's type and channels, a row's height and a column's width, may be read off
#   any other map (maps[-1][0] for maps[0][0], row[-1] for row[0]): they agree by definition.
# - costs: one_pass(width, height). Kernels are square and the count is a product: it is symmetric.

# %% solution stitch
def stitch(maps):
    """Weave the maps of all shifts into one of stride 1."""
    stride = len(maps)
    height = sum(row[0].shape[1] for row in maps)
    width = sum(one.shape[2] for one in maps[0])
    out = maps[0][0].new_zeros(maps[0][0].shape[0], height, width)
    for i in range(stride):
        for j in range(stride):
            out[:, i::stride, j::stride] = maps[i][j]
    return out


# %% hidden stitch_sizes points=1
generator = torch.Generator().manual_seed(1)
for stride in (2, 3, 4):
    for channels, height, width in [(1, 4, 4), (3, 5, 8), (2, 9, 6), (1, 7, 12), (4, 6, 4)]:
        want = torch.rand(channels, height, width, generator=generator).double()
        maps = [[want[:, i::stride, j::stride] for j in range(stride)] for i in range(stride)]
        check(stitch(maps), want)

# %% hidden stitch_edges points=1
want = torch.tensor([[[7.0, -1.0]]])
check(stitch([[want]]), want, "Stride 1: there is one map, and it is the answer.")
generator = torch.Generator().manual_seed(2)
want = torch.randint(0, 9, (2, 2, 3), generator=generator)
maps = [[want[:, i::2, j::2] for j in range(2)] for i in range(2)]
got = stitch(maps)
check(got, want, "Labels are whole numbers.")
want = torch.rand(1, 3, 2, generator=generator, dtype=torch.float64) * 1e-4 + 1
got = stitch([[want[:, i::2, j::2] for j in range(2)] for i in range(2)])
check(got, want)
assert (torch.as_tensor(got, dtype=torch.float64) - want).abs().max() < 1e-12, (
    "the values lost digits"
)


# %% solution costs
def costs(layers, height, width):
    """Multiply-adds of one dense pass, and of one window for each output."""
    window = 1 + sum(kernel - 1 for kernel, _, _ in layers)

    def one_pass(rows, cols):
        total = 0
        for kernel, in_channels, out_channels in layers:
            rows, cols = rows - kernel + 1, cols - kernel + 1
            total += rows * cols * kernel**2 * in_channels * out_channels
        return total

    outputs = (height - window + 1) * (width - window + 1)
    return one_pass(height, width), outputs * one_pass(window, window)


# %% hidden costs_kernels points=1
# Three layers with different kernels, on a wide image: 5x5, 1x1, 3x3; the window has 7 pixels.
got = costs([(5, 1, WIDTH_1), (1, WIDTH_1, WIDTH_2), (3, WIDTH_2, OUT)], 12, 31)
dense = 8 * 27 * (25 * WIDTH_1 + WIDTH_1 * WIDTH_2) + 6 * 25 * 9 * WIDTH_2 * OUT
each = 9 * (25 * WIDTH_1 + WIDTH_1 * WIDTH_2) + 9 * WIDTH_2 * OUT
check(got, [dense, 6 * 25 * each])
check(costs([(2, 3, 4), (2, 4, 1)], 4, 9), [3 * 8 * 48 + 2 * 7 * 16, 2 * 7 * (4 * 48 + 16)])

# %% hidden costs_edges points=1
check(costs([(1, 3, OUT)], 6, 4), [24 * 3 * OUT] * 2, "A 1x1 layer: a window is a pixel.")
one = 9 * 9 * 2 * WIDTH_1 + 9 * WIDTH_1 * 2
check(costs([(3, 2, WIDTH_1), (3, WIDTH_1, 2)], 5, 5), [one, one], "An image of one window.")

# %% [markdown] rubric reuse
# - 1 point: training on samples is right: the gradient of a random sample of windows is the
#   gradient of all windows, on average. A label map needs the answer of every pixel, so use cannot
#   sample.
# - 1 point: the cost. About 16.8 million windows for a slice, and neighbours share nearly all of
#   their work, which is done again for each of them.
# - 1 point: one dense pass with the same weights (convolutions run on the whole slice, in pieces
#   if memory asks for it) gives the same scores, to rounding, for a small part of the
#   multiply-adds.
# - 1 point: at the border no whole window fits: without padding the map loses (window - 1) / 2
#   pixels a side, with a mirrored slice it does not; zero padding inside the layers breaks the
#   equality there. With stride 2 the dense pass answers for every second pixel; shift-and-stitch
#   or a network without the stride fills the rest.
#
# **Model answer.** Sampling is right in training. A step needs a direction, and the windows of a
# random sample give the right one on average. In use the colleague's argument fails: each of the
# 4096 x 4096 pixels wants an answer of its own, and there is nothing to sample. That is nearly 17
# million windows, each of which is run through all layers, though it shares all but one column of
# its pixels with its neighbour.
#
# I would keep her weights and run the convolutions on the whole slice. Each layer then computes
# every value once, and the scores are those of the separate windows up to rounding, as long as no
# layer pads. I would check that on a small piece in float64. The map is smaller than the slice by
# half a window on each side; mirroring the slice by that much before the pass gives these pixels
# an answer. Zero padding inside the layers would give them another one. If the classifier has
# stride 2, the dense pass answers for every second pixel in every second row. Four passes over
# shifted slices, woven together, give the rest, with the same weights.
