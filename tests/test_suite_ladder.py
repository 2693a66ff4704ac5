"""The ladder to the best run: one change a step, and what becomes of steps that do not help."""

import json
from statistics import fmean

import pytest
from cli_tools import call
from suite_kills import LENGTHS, RUN

from segcourse import data, ladder_tables, results, scoreboard
from segcourse.cli import suite, suite_table
from segcourse.cli.flags import parse_config
from segcourse.cli.models import MODELS
from segcourse.cli.suite_ladder import (
    BASE,
    SMALL_BASE,
    SMALL_STEPS,
    STEPS,
    Step,
    gains,
    rungs,
    small_rungs,
)
from segcourse.cli.suite_place import DONE, State, jobs_of
from segcourse.cli.suite_runs import LADDER, RUNS, SEEDS, SMALL, SMALL_LADDER, VIEWS, Entry
from segcourse.config import differences
from segcourse.errors import UsageError
from segcourse.records import plain


def config(flags):
    return parse_config(flags.split())


LADDERS = pytest.mark.parametrize(
    ("best", "entries", "steps", "base", "among"),
    [
        ("best", LADDER, STEPS, BASE, RUNS),
        ("best-small", SMALL_LADDER, SMALL_STEPS, SMALL_BASE, SMALL),
    ],
    ids=("full", "small"),
)


@LADDERS
def test_steps_are_numbered_and_the_last_one_is_the_best_run(best, entries, steps, base, among):
    names = [entry.name for entry in entries]
    assert names[0] == f"{best}-0-plain"
    assert names[-1] == best
    for number, (entry, step) in enumerate(zip(entries, steps, strict=True)):
        assert entry.step == number
        assert entry.change == step.change
        assert entry.name in (best, f"{best}-{number}-{step.name}")
        assert entry in among
    assert len(set(names)) == len(names)
    assert {entry.name: entry.views for entry in entries if entry.views} == {best: VIEWS}


@LADDERS
def test_every_step_changes_what_its_own_flags_name_and_nothing_else(
    best, entries, steps, base, among
):
    before = config(base)
    for entry, step in zip(entries, steps, strict=True):
        now = config(entry.flags)
        named = {word[2:].replace("-", "_") for word in step.flags.split() if word[:2] == "--"}
        changed = {line.split(":")[0] for line in differences(plain(vars(before)), now)}
        assert changed <= named
        assert changed or entry.step == 0
        before = now if step.kept else before


def test_both_ladders_make_the_same_changes_in_the_same_order():
    assert [step.name for step in SMALL_STEPS] == [step.name for step in STEPS]
    for small, full in zip(SMALL_STEPS, STEPS, strict=True):
        assert [w for w in small.flags.split() if w[:2] == "--"] == [
            w for w in full.flags.split() if w[:2] == "--"
        ]


def test_a_step_that_does_not_help_stays_in_the_list_and_the_next_builds_on_the_one_before():
    steps = [
        Step("a", "--lr 0.1", "one"),
        Step("b", "--clip 2", "two"),
        Step("c", "--ema 0.5", "x"),
    ]
    kept = rungs(steps, "--batch 4")
    assert [(r.name, r.flags) for r in kept] == [
        ("best-0-a", "--batch 4 --lr 0.1"),
        ("best-1-b", "--batch 4 --lr 0.1 --clip 2"),
        ("best", "--batch 4 --lr 0.1 --clip 2 --ema 0.5"),
    ]
    steps[1] = Step("b", "--clip 2", "two", kept=False)
    out = rungs(steps, "--batch 4")
    assert [r.flags for r in out[:2]] == [r.flags for r in kept[:2]]
    assert out[2].flags == "--batch 4 --lr 0.1 --ema 0.5"
    assert [(r.on, r.kept) for r in out] == [("", True), ("best-0-a", False), ("best-0-a", True)]


