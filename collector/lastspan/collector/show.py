"""Jobs for the eyes: the table of `lastspan jobs`, the story of `lastspan explain`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lastspan.semconv import duration

from .api_client import Json, UnreachableError

_STYLES = {
    "running": "green",
    "overdue": "yellow",
    "stuck": "bold red",
    "lost": "bold magenta",
    "frozen": "bold cyan",
    "ended": "dim",
}
_ORDER = ("stuck", "lost", "frozen", "overdue", "running", "ended")
_NEXT = {
    "stuck": "Look at the code line and the peer. A batch loop that is only slow can tell so by progress().",
    "overdue": "It still moves. If it may take that long, declare it (expected=…) or write a rule.",
    "lost": "See whether the worker was killed (memory, eviction), and whether the queue gives the job out again.",
    "frozen": "Look at the process on its host: stopped (T), in an uninterruptible wait (D), or holding the GIL.",
}


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
        table.add_row(_state(job), _name(job), _where(job), _against(job), _process(job))
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


def explanation(job: Json) -> RenderableType:
    """Return one job's story, in the order in which people ask."""
    last = job["last_span"]
    parts: list[RenderableType] = []
    head = Text.assemble(
        (f"{job['state']}", _STYLES[job["state"]]), "  ", (job["job_name"], "bold"), f"  {job['job_id']}"
    )
    if job["attempt"]:
        head.append(f"  (attempt {job['attempt']})")
    parts.append(head)
    if job["state"] == "ended":
        parts.append(Text(f"It ended: {_outcome(job)}."))
    elif job["cause_text"]:
        parts.append(Text(job["cause_text"]))
    parts += [Text(), _facts(job, last)]
    if job["stack"]:
        parts += [Text("\nStack (innermost last)", "bold"), Text("\n".join(job["stack"]))]
    elif job["stack_unseen"]:
        parts.append(Text(f"\nNo stack: {job['stack_unseen']}", "dim"))
    if job["open_spans"]:
        parts += [Text("\nOpen spans", "bold"), _tree(job)]
    if job["others"]:
        parts.append(Text("\nOther attempts", "bold"))
        parts += [Text(f"  {_other(other)}") for other in job["others"]]
    if job["state"] in _NEXT:
        parts += [Text("\nWhat to do", "bold"), Text(_NEXT[job["state"]])]
    return Group(*parts)


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
            summary.append(f"{counts[state]} {state}   ", _STYLES[state])
    if not any(counts.get(state) for state in ("stuck", "lost", "frozen")):
        summary.append("nothing is stuck", "green")
    if found["truncated"]:
        summary.append("   (more jobs than are shown)", "dim")
    return summary


def _state(job: Json) -> Text:
    text = Text(job["state"], _STYLES[job["state"]])
    if job["outcome"]:
        text.append(f" {job['outcome']}", "red" if job["outcome"] in ("error", "killed", "lost", "timeout") else "dim")
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
    if last["kind"] != "job":
        text.append(last["name"], "bold")
        if peer := _peer(last["attributes"]):
            text.append(f" → {peer}")
    if code:
        place = f"{PurePosixPath(code['file'] or '?').name}:{code['line']}"
        text.append("\n" if text else "").append(f"{code['function']} ").append(place, "cyan")
    if last["kind"] == "job" and job["state"] != "ended":
        text.append("\n" if text else "").append("no call is open in it", "dim")
    return text


def _peer(attributes: Json) -> str:
    if "url.full" in attributes:
        return str(attributes["url.full"])
    host, port = attributes.get("server.address"), attributes.get("server.port")
    return f"{host}:{port}" if host and port else str(host or attributes.get("db.namespace") or "")


def _against(job: Json) -> Text:
    own = job["state"] == "stuck" and job["last_span"]["span_id"] != job["span_id"]
    age_s = job["last_span"]["age_s"] if own else job["age_s"]
    return Text.assemble(duration.render(age_s), " / ", duration.render(job["allowed_s"]), (f"\n{job['basis']}", "dim"))


def _process(job: Json) -> str:
    host = job["pod"] or job["host"] or "–"
    return f"{host}:{job['pid']}" if job["pid"] is not None else str(host)


def _facts(job: Json, last: Json) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")

    def row(name: str, value: Any) -> None:
        if value not in (None, ""):
            grid.add_row(name, str(value))

    row("last span", f"{last['name']} ({last['kind']}), open for {duration.render(last['age_s'])}")
    for name, value in last["attributes"].items():
        row("", f"{name} = {value}")
    if job["code"]:
        row("code", f"{job['code']['function']}, {job['code']['file']}:{job['code']['line']}")
    row("open for", f"{duration.render(job['age_s'])}, since {job['started_at']}")
    row("allowed", f"{duration.render(job['allowed_s'])} ({job['basis_rule']})")
    if job["movement_age_s"] is not None:
        row("last movement", f"{duration.render(job['movement_age_s'])} ago")
    row("progress", _progress(job["progress"]))
    row("waits for", _blocker(job["blocked_by"]))
    row(
        "process",
        f"{_process(job)}"
        + (f", heard {duration.render(job['heartbeat_age_s'])} ago" if job["heartbeat_age_s"] else ""),
    )
    row("service", " / ".join(part for part in (job["service"], job["environment"], job["service_version"]) if part))
    row("queue", " / ".join(part for part in (job["system"], job["queue"]) if part))
    row("severity", job["severity"])
    row("incident", job["incident"])
    row("key", job["job_key"])
    return grid


def _progress(progress: Json | None) -> str | None:
    if progress is None:
        return None
    total = f" of {progress['total']:g}" if progress["total"] is not None else ""
    return f"{progress['done']:g}{total} {progress['message'] or ''}".rstrip()


def _blocker(blocker: Json | None) -> str | None:
    if blocker is None:
        return None
    holder = blocker["holder_job_id"] or blocker["holder_thread"]
    words = [blocker["kind"], blocker["lock"], blocker["peer"], holder and f"held by {holder}"]
    return ", ".join(word for word in words if word)


def _outcome(job: Json) -> str:
    by = f" by signal {job['exit_signal']}" if job["exit_signal"] else ""
    return f"{job['outcome']}{by}" + (f" ({job['reason']})" if job["reason"] else "")


def _other(other: Json) -> str:
    ended = f" {other['outcome']}" if other["outcome"] else ""
    where = f"{other['host'] or '–'}:{other['pid']}"
    return f"attempt {other['attempt'] or '?'}: {other['state']}{ended}, {where}  {other['job_key']}"


def _tree(job: Json) -> Tree:
    spans = {span["span_id"]: span for span in job["open_spans"]}
    root = next(iter(spans.values()))
    nodes: dict[str, Tree] = {root["span_id"]: Tree(_span(root), guide_style="dim")}

    def node(span: Json, depth: int = 0) -> Tree:
        span_id = span["span_id"]
        if span_id not in nodes:
            parent = spans.get(span["parent_id"], root) if depth < 50 else root
            nodes[span_id] = node(parent, depth + 1).add(_span(span))
        return nodes[span_id]

    for span in spans.values():
        node(span)
    return nodes[root["span_id"]]


def _span(span: Json) -> Text:
    text = Text.assemble(span["name"], "  ", (duration.render(span["age_s"]), "dim"))
    if span["is_last"]:
        text.append("  ← last span", "bold red")
    return text
