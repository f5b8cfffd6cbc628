"""The child processes for which a job waits: real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.instrumentation.evidence.blocked import PATIENCE

from lastspan.instrumentation.evidence.kernel.descriptors import descriptor
from lastspan.instrumentation.evidence.kernel.processes import ChildProcess, at_other_end, descendants, process

pytestmark = pytest.mark.applies(
    os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="this kernel does not list children"
)

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
child.communicate(b"x")
"""


@pytest.fixture
def running() -> Iterator[subprocess.Popen[bytes]]:
    """A child that has one of its own, and says its pid."""
    command = [sys.executable, "-c", PARENT, "--password", "hunter2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()
        started.wait(PATIENCE)


def inode_of(file: object) -> int:
    seen = descriptor(file.fileno())  # type: ignore[attr-defined]
    assert seen is not None
    assert seen.inode is not None
    return seen.inode


def test_children_and_theirs(running: subprocess.Popen[bytes]) -> None:
    """The nearest first."""
    assert running.stdout is not None
    grandchild = int(running.stdout.readline())
    found = descendants()
    assert found.index(running.pid) < found.index(grandchild)
    assert descendants(running.pid) == [grandchild]
    assert descendants(grandchild) == []


def test_who_is_to_write_to_a_pipe(running: subprocess.Popen[bytes]) -> None:
    """The child, and its own child where that inherited the pipe; not whoever has another one."""
    assert running.stdout is not None
    grandchild = int(running.stdout.readline())
    assert at_other_end(inode_of(running.stdout)) == [running.pid, grandchild]
    assert at_other_end(inode_of(running.stdin)) == [running.pid]
    assert at_other_end(1) == []


def test_what_it_is_and_does(running: subprocess.Popen[bytes]) -> None:
    """Its program's name and its state; no arguments."""
    assert running.stdout is not None
    running.stdout.readline()
    deadline = time.monotonic() + PATIENCE
    while (seen := process(running.pid)).state != "S":
        assert time.monotonic() < deadline, seen
    assert seen.name.startswith("python")
    assert "hunter2" not in repr(seen)


def test_a_process_that_is_gone() -> None:
    """No name, no children."""
    assert process(2**22 + 1) == ChildProcess(2**22 + 1, "", "X")
    assert descendants(2**22 + 1) == []


def test_without_proc() -> None:
    """Nobody, and no error."""
    assert descendants(proc="/nowhere") == at_other_end(7, "/nowhere") == []
