"""Who holds a lock on a file: real locks of real processes, and the application's own are never dropped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.instrumentation.evidence.blocked import PATIENCE, waiting_in

from lastspan.instrumentation.evidence.kernel.files import (
    FileLock,
    file_name,
    holders,
    in_the_way,
    parse_locks,
    sqlite_databases,
    unseen_holder,
)

pytestmark = pytest.mark.applies(os.path.exists("/proc/locks"), reason="this kernel does not list locks")


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has said that it is there, and stays until the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"there\n"
            yield running
        finally:
            running.kill()


LOCKS = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX)
    print("there", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a file"
    made.write_text("")
    return made


@pytest.mark.parametrize(("how", "kind", "call"), [("flock", "FLOCK", "flock"), ("lockf", "POSIX", "fcntl")])
def test_who_holds_it_and_who_waits(path: Path, how: str, kind: str, call: str) -> None:
    """Both kinds of lock; by the descriptor on which we wait, and by a stat."""
    with process(LOCKS, path, how) as holder, path.open("r+") as ours:
        with waiting_in(call, lambda: getattr(fcntl, how)(ours, fcntl.LOCK_EX), holder.kill) as seen:
            assert seen.descriptor == ours.fileno()
            held, waits = holders(seen.descriptor)
            assert held == FileLock(holder.pid, kind, "WRITE", False)
            assert waits == FileLock(os.getpid(), kind, "WRITE", True)
            assert unseen_holder([held, waits]) == ""
            assert holders(os.stat(path)) == [held, waits]


def test_a_lock_on_a_part_of_it(path: Path) -> None:
    """From its first byte to its last."""
    with path.open("r+") as ours:
        fcntl.lockf(ours, fcntl.LOCK_EX, 10, 5)
        assert holders(ours.fileno()) == [FileLock(os.getpid(), "POSIX", "WRITE", False, 5, 14)]


F_OFD_SETLK = 37


def test_a_lock_that_belongs_to_no_process(path: Path) -> None:
    """An open file has it: whoever has that."""
    with path.open("r+") as ours:
        fcntl.fcntl(ours, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        assert holders(ours.fileno()) == [FileLock(None, "OFDLCK", "WRITE", False)]
        assert "belongs to an open file" in unseen_holder(holders(ours.fileno()))


INHERITED = """
import fcntl, os, sys
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
reading, writing = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)  # ends with its parent
    print("there", flush=True)
    sys.stdin.read()
"""


def test_a_lock_whose_process_has_ended(path: Path) -> None:
    """A child inherited the open file, and the lock with it; the kernel goes on naming the one that took it."""
    with process(INHERITED, path) as parent, path.open("r+") as ours:
        parent.wait(PATIENCE)
        [lock] = holders(ours.fileno())
        assert lock.pid in {parent.pid, None}  # None: in a pid namespace of its own, nobody has that number any more
        assert unseen_holder([lock]) != ""
        assert parent.stdin is not None
        parent.stdin.close()


def test_a_file_that_nobody_locks(path: Path) -> None:
    """Nobody that can be seen: in another container it may be otherwise, and it says so."""
    with path.open() as ours:
        assert holders(ours.fileno()) == []
        assert "another container" in unseen_holder([])


def test_what_is_not_open() -> None:
    """Nothing, and no error; nor where there is no `/proc`."""
    assert holders(123456) == []
    assert holders(0, "/nowhere") == []
    assert sqlite_databases("/nowhere") == []


def test_a_file_is_named_as_the_kernel_names_it(path: Path) -> None:
    """By its own device number: where a kernel does not say (before 5.14), by `stat`."""
    with path.open() as ours:
        assert file_name(ours.fileno()).endswith(f":{os.stat(path).st_ino}")
        assert file_name(ours.fileno(), "/nowhere") == file_name(os.stat(path))


# --- SQLite ---------------------------------------------------------------------------------------------------------

WRITES = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("begin immediate")
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["delete", "wal"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = tmp_path / "orders.db"
    connection = sqlite3.connect(made, isolation_level=None)
    connection.execute(f"pragma journal_mode={request.param}")
    connection.execute("create table orders (id)")
    connection.close()
    return made


@contextmanager
def connected(database: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(database, isolation_level=None, timeout=PATIENCE)
    try:
        connection.execute("select count(*) from orders").fetchall()
        yield connection
    finally:
        connection.close()


def test_who_writes_to_a_database(database: Path) -> None:
    """In both of its journal modes, though the locks are on different files."""
    with connected(database) as ours, process(WRITES, database) as writer:
        locks = dict(sqlite_databases())[str(database)]
        assert (locks[0].pid, locks[0].mode, locks[0].is_waiting) == (writer.pid, "WRITE", False)
        assert ours.total_changes == 0


def test_a_database_whose_name_is_no_text(tmp_path: Path) -> None:
    """It is found, and its name is valid UTF-8."""
    path = os.fsencode(tmp_path) + b"/\xff.db"
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("create table orders (id)")
        connection.execute("begin immediate")
        assert f"{tmp_path}/\N{REPLACEMENT CHARACTER}.db" in dict(sqlite_databases())
    finally:
        connection.close()


OURS, OTHER, ANOTHER = 7, 8, 9
PENDING, RESERVED, SHARED = (1073741824,) * 2, (1073741825,) * 2, (1073741826, 1073742335)


def on(pid: int, mode: str, part: tuple[int, int]) -> FileLock:
    return FileLock(pid, "POSIX", mode, False, *part)


@pytest.mark.parametrize(
    ("locks", "expected"),
    [
        # Somebody else writes; whoever reads meanwhile is in nobody's way.
        ([on(OTHER, "WRITE", RESERVED), on(ANOTHER, "READ", SHARED)], [OTHER]),
        # We have all but the last reader's going: the commit waits for that one.
        ([on(OURS, "WRITE", PENDING), on(OURS, "WRITE", RESERVED), on(OTHER, "READ", SHARED)], [OTHER]),
        # As the kernel lists locks side by side of one process.
        ([on(OURS, "WRITE", (PENDING[0], RESERVED[1])), on(OTHER, "READ", SHARED)], [OTHER]),
        # Another connection of this process writes, for another thread, say.
        ([on(OURS, "WRITE", RESERVED), on(OTHER, "READ", SHARED)], [OURS]),
        ([on(OURS, "WRITE", (PENDING[0], SHARED[1]))], [OURS]),
        # Readers alone, also of a write-ahead log, keep nobody waiting.
        ([on(OTHER, "READ", SHARED)], []),
        ([on(OTHER, "READ", (124, 124))], []),
        ([on(OTHER, "WRITE", (120, 120))], [OTHER]),
        # A file that is locked as a whole.
        ([FileLock(OTHER, "POSIX", "WRITE", False)], [OTHER]),
    ],
)
def test_who_is_in_the_way(locks: list[FileLock], expected: list[int]) -> None:
    assert [lock.pid for lock in in_the_way(locks, OURS)] == expected


READS = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
rows = database.execute("select * from orders")
rows.fetchone()
print("there", flush=True)
sys.stdin.read()
"""


