"""The dense CRF as a layer: gradients, equal paths, and the C++ package where it is installed."""

import numpy
import pytest
import torch
from torch.nn import functional as F

from segcourse import fused_mean_field
from segcourse.crf import potts, to_image, unary, weighted
from segcourse.dense_crf import DenseCRF
from segcourse.gaussian_filters import brute_force, normalized
from segcourse.mean_field import mean_field
from segcourse.permutohedral import lattice


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(height, width, images=1):
    """Colours that change slowly, with two objects and some noise."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([3 * x, 2 * y, 255 - 2 * x]).float().expand(images, 3, -1, -1).clone()
    image[:, 0, (x - width / 3) ** 2 + (y - height / 2) ** 2 < height * width / 16] += 90
    image[:, 1, (x > 0.7 * width) & (y > 0.3 * height)] += 70
    image += 5 * torch.randn(images, 3, height, width, generator=generator(1))
    return image.clamp(0, 255).to(torch.uint8)


def scores(height, width, labels, images=1, dtype=torch.float32):
    rough = 3 * torch.randn(images, labels, 6, 6, generator=generator(2), dtype=dtype)
    fine = torch.randn(images, labels, height, width, generator=generator(3), dtype=dtype)
    return F.interpolate(rough, (height, width), mode="bilinear") + fine


@pytest.mark.parametrize(
    "builders", [{}, {"appearance_filter": brute_force, "smoothness_filter": brute_force}]
)
def test_gradients_reach_logits_weights_and_compatibility(builders):
    crf = DenseCRF(3, sxy=5.0, srgb=40.0, iterations=2, **builders).double()
    logits = scores(4, 5, 3, images=2, dtype=torch.float64).requires_grad_()
    images = picture(4, 5, images=2)
    weights = crf.weights.detach().clone().requires_grad_()
    compatibility = crf.compatibility.detach().clone().requires_grad_()

    def layer(logits, weights, compatibility):
        parameters = {"weights": weights, "compatibility": compatibility}
        return torch.func.functional_call(crf, parameters, (logits, images))

    assert torch.autograd.gradcheck(layer, (logits, weights, compatibility))


@pytest.mark.parametrize("builder", [lattice, brute_force])
def test_layer_is_the_plain_mean_field(builder):
    crf = DenseCRF(
        4, sxy=9.0, iterations=5, appearance_filter=builder, smoothness_filter=builder
    ).double()
    logits, images = scores(13, 17, 4, 2, torch.float64), picture(13, 17, 2)
    filters = [normalized(builder(each)) for each in crf.features(images, torch.float64)]
    plain, _ = mean_field(unary(logits), weighted(filters, [10.0, 3.0]), potts(4), iterations=5)
    layer = crf(logits, images)
    torch.testing.assert_close(layer.exp(), to_image(plain, 13, 17), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("iterations", [0, 1, 4])
@pytest.mark.parametrize("images", [1, 3])
def test_fused_path_equals_the_differentiable_one(iterations, images):
    crf = DenseCRF(5, sxy=20.0, iterations=iterations).double()
    logits, photographs = scores(17, 23, 5, images, torch.float64), picture(17, 23, images)
    expected = crf(logits, photographs)
    assert expected.requires_grad or iterations == 0
    with torch.no_grad():
        fused = crf(logits, photographs)
    torch.testing.assert_close(fused, expected.detach(), atol=1e-10, rtol=1e-10)


def test_fused_path_with_another_compatibility_and_negative_weights():
    crf = DenseCRF(4, iterations=3).double()
    with torch.no_grad():
        crf.compatibility.copy_(torch.randn(4, 4, generator=generator(), dtype=torch.float64))
        crf.weights.copy_(torch.tensor([-2.0, 1.0]))
        logits, image = scores(14, 11, 4, dtype=torch.float64), picture(14, 11)
        fused = crf(logits, image)
    expected = crf(logits, image).detach()
    torch.testing.assert_close(fused, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("shift", [0.0, -1e4])  # with the plain softmax, and with the safe one
def test_a_large_image_in_pieces_gives_the_same_numbers(shift, monkeypatch):
    crf = DenseCRF(5, sxy=20.0, iterations=3).double()
    logits, photographs = scores(17, 23, 5, 2, torch.float64) + shift, picture(17, 23, 2)
    with torch.no_grad():
        whole = crf(logits, photographs)
        monkeypatch.setattr(fused_mean_field, "PIECE", 5 * 100)  # 8 pieces of 782 pixels
        pieces = crf(logits, photographs)
    torch.testing.assert_close(pieces, whole, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("grad", [False, True])
def test_autocast_leaves_the_layer_as_it_is(grad):
    crf, logits, image = DenseCRF(4), scores(20, 24, 4), picture(20, 24)
    with torch.set_grad_enabled(grad):
        expected = crf(logits, image)
        with torch.autocast("cpu", torch.bfloat16):
            found = crf(logits, image)
    assert found.dtype == torch.float32
    assert found.equal(expected)


def test_fused_softmax_survives_what_overflows_without_a_maximum():
    crf = DenseCRF(3, appearance_weight=3000.0, smoothness_weight=3000.0, iterations=3)
    with torch.no_grad():
        out = crf(1e4 * scores(16, 16, 3), picture(16, 16))
    assert torch.isfinite(out.logsumexp(1)).all()
    torch.testing.assert_close(out.logsumexp(1), torch.zeros(1, 16, 16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [-60.0, -80.0, -200.0, -1e4, 60.0, 100.0, 1e4])
def test_fused_scores_may_be_far_from_zero(shift):
    logits, image = scores(16, 16, 3), picture(16, 16)
    crf = DenseCRF(3, iterations=3)
    with torch.no_grad():
        expected = crf(logits, image)
        far = crf(logits + shift, image)
    torch.testing.assert_close(far.exp(), expected.exp(), atol=abs(shift) * 1e-6 + 1e-5, rtol=0)


def test_log_marginals_are_distributions():
    out = DenseCRF(6)(scores(20, 15, 6), picture(20, 15))
    assert out.shape == (1, 6, 20, 15)
    torch.testing.assert_close(out.logsumexp(1), torch.zeros(1, 20, 15), atol=1e-5, rtol=0)


def test_labels_of_lattice_and_exact_filters_agree():
    # Both filters in the same layer: what the lattice's error costs where it counts.
    logits, image = scores(40, 40, 8), picture(40, 40)
    with torch.no_grad():
        fast = DenseCRF(8, sxy=30.0)(logits, image)
        slow = DenseCRF(8, sxy=30.0, appearance_filter=brute_force, smoothness_filter=brute_force)(
            logits, image
        )
    assert (fast.argmax(1) == slow.argmax(1)).float().mean() > 0.95
    assert (fast.exp() - slow.exp()).abs().mean() < 0.01


def test_whole_numbers_are_weights_too():
    crf = DenseCRF(3, appearance_weight=4, sxy=5, srgb=20, smoothness_weight=1, sxy_smooth=2)
    assert crf.weights.tolist() == [4.0, 1.0]
    assert crf.weights.requires_grad


def test_weights_of_zero_leave_the_softmax():
    logits, image = scores(9, 9, 4), picture(9, 9)
    crf = DenseCRF(4, appearance_weight=0.0, smoothness_weight=0.0)
    with torch.no_grad():
        out = crf(logits, image)
    torch.testing.assert_close(out, F.log_softmax(logits, 1), atol=1e-5, rtol=1e-5)


def test_runs_are_equal_to_the_bit():
    logits, image = scores(30, 30, 21), picture(30, 30)
    crf = DenseCRF(21)
    with torch.no_grad():
        assert crf(logits, image).equal(crf(logits, image))


def test_smooths_away_a_lone_wrong_pixel_and_keeps_the_colour_edge():
    image = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
    image[..., 12:] = 200
    truth = torch.zeros(24, 24, dtype=torch.int64)
    truth[:, 12:] = 1
    noisy = truth.clone()
    noisy[5, 5], noisy[20, 20] = 1, 0
    logits = 2 * F.one_hot(noisy, 2).movedim(-1, 0)[None].float()
    with torch.no_grad():
        assert DenseCRF(2)(logits, image).argmax(1)[0].equal(truth)


def test_agrees_with_the_cpp_package():
    # 0.999 of labels and Q within 1e-2; ties in exactly equal scores are not met here.
    densecrf = pytest.importorskip("pydensecrf.densecrf")
    height, width, labels = 96, 120, 21
    logits, image = scores(height, width, labels), picture(height, width)
    for sxy, srgb, weight in ((80, 13, 10), (67, 3, 4)):
        peer = densecrf.DenseCRF2D(width, height, labels)
        peer.setUnaryEnergy((-logits[0].flatten(1)).numpy().copy())
        peer.addPairwiseGaussian(sxy=3, compat=3)
        rgb = image[0].permute(1, 2, 0).contiguous().numpy()
        peer.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=rgb, compat=weight)
        theirs = torch.from_numpy(numpy.array(peer.inference(10))).view(labels, height, width)
        crf = DenseCRF(labels, float(weight), float(sxy), float(srgb), iterations=10)
        with torch.no_grad():
            ours = crf(logits, image)[0].exp()
        assert (ours.argmax(0) == theirs.argmax(0)).float().mean() >= 0.999
        assert (ours - theirs).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("logits", "images", "message"),
    [
        (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4, 4), r"logits have shape \(1, 3, 4\): give"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), r"give \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 4, 4).double(), torch.zeros(1, 3, 4, 4), "logits are torch.float64"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5), r"need \(1, 3, 4, 4\); resize"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4), r"need \(1, 3, 4, 4\); resize"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), "images are torch.float32: give uint8"),
        (torch.full((1, 3, 4, 4), torch.nan), None, "logits hold NaN or infinity at 48 places"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(logits, images, message):
    if images is None:
        images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=message):
        DenseCRF(3)(logits, images)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_with_and_without_gradients(dtype, grad):
    crf, images = DenseCRF(3).to(dtype), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match=r"call float\(\) on"):
        crf(torch.zeros(1, 3, 4, 4, dtype=dtype), images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sxy": 0.0}, "sxy is 0.0: a sigma is a positive number of pixels"),
        ({"srgb": -1.0}, "srgb is -1.0"),
        ({"sxy_smooth": float("nan")}, "sxy_smooth is nan"),
        ({"num_labels": 1}, "num_labels is 1: a choice takes 2 or more"),
        ({"iterations": -1}, "iterations is -1: give 0 or more"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(**{"num_labels": 3, **arguments})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("grad", [False, True])
def test_gpu_refines_as_the_cpu(grad):
    flat = picture(30, 40)
    flat[..., :20] = 90  # one colour: a few lattice points have most of the pixels
    logits = scores(30, 40, 7, 2, torch.float64)
    images = torch.cat([picture(30, 40), flat])
    crf = DenseCRF(7).double()
    with torch.set_grad_enabled(grad):
        on_cpu = crf(logits, images).detach()
        on_gpu = crf.cuda()(logits.cuda(), images.cuda()).detach().cpu()
    torch.testing.assert_close(on_gpu.exp(), on_cpu.exp(), atol=1e-9, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gradients_are_those_of_the_cpu():
    found = []
    for device in ("cpu", "cuda"):
        crf = DenseCRF(4, sxy=5.0, srgb=40.0).double().to(device)
        logits = scores(12, 15, 4, dtype=torch.float64).to(device).requires_grad_()
        crf(logits, picture(12, 15).to(device))[:, 0].sum().backward()
        found.append([logits.grad, crf.weights.grad, crf.compatibility.grad])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, atol=1e-9, rtol=1e-9)
