"""What `/jobs/{ref}` shows beside the job's own fields: frames, bars, and what blocks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import msgspec

from lastspan.semconv import duration
from lastspan.semconv.vocabulary import Certainty

from ...judge.names import file_line
from ...judge.words import short
from ...model.records import SUSPECT, Kind, State
from ..shapes import BlockerView, JobView, OpenSpan
from .external_links import ExternalLinks, runbook
from .filter import Filter
from .paths import job_path
from .rows import id_start

_FRAME: Final = re.compile(r'File "(.*)", line (\d+), in (.*)')
_INSTALLED: Final = re.compile(r"/(site|dist)-packages/|\.(whl|egg)/|/_?vendored/|/_vendor/|/lib/python\d|^<frozen")
_SURE: Final = 0.75
_FULL: Final = 100.0
_SPANS: Final = 30
_JUST_NOW: Final = 2.0
_DEEP: Final = 8
"""Deeper ones are not indented further."""
_UNFOLDED: Final = 3
"""Library frames in a row that are shown one by one."""


class StackFrame(msgspec.Struct, frozen=True):
    """One line of the stack."""

    where: str
    function: str
    is_application: bool
    text: str
    """As it came."""


class FrameGroup(msgspec.Struct, frozen=True):
    """Frames that belong together: the application's, or those of libraries, of which all but the first are folded."""

    shown: list[StackFrame]
    folded: list[StackFrame]


class Bar(msgspec.Struct, frozen=True):
    """An open span in time: percent of the job's own time."""

    name: str
    depth: int
    from_percent: float
    width_percent: float
    age: float
    is_last: bool
    parent_unknown: bool


class ChainStep(msgspec.Struct, frozen=True):
    """One step of the way to the one that all wait for."""

    kind: str
    thing: str
    since: float
    holder: str
    holder_id: str
    path: str
    state: str
    code: str
    is_nobody: bool


def incident(job: JobView, links: ExternalLinks, *, alike: int) -> dict[str, Any]:
    """Return what the page shows; *alike*: how many others stopped at the same thing."""
    ratio = job.last_span.age_s / max(1e-9, job.last_span.allowed_s)
    return {
        "job": job,
        "is_suspect": job.state in SUSPECT,
        "doubt": f"Likely ({job.confidence:.0%} sure): " if _is_likely(job) else "",
        "share": min(_FULL, _FULL * ratio),
        "times": ratio,
        "target": _target(job),
        "runs": _runs([_frame(line) for line in reversed(job.stack)]),
        "bars": _bars(job),
        "links": [] if job.blocked_by is None else [_link(step) for step in job.blocked_by.chain],
        "facts": [(name, value) for name, value in (*_facts(job), *_alone(job, alike)) if value],
        "alike": alike,
        "alike_path": Filter(incident=job.incident or "").url(),
        "runbook": runbook(job.state, job.cause),
        "trace": links.trace(job),
        "dashboard": links.dashboard("lastspan-job", job=job.job_key),
        "text_path": job_path(job.job_key, ".txt"),
        "json_path": "/api/v1" + job_path(job.job_key),
    }


def _target(job: JobView) -> str:
    """Return whom the last span calls; empty: nobody, or not known."""
    told = job.last_span.attributes
    port = told.get("server.port")
    server = f"{told['server.address']}" + (f":{port}" if port else "") if "server.address" in told else ""
    peer = job.wait.peer if job.wait is not None and job.last_span.kind != Kind.JOB else None
    return short(str(told.get("url.full") or server or peer or ""), 120)


def _is_likely(job: JobView) -> bool:
    return job.confidence is not None and 0 < job.confidence < _SURE


def _frame(line: str) -> StackFrame:
    found = _FRAME.fullmatch(line.strip())
    if found is None:
        return StackFrame(line, "", False, line)
    file, number, function = found.groups()
    is_application = file.endswith(".py") and _INSTALLED.search(file) is None
    return StackFrame(file_line(file, number), function, is_application, line)


def _runs(frames: list[StackFrame]) -> list[FrameGroup]:
    runs = []
    for is_application, together in groupby(frames, key=lambda frame: frame.is_application):
        run = list(together)
        keep = len(run) if is_application or len(run) <= _UNFOLDED else 1
        runs.append(FrameGroup(run[:keep], run[keep:]))
    return runs


def _bars(job: JobView) -> list[Bar]:
    ordered = list(_by_parent(job.open_spans))
    shown = ordered[:_SPANS]
    if len(ordered) > _SPANS and not any(span.is_last for span, _ in shown):
        shown[-1] = next((pair for pair in ordered if pair[0].is_last), shown[-1])
    known = {span.span_id for span in job.open_spans}
    whole = max(1e-9, job.age_s)
    return [_bar(span, depth, known, whole) for span, depth in shown]


