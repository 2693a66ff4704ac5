# %% weights marks=4 kind=right
# two maps of squared distances
def weights(image, row, col, sxy, srgb):
    x = image.float()
    H, W = x.shape[-2:]
    r, c = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    place = ((r - row) ** 2 + (c - col) ** 2) / sxy**2
    colour = ((x - x[:, row : row + 1, col : col + 1]) ** 2).sum(0) / srgb**2
    return torch.exp(-(place + colour) / 2)


# %% weights marks=4 kind=right
# pixel by pixel
def weights(image, row, col, sxy, srgb):
    import math

    _, H, W = image.shape
    mine = image[:, row, col].tolist()
    out = torch.zeros(H, W, dtype=torch.float64)
    for r in range(H):
        for c in range(W):
            d = (r - row) ** 2 + (c - col) ** 2
            e = sum((a - b) ** 2 for a, b in zip(image[:, r, c].tolist(), mine))
            out[r, c] = math.exp(-d / (2 * sxy**2) - e / (2 * srgb**2))
    return out


# %% weights marks=4 kind=right
# the product of two Gaussians
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    down = torch.exp(-((torch.arange(H) - row) ** 2) / (2 * sxy**2))
    across = torch.exp(-((torch.arange(W) - col) ** 2) / (2 * sxy**2))
    difference = image.double() - image[:, row, col].double().reshape(3, 1, 1)
    like = torch.exp(-difference.pow(2).sum(0) / (2 * srgb**2))
    return down[:, None] * across[None] * like


# %% weights marks=4 kind=unusual
# points in five dimensions, and cdist, with a print
def weights(image, row, col, sxy, srgb):
    _, H, W = image.shape
    r, c = torch.meshgrid(torch.arange(H).double(), torch.arange(W).double(), indexing="ij")
    points = torch.cat([torch.stack([r, c]) / sxy, image.double() / srgb]).flatten(1).T
    print(points.shape)
    far = torch.cdist(points[row * W + col][None], points)[0]
    return torch.exp(-(far**2) / 2).reshape(H, W)


# %% weights marks=4 kind=unusual
# numpy's indices, with a warning, as nested lists
def weights(image, row, col, sxy, srgb):
    import warnings

    import numpy as np

    warnings.warn("numpy ahead")
    x = np.asarray(image).astype(float)
    r, c = np.indices(x.shape[1:])
    far = ((r - row) ** 2 + (c - col) ** 2) / sxy**2
    for channel in x:
        far = far + (channel - channel[row, col]) ** 2 / srgb**2
    return np.exp(-0.5 * far).tolist()


# %% weights marks=4 kind=unusual
# powers of one number, complex numbers for places
def weights(image, row, col, sxy, srgb):
    import math

    H, W = image.shape[1:]
    at = torch.arange(H)[:, None] + 1j * torch.arange(W)[None]
    place = (at.to(torch.complex128) - complex(row, col)).abs() / sxy
    x = image.to(torch.float64)
    colour = torch.linalg.vector_norm(x - x[:, row, col][:, None, None], dim=0) / srgb
    return math.sqrt(math.e) ** -(place**2 + colour**2)


# %% weights marks=3 kind=partly
# subtracts in the type of the image: 10 - 240 is 26 in uint8
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    difference = (image - image[:, row, col][:, None, None]).double()
    far = (r**2 + c**2) / sxy**2 + (difference**2).sum(0) / srgb**2
    return torch.exp(-far / 2)


# %% weights marks=1 kind=partly
# the smoothness kernel: it knows no colour
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    return torch.exp(-(r**2 + c**2) / (2 * sxy**2))


# %% weights marks=0 kind=partly
# the range kernel: it knows no place
def weights(image, row, col, sxy, srgb):
    x = image.double()
    far = ((x - x[:, row, col][:, None, None]) ** 2).sum(0)
    return torch.exp(-far / (2 * srgb**2))


# %% weights marks=0 kind=misconception
# near or alike: the sum of two kernels
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    near = torch.exp(-(r**2 + c**2) / (2 * sxy**2))
    like = torch.exp(-((x - x[:, row, col][:, None, None]) ** 2).sum(0) / (2 * srgb**2))
    return near + like


# %% weights marks=0 kind=misconception
# the mean of both, so that the pixel itself has 1
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    near = torch.exp(-(r**2 + c**2) / (2 * sxy**2))
    like = torch.exp(-((x - x[:, row, col][:, None, None]) ** 2).sum(0) / (2 * srgb**2))
    return (near + like) / 2


