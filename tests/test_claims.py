"""Verdicts follow from records: every rule says held of one made-up record and not of another."""

import json
import re
from pathlib import Path

import pytest

from segcourse import claims, results
from segcourse.claims import HELD, IN_PART, NOT_HELD, NOT_RUN, Finding, judge, on_camvid, on_isbi
from segcourse.claims.judging import BAR, ahead, claim, points, rising, spread
from segcourse.labels import SCENES

ROOT = Path(__file__).parent.parent
IDS = [one.rule.__name__ for one in claims.CLAIMS]
every_claim = pytest.mark.parametrize("one", claims.CLAIMS, ids=IDS)


# ---- judging


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ((True, True), HELD),
        ((True, False), IN_PART),
        ((False, False), NOT_HELD),
        ((True,), HELD),
        ((False,), NOT_HELD),
    ],
)
def test_all_checks_make_held_and_none_makes_not_held(checks, verdict):
    assert Finding("", checks).verdict == verdict


def test_a_finding_without_checks_has_no_verdict():
    with pytest.raises(ValueError, match="a rule returns one at least"):
        _ = Finding("", ()).verdict


def test_equal_numbers_are_not_ahead_and_seeds_are_compared_in_pairs():
    assert ahead([0.5, 0.6], [0.5, 0.4]) == (False, True)
    assert ahead([0.5], [0.4], by=0.2) == (False,)
    with pytest.raises(ValueError, match="zip"):
        ahead([0.5], [0.4, 0.3])


def test_rising_asks_every_step_of_every_seed():
    assert rising([[1, 5], [2, 4], [3, 6]]) == (True, False, True, True)


def test_a_spread_is_the_lowest_and_the_highest_seed_and_one_seed_has_none():
    assert points([0.5, 0.1, 0.6]) == "40.0 (10.0 to 60.0)"
    assert spread([2.0], digits=0) == "2"


def test_a_claim_is_the_first_line_of_its_rule_and_the_question_is_the_rest():
    @claim("fcn", "fcn/a", "fcn/b", section="The ceiling of a grid")
    def rule(a, b):
        """One is more than two.

        Asked of one record
        and another.
        """
        return Finding(f"{a} and {b}", (a["n"] > b["n"],))

    assert (rule.chapter, rule.section) == ("fcn", "The ceiling of a grid")
    assert rule.text == "One is more than two."
    assert rule.asked == "Asked of one record and another."
    found = judge(rule, {"fcn/a": {"n": 2}, "fcn/b": {"n": 1}}.get)
    assert (found.verdict, found.tally) == (HELD, "1 of 1")
    missing = judge(rule, {"fcn/a": {"n": 2}}.get)
    assert (missing.verdict, missing.tally, missing.finding) == (NOT_RUN, "", None)


def test_a_record_of_another_form_is_named_with_what_it_lacks():
    one = claims.CLAIMS[0]
    with pytest.raises(ValueError, match=r"metric_choice_camvid cannot be asked .*KeyError"):
        judge(one, lambda name: {"metrics": {}})


# ---- the claims of the course


@every_claim
def test_a_claim_says_what_it_asks_and_names_a_chapter_with_a_page(one):
    assert one.text.endswith(".")
    assert one.asked.endswith(".")
    assert (ROOT / "book" / f"{one.chapter}.ipynb").exists()
    assert one.records
    assert all((ROOT / "results" / f"{name}.json").exists() for name in one.records)


@every_claim
def test_a_claim_leads_to_the_section_that_measures_it(one):
    cells = json.loads((ROOT / "book" / f"{one.chapter}.ipynb").read_text("utf-8"))["cells"]
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    headings = re.findall(r"(?m)^##+ (.+)$", prose)
    assert headings.count(one.section) == 1, one.section


def test_bars_are_where_the_rules_look_for_them():
    assert SCENES.names[BAR] == "bar"


def test_no_claim_is_made_twice():
    assert len({one.text for one in claims.CLAIMS}) == len(claims.CLAIMS)


def mirrored(record, about, key=""):
    """The record with every measured number turned round, so that what was ahead falls behind."""
    if isinstance(record, dict):
        kept = ("cycles", "seed", "stride", "window", "side_px", "iterations", "step", "size")
        return {k: v if k in kept else mirrored(v, about, k) for k, v in record.items()}
    if isinstance(record, list):
        return [mirrored(value, about, key) for value in record]
    if isinstance(record, float) or key == "radius_50":
        return about - record
    return record


@every_claim
def test_a_record_with_its_numbers_turned_round_gets_another_verdict(one):
    """No rule is deaf: turn every measured number round, and some check falls the other way."""
    records = {name: results.read(name) for name in one.records}
    before = judge(one, records.get).finding.checks
    after = []
    for about in (0, 5, 200):  # numbers fall below zero, and a rule may ask for small ones
        turned = {n: r | {"metrics": mirrored(r["metrics"], about)} for n, r in records.items()}
        after.append(judge(one, turned.get).finding.checks)
    assert set(after) != {before}


