"""The residual U-Net: its blocks, its grid, what its context sees, and group norm in its place."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segcourse import cost
from segcourse.aspp import valid_taps
from segcourse.residual_unet import (
    RATES,
    Added,
    OnHalfGrid,
    residual,
    residual_pair,
    residual_unet,
    with_group_norm,
)
from segcourse.unet import UNet, double_conv_norm


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("before", "after"), [(4, 4), (4, 6)])
def test_a_block_starts_as_its_shortcut(before, after):
    block = residual(before, after)
    x = random(2, before, 5, 7)
    assert torch.equal(block(x), F.relu(block.shortcut(x)))
    assert isinstance(block.shortcut, nn.Identity) == (before == after)
    nn.init.ones_(block.branch[-1].weight)
    assert not torch.equal(block(x), F.relu(block.shortcut(x)))


def test_added_is_the_sum_after_a_relu():
    a, b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    x = random(1, 3, 2, 2)
    torch.testing.assert_close(Added(a, b)(x), (a(x) + b(x)).clamp(min=0))


def test_the_signal_neither_dies_nor_grows_through_eight_blocks():
    torch.manual_seed(0)
    x = random(2, 16, 24, 24)
    y = nn.Sequential(*(residual_pair(16, 16) for _ in range(4)))(x)
    assert 0.3 < y.std() / x.std() < 3


def test_four_scores_of_a_feature_lie_where_a_transposed_convolution_puts_them():
    net = nn.Conv2d(5, 4 * 3, 1)
    stem = nn.Conv2d(3, 5, 2, stride=2)
    up = nn.ConvTranspose2d(5, 3, 2, stride=2)
    with torch.no_grad():
        # Group k of four channels is class k at (0, 0), (0, 1), (1, 0), (1, 1).
        up.weight.copy_(net.weight[:, :, 0, 0].reshape(3, 2, 2, 5).permute(3, 0, 1, 2))
        up.bias.zero_()
        net.bias.zero_()
    image = random(2, 3, 8, 6)
    torch.testing.assert_close(OnHalfGrid(stem, net)(image), up(stem(image)))


@pytest.mark.parametrize(("height", "width"), [(33, 47), (48, 32), (40, 51)])
def test_any_size_gives_logits_of_that_size(height, width):
    net = residual_unet(5, width=8).eval()
    assert net(random(1, 3, height, width)).shape == (1, 5, height, width)


def test_the_stem_stands_at_the_centre_of_its_four_pixels():
    """A mirrored image gives mirrored features of mirrored kernels: no half pixel to one side."""
    stem = residual_unet(3, width=4).eval().stem
    image = random(1, 3, 16, 16)
    flipped = nn.Conv2d(3, 4, 4, stride=2, padding=1, bias=False)
    with torch.no_grad():
        flipped.weight.copy_(stem[0].weight.flip(3))
    torch.testing.assert_close(flipped(image.flip(3)), stem[0](image).flip(3))


def test_every_pixel_of_a_street_is_heard_through_the_context():
    # Image pooling takes the mean of the whole map, whatever the rates reach.
    net = residual_unet(2, width=4).eval().double()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
    image = random(1, 3, 96, 128).double().requires_grad_()
    net(image)[0, 0, 0, 0].backward()
    assert (image.grad.abs().sum(1) > 0).double().mean() > 0.99


def test_on_the_map_of_a_street_most_taps_of_the_rates_lie_inside_and_few_of_the_papers():
    size = (23, 30)  # 360x480 at stride 16
    ours = valid_taps(size, max(RATES)).double().mean()
    papers = valid_taps(size, 18).double().mean()
    assert ours > 4.5 > papers


def test_it_costs_a_tenth_of_the_papers_unet_and_wide_less_than_half():
    def work(model):
        image = torch.empty(1, 3, 360, 480, device="meta")
        return cost.measured_multiply_adds(model.eval(), image)[0]

    with torch.device("meta"):
        plain = work(UNet(3, 11, block=double_conv_norm))
        narrow, wide = (work(residual_unet(11, width)) for width in (32, 64))
    assert 0.09 < narrow / plain < 0.11
    assert 0.4 < wide / plain < 0.5


def test_one_step_lowers_the_loss_of_the_same_batch():
    torch.manual_seed(0)
    for net in (residual_unet(3, 8), with_group_norm(residual_unet(3, 8))):
        image, labels = random(2, 3, 32, 32), torch.randint(3, (2, 32, 32))
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        losses = []
        for _ in range(6):
            loss = F.cross_entropy(net(image), labels)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < losses[0]


# ---- group norm


def test_group_norm_takes_the_place_of_every_batch_norm_with_its_scales():
    net = residual_unet(3, 12)
    norms = {n: m for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    zeros = [n for n, m in norms.items() if not m.weight.any()]
    changed = dict(with_group_norm(net).named_modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in changed.values())
    for name, norm in norms.items():
        assert isinstance(changed[name], nn.GroupNorm)
        assert changed[name].num_channels == norm.num_features
        assert torch.equal(changed[name].weight, norm.weight)
    assert zeros
    assert net.stem[1].num_groups == 2  # 12 channels: groups of 6, as 8 does not divide them


def test_with_group_norm_an_image_does_not_depend_on_its_batch_and_training_equals_use():
    net = with_group_norm(residual_unet(3, 8, dropout=0.0)).double()
    for layer in net.modules():
        if isinstance(layer, nn.GroupNorm):
            nn.init.ones_(layer.weight)
    images = random(3, 3, 32, 32).double()
    together = net.train()(images)
    torch.testing.assert_close(together[:2], net(images[:2]))
    torch.testing.assert_close(together, net.eval()(images))
    batch = residual_unet(3, 8, dropout=0.0).double().train()
    assert not torch.allclose(batch(images)[:2], batch(images[:2]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_on_a_gpu_it_gives_the_cpus_logits_and_trains_in_bf16(norm):
    torch.manual_seed(0)
    net = residual_unet(3, 8)
    net = with_group_norm(net) if norm == "group" else net
    image = random(2, 3, 48, 64)
    expected = net.eval()(image)
    net.to("cuda", memory_format=torch.channels_last)
    torch.testing.assert_close(net(image.cuda()).cpu(), expected, atol=1e-2, rtol=1e-2)
    with torch.autocast("cuda", torch.bfloat16):
        logits = net.train()(image.cuda())
    logits.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


# ---- what is refused


def test_blocks_that_add_keep_their_size():
    with pytest.raises(ValueError, match="padding is 0: residual blocks keep the size"):
        UNet(3, 2, padding=0, block=residual_pair)


def test_a_width_below_one_is_refused():
    with pytest.raises(ValueError, match="width is 0: give 1"):
        residual_unet(3, width=0)
