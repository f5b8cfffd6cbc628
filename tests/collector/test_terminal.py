"""Each command on a terminal that shows ASCII only: everything is told, nothing fails, a program reads the same."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.collector.records import Process
from tests.collector.served import MAIN, PATIENT, ROOT, Served, environ, lastspan

from lastspan.collector.cli import terminal

NAME = "tâche.夜…"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A collector with a stuck job of a name that ASCII lacks, whom another holds up, and with what it has learned."""
    served, worker = Served(tmp_path_factory.mktemp("served"), *PATIENT, grpc="off"), Process()
    lock = {"wait_kind": "redis_lock", "lock_key": "redis:c/0:x", "lock_name": "nächtlich"}
    served.post(
        worker.body(
            worker.job(1, name=NAME, age=70.0, code_stacktrace='File "/srv/tâche.py", line 4, in f'),
            worker.http(2, 1, age=65.0, call_unbounded=True),
            worker.job(3, age=70.0, job_holds=["y"]),
            worker.span(4, 3, name="wait", age=65.0, **lock),
            worker.job(5, name="tasks.month", age=7.0, job_holds=["redis:c/0:x"]),
            worker.durations("ok", 400, seconds=41.0, job_name=NAME),
        )
    )
    served.until(lambda: served.api("/api/v1/jobs")["counts"]["stuck"] == 2)
    yield served
    served.stop()


ALWAYS = (["jobs"], ["explain", "id-1"], ["explain", "id-3"], ["explain", "nichts…"], ["check"], ["check", "--live"])
LEARNED = (["learn", "show"], ["learn", "export"], ["learn", "reset", "--job", "ñ"], ["learn", "import", "/ñ…"])
OTHERS = (["collector", "--print-config", "--config", "/ñ…"], ["alerts", "build", "--set", "ñ=…"], ["…"])
HELP = (["--help"], ["check", "--help"], ["collector", "--help"], ["alerts", "build", "--help"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_each_command(served: Served, encoding: str) -> None:
    """Nothing that is written is beyond the encoding, and nothing dies of it."""
    commands = [*ALWAYS, *LEARNED, *OTHERS, *HELP]
    done = dict(zip(map(tuple, commands), each(commands, encoding, served.web), strict=True))
    for command, (status, said) in done.items():
        assert status in (0, 1, 2), (command, said)
        assert said, command
        assert encoding == "latin-1" or said.isascii(), command
    jobs, explained = done["jobs",][1], done["explain", "id-1"][1]
    assert "GET -> api.example:443" in jobs
    assert ("t\\xe2che.\\u591c..." if encoding == "ascii" else "tâche.\\u591c...") in jobs
    assert "<- last span" in explained
    assert "<- tasks.month" in done["explain", "id-3"][1]
    assert ("x 5.38" if encoding == "ascii" else "× 5.38") in " ".join(done["learn", "show"][1].split())


EACH = """
import json, os, sys
from lastspan.collector import main
for arguments in json.loads(os.environ["COMMANDS"]):
    sys.argv = ["lastspan", *arguments]
    try:
        main()
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, b"\\0%d\\0" % status)
"""


def each(commands: list[list[str]], encoding: str, url: str) -> list[tuple[int, str]]:
    """Run the commands one after the other in one process; return the status of each, and all that it wrote."""
    told = {"COMMANDS": json.dumps(commands), "LASTSPAN_URL": url, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", EACH], env=environ(**told), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    parts = done.stdout.decode(encoding).split("\0")
    return [(int(status), said) for said, status in zip(parts[::2], parts[1::2], strict=False)]


def test_what_programs_read_is_the_same(served: Served) -> None:
    """JSON and YAML are written by escapes, which mean the same."""
    commands = [["jobs", "--json"], ["learn", "export", "--rules"]]
    (_, jobs), (_, rules) = each(commands, "ascii", served.web)
    assert jobs.isascii()
    assert NAME in {job["job_name"] for job in json.loads(jobs)["jobs"]}
    assert rules.isascii()
    assert NAME in {rule["match"]["job_name"] for rule in yaml.safe_load(rules)["rules"]}
    (_, jobs), (_, rules) = each(commands, "utf-8", served.web)
    assert NAME in jobs
    assert NAME in rules


def test_settings_are_printed_by_escapes(tmp_path: Path) -> None:
    """And are read again as they were."""
    rule = {"match": {"job_name": NAME}, "allowed": "5m"}
    (tmp_path / "lastspan.yaml").write_text(yaml.safe_dump({"rules": [rule]}, allow_unicode=True), encoding="utf-8")
    printed = lastspan("collector", "--print-config", cwd=tmp_path, PYTHONIOENCODING="ascii").stdout
    assert printed.isascii()
    assert yaml.safe_load(printed)["rules"][0]["match"] == {"job_name": NAME}


def test_an_argument_that_is_no_text(served: Served) -> None:
    """Bytes that are no UTF-8 in a name that somebody types: an answer, on a terminal of UTF-8 too."""
    done = subprocess.run(
        [sys.executable.encode(), b"-c", MAIN.encode(), b"explain", b"\xff\xfe", b"--url", served.web.encode()],
        env=environ(PYTHONIOENCODING="utf-8"), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False), done.stderr


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_color_only_where_a_terminal_has_it(served: Served, setting: dict[str, str]) -> None:
    """On a real terminal: colors by default, none where somebody has said so."""
    script = Path(__file__).with_name("on_a_terminal.py")
    done = subprocess.run(
        [sys.executable, script, sys.executable, "-c", MAIN, "jobs", "--url", served.web],
        env={name: value for name, value in environ().items() if name != "NO_COLOR"} | {"TERM": "xterm", **setting},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert b"tasks.charge" in done.stdout
    assert (b"31m" in done.stdout) is not bool(setting)


def test_what_it_replaces() -> None:
    """Each on its own; what others have written is told by number."""
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    assert terminal.shows("plain", stream)
    assert not terminal.shows("…", stream)
    terminal.prepare()
    for text, told in (
        ("a … b", "a ... b"),
        ("← x →", "<- x ->"),
        ("2 × 3", "2 x 3"),
        ("é\udcff", "\\xe9\\udcff"),
        ("夜", "\\u591c"),
    ):
        assert text.encode("ascii", "lastspan.told") == told.encode()


def test_each_character_of_ours_has_a_reading() -> None:
    """What the command line writes in its own words; a new character needs a line in the table."""
    written = {
        one
        for folder in ("collector/lastspan/collector", "alerts/lastspan/alerts", "dashboards/lastspan/dashboards")
        for path in (ROOT / folder).glob("*.py")
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for one in node.value
        if not one.isascii() and not "\ud800" <= one <= "\udfff"
    }
    assert written - terminal._REPLACEMENTS.keys() <= {"\N{REPLACEMENT CHARACTER}"}
