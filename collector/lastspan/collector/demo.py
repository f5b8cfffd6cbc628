"""`lastspan demo`: shows the demo of `lastspan.examples` on the terminal, live or once."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click
import requests
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .api_client import fetch_jobs
from .show import jobs_table, watch


@click.command()
@click.option("--once", is_flag=True, help="Print the table, say whether all was found (exit 0 or 1), and end.")
@click.option("--broker", metavar="URL", help="A real broker, redis://… or amqp://…; default: files, no server.")
def demo(once: bool, broker: str | None) -> None:
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
            missing = _run(Demo(running, _say(console), broker=broker), console, once=once)
        except StartError as problem:
            click.echo(f"lastspan: {problem}", err=True)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            missing = []
        if missing:
            click.echo(running.tail(), err=True)
    raise SystemExit(1 if missing else 0)


def _run(demo: Any, console: Console, *, once: bool) -> list[str]:
    """Run the demo; return what was not found as it should be."""
    demo.start()
    url, missing = demo.collector.web, []
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for _, missing in demo.wait():
            if console.is_terminal:
                live.update(Group(jobs_table(fetch_jobs(url, None)), _left(missing)), refresh=True)
    console.print(jobs_table(fetch_jobs(url, None)))
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


def _go_on(url: str) -> None:
    try:
        watch(lambda: fetch_jobs(url, None), url=url)
    except (KeyboardInterrupt, requests.RequestException):
        return


def _left(missing: list[str]) -> Text:
    return Text(f"\nstill waiting for {len(missing)}" if missing else "", "dim")


def _say(console: Console) -> Any:
    return lambda text: console.print(Text(f"· {text}", "dim"))
