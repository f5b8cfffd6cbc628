"""One job explained: `lastspan explain`. Plain text where there is no terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lastspan.semconv import duration
from lastspan.semconv.vocabulary import Certainty

from .printable import Json

STYLES = {
    "running": "green",
    "overdue": "yellow",
    "stuck": "bold red",
    "lost": "bold magenta",
    "frozen": "bold cyan",
    "ended": "dim",
}
_OVERDUE = "It is still active. If it may take this long, declare it (expected=…) or add a rule."
_SURE = 0.75
"""Below it, a cause is said to be likely."""


def explanation(job: Json) -> RenderableType:
    """Return one job's story: what is wrong and what to do, whom it waits for, then the facts behind it."""
    parts: list[RenderableType] = [_head(job), *_cause(job)]
    if job["blocked_by"] is not None and _is_worth_a_tree(job["blocked_by"]):
        parts += [Text("\nWho waits for whom", "bold"), _waits(job, job["blocked_by"])]
    parts += [Text(), _facts(job, job["last_span"])]
    if job["stack"]:
        parts += [Text("\nStack (innermost last)", "bold"), Text("\n".join(job["stack"]))]
    elif job["stack_unseen"]:
        parts.append(Text(f"\nNo stack: {job['stack_unseen']}", "dim"))
    if job["open_spans"]:
        parts += [Text("\nOpen spans", "bold"), _tree(job)]
    if job["others"]:
        parts.append(Text("\nOther attempts", "bold"))
        parts += [Text(f"  {_other(other)}") for other in job["others"]]
    if job["lint"]:
        parts.append(Text("\nChange this before it hangs again", "bold"))
        parts += [Text(f"  {finding['text']}. {finding['advice']}") for finding in job["lint"]]
    return Group(*parts)


def _head(job: Json) -> Text:
    head = Text.assemble((job["state"], STYLES[job["state"]]), "  ", (job["job_name"], "bold"), f"  {job['job_id']}")
    return head.append(f"  (attempt {job['attempt']})") if job["attempt"] else head


def _cause(job: Json) -> list[RenderableType]:
    if job["state"] == "ended":
        return [Text(f"It ended: {_outcome(job)}.")]
    if not job["cause_text"]:
        return []
    confidence = job["confidence"]
    doubt = f"Likely ({confidence:.0%} sure): " if 0 < confidence < _SURE else ""
    told: list[RenderableType] = [Text(doubt + job["cause_text"])]
    advice = _OVERDUE if job["state"] == "overdue" else job["advice"]
    return [*told, Text("\nWhat to do", "bold"), Text(advice)] if advice else told


def _is_worth_a_tree(blocker: Json) -> bool:
    return bool(blocker["holder_job_id"] or blocker["holder_thread"] or blocker["holder_pid"] or blocker["lock"])


def _waits(job: Json, blocker: Json) -> Tree:
    """The way from the job to the one that all wait for, each below the one that waits for it."""
    tree = branch = Tree(Text.assemble(job["job_name"], "  ", (job["job_id"], "dim")), guide_style="dim")
    for step in blocker["chain"]:
        branch = branch.add(_step(step))
    if blocker["is_circle"]:
        branch.add(Text(f"↺ which waits for {job['job_name']}: a deadlock", "bold red"))
    return tree


def _step(step: Json) -> Text:
    thing = " ".join(word for word in (step["kind"], step["lock"], step["peer"] and f"at {step['peer']}") if word)
    text = Text.assemble((thing or "waits", "bold"), f"  for {duration.render(step['since_s'])}")
    holder = (
        step["holder_job_name"] or step["holder_thread"] or (step["holder_pid"] and f"process {step['holder_pid']}")
    )
    if holder or step["holder_job_id"]:
        state = step["holder_state"] or ""
        text.append(" ← ").append(str(holder or ""), "bold").append(f" {step['holder_job_id'] or ''} {state}".rstrip())
    elif step["certainty"] == Certainty.NOBODY:
        text.append(" ← nobody: the lock was taken and never released", "bold red")
    if step["holder_code"]:
        text.append(f"  {step['holder_code']}", "cyan")
    return text


def _facts(job: Json, last: Json) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")

    def row(name: str, value: Any) -> None:
        if value not in (None, ""):
            grid.add_row(name, str(value))

    row("last span", f"{last['name']} ({last['kind']}), open for {duration.render(last['age_s'])}")
    if last["span_id"] != job["span_id"]:
        row("", f"allowed {duration.render(last['allowed_s'])} ({last['basis_rule']})")
    for name, value in last["attributes"].items():
        row("", f"{name} = {value}")
    row("code", job["code"] and _code(job["code"]))
    row("open for", f"{duration.render(job['age_s'])}, since {job['started_at']}")
    row("allowed", f"{duration.render(job['job_allowed_s'])} ({job['job_basis_rule']})")
    if job["movement_age_s"] is not None:
        row("last activity", f"{duration.render(job['movement_age_s'])} ago")
    row("progress", _progress(job["progress"]))
    row("waits for", _wait(job["wait"]))
    row("holds", ", ".join(job["holds"]))
    if job["cpu_ratio"] is not None:
        row("thread", f"{job['cpu_ratio']:.0%} of a core")
    row("not seen", job["unseen"])
    row(
        "process",
        f"{process(job)}"
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


def _wait(wait: Json | None) -> str | None:
    """What the kernel and the frames say of the wait itself."""
    if wait is None:
        return None
    bound = "no timeout" if wait["unbounded"] else wait["timeout_s"] and f"timeout {duration.render(wait['timeout_s'])}"
    idle = wait["idle_s"] and f"idle for {duration.render(wait['idle_s'])}"
    target = wait["target"] or wait["job_id"]
    words = [wait["kind"], wait["call"], wait["syscall"], wait["peer"], target, idle, bound]
    return ", ".join(str(word) for word in words if word)


def _code(code: Json) -> str:
    loop = f" (loops in lines {code['first_line']}-{code['last_line']})" if code["last_line"] is not None else ""
    return f"{code['function']}, {code['file']}:{code['line']}{loop}"


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


def process(job: Json) -> str:
    """Name a job's process."""
    host = job["pod"] or job["host"] or "–"
    return f"{host}:{job['pid']}" if job["pid"] is not None else str(host)
