"""Settings: flags, then `LASTSPAN_*`, then the file, then defaults; checked at start; errors name the user's key.

What means something to one room only (`learning`, a rule's `match`, `alertmanager`) is declared there, and joined here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
import yaml

from lastspan.semconv import duration
from lastspan.semconv.attributes import CALL_ATTRIBUTES

from .. import probe
from ..judge.policy import Defaults, Match, Policy, Rule
from ..model.records import Kind
from ..publish.alert import AlertmanagerSetting, AlertmanagerTarget, SettingError
from ..publish.alert import target as alertmanagers
from ..track import Limits
from ..track.learn import Learner, Learning


class ConfigError(Exception):
    """A setting is wrong; the message says which, and what to write."""


class RuleSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `rules`."""

    allowed: str | float
    """How long what matches may be open."""
    match: Match = Match()
    """What it applies to; left out: every job."""


class DefaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`defaults`: allowed durations by kind."""

    job: str | float = "1h"
    """A job as a whole."""
    http: str | float = "60s"
    """An HTTP or RPC call."""
    db: str | float = "60s"
    """A call of a database."""
    lock: str | float = "30s"
    """A wait for a lock."""
    other: str | float | None = None
    """All other spans; none: as long as the job."""


class ProbeSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `postgres` or `mysql`: a database server that is asked who blocks whom."""

    dsn: str | None = None
    """Its URL; with a password better by one of the next two."""
    dsn_env: str | None = None
    """The environment variable that holds it."""
    dsn_file: str | None = None
    """The file that holds it."""
    name: str | None = None
    """What it is called in logs and metrics; none: its host:port."""
    servers: list[str] = []
    """host:port by which workers know it, if that differs from the URL's: an alias, a pooler."""
    interval: str | float = "2s"
    """Between two looks; 100 ms at least."""
    timeout: str | float = "2s"
    """Of a look, the connection included; 100 ms at least."""


class CollectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. Addresses are HOST:PORT; port 0 is any free one, "off" is none."""

    otlp_grpc: str = "127.0.0.1:4317"
    """Where it listens for OTLP over gRPC."""
    otlp_http: str = "127.0.0.1:4318"
    """Where it listens for OTLP over HTTP."""
    web: str = "127.0.0.1:9417"
    """Where it answers: pages, API, metrics."""
    rules: list[RuleSetting] = []
    """How long a job or a call may take; the first that matches counts."""
    defaults: DefaultSettings = DefaultSettings()
    """How long, where nothing is declared, no rule matches and nothing is learned."""
    silent_after: float = 3.0
    """Report intervals without a word after which a process is silent: 1 … 1000, and 6 s at least. One whose last word
    was that native code kept it from speaking has up to a minute more."""
    lost_keep: str | float = "1h"
    """A lost job becomes `ended` after so long."""
    ended_keep: str | float = "15m"
    """Jobs that ended are shown for so long."""
    max_open_spans: int = 1_000_000
    """New spans beyond it are refused (partial success); closes, and news of known spans, are not."""
    max_body: int = 16 * 1024 * 1024
    """Bytes of a request, also after decompression."""
    max_in_flight: int = 64 * 1024 * 1024
    """Bytes of all requests that are being received."""
    evidence_max: int = 16 * 1024
    """Bytes of a stack that are kept for a span."""
    evidence_total: int = 256 * 1024 * 1024
    """Bytes of stacks that are kept in all."""
    postgres: list[ProbeSetting] = []
    """PostgreSQL servers that are asked who blocks whom, while a span that waits for one is late."""
    mysql: list[ProbeSetting] = []
    """The same, of MySQL and MariaDB."""
    alertmanager: AlertmanagerSetting = AlertmanagerSetting()
    """Alerts that the collector posts itself, where no Prometheus does; off by default."""
    learning: Learning = Learning()
    """What finished runs teach: `enabled: false` switches it off; the others are constants."""
    data_dir: str | None = None
    """The folder where the state is kept; none: it is forgotten at the end, and that is said at the start."""
    data_sync: str | float = "1s"
    """What is written reaches the disk after so long at most; 0: at each write."""
    data_log_max: int = 32 * 1024 * 1024
    """Bytes of log after which the whole state is written anew (or twice the size of that, if it is more)."""
    trace_url: str | None = None
    """Where a job's page finds its trace; {trace_id}, {span_id}, {job_id} and {job_key} are put in."""
    grafana_url: str | None = None
    """Of a Grafana with lastspan's dashboards, to which a job's page leads; none: it leads to none."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def learner(self) -> Learner:
        """Return what learns."""
        return Learner(self.learning)

    def policy(self, learner: Learner | None = None) -> Policy:
        """Return how long spans may be open."""
        defaults = Defaults(
            **{
                f"{kind}_ns": _duration(f"defaults.{kind}", value)
                for kind in Kind
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
) -> CollectorSettings:
    """Return the settings; ConfigError if one is wrong."""
    environment = os.environ if environment is None else environment
    told = {name: value for name, value in flags.items() if value is not None}
    from_environment = {
        name: environment[f"LASTSPAN_{name.upper()}"] for name in SIMPLE if environment.get(f"LASTSPAN_{name.upper()}")
    }
    path = file or environment.get("LASTSPAN_CONFIG") or ("lastspan.yaml" if Path("lastspan.yaml").exists() else None)
    settings = _read(path) if path else {}
    for name, value in from_environment.items():
        settings[name] = _typed(f"LASTSPAN_{name.upper()}", name, value)
    whole, source = {**settings, **told}, path or "settings"
    try:
        return check(whole, source)
    except ConfigError as problem:
        key = _key_of(str(problem), source)
        if key in from_environment and key not in told:
            raise ConfigError(f"LASTSPAN_{key.upper()}: {str(problem).removeprefix(f'{source}: ')}") from None
        raise


def check(settings: Mapping[str, Any], source: str) -> CollectorSettings:
    """Return *settings* as a checked tree."""
    addresses = {name: "off" for name in _ADDRESSES if settings.get(name) is False}  # YAML reads `off` as false
    try:
        result = msgspec.convert({**settings, **addresses}, CollectorSettings)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"{source}: {_words(str(problem))}") from None
    try:
        _check_values(result)
    except ConfigError as problem:
        raise ConfigError(f"{source}: {problem}") from None
    return result


def show(settings: CollectorSettings, *, is_ascii: bool = False) -> str:
    """Return the settings as a config file."""
    tree = msgspec.to_builtins(settings)
    for rule in tree["rules"]:
        rule["match"] = {key: value for key, value in rule["match"].items() if value is not None}
    for system in ("postgres", "mysql"):
        tree[system] = [_shown(setting) for setting in tree[system]]
    tree["alertmanager"] = {key: value for key, value in tree["alertmanager"].items() if value is not None}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=not is_ascii)


def split_address(key: str, address: str) -> tuple[str, int] | None:
    """Return host and port of an address; None: it is off."""
    if address == "off":
        return None
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f'{key}: "{address}" is not an address; write HOST:PORT (port 0: any free one) or off')
    return host.strip("[]") or "127.0.0.1", int(port)


_ADDRESSES = ("otlp_grpc", "otlp_http", "web")
SIMPLE = (
    *_ADDRESSES,
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
_MOST = {"max_body": (1 << 31) - 1}
"""What gRPC can take; of the others, what no machine has."""
_LONGEST_S = 100 * 365 * 86_400.0


class _Loader(yaml.SafeLoader):
    """YAML in which a key comes once: of two, one would be lost in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping."""
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} comes twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(path: str) -> dict[str, Any]:
    try:
        tree = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read: {getattr(problem, 'strerror', None) or problem}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep") from None
    except yaml.YAMLError as problem:
        where = f", line {mark.line + 1}" if (mark := getattr(problem, "problem_mark", None)) else ""
        words = " ".join(str(getattr(problem, "problem", problem)).split())
        raise ConfigError(f"{path}: is not YAML{where}: {words}") from None
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


def _check_values(settings: CollectorSettings) -> None:
    settings.policy()
    settings.limits()
    _check_probes(settings.probes())
    settings.alertmanagers()
    for name in _ADDRESSES:
        split_address(name, getattr(settings, name))
    if settings.data_dir is not None and (not settings.data_dir.strip() or "\0" in settings.data_dir):
        raise ConfigError(f"data_dir: {settings.data_dir!r} is not a folder; write one, or leave it out")
    _duration("data_sync", settings.data_sync)
    _check_rules(settings.rules)
    _check_learning(settings.learning)
    if not 1 <= settings.silent_after <= 1000:
        raise ConfigError(f"silent_after: {settings.silent_after:g} is not between 1 and 1000 report intervals")
    if settings.log_level not in LOG_LEVELS:
        raise ConfigError(f'log_level: "{settings.log_level}" is not one of {", ".join(LOG_LEVELS)}')
    _check_trace_url(settings.trace_url)
    _check_url("grafana_url", settings.grafana_url, "https://grafana.example")
    for name in sorted(_INTEGERS):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name}: {getattr(settings, name)} is too small; write a number from 1 on")
        if getattr(settings, name) > (most := _MOST.get(name, 1 << 48)):
            raise ConfigError(f"{name}: {getattr(settings, name)} is too big; write {most} or less")


def _check_trace_url(url: str | None) -> None:
    _check_url("trace_url", url, "https://…/{trace_id}")
    if url is not None and "{trace_id}" not in url:
        raise ConfigError(f'trace_url: "{url}" has no place for the id; write {{trace_id}} in its place')


def _check_url(key: str, url: str | None, example: str) -> None:
    if url is not None and not url.startswith(("https://", "http://")):
        raise ConfigError(f'{key}: "{url}" is not a URL; write {example}')
    if url is not None and "@" in urlsplit(url).netloc:
        raise ConfigError(f"{key}: contains a user or password that everybody who sees a page could read; leave it out")


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
    for name, value in msgspec.structs.asdict(learning).items():
        if not math.isfinite(value) or value > 1e9:
            raise ConfigError(f"learning.{name}: {value} is not a number up to 1e9")
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
        seconds = duration.parse(value)
    except ValueError as problem:
        raise ConfigError(f"{key}: {problem}") from None
    if seconds > _LONGEST_S:
        raise ConfigError(f"{key}: {value} is more than 100 years; write 90s, 10m, 1h30m")
    return round(seconds * 1e9)


def _text(index: int, rule: RuleSetting) -> str:
    told = {name: value for name, value in msgspec.to_builtins(rule.match).items() if value is not None}
    told |= told.pop("attributes", {})
    match = ", ".join(f"{name}={value}" for name, value in told.items())
    return f"rules[{index}]: {match or 'everything'}"


def _words(problem: str) -> str:
    """Turn msgspec's message into one that begins with the key, in words of YAML."""
    message, separator, path = problem.partition(" - at `")
    path = path.rstrip("`").removeprefix("$")
    if path.startswith("key` in `$"):
        return f"{path.removeprefix('key` in `$').lstrip('.') or 'a key'}: is not text; put it into quotes"
    if "unknown field" in message:
        field = message.rpartition("unknown field ")[2].strip("`")
        near = get_close_matches(field, _known(path), 1)
        message, path = "is not a setting" + (f"; did you mean {near[0]}?" if near else ""), f"{path}.{field}"
    elif message.startswith("Invalid enum value"):
        message += f"; write one of {', '.join(kind.value for kind in Kind)}"
    for word, plain in _PLAIN.items():
        message = message.replace(word, plain)
    return f"{path.lstrip('.')}: {message}" if separator or path else message


_PLAIN = {"`array`": "a list", "`object`": "`key: value` pairs", "Object missing": "is missing the"}


def _known(path: str) -> Iterable[str]:
    """Return the keys that are allowed at a path of msgspec's, such as `.rules[0].match`."""
    kind: Any = CollectorSettings
    for name in (part.partition("[")[0] for part in path.split(".") if part):
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.name == name), None)
        kind = get_args(kind)[0] if get_origin(kind) is list else kind
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return ()
    return [field.name for field in msgspec.structs.fields(kind)]


def _key_of(problem: str, source: str) -> str:
    """Return the setting that a message is about."""
    return problem.removeprefix(f"{source}: ").partition(":")[0].partition(".")[0].partition("[")[0]


__all__ = ["CollectorSettings", "ConfigError", "check", "load", "show", "split_address"]
