"""Records of open spans as real workers send them: half jobs, half the HTTP or DB call that each job is in.

Encoded once by the worker's own code, then copied with other ids, ages and sequences in the places of the first ones:
a million records take seconds, and every byte is where the worker would put it.
"""

from __future__ import annotations

import random
import re
import struct
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lastspan.instrumentation.send.records import Record, encode
from lastspan.semconv import attributes as a
from lastspan.semconv import events

_NOW_NS: Final = 1_790_000_000_000_000_000
_TASKS: Final = [f"shop.tasks.{verb}_{noun}" for verb in ("sync", "send", "charge", "build") for noun in "abcdefgh"]
_QUEUES: Final = ("default", "mail", "billing", "reports", "slow")
_PATHS: Final = 500

# In the place of what differs. All have the length of the real thing, so no length field changes.
_TRACE_ID = bytes.fromhex("a1" * 16)
_SPAN_ID = bytes.fromhex("b2" * 8)
_JOB_SPAN_ID = bytes.fromhex("c3" * 8)
_JOB_ID = "d4d4d4d4-d4d4-4d4d-8d4d-d4d4d4d4d4d4"
_PROCESS_ID = "e5" * 8
_AGE, _MOVEMENT_AGE, _STACK_AGE, _CPU_RATIO = 1111.125, 2222.125, 3333.125, 0.015625
_SEQUENCE: Final = 1 << 20
_PATH = "/v1/orders/f6f6f6f6f6"
_STACK_LINE = "line 7070707,"

_double = struct.Struct("<d").pack


class Span:
    """The values of one record."""

    __slots__ = ("job_id", "job_span_id", "path", "span_id", "stack_line", "trace_id")

    def __init__(self, number: int, *, is_job: bool, unique_paths: bool = False, unique_stacks: bool = False) -> None:
        # From the number alone: a later generation says the same of the same span.
        seed = random.Random(number)
        self.trace_id, self.job_span_id = seed.randbytes(16), seed.randbytes(8)
        self.job_id = str(uuid.UUID(int=seed.getrandbits(128), version=4))
        self.span_id = self.job_span_id if is_job else seed.randbytes(8)
        self.path = f"/v1/orders/{seed.randrange(10**9 if unique_paths else _PATHS):010d}"
        self.stack_line = f"line {number % 10**7 if unique_stacks else 212:07d},"


class Workload:
    """Makes requests; each is what one process sends."""

    def __init__(
        self,
        *,
        evidence: bool,
        unique_paths: bool = False,
        unique_stacks: bool = False,
        generation_seconds: float = 15.0,
    ) -> None:
        self._unique = {"unique_paths": unique_paths, "unique_stacks": unique_stacks}
        self._generation_seconds = generation_seconds
        """How much older a span is in each generation: as much as the receiver's clock goes on meanwhile."""
        tasks = [(task, _QUEUES[index % len(_QUEUES)]) for index, task in enumerate(_TASKS)]
        self._jobs = [_Template(_job(task, queue)) for task, queue in tasks]
        self._calls = [
            _Template(_call(task, queue, http=index % 2 == 0, query=index, evidence=evidence))
            for index, (task, queue) in enumerate(tasks)
        ]

    @property
    def attributes(self) -> tuple[int, int]:
        """How many attributes a record has, the fewest and the most."""
        counts = [template.attributes for template in (*self._jobs, *self._calls)]
        return min(counts), max(counts)

    def request(self, process: int, pairs: int, generation: int = 0, *, elapsed: float | None = None) -> bytes:
        """Encode *pairs* jobs and their calls, as process number *process* tells them for the *generation*th time.

        *elapsed*: seconds since it told them first, where that is known better than by the generation.
        """
        rng = random.Random(process)
        if elapsed is None:
            elapsed = generation * self._generation_seconds
        sequence = sequence_base(generation)
        process_id = f"{process:016x}".encode()
        records = bytearray()
        for pair in range(pairs):
            number = process * 4096 + pair
            age = 1 + rng.random() * 50 + elapsed
            task = (process * 7 + pair) % len(_TASKS)
            for index, templates in enumerate((self._jobs, self._calls)):
                span = Span(number, is_job=index == 0, **self._unique)
                template = templates[task]
                sequence += 1
                template.write(records, span, process_id, sequence, age * (0.9 if index else 1))
        return _request(process, bytes(records))


