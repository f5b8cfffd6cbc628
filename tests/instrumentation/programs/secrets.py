"""A job with secrets wherever a program may have them. HUNTER2 is in the environment, too."""

import os
import sys

from opentelemetry import trace

from lastspan.instrumentation import job, progress

HUNTER2 = os.environ["PASSWORD"]
tracer = trace.get_tracer("program")

CALLS: list[dict[str, str | tuple[str, ...]]] = [
    {
        "http.url": f"https://user:{HUNTER2}@127.0.0.1/pay;{HUNTER2}?token={HUNTER2}#{HUNTER2}",
        "http.request.header.authorization": (HUNTER2,),
        "http.target": f"/pay?{HUNTER2}",
        "url.query": HUNTER2,
    },
    {"db.system": "postgresql", "db.statement": f"SELECT * FROM users WHERE name = 'it''s {HUNTER2}' -- {HUNTER2}"},
    {"db.system": "mysql", "db.statement": f'SELECT * FROM users WHERE name = "{HUNTER2}"'},
    {"db.system.name": "postgresql", "db.query.text": f"SELECT $${HUNTER2}$$", "db.query.parameter.0": HUNTER2},
    {"db.system": "redis", "db.statement": f"SET session {HUNTER2}"},
    {"messaging.message.body": HUNTER2, "celery.kwargs": HUNTER2, "enduser.id": HUNTER2},
]


@job("nightly")
def nightly(password: str, *, token: str) -> None:
    progress(1, 2, "half")
    for call in CALLS:
        span = tracer.start_span(f"GET https://user:{password}@127.0.0.1/?{token}", attributes=call)
        open_spans.append(span)
        span.record_exception(ValueError(password))
        span.add_event("event", {"body": password})
        span.set_status(trace.StatusCode.ERROR, token)
    sys.stdin.read()
    for span in open_spans:
        span.end()
    raise ValueError(password)


open_spans: list[trace.Span] = []
try:
    nightly(HUNTER2, token=HUNTER2)
except ValueError:
    pass
