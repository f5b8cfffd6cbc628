"""Names of what is waited for and of where code stands, as people read them."""

from __future__ import annotations

from lastspan.semconv.vocabulary import WaitPurpose

from ..model.evidence import CodeLine, Lock, Loop, Wait, WaitedProcess

_PURPOSES = {WaitPurpose.BROKER: "broker", WaitPurpose.RESULT_BACKEND: "result backend"}


def file_line(file: str | None, line: object) -> str:
    """Write a code line by the last two parts of its path: `billing/sync.py:88`."""
    if not file:
        return ""
    return "/".join(file.replace("\\", "/").split("/")[-2:]) + (f":{line}" if line else "")


def code_line(place: CodeLine | None) -> str:
    """Write where code stands: `flush, billing/pool.py:60`; empty: not known."""
    if place is None:
        return ""
    return ", ".join(part for part in (place.function, file_line(place.file, place.line)) if part)


def lock_name(lock: Lock) -> str:
    """Write a lock's name and where the code takes it: `self._lock in billing/pool.py:41`; empty: not known."""
    where = "" if lock.place is None else f"in {file_line(lock.place.file, lock.place.line)}"
    return " ".join(part for part in (lock.name, where) if part)


def loop_keeper(loop: Loop) -> str:
    """Name the job or task that keeps an event loop from running: `job tasks.sync 5b3d`; empty: not known."""
    return f"job {loop.job_name or ''} {loop.job_id}" if loop.job_id else loop.task or ""


def waited_for(wait: Wait) -> str:
    """Write what a wait is for, but a lock or a peer: `uploader`, `pid 31`, `gzip (pid 31, S)`; empty: not known."""
    if wait.processes:
        return ", ".join([*filter(None, [wait.name]), *map(_process, wait.processes)])
    return wait.name or ", ".join(wait.job_ids) or _PURPOSES.get(wait.purpose, "")  # type: ignore[arg-type]  # None: ""


def _process(one: WaitedProcess) -> str:
    pid = f"pid {one.pid}"
    if not one.program and not one.state:
        return pid
    return f"{one.program or '?'} ({', '.join(part for part in (pid, one.state) if part)})"
