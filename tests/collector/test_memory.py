"""The memory: what the collector knew, it knows again."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import tempfile
import threading
import zlib
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.held import SECOND, Held
from tests.collector.records import Process, key
from tests.collector.test_properties import ACTIONS, History
from tests.examples import examples

from lastspan.collector.memory import disk as memory
from lastspan.collector.memory.database import FolderError
from lastspan.collector.memory.disk import Memory
from lastspan.collector.model.records import Severity
from lastspan.collector.publish.jobs import list_jobs
from lastspan.collector.publish.shapes import JobView


class Kept(Held):
    """A held collector with a memory. Its wall clock goes with its own."""

    def __init__(self, folder: Path, *, at_ns: int = 1_000_000 * SECOND, wall_shift_ns: int = 0, **settings: object):
        super().__init__(**settings)
        self.now_ns = at_ns
        self.wall_shift_ns = wall_shift_ns
        self.folder = folder
        self.memory = Memory(
            folder,
            self.tracker,
            clock=self.pipeline.clock,
            sync_s=1.0,
            log_max=1 << 30,
            wall=lambda: self.now_ns + self.wall_shift_ns,
        )
        self.restored = self.memory.restore()
        self.pipeline.memory = self.memory.take

    def flush(self, snapshot: bool = False) -> None:
        async def work() -> None:
            await self.memory.turn()
            if snapshot:
                await self.memory.snapshot()

        asyncio.run(work())

    def die(self) -> None:
        """End without a word: what was committed stays as it is, in the file or in the log before it."""
        left = {path: path.read_bytes() for path in files(self.folder)}
        asyncio.run(self.memory.close())
        for path in files(self.folder):
            path.unlink()
        for path, content in left.items():
            path.write_bytes(content)

    def jobs(self) -> dict[str, JobView]:
        self.tick()
        found = list_jobs(self.view, state=None, job_name=None, service=None, limit=1000, wall=lambda: 1.7e9)
        return {job.job_key: job for job in found.jobs}

    def series(self) -> list[Any]:
        series = self.tracker.counts.series.values()
        return sorted(
            ((s.job_name, s.queue, s.started, +s.ended, +s.open, +s.stuck, +s.stuck_total, s.buckets) for s in series),
            key=lambda row: row[:2],
        )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("state.*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def again(before: Kept, folder: Path, *, after: float = 0.0) -> Kept:
    before.die()
    return Kept(folder, at_ns=before.now_ns + int(after * SECOND))


def plain(view: JobView) -> dict[str, Any]:
    """A view without what counts from our start."""
    seen = msgspec.to_builtins(view)
    for name in ("silent_s", "cause_text"):
        seen.pop(name)
    return seen  # type: ignore[no-any-return]


def deliver(held: Held, process: Process, records: list[LogRecord]) -> None:
    for record in records:
        held.tell(process, record)


@examples(60)
@given(actions=ACTIONS, cut=st.integers(0, 40), waits=st.floats(0, 200), snapshot=st.sampled_from(["", "cut", "end"]))
def test_whatever_happened_is_known_again(actions: list[Any], cut: int, waits: float, snapshot: str) -> None:
    """From the log, from a snapshot, or from both: the same jobs, spans, counts, tombstones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "memory"
        history, kept = History(Process()).play(actions), Kept(folder)
        deliver(kept, history.process, history.records[:cut])
        kept.wait(waits)
        if snapshot == "cut":
            kept.flush(snapshot=True)
        deliver(kept, history.process, history.records[cut:])
        kept.tick()
        kept.flush(snapshot=snapshot == "end")
        before, series = kept.jobs(), kept.series()
        restored = again(kept, folder)
        assert {k: plain(v) for k, v in restored.jobs().items()} == {k: plain(v) for k, v in before.items()}
        assert set(restored.tracker.spans) == set(kept.tracker.spans)
        assert restored.series() == series
        deliver(restored, history.process, history.records)  # all of it comes once more
        assert set(restored.tracker.spans) == set(kept.tracker.spans), "nothing that ended opens again"
        restored.die()


