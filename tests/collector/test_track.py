"""Order, loss and duplication of records: DESIGN §3.4."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process, finished, job_key, key, span_id

from lastspan.semconv import attributes as a


def open_spans(held: Held) -> set[int]:
    return {int.from_bytes(key[16:], "big") for key in held.tracker.spans}


def test_a_close_is_final(held: Held) -> None:
    """Nothing reopens what was closed: not a late record, not a newer one."""
    worker = Process()
    opened, closed = worker.job(1), worker.closed(1)
    held.tell(worker, closed)
    held.tell(worker, opened, worker.job(1))
    assert open_spans(held) == set()


def test_a_finished_span_closes_what_was_announced(held: Held) -> None:
    """The traces pipeline brings the span itself; of spans that nobody announced nothing is kept."""
    worker = Process()
    opened = worker.job(1)
    held.tell(worker, opened)
    held.spans(finished(1, 77, error=True))
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "error")
    held.tell(worker, opened, worker.job(77))
    assert open_spans(held) == {77}


def test_absence_closes_but_is_not_final(held: Held) -> None:
    """A later list without the span closes it (outcome unknown); a still later record opens it again."""
    worker = Process()
    held.tell(worker, worker.job(1), worker.state())
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "unknown")
    held.tell(worker, worker.job(1, age=20.0))
    assert held.job("id-1").state == "running"
    assert held.states() == {"running": 1}


@pytest.mark.parametrize("before", ["absence", "finished span"])
def test_the_process_knows_best_how_a_job_ended(held: Held, before: str) -> None:
    """Absence says nothing of it, and a finished span knows no retries; a parent knows better than both."""
    worker = Process()
    held.tell(worker, worker.job(1), worker.job(2))
    told = [worker.closed(1, "retry"), worker.closed(2, "error")]
    if before == "absence":
        held.tell(worker, worker.state())
    else:
        held.spans(finished(1, 2))
    held.tell(worker, *told)
    assert [held.job(f"id-{number}").outcome for number in (1, 2)] == ["retry", "error"]
    held.spans(finished(1))
    held.tell(worker, worker.job_ended(2, "timeout"), worker.closed(2, "error"))
    assert [held.job(f"id-{number}").outcome for number in (1, 2)] == ["retry", "timeout"]


def test_absence_proves_nothing_against_a_newer_record(held: Held) -> None:
    worker = Process()
    empty = worker.state()
    held.tell(worker, worker.job(1))
    held.tell(worker, empty)
    assert open_spans(held) == {1}


def test_a_late_record_does_not_open_what_a_later_list_lacks(held: Held) -> None:
    worker = Process()
    late, listed = worker.job(1), worker.job(2)
    held.tell(worker, worker.state(2))
    held.tell(worker, late, listed)
    assert open_spans(held) == {2}


def test_a_truncated_list_proves_nothing(held: Held) -> None:
    """The process says that more is open than it lists."""
    worker = Process()
    late = worker.job(3)
    held.tell(worker, worker.job(1), worker.job(2), worker.state(2, open_count=3), late)
    assert open_spans(held) == {1, 2, 3}


def test_only_the_process_itself_can_close_by_absence(held: Held) -> None:
    one, other = Process(), Process(id="00000000000000bb", pid=200)
    held.tell(one, one.job(1))
    other.sequence = 1000
    held.tell(other, other.state())
    assert open_spans(held) == {1}


def test_the_newest_record_counts(held: Held) -> None:
    """A record that was overtaken changes nothing but the start, which is the earliest that any says."""
    worker = Process()
    older, newer = worker.job(1, job_attempt=1, age=100.0), worker.job(1, job_attempt=2, age=50.0)
    held.tell(worker, newer, older, newer, older)
    job = held.job("id-1")
    assert (job.attempt, job.age_s) == (2, 100.0)


def test_records_without_sequence_are_taken_as_they_come(held: Held) -> None:
    worker = Process()
    first, second = worker.job(1, job_attempt=2), worker.job(1, job_attempt=1)
    for record in (first, second):
        kept = [pair for pair in record.attributes if pair.key not in (a.PROCESS_ID, a.PROCESS_SEQUENCE)]
        del record.attributes[:]
        record.attributes.extend(kept)
    held.tell(worker, first, second)
    assert held.job("id-1").attempt == 1


def test_a_job_that_only_its_child_speaks_of(held: Held) -> None:
    """A child names its job, with the job's facts: it is known before its own record, and judged."""
    worker = Process()
    job = worker.job(1, age=90.0, job_attempt=3)
    held.tell(worker, worker.http(2, 1, age=70.0))
    seen = held.job("id-1")
    assert (seen.state, seen.job_name, seen.last_span.name) == ("stuck", "tasks.charge", "GET")
    assert held.states() == {"stuck": 1}
    worker.sequence = 10
    held.tell(worker, worker.state(2))
    assert held.states() == {"stuck": 1}, "the list may lack a job that was not announced yet"
    held.tell(worker, job)
    assert (held.job("id-1").attempt, held.job("id-1").age_s) == (3, 90.0)
    held.tell(worker, worker.closed(2))
    assert held.job("id-1").state == "running"
    held.tell(worker, worker.closed(1))
    assert held.states() == {"ended": 1}


