"""The line of the application is found however the program is delivered: real trees, archives and environments."""

from __future__ import annotations

import compileall
import shutil
import sys
import zipapp
from pathlib import Path

import pytest
from tests.instrumentation.layouts.delivered import LIBRARY, WAITS, install, line, package, said, wheel

LINE = line(WAITS)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install --target` makes of the library."""
    folder = tmp_path_factory.mktemp("libraries")
    install(folder / "libs", wheel(folder, "waitlib", inner=LIBRARY))
    return folder / "libs"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application as a wheel, installed beside its library."""
    folder = tmp_path_factory.mktemp("everything")
    install(folder / "libs", wheel(folder, "waitlib", inner=LIBRARY), wheel(folder, "shop", worker=WAITS))
    return folder / "libs"


def test_installed_into_a_folder(libraries: Path, tmp_path: Path) -> None:
    """`pip install --target`, reached by PYTHONPATH."""
    package(tmp_path, "shop", worker=WAITS)
    program = (sys.executable, "-c", "from shop.worker import main; main()")
    assert said(*program, folder=tmp_path, PYTHONPATH=str(libraries)) == f"{LINE} in shop"


def test_installed_beside_the_application(libraries: Path, tmp_path: Path) -> None:
    """As a Lambda's archive is: handler and libraries in one folder; reached by a link."""
    shutil.copytree(libraries, tmp_path / "task")
    (tmp_path / "task" / "handler.py").write_text(WAITS)
    (tmp_path / "current").symlink_to("task")
    program = (sys.executable, "-c", "from handler import main; main()")
    assert said(*program, folder=tmp_path, PYTHONPATH=str(tmp_path / "current")) == f"{LINE} in handler"


def test_the_application_is_installed_too(everything: Path, tmp_path: Path) -> None:
    """Its own package is the application's, by import and as `python -m`."""
    imported = said(
        sys.executable, "-c", "from shop.worker import main; main()", folder=tmp_path, PYTHONPATH=str(everything)
    )
    run = said(sys.executable, "-m", "shop.worker", folder=tmp_path, PYTHONPATH=str(everything))
    assert (imported, run) == (f"{LINE} in shop", f"{LINE} in __main__")


def test_a_zipapp(everything: Path, tmp_path: Path) -> None:
    """All in one archive, with what the distributions list."""
    zipapp.create_archive(everything, tmp_path / "job.pyz", main="shop.worker:main")
    assert said(sys.executable, tmp_path / "job.pyz", folder=tmp_path) == f"{LINE} in shop"


def test_compiled_elsewhere(libraries: Path, tmp_path: Path) -> None:
    """Without source, compiled in a folder that is no more."""
    built, moved = tmp_path / "build" / "libs", tmp_path / "libs"
    shutil.copytree(libraries, built)
    package(built, "shop", worker=WAITS)
    assert compileall.compile_dir(built, legacy=True, quiet=1)
    for source in [*built.rglob("*.py"), *built.rglob("__pycache__")]:
        source.unlink() if source.is_file() else shutil.rmtree(source)
    built.rename(moved)
    program = (sys.executable, "-c", "from shop.worker import main; main()")
    assert said(*program, folder=tmp_path, PYTHONPATH=str(moved)) == f"{LINE} in shop"


def test_an_editable_install(libraries: Path, tmp_path: Path) -> None:
    """Its sources stay where they are, and are the application's; what setuptools left beside them means nothing."""
    source = package(tmp_path / "src", "shop", worker=WAITS)
    (source / "shop.egg-info").mkdir()
    (source / "shop.egg-info" / "SOURCES.txt").write_text("shop/__init__.py\nshop/worker.py\n")
    finder = f"""
import importlib.util, sys

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "shop":
            return importlib.util.spec_from_file_location(
                name, {str(source / "shop" / "__init__.py")!r}, submodule_search_locations=[{str(source / "shop")!r}]
            )

sys.meta_path.append(Finder)
"""
    site = tmp_path / "site"
    shutil.copytree(libraries, site)
    (site / "__editable___shop_1_0_finder.py").write_text(finder)
    (site / "shop-1.0.dist-info").mkdir()
    (site / "shop-1.0.dist-info" / "RECORD").write_text(
        "__editable___shop_1_0_finder.py,,\nshop-1.0.dist-info/RECORD,,\n"
    )
    program = "import __editable___shop_1_0_finder; from shop.worker import main; main()"
    assert said(sys.executable, "-c", program, folder=tmp_path, PYTHONPATH=str(site)) == f"{LINE} in shop"


def test_a_spawned_process(everything: Path, tmp_path: Path) -> None:
    """multiprocessing calls its main module `__mp_main__` there."""
    program = """
import multiprocessing, runpy, sys
from shop import worker
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=worker.main)
    child.start(); child.join()
"""
    (tmp_path / "start.py").write_text(program)
    assert said(sys.executable, "start.py", folder=tmp_path, PYTHONPATH=str(everything)) == f"{LINE} in shop"
