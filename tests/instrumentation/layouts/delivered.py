"""A small program and a small library, to be delivered in each layout; it prints where its job stands."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

WORKER: Final = """
import os
import threading
import time

from lastspan.instrumentation.evidence import sample_stack
from lastspan.instrumentation.registry.spans import ExecutionContext
{imports}


def charge():
    {wait}  # here


def main():
    thread = threading.Thread(target=charge, daemon=True)
    thread.start()
    package = charge.__module__.partition(".")[0]
    for _ in range(2000):
        seen = sample_stack(ExecutionContext(thread.ident, None, None))
        if seen.steps and seen.steps[-1][0].co_name in {innermost}:
            code, line = seen.place(package)
            print(f"{{code.co_name}}:{{line}} in {{package}}", flush=True)
            os._exit(0)  # an executor's thread would be waited for
        time.sleep(0.01)
    print("it does not wait")


if __name__ == "__main__":
    main()
"""

LIBRARY: Final = """
import threading


def hold():
    threading.Event().wait()
"""

WAITS: Final = WORKER.format(imports="import waitlib.inner", wait="waitlib.inner.hold()", innermost='("wait",)')
"""In a library of its own, which costs no network."""

CALLS: Final = WORKER.format(
    imports="import requests, socket\n\nserver = socket.create_server(('127.0.0.1', 0))",
    wait='requests.get(f"http://127.0.0.1:{server.getsockname()[1]}/")',
    innermost='("readinto", "recv_into")',
)
"""In requests, urllib3 and the standard library."""

FOLLOWED: Final = CALLS.replace(
    "def charge():",
    """def charge():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(call).result()


def call():""",
).replace("import requests", "import concurrent.futures, requests")
"""The same, by an executor: the line is the one where its thread stands."""


def line(source: str) -> str:
    """Return what the program says where it is understood: the function, and the line that calls the library."""
    rows = source.splitlines()
    here = next(number for number, row in enumerate(rows) if "# here" in row)
    return f"{rows[here - 1].partition('def ')[2].rstrip('():')}:{here + 1}"


def package(folder: Path, name: str, **modules: str) -> Path:
    """Write a package; return the folder that it is in."""
    (folder / name).mkdir(parents=True)
    for module, text in {"__init__": "", **modules}.items():
        (folder / name / f"{module}.py").write_text(text)
    return folder


def wheel(folder: Path, name: str, **modules: str) -> Path:
    """Write a wheel as a build backend does; pip installs it, and writes its RECORD."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {f"{name}/{module}.py": text for module, text in {"__init__": "", **modules}.items()}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as opened:
        for file, text in files.items():
            opened.writestr(file, text)
    return path


def install(target: Path, *wheels: Path) -> None:
    """Run `pip install --target` of local wheels."""
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    subprocess.run([*command, "--target", str(target), *map(str, wheels)], check=True, timeout=120)


def said(*command: object, folder: Path, **environment: str) -> str:
    """Run a program; return what it says."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    return done.stdout.strip() or done.stderr
