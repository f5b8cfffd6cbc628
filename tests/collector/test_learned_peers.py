"""What is learned is kept by the span's name and whom it calls: an HTTP GET and a Redis GET have one name."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from tests.collector.held import Held
from tests.collector.records import Process

from lastspan.collector.memory.entries import Reader
from lastspan.collector.publish.learned import export_learned, import_learned, list_learned
from lastspan.collector.track import replay
from lastspan.collector.track.learn import LearnedKey

REDIS: dict[str, Any] = {"db_system_name": "redis", "server_address": "cache-2", "server_port": 6379}
HTTP: dict[str, Any] = {"http_request_method": "GET", "server_address": "api.example"}


@pytest.fixture
def held() -> Held:
    return Held()


def allowed(held: Held, call: dict[str, Any]) -> float:
    worker, number = Process(id="f"), 2 * len(held.tracker.spans) + 1
    held.tell(worker, worker.job(number, age=5.0), worker.span(number + 1, number, age=4.0, name="GET", **call))
    return held.job(f"id-{number}").last_span.allowed_s


def test_two_peers_of_one_name_do_not_share(held: Held) -> None:
    worker = Process()
    held.tell(
        worker,
        worker.durations("ok", 381, seconds=0.002, span_name="GET", call_peer="db redis cache-{id}"),
        worker.durations("ok", 381, seconds=100.0, span_name="GET", call_peer="http api.example"),
    )
    assert allowed(held, REDIS) == 120
    assert allowed(held, HTTP) > 500
    told = list_learned(held.view, service=None, job_name=None).learned
    assert [(one.span_name, one.peer, one.runs) for one in told] == [
        ("GET", "db redis cache-{id}", 381),
        ("GET", "http api.example", 381),
    ]


def test_workers_of_before_are_understood(held: Held) -> None:
    """They tell of all peers together: that holds until enough is known of the peer itself."""
    worker = Process()
    held.tell(worker, worker.durations("ok", 400, seconds=100.0, span_name="GET"))
    before = allowed(held, HTTP)
    assert before > 500
    newer = Process(id="b")
    held.tell(newer, newer.durations("ok", 5, seconds=1.0, span_name="GET", call_peer="http api.example"))
    assert allowed(held, HTTP) == before
    held.tell(newer, newer.durations("ok", 50, seconds=1.0, span_name="GET", call_peer="http api.example"))
    assert allowed(held, HTTP) == 120
    assert allowed(held, REDIS) == before


BEFORE = (
    "c-m!=y^a$x5XZe7f#X|96g&eGNW4LcLo{?pzjEx+#;ng?Ja(cq6o_k(5PM5O8(lX0!A0;25xOoybUX-8!0g@%1h}wf#xvvj{ii5cUPK>?%^{zGd<NV"
    "ZknhgG%#^d{2#ha1psx|!ObMtbN^513=7pWah9AMkb4>A(m~xjuiy1e4c=hzj^U?)_C&j(pc)|L!=BOm(%?unWYcQ{P0<l51=^x_3D^c6|jt!^wE}#"
    "ebC!noKXr$ft{kRWQ2*Miq+b=%%EC<1H-+lACvQ8z+ylEVu4Nkz@e{uffZ952}5wKikRxZn_MNg)Z+fNyHloogPnKJ0P5fCf6{4z9+2fk%Hw=M-2_e"
    "IVMKqUK=^9JE%04j^9fu}023H&?FzW3_x4^}!m$CHnLNm~if;1->(r#Af-<>&h&%FiRlcH@H!Ws3R`yw@O)S1Byc@3ZLA-sRDitNYik-?(|}_MJh%X"
    "iYPFpgV|^<h5a<;kZ#o&=QQVrru`{AFl-u2yN%Yf@|Gsjy~=d+|57)M5+9u%xG&3s!oFogy_NOC#!`GL?*wkZ6LtyFRTFatp"
)
"""A row with the fields of a version before: GET was learned by 400 runs, process aa told of them, a job was stuck."""


def test_what_was_saved_before_is_read(held: Held) -> None:
    """By a version that knew no peers, nor what keeps a verdict from flapping."""
    worker = Process(id="aa")
    held.tell(worker, worker.job(1, age=90.0))
    for _, found in Reader().frames(base64.b85decode(BEFORE)):
        for entry in found:
            replay(held.tracker, entry, held.now_ns)
    key = LearnedKey("test", "billing", "tasks.charge", "GET")
    assert held.tracker.learner.rows[key].runs.total == 400
    held.tell(worker, worker.durations("ok", 401, seconds=1.5, span_name="GET"))
    assert held.tracker.learner.rows[key].runs.total == 401, "one run is news, not 401"
    (job,) = held.tracker.suspects.values()
    assert job.suspect_state is not None
    assert (job.suspect_state.incident, job.suspect_state.severity.value, job.stuck_at) == ("http-1", "page", ())


def test_an_export_of_before_is_taken(held: Held) -> None:
    told = {"environment": "test", "service": "s", "job_name": "j", "span_name": "GET", "runs": [[20, 400.0]]}
    assert import_learned(held.pipeline, json.dumps({"learned": [told]}).encode()) == 1
    assert list(held.tracker.learner.rows) == [LearnedKey("test", "s", "j", "GET")]


def test_what_is_exported_is_imported_by_peer(held: Held) -> None:
    worker, other = Process(), Held()
    held.tell(worker, worker.durations("ok", 381, seconds=2.0, span_name="GET", call_peer="http api.example"))
    exported = msgspec.json.encode(export_learned(held.view, service=None, job_name=None))
    assert import_learned(other.pipeline, exported) == 1
    assert list(other.tracker.learner.rows) == list(held.tracker.learner.rows)


@pytest.mark.parametrize(
    ("settings", "peer", "runs", "allowed_s", "basis"),
    [
        # Few runs lower nothing: the default decides.
        ({}, "http api.example", 3, 60, "default"),
        ({}, "db redis cache", 3, 60, "default"),
        # Enough of them decide; a rule goes before.
        ({}, "http api.example", 300, 120, "learned"),
        ({"rules": [{"match": {"kind": "http"}, "allowed": "7s"}]}, "http api.example", 300, 7, "rule"),
        # Anything else may take as long as its job.
        ({}, "", 3, 3600, "default"),
    ],
)
def test_what_is_told_is_what_decides(
    settings: dict[str, Any], peer: str, runs: int, allowed_s: float, basis: str
) -> None:
    held, worker = Held(**settings), Process()
    held.tell(worker, worker.durations("ok", runs, seconds=0.02, span_name="GET", call_peer=peer or None))
    (told,) = list_learned(held.view, service=None, job_name=None).learned
    assert (told.allowed_s, told.basis, told.is_hint) == (allowed_s, basis, runs < 10)
    assert told.learned_s is not None
    assert told.rule.startswith({"rule": "7s", "learned": "learned: p99"}.get(basis, "")) or basis == "rule"
