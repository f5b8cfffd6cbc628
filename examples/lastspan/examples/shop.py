"""A Celery app whose jobs hang in the usual ways; run it like any other, under `opentelemetry-instrument`.

    opentelemetry-instrument celery -A lastspan.examples.shop worker

`BROKER_URL` names the broker; without it the messages are files in `BROKER_FOLDER` and no server is needed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import requests
from celery import Celery

SILENT_SERVER = os.environ.get("SHOP_SILENT_SERVER", "http://127.0.0.1:9/")
"""Accepts connections and never answers."""


def make_app(broker: str | None, folder: str | None) -> Celery:
    """Return the app on a broker, or on files in *folder*."""
    app = Celery("shop", broker=broker or "filesystem://")
    if not broker:
        root = Path(folder or Path(tempfile.gettempdir()) / "lastspan-shop")
        for name in ("queue", "control", "processed"):
            (root / name).mkdir(parents=True, exist_ok=True)
        app.conf.broker_transport = "lastspan.examples.files:Transport"
        app.conf.broker_transport_options = {
            "data_folder_in": str(root / "queue"),
            "data_folder_out": str(root / "queue"),
            "control_folder": str(root / "control"),
            "processed_folder": str(root / "processed"),
            "store_processed": False,
            "polling_interval": 0.2,
        }
    app.conf.update(
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
    )
    app.conf.task_routes = {"shop.transfer": {"queue": "transfers"}}
    return app


app = make_app(os.environ.get("BROKER_URL"), os.environ.get("BROKER_FOLDER"))


# --- healthy ---------------------------------------------------------------------------------------------------------


@app.task(name="shop.send_newsletter")
def send_newsletter(recipients: int = 100_000) -> None:
    """Goes on and on, as it should: it may take an hour."""
    for _ in range(recipients):
        time.sleep(0.1)


@app.task(name="shop.resize_image")
def resize_image(seconds: float = 0.2) -> None:
    """Short."""
    time.sleep(seconds)


# --- stuck -----------------------------------------------------------------------------------------------------------


@app.task(name="shop.charge_card")
def charge_card() -> None:
    """An HTTP call without a timeout, to a server that accepts and never answers."""
    requests.get(SILENT_SERVER + "charge")  # no timeout: the point of it


@app.task(name="shop.rebuild_index")
def rebuild_index() -> None:
    """A loop whose condition never comes."""
    position = 1
    while position != 0:
        position = position % 1000 + 1


_accounts = threading.Lock()
_ledger = threading.Lock()
_both_hold_one = threading.Barrier(2)


@app.task(name="shop.transfer")
def transfer(direction: str) -> None:
    """Two of these take the same two locks in opposite order."""
    first, second = (_accounts, _ledger) if direction == "out" else (_ledger, _accounts)
    with first:
        _both_hold_one.wait()
        with second:
            pass


@app.task(name="shop.import_feed")
def import_feed() -> None:
    """An asyncio job, whose event loop is blocked by a call that is not async."""
    asyncio.run(_import_feed())


async def _import_feed() -> None:
    await asyncio.gather(_read_feed(), asyncio.sleep(3600))


async def _read_feed() -> None:
    await asyncio.sleep(0)
    time.sleep(3600)  # blocks the loop: the point of it


@app.task(name="shop.resize_natively", lastspan_expected="4s")
def resize_natively(seconds: int = 3600) -> None:
    """Native code that keeps the interpreter's lock from the first moment on: its process cannot say a word."""
    ctypes.PyDLL(None).sleep(seconds)


@app.task(name="shop.monthly_report")
def monthly_report() -> None:
    """Polls for the result of a job that nobody runs."""
    while not _is_ready("report-2026-10"):
        time.sleep(0.5)


def _is_ready(name: str) -> bool:
    return Path("/nonexistent", name).exists()


@app.task(name="shop.sync_orders")
def sync_orders() -> None:
    """Healthy by itself; the demo kills its process."""
    time.sleep(3600)


# --- ends ------------------------------------------------------------------------------------------------------------


@app.task(name="shop.fail_later")
def fail_later(seconds: float) -> None:
    """Raises."""
    time.sleep(seconds)
    raise ValueError("no such order")


@app.task(name="shop.retry_later", bind=True, max_retries=1, default_retry_delay=3600)
def retry_later(self: Any, seconds: float) -> None:
    """Asks to be tried again, in an hour."""
    time.sleep(seconds)
    raise self.retry()


@app.task(name="shop.ignore_limits")
def ignore_limits() -> None:
    """Catches what should stop it."""
    while True:
        try:
            time.sleep(3600)
        except Exception:  # the soft limit's exception too
            continue
