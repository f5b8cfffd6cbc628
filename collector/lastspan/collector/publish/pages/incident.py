"""What `/jobs/{ref}` shows beside the job's own fields: frames, bars, and who is in the way."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote

import msgspec

from lastspan.semconv import duration

from ...model import SUSPECT
from ...words import file_line
from ..shapes import JobView, OpenSpan, Step
from .engine import job_path

_FRAME: Final = re.compile(r'File "(.*)", line (\d+), in (.*)')
_INSTALLED: Final = re.compile(r"/(site|dist)-packages/|/lib/python\d|^<frozen")
_SUSPECT: Final = {state.value for state in SUSPECT}
_SURE: Final = 0.75
_FULL: Final = 100.0
_SPANS: Final = 30
_UNFOLDED: Final = 3
"""Library frames in a row that are shown one by one."""


class Frame(msgspec.Struct, frozen=True):
    """One line of the stack."""

    where: str
    function: str
    is_application: bool
    text: str
    """As it came."""


class Run(msgspec.Struct, frozen=True):
    """Frames that belong together: the application's, or those of libraries, of which all but the first are folded."""

    shown: list[Frame]
    folded: list[Frame]


class Bar(msgspec.Struct, frozen=True):
    """An open span in time: percent of the job's own time."""

    name: str
    depth: int
    from_percent: float
    width_percent: float
    age: float
    is_last: bool
    parent_unknown: bool


class Link(msgspec.Struct, frozen=True):
    """One step of the way to the one that all wait for."""

    thing: str
    since: float
    holder: str
    path: str
    state: str
    code: str
    is_nobody: bool


def incident(job: JobView, trace_url: str | None) -> dict[str, Any]:
    """Return what the page shows."""
    ratio = job.last_span.age_s / max(1e-9, job.last_span.allowed_s)
    return {
        "job": job,
        "is_suspect": job.state in _SUSPECT,
        "doubt": f"Likely ({job.confidence:.0%} sure): " if _is_likely(job) else "",
        "share": min(_FULL, _FULL * ratio),
        "times": ratio,
        "runs": _runs([_frame(line) for line in reversed(job.stack)]),
        "bars": _bars(job),
        "links": [] if job.blocked_by is None else [_link(step) for step in job.blocked_by.chain],
        "facts": [(name, value) for name, value in _facts(job) if value],
        "trace": _trace(job, trace_url),
        "path": job_path(job.job_key),
        "text_path": job_path(job.job_key, ".txt"),
        "json_path": "/api/v1" + job_path(job.job_key),
    }


def _is_likely(job: JobView) -> bool:
    return job.confidence is not None and 0 < job.confidence < _SURE


def _frame(line: str) -> Frame:
    found = _FRAME.fullmatch(line.strip())
    if found is None:
        return Frame(line, "", False, line)
    file, number, function = found.groups()
    is_application = file.endswith(".py") and _INSTALLED.search(file) is None
    return Frame(file_line(file, number), function, is_application, line)


def _runs(frames: list[Frame]) -> list[Run]:
    runs = []
    for is_application, together in groupby(frames, key=lambda frame: frame.is_application):
        run = list(together)
        keep = len(run) if is_application or len(run) <= _UNFOLDED else 1
        runs.append(Run(run[:keep], run[keep:]))
    return runs


def _bars(job: JobView) -> list[Bar]:
    spans = {span.span_id: span for span in job.open_spans}
    whole = max(1e-9, job.age_s)
    ordered = sorted(job.open_spans, key=lambda span: -span.age_s)
    shown = ordered[:_SPANS]
    if len(ordered) > _SPANS and not any(span.is_last for span in shown):
        shown[-1] = next((span for span in ordered if span.is_last), shown[-1])
    return [_bar(span, spans, whole) for span in shown]


def _bar(span: OpenSpan, spans: dict[str, OpenSpan], whole: float) -> Bar:
    width = min(_FULL, max(1.0, _FULL * span.age_s / whole))
    depth, parent = 0, span.parent_id
    while parent in spans and depth < 8:
        depth, parent = depth + 1, spans[parent].parent_id
    unknown = span.parent_id is not None and span.parent_id not in spans and span is not next(iter(spans.values()))
    return Bar(span.name, depth, _FULL - width, width, span.age_s, span.is_last, unknown)


def _link(step: Step) -> Link:
    thing = " ".join(word for word in (step.kind, step.lock, step.peer and f"at {step.peer}") if word)
    pid = f"process {step.holder_pid}" if step.holder_pid is not None else ""
    names = [step.holder_job_name or step.holder_thread or pid, step.holder_job_id]
    return Link(
        thing or "waits",
        step.since_s,
        " ".join(name for name in names if name),
        job_path(step.holder_job_key or step.holder_job_id or "") if step.holder_job_key or step.holder_job_id else "",
        step.holder_state or "",
        step.holder_code or "",
        step.certainty == "nobody",
    )


def _facts(job: JobView) -> list[tuple[str, str]]:
    heard = None if job.heartbeat_age_s is None else f"{duration.render(job.heartbeat_age_s)} ago"
    moved = None if job.movement_age_s is None else f"{duration.render(job.movement_age_s)} ago"
    attempt = (
        None if job.attempt is None else f"{job.attempt}" + (f" of {job.max_attempts}" if job.max_attempts else "")
    )
    pod = " / ".join(part for part in (job.namespace, job.pod) if part)
    process = " ".join(part for part in (job.host, job.pid is not None and f"pid {job.pid}") if part)
    ended = " ".join(part for part in (job.outcome, job.reason and f"({job.reason})") if part)
    return [
        ("Ended", ended),
        ("Open for", duration.render(job.age_s)),
        ("Allowed", f"{duration.render(job.allowed_s)} ({job.basis_rule})"),
        ("Progress", _progress(job)),
        ("Last movement", moved or ""),
        ("CPU", _cpu(job)),
        ("Heard", heard or ""),
        ("Process", process),
        ("Pod", pod),
        ("Thread", job.thread or ""),
        ("Queue", " / ".join(part for part in (job.system, job.queue) if part)),
        ("Attempt", attempt or ""),
        ("Service", " / ".join(part for part in (job.service, job.environment, job.service_version) if part)),
        ("Waits for", _wait(job)),
        ("Holds", ", ".join(job.holds)),
        ("Incident", job.incident or ""),
    ]


def _progress(job: JobView) -> str:
    told = job.progress
    if told is None:
        return "none told"
    of = "" if told.total is None else f" of {told.total:g}"
    share = "" if told.ratio is None else f" ({told.ratio:.0%})"
    return f"{told.done:g}{of}{share} {told.message or ''}".rstrip()


def _cpu(job: JobView) -> str:
    if job.cpu_ratio is None:
        return "not seen"
    meaning = "it waits" if job.cpu_ratio < 0.05 else "it computes" if job.cpu_ratio > 0.5 else "it works now and then"
    return f"{job.cpu_ratio:.0%} of a core: {meaning}"


def _wait(job: JobView) -> str:
    wait = job.wait
    if wait is None:
        return ""
    timeout = "no timeout" if wait.unbounded else wait.timeout_s and f"timeout {duration.render(wait.timeout_s)}"
    return ", ".join(str(word) for word in (wait.kind, wait.call, wait.peer, wait.target, timeout) if word)


def _trace(job: JobView, template: str | None) -> str:
    if template is None or job.trace_id is None:
        return ""
    told = {"trace_id": job.trace_id, "span_id": job.span_id or "", "job_id": job.job_id, "job_key": job.job_key}
    for name, value in told.items():
        template = template.replace("{" + name + "}", quote(value, safe=""))
    return template
