"""A run: one attempt of one job in this process, as long as its span is open."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from .session import Session


class Run:
    """What the framework said of the attempt, and what the host says while it goes on.

    Written on the job's thread, read by the watcher: each field alone is always whole.
    """

    __slots__ = (
        "acks_late",
        "attempt",
        "broker",
        "expected",
        "holds",
        "hub",
        "id",
        "is_ours",
        "max_attempts",
        "name",
        "on_lost",
        "on_timeout",
        "outcome",
        "outer",
        "package",
        "progress",
        "queue",
        "reason",
        "redelivery_after",
        "sessions",
        "span_id",
        "system",
        "timeout",
    )

    def __init__(
        self,
        name: str,
        *,
        system: str = "python",
        id: str = "",
        queue: str = "",
        attempt: int = 1,
        expected: float | None = None,
        timeout: float | None = None,
        redelivery_after: float | None = None,
        acks_late: bool | None = None,
        max_attempts: int | None = None,
        on_lost: str | None = None,
        on_timeout: str | None = None,
        broker: str | None = None,
        package: str = "",
    ) -> None:
        self.name = name
        self.system = system
        self.id = id
        """The framework's; empty: the span id."""
        self.queue = queue
        self.attempt = attempt
        self.expected = expected
        """Declared duration, s."""
        self.timeout = timeout
        """The limit that is enforced, s."""
        self.redelivery_after = redelivery_after
        self.acks_late = acks_late
        self.max_attempts = max_attempts
        self.on_lost = on_lost
        """What the framework does with the message of a job whose process was killed: ack, reject, requeue, retry."""
        self.on_timeout = on_timeout
        """The same, of one beyond its limit."""
        self.broker = broker
        self.package = package
        """Top-level package of the job's function: application code even in site-packages."""
        self.outcome: str | None = None
        """Set before the span ends; None: by the span's status."""
        self.reason = ""
        self.progress: tuple[float, float | None, str, float] | None = None
        """Done, total, message, and when (monotonic s)."""
        self.span_id = 0
        """0 until its span has started."""
        self.outer: Run | None = None
        self.holds: dict[Hashable, None] | None = None
        """Keys of the locks that it took and has not given back (held_locks.py); None: never any."""
        self.sessions: tuple[Session, ...] = ()
        """Of databases, that its code had at hand when it was last seen to stand still; the watcher writes it."""
        self.hub: ref[Any] | None = None
        """The gevent hub of the thread that it began on."""
        self.is_ours = False
        """Its span is one that we open; otherwise a framework's instrumentation opens it, as CONSUMER."""

    def advance(self, done: float, total: float | None, message: str) -> None:
        """Note progress; one assignment, so that the watcher never reads half of it."""
        self.progress = (done, total, message, time.monotonic())
