"""What stands behind the transports: who takes the bytes of a request, and what its sender is told."""

from __future__ import annotations

from typing import Protocol

import msgspec


class AcceptResult(msgspec.Struct, frozen=True):
    """What the sender of a request is told: how many records of it were refused, and why."""

    rejected: int = 0
    message: str = ""


class Sink(Protocol):
    """Takes in requests. RequestError: the body is none, and its sender must not send it again."""

    def accept_logs(self, body: bytes, *, transport: str, json: bool = False) -> AcceptResult:
        """Take in a logs request."""

    def accept_traces(self, body: bytes, *, transport: str, json: bool = False) -> AcceptResult:
        """Take in a traces request."""

    def accept_metrics(self, body: bytes, *, transport: str, json: bool = False) -> AcceptResult:
        """Take in a metrics request."""

    def refuse(self, transport: str, reason: str) -> None:
        """Count a request that was not taken in."""
