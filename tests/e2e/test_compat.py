"""Celery 5.3 … 5.7 × pools, each version in a virtual environment of its own (`make compat`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from tests.e2e.shop import Job, Shop, ends, wait_for_job

from lastspan.examples.running import Running

ROOT = Path(__file__).parents[2]
VERSIONS = ("5.3", "5.4", "5.5", "5.6", "5.7")

pytestmark = [pytest.mark.compat, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=VERSIONS)
def environment(request: pytest.FixtureRequest) -> Path:
    """The programs of an environment with this version of Celery."""
    folder = ROOT / f".venv-celery-{request.param}"
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True, clear=True)
        packages = ["-e", f"{ROOT}", f"celery~={request.param}.0", "gevent", "requests", "opentelemetry-distro"]
        packages += ["opentelemetry-instrumentation-celery", "opentelemetry-instrumentation-requests"]
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True, timeout=600)
        (folder / "installed").touch()
    print(f"celery {request.param}: {folder}", file=sys.stderr)
    return folder / "bin"


@pytest.mark.parametrize("official", [True, False], ids=["official", "own"])
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])
def test_a_hanging_call(running: Running, rules: str, shop: Shop, environment: Path, pool: str, official: bool) -> None:
    """Found, with its last span and line: with the official instrumentation's span, and with ours."""
    collector = running.collector("--config", rules)
    environ = {} if official else {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery"}
    concurrency = 1 if pool == "solo" else 2
    running.celery(collector.otlp, pool=pool, concurrency=concurrency, environ=environ, programs=environment)
    job = wait_for_job(collector, shop.enqueue("charge_card"), lambda job: bool(job["state"] == "stuck"))
    assert (job["last_span"]["kind"], job["code"]["function"]) == ("http", "charge_card")
    assert len(collector.jobs()) == 1


def test_deaths(running: Running, rules: str, shop: Shop, environment: Path) -> None:
    """A killed child, a hard limit, a revoked job: the parent tells each of them, once."""
    collector = running.collector("--config", rules)
    running.celery(collector.otlp, concurrency=3, programs=environment)

    def is_ended(job: Job) -> bool:
        return bool(job["state"] == "ended")

    killed, limited, revoked = (
        shop.enqueue("sync_orders"),
        shop.enqueue("ignore_limits", time_limit=3),
        shop.enqueue("sync_orders"),
    )
    os.kill(wait_for_job(collector, killed)["pid"], signal.SIGKILL)
    assert wait_for_job(collector, killed, is_ended)["outcome"] == "killed"
    assert wait_for_job(collector, limited, is_ended)["outcome"] == "timeout"
    wait_for_job(collector, revoked)
    shop.revoke(revoked)
    assert wait_for_job(collector, revoked, is_ended)["outcome"] == "revoked"
    time.sleep(2)
    assert sorted(job["outcome"] for job in collector.jobs()) == ["killed", "revoked", "timeout"]
    assert ends(collector) == {"killed": 1, "revoked": 1, "timeout": 1}
