"""deploy/systemd: what systemd itself says of the unit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.files import DEPLOY, tool

UNIT = DEPLOY / "systemd" / "lastspan.service"
EXPOSED = 20
"""Tenths: 0 is nothing, 100 is everything; systemd calls 2.0 "OK"."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the command of this environment: systemd looks whether it is there."""
    here = str(Path(sys.executable).with_name("lastspan"))
    text = UNIT.read_text(encoding="utf-8")
    assert text.count("/opt/lastspan/bin/lastspan") == 1
    path = tmp_path / UNIT.name
    path.write_text(text.replace("/opt/lastspan/bin/lastspan", here), encoding="utf-8")
    return path


def test_systemd_understands_it(unit: Path) -> None:
    done = subprocess.run([tool("systemd-analyze"), "verify", "--man=no", unit], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_systemd_calls_it_safe(unit: Path) -> None:
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", f"--threshold={EXPOSED}", unit]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_its_command_is_one_of_ours() -> None:
    (command,) = re.findall(r"^ExecStart=\S+ (.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    lastspan = Path(sys.executable).with_name("lastspan")
    words = [str(lastspan), *command.replace("/etc/lastspan", str(DEPLOY / "lastspan")).split(), "--print-config"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "reports.*" in done.stdout
