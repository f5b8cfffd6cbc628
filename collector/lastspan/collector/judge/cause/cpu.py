"""Code that uses the CPU and does not end."""

from __future__ import annotations

from lastspan.semconv.vocabulary import CauseName

from .case import Case, Cause
from .words import file_line, join, live, place, took

_SURE = 0.5


def find(case: Case) -> Cause | None:
    """A thread that runs, by its own clock; one that polls and sleeps is said to wait."""
    if not case.is_busy or case.wait.kind is not None:
        return None
    evidence = case.evidence
    wanted = (evidence.cpu_ratio or 0.0) + (evidence.runqueue_ratio or 0.0)
    type = case.job.type
    target = join(type.service, evidence.file, evidence.function or type.name)
    return Cause(CauseName.CPU_LOOP, 0.9 if wanted >= _SURE else 0.75, "cpu", target, _words, _advice, is_guess=True)


def _words(case: Case) -> str:
    evidence = case.evidence
    looping = evidence.last_line is not None
    where = f" at {_lines(case)}" if evidence.file else ""
    # Its stack is another one at each look: for how long it computes only the span knows.
    whose = "The job" if case.last.span is case.job.span else f"The span {case.last.span.name}"
    share = f"Its thread uses {evidence.cpu_ratio or 0.0:.0%} of a core"
    waits = evidence.runqueue_ratio or 0.0
    queue = f" and waits {waits:.0%} of the time for one" if waits >= 0.05 else ""
    since = f"{whose} has been running for {took(case.last.age_ns)}."
    return f"It {'loops' if looping else 'uses the CPU'}{where}." + live(case, f" {share}{queue}. {since}")


def _lines(case: Case) -> str:
    evidence = case.evidence
    if case.stable or evidence.last_line is None:
        return place(case)
    lines = f"{evidence.first_line}-{evidence.last_line}"
    return file_line(evidence.file, lines) + (f" ({evidence.function})" if evidence.function else "")


def _advice(case: Case) -> str:
    return (
        "Check the loop's exit condition. If this is long but healthy work, call progress() in it, or declare how long "
        "it may take."
    )
