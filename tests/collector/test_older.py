"""Workers of before: they put facts into texts for people, and are understood as those of now are.

`older/*.json` are what workers of commit 54906d2 sent, each in one way to hang (`tests/e2e/causes`): of each subject
the first record and the last two. And what a collector of that commit said of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from tests.collector.held import Held
from tests.collector.records import Process, attributes
from tests.collector.test_cause_words import CASES, as_words, told

from lastspan.collector.judge.names import file_line
from lastspan.collector.publish.shapes import JobView
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


# --- what they really sent ----------------------------------------------------------------------------------------

RECORDED = sorted(Path(__file__).with_name("older").glob("*.json"))
RULES = [
    {"match": {"job_name": "*.*"}, "allowed": "1h"},  # the jobs beside
    *({"match": {"kind": kind}, "allowed": "3s"} for kind in ("http", "db", "lock", "other")),
    {"match": {"job_name": "*"}, "allowed": "3s"},
]


def replayed(path: Path) -> JobView:
    """Return the job that hangs, as it is when the last record has come."""
    told = json.loads(path.read_text(encoding="utf-8"))
    held = Held(rules=RULES)
    began_ns = held.now_ns
    for row in told["records"]:
        held.wait(row["at"] - (held.now_ns - began_ns) / 1e9)
        assert held.pipeline.accept_logs(_request(row, told["resources"]), transport="test").rejected == 0
    held.wait(1)
    return held.job(next(job.job_id for job in held.tracker.jobs.values() if job.type.name == path.stem))


def _request(row: dict[str, Any], resources: list[dict[str, Any]]) -> bytes:
    record = LogRecord(event_name=row["event"], attributes=attributes(row["attributes"]))
    record.trace_id, record.span_id = bytes.fromhex(row.get("trace", "")), bytes.fromhex(row.get("span", ""))
    record.body.bytes_value = bytes.fromhex(row.get("body", ""))
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(attributes(resources[row["resource"]]))
    group.scope_logs.add().log_records.append(record)
    data: bytes = request.SerializeToString()
    return data


def said(job: JobView) -> dict[str, Any]:
    """Return the verdict, the cause and what is known of the wait, but no sentences: their words are free to change."""
    assert job.brief is not None
    return {
        "state": str(job.state),
        "severity": job.severity and str(job.severity),
        "last_span": job.last_span.name,
        "cause": job.cause,
        "confidence": job.confidence,
        "incident": job.incident,
        "lock_holder": job.brief.lock_holder,
        "waits_for": job.brief.waits_for,
        "blocked_by": None if job.blocked_by is None else msgspec.to_builtins(job.blocked_by),
        "wait": job.wait and {name: getattr(job.wait, name) for name in ("kind", "call", "peer", "target")},
    }


def facts(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out the sentences, which are made better from version to version."""
    sentences = ("text", "advice", "why", "first_step")
    return {name: facts(value) if name == "brief" else value for name, value in told.items() if name not in sentences}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_was_recorded_is_judged_as_then(path: Path) -> None:
    """A collector of that commit was told the same records, and came to this."""
    assert facts(said(replayed(path))) == facts(json.loads(path.read_text(encoding="utf-8"))["said"])
