"""The contract: each name declared once, written by one rule, and the same in code, docs and tables."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from lastspan.semconv import ATTRIBUTES, EVENTS, METRICS, attributes, events, metrics, tables
from lastspan.semconv.attributes import CALL_ATTRIBUTES, STABLE_NAMES
from lastspan.semconv.declare import ATTRIBUTES as DECLARED
from lastspan.semconv.declare import attribute, event, metric

DOTTED = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+")
UNDERSCORED = re.compile(r"lastspan(_[a-z0-9]+)+")
LABEL = re.compile(r"[a-z]+(_[a-z]+)*")
UCUM = {"", "1", "s", "By"}


def constants(module: ModuleType) -> list[str]:
    return [value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)]


@pytest.mark.parametrize(
    ("module", "table"), [(attributes, ATTRIBUTES), (events, EVENTS), (metrics, METRICS)], ids=lambda item: ""
)
def test_each_constant_is_one_declared_name(module: ModuleType, table: dict[str, object]) -> None:
    """A constant for each name and a name for each constant, in the order of the declarations."""
    assert constants(module) == list(table)


@pytest.mark.parametrize(
    "declare_again",
    [
        lambda: attribute("lastspan.span.age", "double", "again"),
        lambda: event("lastspan.span.open", "again", "again", ()),
        lambda: metric("lastspan_jobs", "gauge", "again", unit="1"),
    ],
    ids=["attribute", "event", "metric"],
)
def test_a_name_cannot_be_declared_twice(declare_again: object) -> None:
    """The second declaration raises, and leaves the first as it was."""
    before = dict(DECLARED)
    with pytest.raises(ValueError, match="declared twice"):
        declare_again()  # type: ignore[operator]
    assert before == DECLARED


def test_names_follow_the_rules() -> None:
    """OTLP names are dotted, Prometheus names underscored; ours begin with lastspan."""
    assert [name for name in (*ATTRIBUTES, *EVENTS, *CALL_ATTRIBUTES) if not DOTTED.fullmatch(name)] == []
    assert [name for name in EVENTS if not name.startswith("lastspan.")] == []
    for name, declared in METRICS.items():
        if "." in name:
            assert DOTTED.fullmatch(name)
            assert name.startswith("lastspan.")
            assert set(declared.attributes) <= set(ATTRIBUTES)
        else:
            assert UNDERSCORED.fullmatch(name)
            assert all(LABEL.fullmatch(label) for label in declared.attributes)


def test_prometheus_names_end_as_their_kind_and_unit_say() -> None:
    """`_total` for counters and for nothing else; `_seconds` and `_bytes` where that is the unit."""
    for name, declared in METRICS.items():
        if "." in name:
            continue
        assert name.endswith("_total") == (declared.instrument == "counter"), name
        assert ("_seconds" in name) == (declared.unit == "s"), name
        assert name.removesuffix("_total").endswith("_bytes") == (declared.unit == "By"), name


def test_units_are_ucum() -> None:
    """Known units, or an annotation in braces."""
    units = {one.unit for one in ATTRIBUTES.values()} | {one.unit for one in METRICS.values()}
    assert {unit for unit in units - UCUM if not re.fullmatch(r"\{[a-z]+\}", unit)} == set()


def test_everything_has_a_meaning() -> None:
    """One short line each, that begins small and ends without a full stop."""
    briefs = [one.brief for one in ATTRIBUTES.values()] + [one.brief for one in METRICS.values()]
    assert [brief for brief in briefs if not brief or "\n" in brief or brief.endswith(".")] == []
    assert all(declared.subject and declared.when for declared in EVENTS.values())


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_lists_known_attributes_once(name: str) -> None:
    """What an event carries is declared, or a call's attribute; none is listed twice; the envelope is always there."""
    listed = EVENTS[name].attributes
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(ATTRIBUTES) | CALL_ATTRIBUTES
    assert {attributes.EVENT_NAME, attributes.PROCESS_ID, attributes.PROCESS_SEQUENCE} <= set(listed)


def test_older_names_lead_to_stable_ones() -> None:
    """What is sent is allow-listed, and never itself an older name."""
    assert set(STABLE_NAMES.values()) <= CALL_ATTRIBUTES
    assert [old for old, new in STABLE_NAMES.items() if old != new and old in CALL_ATTRIBUTES] == []


def test_the_page_is_what_the_declarations_write() -> None:
    """`docs/semconv.md` is generated: change the declaration, then `make docs`."""
    page = Path(__file__).parents[2] / "docs" / "semconv.md"
    assert page.read_text(encoding="utf-8") == tables.render()


def test_the_page_names_everything() -> None:
    """Every event, attribute and metric has its row."""
    page = tables.render()
    assert [name for name in (*EVENTS, *ATTRIBUTES, *METRICS, *CALL_ATTRIBUTES) if f"`{name}`" not in page] == []


def test_every_table_of_the_page_is_whole() -> None:
    """Each row has as many cells as its head, whatever the texts contain."""
    width = 0
    for line in tables.render().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert cells in {0, width} or width == 0, line
        width = cells
