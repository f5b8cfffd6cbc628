"""From descriptors to dashboards: what comes out, and what a person is told who made a mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.dashboards import board

import lastspan.dashboards
from lastspan.dashboards import words
from lastspan.dashboards.build import OURS, build, text, write
from lastspan.dashboards.mistakes import DescriptorError
from lastspan.examples.running import program
from lastspan.semconv.vocabulary import CAUSES

MINE = """\
- name: mine
  project:
    dashboards: [one]
- name: one
  dashboard:
    uid: mine
    title: Mine
    templates: [metrics]
    rows:
      - row:
          panels:
            - stat-panel:
                title: A
                description: Do this.
                targets:
                  - prom-now: {expr: !promql 'lastspan_jobs{%where}'}
"""
AFTER = "description: Do this."


def more(option: str) -> tuple[str, str]:
    """Return what to replace by what for one more option of the panel."""
    return AFTER, f"{AFTER}\n                {option}"


def test_what_is_committed_is_what_the_descriptors_make() -> None:
    """Change a descriptor, then `make dashboards`."""
    there = {path.name: path.read_text(encoding="utf-8") for path in board.GENERATED.glob("*.json")}
    assert there == {f"{name}.json": text(dashboard) for name, dashboard in board.built().items()}


def test_the_set() -> None:
    """The seven, by addresses that do not change: links in alerts and bookmarks lead to them."""
    assert {name: dashboard["uid"] for name, dashboard in board.built().items()} == {
        "fleet": "lastspan-fleet",
        "job-type": "lastspan-job-type",
        "one-job": "lastspan-job",
        "waits": "lastspan-waits",
        "workers": "lastspan-workers",
        "hygiene": "lastspan-hygiene",
        "lastspan-itself": "lastspan-itself",
    }


@pytest.mark.parametrize("name", board.built())
def test_form(name: str) -> None:
    """Classic JSON of schema 42: what Grafana 10 … 13 reads; no data source of any one site."""
    dashboard = board.built()[name]
    assert dashboard["schemaVersion"] == 42
    assert "rows" not in dashboard
    assert "lastspan" in dashboard["tags"]
    sources = {panel["datasource"]["uid"] for panel in board.panels_of(dashboard)}
    assert all(re.fullmatch(r"\$\{(prometheus|traces|loki)\}", uid) for uid in sources)
    for panel in board.panels_of(dashboard):
        assert len(panel["description"]) > 20, panel["title"]


def test_ids_of_panels_stay_when_others_come(tmp_path: Path) -> None:
    """They are made of titles, so links to a panel lead to the same one after an update."""
    other = MINE.replace(
        "            - stat-panel:",
        "            - text-panel: {title: B, description: x, content: y}\n            - stat-panel:",
    )
    (before,), (after_b, after_a) = (build_of(tmp_path, one)["one"]["panels"] for one in (MINE, other))
    assert before["id"] == after_a["id"] != after_b["id"]


def build_of(folder: Path, described: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    path = folder / "mine.yaml"
    path.write_text(described)
    # With what dashboards share; with ours themselves, which take the longest, only where one is named.
    return build((OURS if "fleet" in described else OURS / "common.yaml", path))


@pytest.mark.parametrize(
    ("old", "new", "line", "about", "reason"),
    [
        (*more("spam: 1"), 15, "panel 'A'", "stat.Panel has no option 'spam'; is it span?"),
        (*more("title: B"), 15, "", "the key 'title' is there twice"),
        (*more("color_mode: blue"), 15, "panel 'A'", "'blue' is not one of 'value', 'back"),
        (*more("min: zero"), 15, "panel 'A'", "float is wanted, not 'zero'"),
        (*more("span: 30"), 15, "panel 'A'", "w must be <= 24"),
        (*more("unit: furlong"), 13, "panel 'A'", "'furlong' is no unit"),
        (*more("transformations: [{id: orgnize}]"), 13, "panel 'A'", "'orgnize' is no transf"),
        (*more("transformations: [{id: limit, optoins: {}}]"), 15, "panel 'A'", "DataTransformerConfig"),
        (*more("override_by_name: [{name: x}]"), 15, "panel 'A'", "name, properties are needed"),
        (*more("override_by_name: {name: x, properties: [{id: hue}]}"), 13, "panel 'A'", "'hue' is noth"),
        (AFTER, "height: 4", 13, "panel 'A'", "a panel has a description"),
        (*more("mappings: !words cuases"), 15, "", "!words knows causes"),
        (AFTER, "description: !!python/object/apply:os.getpid []", 14, "", "could not determine a constructor"),
        ("{%where}", "{", 16, "panel 'A'", "bad PromQL"),
        ("{%where}", "{%jbos}", 16, "panel 'A'", "'%jbos' is not one of the selectors %where, %jobs, %job"),
        ("lastspan_jobs{", "lastspan_jbos{", 16, "panel 'A'", "no metric lastspan_jbos; is it lastspan_jobs?"),
        ("uid: mine", "uid: lastspan-fleet", 6, "one", "'fleet' has this uid"),
        ("{%where}", '{queue="$nope"}', 13, "panel 'A'", "$nope is no variable of this dashboard"),
        ("!promql 'lastspan_jobs{%where}'", """'up{job!="a"}'""", 16, "panel 'A'", "texts with braces need !raw or"),
        ("!promql 'lastspan_jobs{%where}'", "!promql [1]", 16, "", "expected a scalar node"),
        ("prom-now:", "promm:", 16, "panel 'A'", "'promm' is no kind of query; there are grafana-tags, jaeger, loki"),
        ("stat-panel:", "stats-panel:", 12, "dashboard 'Mine'", "nothing is called 'stats-panel', and no"),
        ("stat-panel:", "single-stat:", 10, "dashboard 'Mine'", "is a panel of an older Grafana"),
        ("title: A", "title: [A", 14, "", "expected ',' or ']'"),
        ("uid: mine", "uid: mine\n    colour: red", 7, "dashboard 'Mine'", "Dashboard has no option 'colour'"),
        ("uid: mine", "uid: a b", 6, "dashboard 'Mine'", "a uid has 1 to 40 letters, digits, - and _"),
        ("[metrics]", "[metrcs]", 8, "dashboard 'Mine'", "nothing is called 'metrcs'"),
        ("  dashboard:", "  dashbord:", 4, "one", "'dashbord' is no kind of component"),
        ("[one]", "[two]", 3, "", "no dashboard is called 'two'"),
        ("[one]", "[one, fleet]", 3, "fleet", "two dashboards have this name"),
        ("- name: one", "- name: one\n  legacy: 1", 4, "", "beside its name it is one thing, not legacy, dashboard"),
        ("- name: mine", "- 1\n- name: mine", 1, "", "a component is a mapping"),
        # What grafana-dashboard-builder takes for granted.
        ("    uid: mine\n", "", 6, "dashboard 'one'", "a dashboard has a uid"),
        ("dashboards: [one]", "dashboards: one", 3, "", "a project is a mapping; under `dashboards` it lists"),
        ("- name: one\n", "- name: [one]\n", 4, "", "a name is a text"),
        ("- name: one\n  dash", "- dash", 4, "", "it needs a name"),
        ("      - row:", "      row:", 10, "dashboard 'one'", "rows are a list"),
        ("- row:", "- row: x\n      - row:", 10, "dashboard 'one'", "row is a mapping"),
        ("panels:\n", "pannels: []\n          panels:\n", 11, "dashboard 'one'", "a row has no option 'pannels'"),
        ("- stat-panel:", "- null\n            - stat-panel:", 12, "dashboard 'one'", "in panels stands a name"),
        ("- prom-now: {", "- 5\n                  - prom-now: {", 16, "panel 'A'", "in targets stands a name"),
        ("- prom-now: {", "- prom-now:\n                  - prom-now: {", 16, "panel 'A'", "prom-now is a mapping"),
        ("- prom-now", "- loki: {expr: x}\n                  - prom-now", 16, "panel 'A'", "are for loki and prom"),
        ("- name: one", "- {name: two, dashboard: {uid: u, title: t, rows: [row: {panels: [a]}]}}\n- name: one",
         4, "dashboard 'two'", "no project lists it"),
        # What would be no JSON, or nobody could read.
        ("title: Mine", "title: !!binary aGk=", 7, "", "could not determine a constructor"),
        (*more("min: .nan"), 15, "", ".nan is no number"),
        ("title: Mine", 'title: "a\\ud800"', 7, "panel 'a\\ud800'", "a character that cannot be shown"),
        ("title: Mine", 'title: "a\\0"', 7, "panel 'a\\x00'", "a character that cannot be shown"),
        ("title: Mine", "title: \0", 7, "", "special characters are not allowed"),
        ("title: Mine", "title: Mine\n    refresh: often", 6, "dashboard 'Mine'", "refresh is a time as 30s or 1m"),
        ("uid: mine", "uid: mine\n    links: [{url-link: {title: 3}}]", 7, "url-link", "str is wanted, not 3"),
        ("uid: mine", "uid: mine\n    annotations: [annotation-query: {target: {a: }}]",
         7, "dashboard 'one'", "a is a mapping"),
        # What would run for ever, or fill the memory.
        ("title: Mine", "title: &t [*t]", 7, "", "this holds itself, by an alias"),
        ("title: Mine", "title: '{product:>999999999}'", 7, "panel '{product:>999999999}'", "texts with braces"),
        ("title: Mine", "title: " + "[" * 2000 + "]" * 2000, 1, "", "it is nested too deeply"),
        ("title: Mine", "title: !include mine.yaml", 7, "", "files that include others, 5 deep"),
        ("title: Mine", "title: !include none.yaml", 7, "", "none.yaml: No such file or directory"),
        (MINE, "# nothing\n", 1, "", "it describes nothing"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_line_panel_and_reason(
    tmp_path: Path, old: str, new: str, line: int, about: str, reason: str
) -> None:
    """And nothing else is told: one mistake, one line."""
    assert old in MINE
    with pytest.raises(DescriptorError) as caught:
        build_of(tmp_path, MINE.replace(old, new, 1))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "mine.yaml"), line), problem
    assert problem.panel == about
    assert reason in problem.reason


def command(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("lastspan"), "dashboards", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environ},
    )  # fmt: skip


def test_the_command_writes_all(tmp_path: Path) -> None:
    """One file each, the same as by Python; a second run changes nothing."""
    for _ in range(2):
        done = command("build", "--out", tmp_path / "out")
        assert (done.returncode, done.stderr) == (0, "")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.json" for name in board.built()}
    assert (tmp_path / "out" / "fleet.json").read_text() == text(board.built()["fleet"])


BESIDE = """\
            - stat-panel:
                title: B
                description: Do that.
                targets:
                  - prom-now: {expr: !promql 'sum(lastspan_jobs{queue="$nope"})'}
