"""Open spans: those that are kept, what was seen of each, and the tombstones of those that ended."""

from __future__ import annotations

import msgspec

from ..model.evidence import Evidence
from ..model.records import NO_SEQUENCE, SpanOpen
from .generations import Generations
from .limits import TOMBSTONE_NS, Limits
from .rows import UNSEEN, ProcessRow, SpanRow


class Spans:
    """All open spans."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open: dict[bytes, SpanRow] = {}
        self.evidence_bytes = 0
        self.closed: Generations[bytes, bool] = Generations(keep_ns=TOMBSTONE_NS, limit=limits.max_tombstones)
        """Tombstones; True: of a job that was killed, with all that was open in it."""
        self.waiting: dict[bytes, dict[bytes, SpanRow]] = {}
        """Foreign spans by the key of a parent that is not known (yet)."""

    def add(self, record: SpanOpen, process: ProcessRow | None, now_ns: int) -> SpanRow:
        """Keep a span that is new."""
        row = SpanRow(
            record.key,
            process,
            None,
            record.name,
            record.kind,
            record.parent_id,
            now_ns - record.age_ns,
            record.origin.sequence,
            record.expected_ns,
            record.call,
        )
        self.open[record.key] = row
        adopt(process, row)
        if record.evidence is not None:
            self.keep_evidence(row, record.evidence)
        return row

    def drop(self, row: SpanRow) -> None:
        """Take a span out of all that finds it; its job is the caller's."""
        if self.open.pop(row.key, None) is None:
            return
        abandon(row)
        row.open = False
        if row.evidence is not None:
            self.evidence_bytes -= row.evidence.size()
        if row.sequence == NO_SEQUENCE and row.parent_id is not None:
            self._stop_waiting(row)

    def move(self, row: SpanRow, process: ProcessRow | None) -> None:
        """Move a span to the process that reports it."""
        if process is not row.process or row.sequence == UNSEEN:
            abandon(row)
            row.process = process
            adopt(process, row)

    def keep_evidence(self, row: SpanRow, evidence: Evidence | None) -> None:
        """Keep what was last seen of a span, within the limits."""
        before = 0 if row.evidence is None else row.evidence.size()
        after = 0 if evidence is None else evidence.size()
        if evidence is not None and after:
            if after > self.limits.evidence_bytes:
                evidence = _trim(evidence, self.limits.evidence_bytes)
                after = evidence.size()
            if self.evidence_bytes - before + after > self.limits.evidence_total:
                evidence, after = msgspec.structs.replace(evidence, stacktrace=None), 0
        self.evidence_bytes += after - before
        row.evidence = evidence

    def _stop_waiting(self, row: SpanRow) -> None:
        parent_key = row.key[:16] + (row.parent_id or b"")
        waiting = self.waiting.get(parent_key)
        if waiting is not None:
            waiting.pop(row.key, None)
            if not waiting:
                del self.waiting[parent_key]


def adopt(process: ProcessRow | None, row: SpanRow) -> None:
    """Count a span among those of a process."""
    if process is None:
        return
    if len(process.spans) > 2 * process.live + 64:  # no `process.state` comes to tidy up
        process.spans = [span for span in process.spans if span.open and span.process is process]
    process.spans.append(row)
    process.live += 1


def abandon(row: SpanRow) -> None:
    """Count a span no more among those of its process."""
    if row.process is not None and row.sequence != UNSEEN:
        row.process.live -= 1


def disproved(record: SpanOpen, process: ProcessRow) -> bool:
    """Whether a later, complete list of the process's open spans lacks this one."""
    if not 0 <= record.origin.sequence < process.last_full_sequence:
        return False
    if isinstance(process.last_full_list, bytes):
        process.last_full_list = split(process.last_full_list)
    return record.key[16:] not in process.last_full_list


def split(span_ids: bytes) -> frozenset[bytes]:
    """Return the span ids of a list, 8 bytes each."""
    return frozenset(span_ids[index : index + 8] for index in range(0, len(span_ids), 8))


def _trim(evidence: Evidence, limit: int) -> Evidence:
    return msgspec.structs.replace(evidence, stacktrace="…\n" + (evidence.stacktrace or "")[-limit:])
