"""Links to other pages about a job: its trace, its dashboard, its runbook."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from ...model.records import State
from ..shapes import JobView

_RUNBOOKS: Final = {
    State.STUCK.value: "LastspanJobStuck",
    State.FROZEN.value: "LastspanJobStuck",
    State.LOST.value: "LastspanWorkerLost",
    State.OVERDUE.value: "LastspanJobOverdue",
}


class ExternalLinks(msgspec.Struct, frozen=True):
    """Addresses as a reader's browser finds them; None: there is none."""

    trace_url: str | None = None
    """With {trace_id}, and perhaps {span_id}, {job_id}, {job_key}."""
    grafana_url: str | None = None
    """Of a Grafana with lastspan's dashboards."""

    def trace(self, job: JobView) -> str:
        """Return the address of a job's trace; empty: none."""
        url = self.trace_url
        if url is None or job.trace_id is None:
            return ""
        told = {"trace_id": job.trace_id, "span_id": job.span_id or "", "job_id": job.job_id, "job_key": job.job_key}
        for name, value in told.items():
            url = url.replace("{" + name + "}", quote(value, safe=""))
        return url

    def dashboard(self, uid: str, **variables: str) -> str:
        """Return the address of one of lastspan's dashboards; empty: none."""
        if self.grafana_url is None:
            return ""
        query = "&".join(f"var-{name}={quote(value, safe='')}" for name, value in variables.items())
        return f"{self.grafana_url.rstrip('/')}/d/{uid}" + (f"?{query}" if query else "")


NO_LINKS: Final = ExternalLinks()


def runbook(state: str, cause: str | None) -> str:
    """Return the path of what to do about a job in this state, at its cause; empty: nothing has to be done."""
    name = _RUNBOOKS.get(state)
    if name is None:
        return ""
    has_causes = name != _RUNBOOKS[State.OVERDUE.value]
    return f"/runbooks/{name}" + (f"#{cause}" if cause and has_causes else "")
