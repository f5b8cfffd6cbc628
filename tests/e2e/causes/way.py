"""A labelled way to hang: what the program does, and what lastspan is to say of it, fixed before it is first run.

A way is a function that never returns; the line where it stops carries the comment `# <- stops here`. A loop may carry
it on each of its lines: any of them is where it stands. Where the line is in another function of the module, the
comment names the way: `# <- NAME stops here`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from lastspan.semconv.vocabulary import CAUSES

JOB: Final = r"job "
"""Last span: the job itself."""
HTTP: Final = r"http "
DB: Final = r"db "

Host = Literal["plain", "uvloop", "gevent", "prefork", "threads", "celery-gevent", "solo"]
"""What runs the job: a program of its own, on which event loop, or a Celery worker with this pool."""
CELERY_POOLS: Final[dict[str, str]] = {
    "prefork": "prefork",
    "threads": "threads",
    "celery-gevent": "gevent",
    "solo": "solo",
}
Place = Literal["thread", "process", "task"]
Fault = Callable[[dict[str, Any]], None]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to hang, with its labels."""

    name: str
    """Of the job too."""
    family: str
    function: Callable[..., Any]
    file: str
    lines: frozenset[int]
    """Where it stops."""
    stops_in: str = ""
    """Where its own code is over: the function of a library that has it now (a regular expression)."""
    causes: frozenset[str]
    """What it is to be called; more than one only with a reason in `because`."""
    because: str = ""
    span: str
    """Last span with client instrumentation: begins like this, as "kind name" (a regular expression)."""
    bare_span: str
    """Last span without."""
    beside: tuple[Callable[..., Any], ...] = ()
    """Other jobs, started before it, each until it calls `ready()`; named `way.function`."""
    where: Place = "thread"
    """Where those run: threads, tasks of the same loop, or programs of their own."""
    held_by: str | None = None
    """Which of them holds what it waits for."""
    peer: str | None = None
    """The address that it waits for: a field of the place."""
    needs: frozenset[str] = frozenset()
    """Servers: postgres, pgbouncer, mariadb, redis."""
    host: Host = "plain"
    deliveries: int = 1
    """How often its message is sent (Celery), with one and the same id."""
    fault: Fault | None = None
    """What happens to it once it runs, from outside."""
    states: frozenset[str] = frozenset({"stuck"})
    is_heavy: bool = False
    """It takes a core: only one such at a time."""
    seconds: float = 45.0
    """How long until it is seen, at most."""
    settle: float = 6.0
    """Seconds from its first verdict to the one that is judged: nobody looks within one."""
    python: tuple[int, int] = (3, 10)
    in_test: bool = False
    """One of those that `make test` runs: one for each cause."""

    @property
    def is_celery(self) -> bool:
        """Whether a Celery worker runs it."""
        return self.host in CELERY_POOLS


WAYS: Final[dict[str, Way]] = {}
"""Every way that was declared, by name."""


@dataclass(frozen=True, slots=True)
class _Labels:
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, function: _F) -> _F:
        way = _declare(inspect.unwrap(getattr(function, "run", function)), self.options)
        if way.name in WAYS:
            raise ValueError(f"two ways are called {way.name}")
        WAYS[way.name] = way
        return function


def way(*causes: str, span: str = JOB, bare_span: str | None = None, **options: Any) -> _Labels:
    """Label the decorated function as a way to hang; the options are the fields of `Way`."""
    bare = bare_span if bare_span is not None else JOB if span in {HTTP, DB} else span
    needs = frozenset(str(options.pop("needs", "")).split())
    return _Labels({"causes": frozenset(causes), "span": span, "bare_span": bare, "needs": needs, **options})


def lock(name: str) -> str:
    """Last span: the wait for a lock of this name, as the code has it."""
    return rf"lock .*{name}"


def wait(name: str) -> str:
    """Last span: the wait for something of this name; the span is of no kind that has a name."""
    return rf"(lock|other) .*{name}"


def own_wait() -> str:
    """Last span: the job itself, or the wait as a span of its own."""
    return r"(job|lock|other) "


def _declare(function: Callable[..., Any], options: dict[str, Any]) -> Way:
    name = function.__name__
    unknown = options["causes"] - CAUSES.keys()
    if unknown or not options["causes"]:
        raise ValueError(f"{name}: not a cause: {unknown}")
    if len(options["causes"]) > 1 and not options.get("because"):
        raise ValueError(f"{name}: more than one cause needs a reason")
    file = Path(inspect.getfile(function))
    family = function.__module__.rpartition(".")[2]
    lines = _lines(function, file) if not options.get("stops_in") else frozenset()
    return Way(name=name, family=family, function=function, file=str(file), lines=lines, **options)


def _lines(function: Callable[..., Any], file: Path) -> frozenset[int]:
    """Return the marked lines of a way; ValueError if there are none."""
    own, first = inspect.getsourcelines(function)
    marked = {number for number, line in enumerate(own, first) if "# <- stops here" in line}
    everywhere = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    marked |= {number for number, line in everywhere if f"# <- {function.__name__} stops here" in line}
    if not marked:
        raise ValueError(f"{function.__name__}: no line says where it stops")
    return frozenset(marked)
