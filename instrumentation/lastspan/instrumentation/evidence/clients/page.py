"""The shape of a page: in which calls of a library a job waits, and where the library keeps what is asked of it.

Nothing of the library is imported or called. What is to be read is named by a path, from a variable of the function on:
`self.name`, `address.0`; of several by the first that is there, `src|first_list`. Only text, numbers, and the first few
texts of a list or the keys of a dictionary, ever leave; so name nothing that may hold a payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias, TypeVar

from ...registry.session import Session

T = TypeVar("T")

NONE: Final = "none"
"""As a timeout: the call cannot be given one."""


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A function that waits."""

    kind: str
    """What for: a word of `semconv.vocabulary.WAITS`."""
    timeout: str = ""
    """The variable that holds its timeout: None or a negative number is none. Empty: it cannot be read here."""
    target: str = ""
    """The name of what it waits for, paths in braces: `{self.name}`, or with one of `WORDS`, `{thread of self}`."""
    peer: str = ""
    """host:port or path of that."""
    job: str = ""
    """The id of the job that it waits for."""
    system: str = ""
    """The framework of that job."""
    unit: float = 1.0
    """Seconds in one unit of the timeout."""
    is_zero_never: bool = False
    """A timeout of 0 is none."""
    is_final: bool = False
    """It is what is waited for, whoever called it: a free connection, not the query for which one is needed."""
    is_weak: bool = False
    """Only if nothing else is known: it hands the waiting on."""
    pid: str = ""
    """The number of the process that it waits for."""
    jobs: str = ""
    """Several jobs, of which those are told that have not ended."""
    purpose: str = ""
    """What the call is for, where its kind does not say it: a word of `semconv.vocabulary.PURPOSES`."""


@dataclass(frozen=True, slots=True)
class TimeoutSource:
    """Where a function keeps the timeout in force and its peer, where the system call does not show them."""

    timeout: tuple[str, ...] = ()
    """One after the other, for as long as they are None."""
    peer: str = ""
    transport: str = ""
    """A transport of asyncio, or a socket."""
    stream: str = ""
    """The same, of a client that knows its peer by name: only the descriptor is taken."""
    deadline: str = ""
    """A point in time, by `time.time()`, None for none; or what can tell how much time remains."""


class Unread(Enum):
    """A timeout of which no part is read."""

    OF_SOCKETS = "the default of sockets"
    UNKNOWN = "in force, and it does not say how long it is"


Calls: TypeAlias = "dict[str, dict[str, KnownCall]]"
SessionReader: TypeAlias = Callable[[object], "Session | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that is known of one library; each part is empty where there is nothing to say."""

    calls: Mapping[str, Mapping[str, KnownCall]] = field(default_factory=dict)
    """By module that defines the function (its `__module__`), by qualified name. Of several known calls on a stack the
    one nearest to the application counts: it is what the application called."""
    native: Mapping[str, KnownCall] = field(default_factory=dict)
    """Functions in C, whose frames are not seen: by module, type and name, as the calling line has them."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Packages whose functions wait for nothing else: the kind, where no row says more."""
    timeouts: Mapping[str, Mapping[str, TimeoutSource]] = field(default_factory=dict)
    """By module, by name of the function."""
    timeout_classes: Mapping[str, tuple[str, ...] | Unread] = field(default_factory=dict)
    """Its own kinds of timeout, by class: the parts that bound the wait for an answer."""
    sessions: Mapping[str, SessionReader] = field(default_factory=dict)
    """By package of a driver: reads the database session of its connections and cursors."""
    wraps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By package of what wraps a connection: where it keeps it."""
    pooled: Mapping[str, str] = field(default_factory=dict)
    """By package and class of what has a connection: where it keeps the pool that this one is of."""
    threads: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By module and name of a function that waits for a thread of the library's own: which variable leads to it."""


def each(names: str, row: T) -> dict[str, T]:
    """Return the same row under several names."""
    return dict.fromkeys(names.split(), row)
