"""How a name is declared: once, with its kind, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ValueType = Literal["string", "int", "double", "boolean", "string[]", "int[]", "double[]", "bytes"]
Instrument = Literal["counter", "updowncounter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a record, a resource or a metric of the worker."""

    name: str
    type: ValueType
    unit: str
    """UCUM; empty where the value has no unit."""
    brief: str


@dataclass(frozen=True, slots=True)
class Event:
    """An OTLP log record that a worker sends (or, for verdicts, the collector)."""

    name: str
    subject: str
    when: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: of a worker (dotted, OTLP) or of the collector (underscored, Prometheus)."""

    name: str
    instrument: Instrument
    unit: str
    brief: str
    attributes: tuple[str, ...]
    """Attribute names of a worker's metric, label names of the collector's."""


ATTRIBUTES: dict[str, Attribute] = {}
EVENTS: dict[str, Event] = {}
METRICS: dict[str, Metric] = {}


def attribute(name: str, type: ValueType, brief: str, *, unit: str = "") -> str:
    """Declare an attribute; return its name."""
    return _once(ATTRIBUTES, Attribute(name, type, unit, brief))


def event(name: str, subject: str, when: str, attributes: tuple[str, ...]) -> str:
    """Declare an event; return its name."""
    return _once(EVENTS, Event(name, subject, when, attributes))


def metric(name: str, instrument: Instrument, brief: str, *, unit: str, attributes: tuple[str, ...] = ()) -> str:
    """Declare a metric; return its name."""
    return _once(METRICS, Metric(name, instrument, unit, brief, attributes))


def _once(table: dict[str, Attribute] | dict[str, Event] | dict[str, Metric], item: Attribute | Event | Metric) -> str:
    if item.name in table:
        raise ValueError(f"{item.name} is declared twice")
    table[item.name] = item  # type: ignore[assignment]  # one union, three tables
    return item.name
