"""Puts dashboards into a Grafana by its HTTP API. Needs nothing but `requests`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests

_SECONDS: Final = 30.0
_UID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TOKEN: Final = re.compile(r"[!-~]+")
_SHOWN: Final = 200


class PushError(Exception):
    """Grafana did not take it; the message says why.

    Status: 1 it said no, 2 it was not reached or the token is wrong.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the dashboards that were written into *folder*; raise `PushError` if there are none, or other things."""
    found = {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}
    if not found:
        raise PushError(f"{folder}: no dashboard (*.json) is in it", 2)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PushError(f"{path}: {error.strerror}", 2) from None
    except (ValueError, RecursionError):
        raise PushError(f"{path}: no JSON", 2) from None
    uid = dashboard.get("uid") if isinstance(dashboard, dict) else None
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise PushError(f"{path}: no dashboard with a uid", 2)
    return dict(dashboard)


class Grafana:
    """A Grafana, and a token for it."""

    def __init__(self, url: str, token: str) -> None:
        if not _is_address(url):
            raise PushError("--url: write https://grafana.example, without name and password", 2)
        if not _TOKEN.fullmatch(token):
            raise PushError("--token: is empty, or has spaces or letters that no token has", 2)
        self._url, self._token = url.rstrip("/"), token
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace the token
        self._session.headers["Authorization"] = f"Bearer {token}"

    def push(
        self, dashboards: Mapping[str, Mapping[str, Any]], *, folder: str, overwrite: bool = True, dry_run: bool = False
    ) -> Iterator[str]:
        """Put the dashboards into *folder*; yield a line for each thing that is done, or would be."""
        if not _UID.fullmatch(folder):
            raise PushError(f"--folder: {folder!r} is no uid: 1 to 40 letters, digits, - and _", 2)
        if self._ask("GET", f"/api/folders/{folder}") is None:
            if not dry_run:
                self._ask("POST", "/api/folders", {"uid": folder, "title": folder})
            yield f"folder {folder}: {'would be made' if dry_run else 'made'}"
        for name, dashboard in sorted(dashboards.items()):
            done = self._difference(dashboard)
            if not dry_run and done != "unchanged":
                self._put(name, dashboard, folder, overwrite)
            yield f"{name}: {'would be ' if dry_run and done != 'unchanged' else ''}{done}"

    def _difference(self, dashboard: Mapping[str, Any]) -> str:
        there = self._ask("GET", f"/api/dashboards/uid/{dashboard['uid']}")
        if there is None:
            return "made"
        known = there.get("dashboard")
        if not isinstance(known, dict):
            raise PushError(f"what answers at {self._url} is no Grafana", 2)
        same = {key: value for key, value in known.items() if key not in ("id", "version")}
        return "unchanged" if same == {**dashboard} else "replaced"

    def _put(self, name: str, dashboard: Mapping[str, Any], folder: str, overwrite: bool) -> None:
        body = {
            "dashboard": dashboard,
            "folderUid": folder,
            "overwrite": overwrite,
            "message": "lastspan dashboards push",
        }
        try:
            self._ask("POST", "/api/dashboards/db", body)
        except PushError as error:
            raise PushError(f"{name}: {error}", error.status) from None

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer; None: it is not there."""
        try:
            answer = self._session.request(method, self._url + path, json=body, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise PushError(f"no Grafana answers at {self._url} ({type(error).__name__})", 2) from None
        if answer.status_code == 404 and method == "GET":
            return None
        if answer.status_code in (401, 403):
            raise PushError(f"Grafana refuses the token ({answer.status_code}): it needs the role Editor", 2)
        if not answer.ok or answer.is_redirect:
            raise PushError(f"Grafana answered {answer.status_code} to {method} {path}: {self._message(answer)}")
        try:
            told = answer.json()
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise PushError(f"what answers at {self._url} is no Grafana", 2)
        return told

    def _message(self, answer: requests.Response) -> str:
        """Return why, in a line; whatever answers may send back what it was sent."""
        if answer.is_redirect:
            return f"it is elsewhere, at {urlsplit(answer.headers['Location']).netloc or 'another path'}"
        try:
            told = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            told = answer.text
        told = " ".join(told.replace(self._token, "…").split())[:_SHOWN]
        return "".join(letter if letter.isprintable() else "?" for letter in told)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and " " not in url
    except ValueError:
        return False
