"""The memory: what the collector knew, it knows again."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
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

from lastspan.collector.memory.disk import Memory
from lastspan.collector.model.records import Severity
from lastspan.collector.publish.jobs import list_jobs
from lastspan.collector.publish.shapes import JobView
from lastspan.collector.serve.config import ConfigError


class Kept(Held):
    """A held collector with a memory. Its wall clock goes with its own."""

    def __init__(self, folder: Path, *, at_ns: int = 1_000_000 * SECOND, wall_shift_ns: int = 0, **settings: object):
        super().__init__(**settings)
        self.now_ns = at_ns
        self.wall_shift_ns = wall_shift_ns
        self.memory = Memory(
            folder, self.pipeline, sync_s=1.0, log_max=1 << 30, wall=lambda: self.now_ns + self.wall_shift_ns
        )
        self.restored = self.memory.restore()

    def flush(self, snapshot: bool = False) -> None:
        async def work() -> None:
            self.memory._flush()
            if snapshot:
                await self.memory._snapshot()

        asyncio.run(work())

    def die(self) -> None:
        """End without a word; what was flushed stays."""
        self.memory._beside.shutdown()
        if self.memory._log is not None:
            self.memory._log.close()
        os.close(self.memory._lock)

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


@pytest.mark.parametrize("after", [0.0, 1.0, 0.5], ids=["beginning", "end", "middle"])
def test_a_torn_or_corrupt_tail_is_cut_and_reported(folder: Path, after: float) -> None:
    """What comes before it is kept, and writing goes on."""
    kept, worker = Kept(folder), Process()
    for number in range(1, 20):
        kept.tell(worker, worker.job(number))
    kept.flush()
    (log,) = folder.glob("log-*")
    size = log.stat().st_size
    with log.open("r+b") as file:
        if after == 1.0:
            file.truncate(size - 5)
        else:
            file.seek(max(3000, int(size * after)))
            file.write(b"\xff\xff\xff\xff")
    restored = again(kept, folder)
    (cut,) = restored.restored.cut
    assert cut.startswith(f"{log.name}: cut at byte ")
    assert 0 < len(restored.tracker.spans) < 19 or after == 0.0
    restored.tell(worker, worker.job(50))
    restored.flush()
    third = again(restored, folder)
    assert third.restored.cut == []
    assert set(third.tracker.spans) == set(restored.tracker.spans)


@examples(40)
@given(data=st.binary(max_size=300), keep=st.integers(0, 4000))
def test_no_content_of_a_file_is_fatal(data: bytes, keep: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "memory"
        kept, worker = Kept(folder), Process()
        kept.tell(worker, worker.job(1), worker.http(2, 1))
        kept.flush()
        (log,) = folder.glob("log-*")
        whole = log.read_bytes()
        log.write_bytes(whole[: max(keep, 18)] + data)
        again(kept, folder).die()


def test_a_first_line_that_is_corrupt_and_zeros_are_not_fatal(folder: Path) -> None:
    """A whole frame behind the line shows that the file is ours; zeros are what a power cut leaves of a new file."""
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush()
    (log,) = folder.glob("log-*")
    whole = log.read_bytes()
    kept.die()
    log.write_bytes(bytes([whole[0] ^ 4]) + whole[1:])
    again_ = Kept(folder)
    assert len(again_.tracker.jobs) == 1
    again_.die()
    log.write_bytes(bytes(len(whole)))
    empty = Kept(folder)
    assert empty.restored.cut == [f"{log.name}: cut at byte 0, {len(whole)} bytes were torn or corrupt"]
    empty.die()


def test_a_file_that_cannot_be_read_stops_the_start_in_one_line(folder: Path) -> None:
    Kept(folder).die()
    (folder / "log-00000007").mkdir()
    with pytest.raises(ConfigError, match=r"log-00000007 cannot be used: Is a directory"):
        Kept(folder)


def test_what_is_not_ours_or_of_a_later_version_is_refused_not_overwritten(folder: Path) -> None:
    Kept(folder).die()
    (log,) = folder.glob("log-*")
    for content, words in ((b"lastspan memory 2\nxyz", "was written by a later version"), (b"x" * 99, "is not last")):
        log.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            Kept(folder)
        assert log.read_bytes() == content


def test_fields_that_come_and_go_between_versions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file says which fields its structures have: what is new gets its default, what is unknown is left out."""
    from lastspan.collector.memory import journal

    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1, age=9, code_function="pay"), worker.closed(3))
    (log,) = folder.glob("log-*")
    kept.flush()
    kept.die()
    reader = journal.Reader(log.read_bytes())
    frames: list[Any] = [[now, wall, list(entries)] for now, wall, entries in reader.frames()]
    schema = {cls.__name__: list(cls.__struct_fields__) for cls in journal._CLASSES}
    schema["SpanClosed"].append("since_then_dropped")
    schema["Evidence"].remove("thread_name")
    schema = {"Gone": ["x"], **schema}
    names = list(schema)

    def rows(entries: list[Any]) -> list[Any]:
        writer = journal.Writer()
        told = [writer._row(entry) for entry in entries]
        found = []
        row: list[Any]
        for row in [*writer._rows, *told]:
            name = journal._CLASSES[row[0] - 2].__name__
            if name == "SpanClosed":
                row.append("whatever")
            if name == "SpanOpen" and row[6] is not None:
                del row[6][schema_of_evidence.index("thread_name")]
            found.append([names.index(name) + 2, *row[1:]])
        return found

    schema_of_evidence = list(next(c for c in journal._CLASSES if c.__name__ == "Evidence").__struct_fields__)
    encode = msgspec.msgpack.encode
    data = journal.MAGIC + journal._frame(encode((0, 0, [(1, schema)])))
    data += journal._frame(
        encode(
            (
                0,
                frames[-1][1],
                [[2, "of a kind that is gone"], *rows([entry for frame in frames for entry in frame[2]])],
            )
        )
    )
    log.write_bytes(data)
    restored = Kept(folder, at_ns=kept.now_ns)
    assert restored.restored.cut == []
    job = restored.job("id-1")
    assert (job.age_s, job.code and job.code.function) == (9, "pay")
    assert key(3) in restored.tracker.rooms[0].closed


def test_a_second_collector_is_refused(folder: Path) -> None:
    kept = Kept(folder)
    with pytest.raises(
        ConfigError, match=rf"data_dir: {folder} is in use by another collector \(process {os.getpid()}\)"
    ):
        Kept(folder)
    kept.die()
    Kept(folder).die()


def test_old_files_go_when_a_snapshot_is_whole(folder: Path) -> None:
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush(snapshot=True)
    kept.tell(worker, worker.job(2))
    kept.flush(snapshot=True)
    assert sorted(os.listdir(folder)) == ["lock", "log-00000003", "snapshot-00000003"]
    restored = again(kept, folder)
    assert len(restored.tracker.jobs) == 2


def test_a_snapshot_that_was_not_finished_is_as_if_it_had_not_begun(folder: Path) -> None:
    kept, worker = Kept(folder), Process()
    kept.tell(worker, worker.job(1))
    kept.flush()
    (folder / "snapshot-00000007.draft").write_bytes(b"half")
    restored = again(kept, folder)
    assert len(restored.tracker.jobs) == 1
    assert list(folder.glob("*.draft")) == []


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
    asyncio.run(between(kept.memory._snapshot(), happens))
    kept.flush()
    before, series = set(kept.tracker.spans), kept.series()
    assert len(before) > 900
    restored = again(kept, folder)
    assert set(restored.tracker.spans) == before
    assert restored.series() == series
