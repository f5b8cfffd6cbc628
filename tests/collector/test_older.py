"""Workers of before: they put facts into texts for people, and are understood as those of now are.

`older/*.json.gz` are what workers of commit 54906d2 sent, each in one way to hang, and what a collector of that commit
made of it.
"""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.records import Process, attributes
from tests.collector.test_cause_words import CASES, as_words, told

from lastspan.collector.judge.names import file_line
from lastspan.semconv import ATTRIBUTES
from lastspan.semconv import attributes as a
from lastspan.semconv.attributes import OLDER_NAMES
from lastspan.semconv.vocabulary import WaitPurpose

PLACES = {
    "lastspan.lock.holder.code": (a.LOCK_HOLDER_FUNCTION, a.LOCK_HOLDER_FILE, a.LOCK_HOLDER_LINE),
    "lastspan.loop.code": (a.LOOP_FUNCTION, a.LOOP_FILE, a.LOOP_LINE),
    "lastspan.process.overslept.code": (
        a.PROCESS_OVERSLEPT_FUNCTION,
        a.PROCESS_OVERSLEPT_FILE,
        a.PROCESS_OVERSLEPT_LINE,
    ),
}
SESSIONS = (a.JOB_DB_SYSTEMS, a.JOB_DB_SERVERS, a.JOB_DB_IDS, a.JOB_DB_LOCALS)


class OlderProcess(Process):
    """A process of before: it says the same in the old form."""

    def record(self, event: str, values: dict[str, Any], *, number: int | None = None, body: bytes = b"") -> LogRecord:
        told = dict(values)
        older = {
            name: text for name, names in PLACES.items() if (text := _place(*(told.pop(one, None) for one in names)))
        }
        older |= _lines(told) | _target(told) | _task(told) | _sessions(told)
        _lock(told)
        told.pop(a.REPEAT_VARIES, None)
        record = super().record(event, told, number=number, body=body)
        record.attributes.extend(attributes(older))
        return record


def _place(function: str | None, file: str | None, line: int | None) -> str:
    return "" if function is None else f"{function}, {file_line(file, line)}"


def _lines(told: dict[str, Any]) -> dict[str, Any]:
    first, last = told.pop(a.CODE_FIRST_LINE, None), told.pop(a.CODE_LAST_LINE, None)
    return {} if last is None else {"lastspan.code.lines": f"{first}-{last}"}


def _target(told: dict[str, Any]) -> dict[str, Any]:
    name, purpose = told.pop(a.WAIT_TARGET, ""), told.pop(a.WAIT_PURPOSE, "")
    pids, programs, states = (told.pop(one, []) for one in (a.WAIT_PIDS, a.WAIT_PROGRAMS, a.WAIT_PROCESS_STATES))
    known = zip(pids, programs, states, strict=False)
    texts = [f"{program} (pid {pid}, {state})" for pid, program, state in known] or [f"pid {pid}" for pid in pids]
    if purpose in (WaitPurpose.BROKER, WaitPurpose.RESULT_BACKEND):
        texts.append(purpose.replace("_", " "))
    text = ", ".join([*filter(None, [name]), *texts, *told.pop(a.WAIT_JOB_IDS, [])])
    return {"lastspan.wait.target": text} if text else {}


def _task(told: dict[str, Any]) -> dict[str, Any]:
    task, id, name = (told.pop(one, None) for one in (a.LOOP_TASK, a.LOOP_JOB_ID, a.LOOP_JOB_NAME))
    text = f"job {name} {id}" if id else task
    return {"lastspan.loop.task": text} if text else {}


def _sessions(told: dict[str, Any]) -> dict[str, Any]:
    lists = [told.pop(name, []) for name in SESSIONS]
    texts = [" ".join(part or "-" for part in session) for session in zip(*lists, strict=True)]
    return {"lastspan.job.db.sessions": texts} if texts else {}


def _lock(told: dict[str, Any]) -> None:
    file, line = told.pop(a.LOCK_FILE, None), told.pop(a.LOCK_LINE, None)
    if file is not None:
        told[a.LOCK_NAME] = f"{told.get(a.LOCK_NAME) or told[a.WAIT_KIND]} in {file_line(file, line)}"


@pytest.mark.parametrize("name", CASES)
def test_the_words_are_the_same(name: str) -> None:
    """Whatever a worker of before says in its way, a person reads what a worker of now would have made them read."""
    assert as_words(told(CASES[name], process=OlderProcess)) == as_words(told(CASES[name]))


def test_all_older_names_are_tried() -> None:
    """Each of them stands in a record of the cases, and none is a name of now."""
    seen: set[str] = set()

    class Noting(OlderProcess):
        def record(self, *args: Any, **kwargs: Any) -> LogRecord:
            record = super().record(*args, **kwargs)
            seen.update(one.key for one in record.attributes)
            return record

    for make in CASES.values():
        told(make, process=Noting)
    assert set(OLDER_NAMES) <= seen
    assert not set(OLDER_NAMES) & set(ATTRIBUTES)
