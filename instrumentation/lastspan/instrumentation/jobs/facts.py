"""What a framework knows of its jobs, in words that are the same for all frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from lastspan.semconv.vocabulary import OnLost


class JobFacts(NamedTuple):
    """One attempt of one job. Durations in seconds; what is None, or empty, is not known.

    A tuple, for one is made for each job: a frozen dataclass takes four times as long.
    """

    name: str
    id: str = ""
    """What people know it by; the same for each attempt. Empty: the id of its span."""
    queue: str = ""
    attempt: int = 1
    """From 1."""
    package: str = ""
    """Top-level package of the job's function: application code even in site-packages."""
    expected: float | None = None
    """Declared duration."""
    timeout: float | None = None
    """The limit, only where this pool really enforces it."""
    max_attempts: int | None = None
    acks_late: bool | None = None
    """Whether its message is acknowledged when it has ended; False: before it starts."""
    redelivery_after: float | None = None
    """When somebody else gets a message that was not acknowledged (visibility, lease)."""
    on_lost: OnLost | None = None
    """What becomes of the message where the job's process was killed."""
    on_timeout: OnLost | None = None
    """The same, beyond its limit."""
    broker: str | None = None
    carrier: Mapping[str, object] | None = None
    """What came with the message, the enqueuer's trace among it; only strings are read."""


class Tells(Enum):
    """What a framework's module tells, beside start, end and failure; docs/frameworks.md says what each means."""

    RETRY = "retry"
    CANCEL = "cancel"
    TIMEOUT = "timeout"
    CHILD_DEATH = "child death"
    REDELIVERY = "redelivery"
    CARRIER = "carrier"
    SHUTDOWN = "shutdown"
