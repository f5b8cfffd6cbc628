"""Writes the reference of all settings: `python -m docs.generate.configuration > docs/configuration.md`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from enum import Enum
from types import UnionType
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import click
import msgspec

from lastspan.alerts import settings as alerts
from lastspan.collector.cli.main import cli
from lastspan.collector.judge.policy import Match
from lastspan.collector.publish.alert import AlertmanagerSetting
from lastspan.collector.publish.alert.setting import KNOWN
from lastspan.collector.serve import config
from lastspan.collector.track.learn import Learning
from lastspan.dashboards.command import dashboards
from lastspan.instrumentation.config import environment_variables
from lastspan.instrumentation.config.settings import WorkerSettings
from lastspan.semconv.tables import table

from .meanings import meanings

_PREFIX: Final = "OTEL_LASTSPAN_"
WORDS: Final = {
    "OTEL_LASTSPAN_ENABLED": "`true`",
    "OTEL_LASTSPAN_ENDPOINT": "where the process's OTLP goes",
    "OTEL_LASTSPAN_RECORD": "`all`",
    "OTEL_LASTSPAN_SPANS": "`jobs`",
}
"""Defaults of a worker that are no numbers."""
SECTIONS: Final[dict[str, tuple[str, type]]] = {
    "rules": ("`rules`, a list of", config.RuleSetting),
    "match": ("`match` of a rule", Match),
    "defaults": ("`defaults`", config.DefaultSettings),
    "postgres": ("`postgres` and `mysql`, lists of", config.ProbeSetting),
    "alertmanager": ("`alertmanager`", AlertmanagerSetting),
    "learning": ("`learning`", Learning),
}
"""Settings that have settings of their own."""


class Row(NamedTuple):
    """One setting."""

    name: str
    kind: str
    default: str
    meaning: str


def render() -> str:
    """Return the whole page as Markdown."""
    return "\n".join(
        [
            "# Configuration",
            "",
            "Written by `make docs` from the types of the settings; do not edit.",
            "",
            "Durations are written `90s`, `10m`, `1h30m`, `250ms`, or as plain seconds. A wrong setting stops the",
            "collector's start, and the message names it; in a worker the log names it, and the default counts.",
            "",
            *_collector(),
            *_worker(),
            *_commands(),
            *_alerts(),
        ]
    )


def _collector() -> Iterator[str]:
    yield from ("## The collector", "")
    yield "Flags go before `LASTSPAN_*` variables, those before the file, the file before the defaults. The file is"
    yield "that of `--config` or `LASTSPAN_CONFIG`, else `lastspan.yaml` where the collector is started. A key that is"
    yield "not here is refused. `lastspan collector --print-config` shows what results. Addresses are HOST:PORT; port 0"
    yield "is any free one, `off` is none."
    yield "Why and when to change them: [collector/README.md](../collector/README.md#settings)."
    yield ""
    flags = {param.name: param.opts[0] for param in cli.commands["collector"].params}
    head = ("key", "type", "default", "flag", "variable", "meaning")
    rows = (
        (f"`{row.name}`", row.kind, row.default, _code(flags.get(row.name)), _code(_variable(row.name)), row.meaning)
        for row in of_struct(config.CollectorSettings)
    )
    yield from table(head, rows)
    for title, struct in SECTIONS.values():
        yield from ("", f"### {title}", "")
        yield from _rows("key", of_struct(struct))
        if struct is AlertmanagerSetting:
            known = ", ".join(f"`{name}`" for name in KNOWN)
            yield from ("", f"`alerts` takes these of the settings of [the alerts](#the-alerts): {known}.")
    yield ""


def _worker() -> Iterator[str]:
    yield from ("## The worker", "")
    yield "Environment variables, each also a flag of the wrapper: `opentelemetry-instrument --lastspan_interval 5 …`."
    yield "Which of OpenTelemetry's own count: [instrumentation/README.md](../instrumentation/README.md#settings)."
    yield ""
    yield from _rows("variable", of_worker())
    yield ""


def _commands() -> Iterator[str]:
    yield from ("## The other commands", "")
    yield "Variables that stand for a flag:"
    yield ""
    yield from table(("variable", "flag", "of"), sorted(of_commands()))
    yield ""


def _alerts() -> Iterator[str]:
    yield from ("## The alerts", "")
    yield "`lastspan alerts build --set KEY=VALUE`; `severity.ALERT=…`, `wait.ALERT=…` and `route.SEVERITY=…` set one"
    yield "of several. Durations are written as Prometheus writes them. More: [alerts/README.md](../alerts/README.md)."
    yield ""
    yield from _rows("key", of_alerts())
    yield ""


def of_struct(struct: type) -> Iterator[Row]:
    """Yield the settings of a part of the collector's tree."""
    told = meanings(struct)
    for field in msgspec.structs.fields(struct):
        yield Row(field.name, _kind(field.type), _default(field), told.get(field.name, ""))


