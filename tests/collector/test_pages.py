"""The pages, as they are sent; what a browser makes of them is tested in `tests/browser`."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.collector.asking import Answer, Asking
from tests.collector.held import Held
from tests.collector.records import Process, job_key, span_id
from tests.examples import examples

from lastspan.collector.publish.pages import ExternalLinks
from lastspan.collector.publish.pages.routes import story
from lastspan.collector.publish.web import web_app
from lastspan.collector.serve.config import ConfigError, check
from lastspan.semconv.vocabulary import CAUSE_HEADINGS, CAUSES

EVIL = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>&amp;{{7*7}}"
VOID = {"meta", "link", "input", "br", "rect"}


class Seen(HTMLParser):
    """The elements and the text of a page; whatever is not closed in order is a mistake."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def hrefs(self) -> list[str]:
        return [attrs["href"] or "" for _, attrs in self.elements if "href" in attrs]


def asking(held: Held, **more: Any) -> Asking:
    held.tick()
    return Asking(web_app(held.view, held.pipeline, ready=lambda: True, wall=lambda: 1_700_000_000.0, **more))


def read(answer: Answer, status: int = 200) -> Seen:
    assert answer.status_code == status, answer.text
    seen = Seen()
    seen.feed(answer.text)
    assert seen._open == [], "everything is closed"
    ids = [attrs["id"] for _, attrs in seen.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    return seen


def stuck(held: Held, *, number: int = 1, worker: Process | None = None, **values: Any) -> Process:
    """A job that hangs in a call without timeout."""
    worker = worker or Process()
    facts = {
        "call_unbounded": True,
        "code_function_name": "charge",
        "code_file_path": "/app/shop/tasks.py",
        "code_line_number": 42,
        "code_stacktrace": 'File "/app/tasks.py", line 42, in charge\nFile "/lib/python3.11/ssl.py", line 9, in read',
        "thread_cpu_ratio": 0.0,
    }
    call = worker.http(number + 1, number, age=80.0, **(facts | values))
    held.tell(worker, worker.job(number, age=90.0), call)
    return worker


def test_what_is_stuck_is_told_by_incident(held: Held) -> None:
    """Jobs that stopped at one thing are one group, with its count, cause and words; each line leads to its job."""
    worker = Process()
    for number in range(1, 30, 2):
        stuck(held, number=number, worker=worker)
    seen = read(asking(held).get("/"))
    assert "15 jobs" in seen.text
    assert "HTTP call without a timeout warning" in seen.text
    assert "/runbooks/LastspanJobStuck#http_no_timeout" in seen.hrefs()
    assert "5 more that stopped here" in seen.text
    assert f"/jobs/{job_key(1)}" in seen.hrefs()
    more = next(href for href in seen.hrefs() if "incident=" in href)
    assert sum("/jobs/" in href for href in read(asking(held).get(more)).hrefs()) == 15


def test_nothing_is_stuck(held: Held) -> None:
    """Then the page says so, how many run, which is nearest to its allowance, and whether all is wired."""
    worker = Process()
    held.tell(worker, worker.job(1, age=600.0, job_id="slow"), worker.job(2, age=1.0, job_id="quick"))
    seen = read(asking(held).get("/"))
    assert "Nothing is stuck. 2 jobs run" in seen.text
    assert seen.text.index("slow") < seen.text.index("quick")
    assert "billing / test: 1 running" in seen.text


def test_what_calls_somebody_stands_above_what_warns(held: Held) -> None:
    """Whatever the number of jobs: a guess by a default limit alone calls nobody."""
    worker, silent = Process(), Process(id="00000000000000bb", pid=200)
    held.tell(silent, silent.job(41, age=5.0, job_id="lost"))
    held.wait(100)
    for number in range(1, 8, 2):
        stuck(held, number=number, worker=worker)
    text = read(asking(held).get("/")).text
    section = text[text.index("Stuck, by") :]
    assert section.index("process lost page") < section.index("HTTP call without a timeout warning")


def test_not_everything_is_wired(held: Held) -> None:
    """Then nothing is green, though nothing is stuck."""
    worker = Process()
    held.tell(worker, worker.job(1, age=9.0))
    held.pipeline.facts.dropped["logs", "undecodable"] = 3
    text = read(asking(held).get("/")).text
    assert "Nothing visible is stuck, but not everything is connected" in text
    assert "refused: 3 undecodable" in text


def test_nobody_reports(held: Held) -> None:
    """An empty collector says what to do."""
    seen = read(asking(held).get("/"))
    assert "No worker reports, so the state of jobs is not known" in seen.text
    assert "none reports" in seen.text
    assert "Nothing is stuck" not in seen.text
    assert "OTEL_LASTSPAN_ENDPOINT" in seen.text


FILTERS = [
    ("", {"id-1", "id-11"}),
    ("job=tasks.charge", {"id-1", "id-11"}),
    ("job=tasks.other", set()),
    ("queue=celery", {"id-1", "id-11"}),
    ("queue=none", set()),
    ("service=billing", {"id-1", "id-11"}),
    ("service=mail", set()),
    ("text=ID-11", {"id-11"}),
    ("text=api.example", set()),
    ("text=host-1", {"id-1", "id-11"}),
    ("text=http_no_timeout", {"id-1", "id-11"}),
    ("state=stuck", {"id-1", "id-11"}),
    ("state=lost", set()),
    ("state=running", {"id-21"}),
    ("state=ended", {"id-31"}),
    ("state=odd", {"id-1", "id-11"}),  # no filter at all rather than an error at night
    ("sort=odd", {"id-1", "id-11"}),
]


@pytest.mark.parametrize(("asked", "ids"), FILTERS)
def test_filters(held: Held, asked: str, ids: set[str]) -> None:
    worker = stuck(held)
    stuck(held, number=11, worker=worker)
    held.tell(worker, worker.job(21), worker.job(31), worker.closed(31))
    text = read(asking(held).get(f"/?{asked}")).text
    shown = {id for id in ("id-1", "id-11", "id-21", "id-31") if re.search(rf"\b{id}\b", text)}
    assert shown - ({"id-21"} if asked in ("", "state=odd", "sort=odd") else set()) == ids


@pytest.mark.parametrize(("sort", "first"), [("jobs", "tasks.many"), ("age", "tasks.old"), ("name", "tasks.another")])
def test_order(held: Held, sort: str, first: str) -> None:
    worker = Process()
    jobs = [("tasks.many", 70.0, "many"), ("tasks.many", 70.0, "many"), ("tasks.old", 3000.0, "old")]
    for number, (name, age, server) in enumerate([*jobs, ("tasks.another", 66.0, "another")]):
        held.tell(
            worker,
            worker.job(10 * number + 1, name=name, age=age),
            worker.http(10 * number + 2, 10 * number + 1, age=age, server_address=server),
        )
    text = read(asking(held).get(f"/?sort={sort}")).text
    section = text[text.index("Stuck, by") :]
    assert min(("tasks.many", "tasks.old", "tasks.another"), key=section.index) == first


def test_a_job_in_reading_order(held: Held) -> None:
    """State, cause, what to do; the last span, the code line, who holds it; the stack, the spans, the facts."""
    stuck(held)
    text = read(asking(held).get("/jobs/id-1")).text
    story = [
        "stuck",
        "tasks.charge",
        "has no timeout",
        "What to do",
        "Last span",
        "GET",
        "server.address",
        "api.example",
    ]
    story += [
        "Code line",
        "shop/tasks.py:42",
        "/app/shop/tasks.py",
        "What it waits for",
        "api.example:443",
        "Stack",
        "Open spans",
        "The job",
    ]
    places: list[int] = []
    for words in story:
        places.append(text.index(words, places[-1] if places else text.index("attempt") - 60))
    assert places == sorted(places)
    for words in (
        "0% of a core: it waits",
        "the job does not call progress()",
        "celery (celery)",
        "host-1 pid 100",
        "Change this before",
        "no other job stopped there",
    ):
        assert words in text


def test_own_frames_stand_out_and_library_frames_are_folded(held: Held) -> None:
    library = [f'File "/v/site-packages/lib/a{n}.py", line {n}, in inner{n}' for n in range(6)]
    stuck(held, code_stacktrace="\n".join(['File "/app/shop/tasks.py", line 42, in charge', *reversed(library)]))
    page = asking(held).get("/jobs/id-1")
    assert "5 more in libraries" in read(page).text
    assert re.search(r'class="own"[^>]*><span>charge</span>', page.text)
    assert page.text.index("inner0") < page.text.index("inner5") < page.text.index("<span>charge")


def test_open_spans_stand_below_their_parents(held: Held) -> None:
    """Whatever their ages: a child may seem older than its parent by a tick. What has no known parent is said so."""
    worker = Process()
    held.tell(
        worker,
        worker.job(1, age=50.0, span_name="the-job"),
        worker.span(2, 1, name="child", age=50.5),
        worker.span(3, 2, name="grandchild", age=50.6, job_span_id=span_id(1).hex()),
        worker.span(4, 1, name="other", age=10.0),
        worker.span(5, 77, name="orphan", age=60.0, job_span_id=span_id(1).hex()),
    )
    page = asking(held).get(f"/jobs/{job_key(1)}").text
    spans = page[page.index('id="spans"') : page.index("</ol>", page.index('class="spans"'))]
    told = re.findall(r'class="name depth-(\d)">([\w-]+)(.*?)</span>', spans)
    assert [(depth, name) for depth, name, _ in told] == [
        ("0", "the-job"), ("1", "child"), ("2", "grandchild"), ("1", "other"), ("0", "orphan"),
    ]  # fmt: skip
    assert ["not known" in rest for _, _, rest in told] == [False, False, False, False, True]


def test_the_text_is_that_of_explain(held: Held) -> None:
    stuck(held)
    web = asking(held)
    text = web.get("/jobs/id-1.txt")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == story(held.job("id-1"))
    assert text.text.startswith("stuck  tasks.charge  id-1  (attempt 1)\n")
    assert web.get("/jobs/nobody.txt").status_code == 404


def test_an_id_may_look_like_anything(held: Held) -> None:
    worker = Process()
    ids = ["a/b id?", "x.txt", "100%", "ü#1", "../../etc/passwd", "'\"<b>"]
    held.tell(worker, *(worker.job(number, age=9.0, job_id=id) for number, id in enumerate(ids, start=1)))
    web = asking(held)
    for number, id in enumerate(ids, start=1):
        by_id, by_key = web.get(f"/jobs/{quote(id, safe='')}"), web.get(f"/jobs/{job_key(number)}")
        assert read(by_id).text == read(by_key).text
        assert id.strip() in read(by_id).text
    assert web.get("/jobs/x.txt.txt").headers["content-type"].startswith("text/plain")


def test_an_unknown_job_says_where_else_to_look(held: Held) -> None:
    for ref in ("nobody", "", "%3Cscript%3E", "a" * 5000, "%00%ff", "f" * 32 + "-" + "f" * 16):
        seen = read(asking(held).get(f"/jobs/{ref}"), 404)
        assert "/?state=ended" in seen.hrefs()
        assert "tracing backend" in seen.text


def evil(held: Held) -> None:
    worker = Process(host=EVIL, service=EVIL)
    worker.resource = {"k8s.pod.name": EVIL, "service.version": EVIL}
    names = {"job_name": EVIL, "job_id": EVIL, "job_queue": EVIL, "job_system": EVIL}
    held.tell(
        worker,
        worker.job(1, age=90.0, **names),
        worker.span(
            2,
            1,
            name=EVIL,
            age=80.0,
            **names,
            server_address=EVIL,
            url_full="javascript:alert(3)//" + EVIL,
            http_request_method=EVIL,
            call_unbounded=True,
            code_function_name=EVIL,
            code_file_path=EVIL,
            code_line_number=1,
            code_stacktrace=f'{EVIL}\nFile "{EVIL}", line 3, in {EVIL}',
            thread_name=EVIL,
            lock_name=EVIL,
            lock_holder_thread=EVIL,
        ),
    )


@pytest.mark.parametrize(
    "path", ["/", f"/?text={quote(EVIL)}", f"/jobs/{quote(EVIL, safe='')}", "/jobs/nobody" + quote(EVIL)]
)
def test_what_others_say_stays_text(held: Held, path: str) -> None:
    """No name, message, attribute, stack or parameter becomes an element, an attribute or a link that runs."""
    evil(held)
    answer = asking(held).get(path)
    seen = read(answer, answer.status_code)
    assert [attrs.get("src", "") for tag, attrs in seen.elements if tag == "script"] == [script(answer)]
    assert not [tag for tag, _ in seen.elements if tag in ("img", "iframe", "style", "base", "object")]
    assert not [name for _, attrs in seen.elements for name in attrs if name.startswith("on") or name == "style"]
    assert all(href.startswith(("/", "#")) or href == "" for href in seen.hrefs())
    assert "49" not in seen.text, "no template in a name is run"
    if path == "/":
        assert "<script>alert('1')</script>" in seen.text


def test_what_turns_or_hides_text_is_shown_as_such(held: Held) -> None:
    """A name does not set the direction of what follows it, nor hold what cannot be seen."""
    name = "pay\u202egnp.exe\x1b[31m"
    worker = stuck(held, job_name=name, name=name)
    held.tell(worker, worker.job(1, age=90.0, name=name))
    for path in ("/", f"/jobs/{job_key(1)}"):
        answer = asking(held).get(path)
        assert "pay\ufffdgnp.exe\ufffd[31m" in read(answer).text
        assert f'value="{name}"' in answer.text or path != "/", "a choice of the filter is the name as it is"
        assert "\u202e" not in answer.text.replace(f'value="{name}"', "")


def script(answer: Answer) -> str:
    (found,) = re.findall(r'<script src="(/static/pages\.[0-9a-f]{12}\.js)"></script>', answer.text)
    return str(found)


@examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=200))
def test_no_name_breaks_a_page(text: str) -> None:
    held = Held()
    name = text.encode(errors="replace").decode()
    worker = Process()
    held.tell(worker, worker.job(1, age=4000.0, job_name=name, job_id="id", span_name=name))
    for path in ("/", "/jobs/id", "/jobs/id.txt"):
        assert asking(held).get(path).status_code == 200


