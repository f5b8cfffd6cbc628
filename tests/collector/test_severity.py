"""Whom a verdict wakes: the strongest basis of all that is late, and never less than before while it lasts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.held import Held
from tests.collector.records import Process, job_key, span_id
from tests.examples import examples

from lastspan.collector.publish.pages.external_links import ExternalLinks
from lastspan.collector.publish.pages.incident import incident
from lastspan.collector.publish.pages.routes import story
from lastspan.collector.publish.shapes import JobView

HTTP: dict[str, Any] = {"http_request_method": "GET", "server_address": "api", "server_port": 443}


def test_a_declared_job_still_pages_when_its_call_is_late_by_a_default() -> None:
    """Declared 30 s, and in one call for 70 s: late by both, and the declared one decides from first to last."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=29.0, span_expected_duration=30.0), worker.http(2, 1, age=28.0))
    told = []
    for _ in range(12):
        held.wait(10)
        held.tell(worker, worker.state(1, 2))
        told.append(held.job("id-1"))
    assert {job.state for job in told} == {"stuck"}
    assert {(job.severity, job.basis, job.incident) for job in told} == {("page", "declared", told[0].incident)}


def test_both_allowances_are_named() -> None:
    """In the API, in the text of `lastspan explain`, and on the page: the job's, and the last span's."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=100.0, span_expected_duration=30.0), worker.http(2, 1, age=90.0))
    job = held.job("id-1")
    assert (job.allowed_s, job.basis, job.basis_rule) == (30, "declared", "declared in the code")
    assert (job.job_allowed_s, job.job_basis, job.job_basis_rule) == (30, "declared", "declared in the code")
    last = job.last_span
    assert (last.allowed_s, last.basis, last.basis_rule) == (60, "default", "default for http")
    text = " ".join(story(job).split())
    assert "GET (http), open for 1 min 30 s allowed 1 min (default for http)" in text
    assert "allowed 30 s (declared in the code)" in text
    facts = dict(incident(job, ExternalLinks(), alike=0)["facts"])
    assert facts["Allowed"] == "30 s (declared in the code)"
    assert facts["Its last span"] == "1 min (default for http)"


@pytest.mark.parametrize(
    ("of_job", "of_between", "of_call", "severity", "basis"),
    [
        # A span between the job and its last span is late by what it declares.
        ({}, {"span_expected_duration": 30.0}, {}, "page", "declared"),
        ({}, {}, {}, "warning", "default"),
        # Two are late by something better than a default: the strongest is told.
        ({"name": "tasks.ruled"}, {}, {"span_expected_duration": 30.0}, "page", "declared"),
        ({"name": "tasks.ruled"}, {}, {}, "page", "rule"),
        # What is not late decides nothing.
        ({"span_expected_duration": 900.0}, {"span_expected_duration": 900.0}, {}, "warning", "default"),
    ],
)
def test_all_that_is_late_counts(
    of_job: dict[str, Any], of_between: dict[str, Any], of_call: dict[str, Any], severity: str, basis: str
) -> None:
    held, worker = Held(rules=[{"match": {"job_name": "tasks.ruled"}, "allowed": "20s"}]), Process()
    held.tell(
        worker,
        worker.job(1, age=100.0, **of_job),
        worker.span(2, 1, name="step", age=95.0, **of_between),
        worker.http(3, 1, age=90.0, span_parent_id=span_id(2).hex(), **of_call),
    )
    job = held.job("id-1")
    assert (job.state, job.severity, job.basis) == ("stuck", severity, basis)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([1.0, 14.0, 40.0])),
        st.tuples(st.just("job"), st.fixed_dictionaries(
            {},
            optional={
                "job_movement_age": st.sampled_from([0.0, 20.0, 500.0]),
                "job_progress_done": st.sampled_from([1.0, 2.0]),
                "span_expected_duration": st.sampled_from([20.0, 4000.0]),
                "thread_cpu_ratio": st.just(0.9),
                "wait_kind": st.sampled_from(["lock", "queue", "http"]),
            },
        )),
        st.tuples(st.sampled_from(["call", "other"]), st.fixed_dictionaries(
            {},
            optional={
                "call_unbounded": st.just(True),
                "stack_age": st.sampled_from([1.0, 400.0]),
                "wait_kind": st.sampled_from(["lock", "queue", "http"]),
                "lock_holder_certainty": st.sampled_from(["nobody", "likely"]),
            },
        )),
        st.tuples(st.just("closed"), st.sampled_from([2, 3])),
        st.tuples(st.just("state"), st.none()),
    ),
    max_size=14,
)  # fmt: skip
RULES = [
    {"match": {"kind": "lock"}, "allowed": "10s"},
    {"match": {"job_name": "tasks.ruled"}, "allowed": "30s"},
]


@examples(120)
@given(name=st.sampled_from(["tasks.ruled", "tasks.charge"]), with_rules=st.booleans(), steps=STEPS)
def test_while_it_lasts_it_is_never_less(name: str, with_rules: bool, steps: list[tuple[str, Any]]) -> None:
    """Whatever is told, of whatever kind and basis: a page stays a page, of one incident, until it is over."""
    held, worker = Held(rules=RULES if with_rules else []), Process()
    age, open_spans, before = 100.0, {1}, None
    for what, told in [("job", {}), *steps]:
        if what == "wait":
            age += told
            held.wait(told)
        elif what == "job":
            held.tell(worker, worker.job(1, name=name, age=age, **told))
        elif what == "closed":
            open_spans.discard(told)
            held.tell(worker, worker.closed(told))
        elif what == "state":
            held.tell(worker, worker.state(*open_spans))
        else:
            number = 2 if what == "call" else 3
            open_spans.add(number)
            held.tell(worker, worker.http(number, 1, name=what, age=age - 20 * number, job_name=name, **told))
        job = held.job(job_key(1))
        if before is not None and (before.state in SUSPECTS) and job.state in SUSPECTS:
            assert (before.severity, job.severity) != ("page", "warning")
            is_same = (before.state == "lost") is (job.state == "lost")
            assert not is_same or before.incident in (None, job.incident)
        assert _explains_itself(job, with_rules)
        before = job


SUSPECTS = ("stuck", "lost", "frozen")


def _explains_itself(job: JobView, with_rules: bool) -> bool:
    """The basis that is told is of something that is late."""
    late = [
        (age_s, allowed_s, basis)
        for age_s, allowed_s, basis in (
            (job.age_s, job.job_allowed_s, job.job_basis),
            (job.last_span.age_s, job.last_span.allowed_s, job.last_span.basis),
        )
        if age_s > allowed_s
    ]
    strongest = min((["declared", "rule", "learned", "default"].index(basis) for _, _, basis in late), default=None)
    told = ["declared", "rule", "learned", "default"].index(job.basis)
    return strongest is None or told <= strongest


def test_of_two_jobs_one_in_the_other_the_inner_one_pages() -> None:
    """The outer job is late too, by its own declared time: what it has to say is that it is in the inner one."""
    held, worker = Held(), Process()
    inside = {"job_outer_span_id": span_id(1).hex(), "span_parent_id": span_id(1).hex()}
    held.tell(worker, worker.job(1, name="nightly", age=50.0, span_expected_duration=40.0))
    held.tell(worker, worker.job(2, name="charge", age=48.0, span_expected_duration=20.0, wait_kind="sleep", **inside))
    inner, outer = held.job("id-2"), held.job("id-1")
    assert (inner.state, inner.severity, inner.cause) == ("stuck", "page", "waiting")
    assert (outer.state, outer.severity, outer.cause) == ("stuck", "warning", "waiting")
    assert inner.incident == outer.incident
    text = outer.cause_text or ""
    assert text.startswith("It runs the job charge (id-2), which is stuck. It sleeps"), text
    assert held.metrics().count('severity="page"') == held.metrics().count('lastspan_job_stuck{basis="declared"') == 2


def pages(held: Held, *numbers: int) -> list[int]:
    return [number for number in numbers if held.job(f"id-{number}").severity == "page"]


INSIDE: dict[str, Any] = {"job_outer_span_id": span_id(1).hex(), "span_parent_id": span_id(1).hex()}


def test_an_outer_job_that_paged_first_is_the_one_that_pages() -> None:
    """The inner one is late later, by its own declared time: it is told in the page that went out."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=50.0, span_expected_duration=40.0))
    held.tell(worker, worker.job(2, age=10.0, span_expected_duration=20.0, wait_kind="sleep", **INSIDE))
    assert pages(held, 1, 2) == [1]
    held.wait(11)
    assert held.job("id-2").state == "stuck"
    assert pages(held, 1, 2) == [1]
    assert held.job("id-1").incident == held.job("id-2").incident


