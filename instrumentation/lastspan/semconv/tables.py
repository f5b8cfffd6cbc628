"""Writes the reference tables of the docs: `python -m lastspan.semconv.tables > docs/semconv.md`."""

from __future__ import annotations

from collections.abc import Iterable

from . import ATTRIBUTES, EVENTS, METRICS
from .attributes import CALL_ATTRIBUTES, OLDER_NAMES, STABLE_NAMES
from .vocabulary import CAUSES, PURPOSES, WAITS


def render() -> str:
    """Return the whole page as Markdown."""
    return "\n".join(
        [
            "# Names: events, attributes, metrics",
            "",
            "Written by `make docs` from `lastspan.semconv`; do not edit.",
            "",
            "## Events",
            "",
            "OTLP log records. Each is the full state of its subject, so any one record is enough.",
            "",
            *table(("event", "subject", "when"), ((f"`{e.name}`", e.subject, e.when) for e in EVENTS.values())),
            "",
            "## Attributes",
            "",
            *table(
                ("attribute", "type", "unit", "meaning"),
                ((f"`{a.name}`", a.type, a.unit, a.brief) for a in ATTRIBUTES.values()),
            ),
            "",
            "Of a span's own attributes only these leave the worker: "
            + ", ".join(f"`{name}`" for name in sorted(CALL_ATTRIBUTES))
            + ".",
            "",
            "Older names are read and sent under the stable one:",
            "",
            *table(("older", "sent as"), ((f"`{old}`", f"`{new}`") for old, new in STABLE_NAMES.items())),
            "",
            "Workers of before sent some facts inside of texts, which the collector still reads:",
            "",
            *table(("older", "its text"), ((f"`{name}`", text) for name, text in OLDER_NAMES.items())),
            "",
            "## Words",
            "",
            "What a thread waits for, `lastspan.wait.kind`:",
            "",
            *table(("wait", "for"), ((f"`{word}`", meaning) for word, meaning in WAITS.items())),
            "",
            "What the call that waits is for, `lastspan.wait.purpose`:",
            "",
            *table(("purpose", "the call is"), ((f"`{word}`", meaning) for word, meaning in PURPOSES.items())),
            "",
            "Why a job stopped, `cause` of a verdict:",
            "",
            *table(("cause", "it is"), ((f"`{word}`", meaning) for word, meaning in CAUSES.items())),
            "",
            "## Metrics",
            "",
            "Dotted names come from the worker through its own OTLP metrics, the rest from the collector's `/metrics`.",
            "",
            *table(
                ("metric", "instrument", "unit", "meaning", "attributes or labels"),
                (
                    (f"`{m.name}`", m.instrument, m.unit, m.brief, ", ".join(f"`{n}`" for n in m.attributes))
                    for m in METRICS.values()
                ),
            ),
            "",
        ]
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table in Markdown."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), line(("---",) * len(head)), *(line(row) for row in rows)]


if __name__ == "__main__":
    print(render(), end="")
