"""Whose code a file is: by what is installed where, in each layout in which programs are delivered."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from lastspan.instrumentation.evidence.stack import installed
from lastspan.instrumentation.evidence.stack.installed import WELL_KNOWN, Layout, gather, is_own, origin, roots

STD = "/usr/lib/python3.13"
LAYOUT = Layout(
    folders={
        f"{STD}/site-packages": None,
        "/srv/app/libs": {
            "requests": "requests",
            "six.py": "six",
            "acme/core": "acme_core",
            "shop": "shop",
            "till": "shop",
        },
        "/srv/job.pyz": {"urllib3": "urllib3"},
        "/opt/python": None,
        "c:/app/libs": {"requests": "requests"},
        "//host/share/libs": {"requests": "requests"},
        "": {"threading.py": "", "http": "", "urllib3": ""},
    },
    interpreter=frozenset({STD, "/usr/lib/python313.zip", "/srv/lastspan/instrumentation"}),
    brings={"shop": frozenset({"shop"}), "till": frozenset({"shop"}), "acme": frozenset({"acme_core", "acme_jobs"})},
    main=("shop", "/srv/app/libs/shop/worker.py"),
)


@pytest.mark.parametrize(
    ("filename", "package", "expected"),
    [
        # the application, beside its libraries and elsewhere
        ("/srv/app/tasks.py", "", True),
        ("/srv/app/libs/tasks.py", "", True),
        ("/var/task/handler.py", "", True),
        ("/tmp/ipykernel_41/2774.py", "", True),  # a cell of a notebook
        ("/srv/other/src/billing/api.py", "shop", True),  # an editable install: its sources, wherever they are
        # pip install --target
        ("/srv/app/libs/requests/api.py", "", False),
        ("/srv/app/libs/six.py", "", False),
        ("/srv/app/libs/requests_of_ours/api.py", "", True),
        ("/srv/app/requests/api.py", "", True),  # of the same name, but not installed there
        # a namespace: theirs is installed, ours beside it is not
        ("/srv/app/libs/acme/core/db.py", "", False),
        ("/srv/app/libs/acme/tasks/db.py", "", True),
        ("/srv/app/libs/acme/core/db.py", "acme", True),  # the job's own namespace
        # the application is installed itself: its package, and what else its distribution brings
        ("/srv/app/libs/shop/tasks.py", "shop", True),
        ("/srv/app/libs/till/cash.py", "shop", True),
        ("/srv/app/libs/shop/tasks.py", "", False),
        ("/srv/app/libs/requests/api.py", "shop", False),
        ("/srv/app/libs/requests/api.py", "acme", False),  # several share the namespace: none is the job's
        # python -m shop.worker, and what multiprocessing spawns from it
        ("/srv/app/libs/shop/tasks.py", "__main__", True),
        ("/srv/app/libs/shop/worker.py", "__mp_main__", True),
        ("/srv/app/libs/requests/api.py", "__main__", False),
        # zipapp
        ("/srv/job.pyz/urllib3/connection.py", "", False),
        ("/srv/job.pyz/tasks.py", "", True),
        # pex: each wheel a folder; unpacked as an environment; eggs; a wheel on the path
        ("/root/.pex/installed_wheels/0/3fa5/urllib3-2.8.0-py3-none-any.whl/urllib3/connection.py", "", False),
        ("/root/.pex/installed_wheels/0/3fa5/shop-1-py3-none-any.whl/shop/tasks.py", "shop", True),
        ("/root/.pex/unzipped_pexes/0/30ab/tasks.py", "", True),
        ("/root/.pex/venvs/0/1/lib/python3.13/site-packages/tasks.py", "tasks", True),
        ("/srv/eggs/redis-5.0-py3.13.egg/redis/client.py", "", False),
        # Lambda: layers
        ("/opt/python/requests/api.py", "", False),
        ("/opt/python/lib/python3.13/site-packages/requests/api.py", "", False),
        # PyInstaller, cx_Freeze, code of Cython with a profile: no folder
        ("urllib3/connection.py", "", False),
        ("threading.py", "", False),
        ("./http/client.py", "", False),
        ("job.py", "", True),
        ("shop/tasks.py", "", True),
        # environments: conda, uv, Nix, Azure, inside of the project, a system's
        ("/opt/conda/envs/x/lib/python3.13/site-packages/requests/api.py", "", False),
        ("/root/.cache/uv/archive-v0/xyz/lib/python3.13/site-packages/requests/api.py", "", False),
        ("/nix/store/a-python3.13-requests-2/lib/python3.13/site-packages/requests/api.py", "", False),
        ("/home/site/wwwroot/.python_packages/lib/site-packages/requests/api.py", "", False),
        ("/srv/app/.venv/lib/python3.13/site-packages/requests/api.py", "app", False),
        ("/usr/lib/python3/dist-packages/requests/api.py", "", False),
        # vendored
        ("/srv/app/shop/_vendor/requests/api.py", "shop", False),
        ("/srv/app/libs/botocore/vendored/six.py", "botocore", False),
        ("/srv/app/shop/vendor/orders.py", "shop", True),  # a shop has vendors
        # the interpreter: folders, archive, frozen; ours
        (f"{STD}/asyncio/events.py", "asyncio", False),
        ("/usr/lib/python313.zip/threading.py", "", False),
        ("<frozen importlib._bootstrap>", "", False),
        ("<string>", "", False),
        ("/srv/lastspan/instrumentation/jobs/plain.py", "lastspan", False),
        # Windows: no case, both slashes, shares, the long form
        (r"C:\app\Libs\requests\api.py", "", False),
        (r"\\?\C:\app\libs\requests\api.py", "", False),
        (r"\\host\share\libs\requests\api.py", "", False),
        (r"C:\Python313\Lib\site-packages\requests\api.py", "", False),
        (r"C:\app\Libs\tasks.py", "", True),
        (r"urllib3\connection.py", "", False),
        # nothing at all, and too much
        ("", "", True),
        ("/", "", True),
        ("/srv/app/libs/" + "a/" * 5000, "", True),
    ],
)
def test_whose_code_it_is(filename: str, package: str, expected: bool) -> None:
    """By the folder where it is and by what is listed there."""
    found = origin(filename, LAYOUT)
    assert (found is None or is_own(found, filename, package, LAYOUT)) is expected


def test_relative_names_of_a_program_that_is_not_frozen() -> None:
    """Say nothing: `queue.py` is a script here."""
    assert origin("queue.py", Layout(interpreter=frozenset({STD}))) is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("requests/__init__.py,sha256=x,1\nrequests/api.py,sha256=y,2\nrequests-2.dist-info/RECORD,,\n", {"requests"}),
        ("six.py,sha256=x,1\n__pycache__/six.cpython-313.pyc,,\n", {"six.py"}),
        # a namespace: as deep as the first folder that is a package
        ("google/cloud/storage/__init__.py,,\ngoogle/cloud/storage/blob.py,,\n", {"google/cloud/storage"}),
        # modules that are in no package
        ("acme/one.py,,\nacme/two.py,,\n", {"acme/one.py", "acme/two.py"}),
        # an editable install: nothing of the application
        (
            "__editable___shop_finder.py,,\n__editable__.shop-1.pth,,\nshop-1.dist-info/RECORD,,\n",
            {"__editable___shop_finder.py"},
        ),
        # outside of the folder
        ("../../bin/x.py,,\n/etc/x.py,,\n", set()),
        # quoted, compiled only, Windows'
        ('"a,b/__init__.py",sha256=x,1\n', {"a,b"}),
        ("shop/__init__.pyc,,\nshop/tasks.pyc,,\n", {"shop"}),
        ("shop\\__init__.py,,\n", {"shop"}),
        # not a RECORD
        ("", set()),
        ("\0\0\n,,,,\n\n", set()),
        ("a/" * 100_000 + "x.py,,\n", set()),
    ],
)
def test_what_a_record_lists(record: str, expected: set[str]) -> None:
    """Each package by its outermost folder."""
    assert roots(record) == expected


def distribution(folder: Path, name: str, record: str | bytes) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_bytes(record if isinstance(record, bytes) else record.encode())


def test_what_is_gathered(tmp_path: Path) -> None:
    """Folders, archives, links; what is broken, absent or unreadable hides nothing else."""
    libs, other = tmp_path / "libs", tmp_path / "other"
    distribution(libs, "requests", "requests/__init__.py,,\n")
    distribution(libs, "broken", b"\xff\xfe\x00broken/__init__.py\n,,,\n")
    distribution(libs, "big", "x" * 4_100_000 + "/__init__.py,,\n")
    (libs / "empty-1.dist-info").mkdir()
    (libs / "METADATA-1.dist-info").write_text("a file, not a folder")
    other.symlink_to(libs)
    archive, broken = tmp_path / "job.pyz", tmp_path / "broken.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("urllib3-2.dist-info/RECORD", "urllib3/__init__.py,,\n")
        opened.writestr("libraries/six-1.dist-info/RECORD", "six.py,,\n")
    broken.write_bytes(b"PK\x03\x04 not an archive")
    sources = tmp_path / "src"
    (sources / "shop.egg-info").mkdir(parents=True)  # what an editable install leaves beside the sources
    (sources / "shop.egg-info" / "top_level.txt").write_text("shop\n")
    path = [str(one) for one in (other, archive, archive / "libraries", broken, sources, tmp_path / "absent")]
    layout = gather([*path, "", "\0", "/proc/1/root/x", *sys.path], {})
    for installed_file in (
        other / "requests" / "api.py",
        libs / "requests" / "api.py",
        archive / "urllib3" / "api.py",
        archive / "libraries" / "six.py",
        f"{sysconfig.get_path('purelib')}/pytest/__init__.py",
        threading_file(),
        installed.__file__,
    ):
        assert origin(str(installed_file), layout) is not None, installed_file
    for ours in (libs / "tasks.py", archive / "tasks.py", sources / "shop" / "tasks.py", Path(__file__)):
        assert origin(str(ours), layout) is None, ours


def threading_file() -> str:
    return f"{sysconfig.get_path('stdlib')}/threading.py"


def test_what_the_environment_says() -> None:
    """Lambda: layers, and well-known names beside the handler; a frozen program has names only."""
    layout = gather([], {"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime"})
    installed_files = ("/opt/python/x/y.py", "/var/runtime/bootstrap.py", "/var/task/urllib3/connection.py")
    assert all(origin(file, layout) is not None for file in installed_files)
    assert origin("/var/task/handler.py", layout) is None
    frozen = gather([], {}, is_frozen=True)
    assert origin("http/client.py", frozen) is not None
    assert origin("requests/api.py", frozen) is not None
    assert origin("lastspan/instrumentation/jobs/plain.py", frozen) is not None
    assert origin("shop/tasks.py", frozen) is None


def test_well_known_names_are_no_module_of_the_interpreter() -> None:
    """They would be listed twice; the one that is our own is told apart by its folder."""
    assert not WELL_KNOWN & sys.stdlib_module_names


def test_time_is_bounded(tmp_path: Path) -> None:
    """What is not read in time is not known."""
    distribution(tmp_path, "requests", "requests/__init__.py,,\n")
    assert installed._listed(str(tmp_path), time.monotonic() + 60) == {"requests": "requests"}
    assert installed._listed(str(tmp_path), time.monotonic() - 1) == {}


def test_a_path_that_grows_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that a program adds later: what was said of its files before is forgotten."""
    file = str(tmp_path / "waitlib" / "inner.py")
    distribution(tmp_path, "waitlib", "waitlib/__init__.py,,\n")
    assert installed.is_application(file)
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed.is_application(str(tmp_path / "waitlib" / "other.py"))
    assert not installed.is_application(file)


