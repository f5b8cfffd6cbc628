"""What a parent sees of the children that run its jobs: real processes, really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lastspan.instrumentation.guest.procfs import GONE, process_state
from lastspan.instrumentation.registry.cgroup import Mounts, group_of
from lastspan.instrumentation.registry.children import (
    CGROUP_FROZEN,
    CPU_UNKNOWN,
    OUT_OF_MEMORY,
    Child,
    ChildJob,
    ChildProcesses,
    ControlGroups,
    JobEnd,
    killed_by,
    wait_channel_name,
)


class Running:
    """A child process that waits."""

    def __init__(self, code: str = "import sys; sys.stdin.read()") -> None:
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def assignment(self, job_id: str = "1", attempt: int = 1, returncode: int | None = None) -> ChildJob:
        return ChildJob(self.pid, "celery", job_id, "resize", attempt, returncode)

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


class Clock:
    """Seconds, as the test has them pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def family(*assignments: ChildJob, clock: Clock | None = None) -> ChildProcesses:
    made = ChildProcesses(clock or Clock())
    made.jobs = lambda: assignments
    return made


def deaths_after(parent: ChildProcesses, clock: Clock, seconds: float = 1) -> list[JobEnd]:
    """What one look says of deaths, and another one when the framework has had its moment to say why."""
    deaths = parent.poll()[1]
    clock.now += seconds
    return [*deaths, *parent.poll()[1]]


def states(parent: ChildProcesses) -> list[tuple[int, str]]:
    """What one look says, if nobody died."""
    children, deaths = parent.poll()
    assert deaths == []
    return [(child.pid, child.state) for child in children]


def test_a_living_child(child: Running) -> None:
    """Its pid and the kernel's letter; no death."""
    [seen], deaths = family(child.assignment()).poll()
    assert seen.pid == child.pid
    assert seen.state in "RSD"
    assert deaths == []


def test_a_child_killed_by_9_is_told_before_anyone_reaps_it(child: Running) -> None:
    """It stays for the framework to reap, and is told once."""
    clock = Clock()
    parent = family(child.assignment("42", attempt=3), clock=clock)
    os.kill(child.pid, signal.SIGKILL)
    child.await_state("Z")
    [seen], deaths = parent.poll()
    assert (seen.pid, seen.state) == (child.pid, "Z")
    assert deaths == []
    assert deaths_after(parent, clock) == [
        JobEnd("celery", "42", "resize", 3, "killed", "its process was killed by signal 9", child.pid, signal.SIGKILL)
    ]
    assert deaths_after(parent, clock) == []
    assert child.process.wait(timeout=10) == -signal.SIGKILL  # still ours to reap


def test_a_child_killed_and_reaped_by_its_framework(child: Running) -> None:
    """The framework knows the exit status then: negative is the signal."""
    os.kill(child.pid, signal.SIGTERM)
    returncode = child.process.wait(timeout=10)
    clock = Clock()
    parent = family(child.assignment(returncode=returncode), clock=clock)
    assert parent.poll()[0] == [Child(child.pid, GONE)]
    [death] = deaths_after(parent, clock)
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
    clock = Clock()
    parent = family(child.assignment("1"), child.assignment("2"), clock=clock)
    assert len(parent.poll()[0]) == 1
    assert [death.job_id for death in deaths_after(parent, clock)] == ["1", "2"]


@pytest.mark.parametrize("is_listed", [True, False], ids=["still running", "let go of"])
def test_a_framework_that_kills_says_why(child: Running, is_listed: bool) -> None:
    """A revoked job's process is killed: we may see that first, but its framework's word is the one that is told."""
    clock, running = Clock(), [child.assignment()]
    parent = ChildProcesses(clock)
    parent.jobs = lambda: running
    os.kill(child.pid, signal.SIGTERM)
    child.await_state("Z")
    assert parent.poll()[1] == []
    if not is_listed:
        running.clear()
    clock.now += 0.1
    assert parent.poll()[1] == []
    parent.report(JobEnd("celery", "1", "resize", 1, "revoked", "terminated by SIGTERM"))
    assert [death.outcome for death in deaths_after(parent, clock)] == ["revoked"]
    assert deaths_after(parent, clock) == []