def _by_parent(spans: list[OpenSpan]) -> Iterator[tuple[OpenSpan, int]]:
    """Yield spans with their depth, each below its parent, the oldest first; those of an unknown one come last."""
    below: dict[str | None, list[OpenSpan]] = {}
    known = {span.span_id for span in spans}
    for span in sorted(spans, key=lambda span: -span.age_s):
        is_top = span.is_job or span.parent_id not in known
        below.setdefault(None if is_top else span.parent_id, []).append(span)
    tops = sorted(below.get(None, ()), key=lambda span: not span.is_job)
    waiting, seen = [(span, 0) for span in reversed(tops)], set()
    while waiting:
        span, depth = waiting.pop()
        if span.span_id not in seen:  # ids that are there twice
            seen.add(span.span_id)
            yield span, depth
            waiting += [(child, depth + 1) for child in reversed(below.get(span.span_id, ()))]


def _bar(span: OpenSpan, depth: int, known: set[str], whole: float) -> Bar:
    width = min(_FULL, max(1.0, _FULL * span.age_s / whole))
    is_orphan = not span.is_job and span.parent_id is not None and span.parent_id not in known
    return Bar(span.name, min(depth, _DEEP), _FULL - width, width, span.age_s, span.is_last, is_orphan)


def _link(step: BlockerView) -> ChainStep:
    thing = " at ".join(word for word in (step.lock, step.peer) if word)
    pid = f"process {step.holder_pid}" if step.holder_pid is not None else ""
    names = [step.holder_job_name or step.holder_thread or pid, id_start(step.holder_job_id or "")]
    return ChainStep(
        (step.kind or "").replace("_", " "),
        thing,
        step.since_s,
        " ".join(name for name in names if name),
        step.holder_job_id or "",
        job_path(step.holder_job_key or step.holder_job_id or "") if step.holder_job_key or step.holder_job_id else "",
        step.holder_state or "",
        step.holder_code or "",
        step.certainty == Certainty.NOBODY,
    )


def _allowed_last(job: JobView) -> str:
    if job.last_span.span_id == job.span_id:
        return ""
    return f"{duration.render(job.last_span.allowed_s)} ({job.last_span.basis_rule})"


def _facts(job: JobView) -> list[tuple[str, str]]:
    is_open = job.state != State.ENDED
    return [
        ("Ended", " ".join(part for part in (job.outcome, job.reason and f"({job.reason})") if part)),
        ("Open for" if is_open else "Took", duration.render(job.age_s)),
        ("Allowed", f"{duration.render(job.job_allowed_s)} ({job.job_basis_rule})"),
        ("Its last span", _allowed_last(job)),
        *(_signs_of_life(job) if is_open else ()),
        ("Process", " ".join(part for part in (job.host, job.pid is not None and f"pid {job.pid}") if part)),
        ("Pod", " in ".join(part for part in (job.pod, job.namespace) if part)),
        ("Thread", job.thread or ""),
        ("Queue", " ".join(part for part in (job.queue, job.system and f"({job.system})") if part)),
        ("Attempt", _attempt(job)),
        ("Service", " · ".join(part for part in (job.service, job.environment, job.service_version) if part)),
        ("Waits for", _wait(job) if is_open else ""),
        ("Holds", ", ".join(job.holds)),
    ]


def _alone(job: JobView, alike: int) -> Iterator[tuple[str, str]]:
    if job.state in SUSPECT and not alike:
        yield "Alike", "none: no other job stopped there"


def _signs_of_life(job: JobView) -> Iterator[tuple[str, str]]:
    yield "Progress", _progress(job)
    yield "Last activity", _ago(job.movement_age_s)
    yield "CPU", _cpu(job)
    yield "Last report", _ago(job.heartbeat_age_s)


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return "just now" if seconds < _JUST_NOW else f"{duration.render(int(seconds))} ago"


def _attempt(job: JobView) -> str:
    if job.attempt is None:
        return ""
    return f"{job.attempt} of {job.max_attempts}" if job.max_attempts else f"{job.attempt}"


def _progress(job: JobView) -> str:
    told = job.progress
    if told is None:
        return "none: the job does not call progress()"
    of = "" if told.total is None else f" of {told.total:g}"
    share = "" if told.ratio is None else f" ({told.ratio:.0%})"
    return f"{told.done:g}{of}{share} {told.message or ''}".rstrip()


def _cpu(job: JobView) -> str:
    if job.cpu_ratio is None:
        return "not seen"
    meaning = "it waits" if job.cpu_ratio < 0.05 else "it uses the CPU" if job.cpu_ratio > 0.5 else "it is partly busy"
    return f"{job.cpu_ratio:.0%} of a core: {meaning}"


def _wait(job: JobView) -> str:
    wait = job.wait
    if wait is None:
        return ""
    timeout = "no timeout" if wait.unbounded else wait.timeout_s and f"timeout {duration.render(wait.timeout_s)}"
    return ", ".join(str(word) for word in (wait.kind, wait.call, wait.peer, wait.target, timeout) if word)
