"""Parts of signals, made of a row of values or of raw bytes."""

from __future__ import annotations

from itertools import islice, zip_longest
from sys import intern
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from lastspan.semconv import SKETCH_EXPONENTIAL_HISTOGRAM
from lastspan.semconv import attributes as a
from lastspan.semconv.vocabulary import FRAMEWORKS

from ..model.evidence import CodeLine, Evidence, JobSession, Lock, Loop, OwnedByJob, Repeat, Wait, WaitedProcess
from ..model.records import Child, ProcessStall, ProcessStatus, Resource
from ..model.sketch import Runs, rescaled
from . import layout, proto
from .values import MAX_BRIEF, MAX_LIST, RecordError

_MAX_CHILDREN = 4096
_MAX_BUCKETS = 4096
MAX_RUNS = 1 << 40
"""Of one process and name: a thousand a second for thirty years."""


def resource(raw: bytes) -> Resource:
    """Return the facts of a resource; what is of a wrong kind is left out (the rest of the batch is still true)."""
    try:
        attributes = {pair.key: pair.value for pair in proto.Resource.FromString(raw).attributes}
    except DecodeError:
        return Resource()

    def text(name: str) -> str:
        return attributes[name].string_value[:1024] if name in attributes else ""

    def shared(name: str) -> str:
        return intern(text(name))  # the same in many processes: one copy

    def integer(name: str) -> int | None:
        return attributes[name].int_value or None if name in attributes else None

    return Resource(
        service=shared(a.SERVICE_NAME),
        environment=shared(a.ENVIRONMENT) or shared(a.ENVIRONMENT_OLD),
        namespace=shared(a.K8S_NAMESPACE) or shared(a.SERVICE_NAMESPACE),
        pod=shared(a.K8S_POD),
        host=shared(a.HOST_NAME),
        pid=integer(a.PID),
        parent_pid=integer(a.PARENT_PID),
        instance_id=text(a.SERVICE_INSTANCE_ID),
        service_version=shared(a.SERVICE_VERSION),
        worker_id=text(a.WORKER_ID) or None,
    )


def status(text: str) -> ProcessStatus:
    """Return what a process says of itself."""
    try:
        return ProcessStatus(text)
    except ValueError:
        raise RecordError(
            "wrong_kind", f"{a.PROCESS_STATUS}: {text[:40]!r} is not one of running, stopping, stopped"
        ) from None


def seen(row: list[Any]) -> tuple[Evidence | None, OwnedByJob | None]:
    """Return the evidence with its details, and what the job owns."""
    wait = _wait(row)
    lock = _lock(row)
    loop = _loop(row)
    repeat = Repeat(*row[layout.REPEAT]) if row[layout.REPEAT.start] else None
    owned = _owned(row)
    details = (wait, lock, loop, repeat)
    if not any(details) and not layout.holds(row, layout.EVIDENCE):
        return None, owned
    return Evidence(*(*row[layout.EVIDENCE], *details)), owned


def _wait(row: list[Any]) -> Wait | None:
    processes = _processes(*row[layout.PROCESSES]) if row[layout.PROCESSES.start] else ()
    return Wait(*(*row[layout.WAIT], processes)) if processes or layout.holds(row, layout.WAIT) else None


def _processes(pids: tuple[int, ...], programs: tuple[str, ...], states: tuple[str, ...]) -> tuple[WaitedProcess, ...]:
    told = zip_longest(pids[:MAX_LIST], programs[: len(pids)], states[: len(pids)], fillvalue="")
    return tuple(WaitedProcess(pid, program, state) for pid, program, state in told if isinstance(pid, int))


def _lock(row: list[Any]) -> Lock | None:
    place, holder_place = _place(None, *row[layout.LOCK_PLACE]), _place(*row[layout.HOLDER_PLACE])
    if place is None and holder_place is None and not layout.holds(row, layout.LOCK):
        return None
    return Lock(*(*row[layout.LOCK], place, holder_place))


def _loop(row: list[Any]) -> Loop | None:
    place = _place(*row[layout.LOOP_PLACE])
    return None if place is None and not layout.holds(row, layout.LOOP) else Loop(*(*row[layout.LOOP], place))


def _place(function: str | None, file: str | None, line: int | None) -> CodeLine | None:
    return CodeLine(function, file, line) if function or file else None


def _owned(row: list[Any]) -> OwnedByJob | None:
    locks, sessions = row[layout.HOLDS], row[layout.SESSIONS]
    found = tuple(JobSession(*parts) for parts in zip_longest(*sessions, fillvalue="")) if any(sessions) else ()
    return OwnedByJob(locks, found) if locks or found else None


def children(row: list[Any]) -> dict[int, Child]:
    """Return the children by pid; lists that are shorter than that of the pids say nothing of the last ones."""
    lists = (row[layout.CHILD_STATES] or (), row[layout.CHILD_CPU_RATIOS] or (), row[layout.CHILD_WAITS] or ())
    told = zip_longest(row[layout.CHILD_PIDS] or (), *lists)
    return {
        pid: Child(state or "", None if cpu_ratio is None or cpu_ratio < 0 else cpu_ratio, (wait or "")[:MAX_BRIEF])
        for pid, state, cpu_ratio, wait in islice(told, _MAX_CHILDREN)
        if pid is not None
    }


def stall(row: list[Any]) -> ProcessStall | None:
    """Return for how long a process could not run, if it says so."""
    for_ns = row[layout.OVERSLEPT]
    return None if for_ns is None else ProcessStall(for_ns, _place(*row[layout.OVERSLEPT_PLACE]))


def frameworks(row: list[Any]) -> tuple[str, ...]:
    """Return the job frameworks of a process that are known by name; nobody else's words are shown."""
    return tuple(name for name in (row[layout.FRAMEWORKS] or ())[:_MAX_CHILDREN] if name in FRAMEWORKS)


def sender(raw: bytes) -> tuple[str, str] | None:
    """Return service and environment of a resource; None: it says that it is no Python program."""
    try:
        language = next(
            (
                pair.value.string_value
                for pair in proto.Resource.FromString(raw).attributes
                if pair.key == "telemetry.sdk.language"
            ),
            "python",
        )
    except DecodeError:
        return None
    told = resource(raw)
    return (told.service, told.environment) if language == "python" else None


def sketch(format: str | None, body: bytes) -> tuple[Runs, float]:
    """Return the runs and the sum of seconds of an OTLP exponential histogram."""
    if format != SKETCH_EXPONENTIAL_HISTOGRAM:
        return (), 0.0
    try:
        point = ExponentialHistogramDataPoint.FromString(body)
    except DecodeError:
        raise RecordError("bad_sketch", "the body is not an ExponentialHistogramDataPoint") from None
    if not -10 <= point.scale <= 20 or not 0 <= point.sum < 1e18:
        raise RecordError("bad_sketch", f"scale {point.scale}, sum {point.sum}")
    positive = point.positive
    if len(positive.bucket_counts) > _MAX_BUCKETS or sum(positive.bucket_counts) + point.zero_count >= MAX_RUNS:
        raise RecordError("bad_sketch", f"more than {_MAX_BUCKETS} buckets, or {MAX_RUNS} runs")
    return rescaled(point.scale, positive.offset, positive.bucket_counts, point.zero_count), point.sum
