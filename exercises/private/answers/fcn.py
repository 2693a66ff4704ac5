# %% slide_linear marks=4 kind=right
# one reshape and a convolution
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(weight.shape[0], features.shape[0], height, width)
    return torch.nn.functional.conv2d(features.unsqueeze(0), kernel, bias).squeeze(0)


# %% slide_linear marks=4 kind=right
# cuts out each part and asks the linear layer
def slide_linear(weight, bias, features, height, width):
    C, H, W = features.shape
    out = features.new_zeros(len(weight), H - height + 1, W - width + 1)
    for r in range(H - height + 1):
        for c in range(W - width + 1):
            out[:, r, c] = weight @ features[:, r : r + height, c : c + width].flatten() + bias
    return out


# %% slide_linear marks=4 kind=right
# all windows as columns of one matrix
def slide_linear(weight, bias, features, height, width):
    C, H, W = features.shape
    columns = torch.nn.functional.unfold(features[None], (height, width))[0]
    return (weight @ columns + bias[:, None]).reshape(-1, H - height + 1, W - width + 1)


# %% slide_linear marks=4 kind=unusual
# shifts the whole map instead of the kernel, tap by tap
def slide_linear(weight, bias, features, height, width):
    C, H, W = features.shape
    h, w = H - height + 1, W - width + 1
    out = bias.reshape(-1, 1, 1).repeat(1, h, w)
    n = 0
    for c in range(C):
        for i in range(height):
            for j in range(width):
                out = out + weight[:, n, None, None] * features[c, i : i + h, j : j + w]
                n += 1
    return out


# %% slide_linear marks=4 kind=unusual
# numpy's windows and einsum
def slide_linear(weight, bias, features, height, width):
    import numpy as np

    views = np.lib.stride_tricks.sliding_window_view(features.numpy(), (height, width), (1, 2))
    kernel = weight.numpy().reshape(len(weight), len(features), height, width)
    return np.einsum("kcij,cyxij->kyx", kernel, views) + bias.numpy()[:, None, None]


# %% slide_linear marks=4 kind=unusual
# builds a convolution layer and copies the numbers in, and prints it
def slide_linear(weight, bias, features, height, width):
    layer = torch.nn.Conv2d(len(features), len(weight), (height, width)).to(features.dtype)
    print(layer)
    with torch.no_grad():
        layer.weight.copy_(weight.view_as(layer.weight))
        layer.bias.copy_(bias)
        return layer(features[None])[0]


# %% slide_linear marks=0 kind=partly
# forgets the bias
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(len(weight), len(features), height, width)
    return torch.nn.functional.conv2d(features[None], kernel)[0]


# %% slide_linear marks=1 kind=partly
# the native size only
def slide_linear(weight, bias, features, height, width):
    return (weight @ features[:, :height, :width].flatten() + bias)[:, None, None]


# %% slide_linear marks=3 kind=partly
# goes through 32-bit numbers
def slide_linear(weight, bias, features, height, width):
    kernel = weight.float().reshape(len(weight), len(features), height, width)
    return torch.nn.functional.conv2d(features[None].float(), kernel, bias.float())[0]


# %% slide_linear marks=0 kind=misconception
# reshapes as (K, height, width, C) and moves the channels: another order than flatten's
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(len(weight), height, width, len(features)).permute(0, 3, 1, 2)
    return torch.nn.functional.conv2d(features[None], kernel, bias)[0]


# %% slide_linear marks=0 kind=misconception
# reshapes with width before height
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(len(weight), len(features), width, height)
    return torch.nn.functional.conv2d(features[None], kernel.transpose(2, 3), bias)[0]


# %% slide_linear marks=0 kind=misconception
# "fully connected layers become 1x1 convolutions"
def slide_linear(weight, bias, features, height, width):
    C = len(features)
    kernel = weight[:, :C].reshape(len(weight), C, 1, 1)
    return torch.nn.functional.conv2d(features[None], kernel, bias)[0]


