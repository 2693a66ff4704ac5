"""Figures of kernels with holes: the taps where they are, and every unread cell marked."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from segcourse import plotting
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