def test_a_job_that_only_a_child_spoke_of_goes_with_it(held: Held) -> None:
    worker = Process()
    held.tell(worker, worker.http(2, 1))
    held.tell(worker, worker.closed(2))
    assert (open_spans(held), held.states()) == (set(), {})


def test_children_outlive_their_job_without_a_verdict(held: Held) -> None:
    worker = Process()
    held.tell(worker, worker.job(1), worker.http(2, 1), worker.closed(1))
    held.tell(worker, worker.http(3, 1, age=100.0), worker.http(2, 1, age=100.0))
    assert open_spans(held) == {2, 3}
    assert held.states() == {"ended": 1}
    held.tell(worker, worker.state())
    assert open_spans(held) == set()


def test_a_span_without_a_job_has_no_verdict(held: Held) -> None:
    worker = Process()
    held.tell(worker, worker.http(2, 1, age=100.0, job_span_id=None))
    assert (open_spans(held), held.states()) == ({2}, {})


# --- what a parent tells ------------------------------------------------------------------------------------------


def test_a_killed_job_ends_with_all_its_spans(held: Held) -> None:
    """The parent's word ends it at once; where it was stays visible, and nothing of that process opens it again."""
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11, parent_pid=10)
    job, call = (
        child.job(1),
        child.http(2, 1, age=30.0, code_function_name="charge", code_file_path="/x.py", code_line_number=7),
    )
    held.tell(child, job, call)
    held.tell(parent, parent.job_ended(1, pid=11, exit_signal=9, reason="SIGKILL"))
    seen = held.job("id-1")
    assert (seen.state, seen.outcome, seen.exit_signal, seen.reason) == ("ended", "killed", 9, "SIGKILL")
    assert (seen.last_span.name, seen.code and seen.code.line) == ("GET", 7)
    held.tell(child, child.job(1), child.http(2, 1), child.http(3, 1), child.http(4, 9, job_id="id-1"))
    assert open_spans(held) == set()
    held.wait(14 * 60)
    assert held.states() == {"ended": 1}
    held.wait(2 * 60)
    assert held.states() == {}


def test_a_killed_job_that_is_given_out_again_opens(held: Held) -> None:
    parent, first, second = (
        Process(id="00000000000000a0", pid=10),
        Process(pid=11),
        Process(id="00000000000000bb", pid=12),
    )
    held.tell(first, first.job(1))
    held.tell(parent, parent.job_ended(1, pid=11))
    held.tell(second, second.job(2, job_id="id-1"))
    job = held.job("id-1")
    assert (job.state, job.pid, len(job.others)) == ("running", 12, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"job_attempt": 2},  # another attempt
        {"pid": 99},  # another process
        {"job_system": "rq"},  # another framework's id
        {"job_id": "id-2"},
    ],
)
def test_the_parents_word_is_about_one_attempt(held: Held, other: dict[str, Any]) -> None:
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11)
    held.tell(child, child.job(1))
    held.tell(parent, parent.job_ended(1, **({"pid": 11} | other)))
    assert held.tracker.jobs[key(1)].state == "running"


def test_the_end_of_a_job_that_was_never_announced_is_shown(held: Held) -> None:
    """It died before its first announcement; the record may come twice."""
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11)
    held.tell(parent, parent.job_ended(1, pid=11), parent.job_ended(1, pid=11))
    job = held.job("id-1")
    assert (job.state, job.outcome, job.job_name, job.trace_id) == ("ended", "killed", "tasks.charge", None)
    assert held.states() == {"ended": 1}
    held.tell(child, child.job(1))
    assert open_spans(held) == set(), "its announcement came too late"


