"""What workers of before said in texts for people, made what workers of now say in attributes of their own.

The one place that takes such texts apart; the rest of the collector knows the new form alone. A row that has a text is
copied, and what stands in the text is put where it belongs. `semconv.attributes.OLDER_NAMES` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Final

from lastspan.semconv.vocabulary import WaitKind, WaitPurpose

from . import layout

_TEXTS: Final = frozenset({*range(layout.OLDER.start, layout.OLDER.stop), layout.OLDER_OVERSLEPT_CODE})
_CALL, _VARIES = layout.REPEAT.start, layout.REPEAT.start + 1
_KIND, _NAME, _JOB_IDS = layout.WAIT.start, layout.WAIT.stop - 2, layout.WAIT.stop - 3
_LOCK = layout.LOCK.start
IN_TEXT: Final = frozenset({layout.WAIT_CALL, _LOCK})
"""Of these the text itself tells whether it says more than a name, as it did before."""
_JOB_ID, _JOB_NAME, _TASK = (layout.LOOP.start + place for place in (2, 3, 4))
_FIRST_LINE = layout.CODE.stop + 3
_PROCESS: Final = re.compile(r"(?P<program>[^,()]*) \(pid (?P<pid>\d{1,10}), (?P<state>\w)\)")
_PID: Final = re.compile(r"(?:(?P<name>.*), )?(?:pid )?(?P<pid>\d{1,10})", re.DOTALL)
_PURPOSES: Final = {"broker": WaitPurpose.BROKER, "result backend": WaitPurpose.RESULT_BACKEND}
_NETWORK: Final = frozenset({WaitKind.SOCKET, WaitKind.CONNECT, WaitKind.DNS})


def speaks(taken: Set[int], row: list[Any]) -> bool:
    """Whether records that have these slots, and these values of those `IN_TEXT`, say something in an older form."""
    if not taken.isdisjoint(_TEXTS) or (_CALL in taken and _VARIES not in taken):
        return True
    is_named = row[_LOCK] is not None and row[layout.LOCK_PLACE] == [None, None]
    return (is_named and " in " in row[_LOCK]) or (
        row[layout.WAIT_PURPOSE] is None and _purpose(row[layout.WAIT_CALL] or "") is not None
    )


def renewed(row: list[Any]) -> list[Any]:
    """Return the row as a worker of now would have sent it."""
    row = row[:]
    _lines(row, row[layout.OLDER_LINES])
    _target(row, row[layout.OLDER_TARGET])
    _task(row, row[layout.OLDER_TASK])
    _sessions(row, row[layout.OLDER_SESSIONS])
    _place(row, layout.HOLDER_PLACE, row[layout.OLDER_HOLDER_CODE])
    _place(row, layout.LOOP_PLACE, row[layout.OLDER_LOOP_CODE])
    _place(row, layout.OVERSLEPT_PLACE, row[layout.OLDER_OVERSLEPT_CODE])
    _lock(row)
    if row[_VARIES] is None:
        row[_VARIES] = "…" in row[_CALL]
    if row[layout.WAIT_PURPOSE] is None:
        row[layout.WAIT_PURPOSE] = _purpose(row[layout.WAIT_CALL] or "")
    return row


def _lines(row: list[Any], text: str | None) -> None:
    """`97-109`."""
    first, _, last = (text or "").partition("-")
    if first.isdecimal() and last.isdecimal():
        row[_FIRST_LINE : _FIRST_LINE + 2] = int(first), int(last)


def _target(row: list[Any], text: str | None) -> None:
    """`uploader`, `pid 31`, `Process-1, pid 31`, `gzip (pid 31, S), cat (pid 32, S)`, `broker`, or ids of jobs."""
    kind = row[_KIND]
    if not text:
        return
    if kind is WaitKind.JOB:
        row[_JOB_IDS] = tuple(text.split(", "))
    elif kind in _NETWORK and text in _PURPOSES:
        row[layout.WAIT_PURPOSE] = _PURPOSES[text]
    elif kind in (WaitKind.PROCESS, WaitKind.PIPE) and (found := list(_PROCESS.finditer(text))):
        row[layout.PROCESSES] = (
            tuple(int(one["pid"]) for one in found),
            tuple(one["program"].lstrip(" ").replace("?", "") for one in found),
            tuple(one["state"] for one in found),
        )
    elif kind in (WaitKind.PROCESS, WaitKind.PIPE) and (one := _PID.fullmatch(text)):
        row[layout.PROCESSES] = (int(one["pid"]),), (), ()
        row[_NAME] = one["name"]
    else:
        row[_NAME] = text


def _task(row: list[Any], text: str | None) -> None:
    """`Task-7`, or `job tasks.sync 5b3d`."""
    word, _, named = (text or "").partition(" ")
    name, _, id = named.rpartition(" ")
    if word == "job" and name:
        row[_JOB_ID], row[_JOB_NAME] = id, name
    elif text:
        row[_TASK] = text


def _sessions(row: list[Any], texts: tuple[str, ...]) -> None:
    """`postgresql db:5432 31 10.0.0.2:9`, each word `-` if it is not known."""
    told = (["" if part == "-" else part for part in text.split(" ")] for text in texts)
    found = [parts for parts in told if len(parts) == 4]  # else it is not known how to read it
    if found:
        row[layout.SESSIONS] = map(tuple, zip(*found, strict=True))


def _place(row: list[Any], group: slice, text: str | None) -> None:
    """`flush, billing/pool.py:60`."""
    if text:
        function, _, where = text.partition(", ")
        file, _, line = where.rpartition(":")
        row[group] = (function, file, int(line)) if file and line.isdecimal() else (text, None, None)


def _lock(row: list[Any]) -> None:
    """`self._lock in billing/pool.py:41`, or, of a lock that the code gives no name, `lock in billing/pool.py:41`."""
    name, _, where = (row[_LOCK] or "").rpartition(" in ")
    file, _, line = where.rpartition(":")
    if name and file and line.isdecimal() and row[_KIND] not in (WaitKind.REDIS_LOCK, WaitKind.FILE_LOCK):
        row[layout.LOCK_PLACE] = file, int(line)
        row[_LOCK] = None if name == row[_KIND] else name.removeprefix("task ")


def _purpose(call: str) -> WaitPurpose | None:
    if call.endswith("do_handshake"):
        return WaitPurpose.TLS_HANDSHAKE
    return WaitPurpose.NOTIFICATION if "notif" in call else None
