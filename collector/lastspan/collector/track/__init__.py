"""State: what is open, by what was told. One thread owns it; nothing in it is locked."""

from .counts import OPEN_STATES, Counts, Incident, Series
from .limits import Limits
from .rows import End, JobRow, ProcessRow, Silence, SpanRow, Trouble
from .tracker import PROCESS_CAP, SPAN_CAP, Tracker

__all__ = [
    "OPEN_STATES",
    "PROCESS_CAP",
    "SPAN_CAP",
    "Counts",
    "End",
    "Incident",
    "JobRow",
    "Limits",
    "ProcessRow",
    "Series",
    "Silence",
    "SpanRow",
    "Tracker",
    "Trouble",
]
