"""Alertmanager's API v2 over HTTP: one request, one answer, within a time. Decides nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec

from .model import Post
from .target import AlertmanagerTarget
from .tls import tls

_SAID = 300
Wall = Callable[[int], float]
"""From a time of the pipeline to seconds since the epoch."""


class PostError(Exception):
    """Alerts could not be posted; the message says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """connection, timeout, refused (the alerts themselves: not to be sent again), secret, status_503, …"""


class Client:
    """Posts to one Alertmanager, over one kept connection."""

    def __init__(self, url: str, target: AlertmanagerTarget, *, wall: Wall) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._target, self._wall = target, wall
        self._http = httpx.AsyncClient(
            verify=tls(target),
            timeout=target.timeout_s,
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
            headers={"Content-Type": "application/json", "User-Agent": "lastspan"},
        )

    async def post(self, batch: Sequence[Post]) -> None:
        """Tell *batch*; PostError if it was not taken."""
        body = msgspec.json.encode([self._json(post) for post in batch])
        try:
            await asyncio.wait_for(self._send(body), self._target.timeout_s)
        except (asyncio.TimeoutError, httpx.TimeoutException):
            raise PostError("timeout", f"no answer within {self._target.timeout_s:g} s") from None
        except (httpx.HTTPError, OSError) as problem:
            raise PostError("connection", str(problem) or type(problem).__name__) from None

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def _send(self, body: bytes) -> None:
        headers, auth = self._credentials()
        async with self._http.stream("POST", self._url, content=body, headers=headers, auth=auth) as answer:
            if answer.is_success:
                return
            said = await _beginning(answer)
            reason = "refused" if answer.status_code == 400 else f"status_{answer.status_code}"
            raise PostError(reason, f"{answer.status_code} {said}".strip())

    def _credentials(self) -> tuple[dict[str, str], httpx.BasicAuth | None]:
        found = secret(self._target)
        if found is None:
            return {}, None
        if self._target.username is not None:
            return {}, httpx.BasicAuth(self._target.username, found)
        return {"Authorization": f"Bearer {found}"}, None

    def _json(self, post: Post) -> dict[str, Any]:
        return {
            "labels": dict(post.labels),
            "annotations": post.annotations,
            "startsAt": self._time(post.starts_ns),
            "endsAt": self._time(post.ends_ns),
            "generatorURL": self._target.settings.collector_url,
        }

    def _time(self, at_ns: int) -> str:
        return datetime.fromtimestamp(self._wall(at_ns), timezone.utc).isoformat(timespec="milliseconds")


def secret(target: AlertmanagerTarget) -> str | None:
    """Return the password or token; None: there is none. PostError if it cannot be read."""
    if target.secret_env is not None:
        return os.environ.get(target.secret_env, "")
    if target.secret_file is None:
        return None
    try:
        return Path(target.secret_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        words = getattr(problem, "strerror", None) or "it is not text"
        raise PostError("secret", f"{target.secret_file} cannot be read: {words}") from None


async def _beginning(answer: httpx.Response) -> str:
    """Return the first words of an answer, however long it is."""
    async for part in answer.aiter_bytes(_SAID):
        return part.decode(errors="replace").strip()
    return ""
