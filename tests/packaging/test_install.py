"""What a user gets from pip: the wheel built from the sdist, and `-e .`, each in a bare virtual environment."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

# Loads every entry point that we declare, the way their users load them.
LOAD = """
from importlib.metadata import distribution
points = [p for p in distribution("lastspan").entry_points]
groups = {p.group for p in points}
for point in points:
    try:
        point.load()
    except ModuleNotFoundError as error:  # how an instrumentor says that its library is not here
        assert error.name == "celery", error
import lastspan.collector, lastspan.dashboards, lastspan.examples, lastspan.instrumentation, lastspan.semconv
print(",".join(sorted(groups)))
"""


def run(*command: str | Path, timeout: float = 300, environ: Mapping[str, str] | None = None) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OTEL_"))}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**inherited, **(environ or {})},
        cwd="/",
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def bare(folder: Path) -> tuple[Path, list[str | Path]]:
    """Return the programs of a new environment that has nothing in it, and the command of ours that installs there."""
    venv.create(folder / "venv", symlinks=True)
    programs = folder / "venv" / "bin"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
    return programs, [*pip, programs / "python", "install", "-q", "--no-compile"]  # most of it is never imported


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_a_bare_environment(built: Path, tmp_path: Path, kind: str) -> None:
    """Every entry point loads with the base install alone, the wrapper runs, and the command says what it lacks."""
    programs, install = bare(tmp_path)
    run(*install, *([next(built.glob("*.whl"))] if kind == "wheel" else ["-e", ROOT]))

    groups = run(programs / "python", "-c", LOAD).strip()
    assert groups == (
        "console_scripts,opentelemetry_environment_variables,opentelemetry_instrumentor,opentelemetry_pre_instrument"
    )
    run(programs / "opentelemetry-instrument", programs / "python", "-c", "pass")

    command = subprocess.run([programs / "lastspan", "jobs"], capture_output=True, text=True, timeout=60)
    assert command.returncode == 2
    assert command.stderr == "lastspan: the command needs pip install 'lastspan[collector]' (click is missing)\n"


def test_the_official_instrumentations(built: Path, tmp_path: Path) -> None:
    """The extra needs no compiler, and all that it brings is quiet where the libraries are missing."""
    programs, install = bare(tmp_path)
    wheel = next(built.glob("*.whl"))
    run(*install, "--only-binary=:all:", f"lastspan[instrumentations] @ {wheel.as_uri()}")

    command: list[str | Path] = [programs / "opentelemetry-instrument", programs / "python", "-c", "print('ran')"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ran\n", "")


@pytest.mark.applies(sys.version_info >= (3, 11), reason="Grafana's SDK wants Python 3.11")
def test_dashboards_are_built_where_there_is_no_compiler(built: Path, tmp_path: Path) -> None:
    """The extra needs none; the builder itself, whose kerberos does, is asked for by the command that does without."""
    programs, install = bare(tmp_path)
    only = {"PATH": str(programs), "CC": "no-compiler-here"}
    run(*install, f"{next(built.glob('*.whl'))}[dashboards]", environ=only)
    command: list[str | Path] = [programs / "lastspan", "dashboards", "build", "--out", tmp_path / "out"]

    without = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, env=only)
    assert without.returncode == 2
    advice = "pip install --no-deps 'grafana-dashboard-builder==0.10.0a3'"
    assert without.stderr == f"lastspan: building dashboards needs grafana-dashboard-builder: {advice}\n"

    run(*install, *shlex.split(advice)[2:], environ=only)
    assert len(run(*command, environ=only).splitlines()) == 7
    there = run(*install[: install.index("install")], "list", "--format=freeze", environ=only).lower()
    assert "grafana-dashboard-builder" in there
    assert not re.search("kerberos|gssapi|krb5", there)


def test_only_one_extra_wants_a_compiler(built: Path) -> None:
    """`gdb`, by the builder's kerberos; `make install` and the READMEs add the same version without it."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        metadata = Parser().parsestr(wheel.read(next(n for n in wheel.namelist() if n.endswith("METADATA"))).decode())
    wanted: dict[str, set[str]] = {extra: set() for extra in metadata.get_all("Provides-Extra") or []}
    for requirement in metadata.get_all("Requires-Dist") or []:
        if found := re.search(r"extra == ['\"](\w+)['\"]", requirement):
            wanted[found[1]].add(re.split(r"[\[;]", requirement)[0].strip())
    (pinned,) = wanted["gdb"] - wanted["dashboards"]
    assert pinned.startswith("grafana-dashboard-builder==")
    assert all(wanted["all"] >= wanted[extra] for extra in wanted.keys() - {"gdb"})
    assert [extra for extra, names in wanted.items() if pinned in names] == ["gdb"]
    for path in ("deploy/install.sh", "dashboards/README.md"):
        assert pinned in (ROOT / path).read_text(encoding="utf-8"), path


def test_the_wheel_holds_every_room_and_no_other(built: Path) -> None:
    """All portions of the namespace, typed; no `lastspan/__init__.py`, which would hide all but the first."""
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    for portion in ("semconv", "instrumentation", "collector", "dashboards", "examples"):
        assert f"lastspan/{portion}/__init__.py" in names
        assert f"lastspan/{portion}/py.typed" in names
    assert {"lastspan/examples/demo.yaml", "lastspan/dashboards/descriptors/fleet.yaml"} <= names
    for file in ("templates/job.html", "static/pages.css", "static/pages.js", "static/icon.svg"):
        assert f"lastspan/collector/publish/pages/{file}" in names
    assert "lastspan/__init__.py" not in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"lastspan"}


def test_the_sdist_holds_what_it_takes_to_test(built: Path) -> None:
    """Sources, tests and the licence; nothing of a developer's environment."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {"/".join(name.split("/")[1:]) for name in sdist.getnames()}
    assert {"LICENSE", "README.md", "Makefile", "pyproject.toml", "tests/packaging/test_install.py"} <= names
    assert not any(name.startswith((".venv", ".git/", ".ci")) for name in names)
