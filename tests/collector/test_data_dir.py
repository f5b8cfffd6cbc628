"""The folder of the memory, with a real collector in a process of its own."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

from tests.collector.records import Process
from tests.collector.served import Served, lastspan


def test_without_a_folder_it_says_that_it_forgets(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.stop()
    assert "no data_dir: this collector forgets its state when it stops" in served.log.read_text()


def test_an_orderly_end_loses_nothing(tmp_path: Path) -> None:
    """Not even the last moment; and the next one says what it knows again."""
    worker = Process()
    for number in range(1, 4):
        served = Served(tmp_path, "--data-dir", "memory")
        served.post(worker.body(worker.job(number), worker.durations("ok", number * 30, seconds=3.0)))
        assert served.stop() == 0
        log = served.log.read_text()
    assert "2 open spans, 2 open jobs, 1 processes, 1 learned durations were restored" in log
    assert "forgets its state" not in log


def test_a_second_collector_on_the_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    served = Served(tmp_path, "--data-dir", "memory")
    try:
        second = lastspan("collector", "--data-dir", "memory", "--otlp-http", "127.0.0.1:0", cwd=tmp_path)
        assert second.returncode == 2
        said = second.stderr.splitlines()
        assert said[-1] == (
            f"lastspan: data_dir: memory is in use by another collector (process {served.process.pid})"
        ), said
    finally:
        served.stop(signal.SIGKILL)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = lastspan("collector", "--data-dir", "file/memory", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == "lastspan: data_dir: file/memory cannot be used: Not a directory"


def test_a_full_disk_stops_the_memory_and_nothing_else(tmp_path: Path) -> None:
    """It says so, once and in its metrics; it goes on; and as soon as there is room it keeps all of its state again."""
    served, worker = Served(tmp_path, "--data-dir", "memory"), Process()

    def allow(size: int) -> None:
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    try:
        served.post(worker.body(worker.job(1)))
        served.until(lambda: "lastspan_collector_memory_ok 1.0" in served.metrics())
        allow(20_000)  # as a disk that is full: files cannot grow beyond it
        for number in range(2, 200):
            served.post(worker.body(worker.job(number)))
        served.until(lambda: "lastspan_collector_memory_ok 0.0" in served.metrics())
        assert len(served.jobs()) == 199
        assert served.log.read_text().count("cannot be written (disk I/O error)") == 1
        allow(resource.RLIM_INFINITY)
        served.until(lambda: "lastspan_collector_memory_ok 1.0" in served.metrics(), 30)
        served.post(worker.body(worker.job(200), worker.closed(5)))
        served.stop()
        served = Served(tmp_path, "--data-dir", "memory")
        assert {job for job, seen in served.jobs().items() if seen["state"] != "ended"} == {
            f"id-{number}" for number in range(1, 201) if number != 5
        }
    finally:
        served.stop(signal.SIGKILL)
