"""What a client asks for, from the parameters of its URL. ValueError says in one line which one is wrong.

Jaeger's own names and units: microseconds since the epoch, durations as Go writes them (`1.5s`, `100ms`, `1h30m`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from starlette.datastructures import QueryParams

LIMIT: Final = 100
MAX_LIMIT: Final = 500
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE: Final = re.compile(f"(?:{_PART.pattern})+", re.ASCII)
_SHOWN: Final = 80
_BARE: Final = re.compile(r"\d{1,18}", re.ASCII)


class JaegerQuery(msgspec.Struct, frozen=True):
    """A search. Times and durations in seconds."""

    service: str
    """Empty: any."""
    operation: str
    tags: Mapping[str, str]
    limit: int
    at_least: float
    at_most: float
    start: float
    end: float
    trace_ids: tuple[bytes, ...] = ()


def search(params: QueryParams) -> JaegerQuery:
    """Return the search of `/api/traces`."""
    trace_ids = tuple(trace_id(text) for text in params.getlist("traceID")[:MAX_LIMIT])
    query = JaegerQuery(
        params.get("service", ""),
        params.get("operation", ""),
        _tags(params),
        _limit("limit", params.get("limit", "")),
        _duration("minDuration", params.get("minDuration", ""), 0.0),
        _duration("maxDuration", params.get("maxDuration", ""), math.inf),
        _micros("start", params.get("start", ""), -math.inf),
        _micros("end", params.get("end", ""), math.inf),
        trace_ids,
    )
    if not query.service and not query.trace_ids:
        raise ValueError("parameter 'service' is required")
    return _checked(query, "maxDuration", "minDuration")


def search_v3(params: QueryParams) -> JaegerQuery:
    """Return the search of `/api/v3/traces`; each parameter in camel case, or with underscores as it was before.

    Without a service it is a search of all, as Jaeger 2 has it.
    """

    def one(name: str) -> tuple[str, str]:
        old = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
        return f"query.{name}", params.get(f"query.{name}", "") or params.get(f"query.{old}", "")

    key, depth = one("searchDepth")
    query = JaegerQuery(
        one("serviceName")[1],
        one("operationName")[1],
        _json_tags(*one("attributes")),
        _limit(key, depth or params.get("query.num_traces", "")),
        _duration(*one("durationMin"), 0.0),
        _duration(*one("durationMax"), math.inf),
        _moment(*one("startTimeMin"), -math.inf),
        _moment(*one("startTimeMax"), math.inf),
    )
    return _checked(query, "query.durationMax", "query.durationMin")


def trace_id(text: str) -> bytes:
    """Return a trace id; leading zeros may be missing, as Jaeger writes it."""
    if not re.fullmatch("[0-9a-fA-F]{1,32}", text):
        raise ValueError(f"{_short(text)} is not a trace id: write up to 32 hexadecimal digits")
    return bytes.fromhex(text.zfill(32))


def _checked(query: JaegerQuery, longest: str, shortest: str) -> JaegerQuery:
    if query.at_most < query.at_least:
        raise ValueError(f"'{longest}' should be greater than '{shortest}'")
    return query


def _tags(params: QueryParams) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in params.getlist("tag"):
        key, separator, value = pair.partition(":")
        if not separator:
            raise ValueError(f"parameter 'tag': {_short(pair)} is not key:value")
        tags[key] = value
    for text in params.getlist("tags"):
        tags |= _json_tags("tags", text)
    return tags


def _json_tags(name: str, text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(
            f'parameter \'{name}\': {_short(text)} is not a JSON object of texts, as {{"key":"value"}}'
        ) from None


def _limit(name: str, text: str) -> int:
    if not text:
        return LIMIT
    if not _BARE.fullmatch(text):
        raise ValueError(f"parameter '{name}': {_short(text)} is not a number")
    return min(int(text) or LIMIT, MAX_LIMIT)


def _duration(name: str, text: str, default: float) -> float:
    if not text:
        return default
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"parameter '{name}': {_short(text)} is not a duration; write 1.5s, 100ms, 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _micros(name: str, text: str, default: float) -> float:
    if not text:
        return default
    if not _BARE.fullmatch(text):
        raise ValueError(f"parameter '{name}': {_short(text)} is not a time in microseconds since 1970")
    return int(text) / 1e6


def _moment(name: str, text: str, default: float) -> float:
    if not text:
        return default
    # Some clients do not encode the "+" of a time zone; it arrives as a space. Fractions: as many digits as they like.
    told = re.sub(r"(\.\d{6})\d+", r"\1", text.replace(" ", "+").replace("Z", "+00:00"))
    told = re.sub(r"\.(\d{1,5})(?=[+-]|$)", lambda digits: "." + digits[1].ljust(6, "0"), told)
    try:
        moment = datetime.fromisoformat(told)
        if moment.tzinfo is None:
            raise ValueError(told)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"parameter '{name}': {_short(text)} is not a time as 2026-01-31T12:00:00Z") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
