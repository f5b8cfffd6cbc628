"""`make stack`: a job hangs, Prometheus and Alertmanager notice, a page comes, and at Ctrl-C nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.files import tool


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    tool("prometheus")
    tool("prometheus-alertmanager", "alertmanager")
    log = tmp_path / "stack.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # As a script's background job has it: SIGINT is ignored at the start.
            ["sh", "-c", 'trap "" INT; exec "$0" -m lastspan.examples.stack', sys.executable],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield process, log
    if process.poll() is None:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(420)
def test_from_a_job_that_hangs_to_a_page(stack: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, log = stack
    deadline = time.monotonic() + 300
    while "[FIRING]" not in (text := log.read_text()) or "runbook" not in text:
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    started = dict(re.findall(r"· (\w+) +http://127\.0\.0\.1:\d+ +\(process (\d+)\)", text))
    assert set(started) == {"lastspan", "Prometheus", "Alertmanager"}

    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert not [pid for pid in started.values() if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in log.read_text()