def of_worker() -> Iterator[Row]:
    """Yield the settings of a worker."""
    defaults = dataclasses.asdict(WorkerSettings())
    for name, meaning in meanings(environment_variables).items():
        default = defaults.get(name.removeprefix(_PREFIX).lower())
        kind = "text" if default is None else "seconds"
        yield Row(name, kind, WORDS[name] if default is None else f"`{default:g}`", meaning)


def of_alerts() -> Iterator[Row]:
    """Yield the settings of the alerts."""
    told, kinds, defaults = meanings(alerts.AlertSettings), get_type_hints(alerts.AlertSettings), alerts.AlertSettings()
    for field in dataclasses.fields(alerts.AlertSettings):
        yield Row(field.name, _kind(kinds[field.name]), _shown(getattr(defaults, field.name)), told.get(field.name, ""))


def of_commands() -> Iterator[tuple[str, str, str]]:
    """Yield the variables of commands: variable, flag, the commands that know it."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, command in _commands_below(cli, "lastspan"):
        for param in command.params:
            if isinstance(param.envvar, str):
                found.setdefault((param.envvar, param.opts[0]), []).append(f"`{name}`")
    for (variable, flag), names in found.items():
        yield f"`{variable}`", f"`{flag}`", ", ".join(names)


def _commands_below(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    for below, command in group.commands.items():
        command = dashboards if below == dashboards.name else command  # it is loaded by whoever calls it
        if isinstance(command, click.Group):
            yield from _commands_below(command, f"{name} {below}")
        else:
            yield f"{name} {below}", command


def _variable(key: str) -> str | None:
    return f"LASTSPAN_{key.upper()}" if key in config.SIMPLE else None


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return _shown(field.default_factory())
    return "needed" if field.required else _shown(field.default)


def _shown(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        return "below"
    if isinstance(value, dict):
        return ", ".join(f"`{key}`: {_shown(one)}" for key, one in value.items()) or "none"
    if value is None or value in ("", [], ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= 1024 and value % 1024 == 0:
        return f"`{value}` ({value >> 20} MiB)" if value % (1 << 20) == 0 else f"`{value}` ({value >> 10} KiB)"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _kind(kind: Any) -> str:
    """Say what a type is in words of YAML."""
    parts = [one for one in get_args(kind) if one is not type(None)] if _is_union(kind) else [kind]
    if set(parts) == {str, float}:
        return "duration"
    (one,) = parts
    origin = get_origin(one) or one
    if issubclass(origin, Enum):
        return ", ".join(f"`{member.value}`" for member in origin)
    return next(word for known, word in _KINDS if issubclass(origin, known))


def _is_union(kind: Any) -> bool:
    return isinstance(kind, UnionType) or (get_origin(kind) is not None and type(None) in get_args(kind))


_KINDS: Final[tuple[tuple[Any, str], ...]] = (
    (str, "text"),
    (bool, "true or false"),
    ((int, float), "number"),
    ((list, tuple), "list"),
    (object, "`key: value` pairs"),
)


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _rows(name: str, rows: Iterable[Row]) -> list[str]:
    return table((name, "type", "default", "meaning"), ((f"`{row.name}`", *row[1:]) for row in rows))


if __name__ == "__main__":
    print(render(), end="")
