"""The call that a late job repeats: how often, since when, how it ends, and at which line.

A loop of many short calls has no span that lasts and no place where it stands. So its spans are counted as they end, by
name; of one now and then the registry keeps an example, which says whom it calls and how it fails. Where no client is
instrumented the looks alone tell: they meet the same call again, and each time another part of it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.trace import SpanKind

from lastspan.semconv import attributes as a

from ..evidence.stack.place import Location, StackHistory, Steps
from ..guest import redact
from .places import code_attributes

if TYPE_CHECKING:
    from ..registry.spans import Example

Attributes: TypeAlias = "dict[str, Any]"

_CALLS_MIN: Final = 5
"""So many equal calls are a loop."""
_QUIET: Final = 5.0
"""A loop that has made no call for so long does something else, unless its pauses are long, s."""
_PAUSES: Final = 3
_NAMES_MAX: Final = 32
_SAMPLES: Final = 12
_SAMPLES_MIN: Final = 3
_EXAMPLE_EVERY: Final = 15.0
"""Between two examples of one call, s."""
CALLS: Final = frozenset({"http", "db", "socket", "connect", "dns"})
"""Waits for a peer, by the words of `vocabulary.WAITS`."""
_CALLERS: Final = frozenset({SpanKind.CLIENT, SpanKind.PRODUCER})


class SampledCall(NamedTuple):
    """A known call that a look met."""

    call: str
    """As its library names it: `requests.get`."""
    peer: str
    sent: float | None
    """s since our own end last sent a byte; None: not known."""


_NO_SAMPLED_CALL: Final = SampledCall("", "", None)


@dataclass(slots=True)
class _CallStatistics:
    """The calls of one name."""

    began: float
    last: float
    """When one last ended."""
    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    """All that they took."""
    is_caller: bool = False
    target: str = ""
    """host:port/path, if examples said so: what their paths have in common; it may hold a key to the service."""
    varies: bool = False
    """Their paths differ: `…` stands for where they do."""
    peer: str = ""
    error: str = ""
    example_at: float | None = None

    def goes_on(self, now: float) -> bool:
        """Say whether it is a loop, and still runs."""
        pause = (self.last - self.began) / max(self.count - 1, 1)
        return self.count >= _CALLS_MIN and now - self.last <= max(_QUIET, _PAUSES * pause)

    @property
    def fails(self) -> bool:
        """Most of them end with an error."""
        return 2 * self.errors > self.count


class RepeatedCalls:
    """Of one late job; fed by the watcher alone, the time is an argument. Spans, frames and values are not kept."""

    def __init__(self, since: float) -> None:
        self.since = since
        """Nothing before that counts: the job did something new then."""
        self._calls: dict[str, _CallStatistics] = {}
        self._place = StackHistory()
        self._begins: CodeType | None = None
        """The outermost code of its stack."""
        self._stands: deque[Location] = deque(maxlen=_SAMPLES)
        """Where the last looks met the code."""
        self._seen: deque[SampledCall] = deque(maxlen=_SAMPLES)
        self._met = ""
        """The call that the looks meet again and again."""
        self._looked_at = since
        self.called_at = 0.0
        """When a call was last over."""

    def reset(self, now: float) -> None:
        """The job has done something new."""
        self.since = now
        self._calls.clear()
        self._stands.clear()

    def ended(self, name: str, seconds: float, now: float, *, is_error: bool) -> None:
        """Count a span of the job that has ended."""
        self.called_at = now
        calls = self._calls.get(name)
        if calls is None:
            if len(self._calls) >= _NAMES_MAX:
                return
            calls = self._calls[name] = _CallStatistics(now, now)
        calls.last = now
        calls.count += 1
        calls.errors += is_error
        calls.seconds += seconds

    def wants_example(self, now: float) -> bool:
        """Say whether it is worth it to look closer at a call as it ends."""
        return any(
            calls.count > 1 and (calls.example_at is None or now - calls.example_at >= _EXAMPLE_EVERY)
            for calls in self._calls.values()
        )

    def example(self, example: Example, now: float) -> None:
        """Take what one call said of itself."""
        calls = self._calls.get(redact.span_name(example.name))
        if calls is None:
            return
        facts = redact.call_attributes(example.attributes)
        calls.is_caller = example.kind in _CALLERS
        calls.peer = _peer(facts)
        target = _target(facts)
        shared = target if calls.example_at is None else _shared(calls.target, target)
        calls.varies = calls.varies or (calls.example_at is not None and shared != calls.target)
        calls.target = shared
        calls.error = _error(example, facts)
        calls.example_at = now

    def sample(self, steps: Steps, package: str, seen: SampledCall | None, now: float) -> None:
        """Take a look at the job's code; *seen*: the known call in it. It counts if it was begun since the last look.

        That is so if something was sent since; where that is not known, if the stack has changed.
        """
        steps = self._from_its_task_on(steps)
        self._place.take(steps)
        is_another = seen is not None and (
            not self._place.is_still if seen.sent is None else seen.sent < now - self._looked_at
        )
        self._looked_at = now
        stand = self._place.location(package, is_busy=True)
        if stand is not None:
            self._stands.append(stand)
        self._seen.append(seen if seen is not None and is_another else _NO_SAMPLED_CALL)
        calls = Counter(one.call for one in self._seen if one.call)
        call, times = max(calls.items(), key=lambda one: one[1], default=("", 0))
        if times >= _SAMPLES_MIN or self._met not in calls:  # what was said once is not taken back by one look less
            self._met = call if times >= _SAMPLES_MIN else ""

    def _from_its_task_on(self, steps: Steps) -> Steps:
        """A task that runs is met below its loop, one that waits is met alone: both begin with the task's own code."""
        at = next((index for index, (code, _) in enumerate(steps) if code is self._begins), None)
        if at is None:
            self._begins, self._place, at = steps[0][0], StackHistory(), 0
        return steps[at:]

    # --- as attributes ------------------------------------------------------------------------------------------------

    def code(self) -> Attributes:
        """Return the line that the looks met most often; {}: none was seen."""
        steps = [one.step for one in self._stands if one.is_application] or [one.step for one in self._stands]
        if not steps:
            return {}
        return code_attributes(*Counter(steps).most_common(1)[0][0])

    def attributes(self, now: float) -> Attributes:
        """Return which call it repeats; {}: none."""
        name = self._name(now)
        if name is None:
            return self._by_samples()
        calls = self._calls[name]
        return {
            a.REPEAT_CALL: redact.text(f"{name} {redact.route(calls.target)}" if calls.target else name, 512),
            a.REPEAT_VARIES: calls.varies,
            a.REPEAT_PEER: calls.peer or None,
            a.REPEAT_COUNT: calls.count,
            a.REPEAT_WINDOW: now - calls.began,
            a.REPEAT_ERRORS: calls.errors,
            a.REPEAT_ERROR: (calls.error if calls.fails else "") or None,
        }

    def fingerprint(self, now: float) -> object:
        """What, when it changes, is news."""
        name = self._name(now)
        calls = self._calls.get(name or "")
        if calls is None:
            return self._met
        return name, calls.target, calls.error if calls.fails else ""

    def _name(self, now: float) -> str | None:
        """Of several calls in one loop: the one that fails, that is a client's, that takes the most time."""
        going = [(name, calls) for name, calls in self._calls.items() if calls.goes_on(now)]
        best = max(going, key=lambda one: (one[1].fails, one[1].is_caller, one[1].seconds), default=None)
        return None if best is None else best[0]

    def _by_samples(self) -> Attributes:
        if not self._met:
            return {}
        peers = {seen.peer for seen in self._seen if seen.call == self._met and seen.peer}
        return {a.REPEAT_CALL: self._met, a.REPEAT_PEER: peers.pop() if len(peers) == 1 else None}


