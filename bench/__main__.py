"""`python -m bench` lists the benchmarks; `python -m bench NAME [--json] [--rounds N]` runs one, `all` runs all."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Final

from .report import Options, Report, print_json, print_table, say

BENCHES: Final = {
    "span": "CPU that a worker pays for each span of a job",
    "host": "how long span.end() takes while the collector is well, gone, silent or ill",
    "diagnosis": "CPU of the watcher for late jobs: a sample, a diagnosis, the search for a lock's holder",
    "wrappers": "CPU that wrappers of lock libraries and of queries add",
    "visible": "how soon a stuck span, a killed child, a lost worker is seen",
    "page": "how soon somebody is told: verdict, scrape, rule, Alertmanager",
    "learn": "CPU and memory that learned durations take, in the worker and in the collector",
    "receive": "CPU that the collector pays for a record, beside a naive receiver and rotel",
    "restore": "how soon a million open spans are known again after a restart, and what keeping them costs",
    "memory": "bytes of an open span in the collector",
    "pages": "how long the collector's pages take, at 10,000 jobs",
    "tick": "how long the collector's looks stop its receiver, at 1M open spans",
}


def run(name: str, options: Options) -> Report:
    """Run one benchmark."""
    report: Report = importlib.import_module(f"bench.{name}").run(options)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of lastspan, run by name.")
    parser.add_argument("name", nargs="?", choices=[*BENCHES, "all"], help="which; without it: a list")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (medians are reported)")
    parser.add_argument("--quick", action="store_true", help="as small as possible: only to see that it runs")
    arguments = parser.parse_args()
    if arguments.name is None:
        for name, answers in BENCHES.items():
            print(f"{name:10} {answers}")
        return 0
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    options = Options(rounds=arguments.rounds, quick=arguments.quick)
    for name in BENCHES if arguments.name == "all" else [arguments.name]:
        say(f"{name}: {BENCHES[name]}")
        (print_json if arguments.json else print_table)(run(name, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
