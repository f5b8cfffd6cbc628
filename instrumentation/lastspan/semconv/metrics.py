"""Every metric: the worker's (OTLP, dotted names) and the collector's (Prometheus names)."""

from __future__ import annotations

from . import attributes as a
from .declare import metric

# --- from the worker, through the user's own OTLP metrics pipeline ------------------------------------------------
_JOB = (a.JOB_NAME, a.JOB_QUEUE, a.JOB_SYSTEM)

JOB_ACTIVE = metric("lastspan.job.active", "updowncounter", "jobs that are open", unit="{job}", attributes=_JOB)
JOB_DURATION = metric(
    "lastspan.job.duration", "histogram", "how long jobs took", unit="s", attributes=(*_JOB, a.OUTCOME)
)
JOB_HEARTBEAT = metric(
    "lastspan.job.heartbeat", "counter", "one for each open job and tick", unit="{heartbeat}", attributes=_JOB
)
JOB_AGE = metric("lastspan.job.age", "gauge", "age of the oldest open job", unit="s", attributes=_JOB)
PROCESS_HEARTBEAT = metric("lastspan.process.heartbeat", "counter", "one for each tick", unit="{heartbeat}")

# --- from the collector: aggregates -------------------------------------------------------------------------------
_WHERE = ("environment", "service")
_TYPE = (*_WHERE, "job_name", "queue")

JOBS = metric("lastspan_jobs", "gauge", "jobs by state", unit="{job}", attributes=(*_TYPE, "state"))
JOBS_STUCK = metric("lastspan_jobs_stuck", "gauge", "stuck jobs by cause", unit="{job}", attributes=(*_TYPE, "cause"))
JOBS_STARTED = metric("lastspan_jobs_started_total", "counter", "jobs started", unit="{job}", attributes=_TYPE)
JOBS_ENDED = metric("lastspan_jobs_ended_total", "counter", "jobs ended", unit="{job}", attributes=(*_TYPE, "outcome"))
JOBS_STUCK_TOTAL = metric(
    "lastspan_jobs_stuck_total", "counter", "jobs that became stuck", unit="{job}", attributes=(*_TYPE, "cause")
)
JOBS_DURATION = metric(
    "lastspan_jobs_duration_seconds", "histogram", "how long ended jobs took", unit="s", attributes=_TYPE
)
JOB_EXPECTED_DURATION = metric(
    "lastspan_job_expected_duration_seconds", "gauge", "how long a job may take", unit="s", attributes=(*_TYPE, "basis")
)
INCIDENT_JOBS = metric(
    "lastspan_incident_jobs",
    "gauge",
    "jobs that stopped at one thing; at most 100 incidents, the rest in `other`",
    unit="{job}",
    attributes=(*_WHERE, "incident", "cause", "last_span", "severity"),
)

# --- from the collector: one series a suspect, at most 200 ---------------------------------------------------------
_SUSPECT = (*_WHERE, "job_key", "job_id", "job_name", "queue")

JOB_STUCK = metric(
    "lastspan_job_stuck",
    "gauge",
    "1 while the job is stuck, lost or frozen",
    unit="1",
    attributes=(*_SUSPECT, "incident", "severity", "basis"),
)
STUCK_JOB_INFO = metric(
    "lastspan_stuck_job_info",
    "gauge",
    "what is known of a suspect; always 1; `why` and `first_step` say it in words and change when the facts do",
    unit="1",
    attributes=(
        *_SUSPECT,
        "system",
        "state",
        "trace_id",
        "last_span",
        "last_span_kind",
        "cause",
        "code",
        "lock_holder",
        "host",
        "pod",
        "namespace",
        "pid",
        "instance_id",
        "service_version",
        "stopped_at",
        "waits_for",
        "why",
        "first_step",
    ),
)
JOB_STARTED_TIMESTAMP = metric(
    "lastspan_job_started_timestamp_seconds", "gauge", "when it started", unit="s", attributes=_SUSPECT
)
JOB_LAST_PROGRESS_TIMESTAMP = metric(
    "lastspan_job_last_progress_timestamp_seconds", "gauge", "when it last moved", unit="s", attributes=_SUSPECT
)
JOB_LAST_HEARTBEAT_TIMESTAMP = metric(
    "lastspan_job_last_heartbeat_timestamp_seconds",
    "gauge",
    "when its process last spoke",
    unit="s",
    attributes=_SUSPECT,
)
JOB_PROGRESS_RATIO = metric(
    "lastspan_job_progress_ratio", "gauge", "done ÷ total, as told by progress()", unit="1", attributes=_SUSPECT
)
JOB_CPU_RATIO = metric(
    "lastspan_job_cpu_ratio", "gauge", "share of a core that its thread uses", unit="1", attributes=_SUSPECT
)
JOB_SERIES_TRUNCATED = metric(
    "lastspan_job_series_truncated", "gauge", "suspects without a series of their own", unit="{job}"
)

