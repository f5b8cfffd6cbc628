"""What the control group of a process reports: whether it is frozen, and its out-of-memory kills.

Both versions of control groups, from within a container or beside it (`man 7 cgroups`; Linux's `cgroup-v2.rst`, and
`memory.rst` and `freezer-subsystem.rst` of `cgroup-v1`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..guest import procfs

_EXPLAINS_FOR: Final = 10.0
"""s; a process that the kernel killed is seen dead within a few looks, or it was another."""

Mounts: TypeAlias = "dict[str, tuple[str, str]]"
"""Controller → (the group that is mounted, where); an empty controller: version 2."""


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The files of one process's control group; empty: there is none that we can see."""

    memory: str = ""
    """Counts the kills: `memory.events`, in version 1 `memory.oom_control`."""
    freezer: str = ""
    """Tells whether it is frozen: `cgroup.events`, in version 1 `freezer.state`."""

    def oom_kills(self) -> int | None:
        """Return the number of out-of-memory kills in it since it was created; None: not known."""
        return counted(_text(self.memory), "oom_kill") if self.memory else None

    def is_frozen(self) -> bool:
        """Say whether it is frozen now."""
        if not self.freezer:
            return False
        text = _text(self.freezer)
        return text.strip() == "FROZEN" or counted(text, "frozen") == 1


class OomKills:
    """The out-of-memory kills in one control group, each of which explains one killed process."""

    __slots__ = ("_total", "_unexplained")

    def __init__(self) -> None:
        self._total: int | None = None
        self._unexplained: deque[float] = deque(maxlen=1000)

    def count(self, total: int | None, now: float) -> None:
        """Take the kernel's count; the first one is where we begin. *now* is monotonic (s)."""
        if total is None:
            return
        if self._total is not None:
            self._unexplained.extend([now] * min(max(total - self._total, 0), 1000))
        self._total = total

    def explains_one(self, now: float) -> bool:
        """Say whether a process that was just found killed is one of them; each is used once."""
        while self._unexplained and now - self._unexplained[0] > _EXPLAINS_FOR:
            self._unexplained.popleft()
        if not self._unexplained:
            return False
        self._unexplained.popleft()
        return True


def group_of(pid: int, mounted: Mounts, proc: str = "/proc") -> ControlGroup:
    """Return the control group of a process; remember it while it lives, for a dead one has none."""
    paths = groups(_text(f"{proc}/{pid}/cgroup"))
    # Version 1 goes first: where both are mounted, version 2 has the controllers that version 1 left.
    memory = _folder("memory", paths, mounted)
    freezer = _folder("freezer", paths, mounted)
    unified = _folder("", paths, mounted)
    return ControlGroup(
        f"{memory}/memory.oom_control" if memory else f"{unified}/memory.events" if unified else "",
        f"{freezer}/freezer.state" if freezer else f"{unified}/cgroup.events" if unified else "",
    )


def read_mounts(proc: str = "/proc") -> Mounts:
    """Return where control groups are mounted."""
    return mounts(_text(f"{proc}/self/mountinfo"))


# --- pure: the kernel's files ---------------------------------------------------------------------------------------


def counted(text: str, name: str) -> int | None:
    """Return the number behind *name* in lines of `name number`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return None


def groups(text: str) -> dict[str, str]:
    """Return controller → path from `/proc/<pid>/cgroup`, lines of `number:controllers:path`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/"):
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def mounts(mountinfo: str) -> Mounts:
    """Return the control groups in `/proc/self/mountinfo` (`man 5 proc_pid_mountinfo`)."""
    found: Mounts = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or len(kind) < 3 or kind[0] not in {"cgroup", "cgroup2"}:
            continue
        for controller in [""] if kind[0] == "cgroup2" else kind[2].split(","):
            found.setdefault(controller, (place[3], place[4]))
    return found


def _folder(controller: str, paths: dict[str, str], mounted: Mounts) -> str:
    """Return where the files of a process's group are; a container may see only a part of the tree."""
    path, (root, place) = paths.get(controller), mounted.get(controller, ("", ""))
    if path is None or not place or "/.." in path:  # "..": it is outside of what this container sees
        return ""
    if root == "/":
        return place + path.rstrip("/")
    if path == root or path.startswith(f"{root}/"):
        return place + path.removeprefix(root)
    return ""


def _text(path: str) -> str:
    return procfs.read_table(path).decode("utf-8", "replace")