# %% weights marks=0 kind=misconception
# sigma squared without the 2
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    far = (r**2 + c**2) / sxy**2 + ((x - x[:, row, col][:, None, None]) ** 2).sum(0) / srgb**2
    return torch.exp(-far)


# %% weights marks=1 kind=misconception
# colours as grey: the channels' mean
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    grey = image.double().mean(0)
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    far = (r**2 + c**2) / sxy**2 + (grey - grey[row, col]) ** 2 / srgb**2
    return torch.exp(-far / 2)


# %% weights marks=1 kind=misconception
# colours in 0 to 1, with a sigma in steps of 255
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double() / 255
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    far = (r**2 + c**2) / sxy**2 + ((x - x[:, row, col][:, None, None]) ** 2).sum(0) / srgb**2
    return torch.exp(-far / 2)


# %% weights marks=0 kind=misconception
# each sigma with the other distance
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    far = (r**2 + c**2) / srgb**2 + ((x - x[:, row, col][:, None, None]) ** 2).sum(0) / sxy**2
    return torch.exp(-far / 2)


# %% weights marks=0 kind=misconception
# distances that are not squared
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    place = (r**2 + c**2).double().sqrt() / sxy
    colour = ((x - x[:, row, col][:, None, None]) ** 2).sum(0).sqrt() / srgb
    return torch.exp(-(place + colour) / 2)


# %% weights marks=0 kind=misconception
# no pixel listens to itself, and the weights add up to 1
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    far = (r**2 + c**2) / sxy**2 + ((x - x[:, row, col][:, None, None]) ** 2).sum(0) / srgb**2
    out = torch.exp(-far / 2)
    out[row, col] = 0
    return out / out.sum()


# %% weights marks=0 kind=misconception
# near is a square of one sigma around the pixel, and far is nothing
def weights(image, row, col, sxy, srgb):
    H, W = image.shape[1:]
    x = image.double()
    r, c = torch.arange(H)[:, None] - row, torch.arange(W) - col
    near = (r.abs() <= sxy) & (c.abs() <= sxy)
    return near * torch.exp(-((x - x[:, row, col][:, None, None]) ** 2).sum(0) / (2 * srgb**2))


# %% energy marks=4 kind=right
# a loop over all pairs
def energy(unary, labels, kernel, compatibility):
    total, P = 0.0, len(labels)
    for i in range(P):
        total += unary[i, labels[i]].item()
        for j in range(i + 1, P):
            total += (kernel[i, j] * compatibility[labels[i], labels[j]]).item()
    return total


# %% energy marks=4 kind=right
# half of the whole matrix, without its diagonal
def energy(unary, labels, kernel, compatibility):
    P = len(labels)
    others = kernel * (1 - torch.eye(P))
    pairs = others * compatibility[labels[:, None], labels[None]]
    return unary[torch.arange(P), labels].sum() + pairs.sum() / 2


# %% energy marks=4 kind=right
# one filtering of the one-hot maps
def energy(unary, labels, kernel, compatibility):
    chosen = torch.nn.functional.one_hot(labels, unary.shape[1]).to(unary)
    heard = (kernel - torch.diag(torch.diag(kernel))) @ chosen
    return float((chosen * (unary + 0.5 * heard @ compatibility)).sum())


# %% energy marks=4 kind=unusual
# numpy and combinations, with prints
def energy(unary, labels, kernel, compatibility):
    from itertools import combinations

    import numpy as np

    u, k, mu = np.array(unary), np.array(kernel), np.array(compatibility)
    x = labels.tolist()
    alone = sum(u[i][a] for i, a in enumerate(x))
    print("alone:", alone)
    return alone + sum(k[i, j] * mu[x[i], x[j]] for i, j in combinations(range(len(x)), 2))


# %% energy marks=4 kind=unusual
# pixel by pixel, each against those before it, by recursion and with a warning
def energy(unary, labels, kernel, compatibility):
    import warnings

    n = len(labels) - 1
    if n < 0:
        return 0.0
    if n == 1:
        warnings.warn("two pixels left")
    last = labels[n]
    mine = unary[n, last] + (kernel[n, :n] * compatibility[last, labels[:n]]).sum()
    return float(mine) + energy(unary[:n], labels[:n], kernel, compatibility)


