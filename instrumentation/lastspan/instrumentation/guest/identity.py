"""Who this process is: its random id, its worker's id, and the resource that its records carry."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from lastspan.semconv import attributes as a

from . import redact

_WORKER_ID: Final = "OTEL_LASTSPAN_WORKER_ID"
"""Inherited by children that are started, as memory is by children that are forked."""


_RESOURCE_PREFIXES: Final = ("service.", "host.", "k8s.", "container.", "cloud.", "deployment.", "faas.", "telemetry.")
"""Command lines and environments are resource attributes too, and may hold secrets: these leave, nothing else."""


class Identity:
    """This process. Made anew after fork, the worker's id apart."""

    def __init__(self, *, inherited_instance: object = None) -> None:
        self.pid = os.getpid()
        self.parent_pid = os.getppid()
        self.process_id = os.urandom(8).hex()
        self._inherited_instance = inherited_instance
        """The parent's `service.instance.id`: not ours, if ours is still the same."""
        self._sequence = 0

    def next_sequence(self) -> int:
        """Number a record. Called by the watcher alone, when it has read the record's facts."""
        self._sequence += 1
        return self._sequence

    def resource(self, provider_attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tracer provider's attributes, and what tells this process from all others."""
        instance = provider_attributes.get(a.SERVICE_INSTANCE_ID)
        is_ours = instance is not None and instance != self._inherited_instance
        return {
            a.SERVICE_NAME: redact.text(os.environ.get("OTEL_SERVICE_NAME") or "unknown_service"),
            a.HOST_NAME: socket.gethostname(),
            **{
                name: redact.text(value) if isinstance(value, str) else value
                for name, value in provider_attributes.items()
                if name.startswith(_RESOURCE_PREFIXES)
            },
            a.PID: self.pid,
            a.PARENT_PID: self.parent_pid,
            a.WORKER_ID: worker_id(),
            a.SERVICE_INSTANCE_ID: redact.text(instance) if is_ours else self.process_id,
        }


def worker_id() -> str:
    """Return the id that this process shares with its parent and children; made by the first that asks."""
    known = os.environ.get(_WORKER_ID, "")
    if not known:
        known = os.environ[_WORKER_ID] = os.urandom(8).hex()
    return known