@pytest.mark.parametrize("parent_first", [True, False])
def test_a_child_and_its_parent_speak_of_one_end(held: Held, parent_first: bool) -> None:
    """A terminated child may still close its span; the parent's word is the outcome, whichever comes first."""
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11)
    held.tell(child, child.job(1))
    told = [
        lambda: held.tell(parent, parent.job_ended(1, "revoked", pid=11)),
        lambda: held.tell(child, child.closed(1, "killed")),
    ]
    for tell in told if parent_first else reversed(told):
        tell()
    assert held.states() == {"ended": 1}
    assert held.job("id-1").outcome == "revoked"


def ends(held: Held) -> dict[str, float]:
    """What is counted as ended, by outcome."""
    found = {}
    for line in held.metrics().splitlines():
        if line.startswith("lastspan_jobs_ended_total{"):
            found[line.split('outcome="')[1].split('"')[0]] = float(line.split()[-1])
    return found


def test_each_end_is_counted_once_under_the_word_that_is_shown(held: Held) -> None:
    """The parent's word counts where the child counts nothing: also of a job of which it was known that it ended."""
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11)
    held.tell(child, *(child.job(number) for number in (1, 2, 3, 4)))
    held.tell(child, child.closed(4, "ok"), child.durations("ok", 1))  # it was quicker than its parent's word
    held.tell(child, child.state(1, 3))  # job 2 is absent
    held.spans(finished(3))
    for _ in range(2):  # told twice
        held.tell(parent, *(parent.job_ended(number, "revoked", pid=11) for number in (1, 2, 3, 4)))
    assert [held.job(f"id-{number}").outcome for number in (1, 2, 3, 4)] == ["revoked"] * 4
    assert ends(held) == {"ok": 1, "revoked": 3}


def test_a_job_whose_process_is_being_ended_is_not_judged_by_its_span(held: Held) -> None:
    """A span that ends as its stack unwinds may look like any other; the parent's word, or silence, is the first."""
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11)
    held.tell(child, child.job(1), child.job(2))
    held.tell(child, child.state(1, 2, status="stopping"))
    held.spans(finished(1, 2))
    assert held.states() == {"running": 2}
    held.tell(parent, parent.job_ended(1, "revoked", pid=11))
    assert held.job("id-1").outcome == "revoked"
    held.wait(60)
    assert held.job("id-2").outcome == "shutdown"
    assert ends(held) == {"revoked": 1, "shutdown": 1}


@pytest.mark.parametrize(("status", "outcome"), [("running", "killed"), ("stopping", "shutdown")])
def test_the_silence_of_a_child_that_was_being_ended(held: Held, status: str, outcome: str) -> None:
    """Its parent says nothing of it for long, though it may still see a process that hangs in its last moments."""
    parent, child = Process(id="00000000000000a0", pid=10), Process(pid=11, parent_pid=10)
    held.tell(child, child.job(1), child.state(1, status="stopping"))
    for _ in range(4):
        held.tell(parent, parent.state(status=status, process_child_pids=[11], process_child_states=["S"]))
        held.wait(14)
    assert held.job("id-1").outcome == outcome
    assert ends(held) == {outcome: 1}


def test_a_parent_that_has_stopped_leaves_no_job_that_was_being_ended(held: Held) -> None:
    """A cold shutdown ends the children in the middle of their jobs, and then nobody is left to tell: it was that."""
    parent = Process(id="00000000000000a0", pid=10)
    ended, running, other = (
        Process(id="00000000000000a1", pid=11, parent_pid=10),
        Process(id="00000000000000a2", pid=12, parent_pid=10),
        Process(id="00000000000000a3", pid=13, parent_pid=99),
    )
    held.tell(ended, ended.job(1), ended.state(1, status="stopping"))
    held.tell(running, running.job(2), running.state(2))
    held.tell(other, other.job(3), other.state(3, status="stopping"))
    held.tell(parent, parent.state(status="stopped"))
    assert [held.job(f"id-{number}").outcome for number in (1, 2, 3)] == ["shutdown", None, None]
    assert ends(held) == {"shutdown": 1}


# --- limits -------------------------------------------------------------------------------------------------------


