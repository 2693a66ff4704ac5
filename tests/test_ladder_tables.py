"""The ladder to the best run as a figure, a table and sentences; what lacks is said."""

import math

import numpy as np
import pytest

from segcourse import ladder_tables
from segcourse.cli.suite_ladder import Step, rungs

pytest.importorskip("matplotlib")

from segcourse.plotting import ladder, to_array

STEPS = (
    Step("a", "", "plain"),
    Step("b", "", "worse", kept=False),
    Step("c", "", "better"),
    Step("d", "", "longer"),
)
RUNGS = rungs(STEPS, "", "small")


def record(val, test, seed=0, **metrics):
    return {"seed": seed, "metrics": {"val": {"miou": val}, "test": {"miou": test}} | metrics}


def ran(val, test):
    """One seed of each rung, in their order."""
    return {r.name: [record(*two)] for r, *two in zip(RUNGS, val, test, strict=False)}


NOTHING = "No change of this ladder was run yet."
VAL, TEST = (0.5, 0.4, 0.52, 0.6), (0.4, 0.45, 0.38, 0.5)


def test_a_change_is_measured_against_the_rung_it_stands_on():
    found = ladder_tables.rows(RUNGS, ran(VAL, TEST))
    assert math.isnan(found[0].before)
    assert math.isnan(found[0].gain)
    assert [row.before for row in found[1:]] == [0.5, 0.5, 0.52]
    assert [row.gain for row in found[1:]] == pytest.approx([-0.1, 0.02, 0.08])
    assert [row.test_gains[0] for row in found[1:]] == pytest.approx([0.05, -0.02, 0.12])
    assert [row.test for row in found] == list(TEST)


def test_gains_are_of_the_seeds_that_both_rungs_have():
    """The seeds of one rung alone would move the mean for a reason that is no gain."""
    runs = {
        "small-0-a": [record(0.5, 0.4, 0), record(0.6, 0.4, 1), record(0.9, 0.4, 3)],
        "small-2-c": [record(0.52, 0.4, 0), record(0.59, 0.4, 1), record(0.1, 0.4, 2)],
    }
    row = ladder_tables.rows(RUNGS, runs)[2]
    assert row.gains == pytest.approx((0.02, -0.01))
    assert row.before == pytest.approx(0.55)
    assert row.scores == (0.52, 0.59)
    line = ladder_tables.table([row]).splitlines()[2]
    assert "| 0, 1, 2 | 40.3 (10.0\u00a0to\u00a059.0) | +0.5 (−1.0 to +2.0) | yes |" in line


def test_the_table_says_of_every_rung_whether_it_was_kept_or_not_run():
    lines = ladder_tables.table(ladder_tables.rows(RUNGS, ran(VAL[:3], TEST))).splitlines()[2:]
    assert lines == [
        "| a | plain | 0 only | 50.0 | – | yes | 40.0 |",
        "| b | worse | 0 only | 40.0 | −10.0 | no | 45.0 |",
        "| c | better | 0 only | 52.0 | +2.0 | yes | 38.0 |",
        "| d | longer | not run yet |  | – | – |  |",
    ]


def test_records_that_are_no_rungs_are_left_alone():
    some = ran(VAL, TEST)
    more = some | {"unet-light": [record(0.9, 0.9)], "small-9-other": [record(0.9, 0.9)]}
    one, other = (ladder_tables.table(ladder_tables.rows(RUNGS, runs)) for runs in (some, more))
    assert one == other


def test_the_sentences_name_what_was_kept_what_was_not_and_where_test_fell():
    runs = ran(VAL, TEST)
    runs["small"][0]["metrics"]["test_views"] = {"miou": 0.53}
    assert ladder_tables.told(ladder_tables.rows(RUNGS, runs)).splitlines() == [
        "- 2 of 3 changes were kept: c +2.0, d +8.0.",
        "- Not kept: b −10.0.",
        "- Kept, and test fell: c −2.0.",
        "- From a to d: val 50.0 to 60.0, test 40.0 to 50.0.",
        "- With several views at test time, which is another protocol: d 53.0 on test in place of "
        "50.0.",
    ]


