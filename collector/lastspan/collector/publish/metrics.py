"""`/metrics`: aggregates from counts that are kept anyway, and one series a suspect, at most 200.

Names and labels are those of `semconv.metrics`; `Family` refuses others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from lastspan.semconv import metrics as m

from ..model.records import DURATION_BOUNDS, SUSPECT, Severity, State
from ..track import OPEN_STATES, Series
from .blocked_by import key_text
from .chosen import MAX_INCIDENTS, chosen_suspects, left_out
from .families import empty_family, one_value
from .jobs import Wall, job_view
from .labels import Labels, as_labels, brief, code_line
from .shapes import JobView
from .text.version import own_version
from .view import View

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_LOST_PROCESSES = 200
MAX_NODES = 200
OTHER = "other"
_IN_A_THREAD = 5000

STARTED_S = time.time()
"""When this process loaded it: the collector's start, near enough."""


async def render(view: View, *, wall: Wall) -> bytes:
    """Return the page. It is gathered here and now; a long one is written in a thread, away from the receiver."""
    families = list(gather(view, wall=wall))
    if sum(len(family.samples) for family in families) > _IN_A_THREAD:
        return await asyncio.to_thread(_write, families)
    return _write(families)


def gather(view: View, *, wall: Wall) -> Iterator[Metric]:
    """Yield all families."""
    yield from _by_type(view)
    yield from _incidents(view)
    yield from _suspects(view, wall)
    yield from _wait_graph(view)
    yield from _lint(view)
    yield from _processes(view)
    yield from _collector(view)
    yield one_value(m.COLLECTOR_STARTED_TIMESTAMP, STARTED_S)