def judged(name, record):
    (one,) = (one for one in claims.CLAIMS if one.rule.__name__ == name)
    return judge(one, lambda _: record).verdict


def skips(**miou):
    """A record of FCN's skips: mIoU by variant, three seeds."""
    runs = [
        {"variant": variant.replace("_", " "), "cycles": 3, "seed": seed, "miou": value}
        for variant, seeds in miou.items()
        for seed, value in enumerate(seeds)
    ]
    return {"metrics": {"runs": runs}}


def test_skips_pay_in_every_seed_or_in_part_or_not():
    low, high = {"32s": [0.1, 0.1, 0.1], "16s": [0.2, 0.2, 0.2]}, [0.3, 0.3, 0.3]
    assert judged("every_skip_pays", skips(**low, **{"8s": high})) == HELD
    assert judged("every_skip_pays", skips(**low, **{"8s": [0.3, 0.1, 0.3]})) == IN_PART
    falling = {"32s": [0.3] * 3, "16s": [0.2] * 3, "8s": [0.1] * 3}
    assert judged("every_skip_pays", skips(**falling)) == NOT_HELD


def test_one_skip_at_a_time_is_compared_with_all_at_once():
    assert judged("one_skip_at_a_time", skips(**{"8s": [0.5], "8s at once": [0.4]})) == HELD
    assert judged("one_skip_at_a_time", skips(**{"8s": [0.5], "8s at once": [0.6]})) == NOT_HELD


def heads(s, rate, l_rate=0.3):
    def row(values):
        return {"runs": [{"miou": value} for value in values]}

    found = {f"rate_{r}": row([rate] * 3) for r in (1, 2, 3, 4, 6, 9, 12)}
    return {"metrics": {"heads": found | {"aspp_s": row(s), "aspp_l": row([l_rate] * 3)}}}


def test_the_pyramid_is_compared_with_the_best_single_rate_and_with_the_wider_one():
    for s, verdict in (([0.7] * 3, HELD), ([0.7, 0.7, 0.4], IN_PART), ([0.4] * 3, NOT_HELD)):
        assert judged("a_pyramid_beats_its_branches", heads(s, 0.5)) == verdict
    assert judged("wide_pyramids_are_better", heads([0.7] * 3, 0.5)) == NOT_HELD
    assert judged("wide_pyramids_are_better", heads([0.2] * 3, 0.5)) == HELD


def test_a_decoder_is_judged_by_all_classes_and_by_those_of_shape():
    def record(learned, bilinear):
        def row(shapes, pair):
            iou = [shapes] * 6 + [pair] * 2
            return {"runs": [{"iou": iou, "miou": sum(iou) / 8}]}

        return {"metrics": {"trained": {"true": row(*learned), "no_decoder": row(*bilinear)}}}

    assert judged("a_learned_decoder_wins", record((0.6, 0.5), (0.5, 0.5))) == HELD
    assert judged("a_learned_decoder_wins", record((0.6, 0.0), (0.5, 0.9))) == IN_PART
    assert judged("a_learned_decoder_wins", record((0.4, 0.5), (0.5, 0.5))) == NOT_HELD


def test_linear_time_is_asked_twice():
    for exponent, verdict in ((1.0, HELD), (1.2, IN_PART), (1.9, NOT_HELD)):
        assert (
            judged("the_lattice_is_linear", {"metrics": {"exponent_pixels": exponent}}) == verdict
        )


def test_the_page_names_claims_that_did_not_hold_and_they_did_not():
    cells = json.loads((ROOT / "book" / "results.ipynb").read_text("utf-8"))["cells"]
    prose = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    told = {
        "The wider pyramid": "wide_pyramids_are_better",
        "the head of version 3": "version_three_is_better",
        "the average of several views": "several_views_help",
        "kernels which their stride divides": "even_overlap_leaves_no_grid",
        "training widens the field": "training_widens_the_field",
        "skips are best added one at a time": "one_skip_at_a_time",
        "the finest skip is missed most": "the_finest_skip_matters_most",
        "one which starts even stays even": "an_even_start_lasts",
        "wide rates are for large objects": "wide_rates_find_large_objects",
        "A learned decoder without switches": "learned_decoders_win_without_switches",
    }
    rules = {one.rule.__name__: one for one in claims.CLAIMS}
    not_held = {n for n, one in rules.items() if judge(one, results.read).verdict == NOT_HELD}
    assert not_held == set(told.values())
    assert all(words in prose for words in told)
    assert judge(rules["the_ceiling_holds"], results.read).verdict == IN_PART


def test_what_the_chapters_say_honestly_is_what_the_rules_find():
    """The chapters' own verdicts, held by tests of their prose, and these rules agree."""
    found = {
        one.claim.rule.__name__: one.verdict
        for one in (judge(each, results.read) for each in claims.CLAIMS)
    }
    for name in ("one_skip_at_a_time", "the_finest_skip_matters_most", "wide_pyramids_are_better"):
        assert found[name] == NOT_HELD
    for name in ("every_skip_pays", "a_learned_decoder_wins", "fields_and_not_weights"):
        assert found[name] == IN_PART
    for name in ("true_switches_win", "border_weights_part_cells", "end_to_end_is_best"):
        assert found[name] == HELD


