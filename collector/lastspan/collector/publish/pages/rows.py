"""One job as a line of a list."""

from __future__ import annotations

import msgspec

from ...judge.cause import Explanation
from ...judge.context import JudgeContext, evidence_of, server_of
from ...judge.names import file_line
from ...judge.verdict import Leaf, Verdict
from ...judge.words import short
from ...model.records import Kind
from ...track import JobRow
from ..blocked_by import key_text
from ..view import View
from .paths import job_path

_ID = 12
_FULL = 100.0


class JobLine(msgspec.Struct, frozen=True):
    """What the line says. Seconds."""

    key: str
    path: str
    state: str
    outcome: str
    severity: str
    job_name: str
    job_id: str
    where: str
    """The call that is open; empty: none."""
    code: str
    age: float
    allowed: float
    share: float
    """Of what is allowed, in percent, at most 100."""
    times: float
    """Age by allowance."""
    process: str
    queue: str


def id_start(id: str) -> str:
    """Return enough of a job's id to tell it from its neighbours."""
    return id if len(id) <= _ID else id[:8] + "…"


def job_line(view: View, job: JobRow, context: JudgeContext) -> tuple[JobLine, Explanation | None]:
    """Return a job's line, and why it is as it is."""
    verdict, cause = view.look(job, context)
    return _row(job, verdict, context.now_ns), cause


def _row(job: JobRow, verdict: Verdict, now_ns: int) -> JobLine:
    last, evidence = verdict.last, evidence_of(job, verdict.last)
    age, allowed = verdict.decides.age_ns, verdict.allowance.allowed_ns
    times = age / max(1, allowed)
    where = file_line(evidence.file, evidence.line)
    return JobLine(
        key=key_text(job.span.key),
        path=job_path(key_text(job.span.key)),
        state=verdict.state.value,
        outcome="" if job.end is None else job.end.outcome,
        severity="" if verdict.severity is None else verdict.severity.value,
        job_name=short(job.type.name, 120),
        job_id=short(job.job_id, 120),
        where=_call(job, last),
        code=f"{evidence.function or ''} {where}".strip(),
        age=age / 1e9,
        allowed=allowed / 1e9,
        share=min(_FULL, _FULL * times),
        times=times,
        process=_process(job),
        queue=short(job.type.queue, 60),
    )


def _call(job: JobRow, last: Leaf) -> str:
    if last.span.policy_kind is Kind.JOB:
        return ""
    peer = last.span.call.attribute("url.full") or server_of(last.span, evidence_of(job, last))
    return short(f"{last.span.name} → {peer}" if peer else last.span.name, 120)


def _process(job: JobRow) -> str:
    row = job.span.process
    if row is None:
        return ""
    host = row.resource.pod or row.resource.host or "–"
    return f"{host}:{row.resource.pid}" if row.resource.pid is not None else host
