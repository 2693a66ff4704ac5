"""Figures of kernels with holes: the taps where they are, and every unread cell marked."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from segcourse import plotting
from segcourse.aspp import valid_taps
from segcourse.gridding import coverage


def test_taps_lie_a_rate_apart_around_the_traced_output():
    picture = np.zeros((40, 50, 3), np.uint8)
    figure = plotting.taps_figure(picture, np.zeros((40, 50)), (20, 25), 3, 6)
    (dots, *_) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert sorted(dots.get_ydata()) == [14, 20, 26]
    with pytest.raises(ValueError, match="lower the rate"):
        plotting.taps_figure(picture, np.zeros((40, 50)), (20, 25), 3, 25)


def test_every_cell_that_is_not_read_is_hatched_and_no_other():
    _, ((ax,),) = plotting.subplots()
    counts = coverage((2, 2))
    plotting.coverage_grid(ax, counts, room=13)
    (behind,) = [patch for patch in ax.patches if patch.get_hatch()]
    (image,) = ax.images
    assert behind.get_zorder() < image.get_zorder()
    assert behind.get_width() == behind.get_height() == len(counts)
    assert (image.get_array().mask == (counts == 0).numpy()).all()
    assert ax.get_xlim() == (-0.5, 12.5)
    with pytest.raises(ValueError, match="do not fit"):
        plotting.coverage_grid(ax, counts, room=5)


def test_taps_off_the_map_are_hollow():
    figure = plotting.taps_star(9, (1, 4), (2, 3))
    (ax,) = figure.axes
    drawn = [line for line in ax.lines if len(line.get_xdata()) != 1]
    filled = [line for line in drawn if line.get_markerfacecolor() != "white"]
    on = {(r, c) for line in filled for c, r in zip(*line.get_data(), strict=True)}
    assert on == {(r, c) for d in (2, 3) for r in (1, 1 + d) for c in (4 - d, 4, 4 + d)}
    assert sum(len(line.get_xdata()) for line in drawn) == 2 * 9
    with pytest.raises(ValueError, match="not on a map of 9 x 9"):
        plotting.taps_star(9, (9, 0), (2,))
    with pytest.raises(ValueError, match="5 rates: give one to four"):
        plotting.taps_star(9, (1, 1), (1, 2, 3, 4, 5))


@pytest.mark.parametrize(("rate", "written"), [(2, {9, 6, 4}), (5, {4, 2, 1}), (7, {1})])
def test_the_number_of_taps_is_written_in_every_part_of_the_map(rate, written):
    counts = valid_taps((7, 7), rate)
    (ax,) = plotting.valid_taps_map(counts).axes
    assert {int(text.get_text()) for text in ax.texts if text.get_text()} == written
    for text in ax.texts:
        col, row = text.get_position()
        assert int(text.get_text()) == counts[int(row), int(col)]
    with pytest.raises(ValueError, match="not a square map"):
        plotting.valid_taps_map(counts[:3])