def sequence_base(generation: int) -> int:
    """Return the sequence that a generation's records count from."""
    return _SEQUENCE + generation * 4096 % (_SEQUENCE - 4096)


def sequence_bytes(number: int) -> bytes:
    """Return *number* as a varint of three bytes."""
    return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14 & 0x7F))


_VALUES: Final[Mapping[bytes, Callable[[Span, bytes, int, float], bytes]]] = {
    _TRACE_ID: lambda span, process, sequence, age: span.trace_id,
    _SPAN_ID: lambda span, process, sequence, age: span.span_id,
    _SPAN_ID.hex().encode(): lambda span, process, sequence, age: span.span_id.hex().encode(),
    _JOB_SPAN_ID.hex().encode(): lambda span, process, sequence, age: span.job_span_id.hex().encode(),
    _JOB_ID.encode(): lambda span, process, sequence, age: span.job_id.encode(),
    _PROCESS_ID.encode(): lambda span, process, sequence, age: process,
    _double(_AGE): lambda span, process, sequence, age: _double(age),
    _double(_MOVEMENT_AGE): lambda span, process, sequence, age: _double(age / 2),
    _double(_STACK_AGE): lambda span, process, sequence, age: _double(age / 3),
    _double(_CPU_RATIO): lambda span, process, sequence, age: _double(age % 1),
    _STACK_LINE.encode(): lambda span, process, sequence, age: span.stack_line.encode(),
    _PATH.encode(): lambda span, process, sequence, age: span.path.encode(),
    sequence_bytes(_SEQUENCE): lambda span, process, sequence, age: sequence_bytes(sequence),
}
_SPLIT: Final = re.compile(b"(" + b"|".join(re.escape(value) for value in _VALUES) + b")", re.DOTALL)


class _Template:
    """One encoded log record, cut where its values differ."""

    def __init__(self, record: Record) -> None:
        self.attributes = sum(value is not None for value in record.attributes.values()) + 1  # otel.event.name
        message = _only_record(encode({}, [record], "0"))
        head = b"\x12" + _varint(len(message))  # ScopeLogs.log_records = 2
        self._parts = [_VALUES.get(part, part) for part in _SPLIT.split(head + message)]

    def write(self, into: bytearray, span: Span, process: bytes, sequence: int, age: float) -> None:
        for part in self._parts:
            into += part if isinstance(part, bytes) else part(span, process, sequence, age)


def _only_record(request: bytes) -> bytes:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    parsed = ExportLogsServiceRequest.FromString(request)
    return parsed.resource_logs[0].scope_logs[0].log_records[0].SerializeToString()


def _request(process: int, records: bytes) -> bytes:
    """Frame encoded records as an `ExportLogsServiceRequest` with the resource of a process."""
    empty = encode(_resource(process), [], "0.1.0")
    _, position = _read_varint(empty, 1)
    resource_logs = empty[position:]
    # The resource comes first, the scope last: what is behind the resource is ScopeLogs (field 2).
    length, position = _read_varint(resource_logs, 1)
    resource, scope = resource_logs[: position + length], resource_logs[position + length :]
    _, position = _read_varint(scope, 1)
    scope_logs = scope[position:] + records
    body = resource + b"\x12" + _varint(len(scope_logs)) + scope_logs
    return b"\x0a" + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7


def _resource(process: int) -> dict[str, Any]:
    host, worker = process // 80, process // 8
    return {
        "service.name": "shop",
        "service.namespace": "store",
        "service.version": "2026.11.3",
        "deployment.environment.name": "production",
        "host.name": f"worker-{host:03d}",
        "k8s.pod.name": f"shop-worker-6d9f7c-{host:03d}",
        "k8s.namespace.name": "store",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.1",
        a.PID: 1000 + process % 80,
        a.PARENT_PID: 100 + worker % 10,
        a.WORKER_ID: f"{worker:016x}",
        a.SERVICE_INSTANCE_ID: f"{process:016x}",
    }


