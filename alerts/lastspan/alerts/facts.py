"""Templates of Prometheus that fetch the facts of a job or an incident into an annotation.

Facts change (the last span, the cause, the line), so they are no labels of alerts: a changed label would be another
alert. The collector says them in words, as labels of the info series that change only when the facts do. Only `job_key`
and `incident`, which the collector makes, are put into a query; values of jobs are never part of one.
"""

from __future__ import annotations

from typing import Final

from lastspan.semconv import metrics as m
from lastspan.semconv.vocabulary import CAUSE_HEADINGS

from .hold import held
from .settings import AlertSettings

SUBJECT: Final = 100
"""Letters of a summary: it is a subject, and the first line on a telephone."""
NAME: Final = 40
"""Letters of a name in it."""
SENTENCE: Final = "(?s)^(.+?[.?]) [A-Z].*$"
"""Its group is the first sentence of several: the fact, which is what a subject has room for."""


def _query(metric: str, label: str, name: str, value: str = "") -> str:
    return f'{{{{ ${name} := printf "{metric}{{{label}=%q}}" {value or f"$labels.{label}"} | query }}}}'


def _of(name: str, label: str) -> str:
    return f'{{{{ with ${name} }}}}{{{{ . | first | label "{label}" }}}}{{{{ end }}}}'


def _var(name: str, of: str, label: str) -> str:
    return f'{{{{ ${name} := "" }}}}{{{{ with ${of} }}}}{{{{ ${name} = . | first | label "{label}" }}}}{{{{ end }}}}'


def short(value: str, limit: int = NAME) -> str:
    """Return a value of at most *limit* letters, in the language of templates."""
    return f'{value} | reReplaceAll "(?s)^(.{{{limit - 1}}}).{{2,}}$" "${{1}}…"'


def cut(value: str, limit: int = NAME) -> str:
    """Write a value of at most *limit* letters."""
    return f"{{{{ {short(value, limit)} }}}}"


def counted(one: str, several: str, value: str = "$value") -> str:
    """Say how many, and what follows, as a person would: `one` for 1, else the number and `several`."""
    return f'{{{{ if eq {value} 1.0 }}}}1 {one}{{{{ else }}}}{{{{ printf "%.0f" {value} }}}} {several}{{{{ end }}}}'


def heading(source: str) -> str:
    """Say a cause in two or three words."""
    first, *others = CAUSE_HEADINGS.items()
    chain = f'{{{{ if eq {source} "{first[0]}" }}}}{first[1]}'
    chain += "".join(f'{{{{ else if eq {source} "{name}" }}}}{words}' for name, words in others)
    return f"{chain}{{{{ else }}}}{{{{ {source} }}}}{{{{ end }}}}"


_INFO: Final = _query(held(m.STUCK_JOB_INFO), "job_key", "info")
_JOBS: Final = _query(held(m.INCIDENT_JOBS), "incident", "jobs")
_MORE: Final = f'{{{{ $more := printf "{held(m.INCIDENT_JOBS)}{{incident=%q}} - 1 > 0" $labels.incident | query }}}}'


def _since(asked: str, values: str) -> str:
    """Return the beginning of a template: since when nothing new was done, as a time and as seconds until now."""
    return (
        f'{{{{ $since := printf "floor({asked})" {values} | query }}}}'
        f'{{{{ $still := printf "time() - ({asked})" {values} | query }}}}'
    )


_MOVED_OF_JOB: Final = (
    f"last_over_time({m.JOB_LAST_PROGRESS_TIMESTAMP}{{job_key=%q}}[1h])"
    f" or last_over_time({m.JOB_STARTED_TIMESTAMP}{{job_key=%q}}[1h])"
)
_MOVED_OF_INCIDENT: Final = (
    f"min((last_over_time({m.JOB_LAST_PROGRESS_TIMESTAMP}[1h]) or last_over_time({m.JOB_STARTED_TIMESTAMP}[1h]))"
    f" and on (job_key) {held(m.JOB_STUCK)}{{incident=%q}})"
)

JOB_SUMMARY: Final = (
    f"{_INFO}{_var('state', 'info', 'state')}{_var('why', 'info', 'why')}{{{{ $name := {short('$labels.job_name')} }}}}"
    f'{{{{ if $why }}}}{{{{ $why = $why | reReplaceAll "{SENTENCE}" "$1" | printf ". %s" }}}}{{{{ end }}}}'
    + cut('printf "%s is %s%s" $name (or $state "stuck") $why', SUBJECT)
)


def _line(title: str, value: str, *, given: str) -> str:
    return f"{{{{ with {given} }}}}\n{title}: {value}{{{{ end }}}}"


def _labels(**titles: str) -> str:
    """Return lines for facts that are there."""
    lines = (_line(title, "{{ . }}", given=f'. | first | label "{label}"') for label, title in titles.items())
    return f"{{{{ with $info }}}}{''.join(lines)}{{{{ end }}}}"


