"""The configuration of Alertmanager: who is told, what is one page, what mutes what. Read by 0.25 … 0.33."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .forms import HEADER, as_yaml
from .settings import CHANNELS, SEVERITIES, AlertSettings

Tree = dict[str, Any]
NOBODY: Final = "nobody"
WATCHDOG: Final = "watchdog"

TELLING: Final = (
    "LastspanManyJobsStopAtOneThing",
    "LastspanDeadlock",
    "LastspanWorkerLost",
    "LastspanLockHolderBlocksJobs",
    "LastspanJobStuck",
)
"""Alerts about one incident: the first that fires mutes those behind it."""


def config(settings: AlertSettings) -> str:
    """Return the file; `lastspan.tmpl` lies beside it."""
    return HEADER + as_yaml(
        {
            "templates": ["lastspan.tmpl"],
            "route": {"receiver": NOBODY, "routes": [_route(settings)]},
            "inhibit_rules": list(_inhibitions()),
            "receivers": list(_receivers(settings)),
        }
    )


def _route(settings: AlertSettings) -> Tree:
    """One branch: it can be pasted into a configuration that has others."""
    routes: list[Tree] = []
    if settings.watchdog_url:
        often = {"group_wait": "0s", "group_interval": "1m", "repeat_interval": "1m"}
        routes.append({"receiver": WATCHDOG, "matchers": ['alertname = "LastspanWatchdog"'], **often})
    routes += [
        {"receiver": f"lastspan-{severity}", "matchers": [f'severity = "{severity}"']}
        for severity in SEVERITIES
        if settings.route.get(severity)
    ]
    return {
        "receiver": NOBODY,
        "matchers": ['alertname =~ "Lastspan.+"'],
        "group_by": ["alertname", "incident"],
        "group_wait": settings.group_wait,
        "group_interval": settings.group_interval,
        "repeat_interval": settings.repeat_interval,
        "routes": routes,
    }


def _inhibitions() -> Iterator[Tree]:
    for position, name in enumerate(TELLING[:-1]):
        others = f'alertname =~ "{"|".join(TELLING[position + 1 :])}"'
        source = f'alertname = "{name}"'
        yield _inhibition([source, 'severity = "page"'], [others], "incident")
        # One that only warns must not keep a page from anybody.
        yield _inhibition([source, 'severity != "page"'], [others, 'severity != "page"'], "incident")
    by_type = 'alertname =~ "LastspanJobTypeMostlyStuck|LastspanStuckBudgetBurn"'
    yield _inhibition([f'alertname = "{TELLING[0]}"'], [by_type], "environment")
    paging = ['alertname = "LastspanJobStuck"', 'severity = "page"']
    yield _inhibition(paging, [by_type], "environment", "service", "job_name", "queue")
    ill = 'alertname =~ "LastspanVerdictsStale|LastspanRecordsDropped|LastspanJobSeriesTruncated"'
    yield _inhibition(['alertname = "LastspanBlind"'], [ill], "instance")


def _inhibition(source: list[str], target: list[str], *equal: str) -> Tree:
    return {"source_matchers": source, "target_matchers": target, "equal": list(equal)}


def _receivers(settings: AlertSettings) -> Iterator[Tree]:
    yield {"name": NOBODY}
    if settings.watchdog_url:
        yield {"name": WATCHDOG, "webhook_configs": [{"url": settings.watchdog_url, "send_resolved": False}]}
    channels = {
        "pagerduty": _pagerduty(settings),
        "slack": _slack(settings),
        "email": _email(settings),
        "webhook": _webhook(settings),
    }
    for severity in SEVERITIES:
        wanted = [name for name in CHANNELS if name in settings.route.get(severity, "").split(",")]
        if wanted:
            yield {"name": f"lastspan-{severity}", **{f"{name}_configs": [channels[name]] for name in wanted}}


def _pagerduty(settings: AlertSettings) -> Tree:
    return {
        "routing_key_file": settings.pagerduty_key_file,
        "send_resolved": True,
        "description": '{{ template "lastspan.title" . }}',
        "severity": '{{ if eq .CommonLabels.severity "page" }}critical{{ else }}warning{{ end }}',
        "class": "{{ .CommonLabels.alertname }}",
        "group": "{{ .CommonLabels.incident }}",
        "client": "lastspan",
        "client_url": '{{ template "lastspan.url" . }}',
        "details": {
            "why": '{{ template "lastspan.why" . }}',
            "what to do first": '{{ template "lastspan.do" . }}',
            "story": '{{ template "lastspan.text" . }}',
        },
        "links": [
            {"text": "What happened", "href": '{{ template "lastspan.url" . }}'},
            {"text": "What to do", "href": '{{ template "lastspan.runbook" . }}'},
            {"text": "Silence", "href": '{{ template "lastspan.silence" . }}'},
        ],
    }


def _slack(settings: AlertSettings) -> Tree:
    return {
        "api_url_file": settings.slack_url_file,
        "channel": settings.slack_channel,
        "send_resolved": True,
        "title": '{{ template "lastspan.slack.title" . }}',
        "title_link": '{{ template "lastspan.url" . }}',
        "fallback": '{{ template "lastspan.slack.title" . }}',
        "text": '{{ template "lastspan.slack.text" . }}',
        "color": '{{ template "lastspan.slack.colour" . }}',
    }


def _email(settings: AlertSettings) -> Tree:
    return {
        "to": settings.email_to,
        "from": settings.email_from,
        "smarthost": settings.email_smarthost,
        "send_resolved": True,
        "headers": {"Subject": '{{ template "lastspan.title" . }}'},
        "text": '{{ template "lastspan.text" . }}',
        "html": '{{ template "lastspan.html" . }}',
    }


def _webhook(settings: AlertSettings) -> Tree:
    return {
        "url": settings.webhook_url or "http://127.0.0.1:9/",
        "send_resolved": True,
        "max_alerts": settings.max_alerts,
    }
