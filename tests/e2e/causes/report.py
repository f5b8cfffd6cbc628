"""The confusion table, and whether the bar is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from tests.e2e.causes.finding import Finding

from lastspan.semconv.vocabulary import CAUSES

RIGHT_CAUSE: Final = 0.95
RIGHT_LINE: Final = 1.0
CONFIDENTLY_WRONG: Final = 0.01


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of all ways that were run, 0…1."""

    ways: int
    cause: float
    line: float
    span: float
    holder: float
    """Of those where somebody holds something."""
    unknown: float
    confidently_wrong: float

    @property
    def is_enough(self) -> bool:
        """Whether the bar is reached."""
        return (
            self.cause >= RIGHT_CAUSE and self.line >= RIGHT_LINE and self.confidently_wrong <= CONFIDENTLY_WRONG
        )  # fmt: skip

    def __str__(self) -> str:
        return (
            f"{self.ways} ways: cause right {self.cause:.1%} (bar {RIGHT_CAUSE:.0%}), "
            f"line right {self.line:.1%} (bar {RIGHT_LINE:.0%}), last span right {self.span:.1%}, "
            f"holder named {self.holder:.1%}, unknown {self.unknown:.1%}, "
            f"confidently wrong {self.confidently_wrong:.1%} (bar {CONFIDENTLY_WRONG:.0%})"
        )


def score(findings: Sequence[Finding]) -> Score:
    """Return how often the labels were met."""
    holders = [finding.is_holder_right for finding in findings if finding.is_holder_right is not None]
    return Score(
        ways=len(findings),
        cause=_share(finding.is_cause_right for finding in findings),
        line=_share(finding.is_line_right for finding in findings),
        span=_share(finding.is_span_right for finding in findings),
        holder=_share(holders),
        unknown=_share(finding.cause == "unknown" and not finding.is_cause_right for finding in findings),
        confidently_wrong=_share(finding.is_confidently_wrong for finding in findings),
    )


def confusion(findings: Sequence[Finding], title: str) -> Table:
    """Return what each cause was called."""
    table = Table("cause", "ways", "right", "called instead", title=title, title_justify="left")
    for cause in CAUSES:
        of_it = [finding for finding in findings if _label(finding) == cause]
        if of_it:
            wrong = Counter(finding.cause for finding in of_it if not finding.is_cause_right)
            said = ", ".join(f"{name} × {count}" for name, count in wrong.most_common())
            table.add_row(cause, str(len(of_it)), str(len(of_it) - wrong.total()), said)
    return table


def misses(findings: Sequence[Finding]) -> Table:
    """Return every way of which something is wrong, and what."""
    table = Table("way", "cause", "line", "last span", "holder", "problem", title="Misses", title_justify="left")
    for finding in sorted(findings, key=lambda finding: finding.way.name):
        if not finding.is_all_right:
            table.add_row(finding.way.name, *_wrong(finding), finding.problem[:60])
    return table


def _wrong(finding: Finding) -> Iterable[str]:
    code = (finding.job or {}).get("code") or {}
    confidence = (finding.job or {}).get("confidence")
    yield "" if finding.is_cause_right else f"{finding.cause} {confidence or ''}"
    yield "" if finding.is_line_right else f"{code.get('function')}:{code.get('line')}"
    yield "" if finding.is_span_right else finding.last_span
    yield "not named" if finding.is_holder_right is False else ""


def _label(finding: Finding) -> str:
    """Return the row of a way: the cause it was called if that is right, else the first of its labels."""
    if finding.is_cause_right:
        return finding.cause
    return next(cause for cause in CAUSES if cause in finding.way.causes)


def _share(facts: Iterable[bool]) -> float:
    known = list(facts)
    return sum(known) / len(known) if known else 1.0