# --- from the collector: who waits for whom, and what will hang one day ----------------------------------------------
WAIT_NODE = metric(
    "lastspan_wait_node",
    "gauge",
    "a suspect, or what it waits for; always 1; at most 200, with `lastspan_wait_edge` a graph",
    unit="1",
    attributes=("id", "kind", "title", "subtitle", "state", "job_id", "root"),
)
WAIT_EDGE = metric(
    "lastspan_wait_edge",
    "gauge",
    "`source` waits for `target`, or is held by it; always 1",
    unit="1",
    attributes=("id", "source", "target", "kind", "certainty"),
)
LINT_FINDINGS = metric(
    "lastspan_lint_findings",
    "gauge",
    "what is better changed before anything hangs; never a reason to wake anybody",
    unit="{finding}",
    attributes=(*_WHERE, "rule", "severity", "job_name"),
)

# --- from the collector: processes ---------------------------------------------------------------------------------
PROCESSES = metric(
    "lastspan_processes", "gauge", "worker processes by state", unit="{process}", attributes=(*_WHERE, "state")
)
LOST_PROCESS_OPEN_JOBS = metric(
    "lastspan_lost_process_open_jobs",
    "gauge",
    "open jobs of a lost process; at most 200 processes",
    unit="{job}",
    attributes=(*_WHERE, "host", "instance_id"),
)

# --- from the collector: about itself -------------------------------------------------------------------------------
COLLECTOR_RECEIVED = metric(
    "lastspan_collector_received_total",
    "counter",
    "records received, by what they are (`ignored`: not for us)",
    unit="{record}",
    attributes=("transport", "record"),
)
COLLECTOR_DROPPED = metric(
    "lastspan_collector_dropped_total",
    "counter",
    "records or requests refused or dropped, by reason",
    unit="{record}",
    attributes=("transport", "reason"),
)
COLLECTOR_OPEN_SPANS = metric("lastspan_collector_open_spans", "gauge", "open spans in memory", unit="{span}")
COLLECTOR_SPAN_LIMIT = metric("lastspan_collector_open_spans_limit", "gauge", "the span cap", unit="{span}")
COLLECTOR_EVIDENCE_BYTES = metric("lastspan_collector_evidence_bytes", "gauge", "evidence in memory", unit="By")
COLLECTOR_VERDICT_AGE = metric(
    "lastspan_collector_verdict_age_seconds", "gauge", "since verdicts were last brought up to date", unit="s"
)
COLLECTOR_TICK_DURATION = metric(
    "lastspan_collector_tick_duration_seconds", "gauge", "longest stop of the receiver by the last tick", unit="s"
)
COLLECTOR_JUDGE_BACKLOG = metric(
    "lastspan_collector_judge_backlog", "gauge", "jobs that are due and not yet judged", unit="{job}"
)
COLLECTOR_BLIND = metric(
    "lastspan_collector_blind", "gauge", "1 while so many workers are silent that we doubt ourselves", unit="1"
)
COLLECTOR_PROBE_FAILURES = metric(
    "lastspan_collector_probe_failures_total",
    "counter",
    "looks at a database that failed, or did not see all (`privilege`), by reason",
    unit="{look}",
    attributes=("server", "reason"),
)
COLLECTOR_ALERTS_POSTED = metric(
    "lastspan_collector_alerts_posted_total",
    "counter",
    "alerts that an Alertmanager took from the collector itself, those sent again included",
    unit="{alert}",
    attributes=("server",),
)
COLLECTOR_ALERTS_WAITING = metric(
    "lastspan_collector_alerts_waiting",
    "gauge",
    "alerts that an Alertmanager has not been told yet",
    unit="{alert}",
    attributes=("server",),
)
COLLECTOR_ALERTS_FAILURES = metric(
    "lastspan_collector_alerts_failures_total",
    "counter",
    "requests to an Alertmanager that failed, and alerts that there was no room for (`full`), by reason",
    unit="{failure}",
    attributes=("server", "reason"),
)
COLLECTOR_MEMORY_OK = metric(
    "lastspan_collector_memory_ok", "gauge", "1 while the state is kept on disk; absent without a data_dir", unit="1"
)
COLLECTOR_MEMORY_WRITTEN = metric(
    "lastspan_collector_memory_written_bytes_total", "counter", "written to the log on disk", unit="By"
)
COLLECTOR_LEARNED_KEYS = metric(
    "lastspan_collector_learned_keys", "gauge", "jobs and calls whose durations are learned", unit="{key}"
)
COLLECTOR_LEARNED_REFUSED = metric(
    "lastspan_collector_learned_refused_total",
    "counter",
    "runs that were not learned from, because there are too many keys",
    unit="{run}",
)
COLLECTOR_STARTED_TIMESTAMP = metric(
    "lastspan_collector_started_timestamp_seconds",
    "gauge",
    "when the collector started; it has heard of all that is open a minute later",
    unit="s",
)
COLLECTOR_INFO = metric(
    "lastspan_collector_info", "gauge", "the collector's version; always 1", unit="1", attributes=("version",)
)
