"""Which jobs of its children a parent tells, and when."""

from __future__ import annotations

import pytest

from lastspan.instrumentation.registry.accepted_jobs import ACCEPTED_MAX, AcceptedJob, AcceptedJobs
from lastspan.instrumentation.registry.children import ChildJob

TRACE = "0af7651916cd43dd8448eb211c80319c"


def job(number: int = 1, *, age: float = 0.0, attempt: int = 1, traceparent: str = "") -> ChildJob:
    return ChildJob(100 + number, "celery", f"id-{number}", "resize", attempt, None, age, traceparent)


def told(accepted: AcceptedJobs, *running: ChildJob, now: float, again: bool = False) -> list[AcceptedJob]:
    accepted.update(running, now)
    return list(accepted.due(running, now, again=again))


def test_a_short_job_costs_nothing() -> None:
    """Its child would have told of it long before."""
    accepted = AcceptedJobs(after=6.0, refresh=60.0)
    for now in range(6):
        assert told(accepted, job(), now=now) == []
    assert told(accepted, now=6.0) == []
    assert accepted.span_ids == []


def test_a_job_that_lasts_is_told_at_once_and_at_each_refresh() -> None:
    """Under the same ids, as long as it runs; after a failed export, again."""
    accepted = AcceptedJobs(after=6.0, refresh=60.0)
    assert told(accepted, job(age=0.5), now=100.0) == []
    (first,) = told(accepted, job(age=6.0), now=105.5)
    assert (first.started, accepted.span_ids) == (99.5, [first.span_id])
    assert told(accepted, job(), now=106.5) == []
    assert told(accepted, job(), now=107.5, again=True) == [first]
    assert told(accepted, job(), now=167.5) == [first]
    assert told(accepted, now=168.5) == []
    assert accepted.span_ids == []


def test_the_wall_clock_may_be_set() -> None:
    """A job is not older than the look that did not see it."""
    accepted = AcceptedJobs(after=6.0, refresh=60.0)
    accepted.update((), 100.0)
    assert told(accepted, job(age=3600.0), now=101.0) == []
    (first,) = told(accepted, job(age=3606.0), now=106.0)
    assert first.started == 100.0


@pytest.mark.parametrize(
    ("traceparent", "is_its"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", True),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        ("", False),
        ("00-nonsense", False),
        ("x" * 100_000, False),
    ],
)
def test_the_trace_is_that_of_the_message(traceparent: str, is_its: bool) -> None:
    """Where it came with one that can be read."""
    accepted = AcceptedJobs(after=0.0, refresh=60.0)
    (taken,) = told(accepted, job(traceparent=traceparent), now=1.0)
    assert (taken.trace_id == int(TRACE, 16)) == is_its
    assert 0 < taken.trace_id < 1 << 128
    assert 0 < taken.span_id < 1 << 64


def test_each_attempt_and_each_child_is_another() -> None:
    accepted = AcceptedJobs(after=0.0, refresh=60.0)
    (first,) = told(accepted, job(), now=1.0)
    (second,) = told(accepted, job(attempt=2), now=2.0)
    assert first.span_id != second.span_id
    assert accepted.span_ids == [second.span_id]


def test_it_is_bounded() -> None:
    accepted = AcceptedJobs(after=0.0, refresh=60.0)
    running = [job(number) for number in range(2 * ACCEPTED_MAX)]
    assert len(told(accepted, *running, now=1.0)) == ACCEPTED_MAX
    assert len(accepted.span_ids) == ACCEPTED_MAX


def test_those_that_were_told_are_told_again_whatever_came_since() -> None:
    """The framework names them in no order: one too many may come before them."""
    accepted = AcceptedJobs(after=0.0, refresh=60.0)
    running = [job(number) for number in range(ACCEPTED_MAX)]
    told(accepted, *running, now=1.0)
    again = told(accepted, job(ACCEPTED_MAX), *running, now=61.0)
    assert [taken.job for taken in again] == running
