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


# %% pyramid marks=4 kind=right
# a loop of dilated convolutions
def pyramid(features, kernels, rates):
    out = torch.zeros(len(kernels[0]), *features.shape[1:], dtype=features.dtype)
    for k, r in zip(kernels, rates):
        out += torch.nn.functional.conv2d(features[None], k, padding=r, dilation=r)[0]
    return out


# %% pyramid marks=4 kind=right
# tap by tap, on the padded map
def pyramid(features, kernels, rates):
    C, H, W = features.shape
    out = torch.zeros(len(kernels[0]), H, W, dtype=features.dtype)
    for k, r in zip(kernels, rates):
        padded = torch.nn.functional.pad(features, (r, r, r, r))
        for i in range(3):
            for j in range(3):
                part = padded[:, i * r : i * r + H, j * r : j * r + W]
                out += torch.einsum("kc,chw->khw", k[:, :, i, j], part)
    return out


# %% pyramid marks=4 kind=right
# one sum over a list
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    x = features.unsqueeze(0)
    return sum(conv(x, k, None, 1, r, r).squeeze(0) for k, r in zip(kernels, rates))


# %% pyramid marks=4 kind=unusual
# one large kernel with the holes written as zeros, all rates in it
def pyramid(features, kernels, rates):
    big = max(rates)
    K, C = kernels[0].shape[:2]
    taps = torch.zeros(K, C, 2 * big + 1, 2 * big + 1, dtype=features.dtype)
    for k, r in zip(kernels, rates):
        taps[:, :, big - r : big + r + 1 : r, big - r : big + r + 1 : r] += k
    print(taps.shape)
    return torch.nn.functional.conv2d(features[None], taps, padding=big)[0]


# %% pyramid marks=4 kind=unusual
# stacks the scores of all branches, then sums
def pyramid(features, kernels, rates):
    scores = []
    for i in range(len(rates)):
        layer = torch.nn.Conv2d(
            len(features), len(kernels[i]), 3, padding=rates[i], dilation=rates[i], bias=False
        ).to(features.dtype)
        layer.weight.data = kernels[i]
        scores.append(layer(features[None])[0].detach())
    return torch.stack(scores).sum(0)


# %% pyramid marks=4 kind=unusual
# numpy
def pyramid(features, kernels, rates):
    import numpy as np

    x = features.numpy()
    H, W = x.shape[1:]
    out = 0
    for k, r in zip(kernels, rates):
        padded = np.pad(x, ((0, 0), (r, r), (r, r)))
        for i, j in np.ndindex(3, 3):
            part = padded[:, i * r : i * r + H, j * r : j * r + W]
            out = out + np.tensordot(k.numpy()[:, :, i, j], part, 1)
    return out


# %% pyramid marks=1 kind=partly
# forgets the last branch
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    scores = [conv(features[None], k, padding=r, dilation=r)[0] for k, r in zip(kernels, rates)]
    return sum(scores[:-1]) if len(scores) > 1 else scores[0]


# %% pyramid marks=3 kind=partly
# goes through 32-bit numbers
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    return sum(
        conv(features[None].float(), k.float(), padding=r, dilation=r)[0]
        for k, r in zip(kernels, rates)
    )


# %% pyramid marks=2 kind=partly
# mirrors the map instead of padding it with zeros
def pyramid(features, kernels, rates):
    out = 0
    for k, r in zip(kernels, rates):
        padded = torch.nn.functional.pad(features[None], (r, r, r, r), mode="replicate")
        out = out + torch.nn.functional.conv2d(padded, k, dilation=r)[0]
    return out


# %% pyramid marks=1 kind=misconception
# averages the branches
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    scores = [conv(features[None], k, padding=r, dilation=r)[0] for k, r in zip(kernels, rates)]
    return sum(scores) / len(scores)


# %% pyramid marks=1 kind=misconception
# joins the branches, as version 3 does
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    return torch.cat(
        [conv(features[None], k, padding=r, dilation=r)[0] for k, r in zip(kernels, rates)]
    )


# %% pyramid marks=0 kind=misconception
# padding 1 at every rate: the maps shrink and are enlarged again
def pyramid(features, kernels, rates):
    out = 0
    for k, r in zip(kernels, rates):
        one = torch.nn.functional.conv2d(
            torch.nn.functional.pad(features[None], [max(r, 1)] * 4), k, padding=1, dilation=r
        )
        out = out + torch.nn.functional.interpolate(one, size=features.shape[1:])[0]
    return out


# %% pyramid marks=0 kind=misconception
# takes the rate for a stride
def pyramid(features, kernels, rates):
    out = 0
    for k, r in zip(kernels, rates):
        one = torch.nn.functional.conv2d(features[None], k, padding=1, stride=r)
        out = out + torch.nn.functional.interpolate(one, size=features.shape[1:])[0]
    return out


# %% pyramid marks=1 kind=misconception
# the branches follow each other instead of standing side by side
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    x = conv(features[None], kernels[0], padding=rates[0], dilation=rates[0])
    for k, r in zip(kernels[1:], rates[1:]):
        x = x + conv(x[:, :1].expand(-1, k.shape[1], -1, -1), k, padding=r, dilation=r)
    return x[0]


# %% pyramid marks=1 kind=misconception
# ordinary 3x3 convolutions: the rates are not used
def pyramid(features, kernels, rates):
    conv = torch.nn.functional.conv2d
    return sum(conv(features[None], k, padding=1)[0] for k, _ in zip(kernels, rates))
