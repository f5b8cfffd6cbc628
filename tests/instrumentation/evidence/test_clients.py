"""The pages of `evidence/clients`: each is in the table, and each thing is said once."""

from __future__ import annotations

import pkgutil
from dataclasses import fields
from importlib import import_module

import pytest

from lastspan.instrumentation.evidence import clients
from lastspan.instrumentation.evidence.clients.page import Page
from lastspan.instrumentation.evidence.clients.table import PAGES


def test_each_page_is_in_the_table() -> None:
    """To add a library is to add a file, and its name here."""
    modules = [import_module(f"{clients.__name__}.{one.name}") for one in pkgutil.iter_modules(clients.__path__)]
    pages = [module.PAGE for module in modules if hasattr(module, "PAGE")]
    assert {id(page) for page in pages} == {id(page) for page in PAGES}
    assert len(pages) == len(PAGES)


@pytest.mark.parametrize("part", [one.name for one in fields(Page)])
def test_no_two_pages_speak_of_the_same(part: str) -> None:
    """One module, package or class is on one page: of two rows only one would count."""
    keys = [key for page in PAGES for key in getattr(page, part)]
    assert keys
    assert len(keys) == len(set(keys))
