"""Whose code a file is, however the program is delivered: the application's, or a library's.

What is installed is gathered once, by the watcher: the folders of the interpreter and of its packages, and of each
other entry of `sys.path` what the RECORD of a distribution there lists. What is not known is the application's: of
code in an editable install too, which is what somebody works on.
"""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeAlias

Listed: TypeAlias = "Mapping[str, str] | None"
"""Of a folder: its packages and modules (`requests`, `six.py`, `google/cloud/storage`) and the distribution of each;
None: all that is there is installed."""

_SITES: Final = frozenset({"site-packages", "dist-packages"})
_ARCHIVES: Final = (".whl", ".egg")
"""A pex unpacks each wheel into a folder that is called like it; both may also be on the path as they are."""
_VENDORED: Final = frozenset({"_vendor", "_vendored", "vendored"})
_MAIN: Final = frozenset({"__main__", "__mp_main__"})
"""The second: what a process that multiprocessing has spawned calls the first."""
_MODULES: Final = (".py", ".pyc", ".pyx")
_LENGTH_MAX: Final = 4096
_FILES_MAX: Final = 10_000
_GATHERED_MAX: Final = 20
_ENTRIES_MAX: Final = 200
_NAMES_MAX: Final = 20_000
_RECORD_MAX: Final = 4_000_000
_SECONDS_MAX: Final = 1.0

_WELL_KNOWN: Final = """
_pytest aio_pika aiobotocore aiohttp aiomysql aiopg aioredis aiosqlite amqp anyio apscheduler arq asgiref asyncmy
asyncpg azure backoff billiard boto3 botocore cassandra celery certifi click confluent_kafka cryptography cx_Oracle
dask django docker dramatiq elastic_transport elasticsearch eventlet fastapi filelock flask gevent google
googleapiclient greenlet grpc gunicorn h11 h2 hiredis httpcore httplib2 httpx huey jinja2 joblib jwt kafka kazoo
kombu kubernetes ldap3 lxml mongoengine motor mysql MySQLdb nats numpy openpyxl opensearchpy opentelemetry oracledb
pandas paramiko peewee pg8000 pika PIL playwright portalocker psycopg psycopg2 psycopg_pool pyarrow pydantic pymongo
pymssql pymysql pyodbc redis requests rich rq s3fs s3transfer scipy selenium sentry_sdk simplejson sklearn smbclient
sniffio snowflake socks sqlalchemy starlette stripe suds tenacity thrift tornado torch trio twisted typer urllib3
uvicorn uvloop vine watchdog websocket websockets werkzeug wrapt yaml zeep zmq
"""
WELL_KNOWN: Final = frozenset(_WELL_KNOWN.split())
"""What jobs wait in, where a program has left out what says so: frozen ones carry no RECORD, slim ones remove it."""


class Origin(NamedTuple):
    """Where a file of a library is."""

    inside: str
    """Below the folder where it is installed; empty: it is nobody's package (the interpreter's, ours, vendored)."""
    distribution: str = ""
    """Empty: not asked."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is installed where."""

    folders: Mapping[str, Listed] = field(default_factory=dict)
    """By path; the empty one is of a frozen program, whose files have no folder."""
    interpreter: frozenset[str] = frozenset()
    """Folders of the standard library, and ours: no job is of them."""
    brings: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By top-level package: the distributions that have some of it."""
    main: tuple[str, str] = ("", "")
    """Of `__main__`: its top-level package, and its file."""
    path: tuple[str, ...] = ()
    """`sys.path`, when it was gathered."""


_NOTHING: Final[Mapping[str, str]] = {}


def origin(filename: str, layout: Layout) -> Origin | None:
    """Return where a file is installed; None: it is the application's."""
    if len(filename) > _LENGTH_MAX:
        return None
    if filename.startswith("<"):  # code that a program has written; frozen modules of the interpreter
        return Origin("")
    path = normal(filename)
    parts = path.split("/")
    for depth in range(len(parts) - 1, -1, -1):  # innermost first: the environment may itself be inside of anything
        name, folder = parts[depth - 1] if depth else "", _key("/".join(parts[:depth]))
        if folder in layout.interpreter or name in _VENDORED:
            return Origin("")
        inside = parts[depth:]
        listed = layout.folders.get(folder, _NOTHING)
        if listed is None or name in _SITES or name.endswith(_ARCHIVES):
            return Origin("/".join(inside))
        owner = _owner(inside, listed) if listed else None
        if owner is not None:
            return Origin("/".join(inside), owner)
    return None


