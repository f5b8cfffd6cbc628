"""Every alert fires, does not fire just below its threshold, and ends; nothing ends while we are blind.

Real `promtool test rules` over the rules that are committed. `PROMTOOL` names another one than Debian's.
"""

# ruff: noqa: E501 -- the table of cases is read in rows
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.servers import program

from lastspan.alerts.build import alert_names, build, groups
from lastspan.alerts.settings import AlertSettings, SettingError, with_pairs
from lastspan.semconv import METRICS

GENERATED: Final = Path(__file__).parents[2] / "alerts" / "generated"
RUNBOOKS: Final = Path(__file__).parents[2] / "alerts" / "lastspan" / "alerts" / "runbooks"
GOLDEN: Final = Path(__file__).with_name("annotations.txt")
WHERE: Final = 'instance="a:1",job="lastspan",environment="prod",service="shop"'
TYPE: Final = f'{WHERE},job_name="send",queue="mail"'
UP: Final = {
    'up{job="lastspan",instance="a:1"}': "1x600",
    'lastspan_collector_started_timestamp_seconds{job="lastspan",instance="a:1"}': "-9999x600",
}
Series = dict[str, str]
Fires = dict[str, int]


def stuck(values: str, *, key: str = "k-1", severity: str = "page", name: str = "send", **info: str) -> Series:
    """One suspect; a value is one quarter of a minute."""
    job = f'{WHERE},job_name={json.dumps(name, ensure_ascii=False)},queue="mail",job_key="{key}",job_id="id-1"'
    told = {"state": "stuck", "last_span": "POST https://smtp/send", "cause": "http_no_timeout", "host": "h"} | info
    facts = ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in told.items())
    return {
        f'lastspan_job_stuck{{{job},incident="http-1",severity="{severity}",basis="rule"}}': values,
        f"lastspan_stuck_job_info{{{job},{facts}}}": values,
        f"lastspan_job_started_timestamp_seconds{{{job}}}": values.replace("1x", "0x") if key == "k-1" else values,
    }


def incident(values: str) -> Series:
    labels = 'incident="http-1",cause="http_no_timeout",last_span="POST https://smtp/send"'
    return {f"lastspan_incident_jobs{{{WHERE},{labels}}}": values}


def jobs(values: str, state: str) -> Series:
    return {f'lastspan_jobs{{{TYPE},state="{state}"}}': values}


def total(stuck_values: str, started: str = "0+10x600") -> Series:
    return {
        f'lastspan_jobs_stuck_total{{{TYPE},cause="http_call"}}': stuck_values,
        f"lastspan_jobs_started_total{{{TYPE}}}": started,
    }


def itself(metric: str, values: str, labels: str = "") -> Series:
    return {f'{metric}{{job="lastspan",instance="a:1"{labels}}}': values}


DIED: Final = {
    'up{job="lastspan",instance="a:1"}': "1x19 0x100",
    'lastspan_collector_started_timestamp_seconds{job="lastspan",instance="a:1"}': "-9999x19 stale",
}
LOST: Final = {"state": "lost", "cause": "worker_lost"}

