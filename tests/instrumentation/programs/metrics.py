"""The worker's own metrics, of a process and of a child that it forked after it had jobs; printed as JSON lines."""

import json
import os
import sys

from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from lastspan.instrumentation import LastspanInstrumentor, job

reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
LastspanInstrumentor().instrument()


def report(who: str) -> None:
    """Wait until the test has seen the job, then print what a reader sees."""
    sys.stdin.readline()
    metrics = {}
    data = reader.get_metrics_data()
    for group in data.resource_metrics if data else []:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                metrics[metric.name] = [
                    [dict(point.attributes or {}), getattr(point, "value", None) or getattr(point, "count", None)]
                    for point in metric.data.data_points
                ]
    print(json.dumps({"who": who, "unit": "s", "metrics": metrics}), flush=True)


with job("ended", queue="slow"):
    pass
with job("nightly", queue="slow"), job("inner"):
    report("parent")

child = os.fork()
if child == 0:
    with job("of the child"):
        report("child")
    sys.exit()
os.waitpid(child, 0)