class Lazy(ModuleType):
    """What importlib's LazyLoader leaves: whoever asks it for anything makes it load."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"{name} was asked for")


def test_modules_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lazy one stays as it is; what is no module is none."""
    monkeypatch.setitem(sys.modules, "lazy_one", Lazy("lazy_one"))
    monkeypatch.setitem(sys.modules, "odd_one", 42)
    assert installed.is_application("/build/lazy_one.py")
    assert installed.is_application("/build/odd_one.py")


def test_compiled_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module without source the file is that of whoever compiled it; a script of the same name is not it."""
    site = tmp_path / "site-packages"
    for name, file in (("waitlib.inner", site / "waitlib/inner.pyc"), ("waitlib.quick", site / "waitlib/quick.so")):
        module = ModuleType(name)
        module.__file__ = os.fspath(file)
        monkeypatch.setitem(sys.modules, name, module)
    assert not installed.is_application("/build/7/waitlib/inner.py")
    assert not installed.is_application("waitlib/quick.pyx")
    assert installed.is_application("/build/7/shop/queue.py")


def test_what_is_remembered_is_bounded() -> None:
    """Programs that write code give each piece a name of its own."""
    for number in range(installed._FILES_MAX + 100):
        installed.is_application(f"<written {number}>")
    assert len(installed._known) <= installed._FILES_MAX
