"""A toy: a queue of files, and a worker that forks a process for each job. Small, and like the real ones."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

Message = dict[str, Any]
LISTENERS: Final[list[Callable[[Worker, str, Message], None]]] = []
"""Called in the parent with what happens: forked, limit, cancelled, lost, stopping."""


class AgainError(Exception):
    """Raised by a task that wants to be tried again."""


class Queue:
    """Messages are files; one that is called `<id>.cancel` takes a job back."""

    def __init__(self, folder: Path, name: str = "toys") -> None:
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, task: str, *arguments: Any, **options: Any) -> str:
        """Enqueue a call; options: limit (s), gives_back, headers, id, attempt."""
        message = {"id": uuid.uuid4().hex, "attempt": 1, "headers": {}, **options, "queue": self.name}
        message |= {"task": task, "arguments": arguments}
        path = self.folder / f"{time.time_ns()}.json"
        path.with_suffix(".new").write_text(json.dumps(message))
        path.with_suffix(".new").rename(path)
        return str(message["id"])

    def put_again(self, message: Message, **changes: Any) -> None:
        """Enqueue a message once more."""
        options = {**message, **changes}
        self.put(options.pop("task"), *options.pop("arguments"), **options)

    def take(self) -> Message | None:
        """Return the oldest message; it is gone then."""
        for path in sorted(self.folder.glob("*.json")):
            message: Message = json.loads(path.read_text())
            path.unlink()
            return message
        return None


class Worker:
    """Forks a process for each message, ends those beyond their limit, and gives back what a lost one had."""

    def __init__(self, queue: Queue, tasks: Mapping[str, Callable[..., Any]]) -> None:
        self.queue, self.tasks = queue, tasks
        self.running: dict[int, tuple[Message, float]] = {}
        """By pid: what it runs, and since when."""
        self.is_stopping = False

    def work(self) -> None:
        """Run until SIGTERM, and until what runs then has ended."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        while self.running or not self.is_stopping:
            if not self.is_stopping and (message := self.queue.take()) is not None:
                self.fork(message)
            for pid, (message, began) in list(self.running.items()):
                self.look_after(pid, message, time.time() - began)
            time.sleep(0.01)

    def stop(self) -> None:
        """Take no more messages."""
        self.is_stopping = True
        self.tell("stopping", {})

    def fork(self, message: Message) -> None:
        """Run a message in a process of its own, which ends by `os._exit`."""
        pid = os.fork()
        if pid == 0:
            os._exit(self.perform(message))
        self.running[pid] = message, time.time()
        self.tell("forked", message)

    def perform(self, message: Message) -> int:
        """Call the task. Raises nothing, as with many workers: 0 for done, 1 for failed, 2 for tried again."""
        try:
            self.tasks[message["task"]](*message["arguments"])
        except AgainError:
            self.queue.put_again(message, attempt=message["attempt"] + 1)
            return 2
        except Exception:
            return 1
        return 0

    def look_after(self, pid: int, message: Message, seconds: float) -> None:
        """End a process whose time is up or whose job was taken back; see whether it is gone."""
        if seconds > message.get("limit", seconds):
            self.kill(pid, message, "limit")
        elif (self.queue.folder / f"{message['id']}.cancel").exists():
            self.kill(pid, message, "cancelled")
        elif (ended := os.waitpid(pid, os.WNOHANG)) != (0, 0):
            del self.running[pid]
            if os.WIFSIGNALED(ended[1]):
                self.tell("lost", message)
                if message.get("gives_back"):
                    self.queue.put_again(message)

    def kill(self, pid: int, message: Message, reason: str) -> None:
        """End a process in the middle of its job."""
        self.tell(reason, message)
        del self.running[pid]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def tell(self, event: str, message: Message) -> None:
        """Call who listens."""
        for listener in LISTENERS:
            listener(self, event, message)