# ---- on streets


def street(name, seed, miou, crf=None):
    metrics = {"test": {"miou": miou}}
    if crf is not None:
        metrics["crf"] = {"test": {"miou": crf}}
    return {"name": name, "seed": seed, "metrics": metrics}


PAIR = on_camvid.Pair("16s over 32s", "fcn", "fcn16s", "fcn32s")


def test_a_pair_is_judged_over_the_seeds_that_both_have():
    runs = {
        "fcn16s-light": [street("", seed, miou) for seed, miou in ((0, 0.5), (1, 0.3), (2, 0.9))],
        "fcn32s-light": [street("", seed, miou) for seed, miou in ((0, 0.4), (1, 0.4))],
    }
    found = on_camvid.judge_pair(PAIR, "light", runs)
    assert (found.checks, found.verdict) == ((True, False), IN_PART)
    assert found.measured == "40.0 (30.0 to 50.0) against 40.0 (40.0 to 40.0)"
    assert on_camvid.judge_pair(PAIR, "vgg16", runs) is None
    runs["fcn32s-light"] = [street("", 7, 0.4)]
    assert on_camvid.judge_pair(PAIR, "light", runs) is None, "no seed is shared"


def test_the_crf_is_judged_by_the_runs_that_have_it():
    assert on_camvid.judge_crf({"a": [street("a", 0, 0.4)]}) is None
    runs = {"a": [street("a", 0, 0.4, 0.5)], "b": [street("b", 0, 0.4, 0.3), street("b", 1, 0.4)]}
    found = on_camvid.judge_crf(runs)
    assert (found.checks, found.verdict) == ((True, False), IN_PART)
    for run, edges in ((runs["a"][0], (0.3, 0.35)), (runs["b"][0], (0.3, 0.31))):
        splits = (run["metrics"]["test"], run["metrics"]["crf"]["test"])
        for split, miou in zip(splits, edges, strict=True):
            split["trimap"] = {"miou": miou, "width": 3}
    found = on_camvid.judge_crf(runs, "trimap")
    assert (found.checks, found.verdict) == ((True, True), HELD)
    assert found.measured == "gains 3.0 (1.0 to 5.0) points over all runs"


def slices(name, seed, merged, rand):
    objects = {"merged": merged, "adapted_rand_error": rand}
    return {"name": name, "seed": seed, "metrics": {"val": {"objects": objects}}}


def test_border_weights_are_judged_by_merged_cells_and_by_the_rand_error():
    with_, without = on_isbi.ENTRIES["light"]
    runs = {with_: [slices("", 0, 100, 0.3), slices("", 1, 100, 0.5)]}
    assert on_isbi.judge_border(runs) is None
    runs[without] = [slices("", 0, 150, 0.4), slices("", 1, 150, 0.4), slices("", 2, 9, 0.1)]
    found = on_isbi.judge_border(runs)
    assert (found.checks, found.verdict) == ((True, True, True, False), IN_PART)
    assert found.measured.startswith("merged cells 100 (100 to 100) with border weights, ")


def test_border_weights_are_compared_in_both_lists():
    from segcourse.cli.suite_runs import RUNS, SMALL

    for entries, size in ((SMALL, "light"), (RUNS, "full")):
        flags = {entry.name: entry.flags for entry in entries}
        border, plain = (flags[name].split() for name in on_isbi.ENTRIES[size])
        at = border.index("--border-weight")
        assert border[:at] + border[at + 2 :] == plain


def test_every_pair_names_networks_of_both_lists():
    from segcourse.cli.suite_runs import RUNS, SMALL

    for entries, families in ((SMALL, ("light",)), (RUNS, ("light", "vgg16"))):
        runs = {entry.name: [street(entry.name, 0, 0.5)] for entry in entries}
        for pair in on_camvid.PAIRS:
            for family in families:
                assert on_camvid.entry_of(pair.better, family, runs), (pair.text, family)
                assert on_camvid.entry_of(pair.worse, family, runs), (pair.text, family)


def test_every_chapter_with_an_experiment_has_a_claim():
    told = {one.chapter for one in claims.CLAIMS}
    toc = (ROOT / "_toc.yml").read_text("utf-8")
    pages = set(re.findall(r"book/(\w+)", toc)) - {"results", "glossary", "bibliography"}
    assert told == pages - {"instructors"}


def test_the_page_types_no_verdict():
    """In the page's own text, verdicts are words of the rules and stand in outputs alone."""
    cells = json.loads((ROOT / "book" / "results.ipynb").read_text("utf-8"))["cells"]
    prose = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert not re.search(r"\(\d+ of \d+\)", prose)
