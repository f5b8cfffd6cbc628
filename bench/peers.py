"""Other people's programs to compare with: installed by the benchmark, into folders of its own that git ignores."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .report import say

_FOLDER = Path(__file__).parent


class PeerMissingError(Exception):
    """The peer is not to be had here; the message says why, for its row."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of a virtual environment with *requirements*, made if need be."""
    folder = _FOLDER / f".venv-bench-{name}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say(f"installing {', '.join(requirements)} into {folder.name}")
        shutil.rmtree(folder, ignore_errors=True)
        _command([sys.executable, "-m", "venv", str(folder)])
        _command([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
        (folder / "complete").touch()
    return python


def packages(name: str, requirements: Sequence[str]) -> Path:
    """Return a folder that holds *requirements* without what they depend on: they use the libraries that are here."""
    folder = _FOLDER / f".venv-bench-{name}"
    if not (folder / "complete").exists():
        say(f"installing {', '.join(requirements)} into {folder.name}")
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        _command([*pip, "--target", str(folder), *requirements])
        (folder / "complete").touch()
    return folder


def _command(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(f"not installed: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PeerMissingError(f"not installed: {last}")
