"""What the collector said of a way, beside its labels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.e2e.causes.way import Way

CONFIDENT: Final = 0.6
"""A wrong cause with this confidence or more misleads people."""
NOT_SEEN: Final = "not seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One way, run once."""

    way: Way
    bare: bool
    """Without client instrumentation."""
    job: Mapping[str, Any] | None = None
    """What `/api/v1/jobs` said when it was judged."""
    first: Mapping[str, Any] | None = None
    """And at its first verdict; None: there was none."""
    others: tuple[Mapping[str, Any], ...] = ()
    """The jobs beside it."""
    problem: str = ""
    log: str = ""

    @property
    def cause(self) -> str:
        """What it was called."""
        if self.job is None or self.first is None:
            return NOT_SEEN
        return str(self.job["cause"] or "unknown")

    @property
    def is_cause_right(self) -> bool:
        """Whether that is what it is."""
        return self.cause in self.way.causes

    @property
    def is_confidently_wrong(self) -> bool:
        """Whether it misleads: wrong, said with confidence, and not `unknown`."""
        if self.is_cause_right or self.cause in {NOT_SEEN, "unknown"} or self.job is None:
            return False
        confidence = self.job["confidence"]
        return confidence is None or confidence >= CONFIDENT

    @property
    def is_line_right(self) -> bool:
        """Whether file and line are those where it stops; or the function, where that is a library's."""
        code = (self.job or {}).get("code") or {}
        if self.way.stops_in:
            return re.match(self.way.stops_in, code.get("function") or "") is not None
        file = code.get("file") or "?"
        return self.way.file.endswith(file) and code.get("line") in self.way.lines

    @property
    def last_span(self) -> str:
        """Kind and name."""
        span = (self.job or {}).get("last_span") or {}
        return f"{span.get('kind')} {span.get('name')}"

    @property
    def is_span_right(self) -> bool:
        """Whether the last span is the labelled one; a library's wait may name its lock beside the span's name."""
        lock = ((self.job or {}).get("blocked_by") or {}).get("lock") or ""
        return re.match(self.way.bare_span if self.bare else self.way.span, f"{self.last_span} {lock}") is not None

    @property
    def is_holder_right(self) -> bool | None:
        """Whether the holder is named; None: nobody holds anything here."""
        if self.way.held_by is None:
            return None
        holder = f"{self.way.name}.{self.way.held_by}"
        told = json.dumps((self.job or {}).get("blocked_by"))
        ids = {str(job[key]) for job in self.others if job["job_name"] == holder for key in ("job_id", "span_id")}
        return any(name in told for name in {holder, *ids} - {"None", ""})

    @property
    def is_all_right(self) -> bool:
        """Cause, line and last span, and the holder where there is one."""
        return self.is_cause_right and self.is_line_right and self.is_span_right and self.is_holder_right is not False

    def summary(self) -> dict[str, Any]:
        """Return what was wanted and what was said, in few words."""
        code = (self.job or {}).get("code") or {}
        return {
            "way": self.way.name,
            "family": self.way.family,
            "bare": self.bare,
            "wanted": {
                "causes": sorted(self.way.causes),
                "span": self.way.bare_span if self.bare else self.way.span,
                "code": self.way.stops_in or f"{self.way.file}:{sorted(self.way.lines)}",
                "held_by": self.way.held_by,
            },
            "said": {
                "state": (self.job or {}).get("state"),
                "cause": self.cause,
                "first_cause": (self.first or {}).get("cause"),
                "confidence": (self.job or {}).get("confidence"),
                "text": (self.job or {}).get("cause_text"),
                "span": self.last_span,
                "code": f"{code.get('function')} {code.get('file')}:{code.get('line')}",
                "blocked_by": (self.job or {}).get("blocked_by"),
            },
            "right": {
                "cause": self.is_cause_right,
                "line": self.is_line_right,
                "span": self.is_span_right,
                "holder": self.is_holder_right,
            },
            "problem": self.problem,
        }

    def evidence(self) -> str:
        """Return everything, for whoever asks why it was missed."""
        whole = {"summary": self.summary(), "job": self.job, "first": self.first, "beside": self.others}
        return json.dumps({**whole, "log": self.log}, indent=1, default=str)
