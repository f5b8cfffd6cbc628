"""The data types of direct mode: suspects and incidents, the alerts made of them, and what is posted."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..shapes import JobView

Labels = tuple[tuple[str, str], ...]
"""Sorted, none of them empty: what an alert is known by."""


class ActiveAlert(msgspec.Struct, frozen=True):
    """An alert that is active now."""

    labels: Labels
    annotations: Mapping[str, str]
    since_ns: int
    wait_ns: int = 0
    """It must have been wrong for so long."""
    ours: bool = False
    """It is about this collector: without it, nobody says so for long."""


class Post(msgspec.Struct, frozen=True):
    """One alert as it is posted to an Alertmanager. Times are the pipeline's."""

    labels: Labels
    annotations: Mapping[str, str]
    starts_ns: int
    ends_ns: int
    """In the future: the alert is active until then unless it is posted again. Otherwise it has ended."""
    over: bool = False


class IncidentSummary(msgspec.Struct, frozen=True):
    """Jobs that stopped at one thing, all of them."""

    name: str
    environment: str
    last_span: str
    cause: str
    jobs: int
    severity: str
    """The highest of its jobs so far."""


class Suspect(msgspec.Struct, frozen=True):
    """A job that is stuck, lost or frozen, since when."""

    job: JobView
    since_ns: int


class AlertInput(msgspec.Struct, frozen=True):
    """What alerts are made of: the suspects that have series at `/metrics`, and all incidents that have."""

    suspects: tuple[Suspect, ...]
    incidents: tuple[IncidentSummary, ...]
    blind: bool
    """So many workers are silent that we doubt ourselves."""
    now_ns: int
