# %% dilate_kernel marks=4 kind=right
# slices with a step
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    out = torch.zeros((kh - 1) * rate_rows + 1, (kw - 1) * rate_cols + 1, dtype=kernel.dtype)
    out[::rate_rows, ::rate_cols] = kernel
    return out


# %% dilate_kernel marks=4 kind=right
# tap by tap
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    out = kernel.new_zeros(kh + (kh - 1) * (rate_rows - 1), kw + (kw - 1) * (rate_cols - 1))
    for i in range(kh):
        for j in range(kw):
            out[i * rate_rows, j * rate_cols] = kernel[i, j]
    return out


# %% dilate_kernel marks=4 kind=right
# larger than needed, then cut
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    out = kernel.new_zeros(kh, rate_rows, kw, rate_cols)
    out[:, 0, :, 0] = kernel
    out = out.reshape(kh * rate_rows, kw * rate_cols)
    return out[: (kh - 1) * rate_rows + 1, : (kw - 1) * rate_cols + 1]


# %% dilate_kernel marks=4 kind=unusual
# the Kronecker product with a corner
def dilate_kernel(kernel, rate_rows, rate_cols):
    corner = torch.zeros(rate_rows, rate_cols, dtype=kernel.dtype)
    corner[0, 0] = 1
    full = torch.kron(kernel, corner)
    print(full)
    return full[: full.shape[0] - rate_rows + 1, : full.shape[1] - rate_cols + 1]


# %% dilate_kernel marks=4 kind=unusual
# products of matrices that move rows and columns
def dilate_kernel(kernel, rate_rows, rate_cols):
    def mover(n, rate):
        m = torch.zeros((n - 1) * rate + 1, n, dtype=torch.float64)
        m[torch.arange(n) * rate, torch.arange(n)] = 1
        return m

    kh, kw = kernel.shape
    return mover(kh, rate_rows) @ kernel.double() @ mover(kw, rate_cols).T


# %% dilate_kernel marks=4 kind=unusual
# nested lists, then numpy
def dilate_kernel(kernel, rate_rows, rate_cols):
    import numpy as np

    rows = []
    for i, line in enumerate(kernel.tolist()):
        spread = []
        for j, tap in enumerate(line):
            spread += ([0] * (rate_cols - 1) if j else []) + [tap]
        rows += [[0] * len(spread)] * (rate_rows - 1 if i else 0) + [spread]
    return np.array(rows, dtype=float)


# %% dilate_kernel marks=1 kind=partly
# one rate for both directions
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    out = kernel.new_zeros((kh - 1) * rate_rows + 1, (kw - 1) * rate_rows + 1)
    out[::rate_rows, ::rate_rows] = kernel
    return out


# %% dilate_kernel marks=2 kind=partly
# 3x3 kernels only, and lines of three
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = min(kernel.shape[0], 3), 3
    out = torch.zeros((kh - 1) * rate_rows + 1, (kw - 1) * rate_cols + 1)
    out[::rate_rows, ::rate_cols] = kernel[:kh, :kw]
    return out


# %% dilate_kernel marks=3 kind=partly
# goes through 32-bit numbers
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    out = torch.zeros((kh - 1) * rate_rows + 1, (kw - 1) * rate_cols + 1)
    out[::rate_rows, ::rate_cols] = kernel
    return out


# %% dilate_kernel marks=0 kind=misconception
# three taps have three distances: k * r cells
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    out = kernel.new_zeros(kh * rate_rows, kw * rate_cols)
    out[::rate_rows, ::rate_cols] = kernel
    return out


# %% dilate_kernel marks=0 kind=misconception
# r zeros between two taps: rate 1 already has holes
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    r, c = rate_rows + 1, rate_cols + 1
    out = kernel.new_zeros((kh - 1) * r + 1, (kw - 1) * c + 1)
    out[::r, ::c] = kernel
    return out


# %% dilate_kernel marks=0 kind=misconception
# fills the holes by copying the weights: a larger kernel, not a dilated one
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    size = ((kh - 1) * rate_rows + 1, (kw - 1) * rate_cols + 1)
    return torch.nn.functional.interpolate(kernel[None, None].double(), size=size)[0, 0]


