"""The tables of claims on the results page, in Markdown (book/results.ipynb).

A row is a claim with the question that was asked, a link to the section that measured it, and what
the record says. The claims that did not hold are never folded away.
"""

import re
from collections.abc import Mapping, Sequence

from segcourse.claims.judging import NOT_RUN, Finding, Judged
from segcourse.claims.on_camvid import PAIRS, judge_pair
from segcourse.scoreboard import markdown_table

Runs = Mapping[str, Sequence[dict]]

CHAPTERS = {
    "index": "the task",
    "sliding_window": "sliding window",
    "fcn": "FCN",
    "upsampling": "upsampling",
    "unet": "U-Net",
    "deconvnet": "DeconvNet",
    "atrous": "atrous",
    "aspp": "ASPP",
    "crf": "CRF",
}


def anchor(heading: str) -> str:
    """What a heading is called in a link: MyST's rule, which is GitHub's.

    >>> anchor("The experiment: 32s, 16s, 8s")
    'the-experiment-32s-16s-8s'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(chapter: str, section: str = "") -> str:
    """A chapter, or a section of it, as a link from another page of the book."""
    end = f"#{anchor(section)}" if section else ""
    return f"[{CHAPTERS[chapter]}]({chapter}.ipynb{end})"


def claims_table(judged: Sequence[Judged], verdict: str) -> str:
    """The claims with one verdict: what was asked, how many checks held, what was measured."""
    rows = [
        [
            f"**{one.claim.text}** {one.claim.asked} "
            f"({link(one.claim.chapter, one.claim.section)})",
            f"**{whole(one.tally)}.** {one.finding.measured}" if one.finding else "no record",
        ]
        for one in judged
        if one.verdict == verdict
    ]
    if not rows:
        return "None."
    return markdown_table(["claim, and what was asked", "checks that held, and measured"], rows, 2)


def folded(title: str, text: str) -> str:
    """Text that opens with a click."""
    return f":::{{dropdown}} {title}\n\n{text}\n\n:::"


def pairs_table(lists: Mapping[str, tuple[str, Runs]]) -> str:
    """The pairs of the claims on CamVid, a column for each list of networks with records.

    Args:
        lists: from the column's head to the family of networks and the runs.
    """
    found = {
        head: [judge_pair(pair, family, runs) for pair in PAIRS]
        for head, (family, runs) in lists.items()
    }
    shown = {head: column for head, column in found.items() if any(column)}
    if not shown:
        return f"{NOT_RUN.capitalize()}."
    rows = [
        [f"{pair.text} ({link(pair.chapter)})", *(_said(column[i]) for column in shown.values())]
        for i, pair in enumerate(PAIRS)
    ]
    return markdown_table(["claim", *shown], rows, 1 + len(shown))


def verdict_of(finding: Finding) -> str:
    """The verdict with its count: "held (3 of 3)"."""
    count = whole(f"{sum(finding.checks)} of {len(finding.checks)}")
    return f"{finding.verdict} ({count})"


def whole(words: str) -> str:
    """With spaces that do not break: "5 of 6" stays on one line."""
    return words.replace(" ", "\u00a0")


def _said(finding: Finding | None) -> str:
    return f"**{verdict_of(finding)}**: {finding.measured}" if finding else NOT_RUN