# %% energy marks=4 kind=unusual
# pairs of labels outside, pairs of pixels as products of indicator vectors inside
def energy(unary, labels, kernel, compatibility):
    K = unary.shape[1]
    inside = [(labels == a).to(unary.dtype) for a in range(K)]
    total = sum((unary[:, a] * inside[a]).sum() for a in range(K))
    for a in range(K):
        for b in range(K):
            everything = inside[a] @ kernel.to(unary.dtype) @ inside[b]
            itself = (inside[a] * inside[b] * kernel.diagonal()).sum()
            total = total + compatibility[a, b] * (everything - itself) / 2
    return total.reshape(())


# %% energy marks=1 kind=partly
# Potts, whatever the compatibility says
def energy(unary, labels, kernel, compatibility):
    total, P = 0.0, len(labels)
    for i in range(P):
        total += float(unary[i, labels[i]])
        for j in range(i):
            total += float(kernel[i, j]) * int(labels[i] != labels[j])
    return total


# %% energy marks=2 kind=partly
# half of the whole matrix, the pixel's pair with itself in it: Potts does not mind
def energy(unary, labels, kernel, compatibility):
    pairs = kernel * compatibility[labels][:, labels]
    return float(unary[range(len(labels)), labels].sum() + pairs.sum() / 2)


# %% energy marks=2 kind=partly
# pairs of one label are free, whatever the compatibility says
def energy(unary, labels, kernel, compatibility):
    total, P = 0.0, len(labels)
    for i in range(P):
        total += float(unary[i, labels[i]])
        for j in range(i):
            if labels[i] != labels[j]:
                total += float(kernel[i, j] * compatibility[labels[i], labels[j]])
    return total


# %% energy marks=0 kind=misconception
# counts each pair from both sides
def energy(unary, labels, kernel, compatibility):
    total, P = 0.0, len(labels)
    for i in range(P):
        total += float(unary[i, labels[i]])
        for j in range(P):
            if i != j:
                total += float(kernel[i, j] * compatibility[labels[i], labels[j]])
    return total


# %% energy marks=1 kind=misconception
# a short-range CRF: pairs of neighbours in the row, and no others
def energy(unary, labels, kernel, compatibility):
    total = 0.0
    for i in range(len(labels)):
        total += float(unary[i, labels[i]])
    near = sum(
        float(kernel[i, i + 1] * compatibility[labels[i], labels[i + 1]])
        for i in range(len(labels) - 1)
    )
    return total + near


# %% energy marks=0 kind=misconception
# equal labels pay, different ones do not
def energy(unary, labels, kernel, compatibility):
    total, P = 0.0, len(labels)
    for i in range(P):
        total += float(unary[i, labels[i]])
        for j in range(i + 1, P):
            total += float(kernel[i, j]) * float(labels[i] == labels[j])
    return total


# %% energy marks=0 kind=misconception
# takes the unary for probabilities, and takes their logarithm again
def energy(unary, labels, kernel, compatibility):
    alone = -unary[range(len(labels)), labels].clamp(min=1e-9).log().sum()
    pairs = (kernel * compatibility[labels][:, labels]).triu(1).sum()
    return float(alone + pairs)


# %% energy marks=0 kind=misconception
# the probability, not the energy
def energy(unary, labels, kernel, compatibility):
    pairs = (kernel * compatibility[labels][:, labels]).triu(1).sum()
    return float(torch.exp(-unary[range(len(labels)), labels].sum() - pairs))


# %% energy marks=0 kind=misconception
# energy for a pixel: divided by their number
def energy(unary, labels, kernel, compatibility):
    pairs = (kernel * compatibility[labels][:, labels]).triu(1).sum()
    return float(unary[range(len(labels)), labels].mean() + pairs / len(labels) ** 2)


# %% energy marks=1 kind=misconception
# pairs count, and the network's scores are forgotten
def energy(unary, labels, kernel, compatibility):
    return float((kernel * compatibility[labels][:, labels]).triu(1).sum())


# %% update marks=5 kind=right
# zero the diagonal, two products, softmax
def update(probs, unary, kernel, compatibility):
    k = kernel.clone()
    k.fill_diagonal_(0)
    return torch.softmax(-unary - k @ probs @ compatibility, 1)


# %% update marks=5 kind=right
# loops over pixels and labels, and a softmax
def update(probs, unary, kernel, compatibility):
    P, K = probs.shape
    cost = unary.clone()
    for i in range(P):
        for j in range(P):
            if i != j:
                for a in range(K):
                    for b in range(K):
                        cost[i, a] += kernel[i, j] * compatibility[a, b] * probs[j, b]
    return torch.softmax(-cost, 1)