def test_huge_values_are_cut(held: Held) -> None:
    """A page stays a page whatever is sent; the rest is in the JSON."""
    huge = "x" * 1000
    worker = Process()
    held.tell(
        worker,
        worker.job(1, age=4000.0, job_name=huge, job_id=huge, code_stacktrace="\n".join(["y" * 1000] * 300)),
        *(worker.span(number, 1, name=huge, age=3000.0, job_id=huge) for number in range(2, 200)),
    )
    web = asking(held)
    assert len(web.get("/").content) < 30_000
    assert len(web.get(f"/jobs/{job_key(1)}").content) < 60_000


def test_a_browser_loads_our_files_alone(held: Held) -> None:
    """The policy allows no inline script or style, no other site, no frame around; the files may be kept for ever."""
    web = asking(held)
    for path in ("/", "/jobs/nobody", "/jobs/nobody.txt"):
        headers = web.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert {value for name, value in policy.items() if name.endswith("-src")} == {"'none'", "'self'"}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', web.get("/").text)
    assert {path.rpartition(".")[2] for path in loaded} == {"css", "js", "svg"}
    for path in loaded:
        answer = web.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", answer.content), "nothing from elsewhere"
    for path in ("/static/pages.css", "/static/../engine.py", "/static/frame.html"):
        assert web.get(path).status_code == 404


