"""One way to hang for each cause, as real processes; `make causes` runs them all, both ways."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.e2e.causes.finding import Finding
from tests.e2e.causes.harness import Harness, all_ways, fits_here

from lastspan.semconv.vocabulary import CAUSES

pytestmark = pytest.mark.long

EXAMPLES = sorted(CAUSES.keys() - {"unknown"})


def test_every_cause_has_its_ways() -> None:
    """At least 60 ways in all, and each cause is the only label of one that `make test` runs."""
    ways = all_ways().values()
    assert len(ways) >= 60
    assert {cause for way in ways for cause in way.causes} == set(CAUSES)
    assert sorted(cause for way in ways if way.in_test for cause in way.causes) == EXAMPLES


@pytest.fixture(scope="module")
def findings() -> Mapping[str, Finding]:
    """What was found of each example, by the cause that it has."""
    examples = [way for way in all_ways().values() if way.in_test and fits_here(way)]
    with Harness(examples, parallel=6) as harness:
        return {cause: finding for finding in harness.findings() for cause in finding.way.causes}


@pytest.mark.timeout(600)  # the first one waits for them all
@pytest.mark.parametrize("cause", EXAMPLES)
def test_an_example_of_each_cause(findings: Mapping[str, Finding], cause: str) -> None:
    """Cause, last span, code line, and who holds what it waits for, as they were labelled."""
    finding = findings[cause]
    is_right = finding.is_all_right
    assert is_right, finding.evidence()
