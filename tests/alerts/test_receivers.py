"""A real Alertmanager tells each of its receivers: what arrives by mail, at Slack, at PagerDuty and at a webhook."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, Final

import pytest
import requests
import yaml
from tests.alerts.catcher import Catcher
from tests.alerts.test_words import MANY, page
from tests.servers import Alertmanager

from lastspan.alerts.build import build
from lastspan.alerts.settings import AlertSettings
from lastspan.collector.publish.alert.model import ActiveAlert

CAUSES: Final = ("http_no_timeout", "db_lock")


class Mail:
    """An SMTP server that keeps what it is given; as much of the protocol as a sender needs (RFC 5321)."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        messages = self.messages

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                for line in self.rfile:
                    command = line[:4].upper()
                    if command == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        body = b"".join(iter(self.rfile.readline, b".\r\n")).decode()
                        messages.append(message_from_string(body, policy=policy.default))
                    self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 fine\r\n")

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Mail:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Everybody:
    """All receivers, and one Alertmanager that tells them."""

    def __init__(self, folder: Path, within: ExitStack) -> None:
        self.mail = within.enter_context(Mail())
        self.slack, self.pagerduty, self.webhook = (within.enter_context(Catcher()) for _ in range(3))
        secrets = [folder / "slack", folder / "pagerduty"]
        secrets[0].write_text(self.slack.url)
        secrets[1].write_text("0" * 32)
        settings = AlertSettings(
            group_wait="1s", route=dict.fromkeys(("page", "warning"), "pagerduty,slack,email,webhook"),
            slack_url_file="slack", pagerduty_key_file="pagerduty",
            email_smarthost=self.mail.address, webhook_url=self.webhook.url,
        )  # fmt: skip
        built = build(settings)
        config = yaml.safe_load(built["alertmanager.yml"])
        config["global"] = {"smtp_require_tls": False, "pagerduty_url": self.pagerduty.url}
        server = Alertmanager(json.dumps(config), built["lastspan.tmpl"], files=secrets)
        self.alertmanager = within.enter_context(server)

    def tell(self, *alerts: ActiveAlert) -> None:
        told = [{"labels": dict(alert.labels), "annotations": dict(alert.annotations)} for alert in alerts]
        url = f"http://{self.alertmanager.address}/api/v2/alerts"
        requests.post(url, json=told, timeout=10).raise_for_status()

    def wait(self, count: int) -> None:
        """Wait until each of them has so many messages."""
        deadline = time.monotonic() + 30
        while min(self.counts()) < count:
            assert time.monotonic() < deadline, self.counts()
            time.sleep(0.05)

    def counts(self) -> list[int]:
        """Return how many messages the mail server and the others have."""
        return [len(self.mail.messages), *(len(one.posts) for one in (self.slack, self.pagerduty, self.webhook))]


@pytest.fixture
def everybody(tmp_path: Path) -> Iterator[Everybody]:
    with ExitStack() as within:
        yield Everybody(tmp_path, within)


def test_every_receiver_gets_the_subject_and_the_whole_story(everybody: Everybody) -> None:
    """One job that hangs in a call, many that wait for a lock: in one message each."""
    pages = [page(CAUSES[0], 1), page(CAUSES[1], MANY)]
    everybody.tell(*(alert for alerts in pages for alert in alerts))
    everybody.wait(len(pages))
    for alerts in pages:
        first = alerts[0].annotations
        told = list(messages(everybody, first["summary"]))
        assert [name for name, *_ in told] == ["mail, plain", "mail, html", "slack", "pagerduty", "webhook"]
        for name, subject, story in told:
            assert subject == first["summary"], name
            assert [line for line in first["description"].splitlines() if line not in story] == [], name
            assert first["first_step"] in story, name


def messages(everybody: Everybody, subject: str) -> Iterator[tuple[str, str, str]]:
    """Yield what each receiver got of a page: who, the subject, and the story."""
    mail = next(one for one in everybody.mail.messages if one["Subject"] == subject)
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        yield f"mail, {kind}", mail["Subject"], html.unescape(part.get_content())
    for body in bodies(everybody.slack):
        (attachment,) = body["attachments"]
        if html.unescape(attachment["title"]) == subject:
            assert attachment["fallback"] == attachment["title"]
            yield "slack", html.unescape(attachment["title"]), html.unescape(attachment["text"])
    for body in bodies(everybody.pagerduty):
        told = body["payload"]
        if told["summary"] == subject:
            details = told["custom_details"]
            assert details["why"] in details["story"]
            assert details["what to do first"] in details["story"]
            yield "pagerduty", told["summary"], details["story"]
    for body in bodies(everybody.webhook):
        told = body["alerts"][0]["annotations"]
        if told["summary"] == subject:
            yield "webhook", told["summary"], told["description"]


def bodies(caught: Catcher) -> list[dict[str, Any]]:
    return [body for _, body in caught.posts]
