"""Durations in words, to read and to write: 90s, 10m, 1h30m, 250ms."""

from __future__ import annotations

import re

_UNITS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_WHOLE = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")


def parse_duration(text: str | float) -> int:
    """Return nanoseconds; a plain number is seconds. ValueError: it is not a duration."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(f'"{text}" is not a duration; write 90s, 10m, 1h30m')
    try:
        seconds = float(text)
    except ValueError:
        if not isinstance(text, str) or not _WHOLE.fullmatch(text):
            raise ValueError(f'"{text}" is not a duration; write 90s, 10m, 1h30m') from None
        return sum(round(float(number) * _UNITS[unit]) for number, unit in _PART.findall(text))
    if not 0 <= seconds <= 1e9:
        raise ValueError(f'"{text}" is not a duration; write 90s, 10m, 1h30m')
    return round(seconds * 1e9)


def duration(seconds: float | None) -> str:
    """Return seconds as people say them, in two units at most; None as a dash."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10 and round(seconds, 1) != round(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    parts = []
    for name, size in units:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def config_duration(ns: int | None) -> str | None:
    """Return nanoseconds as they are written in a config file."""
    if ns is None:
        return None
    for unit in ("h", "m", "s", "ms"):
        if ns % _UNITS[unit] == 0:
            return f"{ns // _UNITS[unit]}{unit}"
    return f"{ns / 1e9}s"
