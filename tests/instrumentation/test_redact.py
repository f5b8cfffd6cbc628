"""What may leave the worker: allow-listed by name, without secrets, valid UTF-8, short."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lastspan.instrumentation.guest import redact
from lastspan.semconv import attributes as a
from lastspan.semconv.attributes import CALL_ATTRIBUTES, STABLE_NAMES

SECRET = "hunter2"

URLS: list[tuple[object, str | None]] = [
    ("https://api.example.com/v1/pay", "https://api.example.com/v1/pay"),
    ("https://api.example.com:8443/v1", "https://api.example.com:8443/v1"),
    ("https://user:hunter2@api.example.com/v1", "https://api.example.com/v1"),
    ("https://hunter2@api.example.com", "https://api.example.com"),
    ("https://api.example.com/v1?token=hunter2", "https://api.example.com/v1"),
    ("https://api.example.com/v1#hunter2", "https://api.example.com/v1"),
    ("https://api.example.com?hunter2", "https://api.example.com"),
    ("https://u:hunter2@[2001:db8::1]:8443/x?hunter2#hunter2", "https://[2001:db8::1]:8443/x"),
    ("https://a@b:hunter2@api.example.com/", "https://api.example.com/"),  # the last @ ends the user
    ("https://api.example.com/v1;jsessionid=hunter2", "https://api.example.com/v1"),
    ("https://proxy/https://user:hunter2@inner/x", "https://proxy/https"),  # a URL inside of a URL
    ("postgresql://user:hunter2@db:5432/shop", "postgresql://db:5432/shop"),
    ("https://user:hunter2", None),  # cut short: a port that is no number
    ("https://" + "hunter2" * 1000 + "@api.example.com/", None),  # too long to be read as a whole
    ("https://api.example.com/" + "a" * 3000 + "?" + "q" * 9000, "https://api.example.com/" + "a" * 1000),
    ("/v1/pay?token=hunter2", None),  # no host
    ("mailto:hunter2", None),
    ("https://[::1", None),
    ("", None),
    (None, None),
    (7, None),
]


@pytest.mark.parametrize(("value", "cleaned"), URLS, ids=lambda item: str(item)[:40])
def test_urls(value: object, cleaned: str | None) -> None:
    """Scheme, host, port and path; None if it cannot be read."""
    assert redact.url(value) == cleaned


STATEMENTS: list[tuple[str, str, str]] = [
    # every quoting style
    ("postgresql", "SELECT * FROM users WHERE name = 'hunter2'", "SELECT * FROM users WHERE name = ?"),
    ("postgresql", "SELECT 'it''s hunter2', 1", "SELECT ?, ?"),
    ("postgresql", "SELECT E'a', e'b', B'01', x'ff', N'n', U&'u'", "SELECT ?, ?, ?, ?, ?, ?"),
    ("postgresql", "SELECT $$hunter2$$, $tag$hunter2 $$ still$tag$ FROM t", "SELECT ?, ? FROM t"),
    ("postgresql", 'SELECT "User Name" FROM "t" WHERE a = 1', 'SELECT "User Name" FROM "t" WHERE a = ?'),
    ("mysql", 'SELECT * FROM users WHERE name = "hunter2"', "SELECT * FROM users WHERE name = ?"),
    ("mysql", "SELECT `a` FROM `t` WHERE b = 'hunter2'", "SELECT `a` FROM `t` WHERE b = ?"),
    ("mssql", "SELECT [a b] FROM t WHERE c = N'hunter2'", "SELECT [a b] FROM t WHERE c = ?"),
    # a quote in the name of a column does not turn text into code
    ("postgresql", """SELECT "it's" FROM t WHERE a = 'hunter2'""", """SELECT "it's" FROM t WHERE a = ?"""),
    ("mysql", "SELECT `it's` FROM t WHERE a = 'hunter2'", "SELECT `it's` FROM t WHERE a = ?"),
    ("mssql", "SELECT [it's] FROM t WHERE a = 'hunter2'", "SELECT [it's] FROM t WHERE a = ?"),
    # Oracle's own quoting ends where only Oracle knows: the text ends there
    ("oracle", "SELECT q'[it's hunter2]', nq'{hunter2}' FROM t", "SELECT …"),
    # unclosed: cut by the driver or by a limit
    ("postgresql", "SELECT * FROM t WHERE a = 'hunter2", "SELECT * FROM t WHERE a = ?"),
    ("postgresql", "SELECT $$hunter2", "SELECT ?"),
    ("mysql", 'SELECT "hunter2', "SELECT ?"),
    # a backslash: nobody but the server knows what it escapes
    ("mysql", "SELECT 'a\\'hunter2', 'b'", "SELECT ?"),
    ("postgresql", "SELECT 'c:\\', 'hunter2'", "SELECT ?"),
    # comments may hold what they comment out
    ("postgresql", "SELECT 1 -- hunter2\nFROM t", "SELECT ? FROM t"),
    ("postgresql", "SELECT 1 /* hunter2 'x */ FROM t", "SELECT ? FROM t"),
    ("postgresql", "SELECT 1 /* a /* b */ it's */ FROM t WHERE a = 'hunter2'", "SELECT ? …"),  # nested: the text ends
    ("mysql", "SELECT 1 # hunter2\nFROM t", "SELECT ? FROM t"),
    ("mysql", "SELECT 1 /*!50000 '*/', 'hunter2' */", "SELECT ? …"),  # code in a comment: the text ends
    ("mysql", "SELECT a--'x\n', 'hunter2'", "SELECT a--?, ?"),  # no comment without a space there
    ("postgresql", "SELECT /* unclosed hunter2", "SELECT"),
    ("postgresql", "SELECT '-- no comment', 2", "SELECT ?, ?"),
    # # is an operator in PostgreSQL
    ("postgresql", "SELECT a #>> '{x\ny}' WHERE b = 'hunter2'", "SELECT a #>> ? WHERE b = ?"),
    # numbers, and names that end in one
    ("postgresql", "SELECT * FROM t1 WHERE a2.b3 = 4", "SELECT * FROM t1 WHERE a2.b3 = ?"),
    ("postgresql", "SELECT -1, +2.5, .5, 1e-5, 0xFF, 1_000", "SELECT ?, ?, ?, ?, ?, ?"),
    ("postgresql", "SELECT 4111111111111111", "SELECT ?"),
    ("postgresql", "LIMIT 10 OFFSET 20", "LIMIT ? OFFSET ?"),
    # parameters are no values
    ("postgresql", "SELECT $1, %s, :name", "SELECT $1, %s, :name"),
    ("mysql", "a$b$ = 'x $b$ y' AND c = 'hunter2'", "a$b$ = ? AND c = ?"),  # $ in a name is no dollar quote
    # not SQL: only the first word
    ("redis", "SET session hunter2", "SET"),
    ("mongodb", '{"find": "hunter2"}', '{"find":'),
    ("", "SELECT * FROM t WHERE a = 'hunter2'", "SELECT"),
    ("unheard-of", "SELECT hunter2", "SELECT"),
    ("redis", "", ""),
    ("PostgreSQL", "SELECT 'hunter2'", "SELECT ?"),
]


@pytest.mark.parametrize(("system", "query", "cleaned"), STATEMENTS)
def test_statements(system: str, query: str, cleaned: str) -> None:
    """Literals become ?, comments go, names and parameters stay."""
    assert redact.statement(query, system) == cleaned


words = st.from_regex(r"[ a-z0-9,.()=<>*+\n-]{0,12}", fullmatch=True)
names = st.sampled_from(["a", "t1", "users", '"q"', "a$b", "x.y", "$1", "count(*)"])


def quoted(system: str) -> st.SearchStrategy[str]:
    """A literal that holds the secret, in one of the styles of *system*, with the odd quote and dollar around it."""
    around = st.sampled_from(["", "''", '"', "--", "/*", "*/", "#", ";", "\n", "$", "(", "`", "]", " "])
    single = st.tuples(st.sampled_from(["'", "E'", "n'", "b'"]), around, around).map(
        lambda t: f"{t[0]}{t[1]}{SECRET}{t[2]}'"
    )
    if system == "mysql":
        double = st.tuples(around, around).map(
            lambda t: '"' + t[0].replace('"', '""') + SECRET + t[1].replace('"', '""') + '"'
        )
        return single | double
    dollar = st.tuples(st.sampled_from(["$$", "$tag$", "$_$"]), around, around).map(
        lambda t: f"{t[0]}{t[1].replace('$', '')}{SECRET}{t[2].replace('$', '')}{t[0]}"
    )
    return single | dollar


def queries(system: str) -> st.SearchStrategy[str]:
    """Texts in which each literal holds the secret and begins after a space."""
    comments = ["/* it's */", "-- it's\n"] + (["# it's\n"] if system == "mysql" else ['"it\'s"'])
    piece = names | quoted(system) | st.sampled_from(comments) | words
    return st.lists(piece, max_size=12).map(" ".join)


@given(queries("postgresql"))
@example("SELECT U&'hunter2' UESCAPE '!'")
def test_no_literal_survives_in_postgresql(query: str) -> None:
    """A secret planted in any '…', E'…', $$…$$ or $tag$…$tag$ never leaves."""
    assert SECRET not in redact.statement(query, "postgresql")


@given(queries("mysql"))
def test_no_literal_survives_in_mysql(query: str) -> None:
    """A secret planted in any '…' or "…" never leaves."""
    assert SECRET not in redact.statement(query, "mysql")


@given(st.text(max_size=60), st.integers(0, 40))
def test_a_statement_cut_anywhere_keeps_its_secret(before: str, cut: int) -> None:
    """Drivers and limits cut texts: an unclosed literal ends with the text."""
    query = f"SELECT '{before.replace(chr(39), chr(39) * 2)} {SECRET}'"
    cleaned = redact.statement(query[: len(query) - cut], "postgresql")
    assert cleaned in {"SELECT ?", "SELECT '", "SELECT", "SELEC", "SELE", "SEL", "SE", "S", ""}


def test_a_hostile_statement_is_read_in_no_time() -> None:
    """Megabytes of quotes are cut before they are read."""
    for piece in ("'", "$$", "/*", "$a$", '"', "-", "1", "''", "$a", "/*/", "q'"):
        assert len(redact.statement(piece * 1_000_000, "postgresql")) <= redact.STATEMENT_MAX


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.integers(0, 50))
def test_text_is_valid_and_short(raw: str, limit: int) -> None:
    """Whatever comes in, UTF-8 goes out, of at most *limit* characters."""
    cleaned = redact.text(raw, limit)
    assert len(cleaned) <= limit
    cleaned.encode("utf-8")


@given(st.text())
def test_valid_text_stays_as_it_is(raw: str) -> None:
    """Only what is no Unicode text is replaced."""
    if "\ud800" <= max(raw, default="") <= "\udfff" or any("\ud800" <= c <= "\udfff" for c in raw):
        return
    assert redact.text(raw, 10_000) == raw


NAMES: list[tuple[object, str, str]] = [
    ("GET /users/{id}", "", "GET /users/{id}"),
    ("GET https://u:hunter2@api/x?hunter2", "", "GET https://api/x"),
    ("GET https://[::1", "", "GET …"),
    # a query, of whatever kind: some instrumentations name their spans by it
    ("SELECT * FROM t WHERE a = 'hunter2'", "postgresql", "SELECT * FROM t WHERE a = ?"),
    ("SELECT * FROM t WHERE a = 'hunter2'", "", "SELECT * FROM t WHERE a = ?"),
    ("select * from t where a = 4111", "", "select * from t where a = ?"),
    ('INSERT INTO t VALUES ("hunter2")', "", "INSERT INTO t VALUES (?)"),
    ("SELECT [it's], 'hunter2'", "", "SELECT …"),  # a server's own quoting, and nobody knows which server
    ("SELECT 1 # it's\n, 'hunter2'", "", "SELECT ? …"),
    ("SELECT 4111111111111111", "postgresql", "SELECT ?"),
    ("SELECT shop", "postgresql", "SELECT shop"),
    ("SELECT hunter2 'x'", "redis", "SELECT"),
    ("GET SET", "redis", "GET SET"),  # a pipeline's commands
    ("look for 'hunter2'", "", "look for ?"),
    # no query
    ("handle order 7", "", "handle order 7"),
    ("shop.tasks.resize(int)", "", "shop.tasks.resize(int)"),
    ("n" * 1000, "", "n" * 256),
    ("caf\udce9", "", "caf?"),
    (None, "", "None"),
    ("", "", ""),
]


@pytest.mark.parametrize(("name", "system", "cleaned"), NAMES, ids=lambda item: str(item)[:40])
def test_names_of_spans(name: object, system: str, cleaned: str) -> None:
    """A name may have copied a URL or a query: it is cleaned as one."""
    assert redact.span_name(name, system) == cleaned


@given(queries("postgresql") | queries("mysql"))
def test_no_literal_survives_in_a_name(query: str) -> None:
    """Whatever the server, and though nobody says which it is."""
    assert SECRET not in redact.span_name(f"SELECT {query}")


CALLS: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"http.method": "GET"}, {"http.request.method": "GET"}),  # older name, stable one sent
    ({"http.method": "GET", "http.request.method": "POST"}, {"http.request.method": "POST"}),  # the stable one wins
    ({"http.request.method": "POST", "http.method": "GET"}, {"http.request.method": "POST"}),  # in either order
    ({"http.url": "https://u:hunter2@api/x?hunter2"}, {"url.full": "https://api/x"}),
    ({"url.full": "hunter2"}, {}),  # not a URL after all
    ({"http.status_code": 200}, {"http.response.status_code": 200}),
    (
        {"db.system": "postgresql", "db.statement": "SELECT 'hunter2'"},
        {"db.system.name": "postgresql", "db.query.text": "SELECT ?"},
    ),
    ({"db.statement": "SELECT 'hunter2'"}, {"db.query.text": "SELECT"}),  # of which kind? only the first word
    (
        {"db.operation.name": "GET hunter2", "db.system": "redis"},
        {"db.operation.name": "GET", "db.system.name": "redis"},
    ),
    ({"server.address": "caf\udce9"}, {"server.address": "caf?"}),
    ({"server.address": "a" * 1000}, {"server.address": "a" * 256}),
    ({"server.port": True}, {"server.port": True}),
    # waits for locks of libraries
    (
        {"lastspan.lock.name": "orders", "lastspan.lock.key": "redis:db:6379/0:" + "a" * 1000},
        {"lastspan.lock.name": "orders", "lastspan.lock.key": ("redis:db:6379/0:" + "a" * 1000)[:256]},
    ),
    (
        {"lastspan.call.timeout": 2.5, "lastspan.call.unbounded": True, "lastspan.job.name": "x"},
        {"lastspan.call.timeout": 2.5, "lastspan.call.unbounded": True},
    ),
    # not allow-listed
    ({"http.request.header.authorization": "hunter2"}, {}),
    ({"db.query.parameter.0": "hunter2"}, {}),
    ({"messaging.message.body": "hunter2"}, {}),
    ({"url.query": "hunter2", "http.target": "/x?hunter2", "user_agent.original": "hunter2"}, {}),
    ({"exception.message": "hunter2", "celery.kwargs": "hunter2", "enduser.id": "hunter2"}, {}),
    # a value of another kind than text or number
    ({"server.address": ["hunter2"], "rpc.method": b"hunter2", "rpc.service": {"a": "hunter2"}}, {}),
    ({"server.address": None}, {}),
]


@pytest.mark.parametrize(("live", "sent"), CALLS, ids=lambda item: str(item)[:50])
def test_attributes_of_calls(live: dict[str, object], sent: dict[str, object]) -> None:
    """Allow-listed by name, cleaned by kind, sent under the stable name."""
    assert redact.call_attributes(live) == sent


OF_OUR_LOCK_SPANS = {a.LOCK_NAME, a.LOCK_KIND, a.LOCK_KEY, a.CALL_TIMEOUT, a.CALL_UNBOUNDED}
KNOWN = [*STABLE_NAMES, *CALL_ATTRIBUTES, *OF_OUR_LOCK_SPANS]


@given(st.dictionaries(st.text(max_size=20) | st.sampled_from(KNOWN), st.text() | st.floats()))
def test_nothing_else_leaves(live: dict[str, object]) -> None:
    """Whatever a span carries, only allow-listed names leave, with short and valid values."""
    for name, value in redact.call_attributes(live).items():
        assert name in CALL_ATTRIBUTES | OF_OUR_LOCK_SPANS
        if isinstance(value, str):
            assert len(value.encode("utf-8")) <= 4 * redact.STATEMENT_MAX


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("api.example:8000/v1/orders/17/line_items", "api.example:8000/v1/orders/17/line_items"),
        ("api.example/apis/apps/v1beta1/batchGet.json", "api.example/apis/apps/v1beta1/batchGet.json"),
        ("api.example/users/{user_id}/…", "api.example/users/{user_id}/…"),
        ("api.example/", "api.example/"),
        ("…", "…"),
        ("", ""),
        # What may be a key, or a person.
        (
            "hooks.slack.com/services/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",
            "hooks.slack.com/services/{id}/{id}/{id}",
        ),
        ("api.telegram.org/bot123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send", "api.telegram.org/{id}/send"),
        ("a/cafe1234beef/x", "a/{id}/x"),
        ("a/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "a/{id}"),
        ("a/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "a/{id}"),
        ("a/QmFzZTY0dXJs-X19fLS0tLQ_", "a/{id}"),
        ("a/bob@example.com", "a/{id}"),
        ("a/4915112345678", "a/{id}"),
        ("a/%41%42/ü", "a/{id}/{id}"),
        ("a/" + "x" * 100_000, "a/{id}"),
        ("a/" + "x-" * 100_000, "a/{id}"),
    ],
)
def test_a_route_has_words_and_numbers_alone(target: str, expected: str) -> None:
    assert redact.route(target) == expected
