"""`python -m tests.e2e.guest.stress --python PATH --minutes 10`: looks by the thousand, and memory that is debugged.

The interpreter under test runs `program` under `PYTHONMALLOC=debug` and `-X dev`: what is used after it was freed,
freed twice or written beyond its end is a crash. Exit status 1 if it ends otherwise than well, keeps a frame of a job,
or complains.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console

ROOT: Final = Path(__file__).resolve().parents[3]
_ENVIRON: Final = {
    "PYTHONMALLOC": "debug",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONPATH": str(ROOT),
    "OTEL_LASTSPAN_ENABLED": "false",  # its watcher: here the program itself looks, and without a pause
}


@click.command()
@click.option("--python", "python", type=click.Path(path_type=Path, exists=True), default=Path(sys.executable))
@click.option("--minutes", type=float, default=10.0)
def main(python: Path, minutes: float) -> None:
    """Let one process be looked at for some minutes."""
    console = Console(width=110)
    version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout.strip()
    command = [str(python.absolute()), "-X", "dev", "-m", "tests.e2e.guest.program", str(minutes * 60)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **_ENVIRON}, capture_output=True, text=True)
    console.print(version, f"{minutes:g} minutes, exit status {done.returncode}", highlight=False)
    told = done.stdout.strip().splitlines()
    console.print(told[-1] if told else "it said nothing", highlight=False, markup=False)
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("lastspan cannot reach")]
    console.print("\n".join(complaints[-60:]), highlight=False, markup=False)
    result = json.loads(told[-1]) if told and done.returncode == 0 else {}
    is_well = result.get("jobs") and result.get("looks") and not result["frames kept"] and not result["faults"]
    sys.exit(0 if is_well and not complaints else 1)


if __name__ == "__main__":
    main()
