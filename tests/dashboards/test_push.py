"""`lastspan dashboards push` against a server that speaks Grafana's HTTP API as documented: no real one is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.dashboards import board

from lastspan.dashboards.build import write
from lastspan.examples.running import program

TOKEN = "glsa_of-the-test"


class Grafana(ThreadingHTTPServer):
    """Folders and dashboards; a dashboard that somebody has changed has a higher version."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.odd: tuple[int, bytes] | None = None
        """Status and body of each answer, whatever is asked."""
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Grafana

    def do_GET(self) -> None:
        kind, _, uid = self.path.removeprefix("/api/").rpartition("/")
        if kind == "folders" and uid in self.server.folders:
            self._answer(200, {"uid": uid, "title": self.server.folders[uid]})
        elif kind == "dashboards/uid" and uid in self.server.dashboards:
            self._answer(200, {"dashboard": self.server.dashboards[uid], "meta": {}})
        else:
            self._answer(404, {"message": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/folders":
            self.server.folders[body["uid"]] = body["title"]
            self._answer(200, body)
            return
        assert self.path == "/api/dashboards/db"
        dashboard = body["dashboard"]
        there = self.server.dashboards.get(dashboard["uid"])
        if body["folderUid"] not in self.server.folders:
            self._answer(400, {"message": "folder not found"})
        elif there is not None and not body["overwrite"]:
            self._answer(412, {"message": "The dashboard has been changed by someone else"})
        else:
            version = 1 if there is None else there["version"] + 1
            self.server.dashboards[dashboard["uid"]] = {**dashboard, "id": 7, "version": version}
            self.server.writes.append(dashboard["uid"])
            self._answer(200, {"status": "success"})

    def _answer(self, status: int, body: Any) -> None:
        if self.server.odd is not None:
            return self._send(*self.server.odd)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, body = 401, {"message": "Unauthorized"}
        return self._send(status, json.dumps(body).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 302:
            self.send_header("Location", "https://login.example/?token=secret")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with Grafana() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built")
    write(board.built(), path)
    return path


def push(url: str, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GRAFANA_URL": url, "GRAFANA_TOKEN": token}
    command = [program("lastspan"), "dashboards", "push", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)


def test_all_are_put_into_their_folder_and_a_second_time_nothing_is_done(grafana: Grafana, folder: Path) -> None:
    """What Grafana has is what was built; `version` and `id` are Grafana's own."""
    done = push(grafana.url + "/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["folder lastspan: made", *(f"{name}: made" for name in sorted(board.built()))]
    assert grafana.folders == {"lastspan": "lastspan"}
    for dashboard in board.built().values():
        there = grafana.dashboards[dashboard["uid"]]
        assert {key: there[key] for key in dashboard} == dashboard

    again = push(grafana.url, "--from", folder)
    assert again.stdout.splitlines() == [f"{name}: unchanged" for name in sorted(board.built())]
    assert len(grafana.writes) == len(board.built())


def test_what_somebody_changed_is_replaced_unless_told_otherwise(grafana: Grafana, folder: Path) -> None:
    push(grafana.url, "--from", folder)
    grafana.dashboards["lastspan-fleet"]["title"] = "Mine now"
    kept = push(grafana.url, "--from", folder, "--no-overwrite")
    assert kept.returncode == 1
    assert kept.stderr == (
        "lastspan: fleet: Grafana answered 412 to POST /api/dashboards/db: "
        "The dashboard has been changed by someone else\n"
    )
    assert "fleet: replaced" in push(grafana.url, "--from", folder).stdout
    assert grafana.dashboards["lastspan-fleet"]["title"] == "lastspan / Fleet"


def test_a_dry_run_only_says_it(grafana: Grafana, folder: Path) -> None:
    done = push(grafana.url, "--from", folder, "--dry-run", "--folder", "team")
    assert done.stdout.splitlines()[:2] == ["folder team: would be made", "fleet: would be made"]
    assert (grafana.folders, grafana.dashboards) == ({}, {})


@pytest.mark.parametrize(
    ("url", "token", "status", "message"),
    [
        (None, "wrong", 2, "Grafana refuses the token (401): it needs the role Editor"),
        ("http://127.0.0.1:9", TOKEN, 2, "no Grafana answers at http://127.0.0.1:9 (ConnectionError)"),
        ("grafana.example", TOKEN, 2, "--url: write https://grafana.example, without name and password"),
        ("https://me:pw@grafana.example", TOKEN, 2, "--url: write https://grafana.example, without name and password"),
        (None, "two words", 2, "--token: is empty, or has spaces or letters that no token has"),
    ],
)
def test_what_goes_wrong_is_one_line(
    grafana: Grafana, folder: Path, url: str | None, token: str, status: int, message: str
) -> None:
    """And the token is not in it."""
    done = push(url or grafana.url, "--from", folder, token=token)
    assert (done.returncode, done.stderr) == (status, f"lastspan: {message}\n")
    assert token not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ((200, b"<html>sign in</html>"), 2, "what answers at {url} is no Grafana"),
        ((200, b"[]"), 2, "what answers at {url} is no Grafana"),
        ((200, b'{"dashboard": null}'), 2, "what answers at {url} is no Grafana"),
        ((302, b""), 1, "Grafana answered 302 to GET /api/folders/lastspan: it is elsewhere, at login.example"),
        ((500, b"\x1b[31m" + TOKEN.encode()), 1, "Grafana answered 500 to GET /api/folders/lastspan: ?[31m…"),
    ],
)
def test_what_is_no_grafana_or_an_ill_one(
    grafana: Grafana, folder: Path, answer: tuple[int, bytes], status: int, message: str
) -> None:
    """One line, without what would move the cursor, and without the token, which some servers send back."""
    grafana.odd = answer
    done = push(grafana.url, "--from", folder)
    assert (done.returncode, done.stderr) == (status, f"lastspan: {message.format(url=grafana.url)}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no dashboard with a uid"),
        (b'{"uid": "../x"}', "no dashboard with"),
    ],
)
def test_files_that_are_no_dashboards_are_refused_before_anything_is_done(
    grafana: Grafana, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "one.json").write_bytes(content)
    done = push(grafana.url, "--from", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"lastspan: {tmp_path}/one.json: {message}")
    assert (grafana.folders, grafana.dashboards) == ({}, {})


@pytest.mark.parametrize("arguments", [("--folder", "../x"), ("--from", "EMPTY")])
def test_neither_another_path_nor_nothing(
    grafana: Grafana, folder: Path, tmp_path: Path, arguments: tuple[str, str]
) -> None:
    told = [str(tmp_path) if part == "EMPTY" else part for part in arguments]
    done = push(grafana.url, "--from", folder, *told)
    assert (done.returncode, grafana.folders) == (2, {})
    assert "Traceback" not in done.stderr
