"""The filter of `/`: the parameters of its URL, and which jobs match them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from ...model.records import State
from ...track import JobRow

SORTS: Final = {"jobs": "most jobs first", "age": "longest first", "name": "by name"}
_MAX: Final = 200


class Filter(msgspec.Struct, frozen=True):
    """Empty: any."""

    state: str = ""
    job: str = ""
    queue: str = ""
    service: str = ""
    text: str = ""
    incident: str = ""
    sort: str = "jobs"

    @property
    def is_empty(self) -> bool:
        """Whether all jobs are meant."""
        return not any((self.state, self.job, self.queue, self.service, self.text, self.incident))

    def url(self, **changes: str) -> str:
        """Return the path of `/` with this filter, changed."""
        told = msgspec.structs.asdict(self) | changes
        query = urlencode(
            [(name, value) for name, value in told.items() if value and (name, value) != ("sort", "jobs")]
        )
        return f"/?{query}" if query else "/"

    def means(self, job: JobRow) -> bool:
        """Whether a job is meant, whatever its state."""
        type, suspect_state = job.type, job.suspect_state
        if self.job not in ("", type.name) or self.queue not in ("", type.queue):
            return False
        if self.service not in ("", type.service):
            return False
        if self.incident and (suspect_state is None or suspect_state.incident != self.incident):
            return False
        return not self.text or self.text.casefold() in _words(job)


def from_query(params: Mapping[str, str]) -> Filter:
    """Return the filter of a URL; what is not known there is no filter."""
    values = {name: params.get(name, "")[:_MAX] for name in Filter.__struct_fields__}
    if values["state"] not in {state.value for state in State}:
        values["state"] = ""
    if values["sort"] not in SORTS:
        values["sort"] = "jobs"
    return Filter(**values)


def _words(job: JobRow) -> str:
    process, suspect_state = job.span.process, job.suspect_state
    words = [job.type.name, job.job_id, job.type.queue, job.type.service, job.span.name]
    if process is not None:
        words += [process.resource.host, process.resource.pod, str(process.resource.pid)]
    if suspect_state is not None:
        words += [suspect_state.last_span, suspect_state.cause, suspect_state.incident]
    return "\n".join(words).casefold()
