# Mutants of the references that no test can tell from them, and why:
# - switches: out without its dtype. Places are compared as numbers, 7.0 is the place 7.
# - unpool: index_add_ along axis -1. The map is flat, and its only axis is the first and the last.

# %% solution switches
def switches(x, kernel_size, stride):
    """Place of each window's maximum."""
    H, W = x.shape
    h, w = (H - kernel_size) // stride + 1, (W - kernel_size) // stride + 1
    out = torch.zeros(h, w, dtype=torch.int64)
    for i in range(h):
        for j in range(w):
            top, left = i * stride, j * stride
            window = x[top : top + kernel_size, left : left + kernel_size]
            best = int(window.flatten().argmax())
            out[i, j] = (top + best // kernel_size) * W + left + best % kernel_size
    return out


# %% hidden switches_all points=1
import torch.nn.functional as F

generator = torch.Generator().manual_seed(0)
for H, W, kernel, stride in [
    (7, 5, 2, 2),
    (5, 8, 3, 2),
    (6, 7, 3, 3),
    (4, 9, 2, 3),
    (5, 4, 3, 1),
    (1, 3, 1, 1),
    (3, 3, 3, 2),
    (9, 4, 4, 3),
]:
    x = torch.randn(H, W, generator=generator) - 5  # the maxima are negative
    want = F.max_pool2d(x[None, None], kernel, stride, return_indices=True)[1][0, 0]
    check(switches(x, kernel, stride), want)

# %% hidden switches_ties points=1
check(switches(torch.zeros(4, 4), 2, 2), [[0, 2], [8, 10]], "Of equal values the first wins.")
check(switches(torch.tensor([[1, 3, 3], [3, 0, 3]]), 2, 1), [[1, 1]])
peak = torch.zeros(5, 5)
peak[2, 2] = 9
check(switches(peak, 3, 2), [[12, 12], [12, 12]], "Four windows share one maximum.")


# %% solution unpool
def unpool(values, places, size):
    """Put values back at their places."""
    out = values.new_zeros(size[0] * size[1])
    out.index_add_(0, places.flatten(), values.flatten())
    return out.reshape(size)


# %% hidden unpool_gradient points=1
import torch.nn.functional as F

generator = torch.Generator().manual_seed(1)
for H, W, kernel, stride in [(6, 8, 2, 2), (7, 5, 3, 2), (5, 9, 3, 1), (7, 4, 2, 3), (2, 3, 1, 1)]:
    x = torch.randn(1, 1, H, W, generator=generator, dtype=torch.float64, requires_grad=True)
    pooled, places = F.max_pool2d(x, kernel, stride, return_indices=True)
    upstream = torch.randn(pooled.shape, generator=generator, dtype=torch.float64)
    (want,) = torch.autograd.grad(pooled, x, upstream)
    got = torch.as_tensor(unpool(upstream[0, 0], places[0, 0], (H, W)), dtype=torch.float64)
    check(got, want[0, 0])
    assert (got - want[0, 0]).abs().max() < 1e-12, "64-bit numbers lost digits"

# %% hidden unpool_edges points=1
check(unpool(torch.tensor([[7.0]]), torch.tensor([[0]]), (1, 1)), [[7]])
check(unpool(torch.tensor([[-3.0, 1.0]]), torch.tensor([[5, 1]]), (2, 3)), [[0, 1, 0], [0, 0, -3]])
check(unpool(torch.tensor([[1, 2]]), torch.tensor([[3, 3]]), (4, 1)), [[0], [0], [0], [3]])
check(unpool(torch.tensor([[2.0, -2.0]]), torch.tensor([[1, 1]]), (1, 2)), [[0, 0]])

# %% [markdown] rubric smoother
# - 1 point: the first breaks it: the decoder's convolutions were trained on sparse maps, where a
#   value stands at the place of a maximum among zeros. Bilinear maps are dense and lie elsewhere:
#   another input, about four times the sum.
# - 1 point: the second works: the weights learn to make outlines from smooth maps, as in FCN; they
#   are not told the places, so they have to guess them from the coarse map.
# - 1 point: a switch says where a window's maximum stood (2 bits at 2x2), never how large it was;
#   what did not win is gone; they belong to one image.
# - 1 point: a measurement: both trained with the same budget and several seeds, IoU near borders
#   beside IoU inside, by size of object (poles, signs), and the cost in memory and time.
#
# **Model answer.** In the trained network every unpooling hands on a map in which three of four
# numbers are zero and the others stand where the encoder found its maxima. The convolutions behind
# it have learned to fill the gaps of such maps. Bilinear enlarging gives them a map without gaps,
# with four times as much in it and nothing in its right place. Nobody taught them what to do with
# that, so the error grows from stage to stage.
#
# Trained from the start, the same layers learn the other task: to draw outlines from smooth maps.
# What they lack is the place. A switch holds two bits for each pooled value: in which of four
# cells the maximum stood. It does not hold the value and nothing of the three others, and it is
# worth something only with the image it was taken from.
#
# Which one is better for streets I would not decide by looks. I would train both with three seeds
# and the same budget, and compare the IoU within three pixels of a border and inside, and the IoU
# of thin classes such as poles. If switches win, it should be there. Then I would compare memory
# and images per second.
