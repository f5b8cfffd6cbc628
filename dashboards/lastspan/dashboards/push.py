"""Puts dashboards into a Grafana by its HTTP API. Needs nothing but `requests`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import requests

_SECONDS: Final = 30.0


class PushError(Exception):
    """Grafana did not take it; the message says why.

    Status: 1 it said no, 2 it was not reached or the token is wrong.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the dashboards that were written into *folder*."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


class Grafana:
    """A Grafana, and a token for it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would replace the token
        self._session.headers["Authorization"] = f"Bearer {token}"

    def push(
        self, dashboards: Mapping[str, Mapping[str, Any]], *, folder: str, overwrite: bool = True, dry_run: bool = False
    ) -> Iterator[str]:
        """Put the dashboards into *folder*; yield a line for each thing that is done, or would be."""
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
        same = {key: value for key, value in there["dashboard"].items() if key not in ("id", "version")}
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
            raise PushError(f"Grafana answered {answer.status_code} to {method} {path}: {_message(answer)}")
        try:
            return answer.json()
        except ValueError:
            raise PushError(f"what answers at {self._url} is no Grafana", 2) from None


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
