"""`docs/configuration.md` says what can be set, what it means and what it is without being set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from docs.generate import configuration

from lastspan.collector.serve import config
from lastspan.instrumentation.config import environment_variables as env
from lastspan.instrumentation.config.settings import WorkerSettings, is_enabled

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_types_write() -> None:
    """Change the type, then `make docs`."""
    assert PAGE.read_text(encoding="utf-8") == configuration.render()


@pytest.mark.parametrize(
    "rows",
    [
        configuration.of_struct(config.CollectorSettings),
        *(configuration.of_struct(struct) for _, struct in configuration.SECTIONS.values()),
        configuration.of_worker(),
        configuration.of_alerts(),
    ],
)
def test_every_setting_has_a_meaning(rows: Iterator[configuration.Row]) -> None:
    found = list(rows)
    assert found
    assert [row.name for row in found if not row.meaning] == []


def test_every_variable_of_a_worker_is_there() -> None:
    declared = {name for name in vars(env) if name.startswith("OTEL_")}
    assert {row.name for row in configuration.of_worker()} == declared


def test_every_part_of_the_tree_has_a_section() -> None:
    """A new list or group of settings needs a row in `SECTIONS`."""
    assert set(parts(config.CollectorSettings)) == {struct for _, struct in configuration.SECTIONS.values()}


def parts(kind: Any) -> Iterator[type]:
    """Yield the structures below one."""
    for field in msgspec.structs.fields(kind):
        for one in (field.type, *get_args(field.type)):
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                yield one
                yield from parts(one)


def test_defaults_that_are_words_are_those_of_the_code() -> None:
    """What is said to be the default, set by hand, changes nothing; its opposite does."""
    told = {name: text.strip("`") for name, text in configuration.WORDS.items() if "`" in text}
    assert WorkerSettings.from_environ(told) == WorkerSettings.from_environ({}) == WorkerSettings()
    assert is_enabled(told)
    assert is_enabled({})
    other = {env.OTEL_LASTSPAN_RECORD: "jobs", env.OTEL_LASTSPAN_SPANS: "all"}
    assert WorkerSettings.from_environ(other) == WorkerSettings(record_all=False, announce_all=True)
    assert not is_enabled({env.OTEL_LASTSPAN_ENABLED: "false"})
