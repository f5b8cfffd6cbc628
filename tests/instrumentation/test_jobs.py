"""The seam: whatever a framework's module hands over, in whatever order, its jobs are told once, and run."""

from __future__ import annotations

import ast
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from tests.instrumentation.live import Live
from tests.instrumentation.live import live as live

from lastspan.instrumentation import jobs as seam
from lastspan.instrumentation.guest import log
from lastspan.instrumentation.guest.patches import Patches
from lastspan.instrumentation.jobs import JobFacts, JobInstrumentor, Jobs, Outcome
from lastspan.instrumentation.registry.current import current_run
from lastspan.instrumentation.registry.run import Run

ROOM = Path(seam.__file__).parent
OF_THE_SEAM = {"__init__", "facts", "lifecycle", "instrumentor"}


@pytest.fixture
def jobs(live: Live) -> Jobs:
    return Jobs("toy")


def facts(name: str = "resize", **known: object) -> Callable[[], JobFacts]:
    return lambda: JobFacts(name=name, id="42", queue="images", **known)  # type: ignore[arg-type]


def outcome_of(run: Run | None) -> str | None:
    assert run is not None
    return run.outcome


def test_a_start_and_an_end_by_key(live: Live, jobs: Jobs) -> None:
    """In between the job is the current one; its end is told once."""
    jobs.start(facts(attempt=2), key="42")
    run = current_run()
    assert run is not None
    assert (run.system, run.name, run.id, run.queue, run.attempt) == ("toy", "resize", "42", "images", 2)
    jobs.end("42", Outcome.RETRY)
    jobs.end("42", Outcome.OK)
    assert current_run() is None
    assert outcome_of(run) == "retry"
    [span] = live.ended("resize")
    assert (span.kind, span.attributes and span.attributes["messaging.system"]) == (trace.SpanKind.CONSUMER, "toy")


@pytest.mark.parametrize(
    ("outcome", "error", "told", "is_failed"),
    [
        (None, None, None, False),  # by the span's status
        (Outcome.OK, None, "ok", False),
        (Outcome.RETRY, ValueError("no"), "retry", True),
        (None, ValueError("no"), "error", True),
        (None, SystemExit(1), "shutdown", False),
        (Outcome.TIMEOUT, None, "timeout", True),
        (Outcome.REVOKED, None, "revoked", False),
    ],
)
def test_how_it_ended(
    live: Live, jobs: Jobs, outcome: Outcome | None, error: BaseException | None, told: str | None, is_failed: bool
) -> None:
    attempt = jobs.start(facts())
    run = current_run()
    attempt.end(outcome, error)
    attempt.end(Outcome.KILLED)
    assert outcome_of(run) == told
    [span] = live.ended("resize")
    assert (span.status.status_code is trace.StatusCode.ERROR) == is_failed


def test_facts_that_fail_are_ours_to_bear(jobs: Jobs, said: Callable[[], list[logging.LogRecord]]) -> None:
    """The framework's code runs, in no job; a line for those who look for it."""

    def broken() -> JobFacts:
        raise LookupError("a field of a newer version")

    ran = False
    with jobs.start(broken, key="42") as attempt:
        ran = current_run() is None
        attempt.end(Outcome.OK)
    jobs.end("42", Outcome.OK)
    jobs.end("never started", Outcome.OK)
    jobs.leave("never started")
    assert ran
    assert ["lastspan: a job was not recorded" in record.getMessage() for record in said()] == [True]


def test_what_its_block_raises_is_the_frameworks(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="the job's own"), jobs.start(facts()):
        raise ValueError("the job's own")