def a_busy_collector(folder: Path) -> tuple[Kept, Process, Process]:
    """Stuck, lost, nested, killed and ended jobs, evidence, progress, counts and learned durations."""
    kept, worker, other = Kept(folder), Process(), Process(id="bb", pid=200, worker_id="w2", host="host-2")
    kept.tell(worker, worker.job(1, age=100, job_progress_done=5.0, job_progress_age=1.0, job_movement_age=3.0))
    kept.tell(worker, worker.http(2, 1, age=90, code_function="pay", code_stacktrace="File x\nFile y"))
    kept.tell(worker, worker.job(3, age=5, job_outer_span_id=(1).to_bytes(8, "big").hex()))
    kept.tell(worker, worker.http(5, 4, age=70))  # of a job that has not spoken
    kept.tell(worker, worker.job(6, age=5), worker.http(7, 6))
    kept.tell(worker, worker.job_ended(6, "killed", reason="SIGKILL"), worker.closed(8))
    kept.tell(other, other.job(9, age=5), other.state(9))
    for count in (1, 30):
        kept.tell(worker, worker.durations("ok", count), worker.durations(None, count + 1))
        kept.tell(worker, worker.durations("ok", 2 * count, seconds=0.2, span_name="GET"))
    kept.wait(30)
    kept.tell(worker, worker.state(1, 2, 3, 4, 5))
    kept.wait(30)
    kept.tell(worker, worker.job(10), worker.state(1, 2, 3, 4, 5, 10))
    return kept, worker, other


@pytest.mark.parametrize("snapshot", [False, True])
def test_all_that_is_shown_is_as_before(folder: Path, snapshot: bool) -> None:
    kept, worker, _ = a_busy_collector(folder)
    kept.tick()
    kept.flush(snapshot=snapshot)
    before, metrics = kept.jobs(), kept.metrics()
    assert {job.state for job in before.values()} == {"stuck", "running", "lost", "ended"}
    restored = again(kept, folder, after=3)
    assert restored.restored.cut == []
    after = restored.jobs()
    assert after.keys() == before.keys()
    for ref, job in after.items():
        was = before[ref]
        assert (job.state, job.incident, job.outcome, job.cause) == (was.state, was.incident, was.outcome, was.cause)
        assert job.age_s == pytest.approx(was.age_s + (3 if job.state != "ended" else 0)), "time went on meanwhile"
        assert (job.stack, job.progress, job.host, job.basis_rule) == (
            was.stack,
            was.progress,
            was.host,
            was.basis_rule,
        )
        assert [span.name for span in job.open_spans] == [span.name for span in was.open_spans]

    def counted(text: str) -> list[str]:
        wanted = ("lastspan_jobs", "lastspan_incident", "lastspan_job_expected", "lastspan_processes")
        return [line for line in text.splitlines() if line.startswith(wanted)]

    assert counted(restored.metrics()) == counted(metrics)
    learned = {k: (list(r.runs), r.learned) for k, r in kept.tracker.learner.rows.items()}
    assert {k: (list(r.runs), r.learned) for k, r in restored.tracker.learner.rows.items()} == learned
    # Cumulative counts go on from where they were; tombstones hold.
    restored.tell(worker, worker.durations("ok", 31), worker.job(8), worker.http(7, 6))
    assert key(8) not in restored.tracker.spans
    assert key(7) not in restored.tracker.spans
    assert ("tasks.charge", "celery", 31) in [row[:3] for row in restored.series()]
    assert sum(restored.tracker.counts.series["test", "billing", "tasks.charge", "celery"].buckets) == 31


def test_silence_counts_anew_and_the_lost_stay_lost(folder: Path) -> None:
    kept, _, other = a_busy_collector(folder)
    kept.flush()
    restored = again(kept, folder, after=600)
    assert restored.job("id-9").state == "lost"
    assert restored.job("id-1").state == "stuck", "its process was not silent: we were deaf"
    restored.tell(other, other.state(9))
    assert restored.job("id-9").state == "stuck", "it was heard again, and is late"
    restored.wait(50)
    assert restored.job("id-1").state == "lost"


@pytest.mark.parametrize("snapshot", [False, True])
def test_an_incident_stays_a_page_without_the_job_that_paged(folder: Path, snapshot: bool) -> None:
    """Nobody is told of it again as a warning, because the collector was started again."""
    kept, worker = Kept(folder), Process()
    for number, expected in ((1, 20.0), (3, None)):
        kept.tell(worker, worker.job(number, age=80.0, span_expected_duration=expected))
        kept.tell(worker, worker.http(number + 1, number, age=70.0))
    kept.tick()
    kept.tell(worker, worker.closed(2), worker.closed(1))
    kept.flush(snapshot)
    for held in (kept, again(kept, folder)):
        assert [incident.severity for incident in held.tracker.counts.incidents.values()] == [Severity.PAGE]
        assert held.job("id-3").severity == "warning"


