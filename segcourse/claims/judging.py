"""A claim, what its record says of it, and a verdict that follows from both (book/results.ipynb).

Nobody types a verdict. A claim has a rule: a function from its record to checks, each of which
holds or does not, one for each seed where there are seeds. All hold: the claim held. None holds:
it did not. Anything between is in part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

HELD, IN_PART, NOT_HELD, NOT_RUN = "held", "held in part", "not held", "not run yet"
VERDICTS = (HELD, IN_PART, NOT_HELD, NOT_RUN)


@dataclass(frozen=True)
class Finding:
    """What a record says of a claim: numbers in words, and the checks."""

    measured: str
    checks: tuple[bool, ...]

    @property
    def verdict(self) -> str:
        """One of HELD, IN_PART and NOT_HELD.

        >>> Finding("two seeds agree, one does not", (True, True, False)).verdict
        'held in part'
        """
        if not self.checks:
            raise ValueError("a finding has no checks: a rule returns one at least")
        return HELD if all(self.checks) else IN_PART if any(self.checks) else NOT_HELD


@dataclass(frozen=True)
class Claim:
    """One sentence that a measurement can refute; made by `claim`.

    text: the claim, as a paper or a lecture makes it. asked: what is checked, and how often.
    chapter: stem of its page. section: the heading under which the page measures it. records:
    their names below results/. rule: takes these records.
    """

    text: str
    asked: str
    chapter: str
    section: str
    records: tuple[str, ...]
    rule: Callable[..., Finding]


def claim(chapter: str, *records: str, section: str) -> Callable[[Callable[..., Finding]], Claim]:
    """Make a claim of a rule: its docstring's first line is the claim, the rest what is asked.

    Args:
        chapter: stem of the page that makes the claim.
        section: the heading of the page under which it is measured.
        records: names below results/ of what the rule takes, in its order.
    """

    def made(rule: Callable[..., Finding]) -> Claim:
        text, _, asked = (rule.__doc__ or "").partition("\n")
        return Claim(text.strip(), " ".join(asked.split()), chapter, section, records, rule)

    return made


@dataclass(frozen=True)
class Judged:
    """A claim with its finding, which is None where a record is not there."""

    claim: Claim
    finding: Finding | None

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        return NOT_RUN if self.finding is None else self.finding.verdict

    @property
    def tally(self) -> str:
        """How many checks held: "5 of 6"; empty where nothing was measured."""
        checks = () if self.finding is None else self.finding.checks
        return f"{sum(checks)} of {len(checks)}" if checks else ""


def judge(one: Claim, read: Callable[[str], dict | None]) -> Judged:
    """Ask the records.

    Args:
        one: the claim, with its rule.
        read: from a record's name to the record, or None where there is none.

    Raises:
        ValueError: a record lacks a field that the rule reads.
    """
    found = [read(name) for name in one.records]
    if any(record is None for record in found):
        return Judged(one, None)
    try:
        return Judged(one, one.rule(*found))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{' and '.join(one.records)} cannot be asked whether {one.text!r}: "
            f"{type(error).__name__} {error}. The record is of another form: make it again, "
            "or bring the rule up to date"
        ) from error


# ---- what rules are made of

BAR = 5
"""The class of thin bars in the scenes."""


def seeds(runs: Sequence[dict], key: str) -> list[float]:
    """One number of every seed."""
    return [run[key] for run in runs]


def ahead(better: Sequence[float], worse: Sequence[float], by: float = 0.0) -> tuple[bool, ...]:
    """Seed by seed: is the first larger, by more than `by`?

    >>> ahead([0.5, 0.4], [0.3, 0.4])
    (True, False)
    """
    return tuple(b > w + by for b, w in zip(better, worse, strict=True))


def rising(steps: Sequence[Sequence[float]]) -> tuple[bool, ...]:
    """Seed by seed and step by step: does the number rise?

    Args:
        steps: one sequence of seeds for each step, in the order in which they should rise.
    """
    return tuple(rose for before, after in pairwise(steps) for rose in ahead(after, before))


def points(values: Sequence[float], digits: int = 1) -> str:
    """Shares as percent: the mean, and the lowest and highest seed.

    >>> points([0.5, 0.7])
    '60.0 (50.0 to 70.0)'
    """
    return spread([100 * value for value in values], digits)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The mean of the seeds, and the lowest and the highest of them; one seed has no spread."""
    said = f"{mean(values):.{digits}f}"
    if len(values) == 1:
        return said
    return f"{said} ({min(values):.{digits}f} to {max(values):.{digits}f})"
