"""Claims of the chapter on sliding windows, in float64 where an identity is claimed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segcourse.effective_field import gradient_support
from segcourse.full_resolution import FullResolutionNet
from segcourse.sliding_window import (
    PatchClassifier,
    SlidingWindow,
    classify_windows,
    dense,
    kernel_sizes,
    reflect_pad,
    shift_and_stitch,
    window_chunks,
    windows,
)
from segcourse.window_cost import pass_multiply_adds, predicted_ratio, shared_fraction
from segcourse.zero_padding import border_strip, differs, padded_twin

FITTING = [(1, 1), (3, 1), (5, 1), (9, 1), (15, 1), (5, 2), (7, 2), (9, 2), (13, 4), (17, 4)]


def classifier(window: int, stride: int = 1, width: int = 6, seed: int = 0) -> PatchClassifier:
    """Random weights and batch-norm shifts: shifts of zero would hide what padding does."""
    generator = torch.Generator().manual_seed(seed)
    net = PatchClassifier(window, num_classes=4, width=width, stride=stride).double()
    with torch.no_grad():
        for layer in net.layers:
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(0, layer.weight[0].numel() ** -0.5, generator=generator)
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
                layer.bias.normal_(0, 0.5, generator=generator)
    return net.eval()


def image(h: int, w: int, n: int = 1, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, h, w, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("window", [1, 3, 9, 21, 31, 63])
def test_an_odd_window_becomes_one_pixel_at_stride_1(window):
    net = PatchClassifier(window, num_classes=5, width=2)
    assert net(torch.zeros(2, 3, window, window)).shape == (2, 5, 1, 1)
    one_more = net(torch.zeros(1, 3, window + 1, window))
    assert one_more.shape == (1, 5, 2, 1), "the window is the exact size, not one rounded down"


@given(st.sampled_from([2, 4]), st.integers(0, 12))
@settings(max_examples=20, deadline=None)
def test_a_fitting_window_becomes_one_pixel_at_its_stride(stride, nth):
    window = {2: 5 + 2 * nth, 4: 13 + 4 * nth}[stride]
    net = PatchClassifier(window, num_classes=3, width=2, stride=stride).eval()
    assert net(torch.zeros(1, 3, window, window)).shape == (1, 3, 1, 1)
    sizes = [net(torch.zeros(1, 3, window + d, window)).shape[2] for d in range(2 * stride + 1)]
    assert sizes == [1 + d // stride for d in range(2 * stride + 1)]


@pytest.mark.parametrize(("window", "stride"), [(15, 1), (9, 2), (13, 4), (17, 4)])
def test_every_pixel_of_the_window_can_change_the_score_and_no_other(window, stride):
    net = classifier(window, stride, width=12)
    x = image(window + 2 * stride, window + 2 * stride).requires_grad_()
    net(x)[0, :, 1, 1].abs().sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    expected = torch.zeros_like(seen)
    expected[stride : stride + window, stride : stride + window] = True
    assert not seen[~expected].any(), "a pixel outside the window changes the score"
    assert seen[expected].float().mean() > (0.9 if stride == 1 else 0.6)  # max pools drop some
    edges = seen[stride : stride + window, stride : stride + window]
    assert all(side.any() for side in (edges[0], edges[-1], edges[:, 0], edges[:, -1]))


@pytest.mark.parametrize(
    ("window", "stride", "advice"),
    [(4, 1, "use 5"), (0, 1, "use 1"), (3, 2, "use 5"), (10, 2, "use 9"), (15, 4, "use 13")],
)
def test_a_window_that_does_not_fit_is_told_which_do(window, stride, advice):
    with pytest.raises(ValueError, match=rf"window of {window} pixels.*stride {stride}.*{advice}"):
        PatchClassifier(window, num_classes=2, stride=stride)


def test_an_advised_window_fits():
    for stride in (1, 2, 4):
        for window in range(-1, 40):
            try:
                kernel_sizes(window, stride)
            except ValueError as error:
                kernel_sizes(int(str(error).rsplit("use ", 1)[1]), stride)


def test_another_stride_is_refused():
    with pytest.raises(ValueError, match=r"stride 3.*use 1, 2 or 4"):
        PatchClassifier(9, num_classes=2, stride=3)


def test_an_image_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match=r"8x20 holds no window of 9x9.*SlidingWindow"):
        classifier(9)(image(8, 20))


@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 6), st.integers(0, 6)
)
@settings(max_examples=40, deadline=None)
def test_windows_are_the_slices_of_the_image(n, size, stride, down, right):
    x = image(size + down, size + right, n)
    slices = [
        x[:, :, r : r + size, c : c + size]
        for r in range(0, down + 1, stride)
        for c in range(0, right + 1, stride)
    ]
    assert torch.equal(windows(x, size, stride), torch.stack(slices, dim=1))


@given(st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_chunks_are_the_windows_in_order_whatever_the_chunk(chunk):
    x = image(7, 6, n=2)
    chunks = list(window_chunks(x, 3, chunk))
    assert max(map(len, chunks)) <= chunk
    assert torch.equal(torch.cat(chunks), windows(x, 3).flatten(0, 1))


def test_windows_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match="4x9 holds no window of 5x5: pad it first"):
        windows(image(4, 9), 5)
    with pytest.raises(ValueError, match="holds no window of 0x0"):
        windows(image(4, 9), 0)


@pytest.mark.parametrize(("window", "stride"), FITTING)
def test_dense_pass_equals_every_window(window, stride):
    net, x = classifier(window, stride), image(23, 26, n=2)
    every = classify_windows(net, x, chunk=100)
    assert every.shape == (2, 4, 23 - window + 1, 26 - window + 1)
    torch.testing.assert_close(dense(net, x), every[..., ::stride, ::stride], rtol=0, atol=1e-12)
    assert every.std() > 0.01, "scores that hardly vary would make the equality empty"


@pytest.mark.parametrize(("window", "stride"), FITTING)
def test_shift_and_stitch_equals_stride_one_sliding(window, stride):
    net, x = classifier(window, stride), image(21, 24, n=2)
    torch.testing.assert_close(
        shift_and_stitch(net, x), classify_windows(net, x, chunk=100), rtol=0, atol=1e-12
    )


@given(st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_shift_and_stitch_is_exact_when_the_size_is_no_multiple_of_the_stride(down, right):
    net, x = classifier(13, stride=4, width=3), image(13 + down, 13 + right)
    torch.testing.assert_close(
        shift_and_stitch(net, x), classify_windows(net, x), rtol=0, atol=1e-12
    )


def test_shift_and_stitch_without_the_shifts_is_wrong():
    net, x = classifier(9, stride=2), image(16, 16)
    stretched = dense(net, x).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert (stretched - shift_and_stitch(net, x)).abs().max() > 0.01


def test_one_window_a_pixel_refuses_training_mode():
    with pytest.raises(ValueError, match=r"training mode.*call classifier.eval\(\) first"):
        classify_windows(classifier(5).train(), image(9, 9))


def test_one_window_alone_cannot_be_trained_on():
    with pytest.raises(ValueError, match=r"one window alone.*two windows or more"):
        classifier(9, stride=2).train()(image(9, 10))
    assert classifier(9, stride=2).train()(image(9, 11)).shape == (1, 4, 1, 2)


def test_in_training_mode_a_score_depends_on_the_rest_of_the_batch():
    net, x = classifier(5).train(), image(5, 5, n=4)
    assert (net(x)[:2] - net(x[:2])).abs().max() > 0.01


def test_the_chunk_bounds_memory_and_changes_no_score():
    net, x = classifier(5), image(9, 9)
    small, large = classify_windows(net, x, chunk=1), classify_windows(net, x, chunk=1000)
    torch.testing.assert_close(small, large, rtol=0, atol=1e-12)


def test_gradients_of_the_dense_pass_equal_those_of_every_window():
    net, x = classifier(7), image(12, 11)
    weights = list(net.parameters())
    slow = torch.autograd.grad(classify_windows(net, x).square().sum(), weights)
    fast = torch.autograd.grad(dense(net, x).square().sum(), weights)
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-9)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_reflection_equals_torchs_where_torch_allows_it(h, w, padding):
    x = image(h, w)
    padded = reflect_pad(x, padding)
    assert padded.shape == (1, 3, h + 2 * padding, w + 2 * padding)
    if padding < min(h, w):
        oracle = nn.functional.pad(x, (padding,) * 4, mode="reflect")
        assert torch.equal(padded, oracle)
    assert torch.equal(padded[..., padding : padding + h, padding : padding + w], x)


def test_reflection_of_a_tiny_image_goes_back_and_forth():
    x = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    assert reflect_pad(x, 3)[0, 0, 0].tolist() == [2, 1, 2, 1, 2, 1, 2, 1]


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (9, 1), (9, 2), (17, 4)])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (13, 10)])
def test_sliding_window_gives_logits_at_the_images_size(window, stride, size):
    logits = SlidingWindow(classifier(window, stride))(image(*size, n=2))
    assert logits.shape == (2, 4, *size)


@pytest.mark.parametrize(("window", "stride"), [(9, 1), (9, 2), (13, 4)])
def test_sliding_window_scores_each_pixel_from_the_window_around_it(window, stride):
    net, x = classifier(window, stride), image(18, 19)
    logits, half = SlidingWindow(net)(x), window // 2
    r, c = 9, 10
    around = x[:, :, r - half : r + half + 1, c - half : c + half + 1]
    torch.testing.assert_close(logits[:, :, r, c], net(around)[..., 0, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [5, 9, 15])
def test_padded_twin_equals_the_dense_pass_where_the_window_lies_inside(window):
    net, x, half = classifier(window), image(22, 25), window // 2
    inside = padded_twin(net).layers(x)[..., half : 22 - half, half : 25 - half]
    torch.testing.assert_close(inside, dense(net, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [1, 3, 5, 9, 15, 19])
def test_zero_padding_in_every_layer_breaks_a_border_strip_of_the_predicted_width(window):
    net, x = classifier(window, width=12), image(24, 27)
    strip = border_strip(net)
    first = kernel_sizes(window)[0]
    assert strip == (window - first) // 2
    expected = torch.ones(1, 24, 27, dtype=torch.bool)
    expected[:, strip : 24 - strip, strip : 27 - strip] = False
    assert torch.equal(differs(net, x), expected)


def test_padded_twin_needs_stride_one():
    with pytest.raises(ValueError, match=r"padded twin needs stride 1.*has 2"):
        padded_twin(classifier(9, stride=2))
    with pytest.raises(ValueError, match="needs stride 1"):
        border_strip(classifier(9, stride=2))


def test_padded_twin_leaves_the_classifier_unpadded():
    net = classifier(5)
    padded_twin(net)
    assert net(image(5, 5)).shape == (1, 4, 1, 1)


@given(st.integers(1, 9), st.integers(-10, 10), st.integers(-10, 10))
@settings(max_examples=60, deadline=None)
def test_shared_fraction_is_the_count_of_common_pixels(window, down, right):
    here = {(r, c) for r in range(window) for c in range(window)}
    there = {(r + down, c + right) for r, c in here}
    assert shared_fraction(window, (down, right)) == len(here & there) / window**2


@pytest.mark.parametrize(("window", "stride"), FITTING)
def test_multiply_adds_in_closed_form_equal_torchs_counter(window, stride):
    from torch.utils.flop_counter import FlopCounterMode

    net = classifier(window, stride)
    with FlopCounterMode(display=False) as counter:
        net(image(21, 24))
    assert 2 * sum(pass_multiply_adds(net, (21, 24))) == counter.get_total_flops()


@pytest.mark.parametrize(("window", "stride"), [(9, 1), (9, 2), (13, 4)])
def test_predicted_ratio_is_that_of_the_counted_operations(window, stride):
    from torch.utils.flop_counter import FlopCounterMode

    net, x = classifier(window, stride), image(22, 19)
    counts = []
    for way in (classify_windows, shift_and_stitch):
        with FlopCounterMode(display=False) as counter:
            way(net, x)
        counts.append(counter.get_total_flops())
    assert predicted_ratio(net, (22, 19)) == pytest.approx(counts[0] / counts[1], rel=1e-12)


def test_one_window_a_pixel_costs_over_a_hundred_dense_passes_at_31_pixels():
    net = PatchClassifier(31, num_classes=8, width=16)
    assert 100 < predicted_ratio(net, (256 + 30, 256 + 30)) < 31**2


def test_one_pixel_windows_have_nothing_to_share():
    assert predicted_ratio(PatchClassifier(1, num_classes=8), (64, 64)) == 1


@given(st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_full_resolution_net_keeps_any_size(h, w):
    net = FullResolutionNet(num_classes=5, widths=(4, 6)).eval()
    assert net(torch.zeros(2, 3, h, w)).shape == (2, 5, h, w)


def test_full_resolution_net_sees_two_pixels_more_a_layer():
    net = FullResolutionNet(num_classes=3, widths=(8, 8, 8))
    expected = torch.zeros(15, 15, dtype=torch.bool)
    expected[4:11, 4:11] = True
    assert torch.equal(gradient_support(net, (15, 15), (7, 7)), expected)


def test_full_resolution_net_needs_a_layer():
    with pytest.raises(ValueError, match="widths is empty"):
        FullResolutionNet(num_classes=3, widths=())


@pytest.mark.parametrize(
    "build", [lambda: SlidingWindow(classifier(5).float()), lambda: FullResolutionNet(4, (16, 16))]
)
def test_a_model_learns_a_scene_that_its_window_can_decide(build):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 16, 16, generator=generator)
    # Horizontal against vertical change: no single pixel holds the answer, its neighbours do.
    across = (x[..., 1:, 1:] - x[..., 1:, :-1]).abs().sum(1)
    down = (x[..., 1:, 1:] - x[..., :-1, 1:]).abs().sum(1)
    labels = nn.functional.pad((across > down).long(), (1, 0, 1, 0), value=255)
    torch.manual_seed(0)
    model = build().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = nn.functional.cross_entropy(model(x), labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * 0.693, f"from {losses[0]:.3f} to {losses[-1]:.3f}; guessing is 0.693"
