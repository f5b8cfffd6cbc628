"""Settings: flags, then `LASTSPAN_*`, then the file, then defaults; checked at start, in their writer's words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from lastspan.semconv import duration
from lastspan.semconv.attributes import CALL_ATTRIBUTES

from . import probe
from .alert import AlertmanagerSetting, AlertmanagerTarget, SettingError
from .alert import target as alertmanagers
from .learn import Learner, Learning
from .policy import Defaults, Match, Policy, Rule
from .track import Limits


class ConfigError(Exception):
    """A setting is wrong; the message says which, and what to write."""


class RuleSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `rules`."""

    allowed: str | float
    match: Match = Match()


class DefaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`defaults`: allowed durations by kind."""

    job: str | float = "1h"
    http: str | float = "60s"
    db: str | float = "60s"
    lock: str | float = "30s"
    other: str | float | None = None
    """None: as long as the job."""


class ProbeSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `postgres` or `mysql`: a database server that is asked who blocks whom."""

    dsn: str | None = None
    """Its URL; with a password better by one of the next two."""
    dsn_env: str | None = None
    """The environment variable that holds it."""
    dsn_file: str | None = None
    """The file that holds it."""
    name: str | None = None
    """In logs and metrics; None: its host:port."""
    servers: list[str] = []
    """host:port by which workers know it, if that differs from the URL's: an alias, a pooler."""
    interval: str | float = "2s"
    timeout: str | float = "2s"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. Addresses are HOST:PORT; port 0 is any free one, "off" is none."""

    otlp_grpc: str = "127.0.0.1:4317"
    otlp_http: str = "127.0.0.1:4318"
    web: str = "127.0.0.1:9417"
    rules: list[RuleSetting] = []
    defaults: DefaultSettings = DefaultSettings()
    silent_after: float = 3.0
    """Report intervals without a word after which a process is silent."""
    lost_keep: str | float = "1h"
    """A lost job becomes `ended` after so long."""
    ended_keep: str | float = "15m"
    """Jobs that ended are shown for so long."""
    max_open_spans: int = 1_000_000
    """New spans beyond it are refused."""
    max_body: int = 16 * 1024 * 1024
    """Bytes of a request, also after decompression."""
    max_in_flight: int = 64 * 1024 * 1024
    """Bytes of all requests that are being received."""
    evidence_max: int = 16 * 1024
    """Bytes of a stack that are kept for a span."""
    evidence_total: int = 256 * 1024 * 1024
    """Bytes of stacks that are kept in all."""
    postgres: list[ProbeSetting] = []
    mysql: list[ProbeSetting] = []
    alertmanager: AlertmanagerSetting = AlertmanagerSetting()
    learning: Learning = Learning()
    """What finished runs teach: `enabled: false` switches it off; the others are constants."""
    data_dir: str | None = None
    """Where the state is kept; None: it is forgotten at the end."""
    data_sync: str | float = "1s"
    """What is written reaches the disk after so long at most; 0: at each write."""
    data_log_max: int = 32 * 1024 * 1024
    """Bytes of log after which the whole state is written anew (or twice the size of that, if it is more)."""
    trace_url: str | None = None
    """Where a job's page finds its trace; {trace_id}, {span_id}, {job_id} and {job_key} are put in."""
    grafana_url: str | None = None
    """Of a Grafana with lastspan's dashboards, to which a job's page leads; None: it leads to none."""
    log_level: str = "info"

    def learner(self) -> Learner:
        """Return what learns."""
        return Learner(self.learning)

    def policy(self, learner: Learner | None = None) -> Policy:
        """Return how long spans may be open."""
        defaults = Defaults(
            **{
                f"{kind}_ns": _duration(f"defaults.{kind}", value)
                for kind in ("job", "http", "db", "lock", "other")
                if (value := getattr(self.defaults, kind)) is not None
            }
        )
        rules = (
            Rule(rule.match, _duration(f"rules[{index}].allowed", rule.allowed), _text(index, rule))
            for index, rule in enumerate(self.rules)
        )
        return Policy(tuple(rules), defaults, learner)

    def sync_s(self) -> float:
        """Return after how long at most what is written reaches the disk."""
        return _duration("data_sync", self.data_sync) / 1e9

    def limits(self) -> Limits:
        """Return what bounds the memory."""
        return Limits(
            max_open_spans=self.max_open_spans,
            evidence_bytes=self.evidence_max,
            evidence_total=self.evidence_total,
            silent_after=self.silent_after,
            lost_keep_ns=_duration("lost_keep", self.lost_keep),
            ended_keep_ns=_duration("ended_keep", self.ended_keep),
        )

    def probes(self) -> tuple[probe.Target, ...]:
        """Return which database servers may be asked; reads their URLs from the environment and from files."""
        return tuple(
            _target(system, f"{system}[{index}]", setting)
            for system in ("postgres", "mysql")
            for index, setting in enumerate(getattr(self, system))
        )

    def alertmanagers(self) -> AlertmanagerTarget:
        """Return to whom alerts are posted."""
        try:
            return alertmanagers(self.alertmanager, grafana_url=self.grafana_url or "")
        except SettingError as problem:
            raise ConfigError(f"alertmanager.{problem}") from None