class _FamilyCollector(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _write(families: list[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FamilyCollector(families))
    return generate_latest(registry)


# --- aggregates ---------------------------------------------------------------------------------------------------


def _type_labels(series: Series) -> Labels:
    return as_labels(series.environment, series.service, series.job_name, series.queue)


def _by_type(view: View) -> Iterator[Metric]:
    jobs, stuck, started = empty_family(m.JOBS), empty_family(m.JOBS_STUCK), empty_family(m.JOBS_STARTED)
    ended, stuck_total = empty_family(m.JOBS_ENDED), empty_family(m.JOBS_STUCK_TOTAL)
    took, expected = empty_family(m.JOBS_DURATION), empty_family(m.JOB_EXPECTED_DURATION)
    for series in view.series():
        labels = _type_labels(series)
        for state in OPEN_STATES:
            jobs.add_metric((*labels, state.value), series.open[state])
        for cause, count in series.stuck.items():
            stuck.add_metric((*labels, cause), count)
        for cause, count in series.stuck_total.items():
            stuck_total.add_metric((*labels, cause), count)
        for outcome, count in series.ended.items():
            ended.add_metric((*labels, outcome), count)
        started.add_metric(labels, series.started)
        if any(series.buckets):
            took.add_metric(labels, list(_buckets(series)), series.sum_seconds)
        if series.type is not None:
            allowance = view.policy.job(series.type, "")
            expected.add_metric((*labels, allowance.basis.value), allowance.allowed_ns / 1e9)
    yield from (jobs, stuck, started, ended, stuck_total, took, expected)


def _buckets(series: Series) -> Iterator[tuple[str, int]]:
    total = 0
    for bound, count in zip((*DURATION_BOUNDS, float("inf")), series.buckets, strict=True):
        total += count
        yield ("+Inf" if bound == float("inf") else repr(bound)), total


def _incidents(view: View) -> Iterator[Metric]:
    family = empty_family(m.INCIDENT_JOBS)
    rest: dict[tuple[str, str], int] = {}
    for index, (name, incident) in enumerate(view.incidents().items()):
        where = (incident.environment, incident.service)
        if index < MAX_INCIDENTS:
            labels = as_labels(*where, name, incident.cause, incident.last_span, incident.severity.value)
            family.add_metric(labels, len(incident.jobs))
        else:
            rest[where] = rest.get(where, 0) + len(incident.jobs)
    for where, count in rest.items():
        family.add_metric(as_labels(*where, OTHER, OTHER, OTHER, Severity.WARNING.value), count)
    yield family


# --- suspects -----------------------------------------------------------------------------------------------------


def _suspects(view: View, wall: Wall) -> Iterator[Metric]:
    stuck, info = empty_family(m.JOB_STUCK), empty_family(m.STUCK_JOB_INFO)
    started, moved, heard = (
        empty_family(m.JOB_STARTED_TIMESTAMP),
        empty_family(m.JOB_LAST_PROGRESS_TIMESTAMP),
        empty_family(m.JOB_LAST_HEARTBEAT_TIMESTAMP),
    )
    progress, cpu = empty_family(m.JOB_PROGRESS_RATIO), empty_family(m.JOB_CPU_RATIO)
    chosen, now_s, context = chosen_suspects(view), wall(), view.known()
    for job in chosen:
        seen = job_view(view, job, wall=wall, context=context)
        if seen.state not in SUSPECT:  # changed since the last tick: gone from here at the next
            continue
        labels = as_labels(
            seen.environment, seen.service, key_text(job.span.key), seen.job_id, seen.job_name, seen.queue
        )
        stuck.add_metric((*labels, *as_labels(seen.incident, seen.severity, seen.basis)), 1)
        info.add_metric((*labels, *_info(seen)), 1)
        started.add_metric(labels, now_s - seen.age_s)
        for family, age_s in ((moved, seen.movement_age_s), (heard, seen.heartbeat_age_s)):
            if age_s is not None:
                family.add_metric(labels, now_s - age_s)
        if seen.progress is not None and seen.progress.ratio is not None:
            progress.add_metric(labels, seen.progress.ratio)
        if seen.cpu_ratio is not None:
            cpu.add_metric(labels, seen.cpu_ratio)
    yield from (stuck, info, started, moved, heard, progress, cpu)
    yield one_value(m.JOB_SERIES_TRUNCATED, left_out(view, chosen))


def _info(job: JobView) -> Labels:
    told = brief(job)
    facts = as_labels(
        job.system,
        job.state,
        job.trace_id,
        job.last_span.name,
        job.last_span.kind,
        job.cause,
        code_line(job),
        told.lock_holder,
        job.host,
        job.pod,
        job.namespace,
        job.pid,
        job.instance_id,
        job.service_version,
        told.stopped_at,
        told.waits_for,
    )
    return (*facts, told.why, told.first_step)


# --- who waits for whom, and what will hang one day -----------------------------------------------------------------


def _wait_graph(view: View) -> Iterator[Metric]:
    nodes, edges = empty_family(m.WAIT_NODE), empty_family(m.WAIT_EDGE)
    drawn = view.graph(MAX_NODES)
    roots = set(drawn.roots)
    for node in drawn.nodes.values():
        is_root = "true" if node.id in roots else ""
        nodes.add_metric(as_labels(node.id, node.kind, node.title, node.subtitle, node.state, node.job_id, is_root), 1)
    for number, edge in enumerate(drawn.edges):
        edges.add_metric(as_labels(number, edge.source, edge.target, edge.kind, edge.certainty), 1)
    yield from (nodes, edges)


def _lint(view: View) -> Iterator[Metric]:
    found = empty_family(m.LINT_FINDINGS)
    counts = Counter(
        as_labels(finding.environment, finding.service, finding.rule, finding.severity, finding.job_name)
        for finding in view.findings()
    )
    for labels, count in counts.items():
        found.add_metric(labels, count)
    yield found


# --- processes, and the collector itself ----------------------------------------------------------------------------


def _processes(view: View) -> Iterator[Metric]:
    by_state, open_jobs = empty_family(m.PROCESSES), empty_family(m.LOST_PROCESS_OPEN_JOBS)
    counts: dict[Labels, int] = {}
    for row, state in view.processes():
        labels = as_labels(row.resource.environment, row.resource.service, state)
        counts[labels] = counts.get(labels, 0) + 1
    for labels, count in counts.items():
        by_state.add_metric(labels, count)
    for labels, count in islice(_lost(view).items(), MAX_LOST_PROCESSES):
        open_jobs.add_metric(labels, count)
    yield from (by_state, open_jobs)


def _lost(view: View) -> dict[Labels, int]:
    counts: dict[Labels, int] = {}
    for job in islice(view.suspects(), 10 * MAX_LOST_PROCESSES):
        if job.state is State.LOST and job.span.process is not None:
            resource = job.span.process.resource
            labels = as_labels(resource.environment, resource.service, resource.host, resource.instance_id)
            counts[labels] = counts.get(labels, 0) + 1
    return counts


def _collector(view: View) -> Iterator[Metric]:
    facts = view.facts
    received, dropped = empty_family(m.COLLECTOR_RECEIVED), empty_family(m.COLLECTOR_DROPPED)
    probes = empty_family(m.COLLECTOR_PROBE_FAILURES)
    for labels, count in facts.received.items():
        received.add_metric(as_labels(*labels), count)
    for labels, count in facts.dropped.items():
        dropped.add_metric(as_labels(*labels), count)
    for labels, count in facts.probe_failures.items():
        probes.add_metric(as_labels(*labels), count)
    yield from _posts(view)
    info = empty_family(m.COLLECTOR_INFO)
    info.add_metric((own_version(),), 1)
    yield from (received, dropped, probes, info)
    yield one_value(m.COLLECTOR_OPEN_SPANS, view.open_spans)
    yield one_value(m.COLLECTOR_SPAN_LIMIT, view.span_limit)
    yield one_value(m.COLLECTOR_EVIDENCE_BYTES, view.evidence_bytes)
    yield one_value(m.COLLECTOR_VERDICT_AGE, view.verdict_age_s)
    yield one_value(m.COLLECTOR_TICK_DURATION, facts.longest_stop_ns / 1e9)
    yield one_value(m.COLLECTOR_JUDGE_BACKLOG, facts.backlog)
    yield one_value(m.COLLECTOR_BLIND, int(view.is_blind))
    yield one_value(m.COLLECTOR_LEARNED_KEYS, view.learned_keys)
    yield one_value(m.COLLECTOR_LEARNED_REFUSED, view.learned_refused)
    if facts.memory is not None:
        yield one_value(m.COLLECTOR_MEMORY_OK, int(not facts.memory.failed))
        yield one_value(m.COLLECTOR_MEMORY_WRITTEN, facts.memory.written_bytes)


def _posts(view: View) -> Iterator[Metric]:
    posted, waiting = empty_family(m.COLLECTOR_ALERTS_POSTED), empty_family(m.COLLECTOR_ALERTS_WAITING)
    failures = empty_family(m.COLLECTOR_ALERTS_FAILURES)
    for server, facts in view.facts.posts.items():
        posted.add_metric(as_labels(server), facts.posted)
        waiting.add_metric(as_labels(server), facts.waiting)
        for reason, count in facts.failures.items():
            failures.add_metric(as_labels(server, reason), count)
    yield from (posted, waiting, failures)
