# %% switches marks=4 kind=right
# loops over windows, and argmax in each
def switches(x, kernel_size, stride):
    H, W = x.shape
    out = []
    for top in range(0, H - kernel_size + 1, stride):
        line = []
        for left in range(0, W - kernel_size + 1, stride):
            best = x[top : top + kernel_size, left : left + kernel_size].flatten().argmax().item()
            line.append((top + best // kernel_size) * W + left + best % kernel_size)
        out.append(line)
    return torch.tensor(out)


# %% switches marks=4 kind=right
# windows of the values, and windows of the places
def switches(x, kernel_size, stride):
    k = kernel_size
    places = torch.arange(x.numel()).reshape(x.shape)
    values = x.unfold(0, k, stride).unfold(1, k, stride).flatten(2)
    places = places.unfold(0, k, stride).unfold(1, k, stride).flatten(2)
    return places.gather(2, values.argmax(2, keepdim=True))[..., 0]


# %% switches marks=4 kind=right
# keeps the best so far with four loops
def switches(x, kernel_size, stride):
    H, W = x.shape
    h, w = (H - kernel_size) // stride + 1, (W - kernel_size) // stride + 1
    out = torch.empty(h, w, dtype=torch.long)
    for i in range(h):
        for j in range(w):
            best = None
            for r in range(i * stride, i * stride + kernel_size):
                for c in range(j * stride, j * stride + kernel_size):
                    if best is None or x[r, c] > best:
                        best = x[r, c]
                        out[i, j] = r * W + c
    return out


# %% switches marks=4 kind=unusual
# torch's own pool
def switches(x, kernel_size, stride):
    import torch.nn.functional as F

    return F.max_pool2d(x[None, None].double(), kernel_size, stride, return_indices=True)[1][0, 0]


# %% switches marks=4 kind=unusual
# Python's max over cells, with prints
def switches(x, kernel_size, stride):
    H, W = x.shape
    rows = []
    for top in range(0, H - kernel_size + 1, stride):
        rows.append([])
        for left in range(0, W - kernel_size + 1, stride):
            cells = [(top + i, left + j) for i in range(kernel_size) for j in range(kernel_size)]
            r, c = max(cells, key=lambda cell: x[cell].item())
            print(r, c)
            rows[-1].append(r * W + c)
    return rows


# %% switches marks=4 kind=unusual
# numpy and unravel_index
def switches(x, kernel_size, stride):
    import numpy as np

    x = np.asarray(x)
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel_size, kernel_size))
    view = view[::stride, ::stride]
    out = np.zeros(view.shape[:2])
    for i, j in np.ndindex(*out.shape):
        r, c = np.unravel_index(view[i, j].argmax(), view[i, j].shape)
        out[i, j] = (i * stride + r) * x.shape[1] + j * stride + c
    return out


# %% switches marks=3 kind=partly
# of equal values the last wins
def switches(x, kernel_size, stride):
    H, W = x.shape
    out = []
    for top in range(0, H - kernel_size + 1, stride):
        line = []
        for left in range(0, W - kernel_size + 1, stride):
            best, place = float("-inf"), 0
            for r in range(top, top + kernel_size):
                for c in range(left, left + kernel_size):
                    if x[r, c] >= best:
                        best, place = x[r, c], r * W + c
            line.append(place)
        out.append(line)
    return torch.tensor(out)


# %% switches marks=3 kind=partly
# starts from zero: negative maxima are never found
def switches(x, kernel_size, stride):
    H, W = x.shape
    out = []
    for top in range(0, H - kernel_size + 1, stride):
        line = []
        for left in range(0, W - kernel_size + 1, stride):
            best, place = 0, top * W + left
            for r in range(top, top + kernel_size):
                for c in range(left, left + kernel_size):
                    if x[r, c] > best:
                        best, place = x[r, c], r * W + c
            line.append(place)
        out.append(line)
    return torch.tensor(out)