LOG_LEVELS = ("debug", "info", "warning", "error")


def load(
    flags: Mapping[str, Any], *, file: str | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings; ConfigError if one is wrong."""
    environment = os.environ if environment is None else environment
    told = {name: value for name, value in flags.items() if value is not None}
    from_environment = {
        name: environment[f"LASTSPAN_{name.upper()}"] for name in _SIMPLE if environment.get(f"LASTSPAN_{name.upper()}")
    }
    path = file or environment.get("LASTSPAN_CONFIG") or ("lastspan.yaml" if Path("lastspan.yaml").exists() else None)
    settings = _read(path) if path else {}
    for name, value in from_environment.items():
        settings[name] = _typed(f"LASTSPAN_{name.upper()}", name, value)
    return check({**settings, **told}, path or "settings")


def check(settings: Mapping[str, Any], source: str) -> Settings:
    """Return *settings* as a checked tree."""
    try:
        result = msgspec.convert(settings, Settings)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"{source}: {_words(str(problem))}") from None
    try:
        _check_values(result)
    except ConfigError as problem:
        raise ConfigError(f"{source}: {problem}") from None
    return result


def show(settings: Settings) -> str:
    """Return the settings as a config file."""
    tree = msgspec.to_builtins(settings)
    for rule in tree["rules"]:
        rule["match"] = {key: value for key, value in rule["match"].items() if value is not None}
    for system in ("postgres", "mysql"):
        tree[system] = [_shown(setting) for setting in tree[system]]
    tree["alertmanager"] = {key: value for key, value in tree["alertmanager"].items() if value is not None}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def split_address(key: str, address: str) -> tuple[str, int] | None:
    """Return host and port of an address; None: it is off."""
    if address == "off":
        return None
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f'{key}: "{address}" is not an address; write HOST:PORT (port 0: any free one) or off')
    return host.strip("[]") or "127.0.0.1", int(port)


_SIMPLE = (
    "otlp_grpc",
    "otlp_http",
    "web",
    "silent_after",
    "lost_keep",
    "ended_keep",
    "max_open_spans",
    "max_body",
    "max_in_flight",
    "evidence_max",
    "evidence_total",
    "data_dir",
    "data_sync",
    "data_log_max",
    "trace_url",
    "grafana_url",
    "log_level",
)
"""What can be set by the environment too."""
_INTEGERS = {"data_log_max", "max_open_spans", "max_body", "max_in_flight", "evidence_max", "evidence_total"}


def _read(path: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    except yaml.YAMLError as problem:
        where = f", line {mark.line + 1}" if (mark := getattr(problem, "problem_mark", None)) else ""
        raise ConfigError(f"{path}: is not YAML{where}: {getattr(problem, 'problem', problem)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: is not a list of settings; write key: value")
    return tree


def _typed(source: str, name: str, value: str) -> str | int | float:
    if name not in _INTEGERS and name != "silent_after":
        return value
    try:
        return int(value) if name in _INTEGERS else float(value)
    except ValueError:
        raise ConfigError(f'{source}: "{value}" is not a number') from None


def _check_values(settings: Settings) -> None:
    settings.policy()
    settings.limits()
    _check_probes(settings.probes())
    settings.alertmanagers()
    for name in ("otlp_grpc", "otlp_http", "web"):
        split_address(name, getattr(settings, name))
    _duration("data_sync", settings.data_sync)
    _check_rules(settings.rules)
    _check_learning(settings.learning)
    if not 1 <= settings.silent_after <= 1000:
        raise ConfigError(f"silent_after: {settings.silent_after:g} is not between 1 and 1000 report intervals")
    if settings.log_level not in LOG_LEVELS:
        raise ConfigError(f'log_level: "{settings.log_level}" is none of {", ".join(LOG_LEVELS)}')
    _check_trace_url(settings.trace_url)
    _check_url("grafana_url", settings.grafana_url, "https://grafana.example")
    for name in sorted(_INTEGERS):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name}: {getattr(settings, name)} is too small; write a number from 1 on")


def _check_trace_url(url: str | None) -> None:
    _check_url("trace_url", url, "https://…/{trace_id}")
    if url is not None and "{trace_id}" not in url:
        raise ConfigError(f'trace_url: "{url}" says nowhere where the id goes; write {{trace_id}} in its place')


def _check_url(key: str, url: str | None, example: str) -> None:
    if url is not None and not url.startswith(("https://", "http://")):
        raise ConfigError(f'{key}: "{url}" is not a URL; write {example}')


def _target(system: str, key: str, setting: ProbeSetting) -> probe.Target:
    source, text = _dsn_text(key, setting)
    try:
        dsn = probe.parse(system, text)
    except ValueError as problem:
        raise ConfigError(f"{key}.{source}: {problem}") from None
    if (library := probe.missing_library(system)) is not None:
        raise ConfigError(f"{key}: needs pip install 'lastspan[probes]' ({library} is missing)")
    for index, server in enumerate(setting.servers):
        if split_address(f"{key}.servers[{index}]", server) is None:
            raise ConfigError(f'{key}.servers[{index}]: "off" is not a server; write HOST:PORT')
    return probe.Target(
        system=system,
        name=setting.name or dsn.address,
        dsn=dsn,
        servers=tuple(setting.servers) or (dsn.address,),
        interval_ns=_positive(f"{key}.interval", setting.interval),
        timeout_s=_positive(f"{key}.timeout", setting.timeout) / 1e9,
    )


def _dsn_text(key: str, setting: ProbeSetting) -> tuple[str, str]:
    """Return the key that leads to the URL, and the URL."""
    told = [name for name in ("dsn", "dsn_env", "dsn_file") if getattr(setting, name) is not None]
    if len(told) != 1:
        problem = " and ".join(told) + " are both set" if told else "says nowhere where the database is"
        raise ConfigError(f"{key}: {problem}; write one of dsn, dsn_env, dsn_file")
    source, value = told[0], getattr(setting, told[0])
    if source == "dsn_env":
        value = os.environ.get(variable := value, "")
        if not value:
            shown = probe.masked(variable) if "://" in variable else variable  # a URL, by mistake
            raise ConfigError(f"{key}.dsn_env: the environment has no {shown}; set it to the database's URL")
    elif source == "dsn_file":
        try:
            value = Path(file := value).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            words = getattr(problem, "strerror", None) or "it is not text"
            shown = probe.masked(file) if "://" in file else file
            raise ConfigError(f"{key}.dsn_file: {shown} cannot be read: {words}") from None
    return source, value.strip()


def _check_probes(targets: tuple[probe.Target, ...]) -> None:
    seen: set[str] = set()
    for target in targets:
        if target.name in seen:
            raise ConfigError(f'{target.system}: two servers are called "{target.name}"; give one another name')
        seen.add(target.name)


def _shown(setting: dict[str, Any]) -> dict[str, Any]:
    """Return a probe's setting as it may be shown."""
    shown = {key: value for key, value in setting.items() if value is not None}
    return {**shown, "dsn": probe.masked(shown["dsn"])} if "dsn" in shown else shown


def _positive(key: str, value: str | float) -> int:
    duration_ns = _duration(key, value)
    if duration_ns < 100_000_000:
        raise ConfigError(f"{key}: {value} is too short; write 100ms or more")
    return duration_ns


def _check_rules(rules: list[RuleSetting]) -> None:
    for index, rule in enumerate(rules):
        for name in rule.match.attributes or ():
            if name not in CALL_ATTRIBUTES:
                raise ConfigError(
                    f"rules[{index}].match.attributes: workers do not send {name}; docs/semconv.md lists what they do"
                )


def _check_learning(learning: Learning) -> None:
    for name in ("factor", "slow", "trust", "hint_runs", "reach", "recent_runs", "deploy_runs", "max_keys"):
        if getattr(learning, name) < 1:
            raise ConfigError(f"learning.{name}: {getattr(learning, name):g} is less than 1")
    for name, least in (("quantile", 0.5), ("new_normal", 0.05)):
        if not least <= getattr(learning, name) < 1:
            raise ConfigError(f"learning.{name}: {getattr(learning, name):g} is not between {least:g} and 1")
    for name in ("reserve", "caution", "floor_job_s", "floor_span_s", "floor_defaults"):
        if getattr(learning, name) < 0:
            raise ConfigError(f"learning.{name}: {getattr(learning, name):g} is less than 0")
    if learning.half_life_days <= 0:
        raise ConfigError(f"learning.half_life_days: {learning.half_life_days:g} is not more than 0")
    if learning.min_runs < learning.hint_runs:
        raise ConfigError(f"learning.min_runs: {learning.min_runs} is less than hint_runs")


def _duration(key: str, value: str | float) -> int:
    try:
        return round(duration.parse(value) * 1e9)
    except ValueError as problem:
        raise ConfigError(f"{key}: {problem}") from None


def _text(index: int, rule: RuleSetting) -> str:
    told = {name: value for name, value in msgspec.to_builtins(rule.match).items() if value is not None}
    told |= told.pop("attributes", {})
    match = ", ".join(f"{name}={value}" for name, value in told.items())
    return f"rules[{index}]: {match or 'everything'}"


def _words(problem: str) -> str:
    """Turn msgspec's message into one that begins with the key."""
    message, separator, path = problem.partition(" - at `$")
    if "unknown field" in message:
        field = message.rpartition("unknown field ")[2].strip("`")
        message, path = "is not a setting", f"{path.rstrip('`')}.{field}"
    return f"{path.rstrip('`').lstrip('.')}: {message}" if separator or path else message


__all__ = ["ConfigError", "Settings", "check", "load", "show", "split_address"]
