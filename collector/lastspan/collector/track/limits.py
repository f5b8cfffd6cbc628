"""What bounds the memory, and for how long things are kept."""

from __future__ import annotations

import msgspec

TOMBSTONE_NS = 15 * 60 * 1_000_000_000


class Limits(msgspec.Struct, frozen=True):
    """What bounds the memory, and for how long things are kept."""

    max_open_spans: int = 1_000_000
    max_processes: int = 200_000
    max_types: int = 2000
    max_duration_rows: int = 200_000
    """Cumulative counts of durations that are kept for comparison, about 400 bytes each."""
    max_ended: int = 10_000
    max_tombstones: int = 500_000
    evidence_bytes: int = 16_384
    """Of one span: a longer stack loses its outer frames."""
    evidence_total: int = 256 * 1024 * 1024
    """Of all spans: beyond it, stacks are not kept."""
    silent_after: float = 3.0
    """Report intervals."""
    lost_keep_ns: int = 3_600_000_000_000
    ended_keep_ns: int = TOMBSTONE_NS
