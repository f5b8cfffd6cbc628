"""What our code does on the job's thread, from the first job on: audit events, functions of other modules, locks."""

import json
import os
import sys
import threading
from types import FrameType
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from lastspan.instrumentation import LastspanInstrumentor, agent, job, progress

OURS = os.path.dirname(agent.__file__) + os.sep
FORBIDDEN = ("logging", "importlib", "threading", "linecache", "traceback", "socket", "warnings", "queue", "random")
events: set[str] = set()
calls: set[str] = set()
main = threading.get_ident()
is_on = False


def by_us(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            return True
        frame = frame.f_back
    return False


def audit(event: str, arguments: Any) -> None:
    global is_on
    if not is_on or threading.get_ident() != main:
        return
    is_on = False  # what is done here is audited too
    if by_us(sys._getframe()):
        events.add(f"{event} {arguments[:1]}" if event in {"import", "open"} else event)
    is_on = True


def profile(frame: FrameType, event: str, argument: Any) -> None:
    if event == "call":
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] in FORBIDDEN and by_us(frame.f_back):
            calls.add(f"{module}.{frame.f_code.co_name}")
    elif event == "c_call":
        name = getattr(argument, "__qualname__", "")
        owner = type(getattr(argument, "__self__", None)).__name__
        if frame.f_code.co_filename.startswith(OURS) and ("Lock" in owner or owner == "lock" or name == "open"):
            calls.add(f"{name} in {os.path.basename(frame.f_code.co_filename)} {frame.f_code.co_name}")


def run() -> None:
    with job("nightly"):
        progress(1, 2, "half")
        with trace.get_tracer("program").start_as_current_span("call"):
            pass
    try:
        with job("fails"):
            raise LookupError("an order")
    except LookupError:
        pass
    marked()


@job("decorated", expected="1h")
def marked() -> None:
    pass


if "provider before" in sys.argv:
    trace.set_tracer_provider(TracerProvider())
LastspanInstrumentor().instrument()
if "warm" in sys.argv:
    run()
if "audit" in sys.argv:
    sys.addaudithook(audit)
    is_on = True
    run()
    is_on = False
else:
    sys.setprofile(profile)
    run()
    sys.setprofile(None)
print(json.dumps([sorted(events), sorted(calls)]))
