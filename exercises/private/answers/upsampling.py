# %% stamp marks=4 kind=right
# adds stamps one by one
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = torch.zeros((h - 1) * stride + kh, (w - 1) * stride + kw, dtype=x.dtype)
    for r in range(h):
        for c in range(w):
            out[r * stride : r * stride + kh, c * stride : c * stride + kw] += x[r, c] * kernel
    return out


# %% stamp marks=4 kind=right
# tap by tap: each tap adds the whole map, at every stride-th place
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i in range(kh):
        for j in range(kw):
            out[i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride] += (
                kernel[i, j] * x
            )
    return out


# %% stamp marks=4 kind=right
# zero insertion, then a convolution with the flipped kernel
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    spread = x.new_zeros((h - 1) * stride + 1, (w - 1) * stride + 1)
    spread[::stride, ::stride] = x
    padded = torch.nn.functional.pad(spread, (kw - 1, kw - 1, kh - 1, kh - 1))
    views = padded.unfold(0, kh, 1).unfold(1, kw, 1)
    return (views * kernel.flip(0, 1)).sum((2, 3))


# %% stamp marks=4 kind=unusual
# torch's own layer, through 64-bit numbers
def stamp(x, kernel, stride):
    got = torch.nn.functional.conv_transpose2d(
        x[None, None].double(), kernel[None, None].double(), stride=stride
    )
    return got[0, 0]


# %% stamp marks=4 kind=unusual
# asks each output which inputs reach it, in plain Python
def stamp(x, kernel, stride):
    x, kernel = x.tolist(), kernel.tolist()
    H = (len(x) - 1) * stride + len(kernel)
    W = (len(x[0]) - 1) * stride + len(kernel[0])

    def at(r, c):
        return sum(
            x[i][j] * kernel[r - i * stride][c - j * stride]
            for i in range(len(x))
            for j in range(len(x[0]))
            if 0 <= r - i * stride < len(kernel) and 0 <= c - j * stride < len(kernel[0])
        )

    return torch.tensor([[at(r, c) for c in range(W)] for r in range(H)], dtype=torch.float64)


# %% stamp marks=4 kind=unusual
# numpy, with prints, and the output of one stamp at a time
def stamp(x, kernel, stride):
    import numpy as np

    x, kernel = np.asarray(x), np.asarray(kernel)
    size = [(n - 1) * stride + k for n, k in zip(x.shape, kernel.shape)]
    out = np.zeros(size)
    for (r, c), value in np.ndenumerate(x):
        print("stamp", r, c)
        np.add.at(
            out,
            np.ix_(
                np.arange(kernel.shape[0]) + r * stride, np.arange(kernel.shape[1]) + c * stride
            ),
            value * kernel,
        )
    return out


# %% stamp marks=3 kind=partly
# float32 whatever comes in
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = torch.zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for r in range(h):
        for c in range(w):
            out[r * stride : r * stride + kh, c * stride : c * stride + kw] += x[r, c] * kernel
    return out


# %% stamp marks=3 kind=partly
# square kernels only
def stamp(x, kernel, stride):
    (h, w), k = x.shape, kernel.shape[0]
    out = x.new_zeros((h - 1) * stride + k, (w - 1) * stride + kernel.shape[1])
    for r in range(h):
        for c in range(w):
            out[r * stride : r * stride + k, c * stride : c * stride + k] += x[r, c] * kernel
    return out


# %% stamp marks=1 kind=misconception
# overwrites where stamps overlap
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for r in range(h):
        for c in range(w):
            out[r * stride : r * stride + kh, c * stride : c * stride + kw] = x[r, c] * kernel
    return out


# %% stamp marks=0 kind=misconception
# stamps with the flipped kernel, as the second way convolves
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for r in range(h):
        for c in range(w):
            out[r * stride : r * stride + kh, c * stride : c * stride + kw] += x[
                r, c
            ] * kernel.flip(0, 1)
    return out


