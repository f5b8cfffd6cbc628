"""Silence of a process: lost, frozen, shut down, or our own deafness."""

from __future__ import annotations

from typing import Any

import pytest
from tests.collector.held import Held
from tests.collector.records import Process


def parent_and_child() -> tuple[Process, Process]:
    parent = Process(id="00000000000000a0", pid=10, parent_pid=1)
    child = Process(id="00000000000000a1", pid=11, parent_pid=10)
    return parent, child


@pytest.mark.parametrize(
    ("listed", "state"),
    [
        # The parent sees it alive: stopped, in an uninterruptible wait, asleep with the GIL held.
        ({"process_child_pids": [11], "process_child_states": ["T"]}, "frozen"),
        ({"process_child_pids": [11], "process_child_states": ["D"]}, "frozen"),
        ({"process_child_pids": [11], "process_child_states": ["S"]}, "frozen"),
        # The parent sees it dead, or does not see it.
        ({"process_child_pids": [11], "process_child_states": ["Z"]}, "lost"),
        ({"process_child_pids": [11], "process_child_states": ["X"]}, "lost"),
        ({"process_child_pids": [12], "process_child_states": ["S"]}, "lost"),
        ({}, "lost"),
    ],
)
def test_a_silent_child_under_a_parent_that_speaks(held: Held, listed: dict[str, Any], state: str) -> None:
    parent, child = parent_and_child()
    held.tell(child, child.job(1))
    for _ in range(4):
        held.tell(parent, parent.state(**listed))
        held.wait(13)
    assert held.job("id-1").state == state


def test_what_the_parent_sees_later_counts(held: Held) -> None:
    """A frozen child that is then seen dead is lost, at once."""
    parent, child = parent_and_child()
    held.tell(child, child.job(1))
    for _ in range(4):
        held.tell(parent, parent.state(process_child_pids=[11], process_child_states=["T"]))
        held.wait(13)
    assert held.job("id-1").state == "frozen"
    held.tell(parent, parent.state(process_child_pids=[11], process_child_states=["Z"]))
    held.wait(15.5)
    assert held.job("id-1").state == "lost"


def test_a_whole_tree_that_is_killed_is_lost(held: Held) -> None:
    """The parent's last word was that the child lives; but the parent is as silent as the child."""
    parent, child = parent_and_child()
    held.tell(child, child.job(1))
    held.wait(10)
    held.tell(parent, parent.state(process_child_pids=[11], process_child_states=["S"]))
    held.wait(37)  # the child is silent for 47 s, the parent for 37
    assert held.job("id-1").state == "lost"


@pytest.mark.parametrize("status", ["stopping", "stopped"])
def test_an_orderly_end_is_never_a_loss(held: Held, status: str) -> None:
    """Silence after `stopping` is a shutdown; `stopped` ends its jobs at once."""
    worker = Process()
    held.tell(worker, worker.job(1), worker.state(1, status=status))
    assert held.job("id-1").state == ("ended" if status == "stopped" else "running")
    held.wait(46)
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "shutdown")
    assert 'lastspan_jobs_ended_total{environment="test",job_name="tasks.charge",outcome="shutdown"' in held.metrics()


def test_a_parent_that_stops_covers_its_children(held: Held) -> None:
    parent, child = parent_and_child()
    held.tell(child, child.job(1))
    held.tell(parent, parent.state(status="stopping", process_child_pids=[11], process_child_states=["S"]))
    held.wait(46)
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "shutdown")


def test_a_lost_job_is_given_up_after_lost_keep() -> None:
    held = Held(lost_keep="5m")
    worker = Process()
    held.tell(worker, worker.job(1))
    held.wait(60)
    assert held.job("id-1").state == "lost"
    held.wait(320)
    job = held.job("id-1")
    assert (job.state, job.outcome) == ("ended", "lost")
    assert held.states() == {"ended": 1}
    held.wait(3700)
    assert not held.tracker.processes.rows


