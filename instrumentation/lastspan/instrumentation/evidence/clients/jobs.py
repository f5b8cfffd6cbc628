"""Jobs of a framework that wait for other jobs: Celery, RQ, Dramatiq, Huey, arq, taskiq."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, each

_OF_SET: Final = KnownCall("job", "timeout", job="{next of self}", jobs="self", system="celery")
_RQ: Final = KnownCall("job", "timeout", job="{self._id}", system="rq")


def _dramatiq(job: str) -> KnownCall:
    return KnownCall("job", "timeout", job=job, system="dramatiq", unit=0.001)


PAGE: Final = Page(
    calls={
        "celery.backends.base": each(
            "Backend.store_result Backend.on_chord_part_return", KnownCall("socket", purpose="result_backend")
        ),
        "kombu.messaging": {"Producer.publish": KnownCall("socket", purpose="broker")},
        "celery.result": {
            "AsyncResult.get": KnownCall("job", "timeout", job="{self.id}", system="celery"),
            **each("ResultSet.get ResultSet.join ResultSet.join_native ResultSet.iter_native", _OF_SET),
            "AsyncResult._get_task_meta": KnownCall("job", job="{self.id}", system="celery"),
        },
        "rq.job": {
            "Job.latest_result": _RQ,
            **each("Job.get_status Job.return_value Job.refresh", KnownCall("job", job="{self._id}", system="rq")),
        },
        "rq.results": {"Result.fetch_latest": KnownCall("job", "timeout", job="{job._id}", system="rq")},
        "dramatiq.message": {"Message.get_result": _dramatiq("{self.message_id}")},
        "dramatiq.results.backend": {"ResultBackend.get_result": _dramatiq("{message.message_id}")},
        "dramatiq.composition": {
            **each("group.get_results group.wait", _dramatiq("{self.children.0.message_id}")),
            "pipeline.get_result": _dramatiq("{self.messages.-1.message_id}"),
        },
        "huey.api": {
            **each(
                "Result.get Result.get_raw_result", KnownCall("job", "timeout", job="{self.task.id}", system="huey")
            ),
            "ResultGroup.get": KnownCall("job", job="{self._results.0.task.id}", system="huey"),
        },
        "arq.jobs": {"Job.result": KnownCall("job", "timeout", job="{self.job_id}", system="arq")},
        "taskiq.task": {
            "AsyncTaskiqTask.wait_result": KnownCall("job", "timeout", job="{self.task_id}", system="taskiq"),
        },
        "taskiq.funcs": {"gather": KnownCall("job", "timeout", job="{tasks.0.task_id}", system="taskiq")},
    },
)
