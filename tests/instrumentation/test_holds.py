"""What a job holds: taken, given back, expired, and by whom."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.instrumentation.registry.held_locks import RUN_MAX, HeldLocks, file_key, host_name
from lastspan.instrumentation.registry.run import Run


def test_a_lock_is_held_until_it_is_given_back() -> None:
    """Oldest first; giving back what nobody holds does nothing."""
    holds, run = HeldLocks(), Run("nightly")
    assert holds.keys(run, 0) == []
    holds.add(run, "redis:a", 1)
    holds.add(run, "redis:b", 2)
    assert holds.keys(run, 3) == ["redis:a", "redis:b"]
    holds.remove("redis:a")
    holds.remove("redis:a")
    assert holds.keys(run, 3) == ["redis:b"]
    assert holds.of("redis:a") is None
    assert holds.of("redis:b").since == 2  # type: ignore[union-attr]


def test_a_lock_with_a_life_of_its_own_expires() -> None:
    """At its time, not before; kept longer by its holder alone."""
    holds, run = HeldLocks(), Run("nightly")
    holds.add(run, "redis:a", 100, owner=b"mine", expires_after=10)
    assert holds.keys(run, 109.9) == ["redis:a"]
    assert holds.keys(run, 110) == []
    holds.extend("redis:a", 200, owner=b"somebody else's")
    assert holds.keys(run, 110) == []
    holds.extend("redis:a", 200, owner=b"mine")
    assert holds.keys(run, 199) == ["redis:a"]


def test_who_comes_late_gives_nothing_back() -> None:
    """A lock that expired and was taken by another run is that one's, whatever the first one does then."""
    holds, first, second = HeldLocks(), Run("first"), Run("second")
    holds.add(first, "redis:a", 0, owner=b"1", expires_after=1)
    holds.add(second, "redis:a", 2, owner=b"2")
    holds.remove("redis:a", owner=b"1")
    assert holds.keys(first, 3) == []
    assert holds.keys(second, 3) == ["redis:a"]


def test_a_run_holds_so_many_and_no_more() -> None:
    """The first ones stay known; one of them given back makes room."""
    holds, run = HeldLocks(), Run("hoarder")
    for number in range(RUN_MAX + 10):
        holds.add(run, f"redis:{number}", number)
    assert holds.keys(run, 1000) == [f"redis:{number}" for number in range(RUN_MAX)]
    holds.remove("redis:0")
    holds.add(run, "redis:again", 1000)
    assert holds.keys(run, 1000)[-1] == "redis:again"


def test_locks_that_nobody_gives_back_do_not_pile_up() -> None:
    """Jobs that end and keep what they took: the oldest are forgotten, the newest never."""
    holds = HeldLocks()
    runs = [Run(f"job {number}") for number in range(3000)]
    for number, run in enumerate(runs):
        holds.add(run, f"redis:{number}", number)
    kept = [run for run in runs if holds.keys(run, 5000)]
    assert kept == runs[-1024:]


@given(st.lists(st.tuples(st.sampled_from("tdx"), st.integers(0, 2), st.integers(0, 3))))
def test_one_lock_has_one_holder(steps: list[tuple[str, int, int]]) -> None:
    """Whatever the order of takes, drops and late drops by others: never two runs for one key."""
    holds = HeldLocks()
    runs = [Run("0"), Run("1"), Run("2")]
    expected: dict[str, int] = {}
    for step, who, what in steps:
        key = f"redis:{what}"
        if step == "t":
            holds.add(runs[who], key, 0, owner=who)
            expected[key] = who
        else:
            holds.remove(key, owner=who)
            if expected.get(key) == who:
                del expected[key]
    for who, run in enumerate(runs):
        assert set(holds.keys(run, 1)) == {key for key, holder in expected.items() if holder == who}


@pytest.mark.applies(os.path.exists("/proc/locks"), reason="Linux only")
def test_the_key_of_a_file_is_what_the_kernel_calls_it() -> None:
    """Host, device and inode as `/proc/locks` has them: the two can be compared."""
    import fcntl

    with tempfile.TemporaryFile() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _, host, place = file_key(os.fstat(file.fileno())).split(":", 2)
        with open("/proc/locks", encoding="ascii") as locks:
            assert any(place == line.split()[5] and str(os.getpid()) == line.split()[4] for line in locks)
    assert host == host_name()