def test_at_the_cap_only_new_spans_are_refused() -> None:
    """Closes, states, ends and news of what is known are still taken in."""
    held = Held(max_open_spans=2)
    worker = Process()
    answer = held.tell(worker, worker.job(1), worker.job(2), worker.job(3))
    assert (answer.rejected, "2 spans are open" in answer.message) == (1, True)
    assert held.tell(worker, worker.job(1, job_attempt=7)).rejected == 0
    assert held.job("id-1").attempt == 7
    assert held.tell(worker, worker.closed(2)).rejected == 0
    assert held.tell(worker, worker.job(3)).rejected == 0
    assert open_spans(held) == {1, 3}
    assert 'lastspan_collector_dropped_total{reason="span_cap",transport="test"} 1.0' in held.metrics()


def test_a_long_stack_keeps_its_inner_frames() -> None:
    held = Held(evidence_max=20)
    worker = Process()
    held.tell(worker, worker.job(1, code_stacktrace="\n".join(f"frame {number}" for number in range(100))))
    assert held.job("id-1").stack[-1] == "frame 99"
    assert len(held.job("id-1").stack) < 5
    held.tell(worker, worker.closed(1))
    assert held.tracker.evidence_bytes == 0


def test_all_stacks_together_are_bounded() -> None:
    held = Held(evidence_total=3000)
    worker = Process()
    for number in range(1, 9):
        held.tell(worker, worker.job(number, code_stacktrace="x" * 1000))
    kept = [job.span.evidence for job in held.tracker.jobs.values()]
    assert sum(evidence is not None and evidence.stacktrace is not None for evidence in kept) == 3


def test_a_million_types_are_a_few_series(held: Held) -> None:
    """Job names times queues are capped; the rest is counted as `other`."""
    worker = Process()
    for number in range(1, 2101):
        held.tell(worker, worker.job(number, name=f"tasks.{number}"))
    counts = held.tracker.counts.series
    assert len(counts) == 2001
    assert counts["", "", "other", "other"].open["running"] == 100  # type: ignore[index]  # a State is its text


def test_nothing_is_left_when_all_has_ended(held: Held) -> None:
    """Tombstones and ended jobs go in time; rows, indexes and counts go at once."""
    worker = Process()
    for number in range(1, 101, 2):
        held.tell(worker, worker.job(number, age=80.0), worker.http(number + 1, number, age=70.0))
    held.tick()
    assert held.states() == {"stuck": 50}
    for number in range(1, 101):
        held.tell(worker, worker.closed(number))
    held.tell(worker, worker.state(status="stopped"))
    held.wait(31 * 60)
    held.wait(31 * 60)
    held.tell(worker, worker.closed(999))  # anything: memories turn when they are used
    tracker = held.tracker
    assert not any((tracker.spans, tracker.jobs, tracker.suspects, tracker.ended, tracker._jobs.index))
    assert not tracker.counts.incidents
    assert held.states() == {}
    assert job_key(1) not in held.metrics()


# --- durations ----------------------------------------------------------------------------------------------------


def test_durations_are_cumulative(held: Held) -> None:
    """Told twice, late or lost: the counts are those of the highest that was told; spans are not jobs."""
    worker, restarted = Process(), Process(id="00000000000000bb")
    late = worker.durations("ok", 3)
    held.tell(worker, worker.durations(None, 6), worker.durations("ok", 5), late, late, worker.durations("error", 1))
    held.tell(worker, worker.durations("ok", 100, span_name="GET"))
    held.tell(restarted, restarted.durations("ok", 2, seconds=700.0))
    labels = 'environment="test",job_name="tasks.charge"'
    metrics = held.metrics()
    assert f'lastspan_jobs_started_total{{{labels},queue="celery",service="billing"}} 6.0' in metrics
    assert f'lastspan_jobs_ended_total{{{labels},outcome="ok",queue="celery",service="billing"}} 7.0' in metrics
    assert f'lastspan_jobs_duration_seconds_bucket{{{labels},le="2.5",queue="celery",service="billing"}} 6.0' in metrics
    assert (
        f'lastspan_jobs_duration_seconds_bucket{{{labels},le="600.0",queue="celery",service="billing"}} 6.0' in metrics
    )
    assert (
        f'lastspan_jobs_duration_seconds_bucket{{{labels},le="1800.0",queue="celery",service="billing"}} 8.0' in metrics
    )
    assert f'lastspan_jobs_duration_seconds_sum{{{labels},queue="celery",service="billing"}} 1412.0' in metrics


def test_unused_ids_are_harmless(held: Held) -> None:
    """A close of what nobody knows is taken in and kept as a tombstone only."""
    worker = Process()
    assert held.tell(worker, worker.closed(5)).rejected == 0
    assert len(held.tracker.spans) == 0
    assert span_id(5) in next(iter(held.tracker._spans.closed._young))
