"""Which attributes we read, how, and in which slot of a row each value lands.

The order inside a group is the order of the fields of the structure that `decode` makes of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lastspan.semconv import attributes as a
from lastspan.semconv.vocabulary import Certainty, OnLost, Outcome, WaitKind, WaitPurpose

from ..model.records import NO_SEQUENCE
from . import values as v


class Field(NamedTuple):
    """How one attribute is read."""

    slot: int
    read: v.Reader
    repeats: bool
    """Its values come again and again: worth remembering their bytes."""


class _Layout:
    def __init__(self) -> None:
        self.fields: dict[str, Field] = {}
        self.blank: list[Any] = [None]  # slot 0 takes what is not ours

    def one(self, name: str, read: v.Reader, default: object = None, *, repeats: bool = True) -> int:
        slot = len(self.blank)
        self.fields[name] = Field(slot, read, repeats)
        self.blank.append(default)
        return slot

    def group(self, *fields: tuple[Any, ...]) -> slice:
        start = len(self.blank)
        for name, read, *rest in fields:
            self.one(name, read, rest[0] if rest else None, repeats="unique" not in rest[1:])
        return slice(start, len(self.blank))


_layout = _Layout()
_one, _group = _layout.one, _layout.group

EVENT_NAME = _one(a.EVENT_NAME, v.text)
ORIGIN = _group(
    (a.PROCESS_ID, v.text),
    (a.PROCESS_SEQUENCE, v.count, NO_SEQUENCE, "unique"),
    (a.REPORT_INTERVAL, v.nanoseconds),
)
SPAN = _group(
    (a.SPAN_NAME, v.text),
    (a.SPAN_KIND, v.text, "INTERNAL"),
    (a.SPAN_PARENT_ID, v.span_id, None, "unique"),
    (a.SPAN_AGE, v.nanoseconds, None, "unique"),
    (a.SPAN_IS_JOB, v.flag, False),
    (a.SPAN_EXPECTED_DURATION, v.nanoseconds),
    (a.JOB_SPAN_ID, v.span_id, None, "unique"),
    (a.JOB_OUTER_SPAN_ID, v.span_id, None, "unique"),
    (a.JOB_ID, v.text, None, "unique"),
    (a.JOB_ATTEMPT, v.count),
    (a.JOB_MOVEMENT_AGE, v.nanoseconds, None, "unique"),
)
SPAN_NAME, SPAN_AGE, EXPECTED = SPAN.start, SPAN.start + 3, SPAN.start + 5
JOB = slice(SPAN.stop - 3, SPAN.stop)
TYPE = _group(
    (a.JOB_NAME, v.text, ""),
    (a.JOB_QUEUE, v.text, ""),
    (a.JOB_SYSTEM, v.text, ""),
    (a.JOB_TIMEOUT, v.nanoseconds),
    (a.JOB_REDELIVERY_AFTER, v.nanoseconds),
    (a.JOB_ACKS_LATE, v.flag),
    (a.JOB_MAX_ATTEMPTS, v.count),
    (a.JOB_ON_LOST, v.word(OnLost)),
    (a.JOB_ON_TIMEOUT, v.word(OnLost)),
    (a.JOB_BROKER, v.brief, ""),
)
PROGRESS = _group(
    (a.JOB_PROGRESS_DONE, v.number, None, "unique"),
    (a.JOB_PROGRESS_TOTAL, v.number),
    (a.JOB_PROGRESS_MESSAGE, v.text, None, "unique"),
    (a.JOB_PROGRESS_AGE, v.nanoseconds, None, "unique"),
)
PROGRESS_DONE = PROGRESS.start
EVIDENCE = _group(
    (a.THREAD_ID, v.integer),
    (a.THREAD_NAME, v.text),
    (a.CODE_FUNCTION, v.text),
    (a.CODE_FILE, v.text),
    (a.CODE_LINE, v.integer),
    (a.CODE_STACKTRACE, v.long_text, None, "unique"),
    (a.STACK_AGE, v.nanoseconds, None, "unique"),
    (a.STACK_UNSEEN, v.text),
    (a.CODE_FIRST_LINE, v.integer),
    (a.CODE_LAST_LINE, v.integer),
    (a.THREAD_CPU_RATIO, v.number, None, "unique"),
    (a.THREAD_RUNQUEUE_RATIO, v.number, None, "unique"),
    (a.THREAD_STATE, v.text),
    (a.THREAD_SYSCALL, v.brief),
    (a.EVIDENCE_UNSEEN, v.brief),
)
CODE = slice(EVIDENCE.start + 2, EVIDENCE.start + 5)
# What follows becomes structures inside the evidence, made only where there is something for them.
WAIT = _group(
    (a.WAIT_KIND, v.word(WaitKind)),
    (a.WAIT_CALL, v.brief),
    (a.WAIT_PURPOSE, v.word(WaitPurpose)),
    (a.WAIT_PEER, v.text),
    (a.WAIT_LOCAL, v.brief),
    (a.WAIT_IDLE, v.nanoseconds, None, "unique"),
    (a.WAIT_TIMEOUT, v.nanoseconds),
    (a.WAIT_UNBOUNDED, v.flag, False),
    (a.WAIT_JOB_ID, v.brief, None, "unique"),
    (a.WAIT_JOB_IDS, v.list_of_texts, (), "unique"),
    (a.WAIT_TARGET, v.brief),
    (a.DB_SESSION, v.brief),
)
WAIT_CALL, WAIT_PURPOSE, PEER = WAIT.start + 1, WAIT.start + 2, WAIT.start + 3
PROCESSES = _group(
    (a.WAIT_PIDS, v.integers, ()),
    (a.WAIT_PROGRAMS, v.list_of_texts, ()),
    (a.WAIT_PROCESS_STATES, v.list_of_texts, ()),
)
LOCK = _group(
    (a.LOCK_NAME, v.text),
    (a.LOCK_KIND, v.brief),
    (a.LOCK_KEY, v.brief),
    (a.LOCK_HOLDER_JOB_ID, v.text),
    (a.LOCK_HOLDER_SPAN_ID, v.span_id, None, "unique"),
    (a.LOCK_HOLDER_TRACE_ID, v.trace_id, None, "unique"),
    (a.LOCK_HOLDER_THREAD, v.text),
    (a.LOCK_HOLDER_PID, v.integer),
    (a.LOCK_HOLDER_CERTAINTY, v.word(Certainty)),
    (a.LOCK_CYCLE, v.list_of_texts, ()),
)
LOCK_PLACE = _group((a.LOCK_FILE, v.brief), (a.LOCK_LINE, v.integer))
HOLDER_PLACE = _group((a.LOCK_HOLDER_FUNCTION, v.brief), (a.LOCK_HOLDER_FILE, v.brief), (a.LOCK_HOLDER_LINE, v.integer))
LOOP = _group(
    (a.LOOP_LAG, v.nanoseconds, None, "unique"),
    (a.LOOP_CULPRIT, v.flag, False),
    (a.LOOP_JOB_ID, v.brief),
    (a.LOOP_JOB_NAME, v.brief),
    (a.LOOP_TASK, v.brief),
)
LOOP_PLACE = _group((a.LOOP_FUNCTION, v.brief), (a.LOOP_FILE, v.brief), (a.LOOP_LINE, v.integer))
REPEAT = _group(
    (a.REPEAT_CALL, v.brief, ""),
    (a.REPEAT_VARIES, v.flag),
    (a.REPEAT_PEER, v.brief),
    (a.REPEAT_COUNT, v.count, None, "unique"),
    (a.REPEAT_WINDOW, v.nanoseconds, None, "unique"),
    (a.REPEAT_ERRORS, v.count, None, "unique"),
    (a.REPEAT_ERROR, v.brief),
)
HOLDS = _one(a.JOB_HOLDS, v.list_of_texts, ())
SESSIONS = _group(
    (a.JOB_DB_SYSTEMS, v.list_of_texts, ()),
    (a.JOB_DB_SERVERS, v.list_of_texts, ()),
    (a.JOB_DB_IDS, v.list_of_texts, ()),
    (a.JOB_DB_LOCALS, v.list_of_texts, ()),
)
OLDER_LINES = _one("lastspan.code.lines", v.brief)
OLDER_TARGET = _one("lastspan.wait.target", v.brief)
OLDER_HOLDER_CODE = _one("lastspan.lock.holder.code", v.brief)
OLDER_TASK = _one("lastspan.loop.task", v.brief)
OLDER_LOOP_CODE = _one("lastspan.loop.code", v.brief)
OLDER_SESSIONS = _one("lastspan.job.db.sessions", v.list_of_texts, ())
OLDER = slice(OLDER_LINES, OLDER_SESSIONS + 1)
DETAILS = slice(WAIT.start, OLDER.stop)
OUTCOME = _one(a.OUTCOME, v.word(Outcome, Outcome.UNKNOWN))
REASON = _one(a.REASON, v.text, "")
STATUS = _one(a.PROCESS_STATUS, v.text, "running")
OPEN_COUNT = _one(a.SPAN_OPEN_COUNT, v.count)
CHILD_PIDS = _one(a.PROCESS_CHILD_PIDS, v.integers)
CHILD_STATES = _one(a.PROCESS_CHILD_STATES, v.texts)
CHILD_CPU_RATIOS = _one(a.PROCESS_CHILD_CPU_RATIOS, v.numbers, repeats=False)
CHILD_WAITS = _one(a.PROCESS_CHILD_WAITS, v.texts)
FRAMEWORKS = _one(a.PROCESS_FRAMEWORKS, v.texts)
OVERSLEPT = _one(a.PROCESS_OVERSLEPT, v.nanoseconds, repeats=False)
OVERSLEPT_PLACE = _group(
    (a.PROCESS_OVERSLEPT_FUNCTION, v.brief),
    (a.PROCESS_OVERSLEPT_FILE, v.brief),
    (a.PROCESS_OVERSLEPT_LINE, v.integer),
)
OLDER_OVERSLEPT_CODE = _one("lastspan.process.overslept.code", v.brief)
CALL_PEER = _one(a.CALL_PEER, v.text, "")
STARTED = _one(a.COUNT_STARTED, v.count, repeats=False)
ENDED = _one(a.COUNT_ENDED, v.count, repeats=False)
SKETCH_FORMAT = _one(a.SKETCH_FORMAT, v.text)
PID = _one(a.PID, v.integer)
EXIT_SIGNAL = _one(a.EXIT_SIGNAL, v.integer)
EXIT_CODE = _one(a.EXIT_CODE, v.integer)
PARTIAL_EVENT = _one("partial.event", v.text)
PARTIAL_FREQUENCY = _one("partial.frequency", v.text)
PARTIAL_BODY_TYPE = _one("partial.body.type", v.text)

CALL_NAMES = tuple(sorted(a.CALL_ATTRIBUTES))
CALL = _group(
    (a.CALL_TIMEOUT, v.nanoseconds),
    (a.CALL_UNBOUNDED, v.flag, False),
    *((name, v.scalar) for name in CALL_NAMES),
)
CALL_TIMEOUT, CALL_UNBOUNDED = CALL.start, CALL.start + 1
CALL_FIRST = CALL.start + 2
"""The slot of the first of `CALL_NAMES`."""

FIELDS = _layout.fields
BLANK = _layout.blank


def holds(row: list[Any], group: slice) -> bool:
    """Whether a row has a value for anything in a group."""
    return row[group] != BLANK[group]
