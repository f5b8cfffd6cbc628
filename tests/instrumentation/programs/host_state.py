"""All that a process has only one of, before and after a job that is late and announced; prints what differs.

`failing`: nobody listens, so that the exporter pauses; `host off`: what may be off is off, by the host.
"""

import asyncio
import contextvars
import decimal
import faulthandler
import gc
import json
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lastspan.instrumentation import LastspanInstrumentor, job, progress

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
trace.set_tracer_provider(provider)
LastspanInstrumentor().instrument()
logging.basicConfig(level=logging.INFO)
if "host off" in sys.argv:
    gc.disable()
    logging.disable(logging.CRITICAL)
random.seed(7)
sys.setswitchinterval(0.004)
stored = contextvars.ContextVar("stored", default=0)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def loggers() -> dict[str, Any]:
    known = {"root": logging.root, **logging.root.manager.loggerDict}
    return {
        name: (one.level, one.disabled, one.propagate, list(map(id, one.handlers)), list(map(id, one.filters)))
        for name, one in known.items()
        if isinstance(one, logging.Logger) and not name.startswith("lastspan.")
    }


STATE: dict[str, Callable[[], Any]] = {
    "random": random.getstate,
    "locale": lambda: (locale.setlocale(locale.LC_ALL), locale.localeconv()),
    "warnings": lambda: (list(warnings.filters), warnings.showwarning, warnings.formatwarning),
    "logging": loggers,
    "logging's own": lambda: (logging.root.manager.disable, logging.getLoggerClass(), logging.getLogRecordFactory()),
    "gc": lambda: (
        gc.isenabled(),
        gc.get_threshold(),
        list(map(id, gc.callbacks)),
        gc.get_debug(),
        gc.get_freeze_count(),
    ),
    "switch interval": sys.getswitchinterval,
    "recursion limit": sys.getrecursionlimit,
    "decimal": lambda: repr(decimal.getcontext()),
    "directory": os.getcwd,
    "umask": umask,
    "environment": lambda: dict(os.environ),
    "hooks": lambda: (threading.excepthook, sys.excepthook, sys.unraisablehook, sys.displayhook),
    "threads": lambda: [thread.name for thread in threading.enumerate()],
    "signals": lambda: {number: signal.getsignal(number) for number in signal.valid_signals()},
    "signal mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    "timers": lambda: signal.getitimer(signal.ITIMER_REAL),
    "context": lambda: list(contextvars.copy_context().items()),
    "tracing": lambda: (sys.gettrace(), sys.getprofile(), tracemalloc.is_tracing(), faulthandler.is_enabled()),
    "streams": lambda: (sys.stdin, sys.stdout, sys.stderr),
    "import": lambda: (list(sys.path), list(map(id, sys.meta_path)), list(map(id, sys.path_hooks))),
    "modules": lambda: set(sys.modules),
    "limits": lambda: (
        [resource.getrlimit(which) for which in range(resource.RLIM_NLIMITS)]
        if hasattr(resource, "RLIM_NLIMITS")
        else [
            resource.getrlimit(which) for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_STACK)
        ]
    ),
    "sockets": socket.getdefaulttimeout,
    "time zone": lambda: time.tzname,
    "loop": lambda: (asyncio._get_running_loop(), asyncio.events._event_loop_policy),  # type: ignore[attr-defined]
    "os": lambda: (os.fork, os.getpid(), os.getppid(), os.nice(0), os.sched_getaffinity(0)),
}


def signals_of_others() -> list[int]:
    """Threads of the process that would take a signal which the main thread blocks; the main one apart."""
    takers = []
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != os.getpid():
            with open(f"/proc/self/task/{thread}/status") as file:
                blocked = next(line for line in file if line.startswith("SigBlk:")).split()[1]
            if not int(blocked, 16) & 1 << (signal.SIGTERM - 1):
                takers.append(int(thread))
    return takers


held = threading.Lock()


def nightly() -> list[float]:
    drawn = [random.random()]
    with job("nightly", expected="1h"):
        progress(1, 2)
        stored.set(0)
        held.acquire(timeout=float(sys.argv[1]))
        drawn.append(random.random())
    return [*drawn, random.random()]


def differing(before: dict[str, Any]) -> dict[str, str]:
    after = {name: read() for name, read in STATE.items()}
    differs = {name: f"{before[name]} -> {after[name]}"[:2000] for name in STATE if before[name] != after[name]}
    if "modules" in differs:
        differs["modules"] = str(sorted(after["modules"] - before["modules"]))
    return differs


stored.set(0)
held.acquire()
takers = signals_of_others()
{name: read() for name, read in STATE.items()}  # what reading changes, it changes now
random.seed(7)
before = {name: read() for name, read in STATE.items()}
drawn = nightly()
ours = len(signals_of_others()) - len(takers)
alone = random.Random(7)
drawn_alone = [alone.random() for _ in drawn]
before["random"] = alone.getstate()
print(json.dumps({"differs": differing(before), "drawn": drawn == drawn_alone, "takers": ours}))
sys.stdin.read()
