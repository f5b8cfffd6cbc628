"""The settings of a worker, read from the environment; a bad value never stops the host."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..guest import log
from . import environment_variables as env

_log = log.Log(__name__)

_SECONDS_MAX: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Durations in seconds."""

    announce_after: float = 5.0
    job_announce_after: float = 1.0
    interval: float = 15.0
    refresh: float = 60.0
    record_all: bool = True
    """Spans below a job are recorded even where the sampler drops them; False: the job's own span alone."""
    announce_all: bool = False
    """Spans outside of jobs are announced too; they get no verdict."""

    @property
    def tick(self) -> float:
        """How often the watcher looks: once a second, or as often as short settings ask, at most twenty times a second.

        Each look costs one call of the host a wait (bench/host).
        """
        return min(max(min(self.announce_after, self.job_announce_after, self.interval), 0.05), 1.0)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> WorkerSettings:
        """Read the settings; a value that makes no sense is named in the log and its default taken."""
        default = cls()
        return cls(
            announce_after=_seconds(environ, env.OTEL_LASTSPAN_ANNOUNCE_AFTER, default.announce_after),
            job_announce_after=_seconds(environ, env.OTEL_LASTSPAN_JOB_ANNOUNCE_AFTER, default.job_announce_after),
            interval=max(_seconds(environ, env.OTEL_LASTSPAN_INTERVAL, default.interval), 0.1),
            refresh=max(_seconds(environ, env.OTEL_LASTSPAN_REFRESH, default.refresh), 0.1),
            record_all=_choice(environ, env.OTEL_LASTSPAN_RECORD, ("all", "jobs")) == "all",
            announce_all=_choice(environ, env.OTEL_LASTSPAN_SPANS, ("jobs", "all")) == "all",
        )


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Say whether lastspan may act in this process at all."""
    sdk_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    disabled = {name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    own = environ.get(env.OTEL_LASTSPAN_ENABLED, "true").strip().lower()
    return not (sdk_disabled or disabled & {"lastspan", "*"} or own in {"false", "0", "no", "off"})


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _SECONDS_MAX:  # false for NaN too
        _log.warning("%s=%r is not a number of seconds from 0 to %d; using %g", name, text, _SECONDS_MAX, default)
        return default
    return value


def _choice(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = environ.get(name, "").strip().lower()
    if text and text not in choices:
        _log.warning("%s=%r is not one of %s; using %s", name, text, ", ".join(choices), choices[0])
    return text if text in choices else choices[0]
