# %% solution output_size
def output_size(size, depth):
    """Pixels that come out of an unpadded U-Net, along one axis."""
    for _ in range(depth):
        size -= 4
        if size % 2 != 0:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = size * 2 - 4
    return size if size > 0 else None


# %% hidden output_size_all points=1
from segcourse.unet_sizes import levels


def wanted(size, depth):
    try:
        return levels(size, depth).output
    except ValueError:
        return None


for depth in (1, 2, 3, 4, 5):
    first = 12 * 2**depth - 4
    for size in (*range(first, first + 56), first + 96, first + 97):
        got = output_size(size, depth)
        assert got == wanted(size, depth), f"{size} px, depth {depth}: {got}"

# %% hidden output_size_smallest points=1
for depth, first, result in [(0, 5, 1), (1, 18, 2), (2, 44, 4), (3, 92, 4), (4, 188, 4)]:
    for size in range(1, first):
        assert output_size(size, depth) is None, f"{size} px, depth {depth}: nothing is left"
    assert output_size(first, depth) == result, f"{first} px, depth {depth}"
assert output_size(7, 0) == 3


# %% solution join_skip
def join_skip(encoder_map, from_below):
    """Crop the encoder's map to the middle, and join it with the map from below."""
    h, w = from_below.shape[1:]
    top = (encoder_map.shape[1] - h) // 2
    left = (encoder_map.shape[2] - w) // 2
    middle = encoder_map[:, top : top + h, left : left + w]
    return torch.cat([middle, from_below])


# %% hidden join_skip_odd points=1
skip = torch.arange(30.0).reshape(1, 5, 6)
check(join_skip(skip, torch.zeros(1, 2, 3))[0], [[7, 8, 9], [13, 14, 15]])
check(join_skip(skip, torch.zeros(2, 4, 5))[0], skip[0, :4, :5], "One row and one column too many.")
check(join_skip(skip, torch.zeros(1, 1, 1))[:, 0, 0], [14, 0])

# %% hidden join_skip_shapes points=1
generator = torch.Generator().manual_seed(0)
for C, D, H, W, h, w in [
    (2, 3, 9, 7, 4, 5),
    (1, 1, 4, 10, 4, 3),
    (4, 1, 8, 8, 8, 8),
    (3, 2, 6, 5, 1, 5),
]:
    skip = torch.randn(C, H, W, generator=generator, dtype=torch.float64)
    below = torch.randn(D, h, w, generator=generator, dtype=torch.float64)
    got = torch.as_tensor(join_skip(skip, below), dtype=torch.float64)
    check(got[C:], below)
    top, left = (H - h) // 2, (W - w) // 2
    check(got[:C], skip[:, top : top + h, left : left + w])
    assert (got[C:] - below).abs().max() < 1e-12, "64-bit numbers lost digits"

# %% [markdown] rubric slides
# - 1 point: training: few images, so elastic deformation and turns (image and labels bent
#   together, labels by nearest); a loss that weighs the pixels between nuclei (border weights),
#   since one line of background decides whether two nuclei count as one.
# - 1 point: labelling: overlap-tile. Each tile is seen with a margin as wide as the network's
#   reach (or the pixels that an unpadded network loses), the image is mirrored at its end, tiles
#   begin at multiples of 2 to the depth, so the result is that of the whole slide.
# - 1 point: skips bring the place of edges that pooling had lost; the finest skip sees five
#   pixels, an edge and not what it is the edge of, so it cannot classify alone.
# - 1 point: a check that could fail: count of merged and split nuclei on held-out slices, tiles
#   against the whole on one slice in float64, training with and without the deformation or the
#   weights.
#
# **Model answer.** There are few slices and the shapes are soft, so I would bend each slice
# elastically with its labels, a little and differently each time, and turn and mirror it. Labels
# are resampled by nearest neighbour, never mixed. The loss is cross-entropy with the border weight
# map: pixels between two nuclei that nearly touch weigh most, since a bridge of two pixels there
# turns two nuclei into one, and the plain loss hardly sees it.
#
# A slide does not fit into memory. I would label tiles, each with a margin as wide as the network
# looks, mirror the slide at its ends, keep the middle of each tile, and let tiles begin at
# multiples of 2 to the depth, so that the pools pair the same pixels everywhere. Then nothing
# changes at the seams.
#
# The decoder knows from below that there is a nucleus, and roughly where. The skips bring the
# edges, at the pixel where the encoder saw them before it pooled. The finest skip alone sees five
# pixels: it finds edges of everything and knows the class of none. I would check the loss first,
# since counting is the goal: nuclei merged and split on ten held-out slices, with and without the
# weights, with two seeds each. And on one slice I would compare the tiles with the whole, which
# has to agree to rounding.
