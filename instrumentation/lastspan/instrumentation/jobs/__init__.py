"""The frameworks that run jobs, one module each; and the seam, which is all that such a module sees of lastspan."""

from lastspan.semconv.vocabulary import OnLost, Outcome

from ..registry.children import ChildJob
from .facts import JobFacts, Tells
from .instrumentor import JobInstrumentor, guarded
from .lifecycle import Attempt, Jobs

__all__ = [
    "Attempt",
    "ChildJob",
    "JobFacts",
    "JobInstrumentor",
    "Jobs",
    "OnLost",
    "Outcome",
    "Tells",
    "guarded",
]
