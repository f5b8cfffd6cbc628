"""The table of `lastspan jobs`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import PurePosixPath

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lastspan.semconv import duration
from lastspan.semconv.vocabulary import Outcome

from ..model.records import SUSPECT, Kind, State
from ..publish.text.printable import Json
from ..publish.text.story import STYLES, process
from .client import UnreachableError

_ORDER = (State.STUCK, State.LOST, State.FROZEN, State.OVERDUE, State.RUNNING, State.ENDED)
_BAD = frozenset({Outcome.ERROR, Outcome.KILLED, Outcome.LOST, Outcome.TIMEOUT})


def jobs_table(found: Json, *, state: str | None = None) -> RenderableType:
    """Return the table of jobs, suspects first, and what it comes to."""
    jobs = sorted(found["jobs"], key=lambda job: (_ORDER.index(job["state"]), -job["age_s"]))
    if not jobs:
        return _nothing(found, state)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("state", no_wrap=True)
    table.add_column("job", overflow="fold", min_width=10)
    table.add_column("where it is", overflow="fold", min_width=20)
    table.add_column("open / allowed", min_width=12)
    table.add_column("process", overflow="fold", min_width=10)
    for job in jobs:
        table.add_row(_state(job), _name(job), _where(job), _against(job), process(job))
    return Group(table, Text(), _summary(found))


def watch(fetch: Callable[[], Json], *, url: str) -> None:
    """Show the table until Ctrl-C; a collector that goes away and comes back is no reason to end."""
    fetch()  # at the start it is
    console = Console()
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                try:
                    shown = jobs_table(fetch())
                except UnreachableError as problem:
                    shown = Text(f"waiting: {problem}", style="yellow")
                live.update(
                    Group(Text(f"lastspan jobs   {url}   {time.strftime('%H:%M:%S')}\n", "dim"), shown), refresh=True
                )
                time.sleep(1)
        except KeyboardInterrupt:
            return


def _nothing(found: Json, state: str | None) -> RenderableType:
    if state is not None and sum(found["counts"].values()):
        return Group(Text(f"No job is {state}."), _summary(found))
    return Text(
        "No job is known yet. A job is announced once it has been open for a second; jobs that are quicker stay unseen."
    )


def _summary(found: Json) -> Text:
    counts = found["counts"]
    summary = Text()
    for state in _ORDER:
        if counts.get(state):
            summary.append(f"{counts[state]} {state}   ", STYLES[state])
    if not any(counts.get(state) for state in SUSPECT):
        summary.append("nothing is stuck", "green")
    if found["truncated"]:
        summary.append("   (more jobs than are shown)", "dim")
    return summary


def _state(job: Json) -> Text:
    text = Text(job["state"], STYLES[job["state"]])
    if job["outcome"]:
        text.append(f" {job['outcome']}", "red" if job["outcome"] in _BAD else "dim")
    return text


def _name(job: Json) -> Text:
    return Text.assemble((job["job_name"], "bold"), "\n", (_short(job["job_id"]), "dim"))


def _short(job_id: str) -> str:
    """The beginning of an id: enough to tell jobs apart, and for `lastspan explain`."""
    return job_id if len(job_id) <= 12 else job_id[:8] + "…"


def _where(job: Json) -> Text:
    """The call that is open, if one is; and the code line either way."""
    last, code = job["last_span"], job["code"]
    text = Text()
    if last["kind"] != Kind.JOB:
        text.append(last["name"], "bold")
        if peer := _peer(last["attributes"]):
            text.append(f" → {peer}")
    if code:
        place = f"{PurePosixPath(code['file'] or '?').name}:{code['line']}"
        text.append("\n" if text else "").append(f"{code['function']} ").append(place, "cyan")
    if last["kind"] == Kind.JOB and job["state"] != State.ENDED:
        text.append("\n" if text else "").append("no call is open in it", "dim")
    return text


def _peer(attributes: Json) -> str:
    if "url.full" in attributes:
        return str(attributes["url.full"])
    host, port = attributes.get("server.address"), attributes.get("server.port")
    return f"{host}:{port}" if host and port else str(host or attributes.get("db.namespace") or "")


def _against(job: Json) -> Text:
    ages = duration.render(job["measured_s"]), " / ", duration.render(job["allowed_s"])
    return Text.assemble(*ages, (f"\n{job['basis']}", "dim"))
