"""The metrics against torchmetrics, scikit-learn, and brute force over pixels."""

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import classification as tm

from segcourse import metrics
from segcourse.labels import IGNORE

EXACT = {"atol": 1e-12, "rtol": 0, "equal_nan": True}


def maps(seed, k, size=(2, 9, 7), void=0.3, used=None):
    """Random predictions and labels; classes from `used` up occur in neither."""
    g = torch.Generator().manual_seed(seed)
    predictions = torch.randint(used or k, size, generator=g)
    labels = torch.randint(used or k, size, generator=g)
    labels[torch.rand(size, generator=g) < void] = IGNORE
    return predictions, labels


def known(predictions, labels):
    keep = labels != IGNORE
    return labels[keep].numpy(), predictions[keep].numpy()


cases = given(st.integers(0, 10**6), st.integers(2, 7), st.floats(0, 0.95))


@cases
@settings(max_examples=40, deadline=None)
def test_confusion_matrix_equals_torchmetrics_and_scikit_learn(seed, k, void):
    predictions, labels = maps(seed, k, void=void)
    cm = metrics.confusion_matrix(predictions, labels, k)
    assert cm.dtype == torch.int64
    oracle = tm.multiclass_confusion_matrix(predictions, labels, k, ignore_index=IGNORE)
    assert torch.equal(cm, oracle)
    truth, predicted = known(predictions, labels)
    if truth.size:
        oracle = sklearn.metrics.confusion_matrix(truth, predicted, labels=range(k))
        assert np.array_equal(cm.numpy(), oracle)


@cases
@settings(max_examples=40, deadline=None)
def test_every_number_equals_scikit_learn_with_void_and_absent_classes(seed, k, void):
    predictions, labels = maps(seed, k + 1, void=void, used=k)
    truth, predicted = known(predictions, labels)
    if not truth.size:
        return
    cm = metrics.confusion_matrix(predictions, labels, k + 1)
    present = np.union1d(truth, predicted)
    each = np.full(k + 1, math.nan)
    each[present] = sklearn.metrics.jaccard_score(
        truth, predicted, labels=present, average=None, zero_division=0
    )
    recall = sklearn.metrics.recall_score(
        truth, predicted, labels=range(k + 1), average=None, zero_division=math.nan
    )
    np.testing.assert_allclose(metrics.iou(cm).numpy(), each, **EXACT)
    np.testing.assert_allclose(metrics.mean_iou(cm), np.nanmean(each), **EXACT)
    np.testing.assert_allclose(metrics.class_accuracy(cm).numpy(), recall, **EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a predicted class without truth, which it leaves out
        balanced = sklearn.metrics.balanced_accuracy_score(truth, predicted)
    np.testing.assert_allclose(metrics.mean_class_accuracy(cm), balanced, **EXACT)
    accuracy = sklearn.metrics.accuracy_score(truth, predicted)
    np.testing.assert_allclose(metrics.pixel_accuracy(cm), accuracy, **EXACT)
    weighted = sklearn.metrics.jaccard_score(
        truth, predicted, labels=present, average="weighted", zero_division=0
    )
    np.testing.assert_allclose(metrics.frequency_weighted_iou(cm), weighted, **EXACT)


def test_iou_and_accuracies_equal_torchmetrics_where_every_class_occurs():
    predictions, labels = maps(3, 4, size=(3, 16, 16))
    cm = metrics.confusion_matrix(predictions, labels, 4)
    arguments = {"num_classes": 4, "ignore_index": IGNORE}
    for ours, oracle, average in [
        (metrics.iou(cm), tm.multiclass_jaccard_index, "none"),
        (metrics.mean_iou(cm), tm.multiclass_jaccard_index, "macro"),
        (metrics.frequency_weighted_iou(cm), tm.multiclass_jaccard_index, "weighted"),
        (metrics.class_accuracy(cm), tm.multiclass_accuracy, "none"),
        (metrics.mean_class_accuracy(cm), tm.multiclass_accuracy, "macro"),
        (metrics.pixel_accuracy(cm), tm.multiclass_accuracy, "micro"),
    ]:
        theirs = oracle(predictions, labels, average=average, **arguments)
        torch.testing.assert_close(
            torch.as_tensor(ours, dtype=torch.float64), theirs.double(), atol=1e-6, rtol=0
        )


def test_results_are_float64():
    cm = torch.tensor([[1, 2], [0, 3]])
    assert metrics.iou(cm).dtype == metrics.class_accuracy(cm).dtype == torch.float64
    assert metrics.iou(cm)[0].item() == 1 / 3  # to the last bit, which float32 would not give


def test_matrices_of_batches_add_up_to_the_matrix_of_the_set():
    predictions, labels = maps(0, 5, size=(6, 8, 8))
    whole = metrics.confusion_matrix(predictions, labels, 5)
    parts = [metrics.confusion_matrix(predictions[i:][:2], labels[i:][:2], 5) for i in (0, 2, 4)]
    assert torch.equal(whole, sum(parts))


def test_absent_class_is_nan_and_left_out_of_the_mean():
    labels = torch.tensor([[[0, 0, 1, IGNORE]]])
    cm = metrics.confusion_matrix(torch.tensor([[[0, 1, 1, 2]]]), labels, 3)
    each = metrics.iou(cm)
    assert each[2].isnan()
    assert each[:2].tolist() == [0.5, 0.5]
    assert metrics.mean_iou(cm) == 0.5


def test_predicted_class_without_truth_counts_zero_in_the_mean_iou():
    cm = metrics.confusion_matrix(torch.tensor([[[0, 2]]]), torch.tensor([[[0, 0]]]), 3)
    assert metrics.iou(cm)[[0, 2]].tolist() == [0.5, 0.0]
    assert metrics.mean_iou(cm) == 0.25
    assert metrics.frequency_weighted_iou(cm) == 0.5


def test_a_set_that_is_all_void_has_no_value():
    cm = metrics.confusion_matrix(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), IGNORE), 3)
    assert cm.sum() == 0
    for number in (
        metrics.mean_iou,
        metrics.pixel_accuracy,
        metrics.mean_class_accuracy,
        metrics.frequency_weighted_iou,
    ):
        assert math.isnan(number(cm))


