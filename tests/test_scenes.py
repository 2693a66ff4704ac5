"""The scenes keep every promise that the course's experiments rest on."""

import hashlib
import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcourse.data import Scene, Scenes, scene
from segcourse.data.layout import BAR_LABEL, PLAZA, POND, clearing_radius
from segcourse.data.shapes import BAR, CROSS, DISC, SQUARE, TRIANGLE, Draws, rasterize
from segcourse.labels import IGNORE, SCENES

SHAPES = range(1, 5)


@pytest.fixture(scope="module")
def many() -> list[Scene]:
    return [scene(0, i) for i in range(160)]


def digest(made: Scene) -> str:
    content = made.image.numpy().tobytes() + made.labels.numpy().astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


# The bytes of a scene are a promise to every record and page that shows one.
@pytest.mark.parametrize(
    ("seed", "index", "size", "split", "expected"),
    [
        (0, 0, (128, 128), "train", "405e83002a73027a"),
        (0, 1, (128, 128), "train", "894f3d621e0d70bf"),
        (7, 1000, (128, 128), "val", "fd73bef07bdb6d59"),
        (0, 0, (128, 128), "test", "0c28e1c55415239f"),
        (0, 0, (45, 70), "train", "0abcce5cdf85db57"),
        (3, 2, (32, 32), "train", "0bd17086d88afecd"),
    ],
)
def test_bytes_are_fixed_by_seed_index_size_and_split(seed, index, size, split, expected):
    assert digest(scene(seed, index, size, split)) == expected


def test_a_scene_does_not_depend_on_the_calls_before_it():
    data = Scenes(6, (40, 40))
    forward = [data[i] for i in range(6)]
    for i in (5, 0, 3):
        assert torch.equal(data[i][0], forward[i][0])
        assert torch.equal(data[i][1], forward[i][1])
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002 (the global state is the point)
    _ = data[2]
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_splits_seeds_and_indices_share_no_scene():
    seen = {
        digest(scene(seed, index, (32, 32), split))
        for seed in (0, 1)
        for index in range(10)
        for split in ("train", "val", "test")
    }
    assert len(seen) == 60


@settings(max_examples=25, deadline=None)
@given(st.integers(32, 150), st.integers(32, 150), st.integers(0, 2**32 - 1))
def test_any_size_from_32_up_gives_classes_and_void_only(height, width, seed):
    made = scene(seed, 0, (height, width))
    assert made.image.shape == (3, height, width)
    assert made.image.dtype == torch.uint8
    assert made.labels.shape == made.instances.shape == (height, width)
    assert made.labels.dtype == torch.int64
    assert set(made.labels.unique().tolist()) <= {*range(8), IGNORE}
    assert made.labels.unique().numel() >= 3
    assert made.instances.max() <= len(made.specs)


