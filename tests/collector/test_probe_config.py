"""Settings of the probes: where a database is, without its password in the file, in a message or on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.served import lastspan

from lastspan.collector.probe import masked, parse
from lastspan.collector.probe.dsn import tls_context
from lastspan.collector.serve.config import ConfigError, check, show
from lastspan.collector.serve.server import Collector

SECRET = "hunter2"
URL = f"postgresql://probe:{SECRET}@db.internal:5433/orders"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({}, "postgres[0]: says nowhere where the database is; write one of dsn, dsn_env, dsn_file"),
        (
            {"dsn": URL, "dsn_env": "X"},
            "postgres[0]: dsn and dsn_env are both set; write one of dsn, dsn_env, dsn_file",
        ),
        (
            {"dsn_env": "LASTSPAN_TEST_NOT_SET"},
            "postgres[0].dsn_env: the environment has no LASTSPAN_TEST_NOT_SET; set it to the database's URL",
        ),
        (
            {"dsn_env": URL},  # the URL itself, by mistake
            "postgres[0].dsn_env: the environment has no postgresql://probe:***@db.internal:5433/orders;"
            " set it to the database's URL",
        ),
        (
            {"dsn_file": "/none/such"},
            "postgres[0].dsn_file: /none/such cannot be read: No such file or directory",
        ),
        (
            {"dsn": URL.replace("postgresql", "mysql")},
            'postgres[0].dsn: "mysql://probe:***@db.internal:5433/orders" is not a URL of a database;'
            " write postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require",
        ),
        (
            {"dsn": f"host=db password={SECRET}"},
            'postgres[0].dsn: "…" is not a URL of a database;'
            " write postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require",
        ),
        (
            {"dsn": f"postgresql://probe:{SECRET}/orders"},  # the host is forgotten
            'postgres[0].dsn: "postgresql://…" is not a URL of a database;'
            " write postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require",
        ),
        (
            {"dsn": f"postgresql://probe:{SECRET}@/orders"},
            'postgres[0].dsn: "postgresql://probe:***@/orders" names no host;'
            " write postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require",
        ),
        (
            {"dsn": f"{URL}?sslmode=always"},
            'postgres[0].dsn: sslmode "always" is not one of disable, allow, prefer, require, verify-ca, verify-full',
        ),
        ({"dsn": f"{URL}?sslrootcert=/none.pem"}, 'postgres[0].dsn: sslrootcert "/none.pem" is not a file'),
        (
            {"dsn": URL, "servers": ["db"]},
            'postgres[0].servers[0]: "db" is not an address; write HOST:PORT (port 0: any free one) or off',
        ),
        ({"dsn": URL, "interval": "often"}, "postgres[0].interval: 'often' is not a duration; write 90s, 10m, 1h30m"),
        ({"dsn": URL, "timeout": 0.01}, "postgres[0].timeout: 0.01 is too short; write 100ms or more"),
        ({"dsn": URL, "password": SECRET}, "postgres[0].password: is not a setting"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix_and_without_its_password(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        check({"postgres": [setting]}, "lastspan.yaml")
    assert str(problem.value) == f"lastspan.yaml: {message}"
    assert SECRET not in str(problem.value)


def test_two_servers_of_one_name_cannot_be_told_apart() -> None:
    with pytest.raises(ConfigError, match=r'two servers are called "db.internal:5433"; give one another name'):
        check({"postgres": [{"dsn": URL}, {"dsn": f"{URL}2"}]}, "x")


def test_a_url_comes_from_the_file_the_environment_or_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    monkeypatch.setenv("ORDERS_DB", URL)
    settings = check(
        {
            "postgres": [
                {"dsn": URL, "name": "a", "interval": "5s", "timeout": 0.5},
                {"dsn_env": "ORDERS_DB", "name": "b", "servers": ["pooler:6432"]},
                {"dsn_file": str(tmp_path / "url"), "name": "c"},
            ],
            "mysql": [{"dsn": "mariadb://[::1]"}],
        },
        "x",
    )
    a, b, c, mysql = settings.probes()
    assert a.dsn == b.dsn == c.dsn == parse("postgres", URL)
    assert (a.dsn.host, a.dsn.port, a.dsn.user, a.dsn.password) == ("db.internal", 5433, "probe", SECRET)
    assert (a.interval_ns, a.timeout_s, b.interval_ns, b.timeout_s) == (5_000_000_000, 0.5, 2_000_000_000, 2.0)
    assert (a.servers, b.servers) == (("db.internal:5433",), ("pooler:6432",))
    assert (mysql.system, mysql.name, mysql.dsn.port) == ("mysql", "[::1]:3306", 3306)


def test_print_config_shows_no_password(tmp_path: Path) -> None:
    """What is printed is a config: only the password is to be put in again."""
    (tmp_path / "url").write_text(URL)
    (tmp_path / "lastspan.yaml").write_text(
        yaml.safe_dump(
            {
                "postgres": [
                    {"dsn": f"{URL}?sslmode=require&sslpassword={SECRET}"},
                    {"dsn_file": str(tmp_path / "url"), "name": "b"},
                ],
                "mysql": [{"dsn": f"mysql://u:{SECRET}@h/d"}],
            }
        )
    )
    shown = lastspan("collector", "--print-config", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert SECRET not in shown.stdout
    tree = yaml.safe_load(shown.stdout)
    assert (
        tree["postgres"][0]["dsn"] == "postgresql://probe:***@db.internal:5433/orders?sslmode=require&sslpassword=***"
    )
    assert tree["postgres"][1]["dsn_file"] == str(tmp_path / "url")
    assert tree["mysql"][0]["dsn"] == "mysql://u:***@h/d"
    assert show(check(tree, "printed")) == shown.stdout


@given(st.text(alphabet="ab:/@?#[]%&=.5", max_size=12))
def test_no_password_is_ever_shown(noise: str) -> None:
    """Also if signs in it are not escaped, which move the host."""
    url = f"postgresql://probe:{noise}SECRET{noise}@db:5432/orders"
    assert "SECRET" not in masked(url)
    assert "SECRET" not in repr(parsed(url))


def parsed(url: str) -> object:
    """Return what comes of a URL: an address, or words."""
    try:
        return parse("postgres", url)
    except ValueError as problem:
        return problem


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            "ssl-mode=require",
            'ssl-mode "require" is not one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY',
        ),
        ("ssl-ca=/none.pem", 'ssl-ca "/none.pem" is not a file'),
        ("charset=latin1", "charset is not an option; there are ssl-ca, ssl-cert, ssl-key, ssl-mode, unix-socket"),
    ],
)
def test_options_of_mysql(options: str, problem: str) -> None:
    with pytest.raises(ValueError) as found:
        parse("mysql", f"mysql://u:p@h/d?{options}")
    assert str(found.value) == problem


@pytest.mark.parametrize(
    ("mode", "verifies", "checks_name"),
    [
        ("PREFERRED", False, False),
        ("REQUIRED", False, False),
        ("VERIFY_CA", True, False),
        ("VERIFY_IDENTITY", True, True),
    ],
)
def test_tls_of_mysql(mode: str, verifies: bool, checks_name: bool) -> None:
    context = tls_context(parse("mysql", f"mysql://h/d?ssl-mode={mode}"))
    assert context is not None
    assert (context.verify_mode.name == "CERT_REQUIRED", context.check_hostname) == (verifies, checks_name)
    assert tls_context(parse("mysql", "mysql://h/d?ssl-mode=DISABLED")) is None


def test_a_base_install_says_what_to_install(tmp_path: Path) -> None:
    """Without the extra: one line, at the start."""
    hide = "import sys; sys.modules['asyncpg'] = None\nfrom lastspan.collector import main; main()"
    (tmp_path / "hide.py").write_text(hide)
    (tmp_path / "lastspan.yaml").write_text("postgres: [{dsn: 'postgresql://h/d'}]")
    import subprocess
    import sys

    from tests.collector.served import environ

    shown = subprocess.run(
        [sys.executable, "hide.py", "collector"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environ(),
        check=False,
    )
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == (
        "lastspan: lastspan.yaml: postgres[0]: needs pip install 'lastspan[probes]' (asyncpg is missing)\n"
    )


@pytest.mark.parametrize("url", [None, URL])
def test_whether_a_probe_may_know_more_is_known(url: str | None) -> None:
    """By that a late query waits for what it has to say, or for nobody."""
    settings = check({} if url is None else {"postgres": [{"dsn": url}]}, "test")
    assert Collector(settings).pipeline.databases.is_asked is (url is not None)
