"""`python -m tests.e2e.causes`: all ways, with client instrumentation and without; exit status 1 below the bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from tests.e2e.causes.finding import Finding
from tests.e2e.causes.harness import Harness, all_ways, fits_here
from tests.e2e.causes.report import Score, confusion, misses, score
from tests.e2e.causes.way import Way


@click.command()
@click.argument("names", nargs=-1)
@click.option("--which", type=click.Choice(["both", "with", "without"]), default="both", help="client instrumentation")
@click.option("--parallel", default=8, show_default=True, help="programs at once")
@click.option("--evidence", type=click.Path(path_type=Path), help="folder for all that is known of each miss")
@click.option("--no-servers", is_flag=True, help="only ways that need no database and no broker")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="file for the shares, a line a table")
@click.option("--list", "only_list", is_flag=True, help="only say which ways there are")
def main(
    names: tuple[str, ...],
    which: str,
    parallel: int,
    evidence: Path | None,
    no_servers: bool,
    as_json: Path | None,
    only_list: bool,
) -> None:
    """Run the ways called NAMES (parts of names or families; all by default) and print the confusion table."""
    chosen = [way for way in _choose(names) if not (no_servers and way.needs)]
    if only_list:
        for way in chosen:
            click.echo(f"{way.family:12} {way.name:44} {' or '.join(sorted(way.causes))}")
        return
    # A width of its own: in a file of a build's output, too, names are to be whole.
    console = Console(width=None if sys.stdout.isatty() else 160)
    scores = [
        _run(console, chosen, bare=bare, parallel=parallel, evidence=evidence)
        for bare in (False, True)
        if which == "both" or (which == "without") == bare
    ]
    if as_json is not None:
        as_json.write_text("".join(json.dumps(asdict(one)) + "\n" for one in scores))
    sys.exit(0 if all(one.is_enough for one in scores) else 1)


def _choose(names: Sequence[str]) -> list[Way]:
    ways = [way for way in all_ways().values() if fits_here(way)]
    chosen = [way for way in ways if not names or any(name in way.name or name == way.family for name in names)]
    if not chosen:
        raise click.UsageError(f"no way is called {' or '.join(names)}; --list says which there are")
    return chosen


def _run(console: Console, ways: Sequence[Way], *, bare: bool, parallel: int, evidence: Path | None) -> Score:
    title = "without client instrumentation" if bare else "with client instrumentation"
    console.print(f"{len(ways)} ways {title}")
    findings = []
    with Harness(ways, bare=bare, parallel=parallel) as harness:
        for finding in harness.findings():
            findings.append(finding)
            _tell(console, finding, len(findings), len(ways))
            if evidence is not None:
                _keep(evidence, finding)
    result = score(findings)
    console.print(misses(findings), confusion(findings, title), str(result))
    return result


def _tell(console: Console, finding: Finding, done: int, of: int) -> None:
    said = f"{finding.cause}, {finding.last_span}" if not finding.problem else finding.problem.splitlines()[0]
    mark = "[green]right[/]" if finding.is_all_right else "[red]wrong[/]"
    console.print(f"{done:3}/{of} {mark} {finding.way.name}: ", end="")
    console.print(said, markup=False, highlight=False)


def _keep(folder: Path, finding: Finding) -> None:
    """Write all that is known of a miss; forget the one of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.way.name}{'-bare' if finding.bare else ''}.json"
    if finding.is_all_right:
        path.unlink(missing_ok=True)
    else:
        path.write_text(finding.evidence())
    with (folder / "all.jsonl").open("a") as every:
        every.write(json.dumps(finding.summary(), default=str) + "\n")


if __name__ == "__main__":
    main()