def test_uint8_maps_count_as_int64_ones():
    predictions, labels = maps(1, 20)
    cm = metrics.confusion_matrix(predictions, labels, 20)
    small = metrics.confusion_matrix(predictions.byte(), labels.byte(), 20)
    assert torch.equal(cm, small)  # 20 * 19 + 19 does not fit in uint8


def test_per_image_mean_is_another_number_than_the_mean_over_the_set():
    # One image all right, one with a single-pixel object missed: the set hardly notices.
    labels = torch.zeros(2, 10, 10).long()
    labels[0, :5], labels[1, 0, 0] = 1, 1
    predictions = labels.clone()
    predictions[1, 0, 0] = 0
    of_set = metrics.mean_iou(metrics.confusion_matrix(predictions, labels, 2))
    of_images = metrics.mean_iou_per_image(predictions, labels, 2)
    assert of_set == pytest.approx((149 / 150 + 50 / 51) / 2, abs=1e-12)
    assert of_images == pytest.approx((1 + (99 / 100 + 0) / 2) / 2, abs=1e-12)


def test_per_image_mean_leaves_out_an_image_that_is_all_void():
    predictions, labels = maps(2, 3)
    more = torch.cat([labels, torch.full_like(labels[:1], IGNORE)])
    same = metrics.mean_iou_per_image(torch.cat([predictions, predictions[:1]]), more, 3)
    assert same == metrics.mean_iou_per_image(predictions, labels, 3)


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
@settings(max_examples=40, deadline=None)
def test_trimap_equals_the_search_for_another_label_in_the_square_around(seed, width, size):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.tensor([0, 1, 3, IGNORE])[torch.randint(4, (2, 3, 3), generator=g)]
    labels = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, : size[0], : size[1]]
    expected = torch.zeros_like(labels, dtype=torch.bool)
    for n, r, c in np.ndindex(*labels.shape):
        around = labels[n, max(r - width, 0) : r + width + 1, max(c - width, 0) : c + width + 1]
        own = labels[n, r, c]
        expected[n, r, c] = own != IGNORE and bool((around != own).any())
    assert torch.equal(metrics.trimap(labels, width), expected)