def sampled_pixels(scenes: list[Scene], per_class: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Take the same number of pixels of every class that a scene holds."""
    rng = np.random.default_rng(0)
    colors, classes = [], []
    for made in scenes:
        image = made.image.permute(1, 2, 0).reshape(-1, 3).numpy().astype(np.float64)
        labels = made.labels.flatten().numpy()
        for k in range(8):
            where = np.flatnonzero(labels == k)
            if len(where):
                colors.append(image[rng.choice(where, per_class)])
                classes.append(np.full(per_class, k))
    return np.concatenate(colors), np.concatenate(classes)


def test_colour_carries_no_class():
    # Fit on half of the scenes, judge on the other half: pixels of one scene share their colours.
    colors, classes = sampled_pixels([scene(5, i) for i in range(200)])
    unseen, truth = sampled_pixels([scene(6, i) for i in range(200)])
    chance = np.bincount(truth).max() / len(truth)
    means = np.stack([colors[classes == k].mean(0) for k in range(8)])
    # Standard error of a class's mean: 55 levels over 130 to 200 independent scenes, near 5.
    assert np.abs(means - colors.mean(0)).max() < 16

    nearest = ((unseen[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == truth).mean() < chance + 0.02

    cells = np.zeros((8, 5, 5, 5))
    r, g, b = (colors / 52).astype(int).T
    np.add.at(cells, (classes, r, g, b), 1)
    cells /= cells.sum((1, 2, 3), keepdims=True)
    r, g, b = (unseen / 52).astype(int).T
    assert (cells[:, r, g, b].argmax(0) == truth).mean() < chance + 0.02


def test_the_colour_test_would_see_a_coloured_class():
    colors, classes = sampled_pixels([scene(5, i) for i in range(60)])
    tinted = colors + 40 * (classes == 3)[:, None]
    means = np.stack([tinted[classes == k].mean(0) for k in range(8)])
    assert np.abs(means - tinted.mean(0)).max() > 16


def test_sizes_span_a_decade_and_do_not_tell_the_class(many):
    sizes = {k: [s.diameter for m in many for s in m.specs if s.label == k] for k in SHAPES}
    every = np.concatenate(list(sizes.values()))
    assert 6 <= every.min() < 7
    assert 10 * every.min() < every.max() < 0.6 * 128
    # Log-uniform: each of the 3.7 doublings holds a share; large ones find less room.
    counts = np.histogram(every, [6, 12, 24, 48, 77])[0] / len(every)
    assert counts.min() > 0.08
    medians = [np.median(sizes[k]) for k in SHAPES]
    assert max(medians) / min(medians) < 1.6


def test_the_largest_object_is_seen_over_more_than_half_of_the_image(many):
    spans = []
    for made in many:
        for k in range(1, len(made.specs) + 1):
            rows, cols = torch.where(made.instances == k)
            if made.specs[k - 1].label in SHAPES and len(rows):
                spans.append(max(int(np.ptp(rows.numpy())), int(np.ptp(cols.numpy()))) + 1)
    assert max(spans) > 64
    assert min(spans) <= 7


@pytest.mark.parametrize("shape", [DISC, SQUARE, TRIANGLE, CROSS])
def test_shapes_of_one_diameter_have_one_area(shape):
    draws = Draws(1)
    for diameter in (12.0, 40.0, 77.0):
        mask = rasterize(shape, (100.3, 99.6), diameter, draws.rotation(), (200, 200))[1]
        assert mask.sum() == pytest.approx(np.pi * diameter**2 / 4, rel=0.06)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(8, 90), st.floats(40, 60), st.floats(40, 60))
def test_bars_are_two_pixels_wide_at_any_angle(seed, length, row, col):
    rotation = Draws(seed).rotation()
    (rows, cols), mask, _ = rasterize(BAR, (row, col), length, rotation, (120, 120))
    i, j = np.where(mask)
    across = rotation[0] * (i + rows.start - row) - rotation[1] * (j + cols.start - col)
    assert np.abs(across).max() <= 1
    # Never thicker than 2 px: no 3x3 block fits. Near 45 degrees the pixel grid holds two or three
    # diagonals, 0.7 px apart, so the area of one bar varies; the mean of many is twice the length.
    blocks = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 3), (3, 3))
    assert not blocks.all((2, 3)).any()
    assert 1.35 * length - 4 < mask.sum() < 2.2 * length + 4


def test_bars_are_two_pixels_wide_on_average():
    draws = Draws(3)
    areas = []
    for _ in range(300):
        centre = (draws.uniform(40, 60), draws.uniform(40, 60))
        areas.append(rasterize(BAR, centre, 60.0, draws.rotation(), (120, 120))[1].sum())
    assert np.mean(areas) == pytest.approx(120, rel=0.02)


def test_bars_keep_their_pixels_where_they_lie_on_top(many):
    bars = 0
    for made in many[:60]:
        for k, spec in enumerate(made.specs, start=1):
            if spec.label != BAR_LABEL:
                continue
            seen = made.instances == k
            bottom = made.labels[seen] == IGNORE
            above = max((m for m in made.instances.unique().tolist() if m > k), default=0)
            if not above:
                assert not bottom.any()
            bars += int(seen.any())
    assert bars > 60


def brute_force_void(made: Scene) -> torch.Tensor:
    label_of = torch.tensor([0] + [s.label for s in made.specs])
    order, classes = made.instances, label_of[made.instances]
    void = torch.zeros_like(order, dtype=torch.bool)
    H, W = order.shape
    for i, j in itertools.product(range(H), range(W)):
        for a, b in itertools.product(
            range(max(0, i - 1), min(H, i + 2)), range(max(0, j - 1), min(W, j + 2))
        ):
            if order[a, b] > order[i, j] and classes[a, b] != classes[i, j]:
                void[i, j] = True
    return void


@pytest.mark.parametrize("index", range(3))
def test_void_is_one_pixel_outside_the_upper_object_where_the_class_changes(index):
    made = scene(4, index, (48, 48))
    void = made.labels == IGNORE
    assert torch.equal(void, brute_force_void(made))
    assert void.any()
    # Everywhere else the label is the class of the instance that is seen.
    label_of = torch.tensor([0] + [s.label for s in made.specs])
    assert torch.equal(made.labels[~void], label_of[made.instances][~void])


def touching(made: Scene, same_class: bool) -> list[tuple[int, int]]:
    """Pairs of pixels (flat indices) side by side, of two instances (not ground)."""
    label_of = torch.tensor([0] + [s.label for s in made.specs])
    flat = torch.arange(made.instances.numel()).view(made.instances.shape)
    pairs = []
    for a, b in [(flat[:, :-1], flat[:, 1:]), (flat[:-1], flat[1:])]:
        x, y = made.instances.flatten()[a], made.instances.flatten()[b]
        here = (x != y) & (x > 0) & (y > 0) & ((label_of[x] == label_of[y]) == same_class)
        pairs += list(zip(a[here].tolist(), b[here].tolist(), strict=True))
    return pairs


def test_touching_instances_of_one_class_are_common_and_not_told_apart(many):
    touches = [touching(made, same_class=True) for made in many]
    assert np.mean([len(t) > 0 for t in touches]) > 0.6
    inside = total = 0
    for made, pairs in zip(many, touches, strict=True):
        labels = made.labels.flatten()
        for a, b in pairs:
            # Void here can only come from a third, other object close by.
            inside += int(labels[a] == labels[b] != IGNORE)
            total += 1
    assert inside / total > 0.85


def test_occlusion_cuts_objects_but_buries_none(many):
    covered = 0
    hidden = 0
    shapes = 0
    for made in many[:80]:
        for k, spec in enumerate(made.specs, start=1):
            if spec.label not in SHAPES:
                continue
            shapes += 1
            mask = torch.zeros(128, 128, dtype=torch.bool)
            shape = {1: DISC, 2: SQUARE, 3: TRIANGLE, 4: CROSS}[spec.label]
            window, inside, _ = rasterize(
                shape, spec.centre, spec.diameter, spec.rotation, (128, 128)
            )
            mask[window] = torch.from_numpy(inside)
            seen = (made.instances == k).sum() / mask.sum()
            covered += int(seen < 0.95)
            hidden += int(seen < 0.2)
            assert (made.instances[mask] >= k).all(), "a later object never lies below"
    assert covered / shapes > 0.2
    assert hidden / shapes < 0.02


def ponds(made: Scene) -> torch.Tensor:
    return torch.isin(made.labels, torch.tensor([POND, PLAZA]))


def windows(image: torch.Tensor, side: int) -> torch.Tensor:
    """Every side x side window of a (3, H, W) image, reflected at the border: (H, W, 3, s, s)."""
    r = side // 2
    framed = torch.nn.functional.pad(image[None].float(), [r] * 4, mode="reflect")[0]
    return framed.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4)


def test_pond_and_plaza_are_the_same_pixels_in_every_window_of_11():
    pixels = 0
    for index, size in [(i, (128, 128)) for i in range(12)] + [(i, (32, 48)) for i in range(8)]:
        one, other = scene(2, index, size), scene(2, index, size, swap_context=True)
        here = ponds(one)
        pixels += int(here.sum())
        assert torch.equal(here, ponds(other))
        assert torch.equal(one.labels[~here], other.labels[~here])
        assert torch.equal(
            one.labels[here] + other.labels[here], torch.full((int(here.sum()),), 13)
        )
        assert torch.equal(windows(one.image, 11)[here], windows(other.image, 11)[here])
    assert pixels > 2000


def test_a_window_that_reaches_the_markers_tells_pond_from_plaza():
    for index in range(12):
        one, other = scene(2, index), scene(2, index, swap_context=True)
        here = ponds(one)
        if not here.any():
            continue
        # From the farthest pixel of the largest pond the markers are about 34 px away.
        differ = (windows(one.image, 69)[here] != windows(other.image, 69)[here]).flatten(1)
        assert differ.any(1).all()
        # Near the border of a pond 31 px are enough.
        closer = (windows(one.image, 31)[here] != windows(other.image, 31)[here]).flatten(1)
        assert closer.any(1).float().mean() > 0.5


def test_swapping_the_context_changes_markers_only(many):
    one, other = scene(0, 1), scene(0, 1, swap_context=True)
    rows, cols = torch.where((one.image != other.image).any(0))
    assert len(rows)
    assert {s.label for s in one.specs} & {POND, PLAZA}
    for r, c in zip(rows.tolist(), cols.tolist(), strict=True):
        distances = [
            (np.hypot(r - s.centre[0], c - s.centre[1]), s)
            for s in one.specs
            if s.label in (POND, PLAZA)
        ]
        near, spec = min(distances, key=lambda d: d[0])
        assert spec.diameter / 2 + 7 < near < clearing_radius(spec.diameter) + 2


def test_nothing_but_bars_enters_a_clearing(many):
    grid = np.indices((128, 128))
    for made in many[:80]:
        label_of = np.array([0] + [s.label for s in made.specs])
        seen = label_of[made.instances.numpy()]
        for spec in made.specs:
            if spec.label < POND:
                continue
            near = (grid[0] - spec.centre[0]) ** 2 + (grid[1] - spec.centre[1]) ** 2
            inside = seen[near < clearing_radius(spec.diameter) ** 2]
            assert set(inside.tolist()) <= {0, BAR_LABEL, spec.label}


def test_every_class_is_in_most_batches_and_ground_is_no_more_than_two_thirds(many):
    counts = sum(torch.bincount(m.labels.flatten(), minlength=256) for m in many)
    shares = counts[:8] / counts.sum()
    assert 0.4 < shares[0] < 0.65
    assert shares[1:].min() > 0.005
    full = [
        set(torch.cat([m.labels.flatten() for m in many[i : i + 8]]).unique().tolist())
        >= set(range(8))
        for i in range(0, len(many), 8)
    ]
    assert np.mean(full) >= 0.9
    assert np.mean([bool(ponds(m).any()) for m in many]) > 0.8
    both = np.mean([(m.labels == PLAZA).any() for m in many])
    assert 0.4 < both < 0.8


def test_light_falls_from_one_side_and_every_pixel_is_noisy(many):
    slopes, noise = [], []
    for made in many[:60]:
        ground = (made.instances == 0).numpy()
        # Plain ground: five pixels away from everything, so no object, marker or lens reaches in.
        clear = np.ones((128, 128), dtype=bool)
        for spec in made.specs:
            rows, cols = np.indices((128, 128))
            if spec.label >= POND:
                near = np.hypot(rows - spec.centre[0], cols - spec.centre[1])
                clear &= near > clearing_radius(spec.diameter) + 3
        padded = np.pad(ground, 5, constant_values=True)
        clear &= np.lib.stride_tricks.sliding_window_view(padded, (11, 11)).all((2, 3))
        rows, cols = np.where(clear)
        if len(rows) < 400:
            continue
        values = made.image[1].numpy()[clear].astype(np.float64)
        design = np.stack([rows / 64 - 1, cols / 64 - 1, np.ones(len(rows))], 1)
        fit, *_ = np.linalg.lstsq(design, values, rcond=None)
        slopes.append(np.hypot(*fit[:2]) / fit[2])
        noise.append(np.std(values - design @ fit))
    assert len(slopes) > 20
    assert 0.04 < min(slopes) < max(slopes) < 0.2
    # Difference of two uniform numbers of 16 levels: sqrt(2 * (16^2 - 1) / 12) = 6.5.
    assert np.median(noise) == pytest.approx(6.5, abs=0.4)


def test_objects_stand_out_from_what_they_lie_on(many):
    weights = torch.tensor([0.299, 0.587, 0.114])
    gaps = []
    for made in many[:60]:
        light = (made.image.float() * weights[:, None, None]).sum(0)
        for a, b in touching(made, same_class=False)[::7]:
            r, c = divmod(a, 128)
            s, d = divmod(b, 128)
            if (
                r == s
                and 3 <= c < 124
                and made.instances[r, c - 3] == made.instances[r, c]
                and made.instances[s, d + 3] == made.instances[s, d]
            ):
                gaps.append(abs(light[r, c - 2] - light[s, d + 2]).item())
    assert np.mean([g > 20 for g in gaps]) > 0.85


def test_a_scene_takes_little_time(many):
    times = []
    for i in range(12):
        start = time.process_time()
        scene(9, i)
        times.append(time.process_time() - start)
    # About 4 ms on one core; the bound leaves room for slow and busy machines.
    assert np.median(times) < 0.05


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"seed": -1, "index": 0}, "seed -1"),
        ({"seed": 0, "index": 2**32}, "2\\^32"),
        ({"seed": 0, "index": 0, "size": (31, 64)}, "at least 32"),
        ({"seed": 0, "index": 0, "split": "all"}, "train, val, test"),
    ],
)
def test_a_scene_refuses_arguments_outside_its_range(arguments, text):
    with pytest.raises(ValueError, match=text):
        scene(**arguments)


def test_a_data_set_of_scenes_ends():
    data = Scenes(3, (32, 32))
    assert len(list(data)) == len(data) == 3
    assert torch.equal(data[-1][0], data[2][0])
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(ValueError, match="length is -1"):
        Scenes(-1)
    assert data.classes is SCENES
    assert data.stem(2) == "scenes-train-0-00002"