def test_jobs_that_were_given_up_are_no_ghosts(folder: Path) -> None:
    """A lost job ended by the passing of time, and so it stays."""
    kept, worker = Kept(folder, lost_keep="60s"), Process()
    kept.tell(worker, worker.job(1), worker.state(1))
    kept.wait(200)
    assert kept.job("id-1").outcome == "lost"
    kept.flush()
    restored = again(kept, folder)
    assert restored.job("id-1").outcome == "lost"
    assert restored.tracker.spans == {}


def test_a_wall_clock_that_was_set_back_makes_nothing_younger(folder: Path) -> None:
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1, age=50))
    kept.flush()
    kept.die()
    restored = Kept(folder, at_ns=kept.now_ns, wall_shift_ns=-3600 * SECOND)
    assert restored.job("id-1").age_s == 50


def many_jobs(folder: Path, *, is_in_file: bool) -> Kept:
    """Sixty jobs, each committed alone: to the write-ahead log, and from there to the file."""
    kept, worker = Kept(folder), Process()
    for number in range(1, 61):
        kept.tell(worker, worker.job(number))
        kept.flush()
    if is_in_file:
        kept.memory._database._sync()
    kept.die()
    return kept


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("after", [0.0, 1.0, 0.5], ids=["beginning", "end", "middle"])
def test_a_torn_or_corrupt_tail_is_cut_and_reported(folder: Path, after: float) -> None:
    """What comes before it is kept, and writing goes on."""
    many_jobs(folder, is_in_file=False)
    wal = folder / "state.sqlite3-wal"
    size = wal.stat().st_size
    if after == 1.0:
        os.truncate(wal, size - 5)
    else:
        overwrite(wal, max(100, int(size * after)), b"\xff\xff\xff\xff")
    restored = Kept(folder)
    (cut,) = restored.restored.cut
    assert cut.startswith(f"{wal.name}: cut at byte ")
    assert 0 < len(restored.tracker.spans) < 60 or after == 0.0
    worker = Process()
    restored.tell(worker, worker.job(99))
    restored.flush()
    third = again(restored, folder)
    assert third.restored.cut == []
    assert set(third.tracker.spans) == set(restored.tracker.spans)


