"""`python -m bench.detection [small|long|sensitivity] [--json]`: how well hangs are found, beside three baselines."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace

from .parameters import LONG, SENSITIVITY, SMALL, Parameters
from .score import Score, simulate, table

_CONSTANTS: dict[str, tuple[float, ...]] = {
    "quantile": (0.95, 0.995),
    "factor": (2, 5),
    "tail": (1, 3),
    "caution": (0, 200),
    "min_runs": (10, 50),
    "hint_runs": (2, 10),
    "floor_job_s": (15, 60, 120),
    "floor_span_s": (8, 30, 60),
    "half_life_days": (1, 30),
    "deploy_runs": (20, 1000),
    "recent_runs": (10, 60),
    "new_normal": (0.6, 0.9),
    "enabled": (False,),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    parser.add_argument("size", nargs="?", default="small", choices=["small", "long", "sensitivity"])
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run instead of tables")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    arguments = parser.parse_args()
    runs = {"small": [SMALL], "long": list(LONG), "sensitivity": list(_varied())}[arguments.size]
    logging.disable(logging.WARNING)
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for parameters, scores in zip(runs, pool.map(simulate, runs), strict=True):
            _show(parameters, scores, as_json=arguments.json, brief=arguments.size == "sensitivity")
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def _varied() -> list[Parameters]:
    """Return the reference, and it with each constant changed alone."""
    found = [SENSITIVITY]
    for name, values in _CONSTANTS.items():
        found += [replace(SENSITIVITY, learning={name: value}) for value in values]
    return found


def _show(parameters: Parameters, scores: list[Score], *, as_json: bool, brief: bool) -> None:
    if as_json:
        print(json.dumps({"parameters": asdict(parameters), "scores": [score.row() for score in scores]}), flush=True)
    elif brief:
        name = ", ".join(f"{name} = {value}" for name, value in parameters.learning.items()) or "as shipped"
        print(f"{name:24} {scores[0].line()}", flush=True)
    else:
        print(table(parameters, scores), flush=True)


if __name__ == "__main__":
    sys.exit(main())