"""


def test_the_command_writes_nothing_if_anything_is_wrong(tmp_path: Path) -> None:
    """Exit 1, a line for each dashboard that is wrong, and what was there before is still there."""
    write(board.built(), tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(MINE + BESIDE)
    b.write_text(
        MINE.replace("mine", "yours").replace("one", "two").replace(AFTER, f"{AFTER}\n                unit: x")
    )
    done = command("build", "--out", tmp_path / "out", "--descriptors", tmp_path, "--set", "refresh=1h")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"lastspan: {a}:18: panel 'B': $nope is no variable of this dashboard\n"
        f"lastspan: {b}:13: panel 'A': 'x' is no unit\n"
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--set", "refresh"), 2, "'refresh' is not KEY=VALUE"),
        (("--set", "collector_url=javascript:alert(1)"), 1, "is not an address: https://lastspan.example"),
        (("--set", "refresh=often"), 1, "'often' is not how often: 30s, 1m; empty: never"),
        (("--set", "product={x}"), 1, "'{x}' is not a text without braces"),
        (("--set", "colour=red"), 1, "no project has this parameter; there are collector_url, product, refresh"),
        (("--descriptors", "/nowhere"), 2, "does not exist"),
        (("--out", "/proc/nowhere"), 2, "lastspan: /proc/nowhere: "),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], status: int, message: str) -> None:
    done = command("build", *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    more = "\n".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))
    with pytest.raises(DescriptorError, match="more than 100,000 values in one document"):
        build_of(tmp_path, f"- &a0 [{', '.join('x' * 9)}]\n{more}\n")


@pytest.mark.parametrize("name", ["../one", "/tmp/one", ".", "a/b", "a b", "o" * 101])
def test_a_name_that_is_no_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DescriptorError, match="the name becomes a file's"):
        build_of(tmp_path, MINE.replace("[one]", f"['{name}']").replace("name: one", f"name: '{name}'"))


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    """A folder stands where the last one should be."""
    (tmp_path / "workers.json.new").mkdir()
    with pytest.raises(OSError, match=r"workers\.json"):
        write(board.built(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["workers.json.new"]


def test_settings_reach_the_dashboards(tmp_path: Path) -> None:
    made = build(settings={"refresh": "5m", "collector_url": "https://lastspan.example", "product": "Jobs"})["fleet"]
    assert (made["refresh"], made["title"]) == ("5m", "Jobs / Fleet")
    assert {"https://lastspan.example"} == {
        one["query"] for one in made["templating"]["list"] if one["name"] == "collector"
    }


def test_somebodys_own_panel_beside_ours(tmp_path: Path) -> None:
    """Descriptors of theirs may use ours by name."""
    (tmp_path / "mine.yaml").write_text(
        MINE.replace("          panels:\n", "          panels:\n            - stuck-jobs\n").replace(
            "[metrics]", "[metrics, jobs, constant-variable: {name: collector, value: x}]"
        )
    )
    made = build((OURS, tmp_path))["one"]
    assert [panel["title"] for panel in made["panels"]] == ["Stuck jobs, and where they stopped", "A"]


def test_panels_stack_and_a_closed_row_is_one_line_high(tmp_path: Path) -> None:
    """What is low stands beside what is high; below a closed row the next one begins at once."""
    row = """
      - row:
          title: Closed
          collapse: true
          panels:
            - text-panel: {title: In, description: x, content: y, span: 12, height: 8}
      - row:
          title: Next
          panels:
            - text-panel: {title: High, description: x, content: y, span: 12, height: 8}
            - text-panel: {title: Low, description: x, content: y, span: 12, height: 3}
            - text-panel: {title: Below, description: x, content: y, span: 12, height: 5}
