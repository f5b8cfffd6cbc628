"""Code that uses the CPU and does not end."""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator

from tests.e2e.causes.way import JOB, way


@way("cpu_loop", span=JOB, is_heavy=True, in_test=True)
def endless_loop() -> None:
    position = 1
    while position != 0:  # <- stops here
        position = position % 1000 + 1  # <- stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def polling_without_a_sleep() -> None:
    while not os.path.exists("/nonexistent/report.csv"):  # <- stops here
        pass  # <- stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def loop_that_calls_others() -> None:
    """The loop is what does not end, not what it calls."""
    value = 1
    while True:
        value = _scale(value)  # <- stops here
        value = _shift(value)  # <- stops here
        value = _clamp(value)  # <- stops here


def _scale(value: int) -> int:
    return sum(number * value % 97 for number in range(2000))


def _shift(value: int) -> int:
    return sum(number + value % 89 for number in range(2000))


def _clamp(value: int) -> int:
    return min(number ^ value for number in range(2000))


@way("cpu_loop", span=JOB, is_heavy=True)
def recursion_without_an_end() -> None:
    _routes(90)  # <- stops here


def _routes(steps: int) -> int:  # <- recursion_without_an_end stops here
    if steps < 2:  # <- recursion_without_an_end stops here
        return 1  # <- recursion_without_an_end stops here
    return _routes(steps - 1) + _routes(steps - 2)  # <- recursion_without_an_end stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def sorting_with_a_comparison() -> None:
    names = [str(number * 7919 % 10_000_019) for number in range(200_000)]
    names.sort(key=functools.cmp_to_key(_compare))  # <- stops here


def _compare(one: str, other: str) -> int:
    total = sum(range(20_000))  # <- sorting_with_a_comparison stops here
    return (one > other) - (one < other) + 0 * total  # <- sorting_with_a_comparison stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def hash_that_takes_forever() -> None:
    """Native code that has let go of the interpreter's lock."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2_000_000_000)  # <- stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def generator_that_never_ends() -> None:
    total = 0
    for number in _numbers():  # <- stops here
        total ^= number  # <- stops here


def _numbers() -> Iterator[int]:
    number = 0
    while True:  # <- generator_that_never_ends stops here
        number += 1  # <- generator_that_never_ends stops here
        yield number  # <- generator_that_never_ends stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def loops_in_loops() -> None:
    """The jump from the end of an inner loop belongs to no line."""
    best = 0
    for one in itertools.count():  # <- stops here
        for two in range(300):  # <- stops here
            for three in range(300):  # <- stops here
                if (one * two + three) % 977 == 0:  # <- stops here
                    best = max(best, one)  # <- stops here


@way("cpu_loop", span=JOB, is_heavy=True)
def recursion_of_a_library() -> None:
    """Hundreds of its frames lie upon the line that called it."""
    tree: dict[str, object] = {}
    for _ in range(200):
        tree = {"child": tree, "values": list(range(20))}
    while True:
        copy.deepcopy(tree)  # <- stops here