def test_a_job_that_its_framework_lets_go_of_without_a_word(child: Running) -> None:
    """Celery says nothing of a job that it cancels when its connection is lost: killed it is all the same."""
    clock, running = Clock(), [child.assignment()]
    parent = ChildProcesses(clock)
    parent.jobs = lambda: running
    os.kill(child.pid, signal.SIGTERM)
    child.await_state("Z")
    assert parent.poll()[1] == []
    running.clear()
    assert [death.outcome for death in deaths_after(parent, clock)] == ["killed"]


def test_a_pid_that_was_never_ours() -> None:
    """Gone, and no claim about how."""
    assert killed_by(1) is None
    assert process_state(2**22 + 1) == GONE
    stranger = ChildJob(2**22 + 1, "celery", "1", "resize", 1)
    assert family(stranger).poll() == ([Child(2**22 + 1, GONE)], [])


LIMIT = JobEnd("celery", "1", "resize", 1, "timeout", "TimeLimitExceeded(5)")


def test_the_frameworks_word_comes_first_and_once(child: Running) -> None:
    """Celery 5.7 fires task_failure twice, and we see the child die besides: one death, completed with its pid."""
    parent = family(child.assignment())
    parent.poll()
    parent.report(LIMIT)
    parent.report(LIMIT)
    os.kill(child.pid, signal.SIGKILL)
    child.await_state("Z")
    [death] = parent.poll()[1]
    assert (death.outcome, death.pid) == ("timeout", child.pid)
    assert parent.poll()[1] == []


def test_each_attempt_dies_its_own_death() -> None:
    """The second attempt of a job is another."""
    parent = family()
    parent.report(LIMIT)
    parent.report(JobEnd("celery", "1", "resize", 2, "killed", "again"))
    assert [death.attempt for death in parent.poll()[1]] == [1, 2]


def test_a_process_without_children_tells_nothing() -> None:
    """No framework's module has said that it has any."""
    assert ChildProcesses().poll() == ([], [])


def test_a_death_that_is_told_in_a_process_without_children() -> None:
    """gevent and eventlet: the process that runs the jobs is the one that revokes them; each is told once."""
    alone, revoked = ChildProcesses(), JobEnd("celery", "1", "resize", 1, "revoked", "terminated by SIGTERM")
    alone.report(revoked)
    alone.report(revoked)
    assert alone.poll() == ([], [revoked])
    assert alone.poll() == ([], [])


def test_deaths_without_end() -> None:
    """What is remembered is bounded; a framework that floods us costs us nothing more."""
    parent = family()
    for number in range(5000):
        parent.report(JobEnd("celery", str(number), "resize", 1, "killed", ""))
    assert len(parent.poll()[1]) == 1000
    assert len(parent._told) == 1000


def test_assignments_that_change_while_we_look(child: Running) -> None:
    """Each look asks anew."""
    running: list[Sequence[ChildJob]] = [(child.assignment("1"),), ()]
    parent = ChildProcesses()
    parent.jobs = lambda: running.pop(0)
    assert len(parent.poll()[0]) == 1
    assert parent.poll() == ([], [])


# --- busy or not, and where it waits --------------------------------------------------------------------------------


def seen_after(parent: ChildProcesses, clock: Clock, seconds: float) -> Child:
    clock.now += seconds
    [child] = parent.poll()[0]
    return child


