"""Templates of Prometheus that fetch the facts of a job or an incident into an annotation.

Facts change (the last span, the cause, the line), so they are no labels: a changed label would be another alert. Only
`job_key` and `incident`, which the collector makes, are put into a query; values of jobs are never part of one.
"""

from __future__ import annotations

from typing import Final

from lastspan.semconv import metrics as m
from lastspan.semconv.vocabulary import CAUSES

from .hold import held
from .settings import Settings


def _query(metric: str, label: str, name: str) -> str:
    return f'{{{{ ${name} := printf "{metric}{{{label}=%q}}" $labels.{label} | query }}}}'


def _of(name: str, label: str) -> str:
    return f'{{{{ with ${name} }}}}{{{{ . | first | label "{label}" }}}}{{{{ end }}}}'


def counted(one: str, several: str, value: str = "$value") -> str:
    """Say how many, and what follows, as a person would: `one` for 1, else the number and `several`."""
    return f'{{{{ if eq {value} 1.0 }}}}1 {one}{{{{ else }}}}{{{{ printf "%.0f" {value} }}}} {several}{{{{ end }}}}'


def words(source: str) -> str:
    """Say a cause in words."""
    first, *others = CAUSES.items()
    chain = f'{{{{ if eq {source} "{first[0]}" }}}}{first[1]}'
    chain += "".join(f'{{{{ else if eq {source} "{name}" }}}}{words}' for name, words in others)
    return f"{chain}{{{{ else }}}}{{{{ {source} }}}}{{{{ end }}}}"


_INFO: Final = _query(held(m.STUCK_JOB_INFO), "job_key", "info")
_OTHERS: Final = _query(held(m.INCIDENT_JOBS), "incident", "jobs")
_SINCE: Final = (
    '{{ $key := $labels.job_key }}{{ $since := printf "time() - ('
    f"last_over_time({m.JOB_LAST_PROGRESS_TIMESTAMP}{{job_key=%q}}[1h])"
    f" or last_over_time({m.JOB_STARTED_TIMESTAMP}{{job_key=%q}}[1h]))"
    '" $key $key | query }}'
)
_CAUSE: Final = '{{ $cause := "unknown" }}{{ with $info }}{{ $cause = . | first | label "cause" }}{{ end }}'
_STATE: Final = '{{ $state := "stuck" }}{{ with $info }}{{ $state = . | first | label "state" }}{{ end }}'

JOB_SUMMARY: Final = (
    f"{_INFO}{_CAUSE}{_STATE}{{{{ $labels.job_name }}}} is {{{{ $state }}}}"
    f" at «{_of('info', 'last_span')}»: {words('$cause')}"
)
INCIDENT_SUMMARY: Final = (
    f"{_OTHERS}{counted('job', 'jobs')} stopped at «{_of('jobs', 'last_span')}»:"
    '{{ $cause := "unknown" }}{{ with $jobs }}{{ $cause = . | first | label "cause" }}{{ end }} ' + words("$cause")
)


def _line(title: str, value: str, *, given: str) -> str:
    return f"{{{{ with {given} }}}}\n{title}: {value}{{{{ end }}}}"


def _labels(*names: str) -> str:
    """Return lines for facts that are there."""
    lines = (
        f'{{{{ with $info }}}}{{{{ with . | first | label "{name}" }}}}\n{name.replace("_", " ")}: {{{{ . }}}}'
        "{{ end }}{{ end }}"
        for name in names
    )
    return "".join(lines)


JOB_DESCRIPTION: Final = (
    f"{_INFO}{_CAUSE}{_OTHERS}{_SINCE}"
    "{{ $labels.job_name }} {{ $labels.job_id }}"
    "{{ with $labels.queue }}, queue {{ . }}{{ end }}{{ with $labels.service }}, service {{ . }}{{ end }}"
    "{{ with $labels.environment }}, {{ . }}{{ end }}"
    f"\nstopped at: {_of('info', 'last_span')}"
    f"\nwhy: {words('$cause')}"
    + _line("without movement for", "{{ . | first | value | humanizeDuration }}", given="$since")
    + _labels("code", "lock_holder", "host", "pod", "pid")
    + "{{ with $jobs }}{{ if gt (. | first | value) 1.0 }}"
    '\njobs that stopped at the same thing: {{ . | first | value | printf "%.0f" }}{{ end }}{{ end }}'
)
"""What a colleague would say: what, where, why, since when, how many others, who holds it."""


def one_of(incident: str = "$labels.incident") -> str:
    """Return the beginning of a template: $job is the key of the incident's oldest job."""
    started, stuck = m.JOB_STARTED_TIMESTAMP, held(m.JOB_STUCK)
    oldest = f"bottomk(1, last_over_time({started}[1h]) and on (job_key) {stuck}{{incident=%q}})"
    return (
        f'{{{{ $stuck := printf "{oldest}" {incident} | query }}}}'
        '{{ $job := "" }}{{ with $stuck }}{{ $job = . | first | label "job_key" }}{{ end }}'
    )


def of_job(settings: Settings) -> dict[str, str]:
    """Return the annotations of an alert about one job."""
    return {
        "description": JOB_DESCRIPTION,
        "last_span": _INFO + _of("info", "last_span"),
        "cause": f"{_INFO}{_CAUSE}{{{{ $cause }}}}",
        "code": _INFO + _of("info", "code"),
        "lock_holder": _INFO + _of("info", "lock_holder"),
        **_links(settings, "$labels.job_key", ""),
        **_trace(settings),
    }


def _still(incident: str = "$labels.incident") -> str:
    """Return the beginning of a template: $still is for how long the first of an incident's jobs does nothing new."""
    moved, started = m.JOB_LAST_PROGRESS_TIMESTAMP, m.JOB_STARTED_TIMESTAMP
    since = f"(last_over_time({moved}[1h]) or last_over_time({started}[1h])) and on (job_key) {held(m.JOB_STUCK)}"
    return f'{{{{ $still := printf "time() - min({since}{{incident=%q}})" {incident} | query }}}}'


def of_incident(settings: Settings) -> dict[str, str]:
    """Return the annotations of an alert about jobs that stopped at one thing."""
    names = f"sum by (job_name) (count by (job_name, job_key) ({held(m.JOB_STUCK)}{{incident=%q}}))"
    return {
        "description": (
            f'{{{{ $names := printf "topk(10, {names})" $labels.incident | query }}}}{_OTHERS}{_still()}'
            f"{counted('job', 'jobs')}"
            "{{ with $labels.environment }} in {{ . }}{{ end }}"
            + _line("stopped at", _of("jobs", "last_span"), given="$jobs")
            + _line("without movement for", "{{ . | first | value | humanizeDuration }}", given="$still")
            + "\namong them:"
            '{{ range $names }}\n{{ .Labels.job_name }}: {{ .Value | printf "%.0f" }}{{ end }}'
        ),
        **_links(settings, "$job", one_of()),
    }


def _links(settings: Settings, key: str, before: str) -> dict[str, str]:
    links = {"incident_url": f"{before}{settings.collector_url}/jobs/{{{{ {key} | urlquery }}}}"}
    if settings.grafana_url:
        links["dashboard_url"] = f"{before}{settings.grafana_url}/d/lastspan-job?var-job={{{{ {key} | urlquery }}}}"
    return links


def _trace(settings: Settings) -> dict[str, str]:
    if not settings.trace_url:
        return {}
    trace = '{{ with $info }}{{ . | first | label "trace_id" | urlquery }}{{ end }}'
    return {"trace_url": _INFO + settings.trace_url.replace("{trace_id}", trace)}
