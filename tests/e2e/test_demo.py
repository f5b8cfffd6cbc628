"""The demo is a test too: what a newcomer sees first."""

from __future__ import annotations

import subprocess

from lastspan.examples.running import program


def test_the_demo_finds_what_it_shows() -> None:
    """`lastspan demo --once` ends with 0: every stuck job found where it stopped, no healthy one accused."""
    done = subprocess.run([program("lastspan"), "demo", "--once"], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 stuck" in done.stdout
    assert "no healthy one was accused" in done.stdout
