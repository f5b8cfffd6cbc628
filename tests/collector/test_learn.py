"""What finished runs teach, and what does not teach."""

from __future__ import annotations

import math
import random
import sys
import tracemalloc

import pytest

from lastspan.collector.judge.policy import Defaults, Policy
from lastspan.collector.model.records import JobType, Kind
from lastspan.collector.model.sketch import lower, upper
from lastspan.collector.track.learn import Learned, LearnedKey, Learner, Learning

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
JOB = LearnedKey("prod", "shop", "tasks.charge", None)
VERSIONS = ("v0", "v1", "v2", "v3")
CALL = JOB._replace(span_name="GET")
TYPE = JobType("shop", "prod", "tasks.charge", "", "", None, None, None, None)


def bucket(seconds: float) -> int:
    return math.ceil(math.log2(seconds) * 8) - 1


class Taught:
    """A learner, its clock, and runs that come one after the other."""

    def __init__(self, **constants: object) -> None:
        self.learner = Learner(Learning(**constants))  # type: ignore[arg-type]
        self.now_ns = 1000 * DAY

    def runs(
        self, number: int, seconds: float, *, key: LearnedKey = JOB, version: str = "1", every: float = 60.0
    ) -> None:
        for _ in range(number):
            self.now_ns += int(every * SECOND)
            self.learner.take(key, [(bucket(seconds), 1)], version=version, now_ns=self.now_ns)

    def allowed(self, key: LearnedKey = JOB) -> float:
        learned = self.learner.find(key)
        assert learned is not None
        return learned.allowed_ns / SECOND


def test_few_runs_give_a_hint_many_decide() -> None:
    taught = Taught()
    assert taught.learner.find(JOB) is None
    taught.runs(3, 60)
    hint = taught.learner.find(JOB)
    assert hint is not None
    assert (hint.is_hint, round(hint.factor)) == (True, 55)  # 5 × (1 + 30 / 3)
    assert hint.allowed_ns / SECOND == pytest.approx(55 * 60, rel=0.05)
    assert hint.rule == "learned: the longest of 3 runs is 1 min 1 s × 55"
    taught.runs(17, 60)
    learned = taught.learner.find(JOB)
    assert learned is not None
    assert (learned.is_hint, learned.factor) == (False, 12.5)  # 5 × (1 + 30 / 20)
    taught.runs(5980, 60, every=1)
    learned = taught.learner.find(JOB)
    assert learned is not None
    assert 5.0 <= learned.factor < 5.05
    assert learned.rule.startswith("learned: p99 of 5,8"), learned.rule
    assert learned.rule.endswith(" runs is 1 min 1 s × 5.03"), learned.rule


def test_a_short_call_is_allowed_the_floor() -> None:
    taught = Taught()
    taught.runs(200, 0.05, key=CALL)
    assert taught.allowed(CALL) == 120
    learned = taught.learner.find(CALL)
    assert learned is not None
    assert learned.rule.endswith("× 5.77, but at least 2 min"), learned.rule


def test_the_longest_run_but_one_is_not_beyond_what_is_allowed() -> None:
    """One call in 10,000 takes a minute: no quantile says so, and yet the next such call is no hang."""
    taught = Taught()
    taught.runs(3000, 0.2, key=CALL, every=1)
    taught.runs(1, 58, key=CALL)
    taught.runs(3000, 0.2, key=CALL, every=1)
    assert taught.allowed(CALL) == 120, "one alone moves nothing"
    taught.runs(1, 50, key=CALL)
    learned = taught.learner.find(CALL)
    assert learned is not None
    assert learned.rule.startswith("learned: the longest but one of 6,0"), learned.rule
    assert learned.allowed_ns / SECOND == pytest.approx(Learning().reserve * 50, rel=0.07)
    taught.now_ns += 60 * DAY
    taught.runs(100, 0.2, key=CALL, every=1)
    assert taught.allowed(CALL) == 120, "it fades"