def test_the_inner_one_pages_when_the_outer_one_does_so_no_more() -> None:
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=50.0, span_expected_duration=40.0))
    held.tell(worker, worker.job(2, age=10.0, span_expected_duration=20.0, **INSIDE))
    held.wait(11)
    assert pages(held, 1, 2) == [1]
    held.tell(worker, worker.closed(1))
    held.tick()
    assert pages(held, 2) == [2]


@pytest.mark.parametrize(("expected", "one"), [(40.0, 1), (5010.0, 2)])
def test_a_proof_in_the_inner_job_is_no_second_page(expected: float, one: int) -> None:
    """A lock that nobody holds any more: whichever of the two is late first."""
    held, worker = Held(), Process()
    held.tell(worker, worker.job(1, age=5000.0, span_expected_duration=expected))
    leaked: dict[str, Any] = {"wait_kind": "lock", "lock_name": "x", "lock_holder_certainty": "nobody"}
    held.tell(worker, worker.job(2, age=4900.0, **leaked, **INSIDE))
    for _ in range(4):
        assert pages(held, 1, 2) == [one]
        held.wait(5)
        held.tell(worker, worker.state(1, 2))


def test_of_three_jobs_in_each_other_one_pages() -> None:
    held, worker = Held(), Process()
    for number in (1, 2, 3):
        outer = {} if number == 1 else {"job_outer_span_id": span_id(number - 1).hex()}
        held.tell(worker, worker.job(number, age=60.0 - number, span_expected_duration=20.0, **outer))
    assert pages(held, 1, 2, 3) == [3]