def test_a_row_that_is_corrupt_is_left_out_and_reported(folder: Path) -> None:
    """All others are kept; with the next snapshot, which is due at once, it goes."""
    kept = many_jobs(folder, is_in_file=True)
    file = folder / "state.sqlite3"
    with closing(sqlite3.connect(file)) as db:
        row = bytes(db.execute("select data from log where id = 30").fetchone()[0])
    overwrite(file, file.read_bytes().index(row) + len(row) // 2, b"\xff\xff\xff\xff")
    restored = Kept(folder)
    assert restored.restored.cut == [f"{file.name}: 1 of 60 rows of the log were corrupt"]
    assert set(kept.tracker.spans) - set(restored.tracker.spans) == {key(30)}
    restored.flush()
    assert again(restored, folder).restored.cut == []


@pytest.mark.parametrize("damage", ["page", "torn"])
def test_of_a_damaged_file_is_kept_what_can_be_read(folder: Path, damage: str) -> None:
    """It is told, the file stays for those who want to see it, and a whole one takes its place."""
    many_jobs(folder, is_in_file=True)
    file = folder / "state.sqlite3"
    last = file.stat().st_size - 4096
    if damage == "page":
        overwrite(file, last, bytes(4096))
    else:
        os.truncate(file, last + 7)
    content = file.read_bytes()
    restored = Kept(folder)
    cut = restored.restored.cut[0]
    assert cut.startswith(f"{file.name}: "), cut
    assert cut.endswith(f" rows could be read, it is kept as {file.stem}.damaged"), cut
    assert 0 < len(restored.tracker.spans) < 60
    assert (folder / "state.damaged").read_bytes() == content
    worker = Process()
    restored.tell(worker, worker.job(99))
    restored.flush()
    third = again(restored, folder)
    assert third.restored.cut == []
    assert set(third.tracker.spans) == set(restored.tracker.spans)


@examples(60)
@given(data=st.binary(max_size=300), at=st.floats(0, 1), is_torn=st.booleans(), is_in_file=st.booleans())
def test_no_content_of_a_file_is_fatal(data: bytes, at: float, is_torn: bool, is_in_file: bool) -> None:
    """But for the header of the file, which says whose it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "memory"
        kept, worker = Kept(folder), Process()
        kept.tell(worker, worker.job(1), worker.http(2, 1))
        kept.flush()
        if is_in_file:
            kept.memory._database._sync()
        kept.die()
        for path, header in ((folder / "state.sqlite3", 100), (folder / "state.sqlite3-wal", 0)):
            size = path.stat().st_size
            place = max(header, int(at * size))
            overwrite(path, place, data)
            if is_torn:
                os.truncate(path, place + len(data))
        Kept(folder).die()


def test_a_first_line_that_is_corrupt_and_zeros_are_not_fatal(folder: Path) -> None:
    """The header behind the line shows that the file is ours; zeros are what a power cut leaves of a new file."""
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush(snapshot=True)
    kept.die()
    file, wal = folder / "state.sqlite3", folder / "state.sqlite3-wal"
    overwrite(file, 0, b"\xff")
    again_ = Kept(folder)
    assert len(again_.tracker.jobs) == 1
    again_.tell(worker, worker.job(2))
    again_.flush()
    again_.die()
    size = wal.stat().st_size
    wal.write_bytes(bytes(size))
    without = Kept(folder)
    assert without.restored.cut == [f"{wal.name}: cut at byte 0, {size} bytes were torn or corrupt"]
    assert len(without.tracker.jobs) == 1
    without.die()
    file.write_bytes(bytes(8192))
    (cut,) = Kept(folder).restored.cut
    assert cut.startswith(f"{file.name}: file is not a database; 0 rows could be read")


def test_a_file_that_cannot_be_read_stops_the_start_in_one_line(folder: Path) -> None:
    folder.mkdir()
    (folder / "state.sqlite3").mkdir()
    with pytest.raises(FolderError, match=r"state\.sqlite3 cannot be used: Is a directory"):
        Kept(folder)


def test_what_is_not_ours_or_of_a_later_version_is_refused_not_overwritten(folder: Path) -> None:
    Kept(folder).die()
    file = folder / "state.sqlite3"
    later, other = folder / "later", folder / "other"
    later.write_bytes(file.read_bytes())
    for path, script in ((later, "pragma user_version = 2"), (other, "create table theirs (id)")):
        with closing(sqlite3.connect(path)) as db:
            db.executescript(script)
    for content, words in (
        (later.read_bytes(), "was written by a later version"),
        (other.read_bytes(), "is not lastspan's"),
        (b"x" * 99, "is not lastspan's"),
    ):
        file.write_bytes(content)
        with pytest.raises(FolderError, match=words):
            Kept(folder)
        assert file.read_bytes() == content


def test_the_files_of_an_earlier_version_are_refused_and_left(folder: Path) -> None:
    """It kept a log and snapshots in a format of its own."""
    folder.mkdir()
    (folder / "log-00000003").write_bytes(b"lastspan memory 1\n")
    with pytest.raises(FolderError, match=r"log-00000003 was written by an earlier version of lastspan; use"):
        Kept(folder)
    assert sorted(os.listdir(folder)) == ["lock", "log-00000003"]


def test_nobody_else_may_read_it(folder: Path) -> None:
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush()
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "lock": 0o600,
        "state.sqlite3": 0o600,
        "state.sqlite3-wal": 0o600,
    }
    kept.die()


def test_fields_that_come_and_go_between_versions(folder: Path) -> None:
    """Each structure says which fields it has: what is new gets its default, what is unknown is left out."""
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1, age=9, code_function="pay"), worker.closed(3))
    kept.flush()
    kept.memory._database._sync()
    kept.die()
    file = folder / "state.sqlite3"
    with closing(sqlite3.connect(file)) as db, db:
        ((row,),) = db.execute("select data from log")
        frames = msgspec.msgpack.decode(zlib.decompress(row))
        for _, named in frames:
            for name, fields in named:
                if name == "SpanClosed":
                    fields["since_then_dropped"] = "whatever"
                if name == "SpanOpen":
                    del fields["evidence"]["thread_name"]
            named.insert(0, ["Gone", {"x": "of a kind that is gone"}])
        db.execute("update log set data = ?", (zlib.compress(msgspec.msgpack.encode(frames)),))
    restored = Kept(folder, at_ns=kept.now_ns)
    assert restored.restored.cut == []
    job = restored.job("id-1")
    assert (job.age_s, job.code and job.code.function) == (9, "pay")
    assert key(3) in restored.tracker.parts[0].closed


def test_a_second_collector_is_refused(folder: Path) -> None:
    kept = Kept(folder)
    with pytest.raises(FolderError, match=rf"{folder} is in use by another collector \(process {os.getpid()}\)"):
        Kept(folder)
    kept.die()
    Kept(folder).die()


def rows(kept: Kept) -> dict[str, int]:
    db = kept.memory._database._db
    names = [name.decode() for (name,) in db.execute("select name from sqlite_master order by name")]
    return {name: db.execute(f"select count(*) from {name}").fetchone()[0] for name in names}


def test_a_file_that_somebody_else_has_open_is_refused(folder: Path) -> None:
    Kept(folder).die()
    with closing(sqlite3.connect(folder / "state.sqlite3")) as db:
        db.execute("select count(*) from log").fetchone()
        with pytest.raises(FolderError, match=rf"{folder} cannot be used: database is locked"):
            Kept(folder)
    Kept(folder).die()


def test_old_rows_go_when_a_snapshot_is_whole(folder: Path) -> None:
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush()
    assert rows(kept) == {"log": 1, "snapshot": 0}
    kept.flush(snapshot=True)
    whole = rows(kept)
    kept.tell(worker, worker.job(2))
    kept.flush(snapshot=True)
    assert rows(kept) == whole
    assert whole["log"] == 0
    restored = again(kept, folder)
    assert len(restored.tracker.jobs) == 2


def test_a_snapshot_that_was_not_finished_is_as_if_it_had_not_begun(folder: Path) -> None:
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush()
    kept.memory._database.begin_draft()
    kept.memory._database.write("draft", [])
    restored = again(kept, folder)
    assert len(restored.tracker.jobs) == 1
    restored.flush(snapshot=True)
    assert rows(restored)["log"] == 0
    assert "draft" not in rows(restored)


def test_what_was_committed_is_soon_on_the_disk(folder: Path) -> None:
    """Also if nothing comes after it: a checkpoint brings it there, and empties the write-ahead log."""
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush()
    wal = folder / "state.sqlite3-wal"
    assert wal.stat().st_size > 0
    kept.memory._database._sync_s = 0.0
    kept.flush()
    assert wal.stat().st_size == 0
    restored = again(kept, folder)
    assert len(restored.tracker.jobs) == 1


def test_a_disk_that_hangs_stops_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it is bounded; then the collector goes on without memory, until the disk can be written again."""
    monkeypatch.setattr(memory, "_BACKLOG", 100)
    monkeypatch.setattr(memory, "_RETRY_S", 0.0)
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))

    async def hang() -> None:
        hanging = threading.Event()
        kept.memory._beside.submit(hanging.wait)
        keep = asyncio.create_task(kept.memory.turn())
        for number in range(2, 200):
            kept.tell(worker, worker.job(number))
            await asyncio.sleep(0)
        assert not keep.done()
        assert kept.memory.facts.failed == "the disk is too slow"
        hanging.set()
        await keep
        kept.tell(worker, worker.closed(7))
        await kept.memory.turn()
        assert not kept.memory.facts.failed

    asyncio.run(hang())
    kept.tell(worker, worker.job(200))
    kept.flush()
    restored = again(kept, folder)
    assert set(restored.tracker.spans) == set(kept.tracker.spans) == {key(n) for n in range(1, 201) if n != 7}