def test_the_table_tells_what_each_step_gained_on_val_over_the_one_it_builds_on():
    steps = [Step("a", "", "1"), Step("b", "", "2", kept=False), Step("c", "", "3")]
    val = {"best-0-a": {0: 0.5, 1: 0.52}, "best-1-b": {0: 0.49}, "best": {0: 0.6, 1: 0.56, 2: 0.9}}
    assert gains(val, rungs(steps)) == [
        "best-1-b: val mIoU -0.0100 over best-0-a, not kept",
        "best: val mIoU +0.0700 over best-0-a (+0.0400 to +0.1000, 2 seeds), kept",
    ]
    assert gains({"best": {0: 0.6}}, rungs(steps)) == []

    jobs = jobs_of(LADDER, (0,), ["best-0*", "best-1*"])
    made = {"seconds": 1.0, "images_per_second": 1.0, "peak_memory_mib": 1.0, "epochs": 120}
    states = {
        job.label: State(DONE, found=made | {"metrics": {"val": {"miou": miou}, "test": None}})
        for job, miou in zip(jobs, (0.5, 0.6), strict=True)
    }
    told = suite_table.table(jobs, states)
    assert "best-1-scale-crop: val mIoU +0.1000 over best-0-plain, kept\n" in told


def test_the_table_of_the_small_list_tells_the_gains_of_the_small_ladder():
    val = {"best-small-0-plain": {0: 0.2}, "best-small-1-scale-crop": {0: 0.25}}
    (line,) = gains(val, [*rungs(), *small_rungs()])
    assert line.startswith("best-small-1-scale-crop: val mIoU +0.0500 over best-small-0-plain")


def test_the_small_ladder_keeps_what_rose_on_val_over_three_seeds():
    runs = scoreboard.by_entry(results.read_all("suite_small").values())
    rows = ladder_tables.rows(small_rungs(), runs)
    for row, after in zip(rows[1:], [*rows[2:], None], strict=True):
        judged = after.together if row.rung.with_next else row.gains
        assert len(judged) == len(SEEDS), row.rung.name
        assert row.rung.kept == (fmean(judged) > 0), row.rung.name


def test_the_ladder_is_under_the_protocol_of_the_other_runs():
    for entry in LADDER:
        c = config(entry.flags)
        assert (c.data, c.height, c.width) == ("camvid", 360, 480)
        assert c.batch * c.steps / 367 == pytest.approx(1000 if entry.name == "best" else 120, 0.01)
        assert c.eval_every > 0
        assert c.model in MODELS


def test_the_small_ladder_has_one_size_and_its_last_step_is_four_times_as_long():
    lengths = {entry.name: config(entry.flags).steps for entry in SMALL_LADDER}
    assert lengths.pop("best-small") == 4 * lengths["best-small-0-plain"]
    assert len(set(lengths.values())) == 1
    for entry in SMALL_LADDER:
        c = config(entry.flags)
        assert (c.data, c.height, c.width, c.precision) == ("camvid", 120, 160, "fp32")
        assert c.steps / c.eval_every == 6  # as many checkpoints to choose among
        assert c.model in MODELS


def test_a_pattern_names_many_entries(capsys):
    jobs = jobs_of(RUNS, (0,), ["best*"])
    assert [job.entry for job in jobs] == list(LADDER)
    assert len(jobs_of(RUNS, (0,), ["best-1-*", "unet"])) == 2
    assert len(jobs_of(RUNS, (0,))) == len(RUNS)
    with pytest.raises(UsageError, match="--only worst\\*: not in the list"):
        jobs_of(RUNS, (0,), ["worst*"])
    listed = suite_table.listing(LADDER, (0,))
    for entry in LADDER:
        assert f"{entry.name}: {entry.change}\n" in listed


def test_a_record_says_its_step_and_change_and_others_do_not(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "LENGTHS", LENGTHS)
    short = RUN + "--steps 4 --eval-every 2 --batch 2 "
    step = Entry("best-3-copy-paste", short + "--copy-paste 1", step=3, change="things are pasted")
    monkeypatch.setattr(suite, "TOYS", (Entry("other", short), step))
    words = ["bench", "suite", "--toy", "--seeds", 0, "--device", "cpu", "--out", tmp_path]
    assert call(capsys, *words)[0] == 0
    made = json.loads((tmp_path / "best-3-copy-paste-s0.json").read_text())
    assert made["recipe"] == {"step": 3, "change": "things are pasted"}
    assert made["config"]["copy_paste"] == 1
    assert "recipe" not in json.loads((tmp_path / "other-s0.json").read_text())

    # A step whose words change keeps its record: they are no part of what was computed.
    again = Entry(step.name, step.flags, step=3, change="in other words")
    monkeypatch.setattr(suite, "TOYS", (again,))
    code, told, _ = call(capsys, *words)
    assert code == 0
    assert "superseded" not in told
