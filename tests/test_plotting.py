"""segcourse.plotting: what a figure claims is what the numbers are."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

matplotlib = pytest.importorskip("matplotlib")

from segcourse import plotting
from segcourse.checkerboard import overlap_counts
from segcourse.labels import CAMVID, IGNORE, SCENES, Classes
from segcourse.plotting.charts import DASHES
from segcourse.plotting.figures import STYLE
from segcourse.plotting.pixels import VOID_DARK, VOID_LIGHT, deepest_pixel
from segcourse.transposed import stamped_so_far

BYTE = st.integers(0, 255)
COLOR = st.tuples(BYTE, BYTE, BYTE)


def scene(size=(16, 24), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, size)
    labels[2] = IGNORE
    return image, labels


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


# Colours


@settings(deadline=None)
@given(COLOR)
def test_text_reads_on_every_background(color):
    chosen = plotting.text_on(color)
    assert plotting.contrast(color, (0, 0, 0) if chosen == "#000000" else (255,) * 3) >= 4.5


@settings(deadline=None)
@given(COLOR, COLOR)
def test_contrast_is_symmetric_and_between_1_and_21(one, other):
    ratio = plotting.contrast(one, other)
    assert 1 <= ratio <= 21.000001
    assert ratio == plotting.contrast(other, one)


def test_every_text_color_of_the_style_reads_on_white():
    from segcourse.plotting.colors import rgb

    names = ["text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"]
    for color in [plotting.GREY, plotting.TEAL, plotting.WARM, *(STYLE[n] for n in names)]:
        assert plotting.contrast(rgb(color), (255, 255, 255)) >= 4.5


def test_safe_palette_holds_distinct_colors_and_says_how_many_it_has():
    assert len(set(plotting.safe_palette(21))) == 21
    with pytest.raises(ValueError, match="1 to 21"):
        plotting.safe_palette(22)


# Labels as pixels


def test_overlay_is_exact_at_both_ends():
    image, labels = scene()
    solid = plotting.overlay(image, labels, SCENES, alpha=1)
    known = labels != IGNORE
    assert (solid[known] == np.array(SCENES.palette)[labels[known]]).all()
    assert (plotting.overlay(image, labels, SCENES, alpha=0) == image).all()


@settings(deadline=None)
@given(st.floats(0, 1), COLOR, COLOR)
def test_overlay_mixes_by_alpha(alpha, pixel, color):
    image, one = np.full((1, 1, 3), pixel, np.uint8), Classes(("a",), (color,))
    out = plotting.overlay(image, [[0]], one, alpha)
    exact = (1 - alpha) * np.array(pixel) + alpha * np.array(color)
    assert np.abs(out[0, 0] - exact).max() <= 0.5 + 1e-9


def test_void_is_hatched_in_two_greys_that_no_class_color_of_the_scenes_equals():
    _, labels = scene((8, 8))
    labels[:] = IGNORE
    colors = plotting.color_labels(labels, SCENES)
    assert set(np.unique(colors)) == {VOID_DARK, VOID_LIGHT}
    assert (colors[0, :4, 0] == [VOID_DARK, VOID_DARK, VOID_LIGHT, VOID_LIGHT]).all()
    for grey in (VOID_DARK, VOID_LIGHT):
        assert (grey,) * 3 not in SCENES.palette + CAMVID.palette


def test_tensors_channels_first_and_arrays_channels_last_give_one_overlay():
    image, labels = scene()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    want = plotting.overlay(image, labels, SCENES)
    assert (plotting.overlay(tensor, torch.from_numpy(labels), SCENES) == want).all()
    assert (plotting.overlay(image.transpose(2, 0, 1), labels, SCENES) == want).all()


def test_a_3x3_image_is_read_by_its_type():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert (plotting.as_picture(image) == image).all()
    assert (plotting.as_picture(torch.from_numpy(image)) == image.transpose(1, 2, 0)).all()


def test_inputs_stay_as_they_were():
    image, labels = scene()
    kept = image.copy(), labels.copy()
    plotting.overlay(image, labels, SCENES)
    plotting.outline(image, (5, 5), 3)
    plotting.show_scene(image, labels, SCENES, labels)
    plotting.feature_maps(image.transpose(2, 0, 1))
    plotting.matrix_grid(plotting.subplots()[1][0, 0], labels, highlight=labels > 1)
    assert (image == kept[0]).all()
    assert (labels == kept[1]).all()


@pytest.mark.parametrize(
    ("image", "labels", "alpha", "error", "says"),
    [
        (np.zeros((4, 4, 3)), np.zeros((4, 4), int), 0.5, TypeError, "float64, uint8"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), int), 0.5, ValueError, r"\(4, 4\), \(3, H"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), int), 0.5, ValueError, r"\(4, 5\)"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4), int), 0.5, ValueError, "one map"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), 0.5, TypeError, "argmax"),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 9), 0.5, ValueError, "9 at 16 pixels"),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), -1), 0.5, ValueError, "-1 at 16 pixels"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), int), 1.5, ValueError, "alpha is 1.5"),
    ],
)
def test_overlay_says_what_is_wrong(image, labels, alpha, error, says):
    with pytest.raises(error, match=says):
        plotting.overlay(image, labels, SCENES, alpha)


def test_present_classes_are_those_of_all_maps_void_last():
    one, other = np.array([[4, IGNORE]]), np.array([[0, 2]])
    assert plotting.present_classes(one, other, classes=SCENES) == [0, 2, 4, IGNORE]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_outline_frames_the_window_and_hides_none_of_it(height, width, row, col):
    picture = np.full((24, 24, 3), 7, np.uint8)
    out = plotting.outline(picture, (row + 7, col + 7), (height, width), color="#010203")
    top, left = row + 7 - height // 2, col + 7 - width // 2
    assert (out[top : top + height, left : left + width] == 7).all()
    assert (out == [1, 2, 3]).all(-1).sum() == (height + 2) * (width + 2) - height * width
    assert (out[top - 1, left - 1 : left + width + 1] == [1, 2, 3]).all()


def test_side_by_side_keeps_every_pixel_and_a_white_gap():
    image, labels = scene()
    out = plotting.side_by_side(image, plotting.color_labels(labels, SCENES), gap=5)
    assert out.shape == (16, 24 + 5 + 24, 3)
    assert (out[:, :24] == image).all()
    assert (out[:, 24:29] == 255).all()
    with pytest.raises(ValueError, match="one height"):
        plotting.side_by_side(image, image[:4])


def test_magnify_repeats_each_pixel():
    image, _ = scene()
    assert (plotting.magnify(image, 3)[1::3, 2::3] == image).all()
    assert plotting.magnify(image, 3).shape == (48, 72, 3)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_deepest_pixel_lies_in_the_mask_as_deep_as_it_says(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 9)) < 0.85
    mask[4, 4] = True
    row, col, depth = deepest_pixel(mask)
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    distance = np.abs(outside - [row, col]).sum(1).min()
    assert mask[row, col]
    assert distance == depth


# Figures


def test_a_legend_names_exactly_the_classes_that_occur():
    image, labels = scene()
    labels[labels == 1] = 5
    figure = plotting.show_scene(image, labels, SCENES, np.full_like(labels, 7))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["0 ground", "2 square", "5 bar", "7 plaza", "void"]


def test_class_numbers_stand_on_their_class_and_only_where_they_fit():
    labels = np.zeros((32, 32), int)
    labels[4:20, 4:20] = 3
    labels[28, :] = 5  # a thin bar holds no number
    labels[30:] = IGNORE
    ax = plotting.show_labels(plotting.subplots()[1][0, 0], labels, SCENES)
    written = {t.get_text(): t.get_position() for t in ax.texts}
    assert set(written) == {"0", "3"}
    for text, (col, row) in written.items():
        assert labels[row, col] == int(text)


def test_the_band_runs_from_the_lowest_to_the_highest_seed_around_the_mean():
    rng = np.random.default_rng(1)
    x, y = np.array([3.0, 7.0, 11.0]), rng.random((4, 3))
    ax = plotting.curves(x, {"ours": y}, xlabel="px", ylabel="IoU").axes[0]
    band = ax.collections[0].get_paths()[0].vertices
    for i, position in enumerate(x):
        here = band[band[:, 0] == position, 1]
        assert here.min() == y[:, i].min()
        assert here.max() == y[:, i].max()
    mean = next(line for line in ax.lines if line.get_label() == "ours")
    np.testing.assert_allclose(mean.get_ydata(), y.mean(0), rtol=0, atol=1e-15)
    points = next(line for line in ax.lines if line.get_marker() == ".")
    assert sorted(points.get_ydata()) == sorted(y.ravel())


def test_one_seed_has_no_band_and_a_gap_stays_a_gap():
    ax = plotting.curves([1, 2, 3], [1.0, np.nan, 2.0], xlabel="px", ylabel="IoU").axes[0]
    assert not ax.collections
    assert np.isnan(ax.lines[0].get_ydata()[1])
    assert ax.get_legend() is None


def test_series_differ_in_dash_and_marker_as_well_as_in_color():
    series = {str(i): [i, i + 1.0] for i in range(7)}
    lines = plotting.curves([0, 1], series, xlabel="x", ylabel="y").axes[0].lines
    assert len({line.get_marker() for line in lines}) == 7
    assert len(set(map(str, DASHES))) == 7
    assert len({line.get_color() for line in lines}) == 7


def test_bars_are_as_long_as_the_mean_and_say_it():
    values = np.array([[0.2, 0.5], [0.4, 0.7]])
    ax = plotting.bars(["a", "b"], values, xlabel="IoU").axes[0]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [0.3, 0.6], atol=1e-12)
    assert [text.get_text() for text in ax.texts] == ["0.30", "0.60"]
    assert sorted(ax.lines[0].get_xdata()) == sorted(values.ravel())


def test_a_confusion_matrix_is_written_in_percent_of_its_row():
    names = Classes(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    counts = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 5, 5]])
    ax = plotting.confusion_heat_map(counts, names).axes[0]
    texts = {t.get_position(): t.get_text() for t in ax.texts}
    assert [[texts[c, r] for c in range(3)] for r in range(3)] == [
        ["75", "25", "0"],
        ["–", "–", "–"],
        ["0", "50", "50"],
    ]


def test_numbers_in_a_heat_map_read_on_their_cells():
    from matplotlib.colors import to_rgb

    K = 21
    many = Classes(tuple(map(str, range(K))), plotting.safe_palette(K))
    counts = np.full((K, K), 100.0)
    counts[0] = np.linspace(0, 100, K)
    ax = plotting.confusion_heat_map(counts, many).axes[0]
    cells = ax.images[0].cmap(ax.images[0].norm(ax.images[0].get_array()))[..., :3] * 255
    for text in ax.texts:
        col, row = text.get_position()
        ink = tuple(255 * v for v in to_rgb(text.get_color()))
        assert plotting.contrast(ink, tuple(cells[row, col])) >= 4.5


def test_feature_maps_share_one_scale_with_white_at_zero():
    rng = np.random.default_rng(2)
    signed, positive = rng.normal(size=(5, 4, 6)), rng.random((2, 4, 6))
    for maps in (signed, positive):
        figure = plotting.feature_maps(torch.from_numpy(maps), n=4)
        images = [ax.images[0] for ax in figure.axes if ax.images]
        assert len(images) == min(4, len(maps))
        limits = {image.get_clim() for image in images}
        assert len(limits) == 1
        assert images[0].cmap(images[0].norm(0.0)) == pytest.approx((1, 1, 1, 1), abs=0.01)
        assert max(limits.pop()) == np.abs(maps[:4]).max()


@pytest.mark.parametrize(
    ("size", "extent"), [(3, (3, 6, 4, 7)), (4, (2, 6, 3, 7)), (1, (4, 5, 5, 6))]
)
def test_a_window_covers_whole_pixels_around_its_centre(size, extent):
    ax = plotting.subplots()[1][0, 0]
    frame = plotting.draw_window(ax, (4, 5), size)
    top, bottom, left, right = extent
    assert frame.get_bbox().extents.tolist() == [left - 0.5, top - 0.5, right - 0.5, bottom - 0.5]


def test_the_box_of_a_heat_map_frames_its_first_and_last_pixels():
    figure = plotting.heat_map(np.ones((9, 9)), box=(2, 3, 6, 4))
    assert figure.axes[0].patches[-1].get_bbox().extents.tolist() == [2.5, 1.5, 4.5, 6.5]


def test_a_receptive_field_is_framed_where_it_lies_outside_of_the_picture_too():
    image, _ = scene()
    _, ((ax,),) = plotting.subplots()
    plotting.show_field(ax, image, (-4, 2, 10, 20), centres=([3, 7], [1, 5, 9]), margin=8)
    frame = ax.patches[-1]
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((1.5, -4.5), 19, 15)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-8.5, 31.5), (23.5, -8.5))
    dots, middle = ax.lines
    assert sorted(set(zip(dots.get_ydata(), dots.get_xdata(), strict=True))) == [
        (row, col) for row in (3, 7) for col in (1, 5, 9)
    ]
    assert (middle.get_xdata()[0], middle.get_ydata()[0]) == (11, 3)


def test_a_grid_lies_over_its_picture_where_its_cells_have_their_centres():
    image, _ = scene((16, 24))
    _, ((ax,),) = plotting.subplots()
    plotting.show_grid(ax, image, np.eye(3)[:, :2], first=(5.5, 3.5), stride=4)
    left, right, bottom, top = ax.images[1].get_extent()
    assert ((left + 2, top + 2), (right - left, bottom - top)) == ((3.5, 5.5), (8, 12))
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 23.5), (15.5, -0.5))
    with pytest.raises(ValueError, match=r"\(2, 3, 3\), \(h, w\)"):
        plotting.show_grid(ax, image, np.zeros((2, 3, 3)), first=(0, 0), stride=4)


def test_each_object_has_one_colour_and_the_ground_is_grey():
    ids = np.array([[0, 1, 1], [2, 2, 23]])
    painted = plotting.paint_objects(np.zeros((2, 3, 3), np.uint8), ids)
    assert painted[0, 0].tolist() == [110, 110, 110]
    assert painted[0, 1].tolist() == painted[0, 2].tolist() != painted[1, 0].tolist()
    assert painted[1, 0].tolist() == painted[1, 1].tolist()
    assert len({tuple(painted[at].tolist()) for at in [(0, 1), (1, 0), (1, 2)]}) == 3
    with pytest.raises(ValueError, match=r"\(2, 3\) and the instances are \(3, 2\)"):
        plotting.paint_objects(np.zeros((2, 3, 3), np.uint8), ids.T)


def test_the_u_writes_the_sizes_that_it_is_given():
    rows = [(100, 96, 64, 16, 60), (48, 44, 36, 4, 32), (22, 18, None, None, None)]
    texts = [text.get_text() for text in plotting.u_diagram(rows, 2, width=8).axes[0].texts]
    said = ["100 → 96\n8 channels", "48 → 44\n16 channels", "22 → 18\n32 channels"]
    said += ["64 → 60\n8 channels", "36 → 32\n16 channels", "crop 16 a side", "crop 4 a side"]
    said += ["pool: 48", "pool: 22", "up: 64", "up: 36"]
    assert sorted(texts) == sorted(said)


@pytest.mark.parametrize(("encoded", "why"), [(279, "279 px: not even"), (-1, "nothing is left")])
def test_a_u_that_breaks_off_says_where_and_draws_no_way_up(encoded, why):
    rows = [(570, 566, None, None, None), (283, encoded, None, None, None)]
    texts = [text.get_text() for text in plotting.u_diagram(rows, 4).axes[0].texts]
    assert why in texts
    assert not [text for text in texts if text.startswith(("up", "crop"))]


def test_a_u_that_does_not_fit_is_refused():
    for rows, depth in [([], 2), ([(8, 8, None, None, None)] * 3, 1), ([(64,) * 5], 5)]:
        with pytest.raises(ValueError, match="depth of 1 to 4"):
            plotting.u_diagram(rows, depth)


def test_the_skip_diagram_writes_the_sizes_of_its_maps():
    texts = [text.get_text() for text in plotting.skip_diagram(96).axes[0].texts]
    for stride in (8, 16, 32):
        side = 96 // stride
        assert f"features, stride {stride}\n{side} × {side}" in texts
        assert f"class scores\n{side} × {side}" in texts
        assert f"FCN-{stride}s\n96 × 96" in texts
        assert f"up ×{stride}" in texts
    assert texts.count("+") == texts.count("up ×2") == 2


def test_mistakes_mark_the_wrong_pixels_and_never_void():
    image, labels = scene()
    guess = (labels + 1) % 3
    guess[:, :4] = labels[:, :4]
    marked = (plotting.mistakes(image, labels, guess) == (179, 84, 30)).all(2)
    assert (marked == ((labels != guess) & (labels != IGNORE))).all()
    with pytest.raises(ValueError, match=r"prediction \(16, 3\)"):
        plotting.mistakes(image, labels, guess[:, :3])


def test_a_grid_writes_its_values_and_marks_its_cells():
    ax = plotting.subplots()[1][0, 0]
    plotting.matrix_grid(ax, [[1, -2.5], [np.nan, 1 / 3]], highlight=[(0, 1)], faint=[(1, 0)])
    assert [t.get_text() for t in ax.texts] == ["1", "−2.5", "", "0.333"]
    assert [p.get_linewidth() for p in ax.patches] == [1, 2.5, 1, 1]
    assert [p.get_linestyle() in ("--", "dashed") for p in ax.patches] == [0, 0, 1, 0]


def written(ax):
    """The numbers in a grid's cells, 0 where a cell is empty."""
    texts = [t.get_text().replace("−", "-") for t in ax.texts]
    return torch.tensor([float(t) if t else 0.0 for t in texts])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("last", range(6))