def test_without_scripts_it_refreshes_itself(held: Held) -> None:
    page = asking(held).get("/").text
    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in page


def test_who_waits_for_whom(held: Held) -> None:
    """A job that others wait for is the root of a tree, with how many it holds up."""
    worker = Process()
    held.tell(worker, worker.job(1, age=90.0, job_id="holder"))
    for number in (11, 21):
        lock = {"lock_name": "orders", "lock_holder_job_id": "holder", "lock_holder_span_id": span_id(1).hex()}
        lock |= {"wait_kind": "lock", "lock_key": "redis:orders", "lock_holder_certainty": "certain"}
        held.tell(
            worker,
            worker.job(number, age=90.0),
            worker.span(number + 1, number, name="orders", age=80.0, job_id=f"id-{number}", **lock),
        )
    seen = read(asking(held).get("/"))
    assert "blocks 2 jobs" in seen.text
    page = read(asking(held).get("/jobs/id-11"))
    assert f"/jobs/{job_key(1)}" in page.hrefs()
    assert "orders" in page.text[page.text.index("What it waits for") :]


def test_other_attempts_and_the_end(held: Held) -> None:
    worker, second = Process(), Process(id="00000000000000bb", pid=200)
    held.tell(worker, worker.job(1, job_id="twice"), worker.job_ended(1, "killed", job_id="twice"))
    held.tell(second, second.job(2, job_id="twice", job_attempt=2))
    web = asking(held)
    assert f"/jobs/{job_key(1)}" in read(web.get("/jobs/twice")).hrefs()
    assert "It ended: killed" in read(web.get(f"/jobs/{job_key(1)}")).text


