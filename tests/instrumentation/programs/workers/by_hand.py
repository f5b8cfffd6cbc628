"""A Celery worker as a program starts it, and a vendor's SDK that has set up OpenTelemetry: no wrapper."""

import os
import sys
import time
from pathlib import Path

from celery import Celery
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from lastspan.instrumentation import LastspanInstrumentor

if "vendor" in sys.argv:
    trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "the vendor's"})))
LastspanInstrumentor().instrument()
if "taken out and put in again" in sys.argv:
    LastspanInstrumentor().uninstrument()
    LastspanInstrumentor().instrument()
if "taken out" in sys.argv:
    LastspanInstrumentor().uninstrument()

folder = Path(sys.argv[1])
app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": str(folder / "queue"),
    "data_folder_out": str(folder / "queue"),
    "control_folder": str(folder / "control"),
    "polling_interval": 0.05,
}
app.conf.task_ignore_result = True


@app.task(name="nightly")
def nightly() -> None:
    while not (folder / "go").exists():
        time.sleep(0.01)
    os.kill(int((folder / "pid").read_text()), 15)  # a warm end of the worker


for name in ("queue", "control"):
    (folder / name).mkdir()
(folder / "pid").write_text(str(os.getpid()))
nightly.delay()
app.worker_main(["worker", "-P", sys.argv[2], "-c", "1", "--without-mingle", "--without-gossip", "-l", "ERROR"])