def test_a_child_that_waits(child: Running) -> None:
    """No CPU time, and the kernel's name of the place: here, that of reading a pipe."""
    clock = Clock()
    parent = ChildProcesses(clock)
    parent.jobs = lambda: [child.assignment()]
    child.await_state("S")
    assert seen_after(parent, clock, 0).cpu_ratio == CPU_UNKNOWN  # one look is none
    deadline = time.monotonic() + 20
    while (seen := seen_after(parent, clock, 10)).cpu_ratio or not seen.wait:
        assert time.monotonic() < deadline, seen
    assert "pipe" in seen.wait


def test_a_child_that_computes() -> None:
    """Its share of a core: what it got, by the time that passed for us."""
    child = Running("while True: pass")
    try:
        clock = Clock()
        parent = ChildProcesses(clock)
        parent.jobs = lambda: [child.assignment()]
        assert seen_after(parent, clock, 0).cpu_ratio == CPU_UNKNOWN
        assert seen_after(parent, clock, 0.1).cpu_ratio == CPU_UNKNOWN  # too soon to say anything
        deadline = time.monotonic() + 20
        while (seen := seen_after(parent, clock, 1)).cpu_ratio <= 0:
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)
        busy = seen.cpu_ratio
        assert seen_after(parent, clock, 0.1).cpu_ratio == busy  # too soon again: what was known still holds
    finally:
        child.close()


HELD_BY_C = """
import ctypes, threading, time
threading.Thread(target=ctypes.PyDLL(None).sleep, args=(60,), daemon=True).start()
time.sleep(60)
"""


def test_a_child_whose_interpreter_is_held_by_native_code() -> None:
    """Idle, and its main thread waits in a futex: for the interpreter's lock, as the collector may conclude."""
    child = Running(HELD_BY_C)
    try:
        clock = Clock()
        parent = ChildProcesses(clock)
        parent.jobs = lambda: [child.assignment()]
        deadline = time.monotonic() + 20
        while "futex" not in seen_after(parent, clock, 3).wait:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.close()


def test_a_stopped_child_waits_in_the_signal(child: Running) -> None:
    """The kernel's name for that, too."""
    os.kill(child.pid, signal.SIGSTOP)
    child.await_state("T")
    [seen] = family(child.assignment()).poll()[0]
    assert (seen.state, seen.wait) == ("T", "do_signal_stop")


def test_a_process_id_that_was_used_again(child: Running) -> None:
    """Not our child: it started at another time."""
    parent = family(child.assignment())
    parent.poll()
    parent._watched[child.pid]._started = 1  # as if the first one had started just after boot
    assert states(parent) == [(child.pid, GONE)]


