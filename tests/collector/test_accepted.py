"""Jobs that a child took, as its parent says, while the child itself cannot speak."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process

from lastspan.collector.track import replay, save

SEEN: dict[str, Any] = {
    "process_child_pids": [11],
    "process_child_states": ["S"],
    "process_child_waits": ["do_nanosleep"],
}


def parent_and_child() -> tuple[Process, Process]:
    parent = Process(id="00000000000000a0", pid=10, parent_pid=1)
    child = Process(id="00000000000000a1", pid=11, parent_pid=10)
    return parent, child


def go_on(held: Held, parent: Process, *numbers: int, seconds: float, **values: Any) -> None:
    """Let time pass, with a parent that lists what it lists."""
    for _ in range(int(seconds // 5)):
        held.tell(parent, parent.state(*numbers, **(SEEN | values)))
        held.wait(5)


@pytest.mark.parametrize("has_spoken", [False, True], ids=["never spoke", "fell silent"])
def test_a_child_whose_interpreter_is_held_from_the_first_moment(held: Held, has_spoken: bool) -> None:
    """Known at once with its age; frozen when it should have spoken; where it stands is not known, and that is said."""
    parent, child = parent_and_child()
    if has_spoken:
        held.tell(child, child.job(7), child.closed(7))
    held.tell(parent, parent.accepted(1, pid=11, age=6.0), parent.state(1, **SEEN))
    job = held.job("id-1")
    assert (job.state, job.pid, job.host, job.attempt, job.queue) == ("running", 11, "host-1", 1, "celery")
    assert job.age_s == 6.0
    go_on(held, parent, 1, seconds=50)
    job = held.job("id-1")
    assert (job.state, job.cause) == ("frozen", "gil_held")
    assert job.cause_text is not None
    assert "silent since it took the job, 56 s ago" in job.cause_text
    assert "Where it stopped is not known." in job.cause_text
    assert held.states()["frozen"] == 1


def test_what_was_declared_counts(held: Held) -> None:
    """Beyond its declared time it pages; until then it only warns."""
    parent, _ = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11, span_expected_duration=90.0))
    go_on(held, parent, 1, seconds=60)
    assert (held.job("id-1").severity, held.job("id-1").basis) == ("warning", "declared")
    go_on(held, parent, 1, seconds=30)
    job = held.job("id-1")
    assert (job.severity, job.allowed_s) == ("page", 90.0)


def test_the_childs_own_word_takes_its_place(held: Held) -> None:
    """One row before and after, whatever the parent goes on to say; and the same incident."""
    parent, child = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11))
    go_on(held, parent, 1, seconds=60)
    incident = held.job("id-1").incident
    assert incident
    held.tell(child, child.job(5, age=66.0, job_id="id-1"))
    job = held.job("id-1")
    assert (job.span_id, job.state, job.others) == ("0000000000000005", "running", [])
    held.tell(parent, parent.accepted(1, pid=11, age=67.0), parent.state(1, **SEEN))
    assert held.job("id-1").span_id == "0000000000000005"
    assert held.states() == {"running": 1}
    assert len(held.tracker.jobs) == 1
    assert len(held.tracker.processes.rows) == 2


def test_a_span_in_the_job_is_its_word_too(held: Held) -> None:
    parent, child = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11))
    held.tell(child, child.http(6, 5, job_id="id-1"))
    assert held.states() == {"running": 1}
    assert held.job("id-1").span_id == "0000000000000005"


@pytest.mark.parametrize("has_ended", [False, True], ids=["open", "ended"])
def test_what_the_child_has_told_before_is_not_told_again(held: Held, has_ended: bool) -> None:
    """The parent speaks of every job that lasts: it does not know what its children could say."""
    parent, child = parent_and_child()
    held.tell(child, child.job(5, job_id="id-1"))
    held.wait(6)
    if has_ended:
        held.tell(child, child.closed(5))
    held.tell(parent, parent.accepted(1, pid=11, age=6.5))
    assert len(held.tracker.jobs) == (0 if has_ended else 1)
    assert held.job("id-1").span_id == "0000000000000005"


def test_the_same_attempt_again_after_an_end_is_another_run(held: Held) -> None:
    """The queue gave it out again, to the same child."""
    parent, child = parent_and_child()
    held.tell(child, child.job(5, job_id="id-1"), child.closed(5))
    held.wait(60)
    held.tell(parent, parent.accepted(1, pid=11, age=6.0))
    assert held.states() == {"running": 1, "ended": 1}
    assert [other.outcome for other in held.job("id-1").others] == ["ok"]


def test_over_when_the_parent_does_not_list_it(held: Held) -> None:
    """How it ended nobody said. No ghost is left: neither a job nor a process."""
    parent, _ = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11), parent.state(1, **SEEN))
    go_on(held, parent, 1, seconds=60)
    held.tell(parent, parent.state())
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "unknown")
    assert held.states() == {"ended": 1}
    assert list(held.tracker.processes.rows) == [parent.id]
    assert not held.tracker.spans
    assert held.tracker.processes.rows[parent.id].accepted == []


def test_killed(held: Held) -> None:
    """The parent knows how it ended; what it said before and comes late opens nothing."""
    parent, _ = parent_and_child()
    late = parent.accepted(1, pid=11, age=9.0)
    held.tell(parent, parent.accepted(1, pid=11))
    held.tell(parent, parent.job_ended(1, pid=11, exit_signal=9))
    job = held.job("id-1")
    assert (job.state, job.outcome, job.cause) == ("ended", "killed", "worker_lost")
    held.tell(parent, late)
    held.tell(parent, parent.accepted(2, pid=11, job=1, age=9.0))
    assert held.states() == {"ended": 1}


def test_a_record_that_a_later_list_lacks_opens_nothing(held: Held) -> None:
    parent, _ = parent_and_child()
    late = parent.accepted(1, pid=11)
    held.tell(parent, parent.state(), late)
    assert held.states() == {}


def test_a_child_that_speaks_but_not_of_the_job(held: Held) -> None:
    """Something keeps it before its first line; its process is alive, and its lists say nothing of the job."""
    parent, child = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11, span_expected_duration=30.0))
    for _ in range(12):
        held.tell(child, child.state())
        held.tell(parent, parent.accepted(1, pid=11, span_expected_duration=30.0), parent.state(1, **SEEN))
        held.wait(5)
    job = held.job("id-1")
    assert (job.state, job.cause, job.severity) == ("stuck", "unknown", "page")
    assert "has not reported its start" in (job.cause_text or "")


def test_the_whole_worker_is_gone(held: Held) -> None:
    parent, _ = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11), parent.state(1, **SEEN))
    held.wait(60)
    assert held.job("id-1").state == "lost"


def test_it_survives_a_restart() -> None:
    """As the parent's word, which the child's takes the place of."""
    held = Held()
    parent, child = parent_and_child()
    held.tell(parent, parent.accepted(1, pid=11, age=6.0), parent.state(1, **SEEN))
    other = Held()
    for now_ns, entries in save(held.tracker, lambda: held.now_ns):
        for entry in entries:
            replay(other.tracker, entry, now_ns)
    assert other.job("id-1").pid == 11
    other.tell(child, child.job(5, job_id="id-1"))
    assert other.states() == {"running": 1}


@pytest.mark.parametrize("missing", ["job_id", "process_pid", "span_age"])
def test_a_record_that_lacks_what_matters_is_refused(held: Held, missing: str) -> None:
    parent, _ = parent_and_child()
    values: dict[str, Any] = {missing: None}
    answer = held.tell(parent, parent.accepted(1, pid=11, **values))
    assert answer.rejected == 1
    assert held.states() == {}


def test_a_parent_that_never_lists_what_is_open_keeps_nothing_of_what_is_over(held: Held) -> None:
    parent, _ = parent_and_child()
    for number in range(1, 200):
        held.tell(parent, parent.accepted(number, pid=11), parent.job_ended(number, pid=11, exit_signal=9))
    assert len(held.tracker.processes.rows[parent.id].accepted) <= 64
    assert not held.tracker.spans


def test_there_is_room_for_so_many() -> None:
    """Beyond the cap it is refused and counted, as a span is."""
    held = Held(max_open_spans=1)
    parent, _ = parent_and_child()
    answer = held.tell(parent, parent.accepted(1, pid=11), parent.accepted(2, pid=12))
    assert answer.rejected == 1
    assert held.states() == {"running": 1}