def test_the_stamping_figure_shows_what_conv_transpose2d_gives(stride, last):
    image = torch.tensor([[1.0, 2, 3], [2, -1, 1]])
    kernel = torch.tensor([[1.0, 2, 0], [0, 3, 1], [2, 0, 1]])
    sums, _, counts = stamped_so_far(image, kernel, last, stride)
    row, col = last // 3 * stride, last % 3 * stride
    figure = plotting.stamp_figure(image, kernel, sums, counts, last, (row, col), room=9)
    of_input, of_stamp, of_output = figure.axes
    stamped = image.clone()
    stamped.view(-1)[last + 1 :] = 0
    given = (stamped[None, None], kernel[None, None])
    wanted = torch.nn.functional.conv_transpose2d(*given, stride=stride)[0, 0]
    assert torch.equal(written(of_input).reshape(2, 3), image)
    assert torch.equal(written(of_stamp).reshape(3, 3), image.view(-1)[last] * kernel)
    assert torch.equal(written(of_output).reshape(wanted.shape), wanted)
    marked = [p.get_xy() for p in of_output.patches if p.get_linewidth() == 2.5]
    assert marked == [(col + j, row + i) for i in range(3) for j in range(3)]
    hatched = {p.get_xy() for p in of_output.patches if p.get_hatch()}
    assert hatched == {(c, r) for r, c in (counts > 1).nonzero().tolist()}
    assert of_output.get_title() == "output so far"


