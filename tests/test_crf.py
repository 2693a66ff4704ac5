"""Exact CRFs: filters against loops, energies by hand, mean field and Gibbs against all labelings.

All in float64; `enumerate_posterior` is the oracle, and is itself held to a plain loop.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse import crf
from segcourse.crf_exact import enumerate_posterior, labelings
from segcourse.gaussian_filters import (
    appearance,
    brute_force,
    from_matrix,
    kernel_matrix,
    normalized,
    separable,
    smoothness,
)
from segcourse.gibbs import gibbs, gibbs_marginals
from segcourse.grid_crf import contrast_grid, neighbours, plain_grid
from segcourse.labels import IGNORE
from segcourse.mean_field import free_energy, mean_field, parallel_updates, sequential_updates

SIZES = st.integers(1, 7)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def photo(N: int, H: int, W: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (N, 3, H, W), generator=seeded(seed), dtype=torch.uint8)


def small(seed: int, size=(3, 3), K: int = 2, strength: float = 1.0):
    """Unary (1, P, K) and pairwise matrix (1, P, P) of one random image."""
    H, W = size
    unary = crf.unary(random(1, K, H, W, seed=seed))
    features = [appearance(photo(1, H, W, seed), 3.0, 60.0), smoothness(H, W, 1.0)]
    return unary, crf.pair_matrix(features, [strength, 0.5 * strength])


# ---- filters


def test_the_appearance_kernel_is_the_formula_of_the_paper_pixel_by_pixel():
    image, sxy, srgb = photo(2, 2, 3), 4.0, 30.0
    K = kernel_matrix(appearance(image, sxy, srgb))
    for n, i, j in itertools.product(range(2), range(6), range(6)):
        (a, b), (c, d) = divmod(i, 3), divmod(j, 3)
        place = ((a - c) ** 2 + (b - d) ** 2) / (2 * sxy**2)
        color = ((image[n, :, a, b].double() - image[n, :, c, d].double()) ** 2).sum()
        expected = math.exp(-place - color.item() / (2 * srgb**2))
        assert K[n, i, j].item() == pytest.approx(expected, abs=1e-14)


@given(N=st.integers(1, 3), P=st.integers(1, 20), D=st.integers(1, 6), chunk=st.integers(1, 25))
@settings(deadline=None, max_examples=25)
def test_brute_force_is_a_product_with_the_whole_kernel_whatever_the_chunk(N, P, D, chunk):
    features, values = random(N, P, D, seed=1), random(N, P, 4, seed=2)
    expected = kernel_matrix(features) @ values
    assert (brute_force(features, chunk)(values) - expected).abs().max() < 1e-12
    shared = features[0]
    torch.testing.assert_close(brute_force(shared, chunk)(values)[0], expected[0])
    torch.testing.assert_close(from_matrix(kernel_matrix(features))(values), expected)


@given(H=SIZES, W=SIZES, sigma=st.floats(0.3, 9.0))
@settings(deadline=None, max_examples=25)
def test_separable_filter_equals_brute_force(H, W, sigma):
    values = random(2, H * W, 3)
    expected = brute_force(smoothness(H, W, sigma))(values)
    assert (separable(H, W, sigma)(values) - expected).abs().max() < 1e-12


def test_a_filter_is_its_own_transpose_and_its_gradient_is_itself():
    values = random(1, 12, 2).requires_grad_()
    filter, other = brute_force(smoothness(3, 4, 1.5), chunk=5), random(1, 12, 2, seed=3)
    (filter(values) * other).sum().backward()
    torch.testing.assert_close(values.grad, filter(other))


def test_normalized_is_the_kernel_between_two_roots_of_its_row_sums():
    K = kernel_matrix(appearance(photo(2, 3, 4), 3.0, 40.0))
    root = K.sum(2).pow(-0.5)
    expected = root[:, :, None] * K * root[:, None, :]
    values = random(2, 12, 5)
    assert (normalized(from_matrix(K))(values) - expected @ values).abs().max() < 1e-13


def test_weighted_filters_without_self_are_the_pair_matrix():
    features = [appearance(photo(1, 3, 4), 3.0, 40.0), smoothness(3, 4, 1.0)]
    matrix = crf.pair_matrix(features, [2.0, -0.5])
    filter = crf.weighted([crf.without_self(brute_force(f)) for f in features], [2.0, -0.5])
    values = random(1, 12, 3)
    assert (filter(values) - matrix @ values).abs().max() < 1e-13
    assert not matrix.diagonal(dim1=1, dim2=2).any()


def test_features_follow_the_image_s_dtype():
    assert appearance(photo(1, 2, 2), 3.0, 10.0).dtype == torch.float64
    assert appearance(photo(1, 2, 2).float(), 3.0, 10.0).dtype == torch.float32
    values = random(1, 4, 2).float()
    assert brute_force(appearance(photo(1, 2, 2), 3.0, 10.0))(values).dtype == torch.float32


# ---- energy


@pytest.mark.parametrize("K", [2, 3])
def test_energy_is_the_double_sum_over_pairs(K):
    unary, matrix = small(seed=4, size=(2, 3), K=K)
    mu = random(K, K)
    mu = mu + mu.T  # a general compatibility: its diagonal is not zero
    labels = torch.randint(0, K, (1, 6), generator=seeded(5))
    expected = sum(unary[0, i, labels[0, i]] for i in range(6))
    for i in range(6):
        for j in range(i):
            expected += mu[labels[0, i], labels[0, j]] * matrix[0, i, j]
    assert (crf.energy(unary, labels, from_matrix(matrix), mu) - expected).abs().max() < 1e-12


def test_the_self_term_changes_no_energy_under_potts():
    unary, matrix = small(seed=6)
    kept = matrix + torch.eye(9)
    labels = torch.randint(0, 2, (1, 9), generator=seeded(0))
    energies = [crf.energy(unary, labels, from_matrix(m), crf.potts(2)) for m in (matrix, kept)]
    torch.testing.assert_close(*energies)
    # Mean field does notice: it sees the pixel agree with itself.
    probs = [mean_field(unary, from_matrix(m), crf.potts(2))[0] for m in (matrix, kept)]
    assert (probs[0] - probs[1]).abs().max() > 0.01


def test_unary_is_what_cross_entropy_charges():
    logits = random(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5), generator=seeded(0))
    charged = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    picked = crf.unary(logits).gather(2, labels.flatten(1)[..., None]).sum()
    torch.testing.assert_close(picked, charged)
    assert torch.equal(crf.to_image(logits.flatten(2).transpose(1, 2), 4, 5), logits)


def test_rough_labels_become_scores_that_void_does_not_touch():
    labels = torch.tensor([[[0, 2, IGNORE]]])
    probs = crf.logits_from_labels(labels, 3, certainty=0.8).exp()[0, :, 0]
    expected = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(probs.T, expected)


# ---- the exact posterior


def test_enumeration_is_the_sum_over_every_labelling():
    unary, matrix = small(seed=7, size=(2, 2), K=3)
    post = enumerate_posterior(unary[0], matrix[0], crf.potts(3))
    total, marginals = 0.0, torch.zeros(4, 3, dtype=torch.float64)
    for labels in itertools.product(range(3), repeat=4):
        chosen = torch.tensor([labels])
        weight = crf.energy(unary, chosen, from_matrix(matrix), crf.potts(3)).neg().exp().item()
        total += weight
        for i, k in enumerate(labels):
            marginals[i, k] += weight
    assert post.log_partition.item() == pytest.approx(math.log(total), abs=1e-12)
    assert (post.marginals - marginals / total).abs().max() < 1e-13
    assert post.probs.sum().item() == pytest.approx(1, abs=1e-12)
    lowest = crf.energy(unary, post.best[None], from_matrix(matrix), crf.potts(3))
    assert lowest.item() == pytest.approx(post.energies.min().item(), abs=1e-12)
    assert len(labelings(9, 2)) == 512


# ---- mean field


@given(seed=st.integers(0, 10_000), strength=st.floats(-2.0, 2.0))
@settings(deadline=None, max_examples=20)
def test_kl_to_all_512_labelings_is_free_energy_plus_log_z_and_never_negative(seed, strength):
    unary, matrix = small(seed, strength=strength)
    mu, filter = crf.potts(2), from_matrix(matrix)
    post = enumerate_posterior(unary[0], matrix[0], mu)
    for probs in parallel_updates(unary, filter, mu, 3):
        q = probs[0][torch.arange(9), post.labelings].prod(1)  # Q of each labelling
        kl = (torch.xlogy(q, q) - q * post.probs.log()).sum()
        assert kl > -1e-12
        bound = free_energy(probs, unary, filter, mu)[0] + post.log_partition
        assert abs(kl - bound) < 1e-9


@given(seed=st.integers(0, 10_000), strength=st.floats(-4.0, 4.0), K=st.integers(2, 4))
@settings(deadline=None, max_examples=25)
def test_sequential_updates_never_raise_the_free_energy(seed, strength, K):
    unary, matrix = small(seed, size=(3, 4), K=K, strength=strength)
    mu = random(K, K, seed=seed)
    mu, filter = mu + mu.T, from_matrix(matrix)
    energies = [
        free_energy(probs, unary, filter, mu)[0].item()
        for probs in sequential_updates(unary, matrix, mu, 2)
    ]
    assert len(energies) == 1 + 2 * 12
    assert all(after <= before + 1e-10 for before, after in itertools.pairwise(energies))


def test_parallel_updates_with_a_kernel_that_repels_swing_between_two_states_forever():
    """Two pixels that want to differ, both leaning one way: each flips because the other did."""
    unary = crf.unary(torch.tensor([0.2, 0.0], dtype=torch.float64)[None, :, None, None])
    unary = unary.expand(1, 2, 2)
    matrix = -4 * (1 - torch.eye(2, dtype=torch.float64))
    mu, filter = crf.potts(2), from_matrix(matrix)
    *_, before, last = parallel_updates(unary, filter, mu, 101)
    assert (last - before).abs().max() > 0.9
    *_, again = parallel_updates(unary, filter, mu, 103)
    assert (again - last).abs().max() < 1e-9
    _, energies = mean_field(unary, filter, mu, 101)
    assert (energies.diff(dim=0) > 0).any()
    # One at a time they settle: one pixel takes each label.
    *_, settled = sequential_updates(unary, matrix, mu, 20)
    assert settled[0].argmax(1).tolist() in ([0, 1], [1, 0])
    assert free_energy(settled, unary, filter, mu) < energies.min()


def test_both_updates_end_where_every_pixel_answers_all_others():
    unary, matrix = small(seed=8)
    mu, filter = crf.potts(2), from_matrix(matrix)
    probs, energies = mean_field(unary, filter, mu, 200)
    assert (probs - torch.softmax(-unary - filter(probs) @ mu, 2)).abs().max() < 1e-10
    *_, other = sequential_updates(unary, matrix, mu, 100)
    assert (probs - other).abs().max() < 1e-8
    assert energies.shape == (201, 1)
    assert energies[-1] < energies[0]


def test_a_batch_is_its_images_one_by_one():
    logits, images = random(3, 2, 3, 4), photo(3, 3, 4)
    matrix = crf.pair_matrix([appearance(images, 3.0, 50.0)], [2.0])
    probs, energies = mean_field(crf.unary(logits), from_matrix(matrix), crf.potts(2))
    for n in range(3):
        one, energy = mean_field(crf.unary(logits[n, None]), from_matrix(matrix[n]), crf.potts(2))
        torch.testing.assert_close(one[0], probs[n])
        torch.testing.assert_close(energy[:, 0], energies[:, n])


def test_a_weight_of_zero_leaves_the_softmax_alone():
    unary, matrix = small(seed=9)
    probs, _ = mean_field(unary, from_matrix(0 * matrix), crf.potts(2))
    torch.testing.assert_close(probs, torch.softmax(-unary, 2))


# ---- Gibbs sampling


def test_gibbs_marginals_approach_those_of_all_labelings():
    """64 chains of 400 sweeps: nine standard errors of a worst-case coin are below 0.03."""
    unary, matrix = small(seed=10, K=2)
    post = enumerate_posterior(unary[0], matrix[0], crf.potts(2))
    chains = unary.expand(64, -1, -1)
    counted = gibbs_marginals(chains, matrix[0], crf.potts(2), 400, 20, seeded(0)).mean(0)
    short = gibbs_marginals(chains[:1], matrix[0], crf.potts(2), 4, 0, seeded(0)).mean(0)
    far = (counted - post.marginals).abs().max()
    assert far < 0.03
    assert far < (short - post.marginals).abs().max()
    # Mean field does not get there, however long it runs.
    probs, _ = mean_field(unary, from_matrix(matrix), crf.potts(2), 200)
    assert (probs[0] - post.marginals).abs().max() > 2 * far


def test_gibbs_draws_follow_their_generator_and_give_labels():
    unary, matrix = small(seed=11, K=3)
    one, other, third = (
        torch.stack(list(gibbs(unary, matrix, crf.potts(3), 5, seeded(s)))) for s in (1, 1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert one.shape == (6, 1, 9)
    assert set(one.unique().tolist()) <= {0, 1, 2}


# ---- the grid


@given(H=SIZES, W=SIZES, connectivity=st.sampled_from((4, 8)))
@settings(deadline=None, max_examples=25)
def test_grid_filters_are_the_sum_over_neighbours(H, W, connectivity):
    images, values = photo(2, H, W), random(2, H * W, 3)
    colors = images.double().flatten(2)
    plain, contrast = torch.zeros(2, 2, H * W, H * W, dtype=torch.float64)
    for i, j in itertools.product(range(H * W), repeat=2):
        down, right = abs(i // W - j // W), abs(i % W - j % W)
        near = {4: down + right == 1, 8: max(down, right) == 1}[connectivity]
        if near:
            far = ((colors[:, :, i] - colors[:, :, j]) ** 2).sum(1)
            plain[:, i, j] = 1 / math.hypot(down, right)
            contrast[:, i, j] = torch.exp(-far / (2 * 40.0**2)) / math.hypot(down, right)
    assert (plain_grid(H, W, connectivity)(values) - plain @ values).abs().max() < 1e-6
    found = contrast_grid(images, 40.0, connectivity)(values)
    assert (found - contrast @ values).abs().max() < 1e-12
    pairs = neighbours(H, W, connectivity)
    assert len(pairs) == (plain[0] > 0).sum() / 2
    assert (plain[0][pairs[:, 0], pairs[:, 1]] > 0).all()


def test_a_grid_crf_removes_speckle_and_thin_lines_alike():
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    labels[0, :, 5:] = 1
    labels[0, 4, 2] = 1  # speckle
    labels[0, 2, 5:] = 0  # a line of one pixel
    logits = crf.logits_from_labels(labels, 2, certainty=0.7)
    probs, _ = mean_field(crf.unary(logits), plain_grid(9, 9), crf.potts(2))
    refined = crf.to_image(probs, 9, 9).argmax(1)[0]
    assert refined[4, 2] == 0
    assert (refined[2, 6:] == 1).all()
    assert (refined[6:, 5:] == 1).all()  # the large region stays


# ---- where there is a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_everything_exact_runs_on_a_gpu_with_the_same_numbers():
    images, logits = photo(1, 3, 3), random(1, 2, 3, 3)
    found = []
    for device in ("cpu", "cuda"):
        unary = crf.unary(logits.to(device))
        features = [appearance(images.to(device), 3.0, 60.0), smoothness(3, 3, 1.0)]
        matrix = crf.pair_matrix(features, [1.0, 0.5])
        probs, energies = mean_field(unary, from_matrix(matrix), crf.potts(2))
        *_, one_by_one = sequential_updates(unary, matrix, crf.potts(2), 2)
        post = enumerate_posterior(unary[0], matrix[0], crf.potts(2))
        counted = gibbs_marginals(unary, matrix, crf.potts(2), 20, 2, seeded(0))
        grids = [plain_grid(3, 3, 8)(probs), contrast_grid(images.to(device), 40.0)(probs)]
        wide = [separable(3, 3, 2.0)(probs), normalized(brute_force(features[0]))(probs)]
        found.append([probs, energies, one_by_one, post.marginals, counted, *grids, *wide])
    for here, there in zip(*found, strict=True):
        assert (here - there.cpu()).abs().max() < 1e-9


# ---- bad input

U = torch.zeros(1, 6, 2, dtype=torch.float64)
M = torch.zeros(6, 6, dtype=torch.float64)
POTTS = crf.potts(2)
NAN = torch.full((1, 2, 2, 3), float("nan"))
F = from_matrix(M)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: smoothness(2, 3, 0.0), r"sxy is 0\.0: a sigma is a positive number of pixels"),
        (lambda: smoothness(2, 3, float("nan")), "sxy is nan"),
        (lambda: smoothness(0, 3, 1.0), "an image of 0x3 has no pixels"),
        (lambda: appearance(photo(1, 2, 2), 3.0, -1.0), r"srgb is -1\.0.*colour units"),
        (lambda: appearance(photo(1, 2, 2)[0], 3.0, 1.0), r"\(3, 2, 2\), need \(N, 3, H, W\)"),
        (lambda: appearance(NAN[:, [0, 0, 0]], 3.0, 1.0), "image holds NaN at 18 values"),
        (lambda: kernel_matrix(torch.zeros(8193, 1)), r"matrix of 0\.5 GiB, and at most 8192"),
        (lambda: kernel_matrix(torch.zeros(4)), r"features are \(4,\) torch.float32, need"),
        (lambda: brute_force(torch.zeros(4, 2).long()), "torch.int64, need floating point"),
        (lambda: brute_force(torch.zeros(4, 2), 0), "chunk is 0: give at least one row"),
        (
            lambda: brute_force(torch.zeros(65537, 2)),
            r"65537 points with each other, 4\.3e\+09 pairs.*segcourse\.permutohedral\.lattice",
        ),
        (lambda: brute_force(torch.zeros(4, 2))(torch.zeros(1, 5, 2)), r"need \(N, 4, L\)"),
        (
            lambda: brute_force(torch.zeros(2, 4, 2))(torch.zeros(3, 4, 2)),
            "values are for 3 images, the features for 2",
        ),
        (
            lambda: brute_force(torch.zeros(4, 2))(torch.zeros(1, 4, 2).int()),
            "values are torch.int32, need floating point",
        ),
        (lambda: separable(2, 2, 1.0)(torch.zeros(1, 5, 2)), r"need \(N, 4, L\)"),
        (lambda: separable(2, 2, -1.0), r"sxy is -1\.0"),
        (lambda: crf.unary(NAN), "logits hold NaN or infinity at 12 of 12 values"),
        (lambda: crf.unary(NAN[0]), r"logits are \(2, 2, 3\)"),
        (lambda: crf.unary(torch.zeros(1, 2, 2, 3).int()), "torch.int32, need floating point"),
        (lambda: crf.to_image(U, 2, 2), r"need \(N, 4, L\) for an image of 2x2"),
        (
            lambda: crf.logits_from_labels(torch.zeros(2, 2).long(), 2, 0.5),
            r"need \(N, H, W\): add a batch axis",
        ),
        (
            lambda: crf.logits_from_labels(torch.zeros(1, 2, 2).long(), 1, 0.5),
            "1 classes: a label map to refine has two or more",
        ),
        (
            lambda: crf.logits_from_labels(torch.zeros(1, 2, 2).long(), 4, 0.2),
            r"certainty of 0\.2 for 4 labels: give at least 0\.25",
        ),
        (
            lambda: crf.logits_from_labels(torch.zeros(1, 2, 2).long(), 4, 1.0),
            "less than 1 .nothing left to refine",
        ),
        (
            lambda: crf.logits_from_labels(torch.full((1, 2, 2), 7), 4, 0.5),
            r"labels hold 7 at 4 pixels, outside 0\.\.3",
        ),
        (lambda: crf.pair_matrix([], []), "0 kernels and 0 weights"),
        (lambda: crf.weighted([F], [1.0, 2.0]), "1 filters and 2 weights"),
        (
            lambda: crf.energy(U, torch.zeros(1, 5).long(), F, POTTS),
            r"labels are \(1, 5\) and the unary \(1, 6, 2\): need labels \(1, 6\)",
        ),
        (lambda: free_energy(U[:, :5], U, F, POTTS), r"probs are \(1, 5, 2\) and the unary"),
        (lambda: mean_field(U, from_matrix(M[:5, :5]), POTTS), r"for 5 points, need \(N, 5, L\)"),
        (lambda: mean_field(U, F, crf.potts(3)), r"compatibility is \(3, 3\), 2 labels need"),
        (
            lambda: mean_field(U, F, torch.tensor([[0.0, 1.0], [2.0, 0.0]])),
            r"not symmetric.*use \(mu \+ mu\.T\) / 2",
        ),
        (lambda: mean_field(U.long(), F, POTTS), r"the unary is \(1, 6, 2\) torch.int64"),
        (lambda: mean_field(U[0], F, POTTS), r"need floating point \(N, P, K\)"),
        (
            lambda: next(sequential_updates(U, M + torch.eye(6), POTTS, 1)),
            "symmetric with zeros on its diagonal",
        ),
        (
            lambda: next(sequential_updates(U, M[:5, :5], POTTS, 1)),
            r"the matrix is \(5, 5\) and the unary \(1, 6, 2\): need \(6, 6\) or \(1, 6, 6\)",
        ),
        (lambda: labelings(35, 2), r"2 labels on 35 pixels are 3\.4e\+10 labelings"),
        (lambda: labelings(0, 2), "0 pixels and 2 labels"),
        (lambda: enumerate_posterior(U, M, POTTS), r"need \(P, K\): one image, unary\[0\]"),
        (lambda: next(gibbs(U[0], M, POTTS, 1, seeded(0))), r"\(6, 2\), need \(N, P, K\)"),
        (
            lambda: gibbs_marginals(U, M, POTTS, 0, 3, seeded(0)),
            "0 sweeps after 3 of burn-in: count at least one",
        ),
        (lambda: plain_grid(2, 3, 6), "4 or 8 neighbours, not 6"),
        (lambda: plain_grid(2, 3)(torch.zeros(1, 5, 2)), r"need \(N, 6, L\) for a grid of 2x3"),
        (lambda: contrast_grid(photo(1, 2, 2), 0.0), r"srgb is 0\.0"),
        (lambda: contrast_grid(photo(1, 2, 2)[0], 9.0), r"the image is \(3, 2, 2\)"),
    ],
)
def test_bad_input_is_told_with_what_was_given_and_what_is_needed(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_float_labels_are_refused():
    with pytest.raises(TypeError, match=r"labels are torch\.float32, need integers"):
        crf.logits_from_labels(torch.zeros(1, 2, 2), 2, 0.5)