_STILL: Final = (
    "{{ with $still }}\nno activity for: {{ . | first | value | humanizeDuration }}{{ end }}"
    '{{ with $since }}, since {{ . | first | value | humanizeTimestamp | reReplaceAll " [+]0000" "" }}{{ end }}'
)
_STORY: Final = (
    _labels(why="why")
    + _STILL
    + _labels(
        first_step="what to do first",
        stopped_at="stopped at",
        code="code",
        lock_holder="lock holder",
        waits_for="waits for",
        host="host",
        pod="pod",
        pid="pid",
    )
)
"""What a colleague would say: why, since when, what to do, then where and who."""

_WHERE: Final = (
    "{{ with $labels.queue }}, queue {{ . }}{{ end }}{{ with $labels.service }}, service {{ . }}{{ end }}"
    "{{ with $labels.environment }}, {{ . }}{{ end }}"
)
OF_TYPE: Final = f"{{{{ $labels.job_name }}}}{_WHERE}"
"""What an alert about jobs of one type is about."""

JOB_DESCRIPTION: Final = (
    f"{_INFO}{_MORE}{_since(_MOVED_OF_JOB, '$labels.job_key $labels.job_key')}"
    f"{{{{ $labels.job_name }}}} {{{{ $labels.job_id }}}}{_WHERE}"
    + _STORY
    + _line("other jobs that stopped at the same thing", '{{ . | first | value | printf "%.0f" }}', given="$more")
)


def one_of(incident: str = "$labels.incident") -> str:
    """Return the beginning of a template: $job is the key of the incident's oldest job, $info what is known of it."""
    started, stuck = m.JOB_STARTED_TIMESTAMP, held(m.JOB_STUCK)
    oldest = f"bottomk(1, last_over_time({started}[1h]) and on (job_key) {stuck}{{incident=%q}})"
    return (
        f'{{{{ $stuck := printf "{oldest}" {incident} | query }}}}'
        f"{_var('job', 'stuck', 'job_key')}{_query(held(m.STUCK_JOB_INFO), 'job_key', 'info', '$job')}"
    )


INCIDENT_SUMMARY: Final = (
    f"{_JOBS}{one_of()}{_var('cause', 'info', 'cause')}{_var('at', 'info', 'stopped_at')}"
    "{{ if not $at }}{{ with $jobs }}{{ with . | first }}{{ $at = .Labels.last_span }}{{ $cause = .Labels.cause }}"
    "{{ end }}{{ end }}{{ end }}"
    f"{counted('job', 'jobs')} stopped at {cut('$at', 50)}: {heading('$cause')}"
)


def of_job(settings: AlertSettings) -> dict[str, str]:
    """Return the annotations of an alert about one job."""
    return {
        "description": JOB_DESCRIPTION,
        **_said(_INFO),
        "last_span": _INFO + _of("info", "last_span"),
        "cause": _INFO + _var("cause", "info", "cause") + '{{ or $cause "unknown" }}',
        "code": _INFO + _of("info", "code"),
        "lock_holder": _INFO + _of("info", "lock_holder"),
        **_links(settings, "$labels.job_key", ""),
        **_trace(settings),
    }


def of_incident(settings: AlertSettings) -> dict[str, str]:
    """Return the annotations of an alert about jobs that stopped at one thing: the oldest of them stands for all."""
    names = f"sum by (job_name) (count by (job_name, job_key) ({held(m.JOB_STUCK)}{{incident=%q}}))"
    return {
        "description": (
            f'{{{{ $names := printf "topk(10, {names})" $labels.incident | query }}}}{one_of()}'
            f"{_since(_MOVED_OF_INCIDENT, '$labels.incident')}"
            f"{counted('job', 'jobs')}"
            "{{ with $labels.environment }} in {{ . }}{{ end }}"
            + _line(
                "the oldest", "{{ with . | first }}{{ .Labels.job_name }} {{ .Labels.job_id }}{{ end }}", given="$info"
            )
            + _STORY
            + "\njobs by name:"
            '{{ range $names }}\n{{ .Labels.job_name }}: {{ .Value | printf "%.0f" }}{{ end }}'
        ),
        **_said(one_of()),
        **_links(settings, "$job", one_of()),
    }


def _said(before: str) -> dict[str, str]:
    return {name: before + _of("info", name) for name in ("why", "first_step", "stopped_at")}


def _links(settings: AlertSettings, key: str, before: str) -> dict[str, str]:
    links = {"incident_url": f"{before}{settings.collector_url}/jobs/{{{{ {key} | urlquery }}}}"}
    if settings.grafana_url:
        links["dashboard_url"] = f"{before}{settings.grafana_url}/d/lastspan-job?var-job={{{{ {key} | urlquery }}}}"
    return links


def _trace(settings: AlertSettings) -> dict[str, str]:
    if not settings.trace_url:
        return {}
    trace = '{{ with $info }}{{ . | first | label "trace_id" | urlquery }}{{ end }}'
    return {"trace_url": _INFO + settings.trace_url.replace("{trace_id}", trace)}
