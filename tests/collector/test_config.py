"""Settings: flags over environment over file over defaults, and messages in the words of who wrote them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.collector.served import environ, lastspan

from lastspan.collector.serve.config import ConfigError, check, load, show, split_address


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "lastspan.yaml"
    file.write_text("web: file:1\notlp_http: file:2\notlp_grpc: file:3\n")
    environment = {"LASTSPAN_WEB": "env:1", "LASTSPAN_OTLP_HTTP": "env:2", "LASTSPAN_MAX_BODY": "77"}
    settings = load({"web": "flag:1", "otlp_http": None}, file=str(file), environment=environment)
    assert (settings.web, settings.otlp_http, settings.otlp_grpc) == ("flag:1", "env:2", "file:3")
    assert (settings.max_body, settings.lost_keep) == (77, "1h")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rules": [{"match": {}, "allowed": "90 parsecs"}]},
            "rules[0].allowed: '90 parsecs' is not a duration; write 90s, 10m, 1h30m",
        ),
        (
            {"rules": [{"match": {"servce": "x"}, "allowed": 5}]},
            "rules[0].match.servce: is not a setting; did you mean service?",
        ),
        (
            {"rules": [{"match": {"kind": "ftp"}, "allowed": 5}]},
            "rules[0].match.kind: Invalid enum value 'ftp'; write one of job, http, db, lock, other",
        ),
        ({"rules": [{"match": {}}]}, "rules[0]: is missing the required field `allowed`"),
        ({"rules": {"allowed": 5}}, "rules: Expected a list, got `key: value` pairs"),
        (
            {"rules": [{"match": {}, "allowed": 1e300}]},
            "rules[0].allowed: 1e+300 is more than 100 years; write 90s, 10m, 1h30m",
        ),
        ({"rules": [{1: 2, "allowed": 5}]}, "rules[0]: is not text; put it into quotes"),
        ({"defaults": {"http": "soon"}}, "defaults.http: 'soon' is not a duration; write 90s, 10m, 1h30m"),
        ({"defaults": {"ftp": "1s"}}, "defaults.ftp: is not a setting"),
        ({"defalts": {}}, "defalts: is not a setting; did you mean defaults?"),
        ({"lost_keep": "-5s"}, "lost_keep: '-5s' is not a duration; write 90s, 10m, 1h30m"),
        ({"silent_after": 0.5}, "silent_after: 0.5 is not between 1 and 1000 report intervals"),
        ({"silent_after": "often"}, "silent_after: Expected `float`, got `str`"),
        ({"max_open_spans": 0}, "max_open_spans: 0 is too small; write a number from 1 on"),
        ({"web": "9417"}, 'web: "9417" is not an address; write HOST:PORT (port 0: any free one) or off'),
        ({"web": "host:99999"}, 'web: "host:99999" is not an address; write HOST:PORT (port 0: any free one) or off'),
        ({"log_level": "loud"}, 'log_level: "loud" is not one of debug, info, warning, error'),
        (
            {"rules": [{"match": {"attributes": {"http.body": "x"}}, "allowed": 5}]},
            "rules[0].match.attributes: workers do not send http.body; docs/semconv.md lists what they do",
        ),
        ({"learning": {"factor": 0.5}}, "learning.factor: 0.5 is less than 1"),
        ({"learning": {"quantile": 1.5}}, "learning.quantile: 1.5 is not between 0.5 and 1"),
        # Comparisons with what is no number are all false.
        ({"learning": {"factor": math.nan}}, "learning.factor: nan is not a number up to 1e9"),
        ({"learning": {"half_life_days": math.inf}}, "learning.half_life_days: inf is not a number up to 1e9"),
        ({"max_body": 1 << 31}, "max_body: 2147483648 is too big; write 2147483647 or less"),
        ({"data_dir": " "}, "data_dir: ' ' is not a folder; write one, or leave it out"),
        # It would be printed, and be a link on pages.
        (
            {"grafana_url": "https://me:secret@grafana"},
            "grafana_url: contains a user or password that everybody who sees a page could read; leave it out",
        ),
        ({"learning": {"min_runs": 0}}, "learning.min_runs: 0 is less than hint_runs"),
        ({"learning": {"fcator": 3}}, "learning.fcator: is not a setting; did you mean factor?"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        check(settings, "lastspan.yaml")
    assert str(problem.value) == f"lastspan.yaml: {message}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c", "is not YAML, line 1"),
        ("- a", "is not a list of settings"),
        ("!!python/object:x {}", "is not YAML"),
        ("web: 'off'\nweb: ':1'", "is not YAML, line 2: web comes twice"),
        ("rules: " + "[" * 3000 + "]" * 3000, "is nested too deep"),
        ("web: \0", "is not YAML: unacceptable character #x0000: special characters are not allowed in"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load({}, file=str(file), environment={})
    with pytest.raises(ConfigError, match="No such file"):
        load({}, file=str(tmp_path / "none.yaml"), environment={})


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^LASTSPAN_LOST_KEEP: lost_keep: 'never' is not a duration"):
        load({}, environment={"LASTSPAN_LOST_KEEP": "never"})
    assert load({"lost_keep": "1s"}, environment={"LASTSPAN_LOST_KEEP": "never"}).lost_keep == "1s"


def test_off_needs_no_quotes(tmp_path: Path) -> None:
    """YAML reads it as false."""
    file = tmp_path / "x.yaml"
    file.write_text("otlp_grpc: off\n")
    assert load({}, file=str(file), environment={}).otlp_grpc == "off"


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:4317", ("::1", 4317)), (":80", ("127.0.0.1", 80)), ("off", None)],
)
def test_addresses(address: str, expected: tuple[str, int] | None) -> None:
    assert split_address("web", address) == expected


def test_print_config_is_a_config(tmp_path: Path) -> None:
    """What is printed can be used as the file, and gives the same settings."""
    file = tmp_path / "lastspan.yaml"
    file.write_text("rules: [{match: {job_name: 'a*'}, allowed: 90s}]\n")
    shown = lastspan("collector", "--print-config", "--web", "127.0.0.1:1", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    printed = yaml.safe_load(shown.stdout)
    assert (printed["web"], printed["rules"]) == ("127.0.0.1:1", [{"allowed": "90s", "match": {"job_name": "a*"}}])
    assert show(check(printed, "printed")) == shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--web", "nowhere"], 'lastspan: settings: web: "nowhere" is not an address'),
        (["--config", "none.yaml"], "lastspan: none.yaml: cannot be read: No such file or directory"),
        (["--wbe", "x"], "No such option"),
        (["--otlp-grpc", "off", "--otlp-http", f"{'a' * 70}:0"], "otlp_http: cannot listen on"),
    ],
)
def test_bad_settings_stop_the_start(tmp_path: Path, arguments: list[str], words: str) -> None:
    shown = lastspan("collector", *arguments, cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert words in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_base_install_says_what_to_install(tmp_path: Path) -> None:
    """Without the extra there is no click: one line, exit 2."""
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('click', name='click')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from lastspan.collector import main; main()"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ(), check=False)
    assert shown.returncode == 2
    assert shown.stderr == "lastspan: the command needs pip install 'lastspan[collector]' (click is missing)\n"