def test_a_disk_that_is_full_at_the_start_is_read_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_RETRY_S", 0.0)
    kept = many_jobs(folder, is_in_file=False)
    worker = Process()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        restored = Kept(folder)
        assert restored.restored.cut == []
        assert set(restored.tracker.spans) == set(kept.tracker.spans)
        restored.tell(worker, worker.job(61))
        restored.flush()
        assert restored.memory.facts.failed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    restored.flush()
    assert not restored.memory.facts.failed
    third = again(restored, folder)
    assert set(third.tracker.spans) == {key(number) for number in range(1, 62)}


def test_records_that_come_during_a_snapshot_are_kept(folder: Path) -> None:
    """The snapshot is written in slices; what happens between two of them is in the log."""
    kept, worker = Kept(folder), Process()
    for number in range(1, 1000):
        kept.tell(worker, worker.job(number))
    kept.tell(worker, worker.durations("ok", 5))

    async def between(work: Awaitable[Any], happens: Callable[[int], None]) -> None:
        task = asyncio.ensure_future(work)
        for step in range(3000):  # a bound: a slow disk would have it happen for minutes
            if task.done():
                break
            happens(step)
            await asyncio.sleep(0)
        await task

    def happens(step: int) -> None:
        closed = [worker.closed(999 - step)] if step < 99 else []
        kept.tell(worker, worker.job(2000 + step), *closed, worker.durations("ok", 6 + step))

    happens(-1)
    asyncio.run(between(kept.memory.snapshot(), happens))
    kept.flush()
    before, series = set(kept.tracker.spans), kept.series()
    assert len(before) > 900
    restored = again(kept, folder)
    assert set(restored.tracker.spans) == before
    assert restored.series() == series