def test_slow_runs_teach_hung_ones_do_not() -> None:
    """A run that ends a little beyond what is allowed was slow: two of them lift it."""
    taught = Taught(floor_job_s=0.0)
    taught.runs(1000, 10, every=1)
    before = taught.allowed()
    taught.runs(2, 1.5 * before)
    assert taught.allowed() > 2 * before


def test_hung_runs_that_end_do_not_teach() -> None:
    """Now and then a run hangs for hours and then ends well: what is allowed stays."""
    taught = Taught()
    taught.runs(500, 10)
    before = taught.allowed()
    for _ in range(30):
        taught.runs(1, 7200)
        taught.runs(15, 10)
    assert taught.allowed() == pytest.approx(before, rel=0.1)


def test_an_incident_in_which_all_hang_and_recover_does_not_teach() -> None:
    """40 jobs wait for one lock, end together after an hour, and then all is well."""
    taught = Taught()
    taught.runs(500, 10)
    before = taught.allowed()
    taught.runs(40, 3600, every=0.1)
    taught.runs(500, 10, every=10)
    assert taught.allowed() == pytest.approx(before, rel=0.1)
    assert taught.learner.rows[JOB].aside is None


def test_a_new_normal_is_learned_within_some_thirty_runs() -> None:
    """From now on all runs take ten times as long: not a hang, for they go on to come one after the other."""
    taught = Taught()
    taught.runs(2000, 10)
    taught.runs(30, 100, every=100)
    assert taught.allowed() > 100


def test_after_a_deploy_runs_teach_at_once() -> None:
    taught = Taught()
    taught.runs(2000, 10)
    taught.runs(4, 100, version="2", every=100)
    assert taught.allowed() > 200


def test_two_versions_that_take_turns_are_one_deploy() -> None:
    taught = Taught()
    taught.runs(1000, 10)
    for _ in range(300):
        taught.runs(1, 10, version="2")
        taught.runs(1, 10, version="1")
    assert taught.learner.rows[JOB].runs.total > 600


def test_the_past_fades() -> None:
    """A job that became quick is allowed less in the end."""
    taught = Taught()
    taught.runs(100, 1000)
    before = taught.allowed()
    taught.runs(1000, 10, every=86_400 / 20)
    assert taught.allowed() < before / 10


def test_the_same_runs_again_change_nothing() -> None:
    """What is allowed hangs on the runs, not on how they were told: one by one or together."""
    single, together = Taught(), Taught()
    single.runs(100, 20, every=0)
    together.learner.take(JOB, [(bucket(20), 100)], version="1", now_ns=together.now_ns)
    assert single.learner.rows[JOB].runs.total == together.learner.rows[JOB].runs.total == 100
    assert together.allowed() == pytest.approx(single.allowed(), rel=0.05)


def test_keys_are_capped_and_the_excess_is_counted() -> None:
    taught = Taught(max_keys=10)
    for number in range(15):
        taught.runs(2, 5, key=JOB._replace(job_name=f"job-{number}"))
    assert (len(taught.learner.rows), taught.learner.refused) == (10, 10)
    taught.now_ns += 60 * DAY
    taught.runs(1, 5, key=CALL)
    assert list(taught.learner.rows) == [CALL], "old ones make room"


def test_names_that_hold_an_id_make_room() -> None:
    """They had few runs and no more; what is known of others stays. To look for them does not cost each new name."""
    taught = Taught(max_keys=10)
    taught.runs(50, 5)
    for number in range(9):
        taught.runs(1, 5, key=JOB._replace(job_name=f"job-{number}"))
    taught.runs(1, 5, key=CALL)
    assert CALL not in taught.learner.rows, "they may come again today"
    taught.now_ns += 2 * DAY
    taught.runs(1, 5, key=CALL)
    assert list(taught.learner.rows) == [JOB, CALL]


def test_switched_off_nothing_is_learned() -> None:
    taught = Taught(enabled=False)
    taught.runs(100, 5)
    assert taught.learner.rows == {}


