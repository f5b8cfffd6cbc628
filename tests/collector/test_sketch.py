"""Histograms of durations: the OpenTelemetry format at one scale, merged by adding."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import LogarithmMapping

from lastspan.collector.model.sketch import (
    HIGHEST,
    LOWEST,
    SCALE,
    Histogram,
    lower,
    middle,
    packed,
    rescaled,
    since,
    unpacked,
    upper,
)
from lastspan.instrumentation.announce.durations import DurationHistogram

DURATIONS = st.floats(0.002, 1e6)


def bucket_of(seconds: float) -> int:
    """The bucket by OpenTelemetry's own SDK."""
    return LogarithmMapping(SCALE).map_to_index(seconds)


def told(durations: list[float]) -> tuple[tuple[int, int], ...]:
    """What a worker's sketch of these says."""
    sketch = DurationHistogram()
    for seconds in durations:
        sketch.add(seconds)
    point = ExponentialHistogramDataPoint.FromString(sketch.encode())
    return rescaled(point.scale, point.positive.offset, point.positive.bucket_counts, point.zero_count)


@given(DURATIONS)
def test_buckets_are_those_of_opentelemetry(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert lower(bucket) <= seconds * 1.000001
    assert seconds <= upper(bucket) * 1.000001
    assert lower(bucket) < middle(bucket) < upper(bucket)


@given(st.lists(DURATIONS, max_size=50))
def test_what_the_worker_counts_is_what_we_read(durations: list[float]) -> None:
    runs = told(durations)
    assert sum(count for _, count in runs) == len(durations)
    assert all(one[0] < other[0] for one, other in pairwise(runs))
    assert {bucket for bucket, _ in runs} <= {bucket_of(seconds) + near for seconds in durations for near in (-1, 0, 1)}


@pytest.mark.parametrize(
    ("scale", "index", "bucket"),
    [
        (3, 5, 5),
        (4, 10, 5),
        (4, 11, 5),
        (20, 5 << 17, 5),
        # A coarser one: the longest that it may be.
        (2, 2, 5),
        (0, 0, 7),
        (-10, 0, HIGHEST),
        # Beyond what is kept.
        (3, -100_000, LOWEST),
        (3, 100_000, HIGHEST),
    ],
)
def test_other_scales(scale: int, index: int, bucket: int) -> None:
    assert rescaled(scale, index, [0, 7][1:]) == ((bucket, 7),)


def test_runs_of_no_time_are_the_shortest() -> None:
    assert rescaled(3, 0, [2], zeros=3) == ((LOWEST, 3), (0, 2))


@given(st.lists(DURATIONS, max_size=30), st.lists(DURATIONS, max_size=30))
def test_what_is_new_in_cumulative_counts(before: list[float], after: list[float]) -> None:
    """The difference of two cumulative sketches is the sketch of what came between."""
    assert since(told(before + after), packed(told(before))) == told(after)
    assert unpacked(packed(told(before))) == dict(told(before))


def test_counts_of_months_are_kept() -> None:
    """A call that is made a thousand times a second has had 2³¹ runs after 25 days."""
    runs = ((-3, 7), (5, (1 << 31) + 1))
    assert unpacked(packed(runs)) == dict(runs)
    assert since(((-3, 7), (5, (1 << 31) + 4)), packed(runs)) == ((5, 3),)


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_off_by_half_a_bucket_at_most(durations: list[float], q: float) -> None:
    """Within 5 % of the exact one, where the span of durations is kept whole."""
    histogram = Histogram((bucket, float(count)) for bucket, count in told(durations))
    exact = sorted(durations)[min(len(durations) - 1, math.ceil(q * len(durations) - 1e-9) - 1)]
    kept_s = max(durations) / 2**15
    assert histogram.quantile(q) >= exact * 0.95 or exact < kept_s
    assert histogram.quantile(q) <= exact * 1.05 or histogram.quantile(q) < kept_s * 1.2


@given(st.lists(st.tuples(st.integers(-80, 200), st.floats(0.5, 1000)), max_size=300))
def test_a_histogram_is_small_and_forgets_no_weight(runs: list[tuple[int, float]]) -> None:
    histogram = Histogram(runs)
    kept = list(histogram)
    assert len(kept) <= 128
    assert sum(weight for _, weight in kept) == pytest.approx(sum(weight for _, weight in runs), rel=1e-3)
    assert histogram.total == pytest.approx(sum(weight for _, weight in runs), rel=1e-6)
    if runs:
        assert max(bucket for bucket, _ in kept) == max(bucket for bucket, _ in runs)


def test_weights_fade() -> None:
    histogram = Histogram([(0, 100.0), (30, 1.0)])
    histogram.fade(0.5)
    assert (histogram.total, dict(histogram)) == (50.5, {0: 50.0, 30: 0.5})
    assert Histogram().quantile(0.99) == 0.0