# alert, story, series, and how many fire at which time. Suspects come at 1 min and go at 5 min, where nothing else is said.
CASES: Final[list[tuple[str, str, Series, Fires]]] = [
    ("LastspanJobStuck", "at once, and over a minute after", stuck("_x4 1x15 stale"), {"45s": 0, "1m": 1, "5m": 1, "7m": 0}),
    ("LastspanJobStuck", "one page while it flaps", stuck("_x4 1x7 stale _x1 1x7 stale"), {"1m": 1, "3m15s": 1, "5m": 1, "8m": 0}),
    ("LastspanJobStuck", "not over while the collector is down", DIED | stuck("1x19 stale"), {"1m": 1, "5m30s": 1, "20m": 1}),
    ("LastspanJobStuck", "what was over before it died stays over", DIED | stuck("1x7 stale"), {"1m": 1, "4m": 0, "10m": 0}),
    ("LastspanManyJobsStopAtOneThing", "five", stuck("1x20 stale") | incident("5x20 stale"), {"0s": 1, "5m": 1, "8m": 0}),
    ("LastspanManyJobsStopAtOneThing", "not four", stuck("1x20") | incident("4x20"), {"0s": 0, "5m": 0}),
    ("LastspanManyJobsStopAtOneThing", "not over while the collector is down",
     DIED | stuck("1x19 stale") | incident("500x19 stale"), {"1m": 1, "10m": 1}),
    ("LastspanDeadlock", "a circle", stuck("1x20 stale", cause="deadlock"), {"0s": 1, "8m": 0}),
    ("LastspanDeadlock", "not a plain lock", stuck("1x20", cause="lock_wait"), {"0s": 0, "5m": 0}),
    ("LastspanWorkerLost", "its jobs are open", stuck("1x20 stale", **LOST), {"0s": 1, "8m": 0}),
    ("LastspanWorkerLost", "not a frozen one", stuck("1x20", state="frozen"), {"0s": 0, "5m": 0}),
    ("LastspanLockHolderBlocksJobs", "two wait",
     stuck("1x20 stale", lock_holder="t") | stuck("1x20 stale", key="k-2", lock_holder="t"), {"0s": 1, "8m": 0}),
    ("LastspanLockHolderBlocksJobs", "not one", stuck("1x20", lock_holder="t"), {"0s": 0, "5m": 0}),
    ("LastspanJobTypeMostlyStuck", "3 of 5", jobs("3x40 0x20", "stuck") | jobs("2x60", "running"), {"45s": 0, "1m": 1, "14m": 0}),
    ("LastspanJobTypeMostlyStuck", "not 2 of 2", jobs("2x60", "stuck"), {"5m": 0}),
    ("LastspanJobTypeMostlyStuck", "not half", jobs("3x60", "stuck") | jobs("3x60", "running"), {"5m": 0}),
    ("LastspanJobOverdue", "10 min", jobs("1x60 0x40", "overdue"), {"9m45s": 0, "10m": 1, "16m": 0}),
    ("LastspanStuckAgain", "three times", total("_x10 1x4 2x4 3x100"), {"4m": 0, "6m": 1}),
    ("LastspanStuckAgain", "not twice", total("_x10 1x4 2x100"), {"10m": 0}),
    ("LastspanStuckAgain", "not while one is", total("3x40") | stuck("1x40"), {"5m": 0}),
    ("LastspanStuckBudgetBurn", "each tenth", total("0+1x200 200x300"), {"1m": 0, "20m": 1, "100m": 0}),
    ("LastspanStuckBudgetBurn", "not each thousandth", total("0+1x600", "0+1000x600"), {"20m": 0}),
    ("LastspanTimeoutMissing", "for an hour",
     {f'lastspan_lint_findings{{{WHERE},job_name="send",rule="call_without_timeout",severity="warning"}}': "1x300 0x20"},
     {"59m": 0, "60m": 1, "76m": 0}),
    ("LastspanBlind", "down for a minute", DIED, {"5m45s": 0, "6m15s": 1}),
    ("LastspanBlind", "it doubts itself", itself("lastspan_collector_blind", "0x3 1x20 0x20"), {"1m45s": 0, "2m": 1, "7m": 0}),
    ("LastspanVerdictsStale", "31 s", itself("lastspan_collector_verdict_age_seconds", "31x20 1x20"), {"45s": 0, "1m": 1, "6m": 0}),
    ("LastspanVerdictsStale", "not 30 s", itself("lastspan_collector_verdict_age_seconds", "30x40"), {"5m": 0}),
    ("LastspanRecordsDropped", "for 5 min",
     itself("lastspan_collector_dropped_total", "0+1x60 60x60", ',reason="full"'), {"4m": 0, "8m": 1, "22m": 0}),
    ("LastspanJobSeriesTruncated", "one", itself("lastspan_job_series_truncated", "0x3 1x20 0x20"), {"1m45s": 0, "2m": 1, "7m": 0}),
    ("LastspanWatchdog", "always", {}, {"0s": 1, "60m": 1}),
]  # fmt: skip

NASTY: Final = ['"} or vector(1) #', "{{ $labels.job_key }}", "a\nb\\n", "`%q`", "‮ 🦄 é", "x" * 10240, "<!channel>&"]