def test_an_outer_job_pages_where_the_inner_one_does_not() -> None:
    held, worker = Held(), Process()
    inside = {"job_outer_span_id": span_id(1).hex(), "span_parent_id": span_id(1).hex()}
    held.tell(worker, worker.job(1, age=50.0, span_expected_duration=40.0), worker.job(2, age=48.0, **inside))
    assert (held.job("id-2").state, held.job("id-1").state) == ("running", "stuck")
    assert held.job("id-1").severity == "page"
    assert "It runs the job tasks.charge (id-2). " in (held.job("id-1").cause_text or "")


def test_an_outer_job_moves_with_the_inner_one() -> None:
    """The inner one is late and moves: nothing has stopped, in neither of them."""
    held, worker = Held(), Process()
    inside = {"job_outer_span_id": span_id(1).hex(), "span_parent_id": span_id(1).hex()}
    late: dict[str, Any] = {"span_expected_duration": 20.0}
    held.tell(worker, worker.job(1, age=300.0, job_movement_age=300.0, **late))
    held.tell(worker, worker.job(2, age=100.0, job_movement_age=1.0, **late, **inside))
    assert [held.job(f"id-{number}").state for number in (1, 2)] == ["overdue", "overdue"]


def test_an_incident_stays_a_page_when_the_job_that_paged_is_gone() -> None:
    held, worker = Held(), Process()
    for number, told in ((1, 20.0), (3, None), (5, None)):
        held.tell(
            worker, worker.job(number, age=80.0, span_expected_duration=told), worker.http(number + 1, number, age=70.0)
        )
    assert 'severity="page"} 3.0' in held.metrics()
    held.tell(worker, worker.closed(2), worker.closed(1))
    page = held.metrics()
    assert 'lastspan_incident_jobs{cause="http_call"' in page
    assert 'severity="page"} 2.0' in page
    assert {held.job(f"id-{number}").severity for number in (3, 5)} == {"warning"}
