"""Asks a collector's API, for the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from ..publish.text.printable import Json, printable

_TIMEOUT_S = 10.0
_ANSWERS = {"GET": "learned", "POST": "imported", "DELETE": "forgotten"}


class UnreachableError(Exception):
    """No collector answers there; the message says what to do."""


def raw_jobs(url: str, state: str | None) -> tuple[str, Json]:
    """Return the answer of `/api/v1/jobs` as text and as a tree."""
    query = "?" + urlencode({"state": state}) if state is not None else ""
    body = _fetch(url, "/api/v1/jobs" + query)
    return body, _tree(url, body, "counts")


def fetch_jobs(url: str, state: str | None) -> Json:
    """Return the answer of `/api/v1/jobs`."""
    return raw_jobs(url, state)[1]


def fetch_job(url: str, ref: str) -> Json | None:
    """Return one job; None: it is not known there."""
    try:
        return _tree(url, _fetch(url, "/api/v1/jobs/" + quote(ref, safe="", errors="surrogateescape")), "job_key")
    except HTTPError as problem:
        if problem.code == 404:
            return None
        raise UnreachableError(f"{url} answers with HTTP status {problem.code}") from None


def fetch_lint(url: str) -> Json:
    """Return the answer of `/api/v1/lint`."""
    return _tree(url, _fetch(url, "/api/v1/lint"), "findings")


def fetch_status(url: str) -> Json:
    """Return the answer of `/api/v1/status`."""
    return _tree(url, _fetch(url, "/api/v1/status"), "verdict_age_s")


def ask(
    url: str, path: str, *, method: str, body: bytes | None = None, query: Mapping[str, str | None] | None = None
) -> Json:
    """Send a request that may change something; return the answer. UnreachableError: also if it is refused."""
    told = {name: value for name, value in (query or {}).items() if value is not None}
    request = Request(
        _base(url) + path + ("?" + urlencode(told, errors="surrogateescape") if told else ""),
        data=body,
        method=method,
        headers={"Accept": "application/json", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:
            return _tree(url, answer.read().decode(), _ANSWERS[method])
    except HTTPError as problem:
        with problem:
            raise UnreachableError(_refusal(problem, url)) from None
    except (URLError, OSError, ValueError, HTTPException) as problem:
        raise UnreachableError(_not_there(url, problem)) from None


def _refusal(problem: HTTPError, url: str) -> str:
    try:
        return str(printable(str(json.loads(problem.read())["error"])))
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return f"{url} answers with HTTP status {problem.code}; is it a lastspan collector's web port?"


def _base(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise UnreachableError(f"{url} is not a URL; write --url http://HOST:PORT")
    return url.rstrip("/")


def _not_there(url: str, problem: Exception) -> str:
    reason = printable(" ".join(str(getattr(problem, "reason", None) or problem).split()))
    return f"no collector answers at {url} ({reason}); start `lastspan collector`, or give --url"


def _fetch(url: str, path: str) -> str:
    try:
        with urlopen(Request(_base(url) + path, headers={"Accept": "application/json"}), timeout=_TIMEOUT_S) as answer:
            body: bytes = answer.read()
            return body.decode()
    except HTTPError as problem:
        problem.close()
        if problem.code == 404 and "/jobs/" in path:
            raise
        raise UnreachableError(
            f"{url} answers with HTTP status {problem.code}; is it a lastspan collector's web port?"
        ) from None
    except (URLError, OSError, ValueError, HTTPException) as problem:
        raise UnreachableError(_not_there(url, problem)) from None


def _tree(url: str, body: str, key: str) -> Json:
    """Return a collector's answer, which has a key; other servers answer too."""
    try:
        tree: Json = json.loads(body)
    except (ValueError, RecursionError):
        tree = {}
    if not isinstance(tree, dict) or key not in tree:
        raise UnreachableError(f"{url} is not a lastspan collector's web port")
    return {name: printable(value) for name, value in tree.items()}