# %% stamp marks=0 kind=misconception
# zero insertion, then a convolution with the kernel as it is
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    spread = x.new_zeros((h - 1) * stride + 1, (w - 1) * stride + 1)
    spread[::stride, ::stride] = x
    padded = torch.nn.functional.pad(spread, (kw - 1, kw - 1, kh - 1, kh - 1))
    return (padded.unfold(0, kh, 1).unfold(1, kw, 1) * kernel).sum((2, 3))


# %% stamp marks=0 kind=misconception
# the output is stride times the input
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros(h * stride, w * stride)
    for r in range(h):
        for c in range(w):
            part = out[r * stride : r * stride + kh, c * stride : c * stride + kw]
            part += x[r, c] * kernel[: part.shape[0], : part.shape[1]]
    return out


# %% stamp marks=0 kind=misconception
# an ordinary convolution with a stride: picks up instead of stamping
def stamp(x, kernel, stride):
    kh, kw = kernel.shape
    return (x.unfold(0, kh, stride).unfold(1, kw, stride) * kernel).sum((2, 3))


# %% stamp marks=1 kind=misconception
# the stamps move by one, and the stride only enlarges the output
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for r in range(h):
        for c in range(w):
            out[r : r + kh, c : c + kw] += x[r, c] * kernel
    return out


# %% stamp marks=1 kind=misconception
# divides by the number of stamps, so that nothing looks like a checkerboard
def stamp(x, kernel, stride):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = torch.zeros((h - 1) * stride + kh, (w - 1) * stride + kw, dtype=torch.float64)
    count = torch.zeros_like(out)
    for r in range(h):
        for c in range(w):
            out[r * stride : r * stride + kh, c * stride : c * stride + kw] += x[r, c] * kernel
            count[r * stride : r * stride + kh, c * stride : c * stride + kw] += 1
    return out / count.clamp(min=1)


# %% transposed_matrix marks=4 kind=right
# puts each tap into its column
def transposed_matrix(taps, length, stride, padding):
    n = (length + 2 * padding - len(taps)) // stride + 1
    out = torch.zeros(length, n, dtype=taps.dtype)
    for i in range(n):
        for k, tap in enumerate(taps):
            if 0 <= i * stride - padding + k < length:
                out[i * stride - padding + k, i] = tap
    return out


# %% transposed_matrix marks=4 kind=right
# builds the padded matrix by slices, cuts the frame, and transposes
def transposed_matrix(taps, length, stride, padding):
    wide = length + 2 * padding
    n = (wide - len(taps)) // stride + 1
    rows = torch.zeros(n, wide, dtype=taps.dtype)
    for i in range(n):
        rows[i, i * stride : i * stride + len(taps)] = taps
    return rows[:, padding : padding + length].T


# %% transposed_matrix marks=4 kind=right
# one comparison of indices
def transposed_matrix(taps, length, stride, padding):
    n = (length + 2 * padding - len(taps)) // stride + 1
    k = torch.arange(length)[:, None] + padding - stride * torch.arange(n)
    inside = (k >= 0) & (k < len(taps))
    return torch.where(inside, taps[k.clamp(0, len(taps) - 1)], 0)


# %% transposed_matrix marks=4 kind=unusual
# runs the convolution on each unit vector
def transposed_matrix(taps, length, stride, padding):
    eye = torch.eye(length, dtype=taps.dtype)[:, None]
    taps = taps[None, None]
    if not taps.is_floating_point():
        eye, taps = eye.double(), taps.double()
    return torch.nn.functional.conv1d(eye, taps, stride=stride, padding=padding)[:, 0]


# %% transposed_matrix marks=4 kind=unusual
# the transposed convolution of each unit vector: what one output sends back
def transposed_matrix(taps, length, stride, padding):
    n = (length + 2 * padding - len(taps)) // stride + 1
    sent = []
    for i in range(n):
        line = [0.0] * (i * stride) + taps.tolist()
        line += [0.0] * (length + 2 * padding - len(line))
        sent.append(line[padding : padding + length])
    print(sent)
    return torch.tensor(sent, dtype=torch.float64).T