def test_stamping_figures_have_one_size_and_refuse_what_does_not_fit():
    image, kernel = torch.ones(2, 2), torch.ones(3, 3)
    sizes = set()
    for stride in (1, 2, 3):
        sums, _, counts = stamped_so_far(image, kernel, 0, stride)
        figure = plotting.stamp_figure(image, kernel, sums, counts, 0, (0, 0), room=6)
        sizes.add(tuple(figure.get_size_inches()))
    assert len(sizes) == 1
    with pytest.raises(ValueError, match="does not fit 5 cells"):
        plotting.stamp_figure(image, kernel, sums, counts, 0, (0, 0), room=5)


def test_the_overlap_figure_writes_every_count():
    counts = overlap_counts(3, 2, size=3)
    (ax,) = plotting.overlap_figure(counts).axes
    assert torch.equal(written(ax).reshape(counts.shape), counts.float())


def test_symbols_stand_in_a_grid():
    ax = plotting.matrix_grid(plotting.subplots()[1][0, 0], ["a", "b"])
    assert [t.get_text() for t in ax.texts] == ["a", "b"]


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2**31))
def test_a_traced_convolution_marks_what_the_output_depends_on(stride, dilation, padding, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 1, 5, 7, generator=g, dtype=torch.float64, requires_grad=True)
    k = torch.rand(1, 1, 2, 3, generator=g, dtype=torch.float64) + 0.1
    y = torch.nn.functional.conv2d(x, k, None, stride, padding, dilation)
    at = tuple(int(torch.randint(n, (), generator=g)) for n in y.shape[2:])
    y[0, 0, at[0], at[1]].backward()
    figure = plotting.convolution_figure(
        x[0, 0], k[0, 0], y[0, 0], at=at, stride=stride, dilation=dilation, padding=padding
    )
    marked = np.array([p.get_linewidth() == 2.5 for p in figure.axes[0].patches])
    marked = marked.reshape(5 + 2 * padding, 7 + 2 * padding)
    inside = marked[padding : padding + 5, padding : padding + 7]
    assert (inside == (x.grad[0, 0].numpy() != 0)).all()
    assert marked.sum() == 6
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["input", "kernel", "output"]


