"""What control groups say: frozen or not, and whose death was for lack of memory."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.instrumentation.registry.cgroup import (
    ControlGroup,
    Mounts,
    OomKills,
    counted,
    group_of,
    groups,
    mounts,
    read_mounts,
)

HOST_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER_V2 = "812 799 0:28 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
HOST_V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
CONTAINER_V1 = """\
913 901 0:32 /docker/4f0c /sys/fs/cgroup/memory ro,nosuid master:15 - cgroup cgroup rw,memory
914 901 0:34 /docker/4f0c /sys/fs/cgroup/freezer ro,nosuid master:17 - cgroup cgroup rw,freezer
"""
V1 = "6:freezer:/pool\n4:memory:/pool\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/pool.scope\n"


@pytest.mark.parametrize(
    ("mountinfo", "cgroup", "memory", "freezer"),
    [
        (
            HOST_V2,
            "0::/system.slice/celery.service\n",
            "/sys/fs/cgroup/system.slice/celery.service/memory.events",
            "/sys/fs/cgroup/system.slice/celery.service/cgroup.events",
        ),
        # its own namespace of groups: the container is the root
        (CONTAINER_V2, "0::/\n", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/cgroup.events"),
        (HOST_V1, V1, "/sys/fs/cgroup/memory/pool/memory.oom_control", "/sys/fs/cgroup/freezer/pool/freezer.state"),
        # only a part of the tree is mounted, and the process's path is that of the host
        (
            CONTAINER_V1,
            "6:freezer:/docker/4f0c\n4:memory:/docker/4f0c/sub\n",
            "/sys/fs/cgroup/memory/sub/memory.oom_control",
            "/sys/fs/cgroup/freezer/freezer.state",
        ),
        # outside of what can be seen
        (CONTAINER_V1, "6:freezer:/docker/other\n4:memory:/docker/4f0cc\n", "", ""),
        (HOST_V2, "0::/../sibling\n", "", ""),
        ("", "0::/\n", "", ""),
        (HOST_V2, "", "", ""),
        (HOST_V2, "garbage\n0::relative\n::\n", "", ""),
    ],
)
def test_where_the_files_of_a_process_are(
    tmp_path: Path, mountinfo: str, cgroup: str, memory: str, freezer: str
) -> None:
    """Both versions, on the host and in a container."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(cgroup)
    assert group_of(7, mounts(mountinfo), str(tmp_path)) == ControlGroup(memory, freezer)


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    """It has no group any more."""
    assert group_of(7, mounts(HOST_V2), str(tmp_path)) == ControlGroup()
    assert read_mounts(str(tmp_path)) == {}


def test_this_process() -> None:
    """Whatever groups this machine has: the files that are named can be read."""
    group = group_of(os.getpid(), read_mounts())
    assert group.oom_kills() is None or group.oom_kills() >= 0  # type: ignore[operator]
    assert not group.is_frozen()


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("low 0\nhigh 0\nmax 4711\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # before Linux 4.13
        ("oom_kill\noom_kill x\noom_kill 1 2\n", None),
        ("", None),
    ],
)
def test_how_often_memory_ran_out(tmp_path: Path, text: str, kills: int | None) -> None:
    """The kernel's count, in both versions."""
    (tmp_path / "memory").write_text(text)
    assert ControlGroup(memory=str(tmp_path / "memory")).oom_kills() == kills
    assert ControlGroup(memory=str(tmp_path / "nowhere")).oom_kills() is None
    assert ControlGroup().oom_kills() is None


@pytest.mark.parametrize(
    ("text", "is_frozen"),
    [
        ("populated 1\nfrozen 1\n", True),
        ("populated 1\nfrozen 0\n", False),
        ("FROZEN\n", True),
        ("FREEZING\n", False),
        ("THAWED\n", False),
        ("", False),
    ],
)
def test_frozen(tmp_path: Path, text: str, is_frozen: bool) -> None:
    """Version 2 counts, version 1 says a word."""
    (tmp_path / "freezer").write_text(text)
    assert ControlGroup(freezer=str(tmp_path / "freezer")).is_frozen() is is_frozen
    assert not ControlGroup().is_frozen()


@pytest.mark.parametrize(
    ("counts", "died_at", "explained"),
    [
        ([(0, 4), (1, 5)], [1], [True]),
        ([(0, 4), (1, 4)], [1], [False]),
        ([(0, 4)], [0], [False]),  # what was before we looked explains nothing
        ([(0, 4), (1, 5)], [1, 1], [True, False]),  # one kill, one death
        ([(0, 4), (1, 6)], [1, 2], [True, True]),
        ([(0, 4), (1, 5)], [30], [False]),  # it was another process
        ([(0, 4), (1, 5), (2, None), (3, 5)], [3], [True]),
        ([(0, None)], [1], [False]),
        ([(0, 4), (1, 0), (2, 1)], [2], [True]),  # the group was made anew
        ([(0, 0), (1, 10**9)], [1], [True]),  # a count that no machine reaches costs no memory
    ],
)
def test_whose_death_was_for_lack_of_memory(
    counts: list[tuple[float, int | None]], died_at: list[float], explained: list[bool]
) -> None:
    """A kill that was counted while the process lived, and that no other death has used up."""
    kills = OomKills()
    for at, total in counts:
        kills.count(total, at)
    assert [kills.explains_one(at) for at in died_at] == explained


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=20),
    st.lists(st.integers(0, 60), max_size=20).map(sorted),
)
def test_no_more_deaths_are_explained_than_there_were_kills(totals: list[int | None], deaths: list[int]) -> None:
    """Whatever the kernel says."""
    kills = OomKills()
    for at, total in enumerate(totals):
        kills.count(total, at)
    known = [total for total in totals if total is not None]
    rises = sum(max(after - before, 0) for before, after in itertools.pairwise(known))
    assert sum(kills.explains_one(at) for at in deaths) <= rises


@given(st.text(max_size=200))
def test_no_file_of_the_kernels_is_too_odd(text: str) -> None:
    """Groups, mounts and counts, or nothing."""
    found: Mounts = mounts(text)
    assert all(place for _, place in found.values())
    assert all(path.startswith("/") for path in groups(text).values())
    assert counted(text, "oom_kill") is None or "oom_kill" in text
