"""Overlap-tile: equal to the whole image where the offset rule holds, and only there."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segcourse.full_resolution import FullResolutionNet
from segcourse.overlap_tile import Geometry, label_by_tile, logits_by_tile, measure, tiles
from segcourse.unet import UNet

DEPTH, K = 2, 5


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(3, K, depth=DEPTH, width=4).double().eval()


@pytest.fixture(scope="module")
def geometry(net):
    return measure(net, side=128)


@pytest.fixture(scope="module")
def image():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 83, 70, generator=generator, dtype=torch.float64)


def stitched(net, image, tile, margin, step):
    out = image.new_full((1, K, *image.shape[2:]), torch.nan)
    read = lambda rows, cols: image[..., rows, cols]  # noqa: E731
    for core, logits in logits_by_tile(net, read, image.shape[2:], tile, margin, step):
        assert out[:, :, *core].isnan().all(), "cores overlap"
        out[:, :, *core] = logits
    return out


@torch.inference_mode()
@pytest.mark.parametrize("tile", [4, 16, 24, 64, 128])
def test_tiles_equal_the_whole_image_border_included(net, geometry, image, tile):
    margin = geometry.margin
    assert (stitched(net, image, tile, margin, 2**DEPTH) - net(image)).abs().max() < 1e-10


@torch.inference_mode()
@pytest.mark.parametrize("offset", range(1, 9))
def test_only_offsets_divisible_by_two_to_the_depth_give_the_same_logits(
    net, geometry, image, offset
):
    """A window that starts elsewhere is pooled in other pairs."""
    margin = geometry.margin
    inner = net(image[..., offset:, offset:])[..., margin:-margin, margin:-margin]
    whole = net(image)[..., offset:, offset:][..., margin:-margin, margin:-margin]
    error = (inner - whole).abs().max()
    if offset % 2**DEPTH == 0:
        assert error < 1e-10
    else:
        assert error > 1e-4


@torch.inference_mode()
def test_a_margin_below_the_reach_is_not_enough(net, geometry, image):
    assert geometry.margin - geometry.step <= geometry.reach < geometry.margin
    assert (stitched(net, image, 16, 4, 4) - net(image)).abs().max() > 1e-6


def test_the_reach_of_a_unet_is_counted_by_hand():
    """Two convolutions a level on the way up and down, pools and enlargement pairing pixels."""

    def reach(depth):
        farthest = 0
        for pixel in range(4 * 2**depth, 5 * 2**depth):
            low = high = pixel
            for _ in range(depth):
                low, high = (low - 2) // 2, (high + 2) // 2
            low, high = low - 2, high + 2
            for _ in range(depth):
                low, high = 2 * low - 2, 2 * high + 1 + 2
            farthest = max(farthest, pixel - low, high - pixel)
        return farthest

    for depth in (1, 2, 3):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            found = measure(UNet(3, 3, depth=depth, width=8).double().eval(), side=160)
        assert found.step == 2**depth
        assert reach(depth) - 1 <= found.reach <= reach(depth)
        assert found.margin == Geometry(2**depth, reach(depth)).margin


def test_a_network_at_full_resolution_may_be_cut_anywhere():
    found = measure(FullResolutionNet(3).double().eval(), side=64)
    convolutions = [m for m in FullResolutionNet(3).modules() if isinstance(m, nn.Conv2d)]
    assert found == Geometry(1, sum(m.kernel_size[0] // 2 for m in convolutions))


class Faint(nn.Module):
    """Pools in cells of 4 px, and hides what it found under a constant of another size."""

    def forward(self, x):
        cells = nn.functional.max_pool2d(x, 4, ceil_mode=True)
        up = nn.functional.interpolate(cells, scale_factor=4)[..., : x.shape[2], : x.shape[3]]
        return 1 + 1e-8 * up


def test_logits_that_hardly_vary_do_not_hide_the_step():
    """In float32 1 + 1e-8 is 1: the model would seem to move with every image."""
    x = torch.rand(1, 3, 16, 16)
    assert (Faint()(x) == 1).all()
    assert measure(Faint(), side=64) == Geometry(4, 3)


class SeesEverything(nn.Module):
    def forward(self, x):
        return x + x.mean((2, 3), keepdim=True)


def test_a_model_that_sees_the_whole_image_has_no_margin():
    with pytest.raises(ValueError, match=r"image pooling.*choose one yourself"):
        measure(SeesEverything(), side=64, largest=128)


@given(
    h=st.integers(1, 60),
    w=st.integers(1, 60),
    tile=st.integers(1, 6),
    margin=st.integers(0, 4),
    step=st.sampled_from([1, 2, 4]),
)
def test_cores_cover_every_pixel_once_and_are_seen_with_their_margin(h, w, tile, margin, step):
    count = torch.zeros(h, w, dtype=torch.int64)
    for one in tiles((h, w), tile * step, margin * step, step):
        count[one.core] += 1
        for core, seen, kept, n in zip(one.core, one.seen, one.kept, (h, w), strict=True):
            assert seen.start == max(core.start - margin * step, 0)
            assert seen.stop == min(core.stop + margin * step, n)
            assert (seen.start + kept.start, seen.start + kept.stop) == (core.start, core.stop)
            assert seen.start % step == 0
    assert (count == 1).all()


def test_the_label_map_is_written_where_it_is_asked_for(net, geometry, image, tmp_path):
    H, W = image.shape[2:]
    path = tmp_path / "labels"
    mapped = torch.from_file(str(path), shared=True, size=H * W, dtype=torch.uint8)
    read = lambda rows, cols: image[..., rows, cols]  # noqa: E731
    margin = geometry.margin
    found = label_by_tile(net, read, (H, W), 32, margin, 4, out=mapped.reshape(H, W))
    with torch.inference_mode():
        assert torch.equal(found.long(), net(image)[0].argmax(0))
    assert path.read_bytes() == bytes(found.flatten().tolist())


# ---- errors


@pytest.mark.parametrize(
    ("tile", "margin", "said"),
    [
        (30, 16, "tile is 30.*use 16 or 32"),
        (32, 20, "margin is 20.*use 16 or 32"),
        (8, 16, "use 16"),
    ],
)
def test_what_is_not_divisible_names_what_is(tile, margin, said):
    with pytest.raises(ValueError, match=said):
        next(tiles((64, 64), tile, margin, 16))


def test_numbers_out_of_range_are_refused():
    for wrong in [((0, 4), 4, 0, 1), ((4, 4), 0, 0, 1), ((4, 4), 4, -1, 1)]:
        with pytest.raises(ValueError, match="1 px or more"):
            next(tiles(*wrong))


def test_an_output_of_another_size_or_type_is_refused(net, image):
    read = lambda rows, cols: image[..., rows, cols]  # noqa: E731
    for out in (torch.empty(3, 3, dtype=torch.uint8), torch.empty(83, 70)):
        with pytest.raises(ValueError, match=r"\(83, 70\) torch.uint8 is needed"):
            label_by_tile(net, read, (83, 70), 32, 32, 4, out=out)