def _job_facts(task: str, queue: str) -> dict[str, Any]:
    return {
        a.JOB_SPAN_ID: _JOB_SPAN_ID.hex(),
        a.JOB_NAME: task,
        a.JOB_ID: _JOB_ID,
        a.JOB_ATTEMPT: 1,
        a.JOB_QUEUE: queue,
        a.JOB_SYSTEM: "celery",
        a.JOB_TIMEOUT: 3600.0,
        a.JOB_REDELIVERY_AFTER: 3600.0,
        a.JOB_ACKS_LATE: True,
        a.JOB_MAX_ATTEMPTS: 4,
    }


def _process_facts() -> dict[str, Any]:
    return {a.PROCESS_ID: _PROCESS_ID, a.PROCESS_SEQUENCE: _SEQUENCE, a.REPORT_INTERVAL: 15.0}


def _job(task: str, queue: str) -> Record:
    attributes = {
        "messaging.destination.name": queue,
        "messaging.operation.name": "process",
        a.SPAN_NAME: f"run/{task}",
        a.SPAN_KIND: "CONSUMER",
        a.SPAN_AGE: _AGE,
        a.SPAN_IS_JOB: True,
        a.SPAN_EXPECTED_DURATION: 600.0,
        **(_job_facts(task, queue) | {a.JOB_SPAN_ID: _SPAN_ID.hex()}),
        a.JOB_MOVEMENT_AGE: _MOVEMENT_AGE,
        **_process_facts(),
    }
    return _record(attributes)


def _call(task: str, queue: str, *, http: bool, query: int, evidence: bool) -> Record:
    attributes = {
        **(_http_call() if http else _db_call(query)),
        a.SPAN_NAME: "GET" if http else "SELECT orders",
        a.SPAN_KIND: "CLIENT",
        a.SPAN_PARENT_ID: _JOB_SPAN_ID.hex(),
        a.SPAN_AGE: _AGE,
        a.SPAN_IS_JOB: False,
        **_job_facts(task, queue),
        **(_evidence(task) if evidence else {}),
        **_process_facts(),
    }
    return _record(attributes)


def _http_call() -> dict[str, Any]:
    return {
        "http.request.method": "GET",
        "url.full": f"https://payments.internal:8443{_PATH}",
        "server.address": "payments.internal",
        "server.port": 8443,
    }


def _db_call(number: int) -> dict[str, Any]:
    columns = ", ".join(f"column_{number + index}" for index in range(8))
    return {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.query.text": f"SELECT {columns} FROM orders WHERE customer_id = ? AND state IN (?, ?)",
        "server.address": "db-1.internal",
        "server.port": 5432,
    }


def _evidence(task: str) -> dict[str, Any]:
    frames = [
        *(f'File "/usr/lib/python3.11/site-packages/celery/app/trace.py", line {n}, in trace_task' for n in range(8)),
        f'File "/srv/shop/tasks.py", {_STACK_LINE} in {task.rpartition(".")[2]}',
        *(
            f'File "/usr/lib/python3.11/site-packages/urllib3/connectionpool.py", line {n}, in urlopen'
            for n in range(8)
        ),
        'File "/usr/lib/python3.11/socket.py", line 706, in readinto',
    ]
    return {
        a.THREAD_ID: 4711,
        a.THREAD_NAME: "MainThread",
        a.CODE_STACKTRACE: "\n".join(frames),
        a.STACK_AGE: _STACK_AGE,
        a.THREAD_CPU_RATIO: _CPU_RATIO,
        a.CODE_FUNCTION: task.rpartition(".")[2],
        a.CODE_FILE: "/srv/shop/tasks.py",
        a.CODE_LINE: 212,
    }


def _record(attributes: dict[str, Any]) -> Record:
    return Record(
        events.SPAN_OPEN,
        attributes,
        _NOW_NS,
        int.from_bytes(_TRACE_ID, "big"),
        int.from_bytes(_SPAN_ID, "big"),
    )


def requests(workload: Workload, spans: int, each: int) -> Iterator[bytes]:
    """Yield requests with *spans* new open spans, *each* in one."""
    for process in range(spans // each):
        yield workload.request(process, each // 2)