def is_own(found: Origin, filename: str, package: str, layout: Layout) -> bool:
    """Say whether a file that is installed is of the job's own package, or of the distribution that brings it."""
    if package in _MAIN:
        package, file = layout.main
        if file and filename == file:
            return True
    if not package or not found.inside:
        return False
    if found.inside.startswith((f"{package}/", f"{package}.py")):
        return True
    brings = layout.brings.get(package, frozenset())
    return len(brings) == 1 and found.distribution in brings  # of several it is a namespace


def normal(path: str) -> str:
    r"""Return a path with `/` and without what means nothing: `C:\app\x.py`, `\\?\C:\app\x.py`, `./x.py`."""
    if "\\" in path and (re.match(r"[A-Za-z]:|\\\\", path) or "/" not in path):
        path = path.removeprefix("\\\\?\\").replace("\\", "/")
    while path.startswith("./"):
        path = path[2:]
    return path


def _key(folder: str) -> str:
    """Return a folder as it is looked up: Windows knows no case."""
    return folder.lower() if folder[1:2] == ":" or folder.startswith("//") else folder


def _owner(inside: Sequence[str], listed: Mapping[str, str]) -> str | None:
    for end in range(len(inside), 0, -1):
        owner = listed.get("/".join(inside[:end]))
        if owner is not None:
            return owner
    return None