def promtool(tmp_path: Path, tests: list[dict[str, Any]], rules: str | None = None) -> str:
    """Run promtool over *tests*; return what it says of those that fail."""
    (tmp_path / "rules.yml").write_text(rules or (GENERATED / "rules.yml").read_text())
    file = tmp_path / "tests.yml"
    tree = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": tests}
    file.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    command = [os.environ.get("PROMTOOL") or program("promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_of(series: Series, **checks: Any) -> dict[str, Any]:
    given = [{"series": name, "values": values} for name, values in {**UP, **series}.items()]
    return {"interval": "15s", "input_series": given, **checks}


test_of.__test__ = False  # type: ignore[attr-defined]


def firing(alert: str, at: str, number: int) -> dict[str, Any]:
    samples = [{"labels": "{}", "value": number}] if number else []
    return {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
        "eval_time": at,
        "exp_samples": samples,
    }


def test_each_alert_fires_not_below_and_ends(tmp_path: Path) -> None:
    tests = [
        test_of(series, name=f"{alert}, {story}", promql_expr_test=[firing(alert, at, n) for at, n in fires.items()])
        for alert, story, series, fires in CASES
    ]
    assert promtool(tmp_path, tests) == ""
    assert {case[0] for case in CASES} == set(alert_names())


def test_the_cases_can_fail(tmp_path: Path) -> None:
    """The tool compares: the opposite of a case is refused."""
    assert "FAILED" in promtool(
        tmp_path, [test_of(CASES[0][2], promql_expr_test=[firing("LastspanJobStuck", "1m", 0)])]
    )


def test_annotations_read_as_agreed(tmp_path: Path) -> None:
    """All labels and texts of each alert, as promtool shows them; `GOLDEN=1` writes them anew, to be read."""
    first = {alert: (series, max(fires, key=lambda at: fires[at])) for alert, _, series, fires in reversed(CASES)}
    said = []
    for alert, (series, at) in sorted(first.items()):
        check = {"eval_time": at, "alertname": alert, "exp_alerts": []}
        shown = promtool(tmp_path, [test_of(series, alert_rule_test=[check])]).partition("got:")[2]
        said.append(f"{alert} at {at}\n{re.sub('^ +', '  ', shown.strip(), flags=re.M)}\n")
    if os.environ.get("GOLDEN"):
        GOLDEN.write_text("\n".join(said))
    if not os.environ.get("PROMTOOL"):  # others write it in another form
        assert "\n".join(said) == GOLDEN.read_text()


def test_one_is_not_many() -> None:
    """Where promtool's stories have one job, the texts say `1 job`."""
    text = GOLDEN.read_text()
    assert "with 1 job open" in text
    assert not re.findall(r"\b1 (?:jobs|suspects|times)\b", text)


@pytest.mark.parametrize("value", NASTY)
def test_no_value_of_a_job_breaks_a_rule(tmp_path: Path, value: str) -> None:
    """Names and facts that are quotes, templates, newlines: one alert, as with any other; they stay text."""
    series = stuck("1x20", name=value, last_span=value, code=value, lock_holder=value)
    check = {"eval_time": "1m", "alertname": "LastspanJobStuck", "exp_alerts": []}
    assert promtool(tmp_path, [test_of(series, promql_expr_test=[firing("LastspanJobStuck", "1m", 1)])]) == ""
    shown = promtool(tmp_path, [test_of(series, alert_rule_test=[check])])
    assert "error expanding template" not in shown.lower()


def test_the_committed_files_are_those_of_the_defaults() -> None:
    """`make alerts` writes them."""
    assert {path.name: path.read_text() for path in GENERATED.iterdir()} == build(AlertSettings())


def test_rules_name_declared_metrics_only() -> None:
    text = build(AlertSettings())["rules.yml"]
    known = set(METRICS) | {name + part for name in METRICS for part in ("_bucket", "_sum", "_count")}
    assert set(re.findall(r"\blastspan_[a-z_]+", text)) <= known


def test_the_other_forms_say_the_same() -> None:
    built = build(AlertSettings())
    rules = yaml.safe_load(built["rules.yml"])["groups"]
    operators = yaml.safe_load(built["prometheusrule.yml"])["spec"]["groups"]
    assert {group.pop("interval") for group in operators} == {"15s"}
    assert operators == rules
    mixin = json.loads(built["mixin.libsonnet"].partition("\n")[2])
    names = [rule["alert"] for group in mixin["prometheusAlerts+"]["groups+"] for rule in group["rules"]]
    assert names == [rule["alert"] for group in rules for rule in group["rules"] if "alert" in rule]
    managed = [rule for group in yaml.safe_load(built["grafana-rules.yml"])["groups"] for rule in group["rules"]]
    assert len({rule["uid"] for rule in managed}) == len(managed) == len(names)
    assert not [rule["title"] for rule in managed if "query" in json.dumps(rule["annotations"])]


def test_each_alert_has_a_runbook_and_no_runbook_is_left_over() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(alert_names())


@pytest.mark.parametrize(
    "pair",
    [
        "many", "many=x", "many=0", "nothing=1", "hold=soon", "severity.X=page", "severity=page", "route.page=fax",
        # What promtool or amtool would refuse later, and what no reader could follow.
        "wait.LastspanJobOverdue=9999999999d", "group_interval=0s", "email_smarthost=mail", "scrape_job=",
        "watchdog_url=x", "collector_url=", "collector_url=javascript:alert(1)", "webhook_url=file:///etc/passwd",
        "grafana_url=https://a b", "trace_url=https://t/", "trace_url=https://t/{trace_id}{x}", "scrape_job=a\\b",
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_its_key(pair: str) -> None:
    with pytest.raises(SettingError, match=pair.partition("=")[0]):
        with_pairs([pair], alert_names())


def test_settings_reach_the_rules() -> None:
    pairs = ["many=7", "severity.LastspanJobOverdue=info", "wait.LastspanJobOverdue=1h", "extra_labels=cluster"]
    overdue = next(
        rule
        for group in yaml.safe_load(build(with_pairs(pairs, alert_names()))["rules.yml"])["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "LastspanJobOverdue"
    )
    assert (overdue["for"], overdue["labels"]["severity"]) == ("1h", "info")
    assert "by (cluster," in overdue["expr"]
    assert groups(AlertSettings(many=7))[0].alerts[0].expr.startswith("sum by (environment, incident)")