def test_a_lost_job_that_starts_elsewhere_has_ended(held: Held) -> None:
    """The queue gave it out again: the old attempt is ended(lost), the new one runs; each names the other."""
    old, new = Process(), Process(id="00000000000000bb", pid=200, worker_id="worker-2")
    held.tell(old, old.job(1))
    held.wait(60)
    again = new.job(2, job_id="id-1")
    held.tell(new, again)
    job = held.job("id-1")
    assert (job.state, job.pid) == ("running", 200)
    assert [(other.state, other.outcome) for other in job.others] == [("ended", "lost")]


def test_silence_counts_only_while_we_listen(held: Held) -> None:
    """After the collector itself stood still, everybody gets three intervals again."""
    worker = Process()
    held.tell(worker, worker.job(1))
    held.wait(40)
    held.oversleep(100)
    held.wait(44)
    assert held.job("id-1").state == "running"
    held.wait(2)
    assert held.job("id-1").state == "lost"


def test_most_of_everybody_silent_at_once_is_our_blindness(held: Held) -> None:
    """At least 5 processes on 2 hosts, more than half of all, within one interval: none is called lost."""
    fleet = [Process(id=f"{number:016x}", pid=number, host=f"host-{number % 2}", worker_id=None) for number in range(8)]
    for number, worker in enumerate(fleet):
        held.tell(worker, worker.job(number + 1))
        held.wait(1.5)  # they report at different moments
    for _ in range(5):
        held.tell(fleet[7], fleet[7].state(8))
        held.wait(12)
    assert held.states() == {"running": 8}
    assert "lastspan_collector_blind 1.0" in held.metrics()
    for number, worker in enumerate(fleet):
        held.tell(worker, worker.state(number + 1))
    held.wait(1)
    assert "lastspan_collector_blind 0.0" in held.metrics()


@pytest.mark.parametrize(
    ("silent", "alive", "hosts"),
    [
        (4, 0, 2),  # too few to doubt ourselves
        (6, 0, 1),  # one host may well have died
        (5, 6, 2),  # most of them still speak
    ],
)
def test_a_smaller_silence_is_loss(held: Held, silent: int, alive: int, hosts: int) -> None:
    fleet = [
        Process(id=f"{number:016x}", pid=number, host=f"host-{number % hosts}", worker_id=None)
        for number in range(silent + alive)
    ]
    for number, worker in enumerate(fleet):
        held.tell(worker, worker.job(number + 1))
    for _ in range(4):
        held.wait(12)
        for number, worker in enumerate(fleet[silent:], start=silent):
            held.tell(worker, worker.state(number + 1))
    expected = {"lost": silent} | ({"running": alive} if alive else {})
    assert held.states() == expected


@pytest.mark.parametrize(
    ("acks_late", "redelivery", "words"),
    [
        (False, None, "it will NOT run again; enqueue it by hand once you know that its process is gone"),
        (True, 3600.0, "delivers it again in 59 min 13 s (visibility timeout 1 h)"),
        (None, None, "no parent process sees it"),
    ],
)
def test_a_loss_says_what_the_queue_will_do(
    held: Held, acks_late: bool | None, redelivery: float | None, words: str
) -> None:
    worker = Process()
    held.tell(worker, worker.job(1, job_acks_late=acks_late, job_redelivery_after=redelivery))
    held.wait(46)
    assert words in (held.job("id-1").cause_text or "")


@pytest.mark.parametrize(
    ("for_s", "waits_s"),
    [(5.0, 74.0), (0.0, 44.0), (3600.0, 104.0)],  # three intervals of 15 s, and six turns; at most a minute
)
def test_a_process_that_could_not_speak_is_given_time(held: Held, for_s: float, waits_s: float) -> None:
    """Each of its reports needs turns of an interpreter that native code keeps for so long."""
    worker = Process()
    overslept: dict[str, Any] = {"process_overslept": for_s} if for_s else {}
    held.tell(worker, worker.job(1), worker.state(1, **overslept))
    held.wait(waits_s)
    assert held.job("id-1").state != "lost"
    held.wait(2)
    assert held.job("id-1").state == "lost"
    held.tell(worker, worker.state(1))  # it speaks, and says no more that it overslept
    held.wait(46)
    assert held.job("id-1").state == "lost"
