"""How long things took: OpenTelemetry's base-2 exponential histogram at one scale, so that any two merge by adding.

Bucket i holds the durations in (2^(i/8), 2^((i+1)/8)] seconds, 9 % wide; the format and its merging are those of
https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from math import pow

SCALE = 3
PER_OCTAVE = 1 << SCALE
LOWEST, HIGHEST = -80, 200
"""Buckets of 1 ms and of a year; what is beyond counts there."""
_WIDTH = 128
"""Buckets that a histogram keeps: 16 octaves below its longest run. Shorter ones count as the shortest of these."""

_LARGE = b"q"
"""Before packed counts that need 8 bytes each: a call made a thousand times a second has, in a month."""

Runs = tuple[tuple[int, int], ...]
"""(bucket, how many), in the order of the buckets."""


def upper(bucket: int) -> float:
    """Return the longest duration of a bucket, in seconds."""
    return pow(2.0, (bucket + 1) / PER_OCTAVE)


def lower(bucket: int) -> float:
    """Return the duration that is just too short for a bucket, in seconds."""
    return pow(2.0, bucket / PER_OCTAVE)


def middle(bucket: float) -> float:
    """Return the duration in the middle of a bucket, in seconds: no run in it differs by more than 4.5 %."""
    return pow(2.0, (bucket + 0.5) / PER_OCTAVE)


def rescaled(scale: int, offset: int, counts: Iterable[int], zeros: int = 0) -> Runs:
    """Return the runs of an OTLP histogram of any scale. Of a coarser one, each run counts as the longest it may be."""
    found: dict[int, int] = {LOWEST: zeros} if zeros else {}
    for index, count in enumerate(counts, start=offset):
        if count:
            at = index >> (scale - SCALE) if scale >= SCALE else ((index + 1) << (SCALE - scale)) - 1
            at = min(max(at, LOWEST), HIGHEST)
            found[at] = found.get(at, 0) + count
    return tuple(sorted(found.items()))


def packed(runs: Runs) -> bytes:
    """Return runs as a few bytes, to keep for the next comparison."""
    numbers = [number for pair in runs for number in pair]
    if max(numbers, default=0) < 1 << 31:
        return array("i", numbers).tobytes()
    return _LARGE + array("q", numbers).tobytes()


def unpacked(data: bytes) -> dict[int, int]:
    """Return what was packed."""
    is_large = len(data) % 8 == len(_LARGE)
    numbers = array("q" if is_large else "i")
    numbers.frombytes(data[len(_LARGE) :] if is_large else data)
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def since(now: Runs, before: bytes) -> Runs:
    """Return the runs that are new in cumulative counts."""
    if not before:
        return now
    known = unpacked(before)
    return tuple((bucket, new) for bucket, count in now if (new := count - known.get(bucket, 0)) > 0)


class Histogram:
    """Runs by duration, each with a weight that may fade. At most 128 buckets of 4 bytes."""

    __slots__ = ("_first", "_weights", "total")

    def __init__(self, runs: Iterable[tuple[int, float]] = ()) -> None:
        self._first = 0
        self._weights = array("f")
        self.total = 0.0
        for bucket, weight in runs:
            self.add(bucket, weight)

    def add(self, bucket: int, weight: float) -> None:
        """Count so many runs."""
        self._make_room(bucket)
        self._weights[max(0, bucket - self._first)] += weight
        self.total += weight

    def fade(self, by: float) -> None:
        """Multiply all weights."""
        self._weights = array("f", [weight * by for weight in self._weights])
        self.total *= by

    def quantile(self, q: float, *, spare: float = 0.0) -> float:
        """Return the duration (s) that a share *q* of the runs did not exceed, give or take half a bucket.

        So many of the longest are left out at least: *spare*.
        """
        beyond = max((1.0 - q) * self.total, spare) * (1 + 1e-6)  # weights are floats of 4 bytes
        seen = 0.0
        for place in range(len(self._weights) - 1, -1, -1):
            seen += self._weights[place]
            if seen > beyond:
                return middle(self._first + place)
        return middle(self._first) if self._weights else 0.0

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Yield (bucket, weight) of buckets that are not empty."""
        return ((self._first + place, weight) for place, weight in enumerate(self._weights) if weight > 0)

    def _make_room(self, bucket: int) -> None:
        if not self._weights:
            self._first, self._weights = bucket, array("f", [0.0])
            return
        last = self._first + len(self._weights) - 1
        if bucket > last:
            self._weights += array("f", [0.0] * (bucket - last))
            if (excess := len(self._weights) - _WIDTH) > 0:
                short = sum(self._weights[:excess])
                self._weights = self._weights[excess:]
                self._weights[0] += short
                self._first += excess
        elif bucket < self._first:
            first = max(bucket, last - _WIDTH + 1)
            self._weights = array("f", [0.0] * (self._first - first)) + self._weights
            self._first = first
