"""The toy queue: each message that a worker performs is a job; the parent tells of processes that were killed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from lastspan.instrumentation.guest.patches import Patches
from lastspan.instrumentation.jobs import ChildJob, JobFacts, JobInstrumentor, OnLost, Outcome, Tells, guarded

_BY_CODE = {0: Outcome.OK, 1: Outcome.ERROR, 2: Outcome.RETRY}
_BY_EVENT = {"limit": Outcome.TIMEOUT, "cancelled": Outcome.REVOKED, "lost": Outcome.KILLED}


class ToyJobsInstrumentor(JobInstrumentor):
    """Marks the toy queue's messages as jobs."""

    system = "toy"
    requires = ()
    tells = frozenset(Tells)

    def hook(self, patches: Patches) -> None:
        """Wrap what enqueues and what performs; listen to the rest."""
        self._worker: Any = None
        self._listeners: list[Any] = []
        patches.when_imported("tests.conformance.toy.queue", lambda toy: self._patch(toy, patches))

    def unhook(self) -> None:
        """Listen no more."""
        while self._listeners:
            self._listeners.pop().remove(self._on_event)

    def _patch(self, toy: Any, patches: Patches) -> None:
        patches.wrap(toy.Queue, {"put": self._putting})
        patches.wrap(toy.Worker, {"perform": self._performing})
        toy.LISTENERS.append(self._on_event)
        self._listeners.append(toy.LISTENERS)

    def _putting(self, original: Any) -> Any:
        @functools.wraps(original)
        def put(*arguments: Any, **options: Any) -> Any:
            return original(*arguments, **{"headers": self.jobs.carrier(), **options})

        return put

    def _performing(self, original: Any) -> Any:
        @functools.wraps(original)
        def perform(worker: Any, message: Any) -> Any:
            with self.jobs.start(lambda: _facts(message)) as attempt:
                code = original(worker, message)
                attempt.end(_BY_CODE.get(code))
                return code

        return perform

    @guarded
    def _on_event(self, worker: Any, event: str, message: Any) -> None:
        if event == "forked":
            self._worker = worker
            self.jobs.watch_children(self._running, self._facts_of)
        elif event == "stopping":
            self.jobs.stopping()
        else:
            self.jobs.ended_elsewhere(_facts(message), _BY_EVENT[event], reason=f"the worker says: {event}")

    def _running(self) -> Sequence[ChildJob]:
        return [
            ChildJob(pid, self.system, message["id"], message["task"], message["attempt"])
            for pid, (message, _) in list(self._worker.running.items())
        ]

    def _facts_of(self, job: ChildJob) -> JobFacts | None:
        message, _ = self._worker.running.get(job.pid, (None, 0.0))
        return None if message is None else _facts(message)


def _facts(message: Any) -> JobFacts:
    gives_back = bool(message.get("gives_back"))
    return JobFacts(
        name=message["task"],
        id=message["id"],
        queue=message["queue"],
        attempt=message["attempt"],
        timeout=message.get("limit"),
        acks_late=gives_back,
        on_lost=OnLost.REQUEUE if gives_back else OnLost.ACK,
        package="tests",
        carrier=message["headers"],
    )