class Kernel:
    """The control group of a child, in a folder of ours."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.folder, self.pid = folder, pid
        self.proc = folder / "proc"
        (self.proc / str(pid)).mkdir(parents=True)
        (self.proc / str(pid) / "cgroup").write_text("0::/\n")
        self.kills(3)
        self.freeze(False)

    @property
    def mounts(self) -> Mounts:
        return {"": ("/", str(self.folder))}

    def kills(self, total: int) -> None:
        (self.folder / "memory.events").write_text(f"oom 9\noom_kill {total}\n")

    def freeze(self, is_frozen: bool) -> None:
        (self.folder / "cgroup.events").write_text(f"populated 1\nfrozen {is_frozen:d}\n")

    def forget(self, pid: int) -> None:
        """A process that has ended has no group any more."""
        (self.proc / str(pid) / "cgroup").unlink()


@pytest.fixture
def kernel(tmp_path: Path, child: Running) -> Kernel:
    return Kernel(tmp_path, child.pid)


def watching(kernel: Kernel, clock: Clock, *assignments: ChildJob) -> ChildProcesses:
    made = ChildProcesses(clock, ControlGroups(kernel.mounts, str(kernel.proc)))
    made.jobs = lambda: assignments
    return made


@pytest.mark.parametrize(
    ("total", "signal_", "reason"),
    [
        (4, signal.SIGKILL, OUT_OF_MEMORY),
        (3, signal.SIGKILL, "its process was killed by signal 9"),
        (4, signal.SIGTERM, "its process was killed by signal 15"),  # the kernel kills by 9
    ],
)
def test_a_child_that_the_kernel_killed_for_lack_of_memory(
    child: Running, kernel: Kernel, total: int, signal_: signal.Signals, reason: str
) -> None:
    """Killed by 9, and the kernel counted a kill in its control group: all of its jobs died of that."""
    clock = Clock()
    parent = watching(kernel, clock, child.assignment("1"), child.assignment("2"))
    assert parent.poll()[1] == []
    kernel.kills(total)
    os.kill(child.pid, signal_)
    child.await_state("Z")
    kernel.forget(child.pid)
    clock.now += 1
    assert [(death.reason, death.signal) for death in deaths_after(parent, clock)] == [(reason, signal_)] * 2


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        ("killed", "Worker exited prematurely: signal 9 (SIGKILL) Job: 3.", OUT_OF_MEMORY),
        ("killed", "Worker exited prematurely: exitcode 9 Job: 3.", "Worker exited prematurely: exitcode 9 Job: 3."),
        ("timeout", "TimeLimitExceeded(5), by signal 9", "TimeLimitExceeded(5), by signal 9"),
    ],
)
def test_the_framework_knows_the_signal_and_not_its_reason(
    child: Running, kernel: Kernel, outcome: str, reason: str, expected: str
) -> None:
    """Its word stands, but for a kill of which the kernel says more."""
    clock = Clock()
    parent = watching(kernel, clock, child.assignment("42"))
    parent.poll()
    kernel.kills(4)
    parent.report(JobEnd("celery", "42", "resize", 1, outcome, reason))
    clock.now += 1
    [death] = parent.poll()[1]
    assert (death.outcome, death.reason, death.pid) == (outcome, expected, child.pid)


def test_a_kill_of_long_ago_explains_nothing(child: Running, kernel: Kernel) -> None:
    """Somebody else of the control group was killed while this one lived."""
    clock = Clock()
    parent = watching(kernel, clock, child.assignment())
    parent.poll()
    kernel.kills(4)
    for _ in range(10):
        clock.now += 3
        assert parent.poll()[1] == []
    os.kill(child.pid, signal.SIGKILL)
    child.await_state("Z")
    assert deaths_after(parent, clock)[0].reason == "its process was killed by signal 9"


@pytest.mark.parametrize(
    ("state", "name", "is_frozen", "wait"),
    [
        ("S", "get_signal", False, CGROUP_FROZEN),  # version 2
        ("D", "__refrigerator", False, CGROUP_FROZEN),  # version 1
        ("T", "do_signal_stop", True, "do_signal_stop"),  # stopped by a signal, whatever its group
        ("T", "get_signal", False, "get_signal"),
        ("S", "futex_do_wait", True, "futex_do_wait"),  # it goes on until it returns from the kernel
        ("S", "", True, CGROUP_FROZEN),  # the kernel does not name the place, but the group says it
        ("S", "", False, ""),
        ("R", "", True, ""),
    ],
)
def test_the_name_of_a_wait(kernel: Kernel, state: str, name: str, is_frozen: bool, wait: str) -> None:
    """The kernel's own, or that the control group is frozen."""
    kernel.freeze(is_frozen)
    assert wait_channel_name(state, name, group_of(kernel.pid, kernel.mounts, str(kernel.proc))) == wait


def test_a_framework_that_cannot_be_asked(child: Running) -> None:
    """What was known of the children stays; nothing is raised, for the jobs of this process are told after them."""
    parent = family(child.assignment())
    parent.poll()

    def fails(*_: object) -> Any:
        raise LookupError

    parent.jobs = parent.facts = fails
    assert [seen.pid for seen in parent.poll()[0]] == [child.pid]
    assert parent.facts_of(child.assignment()) is None