def test_links_to_elsewhere(held: Held) -> None:
    """Where traces and dashboards are looked at are settings; without them there is no link."""
    stuck(held)
    trace = "https://grafana.example/explore?trace={trace_id}&job={job_id}"
    web = asking(held, elsewhere=ExternalLinks(trace, "https://grafana.example/"))
    key = job_key(1)
    assert {
        f"https://grafana.example/explore?trace={key.partition('-')[0]}&job=id-1",
        f"https://grafana.example/d/lastspan-job?var-job={key}",
        "https://grafana.example/d/lastspan-fleet",
    } <= set(read(web.get("/jobs/id-1")).hrefs())
    assert not [href for href in read(asking(held).get("/jobs/id-1")).hrefs() if href.startswith("https")]


def test_every_link_leads_somewhere(held: Held) -> None:
    """Of `/`, of jobs in each state, of a page that is not there; to a part of a page only where it has that part."""
    many(held)
    web = asking(held)
    seen: set[str] = set()
    waiting = ["/", "/jobs/nobody", "/?state=ended"]
    while waiting:
        page = waiting.pop()
        links = read(web.get(page), 404 if page == "/jobs/nobody" else 200).hrefs()
        for path, _, part in (link.partition("#") for link in links):
            target = web.get(path or page)
            assert target.status_code == (404 if (path or page) == "/jobs/nobody" else 200), (page, path)
            assert not part or f'id="{part}"' in target.text, (page, path, part)
            if path.startswith(("/jobs/", "/?", "/runbooks/")) and not path.endswith(".txt") and path not in seen:
                waiting.append(path)
            seen.add(path)
    assert sum(path.startswith("/jobs/") and "." not in path for path in seen) == 6
    assert {path for path in seen if path.startswith("/runbooks/")} == {
        f"/runbooks/{name}" for name in ("LastspanJobStuck", "LastspanJobOverdue", "LastspanWorkerLost")
    }