def sampled_call(found: Attributes, sent: float | None) -> SampledCall | None:
    """Return the known call of a diagnosis, if it is one to a peer."""
    call = found.get(a.WAIT_CALL)
    return SampledCall(call, found.get(a.WAIT_PEER) or "", sent) if call and found.get(a.WAIT_KIND) in CALLS else None


def _peer(facts: dict[str, redact.Value]) -> str:
    for host, port in (("server.address", "server.port"), ("network.peer.address", "network.peer.port")):
        if address := facts.get(host):
            return redact.text(f"{address}:{facts[port]}" if facts.get(port) else address)
    return _host(str(facts.get("url.full") or ""))


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _target(facts: dict[str, redact.Value]) -> str:
    """Return host and path of a URL; its template's, if that is known."""
    url = str(facts.get("url.full") or "")
    if not url:
        return ""
    template = facts.get("url.template")
    return f"{_host(url)}{template}" if template else url.partition("://")[2]


def _shared(one: str, other: str) -> str:
    """Write `…` for the part of a path where two differ."""
    if one == other:
        return one
    parts, others = one.split("/"), other.split("/")
    if len(parts) != len(others):
        return "/".join([*_common(parts, others), "…"])
    return "/".join(mine if mine == theirs else "…" for mine, theirs in zip(parts, others, strict=True))


def _common(parts: list[str], others: list[str]) -> list[str]:
    found = []
    for mine, theirs in zip(parts, others, strict=False):
        if mine != theirs:
            break
        found.append(mine)
    return found


def _error(example: Example, facts: dict[str, redact.Value]) -> str:
    """Return how it failed: the answer's status, or the type of the error."""
    status = facts.get("http.response.status_code")
    if isinstance(status, int) and status >= 400:
        return str(status)
    kind = example.error.rpartition(".")[2]
    return redact.text(kind, 64) if kind.isidentifier() else ""  # a message, which may say anything
