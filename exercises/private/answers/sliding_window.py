# %% stitch marks=4 kind=right
# slices with a step
def stitch(maps):
    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    out = torch.zeros(maps[0][0].shape[0], H, W, dtype=maps[0][0].dtype)
    for i in range(s):
        for j in range(s):
            out[:, i::s, j::s] = maps[i][j]
    return out


# %% stitch marks=4 kind=right
# pixel by pixel: which map holds it, and where
def stitch(maps):
    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    return torch.stack(
        [
            torch.stack([maps[r % s][c % s][:, r // s, c // s] for c in range(W)], 1)
            for r in range(H)
        ],
        1,
    )


# %% stitch marks=4 kind=right
# columns first, then rows
def stitch(maps):
    def weave(parts, dim):
        s, n = len(parts), sum(p.shape[dim] for p in parts)
        lines = [parts[k % s].select(dim, k // s) for k in range(n)]
        return torch.stack(lines, dim)

    return weave([weave(row, 2) for row in maps], 1)


# %% stitch marks=4 kind=unusual
# numpy, with a print
def stitch(maps):
    import numpy as np

    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    out = np.empty((len(maps[0][0]), H, W))
    for i, row in enumerate(maps):
        for j, one in enumerate(row):
            print(i, j, tuple(one.shape))
            out[:, i::s, j::s] = one.numpy()
    return out


# %% stitch marks=4 kind=unusual
# pads to equal sizes, stacks, and uses pixel_shuffle
def stitch(maps):
    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    h, w = maps[0][0].shape[1:]
    pad = torch.nn.functional.pad
    flat = [pad(m, (0, w - m.shape[2], 0, h - m.shape[1])) for row in maps for m in row]
    stacked = torch.stack(flat, 1).flatten(0, 1)
    return torch.pixel_shuffle(stacked[None], s)[0][:, :H, :W] if s > 1 else maps[0][0]


# %% stitch marks=4 kind=unusual
# adds maps that were spread with zeros, as Python lists
def stitch(maps):
    s = len(maps)
    K = len(maps[0][0])
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    out = [[[None] * W for _ in range(H)] for _ in range(K)]
    for i in range(s):
        for j in range(s):
            for k, plane in enumerate(maps[i][j].tolist()):
                for r, line in enumerate(plane):
                    for c, value in enumerate(line):
                        out[k][i + r * s][j + c * s] = value
    return torch.tensor(out, dtype=torch.float64)


# %% stitch marks=1 kind=partly
# believes that all maps have the size of the first
def stitch(maps):
    s, (K, h, w) = len(maps), maps[0][0].shape
    if any(m.shape != maps[0][0].shape for row in maps for m in row):
        raise ValueError("the maps have to have the same size")
    out = torch.zeros(K, h * s, w * s)
    for i in range(s):
        for j in range(s):
            out[:, i::s, j::s] = maps[i][j]
    return out


# %% stitch marks=3 kind=partly
# float32, whatever came in
def stitch(maps):
    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    out = torch.zeros(len(maps[0][0]), H, W, dtype=torch.float32)
    for i in range(s):
        for j in range(s):
            out[:, i::s, j::s] = maps[i][j]
    return out


# %% stitch marks=1 kind=partly
# stride 2 only, and even sizes
def stitch(maps):
    (a, b), (c, d) = maps
    top = torch.stack([a, b], -1).flatten(-2)
    bottom = torch.stack([c, d], -1).flatten(-2)
    return torch.stack([top, bottom], -2).flatten(-3, -2)


# %% stitch marks=0 kind=misconception
# puts the maps side by side, as tiles of a larger picture
def stitch(maps):
    return torch.cat([torch.cat([m for m in row], 2) for row in maps], 1)


# %% stitch marks=0 kind=misconception
# takes i for the columns and j for the rows
def stitch(maps):
    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    out = torch.zeros(len(maps[0][0]), H, W)
    for i in range(s):
        for j in range(s):
            part = out[:, j::s, i::s]
            part[:, : maps[i][j].shape[1], : maps[i][j].shape[2]] = maps[i][j][
                :, : part.shape[1], : part.shape[2]
            ]
    return out


# %% stitch marks=0 kind=misconception
# believes that shifting the image to the left by j moves its answers to the right: reversed shifts
def stitch(maps):
    s = len(maps)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    out = torch.zeros(len(maps[0][0]), H, W)
    for i in range(s):
        for j in range(s):
            part = out[:, s - 1 - i :: s, s - 1 - j :: s]
            h, w = part.shape[1:]
            m = maps[i][j][:, :h, :w]
            part[:, : m.shape[1], : m.shape[2]] = m
    return out


# %% stitch marks=0 kind=misconception
# averages the shifts and enlarges the mean: the shifts are seen as views of the same pixels
def stitch(maps):
    s = len(maps)
    h = min(m.shape[1] for row in maps for m in row)
    w = min(m.shape[2] for row in maps for m in row)
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    mean = sum(m[:, :h, :w].double() for row in maps for m in row) / (s * s)
    return torch.nn.functional.interpolate(mean[None], size=(H, W))[0].float()


# %% stitch marks=0 kind=misconception
# takes the first map and interpolates the pixels between
def stitch(maps):
    H, W = sum(m[0].shape[1] for m in maps), sum(m.shape[2] for m in maps[0])
    first = maps[0][0][None].float()
    return torch.nn.functional.interpolate(first, size=(H, W), mode="bilinear")[0]


# %% costs marks=4 kind=right
# one function for a pass, used twice
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for k, i, o in layers:
            h, w = h - k + 1, w - k + 1
            total += h * w * k * k * i * o
        return total

    side = sum(k - 1 for k, _, _ in layers) + 1
    return one(height, width), (height - side + 1) * (width - side + 1) * one(side, side)


# %% costs marks=4 kind=right
# from the last layer back: a window's map grows by k - 1 with each layer
def costs(layers, height, width):
    each, side = 0, 1
    for k, i, o in reversed(layers):
        each += side * side * k * k * i * o
        side += k - 1
    h, w, dense = height, width, 0
    for k, i, o in layers:
        h -= k - 1
        w -= k - 1
        dense += h * w * k * k * i * o
    return dense, h * w * each


# %% costs marks=4 kind=right
# a recursion
def costs(layers, height, width):
    def go(rest, h, w):
        if not rest:
            return 0
        (k, i, o), *rest = rest
        h, w = h - (k - 1), w - (k - 1)
        return h * w * k**2 * i * o + go(rest, h, w)

    size = 1 + sum(layer[0] for layer in layers) - len(layers)
    n = (height + 1 - size) * (width + 1 - size)
    return [go(layers, height, width), n * go(layers, size, size)]


# %% costs marks=4 kind=unusual
# runs convolutions on empty tensors and counts their outputs
def costs(layers, height, width):
    def one(h, w):
        x, total = torch.empty(1, layers[0][1], h, w, device="meta"), 0
        for k, i, o in layers:
            x = torch.nn.functional.conv2d(x, torch.empty(o, i, k, k, device="meta"))
            total += x.numel() * k * k * i
        return total, x.shape[2] * x.shape[3]

    dense, outputs = one(height, width)
    side = 1 + sum(k - 1 for k, _, _ in layers)
    print("window", side)
    return dense, outputs * one(side, side)[0]


# %% costs marks=4 kind=unusual
# numpy arrays, and floats come back
def costs(layers, height, width):
    import numpy as np

    k, i, o = np.array(layers, float).T
    lost = np.cumsum(k - 1)
    dense = ((height - lost) * (width - lost) * k**2 * i * o).sum()
    each = ((lost[-1] + 1 - lost) ** 2 * k**2 * i * o).sum()
    return dense, (height - lost[-1]) * (width - lost[-1]) * each


# %% costs marks=4 kind=unusual
# a tensor of two numbers
def costs(layers, height, width):
    lost, dense, parts = 0, 0, []
    for k, i, o in layers:
        lost += k - 1
        dense += (height - lost) * (width - lost) * k * k * i * o
        parts.append((lost, k * k * i * o))
    each = sum((lost + 1 - at) ** 2 * cost for at, cost in parts)
    return torch.tensor([dense, (height - lost) * (width - lost) * each])


# %% costs marks=0 kind=partly
# square images only: uses the height twice in the windows
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for k, i, o in layers:
            h, w = h - k + 1, w - k + 1
            total += h * w * k * k * i * o
        return total

    side = sum(k - 1 for k, _, _ in layers) + 1
    return one(height, width), (height - side + 1) ** 2 * one(side, side)


# %% costs marks=2 kind=partly
# all kernels are 3x3
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for _, i, o in layers:
            h, w = h - 2, w - 2
            total += h * w * 9 * i * o
        return total

    side = 2 * len(layers) + 1
    return one(height, width), (height - side + 1) * (width - side + 1) * one(side, side)


# %% costs marks=0 kind=misconception
# padded layers: every map keeps the image's size
def costs(layers, height, width):
    side = sum(k - 1 for k, _, _ in layers) + 1
    per = sum(k * k * i * o for k, i, o in layers)
    return height * width * per, height * width * side * side * per


# %% costs marks=1 kind=misconception
# a window costs one output of each layer: forgets the maps inside a window
def costs(layers, height, width):
    h, w, dense = height, width, 0
    for k, i, o in layers:
        h, w = h - k + 1, w - k + 1
        dense += h * w * k * k * i * o
    return dense, h * w * sum(k * k * i * o for k, i, o in layers)


# %% costs marks=1 kind=misconception
# the windows do not overlap: as many as fit side by side
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for k, i, o in layers:
            h, w = h - k + 1, w - k + 1
            total += h * w * k * k * i * o
        return total

    side = sum(k - 1 for k, _, _ in layers) + 1
    return one(height, width), (height // side) * (width // side) * one(side, side)


# %% costs marks=0 kind=misconception
# forgets that a kernel reads every input channel
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for k, _, o in layers:
            h, w = h - k + 1, w - k + 1
            total += h * w * k * k * o
        return total

    side = sum(k - 1 for k, _, _ in layers) + 1
    return one(height, width), (height - side + 1) * (width - side + 1) * one(side, side)


# %% costs marks=0 kind=misconception
# one window for each pixel of the image, also where no window fits
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for k, i, o in layers:
            h, w = h - k + 1, w - k + 1
            total += h * w * k * k * i * o
        return total

    side = sum(k - 1 for k, _, _ in layers) + 1
    return one(height, width), height * width * one(side, side)


# %% costs marks=0 kind=misconception
# the window is the largest kernel
def costs(layers, height, width):
    side = max(k for k, _, _ in layers)
    per = sum(k * k * i * o for k, i, o in layers)
    h, w = height - side, width - side
    return h * w * per, h * w * side * side * per


# %% costs marks=2 kind=misconception
# ratio and total mixed up: returns windows first
def costs(layers, height, width):
    def one(h, w):
        total = 0
        for k, i, o in layers:
            h, w = h - k + 1, w - k + 1
            total += h * w * k * k * i * o
        return total

    side = sum(k - 1 for k, _, _ in layers) + 1
    return (height - side + 1) * (width - side + 1) * one(side, side), one(height, width)
