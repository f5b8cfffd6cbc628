"""All that the simulation assumes, in one file, which the figures print.

Where the numbers come from. *Azure*: how long functions of a large cloud take on average, fitted by a log-normal with
log-mean −0.38 and σ 2.36 (seconds; Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, section 3.4 and figure 7,
https://www.usenix.org/conference/atc20/presentation/shahrad; the trace is public: AzureFunctionsDataset2019 in
github.com/Azure/AzurePublicDataset; simulators of that trace draw from the same pair). The fleet *azure* draws the
typical duration of each of its jobs from it. The rest is ours: chosen to be as mean as production, not to flatter;
`WORLDS` says what the figures hang on.

What is true. A run is healthy unless something was done to it. A process that is killed, stopped or kept from running
takes its open job with it: that is a hang, found when the job is called lost, frozen, or ended by a kill. What a
process said before it was gone has arrived, but for the last `wake` seconds; what a request that failed held of ends is
said again, once, also by a process that exits. So a job that ended well is called lost only if its process is killed in
the moment after, and that counts as a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86_400.0
WEEK: Final = 7 * DAY

AZURE_LOG_MEAN: Final = -0.38
AZURE_SIGMA: Final = 2.36


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a job: a call, or its own code."""

    name: str
    """Span name; empty: the job's own code, no span."""
    kind: str
    """http, db, lock, other."""
    median: float
    sigma: float
    """Of the log-normal."""
    times: float = 1.0
    """How often, typically (log-normal too, where `times_sigma` is not 0)."""
    times_sigma: float = 0.0
    tail: float = 0.0
    """Share of the calls that take another Pareto draw on top: retransmissions, failovers, cold caches."""


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of job."""

    name: str
    per_day: float
    phases: tuple[Phase, ...]
    moves: bool = True
    """False: a loop over the same lines without `progress()`; its movement is not seen."""
    nightly: bool = False


def _p(name: str, kind: str, median: float, sigma: float, **more: float) -> Phase:
    return Phase(name, kind, median, sigma, **more)


SHOP: Final = (
    Job(
        "charge",
        1800,
        (
            _p("SELECT order", "db", 0.02, 0.6),
            _p("POST pay", "http", 0.4, 0.8, tail=0.002),
            _p("UPDATE order", "db", 0.02, 0.7),
        ),
    ),
    Job("email", 1800, (_p("SELECT user", "db", 0.01, 0.6), _p("POST mail", "http", 0.6, 0.9, tail=0.003))),
    Job("webhook", 1200, (_p("POST hook", "http", 0.3, 1.2, tail=0.01),)),
    Job(
        "thumbnail",
        900,
        (_p("GET image", "http", 0.5, 0.8), _p("", "other", 3.0, 0.6), _p("PUT image", "http", 0.8, 0.8)),
    ),
    Job("score", 600, (_p("SELECT features", "db", 0.3, 0.8), _p("predict", "other", 8.0, 0.4))),
    Job("index", 600, (_p("lock index", "lock", 0.1, 1.6), _p("bulk index", "http", 2.0, 0.9))),
    Job(
        "report",
        200,
        (
            _p("SELECT sales", "db", 12.0, 0.9),
            _p("SELECT costs", "db", 6.0, 0.9),
            _p("", "other", 10.0, 0.5),
            _p("PUT report", "http", 1.0, 0.6),
        ),
    ),
    Job("sync", 120, (_p("GET item", "http", 0.15, 0.7, times=400, times_sigma=1.0, tail=0.0005),), moves=False),
    Job("import", 60, (_p("INSERT rows", "db", 0.2, 0.7, times=1500, times_sigma=0.9),)),
    Job(
        "transcode",
        60,
        (_p("GET video", "http", 8.0, 0.8), _p("ffmpeg", "other", 300.0, 0.9), _p("PUT video", "http", 15.0, 0.8)),
        moves=False,
    ),
    Job("cleanup", 24, (_p("DELETE old", "db", 90.0, 0.7),)),
    Job(
        "billing", 1, (_p("SELECT account", "db", 0.05, 0.5, times=60_000, times_sigma=0.1),), moves=False, nightly=True
    ),
)

HANGS: Final = {
    # What hangs: how often, of 100. The first six are hangs in calls and locks.
    "http call": 26,
    "database query": 12,
    "database lock": 12,
    "distributed lock": 10,
    "lock of the process": 6,
    "socket": 6,
    "endless loop": 6,
    "retries without end": 6,
    "queue that stays empty": 5,
    "interpreter lock held": 3,
    "killed": 5,
    "stopped": 3,
}
IN_CALLS_AND_LOCKS: Final = frozenset(
    {"http call", "database query", "database lock", "distributed lock", "lock of the process", "socket"}
)
SILENT: Final = frozenset({"interpreter lock held", "killed", "stopped"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """One run."""

    fleet: str = "shop"
    seed: int = 1
    volume: float = 1.0
    """Of all jobs; what runs once a night does."""
    weeks: float = 3.0
    processes: int = 8
    children: int = 2
    """Of a worker: so many processes share a host, and a parent if there is one."""
    parents: float = 0.5
    """Share of the workers with a parent that says which children it has and which were killed, as Celery's prefork
    pool and RQ do. Of the others only the silence tells."""
    wake: float = 0.05
    """From a job's end to its record on the wire, s; who is killed before has not said it."""
    azure_jobs: int = 40
    azure_per_day: float = 9000.0
    """Of all of them; the quick ones come oftener."""
    hang_per_second: float = 1 / 5000
    """For each second that a run would typically take. Faults strike in time: what is in flight when a peer, a path of
    the network or the holder of a lock goes, hangs; within a run, where it typically is."""
    hang_share: float = 1 / 10_000
    """And of the runs, however short."""
    beside: float = 1.0
    """Share of the runs that make one more short call first, of those in which other jobs hang too."""
    hang_hold: float = 3 * HOUR
    """Then somebody kills it."""
    hang_recovers: float = 0.3
    """Share of the hangs in calls that end by themselves, well, after 20 min or more: these must not teach."""
    hang_recovers_median: float = 40 * MINUTE
    day_swing: float = 0.7
    bursts_per_day: float = 2.0
    burst_times: float = 5.0
    burst_length: float = 10 * MINUTE
    deploy_every: float = 1.5 * DAY
    deploy_slows: float = 0.5
    """Share of the deploys that slow one job 2 ×, until the next one."""
    restart_every: float = 8 * HOUR
    """Of a process: max tasks per child, scaling."""
    pareto_from: float = 3.0
    pareto_alpha: float = 1.6
    pareto_max: float = 100.0
    """The tail of calls: from 3 s, α 1.6, at most 100 s. Then something between cuts the answer off: nginx and Amazon's
    load balancer after 60 s, Cloudflare after 100."""
    request_lost: float = 0.01
    """The sender knows, and says all again."""
    record_lost: float = 0.001
    """Nobody knows."""
    record_twice: float = 0.01
    clock_skew: float = 600.0
    """± of a host's clock, s."""
    interval: float = 15.0
    refresh: float = 60.0
    announce_after: float = 5.0
    job_announce_after: float = 1.0
    learning: dict[str, float] = field(default_factory=dict)
    """Constants of `Learning` other than the defaults."""


LONG: Final = (Parameters(), Parameters(fleet="azure", seed=2, weeks=2.0, hang_share=1 / 1000))
SMALL: Final = Parameters(weeks=1.5, processes=3, volume=0.1, hang_per_second=1 / 1000, deploy_every=3 * DAY)
"""A tenth of the jobs, for longer, with more hangs among them."""
SENSITIVITY: Final = Parameters(weeks=2.0)
WORLDS: Final = {
    "as it is": SENSITIVITY,
    "another seed": Parameters(weeks=2.0, seed=2),
    "hangs as likely in each run, however short": Parameters(weeks=2.0, hang_per_second=0.0, hang_share=1 / 500),
    "healthy calls of up to 5 min": Parameters(weeks=2.0, pareto_max=300.0),
    "twice as many in the tails": Parameters(weeks=2.0, pareto_from=4.6),
    "no hang recovers": Parameters(weeks=2.0, hang_recovers=0.0),
    "each deploy slows a job": Parameters(weeks=2.0, deploy_slows=1.0),
    "a fifth of the hangs": Parameters(weeks=2.0, hang_per_second=1 / 25_000),
}
"""What the figures hang on beside our constants."""
