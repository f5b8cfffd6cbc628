"""The command `lastspan`. Exit codes: 0 fine, 1 something is found, 2 usage or not reachable."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from typing import Any

import click
from rich.console import Console

from ..model.records import SUSPECT, State
from ..publish.text.story import explanation
from ..publish.text.version import own_version
from ..publish.text.wiring import wiring
from ..serve import server
from ..serve.config import LOG_LEVELS, ConfigError, load, show
from .check import checklist, findings_table
from .client import UnreachableError, fetch_job, fetch_jobs, fetch_lint, fetch_status, raw_jobs
from .learn import learn
from .table import jobs_table, watch
from .terminal import exact, shows

URL = "http://127.0.0.1:9417"
_SUSPECT = {state.value for state in SUSPECT}

_url = click.option(
    "--url", default=URL, envvar="LASTSPAN_URL", show_default=True, help="The web port of the collector."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(own_version(), prog_name="lastspan")
def cli() -> None:
    """Find background jobs that started and do not finish: which, where, why."""


@cli.command()
@click.option("--otlp-grpc", metavar="HOST:PORT", help="OTLP/gRPC (127.0.0.1:4317; port 0: any free one; off: none).")
@click.option("--otlp-http", metavar="HOST:PORT", help="OTLP/HTTP (127.0.0.1:4318).")
@click.option("--web", metavar="HOST:PORT", help="API, metrics, pages (127.0.0.1:9417).")
@click.option("--config", metavar="FILE", help="Settings in YAML (lastspan.yaml, if it is there).")
@click.option("--data-dir", metavar="DIR", help="Keep the state there; without it, it is forgotten at the end.")
@click.option("--silent-after", type=float, metavar="N", help="Report intervals until a process is silent (3).")
@click.option("--max-body", type=int, metavar="BYTES", help="Of a request, also after decompression (16 MiB).")
@click.option("--max-open-spans", type=int, metavar="N", help="New spans beyond it are refused (1000000).")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="What is logged (info).")
@click.option("--print-config", is_flag=True, help="Print the settings that result, and end.")
def collector(config: str | None, print_config: bool, **flags: Any) -> None:
    """Run the collector. Each flag is also a LASTSPAN_… variable and a key of the file."""
    try:
        settings = load(flags, file=config)
        if print_config:
            text = show(settings)
            click.echo(text if shows(text) else show(settings, is_ascii=True), nl=False)
            return
        level = settings.log_level.upper()
        logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(message)s")
        for library in ("uvicorn", "httpx", "httpcore"):  # they tell of each request
            logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLevelName(level)))
        server.run(settings, ready=click.echo)
    except ConfigError as problem:
        raise _fail(str(problem)) from None


@cli.command()
@_url
@click.option("--watch", "watching", is_flag=True, help="Show it again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the collector's answer as it is.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only jobs in this state.")
def jobs(url: str, watching: bool, as_json: bool, state: str | None) -> None:
    """Show the jobs that are open or ended recently, suspects first."""
    try:
        if as_json:
            body, found = raw_jobs(url, state)
            click.echo(exact(body))
        elif watching:
            watch(lambda: fetch_jobs(url, state), url=url)
            return
        else:
            found = fetch_jobs(url, state)
            Console().print(jobs_table(found, state=state))
    except UnreachableError as problem:
        raise _fail(str(problem)) from None
    raise SystemExit(1 if any(found["counts"].get(name) for name in _SUSPECT) else 0)


@cli.command()
@click.argument("ref")
@_url
def explain(ref: str, url: str) -> None:
    """Explain one job; REF is its id, its key, or the beginning of its id."""
    try:
        job = fetch_job(url, ref) or _by_beginning(url, ref)
    except UnreachableError as problem:
        raise _fail(str(problem)) from None
    if job is None:
        raise _fail(f"{url} knows no open or recent job {ref}; `lastspan jobs` lists them")
    Console().print(explanation(job))
    raise SystemExit(1 if job["state"] in _SUSPECT else 0)


@cli.command()
@_url
@click.option("--live", is_flag=True, help="What can hang one day: calls without timeout, unsafe queue settings …")
def check(url: str, live: bool) -> None:
    """Check that everything is connected: a collector that receives reports of workers. Exit status 1 if not."""
    try:
        if live:
            findings = fetch_lint(url)["findings"]
            Console().print(findings_table(findings))
            raise SystemExit(1 if findings else 0)
        lines = wiring(fetch_status(url), url)
    except UnreachableError as problem:
        raise _fail(str(problem)) from None
    Console().print(checklist(lines))
    raise SystemExit(0 if all(line.is_fine for line in lines) else 1)


@cli.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dashboards(arguments: tuple[str, ...]) -> None:
    """Build the dashboards for Grafana, or push them to one: `lastspan dashboards --help`."""
    from lastspan.dashboards import main  # loaded by nobody else

    main(arguments)


@cli.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def alerts(arguments: tuple[str, ...]) -> None:
    """Write alerts for Prometheus and pages for Alertmanager: `lastspan alerts --help`."""
    from lastspan.alerts.command import alerts as command  # not loaded by anybody else

    command.main(list(arguments), prog_name="lastspan alerts")


def _by_beginning(url: str, ref: str) -> Any:
    """Find a job as people copy its id from the table: by the beginning, if only one begins so."""
    beginning = ref.rstrip("….")
    if not beginning:
        return None
    keys = {job["job_key"] for job in fetch_jobs(url, None)["jobs"] if job["job_id"].startswith(beginning)}
    if len(keys) > 1:
        raise _fail(f"{len(keys)} jobs have an id that begins with {beginning}; write more of it")
    return fetch_job(url, keys.pop()) if keys else None


def _fail(message: str) -> SystemExit:
    click.echo(f"lastspan: {message}", err=True)
    return SystemExit(2)


cli.add_command(learn)
if importlib.util.find_spec(f"{__package__}.demo") is not None:
    cli.add_command(importlib.import_module(f"{__package__}.demo").demo)
