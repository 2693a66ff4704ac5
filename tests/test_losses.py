"""The losses against torch's own and brute force in float64; class weights by hand."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse import losses
from segcourse.labels import IGNORE


def batch(seed=0, k=4, void=0.3, size=(2, 5, 6)):
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size[0], k, *size[1:], generator=g, dtype=torch.float64)
    labels = torch.randint(k, size, generator=g)
    labels[torch.rand(size, generator=g) < void] = IGNORE
    labels[0, 0, 0] = 0
    return logits.requires_grad_(), labels


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_cross_entropy_and_its_gradient_equal_torch_mean_reduction(seed, k, weighted):
    logits, labels = batch(seed, k)
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(k, generator=g, dtype=torch.float64) + 0.1 if weighted else None
    ours = losses.cross_entropy(logits, labels, weights)
    oracle = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    torch.testing.assert_close(ours, oracle, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(ours, logits), gradient(oracle, logits), atol=1e-12, rtol=0)


def test_cross_entropy_equals_minus_log_probability_pixel_by_pixel():
    logits, labels = batch()
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    total = norm = 0
    for n, r, c in (labels != IGNORE).nonzero().tolist():
        y = labels[n, r, c]
        total = total - weights[y] * logits[n, :, r, c].softmax(0)[y].log()
        norm = norm + weights[y]
    ours = losses.cross_entropy(logits, labels, weights)
    torch.testing.assert_close(ours, total / norm, atol=1e-12, rtol=0)


def test_scaling_all_weights_changes_nothing():
    logits, labels = batch()
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    a, b = (losses.cross_entropy(logits, labels, w) for w in (weights, 7 * weights))
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_cross_entropy_does_not_grow_with_the_image():
    logits, labels = batch()
    big = losses.cross_entropy(logits.repeat(1, 1, 3, 3), labels.repeat(1, 3, 3))
    torch.testing.assert_close(big, losses.cross_entropy(logits, labels), atol=1e-12, rtol=0)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.dice])
def test_all_void_batch_gives_zero_with_zero_gradient(loss):
    logits, labels = batch()
    value = loss(logits, torch.full_like(labels, IGNORE))
    assert value.item() == 0
    assert torch.equal(gradient(value, logits), torch.zeros_like(logits))


def test_batch_whose_classes_all_weigh_nothing_gives_zero_with_zero_gradient():
    logits, labels = batch()
    value = losses.cross_entropy(logits, labels, torch.zeros(4))
    assert value.item() == 0
    assert not gradient(value, logits).any()


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.dice])
def test_void_pixels_neither_count_nor_get_a_gradient(loss):
    logits, labels = batch()
    void = (labels == IGNORE)[:, None]
    other = (logits.detach() + 50 * void).requires_grad_()
    torch.testing.assert_close(loss(logits, labels), loss(other, labels), atol=1e-12, rtol=0)
    assert not (gradient(loss(logits, labels), logits) * void).any()


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.dice])
def test_uint8_labels_give_the_same_as_int64(loss):
    logits, labels = batch()
    assert torch.equal(loss(logits, labels.byte()), loss(logits, labels))


def test_half_precision_is_summed_in_float32():
    logits = torch.zeros(1, 2, 400, 400, dtype=torch.float16)  # the sum, 110904, overflows float16
    labels = torch.zeros(1, 400, 400).long()
    value = losses.cross_entropy(logits, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.6931472, abs=1e-5)


def test_gradients_of_dice_equal_finite_differences():
    logits, labels = batch(size=(2, 3, 2))
    assert torch.autograd.gradcheck(lambda x: losses.dice(x, labels), (logits,))


@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(0, 0.9))
@settings(max_examples=30, deadline=None)
def test_dice_equals_the_sums_of_its_definition(seed, k, void):
    logits, labels = batch(seed, k, void)
    probs = logits.softmax(1)
    each = []
    for c in range(k):
        overlap = size_p = size_g = 0.0
        for n, r, col in (labels != IGNORE).nonzero().tolist():
            p, g = probs[n, c, r, col].item(), float(labels[n, r, col] == c)
            overlap, size_p, size_g = overlap + p * g, size_p + p * p, size_g + g * g
        if size_g:
            each.append(1 - 2 * overlap / (size_p + size_g))
    assert losses.dice(logits, labels).item() == pytest.approx(sum(each) / len(each), abs=1e-12)


def test_dice_is_zero_for_a_perfect_and_one_for_a_wrong_prediction():
    labels = torch.tensor([[[0, 1], [1, 0]]])
    right = 1000 * F.one_hot(labels, 3).movedim(-1, 1).double()
    assert losses.dice(right, labels).item() == 0
    assert losses.dice(right.roll(1, 1), labels).item() == 1


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.dice])
def test_label_outside_the_classes_is_named(loss):
    logits, labels = batch()
    labels[0, 1, :2] = 9
    with pytest.raises(ValueError, match="labels hold 9 at 2 pixels"):
        loss(logits, labels)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.dice])
def test_sizes_that_differ_are_refused_with_both(loss):
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"\(2, 4, 5, 6\), labels \(2, 5, 5\).*resize"):
        loss(logits, labels[:, :, :5])


def test_float_labels_are_refused():
    logits, labels = batch()
    with pytest.raises(TypeError, match=r"labels are torch.float32"):
        losses.cross_entropy(logits, labels.float())


def test_weights_of_another_number_of_classes_are_refused():
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"weights are \(3,\), logits have 4 classes"):
        losses.cross_entropy(logits, labels, torch.ones(3))


# ---- a weight for each pixel


def pixel_weights(labels, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 5 * torch.rand(labels.shape, generator=g, dtype=torch.float64)


@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(0, 0.9))
@settings(max_examples=20, deadline=None)
def test_weighted_cross_entropy_equals_the_sum_over_pixels(seed, k, void):
    logits, labels = batch(seed, k, void)
    weights = pixel_weights(labels, seed)
    total = norm = 0
    for n, r, c in (labels != IGNORE).nonzero().tolist():
        total = total - weights[n, r, c] * logits[n, :, r, c].log_softmax(0)[labels[n, r, c]]
        norm = norm + weights[n, r, c]
    ours = losses.weighted_cross_entropy(logits, labels, weights)
    torch.testing.assert_close(ours, total / norm, atol=1e-12, rtol=0)


def test_weights_of_the_classes_spread_over_their_pixels_give_the_class_weighted_loss():
    logits, labels = batch()
    of_class = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    spread = of_class[labels.where(labels != IGNORE, 0)]
    ours = losses.weighted_cross_entropy(logits, labels, spread)
    oracle = losses.cross_entropy(logits, labels, of_class)
    torch.testing.assert_close(ours, oracle, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(ours, logits), gradient(oracle, logits), atol=1e-12, rtol=0)


def test_void_takes_no_part_whatever_its_weight_and_all_void_gives_zero():
    logits, labels = batch()
    weights = pixel_weights(labels)
    heavy = weights + 1e6 * (labels == IGNORE)
    ours, other = (losses.weighted_cross_entropy(logits, labels, w) for w in (weights, heavy))
    assert torch.equal(ours, other)
    assert not (gradient(ours, logits) * (labels == IGNORE)[:, None]).any()
    for void, w in ((torch.full_like(labels, IGNORE), weights), (labels, 0 * weights)):
        value = losses.weighted_cross_entropy(logits, void, w)
        assert value.item() == 0
        assert not gradient(value, logits).any()


def test_pixel_weights_of_another_shape_are_refused():
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"pixel_weights are \(2, 5, 5\), labels \(2, 5, 6\)"):
        losses.weighted_cross_entropy(logits, labels, torch.ones(2, 5, 5))


def test_label_counts_count_each_image_and_leave_void_out():
    _, labels = batch(size=(3, 6, 5))
    counts = losses.label_counts(labels.byte(), 4)
    for n, c in torch.cartesian_prod(torch.arange(3), torch.arange(4)).tolist():
        assert counts[n, c] == sum(y == c for y in labels[n].flatten().tolist())


def test_label_statistics_read_images_of_any_size():
    class Data(list):
        classes = ("a", "b", "c")

    maps = [torch.tensor([[0, 1, 1]]), torch.tensor([[2, IGNORE], [2, 0]])]
    data = Data((torch.zeros(3, *y.shape, dtype=torch.uint8), y) for y in maps)
    assert losses.label_statistics(data).tolist() == [[1, 2, 0], [1, 0, 2]]
    with pytest.raises(ValueError, match="holds no image"):
        losses.label_statistics(Data())


def test_median_frequency_counts_only_the_images_where_a_class_is_present():
    # Class 1 is 30 of the 100 pixels of the one image that has it, not of all 200.
    counts = torch.tensor([[50, 30, 20, 0], [100, 0, 0, 0]])
    weights = losses.median_frequency_weights(counts)
    # freq: 150/200, 30/100, 20/100; median 30/100; class 3 is nowhere.
    expected = torch.tensor([0.3 / 0.75, 1.0, 0.3 / 0.2, 0.0])
    torch.testing.assert_close(weights, expected, atol=1e-7, rtol=0)


def test_median_of_an_even_number_of_classes_is_the_mean_of_the_middle_two():
    weights = losses.median_frequency_weights(torch.tensor([[10, 20, 30, 40]]))
    expected = 0.25 / torch.tensor([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=0)


def test_median_frequency_of_no_pixels_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) with sum 0"):
        losses.median_frequency_weights(torch.zeros(2, 3))


def test_dice_keeps_three_tensors_of_the_size_of_the_logits_for_backward():
    logits, labels = torch.randn(2, 5, 8, 8, requires_grad=True), torch.randint(5, (2, 8, 8))
    kept = {}

    def keep(x):
        kept[x.untyped_storage()._cdata] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = losses.dice(logits, labels)
    large = [x for x in kept.values() if x.numel() == logits.numel()]
    assert sum(x.nbytes for x in large) == 3 * logits.nbytes
    assert loss.requires_grad


def test_class_weights_need_no_float64_of_the_counts_device():
    class WithoutFloat64(torch.Tensor):  # as on Apple's GPUs
        def cpu(self):
            return self.as_subclass(torch.Tensor)

        def double(self):
            raise TypeError("no float64 here")

    counts = torch.tensor([[50, 30, 20], [100, 0, 0]])
    there = losses.median_frequency_weights(counts.as_subclass(WithoutFloat64))
    assert torch.equal(there, losses.median_frequency_weights(counts))
