"""What a process has only one of is the host's: nothing of it is moved by a job that is late, looked at and sent."""

from __future__ import annotations

import json

import pytest
from tests.instrumentation.program import program
from tests.sink import Sink


@pytest.mark.parametrize("how", ["as it comes", "host off"])
def test_nothing_of_the_host_is_moved(how: str, sink: Sink) -> None:
    """Random, warnings, logging, gc, signals, threads, modules, …: as before (host_state.py has the list)."""
    with program("host_state", "1", how, sink=sink, wrapped=False) as running:
        found = json.loads(running.finish().splitlines()[-1])
    assert found == {"differs": {}, "drawn": True, "takers": 0}
    waited = sink.wait_for(lambda record: record.get("lastspan.span.is_job") is False)  # a span that the watcher made
    assert waited["lastspan.wait.kind"] == "lock"


def test_nothing_of_the_host_is_moved_where_nobody_listens(sink: Sink) -> None:
    """The pauses between attempts are spread, but not by the host's random numbers."""
    sink.mode = "503"
    with program("host_state", "2", "failing", sink=sink, wrapped=False) as running:
        found = json.loads(running.finish().splitlines()[-1])
    assert found == {"differs": {}, "drawn": True, "takers": 0}
