"""The command `lastspan learn`: what was learned, as a table, as rules for review, from here to elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lastspan.semconv import duration

from ..publish.text.printable import Json
from .client import UnreachableError, ask
from .terminal import shows

_PATH = "/api/v1/learned"
_TO_S = (1.0, 5.0, 10.0, 60.0)

_url = click.option(
    "--url", default="http://127.0.0.1:9417", envvar="LASTSPAN_URL", show_default=True, help="The collector's web port."
)
_service = click.option("--service", help="Only of this service.")
_job = click.option("--job", "job_name", help="Only of this job.")


@click.group()
def learn() -> None:
    """Show, take along, bring back or forget how long jobs and calls take."""


@learn.command("show")
@_url
@_service
@_job
@click.option("--json", "as_json", is_flag=True, help="Print the collector's answer as it is.")
def show_learned(url: str, service: str | None, job_name: str | None, as_json: bool) -> None:
    """Show what is allowed by what was learned, and why."""
    found = _ask(url, "GET", service=service, job_name=job_name)
    if as_json:
        click.echo(json.dumps(found))
    elif not found["learned"]:
        click.echo("Nothing is learned yet: workers report durations every 15 s, and some runs must have ended.")
    else:
        Console().print(_table(found))


@learn.command("export")
@_url
@_service
@_job
@click.option("--rules", is_flag=True, help="As rules for lastspan.yaml, to be reviewed, instead of what was learned.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
def export_learned(url: str, service: str | None, job_name: str | None, rules: bool, output: Path | None) -> None:
    """Print what was learned, for `lastspan learn import`; or rules that say the same."""
    if rules:
        found = _ask(url, "GET", service=service, job_name=job_name)
        text = _rules(found)
        if output is None and not shows(text):
            text = _rules(found, is_ascii=True)
    else:
        text = json.dumps(_ask(url, "GET", service=service, job_name=job_name, form="export"), indent=1) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as problem:
            raise _fail(f"{output}: cannot be written: {problem.strerror}") from None


@learn.command("import")
@_url
@click.argument("file", type=click.File("rb"))
def import_learned(url: str, file: Any) -> None:
    """Bring back what `lastspan learn export` wrote: it replaces what is known of the same jobs and calls."""
    done = _ask(url, "POST", body=file.read())
    click.echo(f"{done['imported']} jobs and calls were imported")


@learn.command("reset")
@_url
@_service
@_job
@click.option("--all", "everything", is_flag=True, help="Of all services and jobs.")
def reset_learned(url: str, service: str | None, job_name: str | None, everything: bool) -> None:
    """Forget what was learned, of a service, of a job, or all; the defaults hold until enough runs have ended."""
    if not (service or job_name or everything):
        raise _fail("choose what to forget: --service, --job, or --all")
    done = _ask(url, "DELETE", service=service, job_name=job_name)
    click.echo(f"{done['forgotten']} jobs and calls were forgotten")


def _ask(url: str, method: str, *, body: bytes | None = None, **query: str | None) -> Json:
    try:
        return ask(url, _PATH, method=method, body=body, query=query)
    except UnreachableError as problem:
        raise _fail(str(problem)) from None


def _table(found: Json) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, options in (
        ("service", {}),
        ("job", {"overflow": "fold"}),
        ("call", {"overflow": "fold"}),
        ("runs", {"justify": "right"}),
        ("allowed", {"justify": "right"}),
        ("by", {}),
        ("why", {"overflow": "fold", "style": "dim"}),
    ):
        table.add_column(name, **options)  # type: ignore[arg-type]
    for row in found["learned"]:
        where = " / ".join(part for part in (row["service"], row["environment"]) if part)
        call = Text(row["span_name"]) if row["span_name"] else Text("the job", "dim")
        if row["peer"]:
            call.append(f"  {row['peer']}", "dim")
        table.add_row(
            where,
            Text(row["job_name"], "bold"),
            call,
            f"{row['runs']:,.0f}",
            duration.render(row["allowed_s"]),
            Text(row["basis"]),
            _why(row),
        )
    return table


def _why(row: Json) -> str:
    """Write by what rule so much is allowed, and what the runs say if they do not decide."""
    why = str(row["why"])
    if row["duration_s"] is not None and not row["is_own"]:
        why += f"; {row['what']} of {row['runs']:,.0f} runs is {duration.render(row['duration_s'])}"
    return f"{why} (few runs: it may lift the default, never lower it)" if row["is_hint"] else why


def _rules(found: Json, *, is_ascii: bool = False) -> str:
    """Return rules that allow what was learned, calls before jobs, each with its reason."""
    lines = ["# Written by `lastspan learn export --rules`: review it, and put it into lastspan.yaml.", "rules:"]
    known = [row for row in found["learned"] if row["learned_s"] is not None and not row["is_hint"]]
    widest: dict[tuple[str | None, ...], Json] = {}
    for row in sorted(known, key=lambda row: row["learned_s"]):  # a rule allows what any environment and peer needs
        widest[row["service"], row["job_name"], row["span_name"], row["kind"]] = row
    for row in sorted(widest.values(), key=_calls_first):
        match = {name: _exact(row[name]) for name in ("service", "job_name", "span_name") if row[name] is not None}
        match |= {"kind": row["kind"]} if row["kind"] else {}
        rule = {"match": match, "allowed": _plain(row["learned_s"])}
        environment = " ".join(row["environment"].split())
        lines.append(f"  # {row['learned_rule']}" + (f" ({environment})" if environment else ""))
        dumped = yaml.safe_dump([rule], default_flow_style=False, sort_keys=False, allow_unicode=not is_ascii)
        lines += [f"  {line}" for line in dumped.splitlines()]
    return "\n".join(lines if known else [*lines[:1], "rules: []"]) + "\n"


def _calls_first(row: Json) -> tuple[bool, str, str, str, str]:
    """Order rules: those for calls of any kind come behind, for the first rule that matches decides."""
    return row["span_name"] is None, row["service"], row["job_name"], row["span_name"] or "", row["kind"] or "z"


def _exact(name: str) -> str:
    """Return a glob that means a name as it is."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _plain(seconds: float) -> str:
    """Write seconds so that people like to read them: rounded up to 1, 5, 10 or 60 s."""
    step = next((step for step in _TO_S if seconds <= 20 * step), 60.0)
    whole = int(-(-seconds // step) * step)
    return f"{whole // 60}m" if whole % 60 == 0 and whole >= 120 else f"{whole}s"


def _fail(message: str) -> SystemExit:
    click.echo(f"lastspan: {message}", err=True)
    return SystemExit(2)