def test_trimap_measures_from_both_edges_of_a_void_band():
    row = torch.tensor([0] * 6 + [IGNORE] * 3 + [1] * 6)
    band = metrics.trimap(row.expand(4, 15), 2)[0]
    assert band.nonzero().flatten().tolist() == [4, 5, 9, 10]


def test_trimap_iou_sees_a_border_error_that_mean_iou_hardly_sees():
    labels = torch.zeros(1, 32, 32).long()
    labels[:, :, 16:] = 1
    predictions = labels.roll(1, 2)
    predictions[:, :, 0] = 0  # the border is off by one pixel, all else is right
    whole = metrics.mean_iou(metrics.confusion_matrix(predictions, labels, 2))
    assert whole == pytest.approx((16 / 17 + 15 / 16) / 2, abs=1e-12)
    near = metrics.trimap_iou(predictions, labels, 2, width=2)
    assert near == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-12)


def test_trimap_iou_is_the_same_summed_over_batches_and_nan_without_a_border():
    predictions, labels = maps(5, 3, size=(4, 8, 8), void=0)
    labels = labels[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2)
    parts = 0
    for p, y in zip(predictions, labels, strict=True):
        near = y.where(metrics.trimap(y, 1), IGNORE)
        parts = parts + metrics.confusion_matrix(p, near, 3)
    assert metrics.mean_iou(parts) == metrics.trimap_iou(predictions, labels, 3, 1)
    plain = torch.zeros_like(labels)
    assert math.isnan(metrics.trimap_iou(predictions, plain, 3, 1))


def test_float_predictions_are_refused_with_what_to_do():
    with pytest.raises(TypeError, match=r"predictions are torch.float32.*argmax"):
        metrics.confusion_matrix(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2).long(), 2)


def test_logits_instead_of_classes_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"1x5x2x2, labels 1x2x2.*argmax"):
        metrics.confusion_matrix(torch.zeros(1, 5, 2, 2).long(), torch.zeros(1, 2, 2).long(), 5)


def test_label_outside_the_classes_is_refused_with_value_and_count():
    labels = torch.tensor([[[0, 7], [7, 1]]])
    with pytest.raises(ValueError, match=r"labels hold 7 at 2 pixels"):
        metrics.confusion_matrix(torch.zeros_like(labels), labels, 2)


def test_prediction_outside_the_classes_is_refused_but_not_on_void():
    predictions = torch.tensor([[[0, 9], [IGNORE, 1]]])
    labels = torch.tensor([[[0, 1], [IGNORE, 1]]])
    with pytest.raises(ValueError, match=r"predictions hold \[9\] at 1 pixels, outside 0..1"):
        metrics.confusion_matrix(predictions, labels, 2)
    labels[0, 0, 1] = IGNORE
    assert metrics.confusion_matrix(predictions, labels, 2).tolist() == [[1, 0], [0, 1]]


def test_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="2x3"):
        metrics.iou(torch.zeros(2, 3))


def test_trimap_of_no_width_is_refused():
    with pytest.raises(ValueError, match="width is 0 px, at least 1"):
        metrics.trimap(torch.zeros(1, 4, 4).long(), 0)


class WithoutFloat64(torch.Tensor):
    """A tensor on a device that has no float64, as Apple's GPUs."""

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def double(self):
        raise TypeError("no float64 here")


def test_metrics_need_no_float64_of_the_matrix_device():
    cm = torch.tensor([[3, 1], [0, 4]])
    there = cm.as_subclass(WithoutFloat64)
    assert metrics.mean_iou(there) == metrics.mean_iou(cm)
    assert metrics.pixel_accuracy(there) == metrics.pixel_accuracy(cm)
    assert metrics.frequency_weighted_iou(there) == metrics.frequency_weighted_iou(cm)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_counts_and_trimap_equal_the_cpu():
    predictions, labels = maps(8, 6, size=(2, 32, 32))
    cm = metrics.confusion_matrix(predictions.cuda(), labels.cuda(), 6)
    assert cm.is_cuda
    assert torch.equal(cm.cpu(), metrics.confusion_matrix(predictions, labels, 6))
    assert torch.equal(metrics.trimap(labels.cuda(), 3).cpu(), metrics.trimap(labels, 3))
