"""What runs inside a worker: it knows the spans that are open, and announces those that stay open.

Loaded by `opentelemetry-instrument` without a change of code. For plain code: `job` and `progress`.
"""

from __future__ import annotations

from .jobs.plain import job, progress
from .load import LastspanInstrumentor

__all__ = ["LastspanInstrumentor", "job", "progress"]
