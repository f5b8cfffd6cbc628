"""`lastspan check`: is everything connected, and what can hang one day? Only the layout; the collector decides."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..publish.text.printable import Json
from ..publish.text.wiring import Line

_SEVERITIES = {"warning": "yellow", "info": "dim"}


def checklist(lines: list[Line]) -> RenderableType:
    """Return the lines as a table; what is not fine says what to do."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        mark = Text("ok", "green") if line.is_fine else Text("!", "bold red")
        told = Text(line.found) if line.is_fine else Text.assemble(line.found, "\n", (line.advice, "yellow"))
        table.add_row(mark, line.what, told)
    return table


def findings_table(findings: list[Json]) -> RenderableType:
    """Return what will hang one day, the worst first."""
    if not findings:
        return Text("No findings: every call that lastspan saw has a timeout, and every job has a time limit.", "green")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("rule", no_wrap=True)
    table.add_column("job", overflow="fold", min_width=10)
    table.add_column("what, and what to do", overflow="fold", min_width=30)
    for finding in sorted(findings, key=lambda one: (one["severity"] != "warning", one["rule"], one["job_name"])):
        rule = Text(finding["rule"], _SEVERITIES.get(finding["severity"], ""))
        table.add_row(rule, finding["job_name"], Text.assemble(finding["text"], "\n", (finding["advice"], "dim")))
    return Group(table, Text(f"\n{len(findings)} finding{'s' if len(findings) > 1 else ''}", "bold"))