def many(held: Held) -> None:
    """A job in each state, and one more that stopped at the same thing as another."""
    silent = Process(id="00000000000000bb", pid=200)
    held.tell(silent, silent.job(41, age=5.0))
    held.wait(100)
    worker = stuck(held)
    stuck(held, number=11, worker=worker)
    held.tell(worker, worker.job(21), worker.job(31), worker.closed(31))
    held.tell(worker, worker.job(51, age=4000.0, job_movement_age=1.0))


def test_others_that_stopped_at_the_same_thing(held: Held) -> None:
    """The page of one says how many, and leads to them."""
    worker = stuck(held)
    stuck(held, number=11, worker=worker)
    stuck(held, number=21, worker=worker)
    web = asking(held)
    seen = read(web.get("/jobs/id-1"))
    assert "2 other jobs stopped at the same thing" in seen.text
    (path,) = {href for href in seen.hrefs() if "incident=" in href}
    assert len({href for href in read(web.get(path)).hrefs() if href.startswith("/jobs/")}) == 3


def test_every_cause_has_a_heading() -> None:
    assert set(CAUSE_HEADINGS) == set(CAUSES)


def test_dashboards_that_are_linked_exist() -> None:
    folder = Path(__file__).parents[2] / "dashboards" / "generated"
    uids = {json.loads(path.read_text())["uid"]: path for path in folder.glob("*.json")}
    assert {"lastspan-fleet", "lastspan-job"} <= set(uids)
    variables = {one["name"] for one in json.loads(uids["lastspan-job"].read_text())["templating"]["list"]}
    assert "job" in variables


@pytest.mark.parametrize(
    ("url", "words"),
    [("javascript:alert({trace_id})", "is not a URL"), ("https://x/trace", "has no place for the id")],
)
def test_a_wrong_trace_url(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check({"trace_url": url}, "test")


def test_a_wrong_grafana_url() -> None:
    with pytest.raises(ConfigError, match=r'grafana_url: "grafana\.example" is not a URL'):
        check({"grafana_url": "grafana.example"}, "test")