def _brings(folders: Mapping[str, Listed]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for listed in folders.values():
        for name, distribution in (listed or {}).items():
            if distribution:
                found.setdefault(name.partition("/")[0].removesuffix(".py"), set()).add(distribution)
    return {top: frozenset(distributions) for top, distributions in found.items()}


def roots(record: str) -> set[str]:
    """Return what a RECORD lists: each package by its outermost folder, and modules that are in none by their file."""
    names = (line.rsplit(",", 2)[0] for line in record.splitlines())
    files = {name for name in names if name.strip('"').endswith(_MODULES) and len(name) <= _LENGTH_MAX}
    files = {name.strip('"').replace("\\", "/") for name in files}
    packages = {file.rpartition("/")[0] for file in files if "/__init__.py" in file}
    return {_root(file, packages) for file in files if not file.startswith(("/", "../", "__pycache__/"))}


def _root(file: str, packages: set[str]) -> str:
    top = file.partition("/")[0]
    if top in packages:  # mostly: the others are namespaces
        return top
    parts = file.split("/")
    above = ("/".join(parts[:depth]) for depth in range(2, len(parts)))
    return next((folder for folder in above if folder in packages), file)


def gather(path: Sequence[str], environ: Mapping[str, str], *, is_frozen: bool = False) -> Layout:
    """Look what is installed. What cannot be read in time is not known."""
    until = time.monotonic() + _SECONDS_MAX
    folders: dict[str, Listed] = {}
    interpreter = {_OURS, *_spelled(*_paths("stdlib", "platstdlib"), getattr(sys, "_stdlib_dir", None))}
    for entry in path[:_ENTRIES_MAX]:
        if re.search(r"[/\\]python\d+\.zip$", entry):
            interpreter.update(_spelled(entry))
        elif origin(entry + "/x.py", Layout()) is None and not interpreter.intersection(_spelled(entry)):
            listed = _listed(entry, until)
            folders.update(dict.fromkeys(_spelled(entry), listed) if listed else {})
    folders.update(dict.fromkeys(_spelled(*_paths("purelib", "platlib"), _user_site()), None))
    if "LAMBDA_TASK_ROOT" in environ:
        task = dict.fromkeys(WELL_KNOWN, "")  # beside the application; slim ones have no RECORD
        for spelled in _spelled(environ["LAMBDA_TASK_ROOT"]):
            folders[spelled] = {**task, **(folders.get(spelled) or {})}
        folders.update(dict.fromkeys(_spelled("/opt/python", environ.get("LAMBDA_RUNTIME_DIR")), None))
    if is_frozen:
        standard = {form: "" for name in sys.stdlib_module_names for form in (name, f"{name}.py")}
        carried = {name: owner for listed in folders.values() for name, owner in (listed or {}).items()}
        folders[""] = {**standard, **dict.fromkeys(WELL_KNOWN, ""), "lastspan/instrumentation": "", **carried}
    return Layout(folders, frozenset(interpreter), _brings(folders), _main(), tuple(path))


def _paths(*names: str) -> list[str | None]:
    return [sysconfig.get_path(name) for name in names]


def _user_site() -> str | None:
    return site.USER_SITE if isinstance(site.USER_SITE, str) else None


def _spelled(*folders: str | None) -> list[str]:
    """Return folders as they are looked up: as they are written, and without symbolic links."""
    found = []
    for folder in folders:
        if folder is not None:
            try:
                absolute = os.path.abspath(folder)  # the empty one: where the process is
                found += [_key(normal(form).rstrip("/")) for form in (absolute, os.path.realpath(absolute))]
            except (OSError, ValueError):
                continue
    return [folder for folder in found if folder]


def _listed(entry: str, until: float) -> dict[str, str]:
    """Return what the distributions in a folder, or in an archive, list; nothing where it has none or is unreadable."""
    found: dict[str, str] = {}
    try:
        for name, record in _records(os.path.abspath(entry), until):
            found.update(dict.fromkeys(roots(record), name.partition("-")[0]))
    except Exception:  # whatever lies there: a broken archive, a folder that we may not read
        return found
    return found


def _records(entry: str, until: float) -> Iterator[tuple[str, str]]:
    if os.path.isdir(entry):
        with os.scandir(entry) as inside:
            for number, one in enumerate(inside):
                if number >= _NAMES_MAX or time.monotonic() > until:
                    return
                if one.name.endswith(".dist-info"):
                    yield one.name, _text(f"{entry}/{one.name}/RECORD")
        return
    archive, prefix = entry, ""
    while archive and not os.path.exists(archive):  # /srv/app.pyz/libraries
        archive, _, folder = archive.rpartition("/")
        prefix = f"{folder}/{prefix}"
    if not os.path.isfile(archive):
        return
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist()[:_NAMES_MAX]:
            name = info.filename.removeprefix(prefix)
            if info.filename.startswith(prefix) and name.endswith(".dist-info/RECORD") and name.count("/") == 1:
                if info.file_size > _RECORD_MAX or time.monotonic() > until:
                    continue
                yield name, opened.read(info).decode(errors="replace")


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(_RECORD_MAX + 1)
    except OSError:
        return ""
    return text.decode(errors="replace") if len(text) <= _RECORD_MAX else ""


def _main() -> tuple[str, str]:
    """Return the package and the file of `__main__`: of `python -m shop.worker` it is shop."""
    main = _members(sys.modules.get("__main__")) or {}
    name, file = getattr(main.get("__spec__"), "name", None), main.get("__file__")
    return (name.partition(".")[0] if isinstance(name, str) else "", file if isinstance(file, str) else "")


def _members(module: Any) -> dict[str, Any] | None:
    """Return what a module holds, without asking the module: a lazy one would load itself."""
    return object.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else None


def _without_source(filename: str) -> str | None:
    """Return the file of the module that was compiled from a file which is not there: by its name, if one has it."""
    parts = re.sub(r"(/__init__)?\.py[cx]?$", "", normal(filename)).split("/")
    for start in range(max(0, len(parts) - 8), len(parts)):
        file = (_members(sys.modules.get(".".join(parts[start:]))) or {}).get("__file__")
        if isinstance(file, str) and file.endswith((".pyc", ".so", ".pyd")):
            return file
    return None


_OURS: Final = normal(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_layout = Layout()
_known: dict[tuple[str, str], bool] = {}
"""By file and package of the job: it is the application's. Like the layout the watcher's own."""
_gathered = 0


def learn() -> None:
    """Look what is installed, if that was not done for this `sys.path`."""
    global _layout, _gathered
    path = tuple(entry for entry in list(sys.path) if isinstance(entry, str))
    if _gathered and (path == _layout.path or _gathered >= _GATHERED_MAX):
        return
    _gathered += 1
    try:
        _layout = gather(path, os.environ, is_frozen=bool(getattr(sys, "frozen", False)))
    except Exception:  # an interpreter that does not know its own folders; what is known stays
        _layout = replace(_layout, path=path)
    _known.clear()


def is_application(filename: str, package: str = "") -> bool:
    """Say whether a file is the application's: not the standard library, not installed, not ours.

    Code of the job function's own *package* counts even where it is installed, as in some images.
    """
    known = _known.get((filename, package))
    if known is None:
        learn()
        found = _origin(filename)
        known = found is None or is_own(found, filename, package, _layout)
        if len(_known) >= _FILES_MAX:
            _known.clear()
        _known[filename, package] = known
    return known


def _origin(filename: str) -> Origin | None:
    found = origin(filename, _layout)
    if found is not None or not filename or len(filename) > _LENGTH_MAX:
        return found
    if os.path.exists(filename):
        return origin(os.path.realpath(filename), _layout)
    module = _without_source(filename)  # compiled elsewhere
    return origin(module, _layout) if module is not None else None