# %% switches marks=2 kind=partly
# windows that never overlap: the stride is ignored
def switches(x, kernel_size, stride):
    k, (H, W) = kernel_size, x.shape
    out = torch.zeros(H // k, W // k, dtype=torch.long)
    for i in range(H // k):
        for j in range(W // k):
            best = int(x[i * k : i * k + k, j * k : j * k + k].flatten().argmax())
            out[i, j] = (i * k + best // k) * W + j * k + best % k
    return out


# %% switches marks=0 kind=misconception
# places inside the window: 0 to 3
def switches(x, kernel_size, stride):
    view = x.unfold(0, kernel_size, stride).unfold(1, kernel_size, stride)
    return view.flatten(2).argmax(2)


# %% switches marks=0 kind=misconception
# the switch is the largest value, not its place
def switches(x, kernel_size, stride):
    view = x.unfold(0, kernel_size, stride).unfold(1, kernel_size, stride)
    return view.flatten(2).amax(2)


# %% switches marks=0 kind=misconception
# counts columns first: c * H + r
def switches(x, kernel_size, stride):
    H, W = x.shape
    k = kernel_size
    places = torch.arange(H * W).reshape(W, H).T
    values = x.unfold(0, k, stride).unfold(1, k, stride).flatten(2)
    places = places.unfold(0, k, stride).unfold(1, k, stride).flatten(2)
    return places.gather(2, values.argmax(2, keepdim=True))[..., 0]


# %% switches marks=1 kind=misconception
# every map is four columns wide: r * 4 + c
def switches(x, kernel_size, stride):
    H, W = x.shape
    out = []
    for top in range(0, H - kernel_size + 1, stride):
        line = []
        for left in range(0, W - kernel_size + 1, stride):
            best = x[top : top + kernel_size, left : left + kernel_size].flatten().argmax().item()
            line.append((top + best // kernel_size) * 4 + left + best % kernel_size)
        out.append(line)
    return torch.tensor(out)


# %% switches marks=0 kind=misconception
# fixed corners: the place of each window's first cell
def switches(x, kernel_size, stride):
    H, W = x.shape
    h, w = (H - kernel_size) // stride + 1, (W - kernel_size) // stride + 1
    return torch.arange(h)[:, None] * stride * W + torch.arange(w) * stride


# %% unpool marks=4 kind=right
# index_add
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[1], dtype=values.dtype)
    return out.index_add(0, places.reshape(-1), values.reshape(-1)).reshape(size)


# %% unpool marks=4 kind=right
# a loop over values
def unpool(values, places, size):
    H, W = size
    out = torch.zeros(H, W, dtype=values.dtype)
    for value, place in zip(values.flatten(), places.flatten().tolist()):
        out[place // W, place % W] += value
    return out


# %% unpool marks=4 kind=right
# scatter_add
def unpool(values, places, size):
    out = values.new_zeros(size).flatten()
    return out.scatter_add(0, places.flatten(), values.flatten()).view(*size)


# %% unpool marks=4 kind=unusual
# bincount with weights
def unpool(values, places, size):
    n = size[0] * size[1]
    return torch.bincount(places.flatten(), values.flatten().double(), n).reshape(size)


# %% unpool marks=4 kind=unusual
# a product with a one-hot matrix, and a print
def unpool(values, places, size):
    n = size[0] * size[1]
    where = torch.nn.functional.one_hot(places.flatten(), n).double()
    print(where.shape)
    return (values.flatten().double() @ where).reshape(size)


# %% unpool marks=4 kind=unusual
# numpy's add.at, on a list of lists
def unpool(values, places, size):
    import numpy as np

    out = np.zeros(size)
    np.add.at(out.reshape(-1), np.asarray(places).ravel(), np.asarray(values).ravel())
    return out.tolist()


# %% unpool marks=1 kind=misconception
# overwrites, as torch's max_unpool2d does
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[1], dtype=values.dtype)
    for value, place in zip(values.flatten(), places.flatten().tolist()):
        out[place] = value
    return out.reshape(size)


# %% unpool marks=1 kind=partly
# `out[places] += values` adds only once where places repeat
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[1], dtype=values.dtype)
    out[places.flatten()] += values.flatten()
    return out.reshape(size)


# %% unpool marks=3 kind=partly
# adds in 32-bit numbers
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[1])
    return out.index_add(0, places.flatten(), values.float().flatten()).reshape(size)


# %% unpool marks=1 kind=partly
# square results only
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[0], dtype=values.dtype)
    out.index_add_(0, places.flatten(), values.flatten())
    return out.reshape(size[0], size[0])


# %% unpool marks=0 kind=misconception
# bed of nails: each value in the corner of its cell, whatever the switch says
def unpool(values, places, size):
    out = torch.zeros(size, dtype=values.dtype)
    s = (size[0] // values.shape[0], size[1] // values.shape[1])
    out[: values.shape[0] * s[0] : s[0], : values.shape[1] * s[1] : s[1]] = values
    return out


# %% unpool marks=0 kind=misconception
# nearest: copies each value over its whole cell
def unpool(values, places, size):
    grown = torch.nn.functional.interpolate(values[None, None].double(), size=tuple(size))
    return grown[0, 0]


# %% unpool marks=1 kind=misconception
# negative values are clipped, since pooling would lose them
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[1], dtype=values.dtype)
    out.index_add_(0, places.flatten(), values.clamp(min=0).flatten())
    return out.reshape(size)


# %% unpool marks=1 kind=misconception
# the mean of the values that share a switch
def unpool(values, places, size):
    n = size[0] * size[1]
    total = torch.zeros(n, dtype=torch.float64)
    total.index_add_(0, places.flatten(), values.flatten().double())
    count = torch.bincount(places.flatten(), minlength=n).clamp(min=1)
    return (total / count).reshape(size)


# %% unpool marks=0 kind=misconception
# takes places for columns first: c * H + r
def unpool(values, places, size):
    out = torch.zeros(size[0] * size[1], dtype=values.dtype)
    out.index_add_(0, places.flatten(), values.flatten())
    return out.reshape(size[1], size[0]).T
