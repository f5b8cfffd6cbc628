"""Names of few values for what has many."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.semconv.peers import peer, template


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/orders/17/items", "/orders/{id}/items"),
        ("GET /a/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "GET /a/{id}"),
        ("/files/cafe1234beef", "/files/{id}"),
        ("job-123-x", "job-{id}-x"),
        # Words stay, with the digits that are part of them.
        ("/v1/users/charge_card", "/v1/users/charge_card"),
        ("deadbeef", "deadbeef"),
        ("SELECT accounts2", "SELECT accounts2"),
        ("", ""),
    ],
)
def test_ids_are_no_part_of_a_name(name: str, expected: str) -> None:
    assert template(name) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"http.request.method": "GET", "server.address": "API.example", "server.port": 443}, "http api.example"),
        ({"http.method": "GET", "http.url": "https://u:p@api.example:8443/x?y=1"}, "http api.example"),
        ({"http.request.method": "GET", "server.address": "10.0.3.17"}, "http {ip}"),
        ({"http.request.method": "GET", "server.address": "fe80::1"}, "http {ip}"),
        (
            {"db.system.name": "redis", "server.address": "cache-3.shard-12.local"},
            "db redis cache-{id}.shard-{id}.local",
        ),
        ({"db.system": "redis", "net.peer.name": "cache"}, "db redis cache"),
        # Some databases speak HTTP.
        ({"db.system": "elasticsearch", "http.url": "http://es/x"}, "db elasticsearch es"),
        ({"rpc.system": "grpc", "server.address": "users"}, "rpc grpc users"),
        ({}, ""),
        ({"code.function": "x"}, ""),
        # Values that nobody expects.
        ({"db.system": 7, "server.address": ["a", 1]}, "db 7 ['a', {id}]"),
        ({"http.url": b"\xff"}, "http b'\\xff'"),
    ],
)
def test_whom_a_call_is_for(attributes: dict[str, object], expected: str) -> None:
    assert peer(attributes) == expected


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_whatever_the_host_it_is_short(host: str, system: str) -> None:
    told = peer({"db.system": system, "http.url": host, "server.address": host})
    assert len(told) <= 300


def test_long_names_are_not_kept() -> None:
    """What was once named is kept, to be named fast; a name of a megabyte, a thousand times, would be a gigabyte."""
    long = "x" * 1_000_000
    before = sys.getrefcount(long)
    peer({"db.system": long, "server.address": long})
    template(long)
    assert sys.getrefcount(long) == before