# %% update marks=5 kind=right
# the logarithm of the sum, taken away
def update(probs, unary, kernel, compatibility):
    others = kernel * (1 - torch.eye(len(kernel)))
    score = -unary - torch.einsum("ij,jb,ab->ia", others, probs, compatibility)
    return (score - torch.logsumexp(score, 1, keepdim=True)).exp()


# %% update marks=5 kind=unusual
# numpy, the smallest cost taken away before exp, with prints
def update(probs, unary, kernel, compatibility):
    import numpy as np

    q, u, k, mu = (np.array(x, dtype=float) for x in (probs, unary, kernel, compatibility))
    np.fill_diagonal(k, 0)
    cost = u + k @ q @ mu
    print(cost)
    e = np.exp(cost.min(1, keepdims=True) - cost)
    return e / e.sum(1, keepdims=True)


# %% update marks=5 kind=unusual
# softmin, pixel by pixel, with index lists and a warning
def update(probs, unary, kernel, compatibility):
    import warnings

    warnings.warn("slow")
    rows = []
    for i in range(len(probs)):
        others = [j for j in range(len(probs)) if j != i]
        message = (kernel[i, others, None] * probs[others]).sum(0)
        rows.append(torch.nn.functional.softmin(unary[i] + compatibility @ message, dim=0))
    return torch.stack(rows)


# %% update marks=5 kind=unusual
# ratios of labels instead of a softmax; a list of lists comes back
def update(probs, unary, kernel, compatibility):
    import math

    P, K = probs.shape
    k, q, mu, u = kernel.tolist(), probs.tolist(), compatibility.tolist(), unary.tolist()
    out = []
    for i in range(P):
        heard = [sum(k[i][j] * q[j][b] for j in range(P) if j != i) for b in range(K)]
        cost = [u[i][a] + sum(mu[a][b] * heard[b] for b in range(K)) for a in range(K)]
        out.append(
            [1 / sum(math.exp(min(cost[a] - cost[b], 700)) for b in range(K)) for a in range(K)]
        )
    return out


# %% update marks=4 kind=partly
# exp and a division: nothing is left of costs in the thousands
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    e = torch.exp(-unary - k @ probs @ compatibility)
    return e / e.sum(1, keepdim=True)


# %% update marks=3 kind=partly
# Potts, whatever the compatibility says
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    message = k @ probs
    return torch.softmax(-unary - (message.sum(1, keepdim=True) - message), 1)


# %% update marks=3 kind=partly
# adds what is heard for the label itself, which is the same for Potts
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    return torch.softmax(-unary + k @ probs, 1)


# %% update marks=0 kind=misconception
# a pixel hears itself
def update(probs, unary, kernel, compatibility):
    return torch.softmax(-unary - kernel @ probs @ compatibility, 1)


# %% update marks=1 kind=misconception
# one pixel after the other, each hears the new tables of those before it
def update(probs, unary, kernel, compatibility):
    q = probs.clone()
    for i in range(len(q)):
        others = torch.arange(len(q)) != i
        q[i] = torch.softmax(-unary[i] - kernel[i, others] @ q[others] @ compatibility, 0)
    return q


# %% update marks=1 kind=misconception
# what the others are, not what they are on average: their best labels
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    sure = torch.nn.functional.one_hot(probs.argmax(1), probs.shape[1]).to(probs)
    return torch.softmax(-unary - k @ sure @ compatibility, 1)


# %% update marks=1 kind=misconception
# begins again from the softmax of the unary
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    return torch.softmax(-unary - k @ torch.softmax(-unary, 1) @ compatibility, 1)


# %% update marks=0 kind=misconception
# softmax over the pixels
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    return torch.softmax(-unary - k @ probs @ compatibility, 0)


# %% update marks=0 kind=misconception
# the mean of the others instead of their sum
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    message = k @ probs / (k.sum(1, keepdim=True) + 1e-9)
    return torch.softmax(-unary - message @ compatibility, 1)


# %% update marks=0 kind=misconception
# the network's opinion is used up after the first table: no unary
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    return torch.softmax(-(k @ probs @ compatibility), 1)


# %% update marks=1 kind=misconception
# multiplies the last table, in place of the unary, by what was heard
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    return torch.softmax(probs.clamp(min=1e-30).log() - k @ probs @ compatibility, 1)


# %% update marks=0 kind=misconception
# what is heard for a label makes that label expensive
def update(probs, unary, kernel, compatibility):
    k = kernel - torch.diag(kernel.diagonal())
    return torch.softmax(-unary - k @ probs, 1)
