"""What a parent sees of the children that run its jobs: real processes, really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from lastspan.instrumentation.family import GONE, Assignment, Child, Death, Family, killed_by, process_state


class Running:
    """A child process that waits."""

    def __init__(self, code: str = "import sys; sys.stdin.read()") -> None:
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def assignment(self, job_id: str = "1", attempt: int = 1, returncode: int | None = None) -> Assignment:
        return Assignment(self.pid, "celery", job_id, "resize", attempt, returncode)

    def await_state(self, wanted: str) -> None:
        """Wait until the kernel says so; the child is not reaped for it."""
        deadline = time.monotonic() + 20
        while process_state(self.pid) != wanted:
            assert time.monotonic() < deadline, process_state(self.pid)
            os.sched_yield()

    def close(self) -> None:
        self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def child() -> Iterator[Running]:
    started = Running()
    yield started
    started.close()


def family(*assignments: Assignment) -> Family:
    made = Family()
    made.assignments = lambda: assignments
    return made


def states(parent: Family) -> list[tuple[int, str]]:
    """What one look says, if nobody died."""
    children, deaths = parent.look()
    assert deaths == []
    return [(child.pid, child.state) for child in children]


def test_a_living_child(child: Running) -> None:
    """Its pid and the kernel's letter; no death."""
    [seen], deaths = family(child.assignment()).look()
    assert seen.pid == child.pid
    assert seen.state in "RSD"
    assert deaths == []


def test_a_child_killed_by_9_is_told_before_anyone_reaps_it(child: Running) -> None:
    """It stays for the framework to reap, and is told once."""
    parent = family(child.assignment("42", attempt=3))
    os.kill(child.pid, signal.SIGKILL)
    child.await_state("Z")
    [seen], deaths = parent.look()
    assert (seen.pid, seen.state) == (child.pid, "Z")
    assert deaths == [
        Death("celery", "42", "resize", 3, "killed", "its process was killed by signal 9", child.pid, signal.SIGKILL)
    ]
    assert parent.look()[1] == []
    assert child.process.wait(timeout=10) == -signal.SIGKILL  # still ours to reap


def test_a_child_killed_and_reaped_by_its_framework(child: Running) -> None:
    """The framework knows the exit status then: negative is the signal."""
    os.kill(child.pid, signal.SIGTERM)
    returncode = child.process.wait(timeout=10)
    children, [death] = family(child.assignment(returncode=returncode)).look()
    assert children == [Child(child.pid, GONE)]
    assert (death.outcome, death.signal) == ("killed", signal.SIGTERM)


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "raise SystemExit(3)"])
def test_a_child_that_ended_by_itself_is_no_death(code: str) -> None:
    """Its job's end may still be under way: the framework will tell."""
    child = Running(code)
    try:
        child.await_state("Z")
        parent = family(child.assignment())
        assert states(parent) == [(child.pid, "Z")]
        child.process.wait(timeout=10)
        assert states(parent) == [(child.pid, GONE)]
    finally:
        child.close()


def test_a_stopped_child_is_seen_as_such(child: Running) -> None:
    """Frozen, not dead."""
    os.kill(child.pid, signal.SIGSTOP)
    child.await_state("T")
    assert states(family(child.assignment())) == [(child.pid, "T")]


def test_several_jobs_of_one_child(child: Running) -> None:
    """All of them die with it; the child is listed once."""
    os.kill(child.pid, signal.SIGKILL)
    child.await_state("Z")
    children, deaths = family(child.assignment("1"), child.assignment("2")).look()
    assert len(children) == 1
    assert [death.job_id for death in deaths] == ["1", "2"]


def test_a_pid_that_was_never_ours() -> None:
    """Gone, and no claim about how."""
    assert killed_by(1) is None
    assert process_state(2**22 + 1) == GONE
    stranger = Assignment(2**22 + 1, "celery", "1", "resize", 1)
    assert family(stranger).look() == ([Child(2**22 + 1, GONE)], [])


LIMIT = Death("celery", "1", "resize", 1, "timeout", "TimeLimitExceeded(5)")


def test_the_frameworks_word_comes_first_and_once(child: Running) -> None:
    """Celery 5.7 fires task_failure twice, and we see the child die besides: one death, completed with its pid."""
    parent = family(child.assignment())
    parent.look()
    parent.report(LIMIT)
    parent.report(LIMIT)
    os.kill(child.pid, signal.SIGKILL)
    child.await_state("Z")
    [death] = parent.look()[1]
    assert (death.outcome, death.pid) == ("timeout", child.pid)
    assert parent.look()[1] == []


def test_each_attempt_dies_its_own_death() -> None:
    """The second attempt of a job is another."""
    parent = family()
    parent.report(LIMIT)
    parent.report(Death("celery", "1", "resize", 2, "killed", "again"))
    assert [death.attempt for death in parent.look()[1]] == [1, 2]


def test_a_process_without_children_tells_nothing() -> None:
    """No framework's module has said that it has any."""
    assert Family().look() == ([], [])


def test_deaths_without_end() -> None:
    """What is remembered is bounded; a framework that floods us costs us nothing more."""
    parent = family()
    for number in range(5000):
        parent.report(Death("celery", str(number), "resize", 1, "killed", ""))
    assert len(parent.look()[1]) == 1000
    assert len(parent._told) == 1000


def test_assignments_that_change_while_we_look(child: Running) -> None:
    """Each look asks anew."""
    running: list[Sequence[Assignment]] = [(child.assignment("1"),), ()]
    parent = Family()
    parent.assignments = lambda: running.pop(0)
    assert len(parent.look()[0]) == 1
    assert parent.look() == ([], [])