def test_seeds_that_came_later_and_say_otherwise_are_told():
    """A rung was left out for its first seed, and the others are on its side."""
    runs = ran(VAL, TEST)
    runs["small-0-a"].append(record(0.3, 0.3, 1))
    runs["small-1-b"].append(record(0.6, 0.3, 1))
    lines = ladder_tables.told(ladder_tables.rows(RUNGS, runs)).splitlines()
    assert lines[1] == "- Not kept: b +10.0 (−10.0 to +30.0)."
    said = "- The mean over the seeds that are there says otherwise of b +10.0 (−10.0 to +30.0)."
    assert lines[2] == said


def test_two_changes_may_be_judged_as_one():
    """The first falls, both together rise: the sentence is of the rung below both."""
    steps = (*STEPS[:2], Step("c", "", "better with d", with_next=True), STEPS[3])
    rows = ladder_tables.rows(rungs(steps, "", "small"), ran((0.5, 0.4, 0.48, 0.6), TEST))
    assert [row.together for row in rows[:3]] == [(), (), ()]
    assert rows[3].together == pytest.approx((0.1,))
    assert ladder_tables.table(rows).splitlines()[4].split(" | ")[5] == "yes, with the next"
    lines = ladder_tables.told(rows).splitlines()
    assert "- Judged as one change: c and d, +10.0." in lines
    assert not any("says otherwise" in line for line in lines)


def test_where_the_ladder_came_to_is_a_sentence_of_its_own():
    rows = ladder_tables.rows(RUNGS, ran(VAL[:3], TEST))
    assert ladder_tables.climbed(rows) == "From a to c: val 50.0 to 52.0, test 40.0 to 38.0."
    assert ladder_tables.climbed(ladder_tables.rows(RUNGS, ran(VAL[:2], TEST))) == ""
    assert ladder_tables.climbed(ladder_tables.rows(RUNGS, {})) == ""


def test_a_ladder_without_records_or_with_its_first_rung_alone_says_so():
    assert ladder_tables.told(ladder_tables.rows(RUNGS, {})) == NOTHING
    assert ladder_tables.told(ladder_tables.rows(RUNGS, ran(VAL[:1], TEST))) == NOTHING


def test_where_nothing_was_kept_the_ladder_ends_where_it_began():
    told = ladder_tables.told(ladder_tables.rows(RUNGS, ran(VAL[:2], TEST)))
    assert told.splitlines() == ["- 0 of 1 changes were kept: none.", "- Not kept: b −10.0."]


def test_the_figure_has_a_mark_for_each_rung_where_its_score_is():
    marks = ladder_tables.marks(ladder_tables.rows(RUNGS, ran(VAL[:3], TEST)))
    figure = ladder(*marks, xlabel="mIoU (%)", other="test")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    marks = {
        marker: [
            tuple(map(float, line.get_xydata()[0]))
            for line in ax.lines
            if line.get_marker() == marker and len(line.get_xdata()) == 1
        ]
        for marker in "oX"
    }
    assert marks == {"o": [(50.0, 0.0), (52.0, 2.0)], "X": [(40.0, 1.0)]}
    assert [text.get_text() for text in ax.texts] == ["50.0", "−10.0 not kept", "+2.0 kept"]
    (diamonds,) = (line for line in ax.lines if len(line.get_xdata()) == 3)
    assert diamonds.get_xdata() == pytest.approx([40, 45, 38])
    assert to_array(figure).std() > 0


@pytest.mark.parametrize(
    ("names", "scores"), [([], []), (["a"], [[1.0], [2.0]]), (["a", "b"], [[1.0], []])]
)
def test_lists_that_do_not_fit_are_refused(names, scores):
    n = len(scores)
    with pytest.raises(ValueError, match=f"{len(names)} names, {n} scores.* for each seed"):
        ladder(names, scores, [np.nan] * n, [True] * n, [1.0] * n, xlabel="x", other="y")