"""
    placed = {
        panel["title"]: panel["gridPos"] for panel in build_of(tmp_path, MINE + row.lstrip("\n"))["one"]["panels"]
    }
    assert "In" not in placed
    assert [(placed[title]["x"], placed[title]["y"]) for title in ("A", "Closed", "Next", "High", "Low", "Below")] == [  # type: ignore[index]
        (0, 0), (0, 4), (0, 5), (0, 6), (12, 6), (12, 9),
    ]  # fmt: skip


# --- grafana-dashboard-builder's own command -----------------------------------------------------------------------

# It imports kerberos, whatever it is asked to do; where that could not be compiled, an empty module stands for it: what
# is tested is that our descriptors and the plugin work, and they never come near it.
RUN = "import sys, types\n{stand_in}from grafana_dashboards.cli import main\nmain()\n"


def test_the_builders_own_command_makes_the_same(tmp_path: Path) -> None:
    plugin = Path(lastspan.dashboards.__file__).with_name("plugin.py")
    stand_in = "" if find_spec("requests_kerberos") else (
        "module = types.ModuleType('requests_kerberos')\n"
        "module.HTTPKerberosAuth = module.DISABLED = module.OPTIONAL = None\n"
        "sys.modules['requests_kerberos'] = module\n"
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(f"file: {{output_folder: {tmp_path}/out}}\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN.format(stand_in=stand_in),
         "-p", str(OURS), "--plugins", str(plugin), "--exporter", "file", "-c", str(tmp_path / "config.yaml")],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Cannot load plugin" not in done.stdout
    made = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out" / "lastspan").glob("*.json")}
    assert made == board.built()


@pytest.mark.parametrize("name", ["lastspan_job_active", "lastspan_job_duration_seconds_bucket", "up", "lastspan:mine"])
def test_metrics_that_may_be_asked_for(tmp_path: Path, name: str) -> None:
    """Those that workers send by OTLP, those of others, and rules of one's own."""
    assert "one" in build_of(tmp_path, MINE.replace("lastspan_jobs{%where}", name))


# --- words ----------------------------------------------------------------------------------------------------------


def test_every_cause_has_words_and_advice() -> None:
    """Those of the vocabulary, no others."""
    assert set(words.ADVICE) == set(CAUSES)


def test_every_rule_of_the_lint_has_words() -> None:
    from lastspan.collector.judge.lint import RULES

    assert set(words.LINT) == set(RULES)


def test_every_state_of_an_open_job_has_words() -> None:
    from lastspan.collector.track import OPEN_STATES

    assert set(words.STATES) == {state.value for state in OPEN_STATES}
