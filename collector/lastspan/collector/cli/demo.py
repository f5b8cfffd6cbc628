"""`lastspan demo`: shows the demo of `lastspan.examples` on the terminal, live or once."""

from __future__ import annotations

import io
import re
import signal
import sys
from pathlib import Path
from typing import Any

import click
import requests
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.terminal_theme import MONOKAI
from rich.text import Text

from .client import fetch_jobs
from .table import jobs_table, watch


@click.command()
@click.option("--once", is_flag=True, help="Print the table, say whether all was found (exit 0 or 1), and end.")
@click.option("--broker", metavar="URL", help="A real broker, redis://… or amqp://…; default: files, no server.")
@click.option("--svg", metavar="FILE", help="Draw the table into a picture too.", hidden=True)
def demo(once: bool, broker: str | None, svg: str | None) -> None:
    """Real Celery workers, jobs that hang, and where each one stopped."""
    try:
        from lastspan.examples.demo import Demo
        from lastspan.examples.running import Running, StartError
    except ModuleNotFoundError as absent:
        click.echo(f"lastspan: the demo needs {absent.name}: pip install 'lastspan[demo]'", err=True)
        raise SystemExit(2) from None

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    console = Console()
    with Running() as running:
        try:
            missing = _run(Demo(running, _say(console), broker=broker), console, once=once, svg=svg)
        except StartError as problem:
            click.echo(f"lastspan: {problem}", err=True)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            missing = []
        if missing:
            click.echo(running.tail(), err=True)
    raise SystemExit(1 if missing else 0)


def _run(demo: Any, console: Console, *, once: bool, svg: str | None) -> list[str]:
    """Run the demo; return what was not found as it should be."""
    demo.start()
    url, missing = demo.collector.web, []
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for _, missing in demo.wait():
            if console.is_terminal:
                live.update(Group(jobs_table(fetch_jobs(url, None)), _left(missing)), refresh=True)
    table = jobs_table(fetch_jobs(url, None))
    console.print(table)
    if svg is not None:
        _draw(table, svg)
    if missing:
        console.print(Text("\nnot as it should be:", "bold red"), *(f"  {line}" for line in missing), sep="\n")
        return list(missing)
    console.print(Text("\nEvery stuck job was found where it stopped; no healthy one was accused.", "bold green"))
    if not once:
        console.print(
            f"It goes on until Ctrl-C. Meanwhile: lastspan jobs --url {url}   lastspan explain --url {url} ID"
        )
        _go_on(url)
    return []


def _draw(table: RenderableType, path: str) -> None:
    """Write the table as a picture that needs no font from elsewhere."""
    paper = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    paper.print(Text("$ lastspan jobs", "bold"), table, sep="\n")
    drawn = paper.export_svg(title="lastspan", theme=MONOKAI)
    Path(path).write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL))


def _go_on(url: str) -> None:
    try:
        watch(lambda: fetch_jobs(url, None), url=url)
    except (KeyboardInterrupt, requests.RequestException):
        return


def _left(missing: list[str]) -> Text:
    return Text(f"\nstill waiting for {len(missing)}" if missing else "", "dim")


def _say(console: Console) -> Any:
    return lambda text: console.print(Text(f"· {text}", "dim"))
