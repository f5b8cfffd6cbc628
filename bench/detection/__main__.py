"""`python -m bench.detection [small|long|sensitivity] [--json]`: how well hangs are found, beside three baselines."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

from lastspan.collector.track.learn import Learning

from .parameters import LONG, SENSITIVITY, SMALL, WORLDS, Parameters
from .score import Score, replay, simulate, table

_CONSTANTS: dict[str, tuple[float, float]] = {
    # Half and double, where that has a meaning; of the quantile, of what is beyond it.
    "quantile": (0.98, 0.995),
    "factor": (2.5, 10.0),
    "reserve": (2.0, 8.0),
    "caution": (15.0, 60.0),
    "slow": (1.0, 4.0),
    "trust": (2.5, 10.0),
    "min_runs": (5, 20),
    "hint_runs": (2, 10),
    "reach": (5.0, 20.0),
    "floor_job_s": (60.0, 240.0),
    "floor_span_s": (60.0, 240.0),
    "floor_defaults": (1.0, 4.0),
    "half_life_days": (3.5, 14.0),
    "deploy_runs": (50, 200),
    "recent_runs": (10, 40),
    "new_normal": (0.125, 0.5),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    parser.add_argument("size", nargs="?", default="small", choices=["small", "long", "sensitivity"])
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run instead of tables")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    began = time.monotonic()
    if arguments.size == "sensitivity":
        _sensitivity()
    else:
        for parameters in LONG if arguments.size == "long" else (SMALL,):
            _show(parameters, simulate(parameters), as_json=arguments.json)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def _sensitivity() -> None:
    """Print what each constant and each assumption does, as Markdown: precision, recall in calls and locks, median."""
    for line in ("| constant | value | figures | half | double |", "|---|---:|---|---|---|"):
        print(line)
    shipped = _figures(SENSITIVITY)
    for name, values in _CONSTANTS.items():
        cells = [f"{value:g}: {_figures(replace(SENSITIVITY, learning={name: value}))}" for value in values]
        print(f"| `{name}` | {getattr(Learning(), name):g} | {shipped} | {' | '.join(cells)} |", flush=True)
    for line in ("", "| world | figures | ÷ fixed timeout |", "|---|---|---:|"):
        print(line)
    for name, parameters in _worlds():
        ours, timeout, *_ = replay(parameters)
        print(f"| {name} | {_cell(ours)} | {(ours.median_s or 0) / (timeout.median_s or 1):.2f} |", flush=True)


def _worlds() -> Iterator[tuple[str, Parameters]]:
    yield from WORLDS.items()
    yield "nothing is learned", replace(SENSITIVITY, learning={"enabled": False})


def _figures(parameters: Parameters) -> str:
    return _cell(replay(parameters)[0])


def _cell(score: Score) -> str:
    return f"{score.precision or 0:.3f}, {score.recall_calls or 0:.3f}, {score.median_s or 0:.0f} s"


def _show(parameters: Parameters, scores: list[Score], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"parameters": asdict(parameters), "scores": [score.row() for score in scores]}), flush=True)
    else:
        print(table(parameters, scores), flush=True)


if __name__ == "__main__":
    sys.exit(main())
