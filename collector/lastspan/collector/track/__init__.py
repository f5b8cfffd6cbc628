"""State: what is open, according to the records. One thread owns it; nothing in it is locked."""

from .counts import OPEN_STATES, Counts, Incident, Series
from .limits import Limits
from .rows import End, JobRow, ProcessRow, Silence, SpanRow, Trouble
from .saved import (
    Forgotten,
    ProcessOver,
    Saved,
    SavedLearned,
    Settled,
    Silent,
    learned,
    replay,
    resume,
    save,
    settled,
)
from .tracker import PROCESS_CAP, SPAN_CAP, Tracker

__all__ = [
    "OPEN_STATES",
    "PROCESS_CAP",
    "SPAN_CAP",
    "Counts",
    "End",
    "Forgotten",
    "Incident",
    "JobRow",
    "Limits",
    "ProcessOver",
    "ProcessRow",
    "Saved",
    "SavedLearned",
    "Series",
    "Settled",
    "Silence",
    "Silent",
    "SpanRow",
    "Tracker",
    "Trouble",
    "learned",
    "replay",
    "resume",
    "save",
    "settled",
]
