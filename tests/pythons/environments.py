"""Pythons of this machine and of Debian sid, each with lastspan and all that its tests need in an environment.

Kept below the user's cache folder, by checkout and by what it wants; what is there is used again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
VERSIONS: Final = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
OLDEST_SDK, OLDEST_INSTRUMENTATION = "1.39.0", "0.60b0"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lastspan"
_SID: Final = CACHE / "sid"
_INSTALL_SECONDS: Final = 900


class NotHereError(Exception):
    """A Python cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of one Python."""

    version: str
    folder: Path
    is_sid: bool
    opentelemetry: str
    """`newest` or `oldest`."""

    def run(self, *command: str, seconds: float, log: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in the checkout; what it prints is returned, and written to *log*."""
        name, *arguments = command
        done = _run([*self._prefix(), str(self.folder / "bin" / name), *arguments], seconds, self._environ())
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(done.stdout)
        return done

    def _prefix(self) -> list[str]:
        return ["sh", "deploy/sid.sh", "run", str(_SID), str(ROOT)] if self.is_sid else []

    def _environ(self) -> dict[str, str]:
        paths = f"{self.folder / 'bin'}{os.pathsep}{os.defpath}{os.pathsep}{os.environ.get('PATH', '')}"
        inherited = {name: value for name, value in os.environ.items() if name != "CI"}  # a chroot has no servers: skip
        return {**inherited, "PATH": paths, "VIRTUAL_ENV": str(self.folder)}


def environment(version: str, opentelemetry: str = "newest", seconds: float = _INSTALL_SECONDS) -> Environment:
    """Return an environment of a version, made in *seconds* if it is not there; raises `NotHereError`."""
    until = time.monotonic() + seconds
    python = _python(version)
    folder = CACHE / "environments" / f"{version}-{opentelemetry}-{_wanted()}"
    made = Environment(version, folder, python is None, opentelemetry)
    if python is None:
        _add(version, until)
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _make(made, python or f"python{version}", until)
    return made


def _wanted() -> str:
    """Return what stands for this checkout, and for the dependencies that it declares."""
    declared = (
        (ROOT / "pyproject.toml").read_text().partition("\ndependencies = ")[2].partition("\n[project.scripts]")[0]
    )
    return hashlib.sha256(f"{ROOT}{declared}".encode()).hexdigest()[:12]


def here() -> Iterator[str]:
    """Yield the versions that this machine has itself, the newest first."""
    yield from (version for version in reversed(VERSIONS) if _python(version) is not None)


def _python(version: str) -> str | None:
    """Return this machine's own interpreter of a version: in the path, or pyenv's; None: it has none."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    built = sorted(root.glob(f"versions/{version}.*/bin/python"), key=lambda path: len(str(path)))
    in_path = shutil.which(f"python{version}")
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return sys.executable
    for one in (*map(str, reversed(built)), in_path):
        if one is not None and _run([one, "-c", "import venv, ensurepip"], 60).returncode == 0:
            return one
    return None


def _add(version: str, until: float) -> None:
    done = _run(["sh", "deploy/sid.sh", "add", str(_SID), version], until - time.monotonic())
    if done.returncode:
        raise NotHereError(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "deploy/sid.sh failed")


def _make(wanted: Environment, python: str, until: float) -> None:
    environ = {**os.environ, "PYTHON": python, "VENV": str(wanted.folder)}
    done = _run([*wanted._prefix(), "sh", "deploy/install.sh"], until - time.monotonic(), environ)
    if done.returncode == 0 and wanted.opentelemetry == "oldest":
        done = wanted.run("python", "-m", "pip", "install", "-q", *_oldest(wanted), seconds=until - time.monotonic())
    if done.returncode:
        raise NotHereError(f"its environment cannot be made: {(done.stdout.strip().splitlines() or ['?'])[-1]}")
    (wanted.folder / "made").touch()


def _oldest(wanted: Environment) -> list[str]:
    """Return what lastspan asks of OpenTelemetry, in the oldest version that is supported; pip brings the rest."""
    declared = (ROOT / "pyproject.toml").read_text()
    listed = wanted.run("python", "-m", "pip", "list", "--format=freeze", seconds=60).stdout
    names = [line.partition("==") for line in listed.splitlines() if line.startswith("opentelemetry-")]
    return [
        f"{name}=={OLDEST_SDK if now.startswith('1.') else OLDEST_INSTRUMENTATION}"
        for name, _, now in names
        if f'"{name}' in declared and name not in _YOUNGER
    ]


_YOUNGER: Final = frozenset({"opentelemetry-configuration"})
"""There was none of it then."""


def _run(
    command: Sequence[str], seconds: float, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that takes too long is ended, with all that it has started."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=max(seconds, 0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return subprocess.CompletedProcess(command, 124, f"{output}\nit took more than {seconds:.0f} s")
    return subprocess.CompletedProcess(command, process.returncode, output)