def test_a_key_takes_no_more_than_two_kibibytes() -> None:
    """The worst: durations of many octaves, runs put aside, four versions."""
    learner, chance, keys = Learner(), random.Random(1), 40
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(keys):
            key = LearnedKey("prod", "shop", sys.intern("tasks.charge"), f"SELECT something FROM table_{number}")
            for index in range(200):
                learner.take(key, [(chance.randrange(-70, 90), 1)], version=VERSIONS[index % 4], now_ns=index * HOUR)
            learner.take(key, [(150 + index, 1) for index in range(20)], version=VERSIONS[0], now_ns=200 * HOUR)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / keys <= 2048


def test_bounds() -> None:
    """A run just within twice what is allowed teaches; one beyond is put aside."""
    taught = Taught(caution=0.0)
    taught.runs(200, 100)
    learned: Learned | None = taught.learner.find(JOB)
    assert learned is not None
    row, total = taught.learner.rows[JOB], taught.learner.rows[JOB].runs.total
    limit = bucket(2 * learned.allowed_ns / SECOND)
    assert lower(limit) < 2 * learned.allowed_ns / SECOND <= upper(limit) * 1.001
    taught.runs(1, lower(limit))
    assert row.runs.total == pytest.approx(total + 1, rel=0.02)
    assert row.aside is None
    taught.runs(1, upper(limit) * 1.01)
    assert row.aside == {limit + 1: 1}


@pytest.mark.parametrize("default_s", [30, 60])
def test_a_hint_lifts_the_default_but_not_without_end(default_s: int) -> None:
    """The only run so far hung for an hour and came back."""
    taught = Taught()
    taught.runs(1, 3600, key=CALL)
    policy = Policy((), Defaults(http_ns=default_s * SECOND), taught.learner)
    allowed = policy.allowed(TYPE, "GET", Kind.HTTP)
    assert allowed is not None
    assert allowed.allowed_ns == 10 * default_s * SECOND
    assert allowed.rule.endswith("× 155, but at most 10 × the default"), allowed.rule


@pytest.mark.parametrize(("default_s", "allowed_s"), [(60, 120), (20, 40), (1, 5.5), (600, 120)])
def test_a_short_default_lowers_the_floor(default_s: int, allowed_s: float) -> None:
    """Who sets a default of 20 s wants to hear of a call long before two minutes."""
    taught = Taught()
    taught.runs(200, 1, key=CALL)
    policy = Policy((), Defaults(http_ns=default_s * SECOND), taught.learner)
    allowed = policy.allowed(TYPE, "GET", Kind.HTTP)
    assert allowed is not None
    assert allowed.allowed_ns / SECOND == pytest.approx(allowed_s, rel=0.05)


@pytest.mark.parametrize("first_s", [0.2, 2400.0])
def test_hung_runs_among_the_first_ones_do_not_teach(first_s: float) -> None:
    """A call that is made rarely hangs twice before ten runs are known, and comes back after 40 minutes."""
    taught = Taught()
    taught.runs(1, first_s, key=CALL, every=3600)
    taught.runs(1, 2400, key=CALL, every=3600)
    taught.runs(40, 0.2, key=CALL, every=3600)
    assert taught.allowed(CALL) == 120


def test_hung_runs_after_a_deploy_do_not_teach() -> None:
    taught = Taught()
    taught.runs(100, 0.2, key=CALL)
    taught.runs(2, 2400, key=CALL, version="2", every=3600)
    taught.runs(40, 0.2, key=CALL, version="2")
    assert taught.allowed(CALL) == 120


def test_a_long_job_is_learned_from_its_first_runs() -> None:
    """Its first run lifts the default; when so many are as long that it is plain, it is known."""
    taught = Taught()
    taught.runs(1, 7200)
    assert taught.allowed() > 7200
    taught.runs(30, 7200, every=12 * HOUR / SECOND)
    learned = taught.learner.find(JOB)
    assert learned is not None
    assert not learned.is_hint
    assert learned.seconds == pytest.approx(7200, rel=0.05)
