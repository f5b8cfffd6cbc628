"""State: what is open, according to the records. One thread owns it; nothing in it is locked."""

from .counts import OPEN_STATES, Counts, Incident, Series
from .limits import Limits
from .rows import End, JobRow, ProcessRow, Silence, SpanRow, SuspectState
from .saved import (
    Saved,
    SavedLearned,
    SavedProcessEnd,
    SavedReset,
    SavedSilence,
    SavedVerdict,
    learned,
    replay,
    resume,
    save,
    saved_verdict,
)
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
    "Saved",
    "SavedLearned",
    "SavedProcessEnd",
    "SavedReset",
    "SavedSilence",
    "SavedVerdict",
    "Series",
    "Silence",
    "SpanRow",
    "SuspectState",
    "Tracker",
    "learned",
    "replay",
    "resume",
    "save",
    "saved_verdict",
]
