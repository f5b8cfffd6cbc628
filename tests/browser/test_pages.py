"""The pages in a real browser: what one sees at night, on a desk or a phone, in the light or the dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.browser.conftest import DESK, PHONE, THEMES, Open, Shown
from tests.browser.looking import BEYOND, BOTTOMS, CONTRASTS, FOCUSED
from tests.collector.records import Process, at, span_id
from tests.collector.served import Served

pytestmark = pytest.mark.long

STUCK = ("charge_card", "rebuild_index", "transfer", "import_feed", "monthly_report")
PAGES = ("/", *STUCK, "send_newsletter", "sync_orders", "/?state=ended", "/runbooks/LastspanJobStuck")
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def url_of(shown: Shown, name: str) -> str:
    return shown.web + name if name.startswith("/") else shown.path(name)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", THEMES)
def test_every_page_can_be_read(look: Open, shown: Shown, theme: str, size: tuple[int, int], tmp_path: Path) -> None:
    """All text has the contrast of WCAG AA, nothing sticks out at the side, and a picture of it is not empty."""
    page = look(shown.web, size=size, theme=theme)
    for name in PAGES:
        page.goto(url_of(shown, name))
        faint = [found for found in page.evaluate(CONTRASTS) if found["ratio"] < found["enough"]]
        assert faint == [], name
        assert page.evaluate(BEYOND) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.screenshot(path=tmp_path / "page.png", full_page=True)[:4] == b"\x89PNG"


def test_the_themes_differ(look: Open, shown: Shown) -> None:
    grounds = {
        theme: look(shown.web, theme=theme).evaluate("getComputedStyle(document.body).backgroundColor")
        for theme in THEMES
    }
    assert grounds["light"] != grounds["dark"]


@pytest.mark.parametrize("name", STUCK)
def test_one_screen_tells_it_all(look: Open, shown: Shown, name: str) -> None:
    """At 1440 × 900, without scrolling: the job, the last span, the code line, the cause, the holder, and the rest."""
    page, job = look(shown.path(name)), shown.jobs[name]
    assert page.evaluate("document.documentElement.scrollHeight") <= DESK[1]
    bottoms = page.evaluate(BOTTOMS)
    parts = {"head", "cause", "last", "code", "holder", "stack", "spans", "facts"}
    assert parts <= set(bottoms)
    assert all(bottoms[part] <= DESK[1] for part in parts), bottoms
    assert job["job_name"] in page.locator("#head h1").inner_text()
    assert job["job_id"] in page.locator("#head").inner_text()
    assert job["last_span"]["name"] in page.locator("#last").inner_text()
    assert f"shop.py:{job['code']['line']}" in page.locator("#code").inner_text()
    assert page.locator("#stack .own").first.is_visible()
    words = {"charge_card": "no timeout", "rebuild_index": "core", "transfer": "eadlock"}.get(name, "sleeps")
    assert words in page.locator("#cause").inner_text()


def test_one_screen_tells_it_all_whatever_the_names(look: Open, tmp_path: Path) -> None:
    """Names, hosts, statements and stacks as long as real ones may be: the answers still are on the first screen."""
    served, worker = Served(tmp_path, grpc="off"), Process(host="worker-7d9f8c6b5d-xk2lq.eu-central-1.compute.internal")
    name = "billing.invoices.tasks.monthly.recalculate_and_send_all_outstanding_invoices_of_a_customer"
    told = {"job_id": "a" * 36, "job_name": name, "job_span_id": span_id(1).hex()}
    lock = {
        "lock_name": "invoices of customer 4711 (row lock in billing_production.invoices)",
        "lock_key": "redis:invoices",
        "wait_kind": "redis_lock",
        "lock_holder_job_id": "b" * 36,
        "lock_holder_span_id": span_id(100).hex(),
        "lock_holder_certainty": "certain",
        **at("lock_holder", "recalculate", "/app/billing/invoices/tasks/monthly.py", 99),
    }
    call = worker.span(
        20, 19, name="UPDATE invoices SET total = ?, updated_at = ? WHERE customer_id = ? AND state = ?", age=3900.0,
        db_system_name="postgresql", db_query_text="UPDATE invoices SET total = ? " * 8, db_namespace="production",
        server_address="orders-primary.cluster-abcdefghijkl.eu-central-1.rds.example.com", server_port=5432,
        code_function_name="InvoiceRecalculation.recalculate_and_store", code_line_number=1234,
        code_file_path="/app/billing/invoices/tasks/monthly/recalculate_outstanding.py", thread_cpu_ratio=0.0,
        code_stacktrace="\n".join(f'File "/app/billing/tasks/f{n}.py", line {n}, in function_{n}' for n in range(40)),
        **told, **lock,
    )  # fmt: skip
    steps = [worker.span(n, n - 1, name=f"step {n} of the calculation", age=3950.0, **told) for n in range(2, 20)]
    holder = worker.job(100, age=5000.0, job_id="b" * 36, job_name=f"{name}_again")
    served.post(worker.body(holder, worker.job(1, age=4000.0, **told), *steps, call))
    served.until(lambda: served.api("/api/v1/jobs")["counts"]["stuck"] == 2)
    page = look(f"{served.web}/jobs/{'a' * 36}")
    bottoms = page.evaluate(BOTTOMS)
    assert all(bottoms[part] <= DESK[1] for part in ("head", "cause", "last", "code", "holder", "facts")), bottoms
    assert page.evaluate(BEYOND) == []
    assert page.locator("#holder a").is_visible()
    served.stop()


def test_the_holder_is_a_link_to_its_page(look: Open, shown: Shown) -> None:
    """From one job of the deadlock to the other and back."""
    page = look(shown.path("transfer"))
    here = page.url
    page.locator("#holder a").first.click()
    assert page.url != here
    assert "shop.transfer" in page.locator("h1").inner_text()
    page.locator("#holder a").first.click()
    assert page.url == here


def test_the_list_leads_to_each_job(look: Open, shown: Shown) -> None:
    page = look(shown.web)
    for name in STUCK:
        assert page.locator(f'#stuck a[href="/jobs/{shown.jobs[name]["job_key"]}"]').is_visible()
    assert page.locator("#counts .stuck strong").inner_text() == "6"
    assert "send_newsletter" in page.locator("#slowest").inner_text()
    assert "shop / demo" in page.locator("#wiring").inner_text()
    assert "deadlock" in page.locator("#waits").inner_text()


def test_a_filter_by_keyboard(look: Open, shown: Shown) -> None:
    page = look(shown.web)
    page.locator("input[name=text]").focus()
    page.keyboard.type("charge")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=charge**")
    assert page.locator("#stuck .row").count() == 1


@pytest.mark.parametrize("name", ["/", "transfer"])
def test_the_focus_goes_through_the_page_in_order(look: Open, shown: Shown, name: str) -> None:
    """Tab: first the way past the head, then everything once, each seen, in the order of the document."""
    page = look(url_of(shown, name))
    order: list[dict[str, Any]] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found["tag"] == "BODY":
            break
        page.evaluate("document.activeElement.dataset.turn = document.querySelectorAll('[data-turn]').length")
        order.append(found)
    assert order[0]["text"] == "To the content"
    assert [found for found in order if not found["outline"]] == []
    gil_yielder = page.evaluate("[...document.querySelectorAll('[data-turn]')].map((e) => Number(e.dataset.turn))")
    assert gil_yielder == sorted(gil_yielder)
    reachable = page.evaluate(
        "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.getClientRects().length).length"
    )
    assert len(order) == reachable


def test_it_refreshes_without_flicker(look: Open, shown: Shown) -> None:
    """What is there stays the same element, with focus and what is folded out; only its words change."""
    page = look(shown.path("charge_card"))
    page.evaluate("document.querySelector('#last').mine = true")
    page.locator("#stack summary").first.click()
    page.locator("#stack summary").first.focus()
    before = page.locator("#last .ink").inner_text()
    page.wait_for_function(
        "(before) => refresh().then(() => document.querySelector('#last .ink').innerText !== before)", arg=before
    )
    assert page.evaluate("document.querySelector('#last').mine") is True
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert page.locator("#stack details").first.get_attribute("open") is not None
    assert page.locator("#copy").is_visible()


def test_a_collector_that_is_gone_is_said(look: Open, shown: Shown) -> None:
    """What is shown then is old: nobody may take it for the truth."""
    page = look(shown.web, missing=True)
    page.context.set_offline(True)
    page.evaluate("refresh()")
    page.locator("#gone").wait_for(state="visible")
    page.context.set_offline(False)
    page.evaluate("refresh()")
    page.locator("#gone").wait_for(state="hidden")


def test_the_theme_is_kept_without_cookies(look: Open, shown: Shown) -> None:
    page = look(shown.web)
    page.locator("#theme").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("#theme").inner_text() == "Light"
    assert page.context.cookies() == []


def test_copy_as_text(look: Open, shown: Shown) -> None:
    page = look(shown.path("charge_card"), permissions=["clipboard-read", "clipboard-write"])
    page.locator("#copy").click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("stuck  shop.charge_card")
    assert "What to do" in copied


def test_without_scripts(look: Open, shown: Shown) -> None:
    """All is there but the buttons that need a script."""
    page = look(shown.path("charge_card"), java_script_enabled=False)
    assert "no timeout" in page.locator("#cause").inner_text()
    assert page.get_by_text("Plain text").is_visible()
    assert not page.locator("#copy").is_visible()
    assert not page.locator("#theme").is_visible()


def test_what_others_say_is_not_run(look: Open, tmp_path: Path) -> None:
    """A script in the names of a job, its span, its host and its stack stays text; the browser runs none of it."""
    served, worker = Served(tmp_path, grpc="off"), Process(host=EVIL)
    names = {"job_name": EVIL, "job_id": EVIL, "job_queue": EVIL}
    served.post(
        worker.body(
            worker.job(1, age=90.0, **names),
            worker.http(2, 1, age=80.0, span_name=EVIL, code_stacktrace=EVIL, url_full=EVIL, **names),
        )
    )
    served.until(lambda: served.api("/api/v1/jobs")["counts"]["stuck"] == 1)
    page = look(served.web)
    assert EVIL[:20] in page.locator("#stuck").inner_text()
    page.locator("#stuck .row a").click()
    assert EVIL[:20] in page.locator("h1").inner_text()
    page.evaluate("refresh()")
    assert page.locator("main script, main img").count() == 0
    assert page.title() != "owned"
    served.stop()


def test_an_unknown_job(look: Open, shown: Shown) -> None:
    page = look(f"{shown.web}/jobs/nobody", missing=True)
    assert "No open or recent job nobody" in page.locator("h1").inner_text()
