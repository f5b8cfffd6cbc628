"""The same, built by the tools that people deliver with, from the network: minutes, so by `make layouts` only."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

import pytest
from tests.instrumentation.layouts.delivered import CALLS, FOLLOWED, line, package, said

pytestmark = [pytest.mark.layouts, pytest.mark.timeout(900)]

REPOSITORY: Final = Path(__file__).parents[3]
LINE: Final = line(CALLS)
IN_SHOP: Final = "from shop.worker import main\n\nmain()\n"


def run(*command: object, folder: Path) -> None:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with lastspan as its users have it, pex and PyInstaller; return its commands."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "pip", "-q", "install", REPOSITORY, "requests", "pex", "pyinstaller", "build", folder=folder)
    run(folder / "bin" / "pip", "-q", "wheel", "--no-deps", "-w", folder / "wheels", REPOSITORY, folder=folder)
    return folder / "bin"


def lastspan(tools: Path) -> Path:
    return next((tools.parent / "wheels").glob("*.whl"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The application, and what starts it."""
    package(tmp_path / "src", "shop", worker=CALLS)
    (tmp_path / "src" / "start.py").write_text(IN_SHOP)
    (tmp_path / "alone.py").write_text(CALLS)
    return tmp_path


@pytest.mark.parametrize(
    "options", [[], ["--venv"], ["--layout", "packed"], ["--layout", "loose"], ["--venv", "--sh-boot"]]
)
def test_a_pex(tools: Path, project: Path, options: list[str]) -> None:
    """Unpacked wheel by wheel, or as an environment in which the application lies beside its libraries."""
    root = {"PEX_ROOT": str(project / "root"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"}
    built = [tools / "pex", lastspan(tools), "requests", "-D", "src", "-m", "start", "-o", "job.pex", *options]
    run(*built, folder=project)
    start = project / "job.pex"
    program = [tools / "python", start / "__main__.py"] if start.is_dir() else [tools / "python", start]
    assert said(*program, folder=project, **root) == f"{LINE} in shop"


def test_a_pex_of_a_script(tools: Path, project: Path) -> None:
    """Its job is of `__main__`."""
    run(tools / "pex", lastspan(tools), "requests", "--exe", "alone.py", "-o", "job.pex", folder=project)
    assert said(tools / "python", "job.pex", folder=project, PEX_ROOT=str(project / "root")) == f"{LINE} in __main__"


@pytest.mark.parametrize("form", ["--onedir", "--onefile"])
@pytest.mark.parametrize(("script", "package"), [("alone.py", "__main__"), ("src/start.py", "shop")])
def test_pyinstaller(tools: Path, project: Path, form: str, script: str, package: str) -> None:
    """A frozen program: its files have no folder, and nothing tells what was installed."""
    run(
        tools / "pyinstaller",
        form,
        "--paths",
        "src",
        "--log-level",
        "ERROR",
        "-y",
        "--name",
        "job",
        script,
        folder=project,
    )
    program = project / "dist" / "job"
    assert said(program / "job" if program.is_dir() else program, folder=project) == f"{LINE} in {package}"


def test_pyinstaller_with_an_executor(tools: Path, project: Path) -> None:
    """Who waits for an executor is followed to the thread that works for it."""
    (project / "alone.py").write_text(FOLLOWED)
    run(tools / "pyinstaller", "--log-level", "ERROR", "-y", "--name", "job", "alone.py", folder=project)
    assert said(project / "dist" / "job" / "job", folder=project) == f"{line(FOLLOWED)} in __main__"


def test_pip_install_target(tools: Path, project: Path) -> None:
    """Everything in one folder, from the index."""
    run(tools / "pip", "-q", "install", "--target", "libs", lastspan(tools), "requests", folder=project)
    path = f"{project / 'src'}{os.pathsep}{project / 'libs'}"
    assert said(tools / "python", "-S", "src/start.py", folder=project, PYTHONPATH=path) == f"{LINE} in shop"


def test_a_lambda_without_metadata(tools: Path, project: Path) -> None:
    """What deploys a slim archive removes each dist-info: well-known names are left."""
    run(tools / "pip", "-q", "install", "--target", "task", lastspan(tools), "requests", folder=project)
    package(project / "task", "shop", worker=CALLS)
    for info in (project / "task").glob("*.dist-info"):
        if not info.name.startswith("opentelemetry"):  # the SDK finds its parts by it
            (info / "RECORD").unlink()
    environment = {"PYTHONPATH": str(project / "task"), "LAMBDA_TASK_ROOT": str(project / "task")}
    assert said(tools / "python", "-S", "-c", IN_SHOP, folder=project, **environment) == f"{LINE} in shop"


def test_a_real_editable_install(tools: Path, project: Path) -> None:
    """By setuptools, with its finder."""
    (project / "src" / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "shop"\nversion = "1.0"\n[tool.setuptools]\npackages = ["shop"]\n'
    )
    run(tools / "pip", "-q", "install", "--no-deps", "-e", "src", folder=project)
    try:
        assert said(tools / "python", "-c", IN_SHOP, folder=project) == f"{LINE} in shop"
    finally:
        run(tools / "pip", "-q", "uninstall", "-y", "shop", folder=project)