def test_an_end_elsewhere(live: Live, jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """On another thread, in another context: it ends all the same, and nobody complains."""
    contextvars.copy_context().run(jobs.start, facts(), key="42")
    thread = threading.Thread(target=jobs.end, args=("42", Outcome.OK))
    thread.start()
    thread.join()
    assert len(live.ended("resize")) == 1
    assert live.agent.spans.runs == {}
    assert caplog.records == []


def test_ends_that_are_never_told_are_forgotten(live: Live, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest does not grow."""
    monkeypatch.setattr("lastspan.instrumentation.jobs.lifecycle._OPEN_MAX", 3)
    for number in range(5):
        contextvars.copy_context().run(jobs.start, facts(), key=number)
    assert list(jobs._open) == [2, 3, 4]


@pytest.mark.parametrize("value", [5, None, b"00", ["00"], "no traceparent"])
def test_what_a_message_carries_may_be_anything(live: Live, jobs: Jobs, value: object) -> None:
    with jobs.start(facts(carrier={"traceparent": value})):
        assert current_run() is not None
    assert live.ended("resize")[0].parent is None


def test_a_message_carries_the_trace(live: Live, jobs: Jobs) -> None:
    """Of whoever enqueues it, to whoever runs it."""
    with trace.get_tracer("shop").start_as_current_span("checkout") as span:
        carrier = jobs.carrier()
    with jobs.start(facts(carrier=carrier)):
        pass
    [job] = live.ended("resize")
    assert job.parent is not None
    assert job.parent.span_id == span.get_span_context().span_id


def test_left_in_the_middle(live: Live, jobs: Jobs) -> None:
    """The span ends as the stack unwinds; the job's end is its parent's to tell."""
    jobs.start(facts(), key="42")
    run = current_run()
    assert run is not None
    jobs.leave("42")
    assert live.agent.spans.interrupted == {run.span_id}
    assert live.ended("resize")[0].status.status_code is trace.StatusCode.ERROR


def test_without_lastspan_nothing_happens() -> None:
    """Not loaded, or switched off."""
    jobs = Jobs("toy")
    with jobs.start(facts(), key="42") as attempt:
        assert not attempt.is_current
    jobs.end("42", Outcome.OK)
    jobs.ended_elsewhere(JobFacts(name="resize"), Outcome.KILLED, reason="gone")
    jobs.watch_children(lambda: [], lambda job: None)
    jobs.stopping()
    jobs.shutdown()


class HalfHooked(JobInstrumentor):
    """Its framework has one function less than it wants."""

    system, requires = "toy", ()
    name, is_out = "here", False

    def hook(self, patches: Patches) -> None:
        patches.wrap(HalfHooked, {"marked": lambda original: lambda self: "ours"})
        patches.wrap(HalfHooked, {"missing": lambda original: original})

    def unhook(self) -> None:
        HalfHooked.is_out = True

    def marked(self) -> str:
        return "the framework's"


@pytest.fixture
def half(live: Live) -> Iterator[HalfHooked]:
    yield HalfHooked()
    log.reset_after_fork()


def test_hooked_in_wholly_or_not_at_all(half: HalfHooked) -> None:
    with pytest.raises(LookupError):
        half.instrument()
    assert half.marked() == "the framework's"
    assert HalfHooked.is_out
    assert not half.is_instrumented_by_opentelemetry


@pytest.mark.parametrize("module", sorted(path.stem for path in ROOM.glob("*.py") if path.stem not in OF_THE_SEAM))
def test_a_frameworks_module_sees_the_seam_alone(module: str) -> None:
    """Neither agent nor registry, no context of OpenTelemetry's; plain code alone loads it, and tells progress."""
    allowed = {"", "facts", "guest.patches", "lastspan.semconv.duration"}
    if module == "plain":
        allowed |= {
            "guest",
            "lifecycle",
            "registry",
            "registry.run",
            "registry.spans",
            "opentelemetry",
            "opentelemetry.trace",
        }
    tree = ast.parse((ROOM / f"{module}.py").read_text(encoding="utf-8"))
    imports = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    imports |= {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level
        for name in [node.module or ""]
        if name.startswith(("lastspan", "opentelemetry"))
    }
    assert imports <= allowed