def test_a_commit_that_waits_for_a_reader(tmp_path: Path) -> None:
    """Its process has the file's lock, and the reader the one that it waits for."""
    path = tmp_path / "orders.db"
    with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)) as ours:
        ours.execute("create table orders (id)")
        ours.executemany("insert into orders values (?)", [("x" * 3000,)] * 100)
        ours.commit()
        with process(READS, path) as reader:
            ours.execute("insert into orders values (1)")
            committing = threading.Thread(target=ours.commit, daemon=True)
            committing.start()
            deadline = time.monotonic() + PATIENCE
            found: list[FileLock] = []
            while [lock.pid for lock in found] != [reader.pid]:
                assert time.monotonic() < deadline
                found = in_the_way(dict(sqlite_databases()).get(str(path), []), os.getpid())
            reader.kill()
            committing.join(PATIENCE)


def test_a_database_that_waits_for_nobody(database: Path) -> None:
    """Connections alone are no locks."""
    with connected(database):
        assert str(database) not in dict(sqlite_databases())


def test_looking_does_not_unlock_a_database(database: Path) -> None:
    """Had we opened and closed the file, our own transaction's lock would be gone."""
    with connected(database) as ours:
        ours.execute("begin immediate")
        for _ in range(3):
            assert dict(sqlite_databases())[str(database)][0].pid == os.getpid()
        code = WRITES.replace("isolation_level=None", "isolation_level=None, timeout=0")
        refused = subprocess.run([sys.executable, "-c", code, str(database)], capture_output=True, timeout=60)
        assert b"database is locked" in refused.stderr


def test_files_that_come_and_go_while_we_look(database: Path) -> None:
    """A job opens and closes files meanwhile; its database is found each time."""
    is_over = threading.Event()

    def churn() -> None:
        while not is_over.is_set():
            with open(sys.executable, "rb"):
                time.sleep(0)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with connected(database), process(WRITES, database):
            for _ in range(50):
                assert str(database) in dict(sqlite_databases())
    finally:
        is_over.set()
        thread.join(PATIENCE)


# --- the pure part --------------------------------------------------------------------------------------------------

TABLE = b"""\
1: POSIX  ADVISORY  WRITE 4711 08:01:131090 0 EOF
1: -> POSIX  ADVISORY  WRITE 4712 08:01:131090 0 EOF
1:  -> POSIX  ADVISORY  READ 4713 08:01:131090 100 199
2: FLOCK  ADVISORY  WRITE 0 00:2a:77 0 EOF
3: OFDLCK ADVISORY  READ -1 00:2a:77 0 EOF
4: LEASE  ACTIVE    READ 99 08:01:5 0 EOF
5: POSIX  ADVISORY  WRITE <none>:0 0 EOF
6: POSIX  ADVISORY  WRI"""


def test_the_kernels_list() -> None:
    """Held and waited for, in three ways of writing it; process ids of other namespaces are none."""
    assert parse_locks(TABLE) == {
        "08:01:131090": [
            FileLock(4711, "POSIX", "WRITE", False),
            FileLock(4712, "POSIX", "WRITE", True),
            FileLock(4713, "POSIX", "READ", True, 100, 199),
        ],
        "00:2a:77": [FileLock(None, "FLOCK", "WRITE", False), FileLock(None, "OFDLCK", "READ", False)],
        "08:01:5": [FileLock(99, "LEASE", "READ", False)],
    }


@given(st.one_of(st.binary(max_size=200), st.text("0123456789 :->EOFPOSIXWRITE\n", max_size=200).map(str.encode)))
def test_no_list_is_too_odd(table: bytes) -> None:
    """Locks, or nothing."""
    for locks in parse_locks(table).values():
        assert all(lock.pid is None or lock.pid > 0 for lock in locks)
