"""Kombu's file transport, whose messages are whole from the first moment that they can be seen.

Its own writes into the file that workers look for: one that looks just then reads half a message, and ends.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Writes under another name first."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        whole = Path(self.data_folder_out, f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg")
        part = whole.with_suffix(".part")
        part.write_text(dumps(payload), encoding="utf-8")
        part.rename(whole)


class Transport(filesystem.Transport):
    """What `broker_transport` names."""

    Channel = Channel