# %% slide_linear marks=0 kind=misconception
# pads, so that there is a score for every cell
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(len(weight), len(features), height, width)
    padding = (height // 2, width // 2)
    return torch.nn.functional.conv2d(features[None], kernel, bias, padding=padding)[0]


# %% slide_linear marks=1 kind=misconception
# parts lie side by side: the kernel moves by its own size
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(len(weight), len(features), height, width)
    return torch.nn.functional.conv2d(features[None], kernel, bias, stride=(height, width))[0]


# %% slide_linear marks=1 kind=misconception
# shrinks the larger map to the native size first: one answer and no place
def slide_linear(weight, bias, features, height, width):
    pool = torch.nn.functional.adaptive_avg_pool2d(features, (height, width))
    return (weight @ pool.flatten() + bias)[:, None, None]


# %% slide_linear marks=0 kind=misconception
# flips the kernel, as a convolution in mathematics does
def slide_linear(weight, bias, features, height, width):
    kernel = weight.reshape(len(weight), len(features), height, width).flip(2, 3)
    return torch.nn.functional.conv2d(features[None], kernel, bias)[0]


# %% field marks=4 kind=right
# follows three numbers
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        r += (k - 1) * d * j
        c += ((k - 1) * d / 2 - p) * j
        j *= s
    return r, j, c


# %% field marks=4 kind=right
# from the last layer back: which interval does cell 0 need, and cell 1
def field(layers):
    low, high, other = 0, 0, 1
    for k, s, p, d in reversed(layers):
        low, other = low * s - p, other * s - p
        high = high * s - p + (k - 1) * d
    return high - low + 1, other - low, (low + high) / 2


# %% field marks=4 kind=right
# a recursion from the end
def field(layers):
    if not layers:
        return 1, 1, 0.0
    *rest, (k, s, p, d) = layers
    size, step, centre = field(rest)
    wide = d * (k - 1) + 1
    return size + (wide - 1) * step, step * s, centre + step * ((wide - 1) / 2 - p)


# %% field marks=4 kind=unusual
# numpy products, with prints; numpy numbers come back
def field(layers):
    import numpy as np

    if len(layers) == 0:
        return [1, 1, 0]
    k, s, p, d = np.array(layers).T
    j = np.concatenate([[1], np.cumprod(s)])
    print("steps", j)
    return 1 + ((k - 1) * d * j[:-1]).sum(), j[-1], (((k - 1) * d / 2 - p) * j[:-1]).sum()


# %% field marks=4 kind=unusual
# collects the pixels of cells 0 and 1, layer by layer
def field(layers):
    def pixels(cell):
        cells = {cell}
        for k, s, p, d in reversed(layers):
            cells = {c * s - p + t * d for c in cells for t in range(k)}
        return cells

    a, b = pixels(0), pixels(1)
    return max(a) - min(a) + 1, min(b) - min(a), (max(a) + min(a)) / 2


# %% field marks=4 kind=unusual
# a tensor of three numbers
def field(layers):
    state = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    for k, s, p, d in layers:
        reach = (k - 1) * d
        state = torch.stack(
            [state[0] + reach * state[1], state[1] * s, state[2] + (reach / 2 - p) * state[1]]
        )
    return state


# %% field marks=3 kind=partly
# ignores the dilation
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        r += (k - 1) * j
        c += ((k - 1) / 2 - p) * j
        j *= s
    return r, j, c


# %% field marks=0 kind=partly
# multiplies the step too early: a layer's own stride does not widen its own cells
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        j *= s
        r += (k - 1) * d * j
        c += ((k - 1) * d / 2 - p) * j
    return r, j, c


# %% field marks=3 kind=partly
# the effective kernel is k * d
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        wide = k * d
        r += (wide - 1) * j
        c += ((wide - 1) / 2 - p) * j
        j *= s
    return r, j, c


# %% field marks=0 kind=misconception
# adds kernels as if every map had stride 1
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        r += (k - 1) * d
        c += (k - 1) * d / 2 - p
        j += s
    return r, j, c


# %% field marks=0 kind=misconception
# the field is the product of the kernels
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        c += ((k - 1) * d / 2 - p) * j
        r *= 1 + (k - 1) * d
        j *= s
    return r, j, c


# %% field marks=0 kind=misconception
# padding makes the field larger
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        r += ((k - 1) * d + 2 * p) * j
        c += (k - 1) * d / 2 * j
        j *= s
    return r, j, c


# %% field marks=0 kind=misconception
# believes that cell 0 is centred on pixel 0
def field(layers):
    r, j = 1, 1
    for k, s, p, d in layers:
        r += (k - 1) * d * j
        j *= s
    return r, j, 0.0


# %% field marks=0 kind=misconception
# measures the field in cells of the last map, not in pixels
def field(layers):
    r, j, c = 1, 1, 0.0
    for k, s, p, d in layers:
        r = (r + (k - 1) * d) / s
        c = (c + (k - 1) * d / 2 - p) / s
        j *= s
    return r, j, c