def test_cells_of_one_figure_are_square_and_of_one_size():
    figure = plotting.convolution_figure(np.ones((5, 5)), np.ones((3, 3)), np.ones((3, 3)))
    inches = figure.get_size_inches()
    sides = [
        side
        for ax, n in zip(figure.axes, (5, 3, 3), strict=True)
        for side in ax.get_position().size * inches / n
    ]
    assert max(sides) - min(sides) < 1e-9


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: plotting.curves([1, 2], [1.0], xlabel="", ylabel=""), r"\(2,\)"),
        (lambda: plotting.curves([1], {}, xlabel="", ylabel=""), "0 series"),
        (lambda: plotting.curves([[1]], [1.0], xlabel="", ylabel=""), r"x has shape \(1, 1\)"),
        (lambda: plotting.bars(["a"], [np.nan], xlabel=""), "nan or inf"),
        (lambda: plotting.bars(["a"], [1.0, 2.0], xlabel=""), r"\(2,\)"),
        (lambda: plotting.confusion_heat_map(np.ones((2, 3)), SCENES), r"\(8, 8\)"),
        (lambda: plotting.feature_maps(np.ones((1, 2, 3, 4))), r"\(C, H, W\)"),
        (lambda: plotting.feature_maps(np.full((1, 2, 3), np.inf)), "nan or inf"),
        (lambda: plotting.heat_map(np.ones(3)), "finite"),
        (lambda: plotting.show_images([]), "no images"),
        (lambda: plotting.show_images([np.ones((2, 2))], ["a", "b"]), "2 titles"),
        (lambda: plotting.grid_row([]), "no panels"),
        (lambda: plotting.grid_row([("a", [1], None)], ["="]), "1 symbols"),
        (lambda: plotting.grid_row([("a", [1], [(3, 0)])]), r"cell \(3, 0\)"),
        (lambda: plotting.grid_row([("a", np.ones((2, 2, 2)), None)]), r"\(H, W\)"),
        (lambda: plotting.convolution_figure([1, 2], [1, 1], [1], at=(0, 1)), "outside a grid"),
        (lambda: plotting.convolution_figure([1, 2], [1, 1], [1, 2], at=(0, 1)), "padding"),
        (lambda: plotting.draw_window(plotting.subplots()[1][0, 0], (0, 0), 0), "0 x 0"),
        (lambda: plotting.magnify(np.ones((2, 2)), 0), "times is 0"),
    ],
)
def test_wrong_shapes_are_refused_with_what_is_needed(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# Figures as bytes


def test_a_figure_is_the_same_bytes_twice_and_its_png_holds_its_pixels():
    def make():
        return plotting.curves([1, 2], {"a": [1.0, 2.0]}, xlabel="x (px)", ylabel="y")

    one, other = make(), make()
    assert plotting.to_png(one) == plotting.to_png(other)
    decoded = Image.open(io.BytesIO(plotting.to_png(one))).convert("RGB")
    assert (np.asarray(decoded) == plotting.to_array(one)).all()


def test_few_colors_are_stored_with_a_palette_and_unchanged():
    figure = plotting.HouseFigure(figsize=(1, 1))
    figure.add_artist(matplotlib.patches.Rectangle((0, 0), 0.5, 1, color=plotting.TEAL))
    picture = Image.open(io.BytesIO(plotting.to_png(figure)))
    assert picture.mode == "P"
    assert (np.asarray(picture.convert("RGB")) == plotting.to_array(figure)).all()


def test_a_notebook_shows_a_figure_once_as_png_and_pyplot_knows_nothing_of_it():
    from matplotlib import pyplot

    figure = plotting.bars(["a"], [1.0], xlabel="s")
    bundle = figure._repr_mimebundle_()
    assert bundle["image/png"][:4] == b"\x89PNG"
    assert bundle["text/plain"].startswith("<Figure 7 x ")
    assert not pyplot.get_fignums()


def test_drawing_leaves_the_session_style_as_it_was():
    before = dict(matplotlib.rcParams)
    plotting.to_png(plotting.heat_map(np.eye(3)))
    assert dict(matplotlib.rcParams) == before


def test_a_figure_fits_the_column_at_its_dpi():
    figure = plotting.curves([1, 2], [1.0, 2.0], xlabel="x", ylabel="y")
    assert plotting.to_array(figure).shape == (462, 770, 3)


# Import cost


def test_plotting_is_imported_without_matplotlib_and_pixels_need_none():
    code = """
import sys
import numpy as np
from segcourse import plotting
from segcourse.labels import SCENES
plotting.overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), int), SCENES)
assert "matplotlib" not in sys.modules
"""
    assert (done := run(code)).returncode == 0, done.stderr


def test_without_matplotlib_the_error_says_what_to_install():
    code = """
import sys
sys.modules["matplotlib"] = None
from segcourse import plotting
try:
    plotting.curves
except ImportError as error:
    assert "pip install 'segcourse[notebooks]'" in str(error), error
else:
    raise SystemExit("no error")
"""
    assert (done := run(code)).returncode == 0, done.stderr


def test_every_public_name_is_there():
    for name in plotting.__all__:
        assert getattr(plotting, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'plots'"):
        _ = plotting.plots


def test_four_tasks_box_what_is_seen_and_name_every_object():
    from segcourse.plotting.tasks import four_tasks, visible_boxes

    instances = np.zeros((20, 20), int)
    instances[2:8, 3:9] = 1
    instances[6:12, 5:18] = 2  # covers the lower right of the first
    three = Classes(("ground", "disc", "square"), ((40, 40, 40), (230, 159, 0), (86, 180, 233)))
    labels = np.array([0, 1, 2])[instances]
    figure = four_tasks(np.zeros((20, 20, 3), np.uint8), labels, instances, [1, 2], three)
    assert visible_boxes(instances) == {1: (2, 3, 7, 8), 2: (6, 5, 11, 17)}
    one, many, pixels, masks = figure.axes
    assert [text.get_text() for text in one.texts] == [three.names[2]], "the one seen most"
    assert [text.get_text() for text in many.texts] == [three.names[1], three.names[2]]
    frames = [patch.get_bbox().bounds for patch in many.patches]
    assert frames == [(2.5, 1.5, 6, 6), (4.5, 5.5, 13, 6)]
    assert [text.get_text() for text in masks.texts] == ["1", "2"]
    assert pixels.get_title(loc="left") == "Semantic segmentation"


def test_the_mirror_diagram_repeats_the_stages_and_joins_each_with_its_image():
    ax = plotting.mirror_diagram([32, 16], [8, 24], [(4, 96)]).axes[0]
    texts = [text.get_text() for text in ax.texts]
    assert texts[::2] == ["8", "24", "96", "24", "8"]
    assert texts[1::2] == ["32", "16", "4", "16", "32"]
    for i, line in enumerate(ax.lines):
        assert sum(line.get_xdata()) == pytest.approx(4)  # mirrored about the middle bar
        assert line.get_ydata()[0] == pytest.approx(ax.patches[i].get_height() / 2)
    assert len(ax.lines) == 2
    with pytest.raises(ValueError, match="2 sides and 1 channels"):
        plotting.mirror_diagram([32, 16], [8])


def test_the_lattice_s_marks_have_areas_in_proportion_and_join_neighbours_only():
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5], [4.0, 0.0]])
    points = np.array([[0.5, 0.2], [0.6, 0.2]])
    steps = {"splat": np.array([0.5, 0.25, 0.25, 0.0]), "slice": np.array([0.4, 0.1])}
    figure = plotting.lattice_steps(points, corners, 0, steps, (8, 30), ("place", "value"))
    splat, back = figure.axes
    lines, discs = splat.collections
    assert len(lines.get_segments()) == 3, "the fourth corner has no neighbour"
    np.testing.assert_allclose(discs.get_offsets(), corners[:3] * [8, 30])
    np.testing.assert_allclose(discs.get_sizes() / discs.get_sizes()[0], [1, 0.5, 0.5])
    squares = back.collections[1]
    np.testing.assert_allclose(squares.get_offsets(), points * [8, 30])
    np.testing.assert_allclose(squares.get_sizes()[1] / squares.get_sizes()[0], 0.25)
    with pytest.raises(ValueError, match=r"splat: \(3,\) numbers for 4 corners and 2 pixels"):
        plotting.lattice_steps(points, corners, 0, {"splat": np.ones(3)}, (1, 1), ("x", "y"))
    with pytest.raises(ValueError, match=r"corners have shape \(4, 3\)"):
        plotting.lattice_steps(points, np.ones((4, 3)), 0, steps, (1, 1), ("x", "y"))
