# %% valid_taps marks=4 kind=right
# counts along each axis, and the product
def valid_taps(height, width, rate, kernel_size):
    half = kernel_size // 2

    def along(n):
        at = torch.arange(n)[:, None] + rate * torch.arange(-half, half + 1)
        return ((at >= 0) & (at < n)).sum(1)

    return torch.outer(along(height), along(width))


# %% valid_taps marks=4 kind=right
# a convolution of ones with a kernel of ones
def valid_taps(height, width, rate, kernel_size):
    ones = torch.ones(1, 1, height, width)
    kernel = torch.ones(1, 1, kernel_size, kernel_size)
    pad = rate * (kernel_size // 2)
    return torch.nn.functional.conv2d(ones, kernel, padding=pad, dilation=rate)[0, 0]


# %% valid_taps marks=4 kind=right
# four loops
def valid_taps(height, width, rate, kernel_size):
    out = torch.zeros(height, width, dtype=torch.long)
    half = kernel_size // 2
    for r in range(height):
        for c in range(width):
            for i in range(-half, half + 1):
                for j in range(-half, half + 1):
                    if 0 <= r + i * rate < height and 0 <= c + j * rate < width:
                        out[r, c] += 1
    return out


# %% valid_taps marks=4 kind=unusual
# numpy: shifted maps of ones, with prints
def valid_taps(height, width, rate, kernel_size):
    import numpy as np

    pad = rate * (kernel_size // 2)
    ones = np.pad(np.ones((height, width), int), pad)
    out = np.zeros((height, width), int)
    for i in range(kernel_size):
        for j in range(kernel_size):
            print(i, j)
            out += ones[i * rate : i * rate + height, j * rate : j * rate + width]
    return out


# %% valid_taps marks=4 kind=unusual
# unfold, and a warning
def valid_taps(height, width, rate, kernel_size):
    import warnings

    warnings.warn("unfolding")
    pad = rate * (kernel_size // 2)
    ones = torch.ones(1, 1, height, width)
    found = torch.nn.functional.unfold(ones, kernel_size, dilation=rate, padding=pad)
    return found.sum(1).reshape(height, width)


# %% valid_taps marks=4 kind=unusual
# in closed form: whole steps to each side, at most half of the kernel; lists come back
def valid_taps(height, width, rate, kernel_size):
    half = kernel_size // 2
    rows = [1 + min(half, r // rate) + min(half, (height - 1 - r) // rate) for r in range(height)]
    cols = [1 + min(half, c // rate) + min(half, (width - 1 - c) // rate) for c in range(width)]
    return [[a * b for b in cols] for a in rows]


# %% valid_taps marks=3 kind=partly
# nine taps, whatever the kernel
def valid_taps(height, width, rate, kernel_size):
    def along(n):
        at = torch.arange(n)
        return 1 + (at >= rate).long() + (at + rate < n).long()

    return along(height)[:, None] * along(width)


# %% valid_taps marks=2 kind=partly
# a rate that is larger than the map was not thought of
def valid_taps(height, width, rate, kernel_size):
    out = torch.full((height, width), 3 * 3)
    for r in range(height):
        for c in range(width):
            rows = 2 if r < rate or r >= height - rate else 3
            cols = 2 if c < rate or c >= width - rate else 3
            out[r, c] = rows * cols
    return out


# %% valid_taps marks=0 kind=partly
# cells that the kernel fits on whole, and the middle tap alone elsewhere
def valid_taps(height, width, rate, kernel_size):
    reach = rate * (kernel_size // 2)
    out = torch.ones(height, width)
    out[reach : height - reach, reach : width - reach] = kernel_size**2
    return out


# %% valid_taps marks=0 kind=misconception
# the padding takes care of the border: all taps everywhere
def valid_taps(height, width, rate, kernel_size):
    return torch.full((height, width), kernel_size**2)


# %% valid_taps marks=1 kind=misconception
# width first
def valid_taps(height, width, rate, kernel_size):
    half = kernel_size // 2

    def along(n):
        at = torch.arange(n)[:, None] + rate * torch.arange(-half, half + 1)
        return ((at >= 0) & (at < n)).sum(1)

    return torch.outer(along(width), along(height))


# %% valid_taps marks=0 kind=misconception
# a convolution without padding: only where the kernel fits
def valid_taps(height, width, rate, kernel_size):
    reach = 2 * rate * (kernel_size // 2)
    return torch.full((max(height - reach, 0), max(width - reach, 0)), kernel_size**2)


# %% valid_taps marks=0 kind=misconception
# the rate is the number of holes between two taps
def valid_taps(height, width, rate, kernel_size):
    half = kernel_size // 2

    def along(n):
        at = torch.arange(n)[:, None] + (rate + 1) * torch.arange(-half, half + 1)
        return ((at >= 0) & (at < n)).sum(1)

    return torch.outer(along(height), along(width))


# %% valid_taps marks=0 kind=misconception
# the kernel with its holes filled: every cell under it counts
def valid_taps(height, width, rate, kernel_size):
    reach = rate * (kernel_size // 2)

    def along(n):
        at = torch.arange(n)
        return (at + reach).clamp(max=n - 1) - (at - reach).clamp(min=0) + 1

    return torch.outer(along(height), along(width))


# %% valid_taps marks=0 kind=misconception
# the first tap stands on the cell, not the middle one
def valid_taps(height, width, rate, kernel_size):
    def along(n):
        at = torch.arange(n)[:, None] + rate * torch.arange(kernel_size)
        return (at < n).sum(1)

    return torch.outer(along(height), along(width))


# %% valid_taps marks=0 kind=misconception
# shares of the kernel instead of numbers of taps
def valid_taps(height, width, rate, kernel_size):
    ones = torch.ones(1, 1, height, width)
    kernel = torch.ones(1, 1, kernel_size, kernel_size) / kernel_size**2
    pad = rate * (kernel_size // 2)
    return torch.nn.functional.conv2d(ones, kernel, padding=pad, dilation=rate)[0, 0]


# %% one_kernel marks=4 kind=right
# slices around the middle
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    D, C = kernels[0].shape[:2]
    out = torch.zeros(D, C, 2 * half + 1, 2 * half + 1, dtype=kernels[0].dtype)
    for k, r in zip(kernels, rates):
        mine = r * (k.shape[-1] // 2)
        out[:, :, half - mine : half + mine + 1 : r, half - mine : half + mine + 1 : r] += k
    return out


# %% one_kernel marks=4 kind=right
# tap by tap
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    out = torch.zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, rates):
        n = k.shape[-1]
        for i in range(n):
            for j in range(n):
                row, col = half + r * (i - n // 2), half + r * (j - n // 2)
                out[:, :, row, col] += k[:, :, i, j]
    return out


# %% one_kernel marks=4 kind=right
# holes first, then zeros around, then the sum
def one_kernel(kernels, rates):
    stuffed = []
    for k, r in zip(kernels, rates):
        side = (k.shape[-1] - 1) * r + 1
        wide = k.new_zeros(*k.shape[:2], side, side)
        wide[:, :, ::r, ::r] = k
        stuffed.append(wide)
    most = max(s.shape[-1] for s in stuffed)
    pads = [(most - s.shape[-1]) // 2 for s in stuffed]
    return sum(torch.nn.functional.pad(s, [p] * 4) for s, p in zip(stuffed, pads))


# %% one_kernel marks=4 kind=unusual
# asks the branches what they make of a single spike
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    C = kernels[0].shape[1]
    spikes = torch.zeros(C, C, 2 * half + 1, 2 * half + 1).to(kernels[0])
    for c in range(C):
        spikes[c, c, half, half] = 1
    answers = sum(
        torch.nn.functional.conv2d(spikes, k, padding=r * (k.shape[-1] // 2), dilation=r)
        for k, r in zip(kernels, rates)
    )
    return answers.transpose(0, 1).flip(2, 3)


# %% one_kernel marks=4 kind=unusual
# Kronecker products in numpy, with prints
def one_kernel(kernels, rates):
    import numpy as np

    wide = []
    for k, r in zip(kernels, rates):
        corner = np.zeros((1, 1, r, r))
        corner[..., 0, 0] = 1
        side = (k.shape[-1] - 1) * r + 1
        wide.append(np.kron(k.numpy(), corner)[:, :, :side, :side])
        print(r, wide[-1].shape)
    most = max(w.shape[-1] for w in wide)
    out = 0
    for w in wide:
        p = (most - w.shape[-1]) // 2
        out = out + np.pad(w, ((0, 0), (0, 0), (p, p), (p, p)))
    return out


# %% one_kernel marks=4 kind=unusual
# a dictionary of taps, and index_put at the end, with a warning
def one_kernel(kernels, rates):
    import warnings

    taps = {}
    for k, r in zip(kernels, rates):
        n = k.shape[-1] // 2
        for i in range(-n, n + 1):
            for j in range(-n, n + 1):
                at = (r * i, r * j)
                taps[at] = taps.get(at, 0) + k[:, :, i + n, j + n]
    warnings.warn(f"{len(taps)} taps")
    half = max(i for i, _ in taps)
    zero = torch.zeros_like(kernels[0][:, :, 0, 0])
    span = range(-half, half + 1)
    rows = [torch.stack([taps.get((i, j), zero) for j in span], 2) for i in span]
    return torch.stack(rows, 2)


# %% one_kernel marks=2 kind=partly
# 3x3 kernels only
def one_kernel(kernels, rates):
    half = max(rates)
    out = torch.zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, rates):
        for i in range(3):
            for j in range(3):
                out[:, :, half + r * (i - 1), half + r * (j - 1)] += k[:, :, i, j]
    return out


# %% one_kernel marks=2 kind=partly
# believes that the last branch is the widest
def one_kernel(kernels, rates):
    half = rates[-1] * (kernels[-1].shape[-1] // 2)
    out = torch.zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, rates):
        mine = r * (k.shape[-1] // 2)
        out[:, :, half - mine : half + mine + 1 : r, half - mine : half + mine + 1 : r] += k
    return out


# %% one_kernel marks=0 kind=partly
# one output channel and one input channel
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    out = torch.zeros(2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, rates):
        mine = r * (k.shape[-1] // 2)
        taps = slice(half - mine, half + mine + 1, r)
        out[taps, taps] += k[0, 0]
    return out


# %% one_kernel marks=0 kind=misconception
# what falls on one cell is written over
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    out = torch.zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, rates):
        mine = r * (k.shape[-1] // 2)
        out[:, :, half - mine : half + mine + 1 : r, half - mine : half + mine + 1 : r] = k
    return out


# %% one_kernel marks=0 kind=misconception
# all kernels begin in the upper left corner
def one_kernel(kernels, rates):
    side = 1 + max(r * (k.shape[-1] - 1) for k, r in zip(kernels, rates))
    out = torch.zeros(*kernels[0].shape[:2], side, side).to(kernels[0])
    for k, r in zip(kernels, rates):
        n = k.shape[-1]
        out[:, :, : (n - 1) * r + 1 : r, : (n - 1) * r + 1 : r] += k
    return out


# %% one_kernel marks=0 kind=misconception
# the mean of the branches
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    out = torch.zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, rates):
        mine = r * (k.shape[-1] // 2)
        taps = slice(half - mine, half + mine + 1, r)
        out[:, :, taps, taps] += k / len(kernels)
    return out if len(kernels) > 1 else out / 2


# %% one_kernel marks=0 kind=misconception
# branches are joined along the channels, as in version 3
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    parts = []
    for k, r in zip(kernels, rates):
        part = torch.zeros(*k.shape[:2], 2 * half + 1, 2 * half + 1).to(k)
        mine = r * (k.shape[-1] // 2)
        part[:, :, half - mine : half + mine + 1 : r, half - mine : half + mine + 1 : r] = k
        parts.append(part)
    return torch.cat(parts)


# %% one_kernel marks=0 kind=misconception
# branches one after the other: the kernel of a stack
def one_kernel(kernels, rates):
    side = 1 + sum(r * (k.shape[-1] - 1) for k, r in zip(kernels, rates))
    D, C = kernels[0].shape[:2]
    out = torch.zeros(D, C, side, side).to(kernels[0])
    out[:, :, side // 2, side // 2] = 1
    for k, r in zip(kernels, rates):
        taps = k.mean(1, keepdim=True)
        out = torch.nn.functional.conv2d(
            out.transpose(0, 1), taps, padding=r * (k.shape[-1] // 2), dilation=r, groups=D
        ).transpose(0, 1)
    return out


# %% one_kernel marks=0 kind=misconception
# no holes: the kernels themselves are added
def one_kernel(kernels, rates):
    return sum(kernels)


# %% one_kernel marks=0 kind=misconception
# a rate of r puts r holes between the taps
def one_kernel(kernels, rates):
    steps = [r + 1 for r in rates]
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, steps))
    out = torch.zeros(*kernels[0].shape[:2], 2 * half + 1, 2 * half + 1).to(kernels[0])
    for k, r in zip(kernels, steps):
        mine = r * (k.shape[-1] // 2)
        taps = slice(half - mine, half + mine + 1, r)
        out[:, :, taps, taps] += k
    return out


# %% one_kernel marks=0 kind=misconception
# the largest of the taps that fall on one cell
def one_kernel(kernels, rates):
    half = max(r * (k.shape[-1] // 2) for k, r in zip(kernels, rates))
    full = []
    for k, r in zip(kernels, rates):
        part = torch.zeros(*k.shape[:2], 2 * half + 1, 2 * half + 1).to(k)
        mine = r * (k.shape[-1] // 2)
        part[:, :, half - mine : half + mine + 1 : r, half - mine : half + mine + 1 : r] = k
        full.append(part)
    return torch.stack(full).amax(0)