# %% transposed_matrix marks=4 kind=unusual
# numpy, with the diagonals of an identity
def transposed_matrix(taps, length, stride, padding):
    import numpy as np

    wide, k = length + 2 * padding, len(taps)
    full = sum(float(t) * np.eye(wide - k + 1, wide, d) for d, t in enumerate(taps))
    return full[::stride, padding : wide - padding].T.tolist()


# %% transposed_matrix marks=1 kind=partly
# padding is ignored
def transposed_matrix(taps, length, stride, padding):
    n = (length - len(taps)) // stride + 1
    out = torch.zeros(length, n)
    for i in range(n):
        out[i * stride : i * stride + len(taps), i] = taps
    return out


# %% transposed_matrix marks=1 kind=partly
# negative places wrap around to the other end, as Python's indices do
def transposed_matrix(taps, length, stride, padding):
    n = (length + 2 * padding - len(taps)) // stride + 1
    out = torch.zeros(length, n, dtype=taps.dtype)
    for i in range(n):
        for k, tap in enumerate(taps):
            out[(i * stride - padding + k) % length, i] += tap
    return out


# %% transposed_matrix marks=2 kind=partly
# stride 2 at most: every second row at all larger strides
def transposed_matrix(taps, length, stride, padding):
    stride = min(stride, 2)
    n = (length + 2 * padding - len(taps)) // stride + 1
    rows = torch.zeros(n, length + 2 * padding, dtype=taps.dtype)
    for i in range(n):
        rows[i, i * stride : i * stride + len(taps)] = taps
    return rows[:, padding : padding + length].T


# %% transposed_matrix marks=0 kind=misconception
# the matrix of the convolution itself
def transposed_matrix(taps, length, stride, padding):
    wide = length + 2 * padding
    n = (wide - len(taps)) // stride + 1
    rows = torch.zeros(n, wide, dtype=taps.dtype)
    for i in range(n):
        rows[i, i * stride : i * stride + len(taps)] = taps
    return rows[:, padding : padding + length]


# %% transposed_matrix marks=0 kind=misconception
# flips the taps, as in a convolution of the spread input
def transposed_matrix(taps, length, stride, padding):
    wide = length + 2 * padding
    n = (wide - len(taps)) // stride + 1
    rows = torch.zeros(n, wide, dtype=taps.dtype)
    for i in range(n):
        rows[i, i * stride : i * stride + len(taps)] = taps.flip(0)
    return rows[:, padding : padding + length].T


# %% transposed_matrix marks=0 kind=misconception
# deconvolution: the inverse of the matrix, so that it undoes the convolution
def transposed_matrix(taps, length, stride, padding):
    wide = length + 2 * padding
    n = (wide - len(taps)) // stride + 1
    rows = torch.zeros(n, wide)
    for i in range(n):
        rows[i, i * stride : i * stride + len(taps)] = taps.float()
    return torch.linalg.pinv(rows[:, padding : padding + length])


# %% transposed_matrix marks=1 kind=misconception
# believes that padding adds rows to the result of a transposed convolution
def transposed_matrix(taps, length, stride, padding):
    wide = length + 2 * padding
    n = (wide - len(taps)) // stride + 1
    out = torch.zeros(wide, n, dtype=taps.dtype)
    for i in range(n):
        out[i * stride : i * stride + len(taps), i] = taps
    return out


# %% transposed_matrix marks=1 kind=misconception
# the transpose is always a convolution: its columns move by one
def transposed_matrix(taps, length, stride, padding):
    n = (length + 2 * padding - len(taps)) // stride + 1
    out = torch.zeros(length, n, dtype=taps.dtype)
    for i in range(n):
        for k, tap in enumerate(taps):
            if 0 <= i - padding + k < length:
                out[i - padding + k, i] = tap
    return out
