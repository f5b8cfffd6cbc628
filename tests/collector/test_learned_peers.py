"""What is learned is kept by the span's name and whom it calls: an HTTP GET and a Redis GET have one name."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import msgspec
import pytest
from tests.collector.held import Held
from tests.collector.records import Process

from lastspan.collector.memory.journal import Reader
from lastspan.collector.publish.learned import export_learned, import_learned, list_learned
from lastspan.collector.track import replay
from lastspan.collector.track.learn import Key

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
    "c-nnc%WfP+6zz!#3E`!PEPw^d8VRKQL8Qb%LY5pcmRPoGy02%7si|t}R@<HpTb9J*2gCss#r>R_*g@h0ER<b@5J<3!_y|4#ajUx8kHli6nW@{="
    "bsy)PdrL4hm@s*L1S6%#*Kb_;<5Cd(y#D7;TS2fn>HHmhP<;ldQXRowiJ;eb1T&CpTq`*OX==$vKprC4PgI-@6q@~n$J2yq+6`$r;}Q*%5rjNG"
    "^d7=B(8!gn*OeZErk!G0^FEi`mG;r5iB=IH(q4t|WeVhhTp4n}L@2TRRP|QI3EV#~tITGV)1ed!9HW8J)bJ6g)X>St8e$NfQW%p}vuKE+U<T$R"
    "wh=NzFDC}GTTF=UDVdu0QUjO`xr|SFsZ-fgsf;16x&+{I0`htA&i)X_g>t22hO)~da#K+$eX0v9SmUuRBv<PaVwa`!TYI<&2i6DjUT_S*P`w#!"
    "BoG;h>Cuer&~im@J*FH8Hg6SnhsUMQeKt~SU{SCrttt(?FRQygh3za>5^|#q6D2W+6wk-37JYWlgR8X}XkamUo%xl`wOUPOWQezHl?%uOmoO!6"
    "qoL6xfVo?SjWchg5&>jx-^4mf(oi!xf1p$8$Z5>E4?#x^l*E?>t!R#B>x`RBsAxz(D#<=4bI)Pspv@8hozpf|!((A1pUaVls4z_T!H{Io$}d|Y"
    "zYk7mu<Sh^C=nC3&4B}Nd87}$>FTvSw6-f?>MbjJzl>B2PuewT!$`s7JQ_y?-xAfcT?p2<JVmKUG*xOC4l{cyU$zpN*xH6z`Gj$5wRTG=gm~+e"
    ")=H{3QX`n#?K@m@9QYU7omL3*yG>hlE!MmKcwv!GDN0i%R&*i}V4#WyT*M^JTG@^jkeGV8T}=w|Nx8dp>)Wa0QsQ^sX=M>S>BHJNw|1LS9uYSt"
    "BQ4+z(@}^JDM`Vpu@^08-+M={&ZdhURWHcBao;*EhzL~D&Y%LRUM6bT;KmVA*`Dr_sP3O`(UZi^k+;*=xr!>gV2prx$EKGz(luJ8JprXF4C35%"
    "X}Quo-Kn^YY=fCRVktr`X!bf`5xaybH{%Mqos-o5T}nWj$*Cb&qJ2bT&J$>9IJ55osP8D<R|JjR%qTOQci9@mOTaYA>4(!pvK^eqM4cevNXZ#e"
    "x|JW*=%>WoJ@s9lp-}5oc1q;LrBJdDXo`l&0~h#M7Lyipt=4ho_PSIw;NJh{)UfM_DhXt5VFio-3{6S{rWs^CT7o$vqo!^TRx73XfN+T05w*%S"
    "G2jPo(*iBZ2aeFNy?71?XSI54){W^p<)sFBa=h}c+t!=9jGVN$G7EJ<HzQ%WPxb86<J}iDoHOGRdqKrBx*E7#1x?r3p>w&SMm;n%)^R%@ll1zY"
    "s@w*_s=d<w4T9k7-<J=!I-Q*#-^=JuGi8qpl6ik_#}0lR4eWT_|73Axb8_w3&2iv9_wEJ3v%r5&7DwOQJiB;sp>^kcKYaM`=!m}C3!O)d{YEb="
    "e0BA&VC((Kh0f-;XCf962)d1J;74lsYv<n6%NK3n4tc+MyNS1Z?diKg=fc7(7hk<}`L!#rzwzc<Z~Ig_xzoZ<F)$|i=tgb-LVG({hgm{k*yx=P"
    "Fa8t!a`YcwwAV2"
)
"""A log that the version before wrote: GET was learned by 400 runs, process aa told of them, and a job was stuck."""


def test_what_was_saved_before_is_read(held: Held) -> None:
    """By a version that knew no peers, nor what keeps a verdict from flapping."""
    worker = Process(id="aa")
    held.tell(worker, worker.job(1, age=90.0))
    for _, _, found in Reader(zlib.decompress(base64.b85decode(BEFORE))).frames():
        for entry in found:
            replay(held.tracker, entry, held.now_ns)
    key = Key("test", "billing", "tasks.charge", "GET")
    assert held.tracker.learner.rows[key].runs.total == 400
    held.tell(worker, worker.durations("ok", 401, seconds=1.5, span_name="GET"))
    assert held.tracker.learner.rows[key].runs.total == 401, "one run is news, not 401"
    (job,) = held.tracker.suspects.values()
    assert job.trouble is not None
    assert (job.trouble.incident, job.trouble.severity.value, job.stood) == ("http-1", "page", ())


def test_an_export_of_before_is_taken(held: Held) -> None:
    told = {"environment": "test", "service": "s", "job_name": "j", "span_name": "GET", "runs": [[20, 400.0]]}
    assert import_learned(held.pipeline, json.dumps({"learned": [told]}).encode()) == 1
    assert list(held.tracker.learner.rows) == [Key("test", "s", "j", "GET")]


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
