"""The claims of the course, each with the rule that judges it from a record (book/results.ipynb).

A claim is written down as a paper or a lecture makes it, and not as our runs would like it. What
is asked of the record is part of the claim, so a reader can disagree with the question, too.
"""

from segcourse.claims import aspp, atrous, crf, deconvnet, fcn, unet, upsampling, windows
from segcourse.claims.judging import (
    HELD,
    IN_PART,
    NOT_HELD,
    NOT_RUN,
    VERDICTS,
    Claim,
    Finding,
    Judged,
    claim,
    judge,
)

CLAIMS = tuple(
    found
    for chapter in (windows, fcn, upsampling, unet, deconvnet, atrous, aspp, crf)
    for found in chapter.CLAIMS
)
"""In the order of the chapters."""

__all__ = [
    "CLAIMS",
    "HELD",
    "IN_PART",
    "NOT_HELD",
    "NOT_RUN",
    "VERDICTS",
    "Claim",
    "Finding",
    "Judged",
    "claim",
    "judge",
]