# %% dilate_kernel marks=0 kind=misconception
# interpolates between the taps
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    size = ((kh - 1) * rate_rows + 1, (kw - 1) * rate_cols + 1)
    return torch.nn.functional.interpolate(
        kernel[None, None].double(), size=size, mode="bilinear", align_corners=True
    )[0, 0]


# %% dilate_kernel marks=0 kind=misconception
# takes every r-th tap: subsamples the kernel
def dilate_kernel(kernel, rate_rows, rate_cols):
    return kernel[::rate_rows, ::rate_cols]


# %% dilate_kernel marks=0 kind=misconception
# zeros around the kernel, not in it
def dilate_kernel(kernel, rate_rows, rate_cols):
    kh, kw = kernel.shape
    r, c = (kh - 1) * (rate_rows - 1), (kw - 1) * (rate_cols - 1)
    return torch.nn.functional.pad(kernel, (c // 2, c - c // 2, r // 2, r - r // 2))


# %% cells_read marks=4 kind=right
# a set that grows layer by layer
def cells_read(rates):
    cells = {0}
    for r in rates:
        cells = {c + d for c in cells for d in (-r, 0, r)}
    return sorted(cells)


# %% cells_read marks=4 kind=right
# all combinations of taps
def cells_read(rates):
    from itertools import product

    return sorted({sum(steps) for steps in product(*[(-r, 0, r) for r in rates])})


# %% cells_read marks=4 kind=right
# a recursion, from the last layer
def cells_read(rates):
    if not rates:
        return [0]
    rest = cells_read(rates[:-1])
    return sorted(set(rest + [c - rates[-1] for c in rest] + [c + rates[-1] for c in rest]))


# %% cells_read marks=4 kind=unusual
# runs a spike through dilated convolutions of ones
def cells_read(rates):
    total = sum(rates)
    x = torch.zeros(1, 1, 2 * total + 1, dtype=torch.float64)
    x[..., total] = 1
    for r in rates:
        x = torch.nn.functional.conv1d(
            x, torch.ones(1, 1, 3, dtype=torch.float64), padding=r, dilation=r
        )
    return (x[0, 0].nonzero()[:, 0] - total).tolist()


# %% cells_read marks=4 kind=unusual
# a polynomial's powers, with numpy, as a tensor
def cells_read(rates):
    import numpy as np

    poly = np.array([1])
    for r in rates:
        taps = np.zeros(2 * r + 1, int)
        taps[[0, r, 2 * r]] = 1
        poly = np.convolve(poly, taps)
    print(poly)
    return torch.tensor(np.flatnonzero(poly) - len(poly) // 2)


# %% cells_read marks=4 kind=unusual
# whole numbers as floats, in a tuple
def cells_read(rates):
    cells = torch.zeros(1)
    for r in rates:
        cells = torch.cat([cells - r, cells, cells + r]).unique()
    return tuple(cells.tolist())


# %% cells_read marks=3 kind=partly
# breaks for a stack without layers
def cells_read(rates):
    cells = [-rates[0], 0, rates[0]]
    for r in rates[1:]:
        cells = sorted({c + d for c in cells for d in (-r, 0, r)})
    return cells


# %% cells_read marks=2 kind=partly
# two layers at most
def cells_read(rates):
    if len(rates) == 1:
        return [-rates[0], 0, rates[0]]
    a, b = rates[0], rates[1]
    return sorted({x + y for x in (-a, 0, a) for y in (-b, 0, b)})


# %% cells_read marks=1 kind=partly
# each cell as often as a path leads to it
def cells_read(rates):
    cells = [0]
    for r in rates:
        cells = [c + d for c in cells for d in (-r, 0, r)]
    return sorted(cells)


# %% cells_read marks=0 kind=misconception
# a cell in the field is a cell that is read: no holes
def cells_read(rates):
    total = sum(rates)
    return list(range(-total, total + 1))


# %% cells_read marks=1 kind=misconception
# the layers read side by side, not through each other
def cells_read(rates):
    cells = {0}
    for r in rates:
        cells |= {-r, r}
    return sorted(cells)


# %% cells_read marks=0 kind=misconception
# a rate is the number of holes: taps are r + 1 apart
def cells_read(rates):
    cells = {0}
    for r in rates:
        cells = {c + d for c in cells for d in (-r - 1, 0, r + 1)}
    return sorted(cells)


# %% cells_read marks=1 kind=misconception
# rates multiply, as strides do
def cells_read(rates):
    cells, step = {0}, 1
    for r in rates:
        step *= r
        cells = {c + d for c in cells for d in (-step, 0, step)}
    return sorted(cells)


# %% cells_read marks=0 kind=misconception
# looks to the right only: 0, r and 2 r
def cells_read(rates):
    cells = {0}
    for r in rates:
        cells = {c + d for c in cells for d in (0, r, 2 * r)}
    return sorted(cells)


# %% dense_twin marks=4 kind=right
# follows the stride of the old network and that of the new one
def dense_twin(layers, output_stride):
    old, new, out = 1, 1, []
    for kernel, stride, padding in layers:
        rate = old // new
        old *= stride
        if old <= output_stride:
            new *= stride
        else:
            stride = 1
        out.append((kernel, stride, padding * rate, rate))
    return out


# %% dense_twin marks=4 kind=right
# what is missing is multiplied up
def dense_twin(layers, output_stride):
    left, missing, out = output_stride, 1, []
    for kernel, stride, padding in layers:
        if left > 1:
            out.append((kernel, stride, padding, 1))
            left //= stride
        else:
            out.append((kernel, 1, padding * missing, missing))
            missing *= stride
    return out


# %% dense_twin marks=4 kind=right
# the strides up to each layer first
def dense_twin(layers, output_stride):
    before = [1]
    for layer in layers:
        before.append(before[-1] * layer[1])
    return [
        (
            k,
            s if before[i + 1] <= output_stride else 1,
            p * max(1, before[i] // output_stride),
            max(1, before[i] // output_stride),
        )
        for i, (k, s, p) in enumerate(layers)
    ]


# %% dense_twin marks=4 kind=unusual
# cumulative products in numpy, with prints; a table of numbers comes back
def dense_twin(layers, output_stride):
    import numpy as np

    table = np.array(layers, int).reshape(-1, 3)
    after = np.cumprod(table[:, 1])
    before = after // np.maximum(table[:, 1], 1)
    print(before, after)
    rate = np.maximum(before // output_stride, 1)
    kept = np.where(after > output_stride, 1, table[:, 1])
    return np.stack([table[:, 0], kept, table[:, 2] * rate, rate], 1)


# %% dense_twin marks=4 kind=unusual
# a kernel of one tap has no holes, so its rate is 1; with a warning
def dense_twin(layers, output_stride):
    import warnings

    total, out = 1, []
    for kernel, stride, padding in layers:
        rate = total // output_stride if total > output_stride else 1
        total *= stride
        if kernel == 1:
            warnings.warn("nothing to dilate")
        new = stride if total <= output_stride else 1
        out.append([kernel, new, padding * rate, rate if kernel > 1 else 1])
    return out


# %% dense_twin marks=4 kind=unusual
# the first layer, and then the rest by recursion, as floats
def dense_twin(layers, output_stride):
    def rest(layers, left, missing):
        if not layers:
            return ()
        (kernel, stride, padding), *more = layers
        if left > 1:
            return ((kernel, stride, padding, 1), *rest(more, left / stride, missing))
        now = (float(kernel), 1.0, float(padding * missing), float(missing))
        return (now, *rest(more, left, missing * stride))

    return rest(list(layers), output_stride, 1)


# %% dense_twin marks=1 kind=partly
# holes, but the padding stays as it was
def dense_twin(layers, output_stride):
    total, out = 1, []
    for kernel, stride, padding in layers:
        rate = max(total // output_stride, 1)
        total *= stride
        out.append((kernel, stride if total <= output_stride else 1, padding, rate))
    return out


# %% dense_twin marks=2 kind=partly
# every stride is 2
def dense_twin(layers, output_stride):
    total, rate, out = 1, 1, []
    for kernel, stride, padding in layers:
        total *= stride
        now = rate
        if stride > 1 and total > output_stride:
            stride, rate = 1, rate * 2
        out.append((kernel, stride, padding * now, now))
    return out


# %% dense_twin marks=1 kind=partly
# takes all strides out, whatever the output stride
def dense_twin(layers, output_stride):
    rate, out = 1, []
    for kernel, stride, padding in layers:
        out.append((kernel, 1, padding * rate, rate))
        rate *= stride
    return out


# %% dense_twin marks=0 kind=misconception
# strides out, no holes in
def dense_twin(layers, output_stride):
    total, out = 1, []
    for kernel, stride, padding in layers:
        total *= stride
        out.append((kernel, stride if total <= output_stride else 1, padding, 1))
    return out


# %% dense_twin marks=1 kind=misconception
# the layer that loses its stride gets the holes as well
def dense_twin(layers, output_stride):
    total, out = 1, []
    for kernel, stride, padding in layers:
        total *= stride
        rate = max(total // output_stride, 1)
        out.append((kernel, stride if total <= output_stride else 1, padding * rate, rate))
    return out


# %% dense_twin marks=1 kind=misconception
# rates add up: one more for each stride that was taken out
def dense_twin(layers, output_stride):
    total, rate, out = 1, 1, []
    for kernel, stride, padding in layers:
        now = rate
        total *= stride
        if stride > 1 and total > output_stride:
            stride, rate = 1, rate + 1
        out.append((kernel, stride, padding * now, now))
    return out


# %% dense_twin marks=1 kind=misconception
# only the layer right behind a removed stride gets holes
def dense_twin(layers, output_stride):
    total, rate, out = 1, 1, []
    for kernel, stride, padding in layers:
        total *= stride
        now, rate = rate, 1
        if total > output_stride:
            stride, rate = 1, stride
        out.append((kernel, stride, padding * now, now))
    return out


# %% dense_twin marks=0 kind=misconception
# holes in, but the strides stay
def dense_twin(layers, output_stride):
    total, out = 1, []
    for kernel, stride, padding in layers:
        rate = max(total // output_stride, 1)
        total *= stride
        out.append((kernel, stride, padding * rate, rate))
    return out


# %% dense_twin marks=0 kind=misconception
# the kernel grows, with its holes written as taps
def dense_twin(layers, output_stride):
    total, out = 1, []
    for kernel, stride, padding in layers:
        rate = max(total // output_stride, 1)
        total *= stride
        side = (kernel - 1) * rate + 1
        out.append((side, stride if total <= output_stride else 1, padding * rate, 1))
    return out


# %% dense_twin marks=1 kind=misconception
# the first strides are taken out, the last ones stay
def dense_twin(layers, output_stride):
    whole = 1
    for _, stride, _ in layers:
        whole *= stride
    left, rate, out = whole // output_stride, 1, []
    for kernel, stride, padding in layers:
        if left > 1:
            out.append((kernel, 1, padding * rate, rate))
            left, rate = left // stride, rate * stride
        else:
            out.append((kernel, stride, padding * rate, rate))
    return out


# %% dense_twin marks=3 kind=misconception
# a 1x1 has nothing to dilate, so it keeps its stride
def dense_twin(layers, output_stride):
    old, new, out = 1, 1, []
    for kernel, stride, padding in layers:
        rate = max(old // max(new, 1), 1)
        old *= stride
        if new * stride > output_stride and kernel > 1:
            stride = 1
        new *= stride
        out.append((kernel, stride, padding * rate, rate))
    return out


# %% dense_twin marks=2 kind=misconception
# the padding of a layer is its rate, whatever it was padded by
def dense_twin(layers, output_stride):
    total, out = 1, []
    for kernel, stride, padding in layers:
        rate = max(total // output_stride, 1)
        total *= stride
        kept = stride if total <= output_stride else 1
        out.append((kernel, kept, rate if padding else 0, rate))
    return out
