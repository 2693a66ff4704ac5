"""The permutohedral lattice: its geometry exactly, its filter against the exact sum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse import permutohedral, simplex
from segcourse.permutohedral import Lattice, _neighbours, lattice, weighted_bags
from segcourse.simplex import _elevation, corner_places, simplices


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def filtered(features, values):
    """(P, L) of one image through the lattice."""
    return lattice(features)(values[None])[0]


def points(count, d, spread=3.0, seed=0, dtype=torch.float64):
    return spread * torch.rand(count, d, generator=generator(seed), dtype=dtype)


def exact(features, values):
    """The sum over all pairs that the lattice approximates."""
    return torch.exp(-0.5 * torch.cdist(features, features).square()) @ values


def smooth_photograph(height, width, sxy, srgb):
    """Features of a picture with soft colour gradients, two objects and a little noise."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    colour = torch.stack([4 * x, 3 * y, 2 * (x + y)], -1)
    colour[(x - 10) ** 2 + (y - 12) ** 2 < 50] += torch.tensor([60.0, -20.0, 30.0])
    colour[(x > 18) & (y > 15)] -= torch.tensor([30.0, 10.0, 40.0])
    colour += 4 * torch.randn(height, width, 3, generator=generator(1), dtype=torch.float64)
    xy = torch.stack([x, y], -1)
    return torch.cat([xy / sxy, colour / srgb], -1).flatten(0, 1)


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 7),
    count=st.integers(1, 40),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.01, 1.0, 50.0]),
)
def test_weights_of_a_simplex_give_its_point_back(d, count, seed, spread):
    features = points(count, d, spread, seed) - spread / 2
    found = simplices(features[None])
    assert found.weights.min() >= -1e-12
    torch.testing.assert_close(found.weights.sum(0), torch.ones(count, dtype=torch.float64))
    # Names to coordinates: digits from the largest radix down, the last digit is the remainder.
    corners = found.corners.long()
    remainder = corners % (d + 1)
    assert (remainder == torch.arange(d + 1)[:, None]).all()
    rest, quotients = corners.clone(), []
    for radix in reversed(found.radix[1:]):
        quotients.append(rest // radix)
        rest = rest % radix
    coordinates = torch.stack(quotients[::-1]) * (d + 1) + remainder  # but for constants
    inside = (coordinates[:, :, found.simplex] * found.weights).sum(1)
    # The same affine map takes every point to its place: differences between points agree.
    expected = (_elevation(d, features) @ features.T)[1:] * (d + 1)
    torch.testing.assert_close(
        inside - inside[:, :1], expected - expected[:, :1], atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("d", [1, 2, 5])
def test_weights_of_the_lattice_s_rows_give_every_point_back(d):
    features = points(40, d)
    built, places = Lattice(features[None]), corner_places(features)
    assert len(places) == built.rows
    back = (built.slice_weights[..., None] * places[built.index]).sum(1)
    torch.testing.assert_close(back, features, atol=1e-10, rtol=0)


def test_in_the_plane_the_corners_are_those_of_triangles_of_side_one():
    features = points(40, 2)
    corners = corner_places(features)[Lattice(features[None]).index]  # (P, 3, 2)
    sides = (corners - corners.roll(1, 1)).norm(dim=2)
    torch.testing.assert_close(sides, torch.ones_like(sides), atol=1e-10, rtol=0)


def test_points_of_a_simplex_are_listed_once():
    found = simplices(points(500, 3)[None])
    assert found.order.sort().values.equal(torch.arange(500))
    for u in range(found.corners.shape[1]):
        inside = found.order[found.start[u] : found.start[u + 1]]
        assert len(inside) > 0
        assert (found.simplex[inside] == u).all()
    assert len(torch.unique(found.corners, dim=1).T) == found.corners.shape[1]


def test_every_step_along_an_axis_has_its_step_back():
    built = Lattice(points(300, 4)[None])
    for axis in built.axes:
        me, ahead, behind = axis.long().unbind(1)
        there = ahead < built.rows
        assert there.any()
        assert behind[ahead[there]].equal(me[there])
        assert not (ahead[there] == me[there]).any()


@pytest.mark.parametrize("way", ["_from_table", "_searched"])  # the CPU's and a GPU's
def test_neighbours_are_those_that_a_dictionary_finds(way, monkeypatch):
    monkeypatch.setattr(permutohedral, "_from_table", getattr(permutohedral, way))
    # Names so far apart that many share a place in the table, and are searched for.
    radix = [0, 3, 300]
    names = torch.randint(2000, 30000, (1500,), generator=generator()).unique()
    rows = {name: row for row, name in enumerate(names.tolist())}
    assert len((names % (8 * len(names) + 1)).unique()) < len(names)
    for j, axis in enumerate(_neighbours(names, radix)):
        wanted = [name + (301 if name % 3 == 2 else 1) - radix[j] for name in rows]
        ahead = [rows.get(name, len(rows)) for name in wanted]
        assert axis[:, 0].tolist() == list(range(len(rows) + 1))
        assert axis[:, 1].tolist() == [*ahead, len(rows)]
        places = {there: row for row, there in enumerate(ahead) if there < len(rows)}
        assert axis[:, 2].tolist() == [places.get(row, len(rows)) for row in range(len(rows) + 1)]


def test_filter_is_that_of_a_dense_lattice_matrix():
    # Splat, blur and slice written down as matrices, from the weights and neighbours alone.
    features = points(60, 3)
    built = Lattice(features[None])
    splat = torch.zeros(built.rows + 1, 60, dtype=torch.float64)
    found = simplices(features[None])
    for pixel in range(60):
        for k in range(4):
            splat[built.index[pixel, k], pixel] += found.weights[k, pixel]
    matrix = splat
    for axis in built.axes:
        blur = torch.zeros(built.rows + 1, built.rows + 1, dtype=torch.float64)
        for me, ahead, behind in axis.tolist():
            for row, tap in ((me, 1.0), (ahead, 0.5), (behind, 0.5)):
                blur[me, row] += tap
        blur[-1] = 0
        matrix = blur @ matrix
    matrix = splat.T @ matrix
    values = torch.rand(60, 5, generator=generator(), dtype=torch.float64)
    ratio = filtered(features, values) / (matrix @ values)
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("d", "mean"), [(1, 0.02), (2, 0.03), (3, 0.04), (4, 0.06), (5, 0.09)])
def test_filter_is_near_the_exact_sum_where_points_are_dense(d, mean):
    features = points(2500, d, spread=4.0)
    ones = torch.ones(2500, 1, dtype=torch.float64)
    error = filtered(features, ones) / exact(features, ones) - 1
    assert error.abs().mean() < mean


def test_normalized_filters_agree_on_a_picture():
    # What mean field uses. On average 3 %; single pixels between lattice points are far off.
    features = smooth_photograph(32, 32, 20, 13)
    ones = torch.ones(1024, 1, dtype=torch.float64)
    values = torch.rand(1024, 4, generator=generator(), dtype=torch.float64)
    results = []
    for filter in (lambda v: filtered(features, v), lambda v: exact(features, v)):
        scale = filter(ones).rsqrt()
        results.append(scale * filter(scale * values))
    error = (results[0] / results[1] - 1).abs()
    assert error.mean() < 0.06


@pytest.mark.parametrize("spread", [0.0, 2.0, 30.0])  # all in one simplex, crowded, alone
@pytest.mark.parametrize("longest", [1, 7, 128, 10_000])
def test_splat_in_parts_is_the_splat(longest, spread):
    features = points(500, 3, spread)[None]
    whole, cut = Lattice(features), Lattice(features, longest=longest)
    values = torch.randn(500, 4, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(cut.splat(values), whole.splat(values), atol=1e-12, rtol=1e-12)
    begin = cut.parts[0].long()
    assert begin.diff().min() >= 0
    assert begin.diff().max() <= longest
    assert begin[-1] == 4 * 500


@pytest.mark.parametrize("d", [2, 5])
def test_lattice_of_a_gpu_is_that_of_a_cpu(d, monkeypatch):
    # Each choice between the two is taken the other way: no groups, searches, parts.
    features = torch.stack([points(300, d, 1.5, seed) for seed in (1, 2)])
    values = torch.randn(600, 3, generator=generator(), dtype=torch.float64)
    one = Lattice(features, symmetric=True)
    monkeypatch.setattr(simplex, "_often_shared", lambda code: False)
    monkeypatch.setattr(permutohedral, "_from_table", permutohedral._searched)
    monkeypatch.setattr(Lattice, "_blur_column", lambda self, mass: self.blur(mass[:, None]))
    other = Lattice(features, symmetric=True, longest=16)
    assert one.rows == other.rows
    results = [built.slice(built.blur(built.splat(values))) for built in (one, other)]
    torch.testing.assert_close(*results, atol=1e-12, rtol=1e-12)


def test_filter_is_linear():
    features = points(200, 5)[None]
    filter = lattice(features)
    a, b = torch.randn(2, 1, 200, 3, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(
        filter(2 * a - 3 * b), 2 * filter(a) - 3 * filter(b), atol=1e-12, rtol=1e-12
    )


def test_backward_is_the_adjoint():
    # <g, F v> = <F* g, v>, in float64 to rounding. F is not symmetric: the blurs have an order.
    filter = lattice(points(300, 5))
    v, g = torch.randn(2, 1, 300, 4, generator=generator(), dtype=torch.float64)
    v.requires_grad_()
    out = filter(v)
    (back,) = torch.autograd.grad(out, v, g)
    torch.testing.assert_close((g * out).sum(), (back * v).sum(), atol=1e-10, rtol=1e-12)


def test_gradients_of_first_and_second_order():
    filter = lattice(points(12, 3)[None])
    values = torch.randn(1, 12, 2, generator=generator(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(filter, values)
    assert torch.autograd.gradgradcheck(lambda v: filter(v).square(), values)


def test_symmetric_lattice_is_the_normalized_filter():
    features = points(400, 5)
    built = Lattice(features[None], symmetric=True)
    values = torch.rand(400, 3, generator=generator(), dtype=torch.float64)
    scale = filtered(features, torch.ones(400, 1, dtype=torch.float64)).rsqrt()
    torch.testing.assert_close(
        built.slice(built.blur(built.splat(values))),
        scale * filtered(features, scale * values),
        atol=1e-12,
        rtol=1e-12,
    )


def test_images_of_a_batch_do_not_hear_each_other():
    features = torch.stack([points(150, 5, seed=1), points(150, 5, seed=2)])
    values = torch.rand(2, 150, 3, generator=generator(), dtype=torch.float64)
    together = lattice(features)(values)
    for n in range(2):
        torch.testing.assert_close(
            together[n], filtered(features[n], values[n]), atol=1e-12, rtol=1e-12
        )


def test_one_point_filters_to_itself_up_to_the_gain():
    # In the middle of a cell the interpolation, twice, takes more than half of a lone point.
    value = filtered(torch.zeros(1, 2), torch.ones(1, 1))
    assert 0.5 < value.item() < 1.2


def test_filter_is_the_same_at_every_call_and_number_of_threads():
    features = points(3000, 5, dtype=torch.float32)
    values = torch.rand(3000, 7, generator=generator())
    first = filtered(features, values)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert filtered(features, values).equal(first)
    finally:
        torch.set_num_threads(threads)


def test_names_that_32_bits_do_not_hold():
    # The trap: a 0-dimensional int64 tensor times an int32 tensor is int32, and wraps silently.
    near = points(200, 5, dtype=torch.float64)
    far = torch.cat([near, near + 400])  # two clusters: digits for the space between them
    assert simplices(near[None]).corners.dtype == torch.int32
    found = simplices(far[None])
    assert found.corners.dtype == torch.int64
    assert found.corners.max() > 2**31
    assert found.corners.min() >= 0
    values = torch.rand(200, 2, generator=generator(), dtype=torch.float64)
    both = filtered(far, torch.cat([values, values]))
    # Neither hears the other. They lie differently in the lattice: as near as its own error.
    torch.testing.assert_close(both[:200], filtered(near, values), atol=1e-9, rtol=1e-9)


def test_names_that_64_bits_do_not_hold_are_refused():
    with pytest.raises(ValueError, match="more than 64 bits number: divide features by larger"):
        lattice(torch.tensor([[0.0] * 8, [1e4] * 8]))


def test_points_whose_simplices_64_bits_do_not_number():
    # In 12 dimensions corners still fit, simplices do not: each point is one of its own.
    features = points(50, 12, spread=1.0)
    found = simplices(features[None])
    assert found.simplex.equal(torch.arange(50))
    values = torch.rand(50, 2, generator=generator(), dtype=torch.float64)
    matrix = filtered(features, torch.eye(50, dtype=torch.float64))
    torch.testing.assert_close(filtered(features, values), matrix @ values, atol=1e-12, rtol=1e-12)
    assert (matrix.diagonal() > 0).all()


def test_weighted_bags_is_the_loop():
    table = torch.randn(6, 3, generator=generator(), dtype=torch.float64)
    index = torch.tensor([0, 5, 2, 2], dtype=torch.int32)
    weights = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    start = torch.tensor([0, 3, 3, 4], dtype=torch.int32)
    expected = torch.stack(
        [table[0] + 2 * table[5] - table[2], torch.zeros(3).double(), 0.5 * table[2]]
    )
    torch.testing.assert_close(weighted_bags(table, index, weights, start), expected)


def test_one_set_of_points_serves_all_images():
    features = points(80, 2)
    values = torch.rand(3, 80, 2, generator=generator(), dtype=torch.float64)
    together = lattice(features)(values)
    for n in range(3):
        torch.testing.assert_close(together[n], filtered(features, values[n]))


def test_values_keep_their_dtype():
    values = torch.rand(1, 80, 2, generator=generator())
    wide = lattice(points(80, 2))(values)
    assert wide.dtype == torch.float32
    narrow = lattice(points(80, 2).float())(values)
    torch.testing.assert_close(wide, narrow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(5), r"features are \(5,\), need \(P, d\)"),
        (torch.zeros(0, 3), r"features are \(0, 3\), need"),
        (torch.zeros(4, 2, dtype=torch.int64), "features are torch.int64: convert"),
        (torch.zeros(4, 2, dtype=torch.float16), "features are torch.float16: convert"),
        (torch.full((4, 2), torch.nan), "features hold NaN or infinity: a sigma of 0"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        lattice(features)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(4, 2), r"values are \(4, 2\) torch.float32, the filter is for 4 points"),
        (torch.zeros(2, 5, 2), r"need floating point \(N, 4, L\)"),
        (torch.zeros(2, 4, 2).long(), "torch.int64, the filter is for 4 points"),
        (torch.zeros(3, 4, 2), "values are for 3 images, the features for 2"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        lattice(torch.zeros(2, 4, 3))(values)


def test_autocast_does_not_round_places():
    features = points(300, 5, 60.0, dtype=torch.float32)
    values = torch.rand(1, 300, 3, generator=generator())
    expected = lattice(features)(values)
    with torch.autocast("cpu", torch.bfloat16):
        assert lattice(features)(values).equal(expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_filters_as_the_cpu():
    for spread in (0.5, 3.0, 60.0):  # long bags, and every point alone
        features = points(3000, 5, spread)
        values = torch.rand(1, 3000, 7, generator=generator(), dtype=torch.float64)
        on_gpu = lattice(features.cuda())(values.cuda()).cpu()
        torch.testing.assert_close(on_gpu, lattice(features)(values), atol=1e-9, rtol=1e-9)
