# %% output_size marks=4 kind=right
# down with checks, then up
def output_size(size, depth):
    for _ in range(depth):
        size -= 4
        if size < 2 or size % 2:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


# %% output_size marks=4 kind=right
# a recursion: a U is two convolutions around a smaller U
def output_size(size, depth):
    size -= 4
    if depth == 0:
        return size if size >= 1 else None
    if size < 2 or size % 2:
        return None
    below = output_size(size // 2, depth - 1)
    if below is None or 2 * below - 4 < 1:
        return None
    return 2 * below - 4


# %% output_size marks=4 kind=right
# the formula: the loss depends on the depth alone, and the size modulo 2 to the depth
def output_size(size, depth):
    lost = 12 * 2**depth - 8
    if (size - 4 * (2**depth - 1)) % 2**depth or size <= lost:
        return None
    return size - lost


# %% output_size marks=4 kind=unusual
# runs max pools and empty convolutions on the meta device
def output_size(size, depth):
    x = torch.empty(1, 1, size, device="meta")
    kernel = torch.empty(1, 1, 5, device="meta")
    conv = torch.nn.functional.conv1d
    try:
        for _ in range(depth):
            x = conv(x, kernel)
            if x.shape[2] % 2:
                return None
            x = x[..., ::2]  # the size of a max pool, without numbers
        x = conv(x, kernel)
        for _ in range(depth):
            x = conv(x.repeat(1, 1, 2), kernel)
    except RuntimeError as error:
        print(error)
        return None
    return x.shape[2]


# %% output_size marks=4 kind=unusual
# floats all the way, and a warning
def output_size(size, depth):
    import warnings

    warnings.warn("sizes as floats")
    size = float(size)
    for _ in range(depth):
        size = (size - 4) / 2
        if size != int(size) or size <= 0:
            return None
    size -= 4
    for _ in range(depth):
        size = size * 2 - 4
    return size if size > 0 else None


# %% output_size marks=4 kind=unusual
# searches the output from below: which images do even bottoms give
def output_size(size, depth):
    bottom = 1
    while True:
        top = up = bottom
        top += 4
        for _ in range(depth):
            top, up = 2 * top + 4, 2 * up - 4
        if top == size:
            return up if up > 0 else None
        if top > size:
            return None
        bottom += 1


# %% output_size marks=3 kind=partly
# right, but says a size even where nothing is left
def output_size(size, depth):
    for _ in range(depth):
        size -= 4
        if size % 2:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size


# %% output_size marks=2 kind=partly
# rounds odd maps down, as torch's pools do: every size is legal
def output_size(size, depth):
    for _ in range(depth):
        size = (size - 4) // 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


# %% output_size marks=2 kind=partly
# looks at the first pool only
def output_size(size, depth):
    if depth and size % 2:
        return None
    for _ in range(depth):
        size = (size - 4) // 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


# %% output_size marks=1 kind=misconception
# each convolution takes two pixels from each end
def output_size(size, depth):
    for _ in range(depth):
        size -= 8
        if size % 2 or size <= 0:
            return None
        size //= 2
    size -= 8
    for _ in range(depth):
        size = 2 * size - 8
    return size if size > 0 else None


# %% output_size marks=1 kind=misconception
# the size has to be divisible by 2 to the depth, as in a padded network
def output_size(size, depth):
    if depth and size % 2**depth:
        return None
    size -= 12 * 2**depth - 8
    return size if size > 0 else None


# %% output_size marks=1 kind=misconception
# the lowest level convolves on the way down and on the way up
def output_size(size, depth):
    for _ in range(depth):
        size -= 4
        if size % 2 or size <= 0:
            return None
        size //= 2
    size -= 8
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


# %% output_size marks=1 kind=misconception
# the decoder does not convolve: it only enlarges
def output_size(size, depth):
    for _ in range(depth):
        size -= 4
        if size % 2 or size <= 0:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size
    return size if size > 0 else None


# %% output_size marks=0 kind=misconception
# the same size comes out
def output_size(size, depth):
    return size


# %% join_skip marks=4 kind=right
# crop and cat
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    top, left = (encoder_map.shape[1] - h) // 2, (encoder_map.shape[2] - w) // 2
    return torch.cat([encoder_map[:, top : top + h, left : left + w], from_below], dim=0)


# %% join_skip marks=4 kind=right
# narrow in both directions
def join_skip(encoder_map, from_below):
    for axis in (1, 2):
        n = from_below.shape[axis]
        encoder_map = encoder_map.narrow(axis, (encoder_map.shape[axis] - n) // 2, n)
    return torch.cat((encoder_map, from_below))


# %% join_skip marks=4 kind=right
# takes rows and columns off, one at a time, from alternating ends
def join_skip(encoder_map, from_below):
    for axis in (1, 2):
        from_the_end = True
        while encoder_map.shape[axis] > from_below.shape[axis]:
            n = encoder_map.shape[axis] - 1
            encoder_map = encoder_map.narrow(axis, 0 if from_the_end else 1, n)
            from_the_end = not from_the_end
    return torch.cat([encoder_map, from_below])


# %% join_skip marks=4 kind=unusual
# negative padding crops
def join_skip(encoder_map, from_below):
    dh = encoder_map.shape[1] - from_below.shape[1]
    dw = encoder_map.shape[2] - from_below.shape[2]
    crop = (-(dw // 2), -(dw - dw // 2), -(dh // 2), -(dh - dh // 2))
    print("crop", crop)
    return torch.cat([torch.nn.functional.pad(encoder_map, crop), from_below])


# %% join_skip marks=4 kind=unusual
# numpy, filled channel by channel
def join_skip(encoder_map, from_below):
    import numpy as np

    a, b = encoder_map.numpy(), from_below.numpy()
    out = np.empty((len(a) + len(b), *b.shape[1:]), a.dtype)
    top, left = [(n - m) // 2 for n, m in zip(a.shape[1:], b.shape[1:])]
    for k in range(len(out)):
        inside = a[k][top:, left:][: b.shape[1], : b.shape[2]] if k < len(a) else b[k - len(a)]
        out[k] = inside
    return out


# %% join_skip marks=4 kind=unusual
# nested lists
def join_skip(encoder_map, from_below):
    h, w = len(from_below[0]), len(from_below[0][0])
    top = (len(encoder_map[0]) - h) // 2
    left = (len(encoder_map[0][0]) - w) // 2
    out = [[row[left : left + w] for row in plane[top : top + h]] for plane in encoder_map.tolist()]
    return torch.tensor(out + from_below.tolist(), dtype=torch.float64)


# %% join_skip marks=2 kind=partly
# rounds the odd pixel the other way
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    top, left = -(-(encoder_map.shape[1] - h) // 2), -(-(encoder_map.shape[2] - w) // 2)
    return torch.cat([encoder_map[:, top : top + h, left : left + w], from_below])


# %% join_skip marks=2 kind=partly
# crops by a slice with a negative end: breaks where nothing is to be cropped, and where it is odd
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    a, b = (encoder_map.shape[1] - h) // 2, (encoder_map.shape[2] - w) // 2
    if (a, b) == (0, 0):
        return torch.cat([encoder_map, from_below])
    return torch.cat([encoder_map[:, a:-a, b:-b], from_below])


# %% join_skip marks=1 kind=partly
# no crop at all
def join_skip(encoder_map, from_below):
    return torch.cat([encoder_map, from_below])


# %% join_skip marks=1 kind=misconception
# crops at the top left corner: the sizes fit, the places do not
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    return torch.cat([encoder_map[:, :h, :w], from_below])


# %% join_skip marks=1 kind=misconception
# resizes the skip instead of cropping it
def join_skip(encoder_map, from_below):
    size = tuple(from_below.shape[1:])
    small = torch.nn.functional.interpolate(encoder_map[None], size=size, mode="nearest")[0]
    return torch.cat([small, from_below])


# %% join_skip marks=0 kind=misconception
# adds, as FCN does
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    top, left = (encoder_map.shape[1] - h) // 2, (encoder_map.shape[2] - w) // 2
    return encoder_map[:1, top : top + h, left : left + w] + from_below[:1]


# %% join_skip marks=0 kind=misconception
# channels from below first
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    top, left = (encoder_map.shape[1] - h) // 2, (encoder_map.shape[2] - w) // 2
    return torch.cat([from_below, encoder_map[:, top : top + h, left : left + w]])


# %% join_skip marks=1 kind=misconception
# pads the map from below to the encoder's size
def join_skip(encoder_map, from_below):
    dh = encoder_map.shape[1] - from_below.shape[1]
    dw = encoder_map.shape[2] - from_below.shape[2]
    padding = (dw // 2, dw - dw // 2, dh // 2, dh - dh // 2)
    return torch.cat([encoder_map, torch.nn.functional.pad(from_below, padding)])


# %% join_skip marks=0 kind=misconception
# joins side by side, along the width
def join_skip(encoder_map, from_below):
    _, h, w = from_below.shape
    top, left = (encoder_map.shape[1] - h) // 2, (encoder_map.shape[2] - w) // 2
    one = encoder_map[:1, top : top + h, left : left + w]
    return torch.cat([one, from_below[:1]], dim=2)
