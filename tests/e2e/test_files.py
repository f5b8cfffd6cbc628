"""The example's broker of files: a worker that looks at any moment finds whole messages only."""

from __future__ import annotations

import threading
from pathlib import Path

from kombu import Queue

from lastspan.examples.shop import make_app


def test_no_message_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    app = make_app(None, str(tmp_path))
    body = "x" * 2_000_000
    sender = threading.Thread(target=lambda: [app.send_task("shop.resize_image", (body,)) for _ in range(20)])
    with app.connection_for_read() as connection, connection.channel() as channel:
        queue = Queue("celery")(channel)
        queue.declare()
        sender.start()
        found = 0
        while sender.is_alive() or any(folder.iterdir()):
            message = queue.get(no_ack=True)  # JSONDecodeError: it was there, but not whole
            found += message is not None
    sender.join()
    assert found == 20
