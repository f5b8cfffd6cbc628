"""Child processes, pipes, and locks and queues of `multiprocessing`."""

from __future__ import annotations

import multiprocessing
import os
import pty
import select
import subprocess
import time

from tests.e2e.causes.place import here, ready
from tests.e2e.causes.way import lock, own_wait, wait, way

_fork = multiprocessing.get_context("fork")
_spawn = multiprocessing.get_context("spawn")

_shared = _fork.Lock()


def write_report() -> None:
    """Its child takes the lock."""
    child = _fork.Process(target=_hold_shared, daemon=True)
    child.start()
    time.sleep(1)
    ready()
    child.join()


def _hold_shared() -> None:
    with _shared:
        time.sleep(3600)


@way("lock_wait", span=lock("_shared"), beside=(write_report,))
def multiprocessing_lock() -> None:
    with _shared:  # <- stops here
        pass


_results = _fork.Queue()


@way("waiting", span=wait("_results") + "|job ")
def multiprocessing_queue() -> None:
    _results.get()  # <- stops here


@way("waiting", span=own_wait())
def multiprocessing_pool() -> None:
    with _spawn.Pool(1) as pool:
        pool.map(time.sleep, [3600])  # <- stops here


@way("waiting", span=own_wait())
def multiprocessing_child() -> None:
    child = _fork.Process(target=time.sleep, args=(3600,), daemon=True)
    child.start()
    child.join()  # <- stops here


@way("waiting", span=own_wait())
def subprocess_that_does_not_end() -> None:
    subprocess.run(["sleep", "3600"], check=True)  # <- stops here


@way("waiting", span=own_wait())
def subprocess_that_says_nothing() -> None:
    subprocess.check_output(["sleep", "3600"])  # <- stops here


@way("waiting", span=own_wait())
def subprocess_with_a_long_timeout() -> None:
    child = subprocess.Popen(["sleep", "3600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.communicate(timeout=900)  # <- stops here


@way("waiting", span=own_wait())
def waitpid() -> None:
    child = os.posix_spawn("/bin/sleep", ["sleep", "3600"], {})
    os.waitpid(child, 0)  # <- stops here


@way("waiting", span=own_wait())
def pipe_that_nobody_writes_to() -> None:
    reading, _writing = os.pipe()
    os.read(reading, 1024)  # <- stops here


@way("waiting", span=own_wait())
def fifo_that_nobody_opens() -> None:
    os.mkfifo(here().path("commands"))
    with open(here().path("commands")) as commands:  # <- stops here
        commands.read()


@way("waiting", span=own_wait())
def terminal_that_nobody_types_at() -> None:
    """A prompt in a job: `apt-get` without `-y`, a passphrase."""
    _master, terminal = os.openpty()
    os.dup2(terminal, 0)
    input("Continue? [Y/n] ")  # <- stops here


@way("waiting", span=own_wait())
def pipe_with_two_ways() -> None:
    ours, theirs = _fork.Pipe()
    ours.recv()  # <- stops here
    theirs.close()


@way("waiting", span=own_wait())
def program_at_a_terminal_of_its_own() -> None:
    """As pexpect does it: the prompt never comes."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("sleep", ["sleep", "3600"])
    select.select([terminal], [], [])  # <- stops here
