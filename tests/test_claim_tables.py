"""The tables of claims: by verdict, with links to the sections that measured them."""

import re

from segcourse import claim_tables
from segcourse.claims import CLAIMS, HELD, NOT_HELD, NOT_RUN, Finding, Judged, judge


def test_a_heading_is_linked_by_its_words_without_signs():
    assert claim_tables.anchor("fc6 becomes 7×7, fc7 and fc8 become 1×1") == (
        "fc6-becomes-77-fc7-and-fc8-become-11"
    )
    assert claim_tables.anchor("What it saves: the paper's timing, repeated") == (
        "what-it-saves-the-papers-timing-repeated"
    )
    assert claim_tables.link("fcn", "The ceiling of a grid") == (
        "[FCN](fcn.ipynb#the-ceiling-of-a-grid)"
    )
    assert claim_tables.link("crf") == "[CRF](crf.ipynb)"


def test_a_table_has_the_claims_of_one_verdict_alone():
    held = Judged(CLAIMS[0], Finding("it was 5", (True, True)))
    failed = Judged(CLAIMS[1], Finding("it was 3", (False,)))
    table = claim_tables.claims_table([held, failed], HELD)
    assert CLAIMS[0].text in table
    assert "| **2\u00a0of\u00a02.** it was 5 |" in table
    assert CLAIMS[1].text not in table
    assert "| **0\u00a0of\u00a01.** it was 3 |" in claim_tables.claims_table([failed], NOT_HELD)
    assert claim_tables.claims_table([held], NOT_HELD) == "None."
    missing = claim_tables.claims_table([judge(CLAIMS[0], lambda name: None)], NOT_RUN)
    assert missing.endswith("| no record |")


def test_every_claim_is_a_link_to_a_section_of_a_page():
    judged = [judge(one, lambda name: None) for one in CLAIMS]
    rows = claim_tables.claims_table(judged, NOT_RUN).splitlines()[2:]
    assert len(rows) == len(CLAIMS)
    assert all(re.search(r"\(\[[\w -]+\]\(\w+\.ipynb#[\w-]+\)\) \|", row) for row in rows)


def test_pairs_have_columns_for_lists_with_records_alone():
    def run(name, miou):
        return [{"name": name, "seed": 0, "metrics": {"test": {"miou": miou}}}]

    runs = {"fcn16s-light": run("", 0.4), "fcn32s-light": run("", 0.3)}
    table = claim_tables.pairs_table({"here": ("light", runs), "there": ("vgg16", {})})
    assert table.splitlines()[0] == "| claim | here |"
    assert "| **held (1\u00a0of\u00a01)**: 40.0 against 30.0 |" in table
    assert table.count("| not run yet |") == len(table.splitlines()) - 3
    assert claim_tables.pairs_table({"there": ("vgg16", {})}) == "Not run yet."


def test_a_fold_is_a_dropdown():
    assert claim_tables.folded("T", "text") == ":::{dropdown} T\n\ntext\n\n:::"
