"""Every attribute that lastspan sends or reads: name, type, unit, meaning."""

from __future__ import annotations

from .declare import attribute

# --- on every record ---------------------------------------------------------------------------------------------
PROCESS_ID = attribute("lastspan.process.id", "string", "random id of the process, new after fork; 16 hex digits")
PROCESS_SEQUENCE = attribute("lastspan.process.sequence", "int", "+1 for each record of that process", unit="{record}")
REPORT_INTERVAL = attribute(
    "lastspan.report.interval", "double", "how often this process reports; silence is measured in it", unit="s"
)
EVENT_NAME = attribute("otel.event.name", "string", "the event's name again, for readers without EventName")

# --- on the resource ---------------------------------------------------------------------------------------------
WORKER_ID = attribute("lastspan.worker.id", "string", "the same in a parent process and all its children")
SERVICE_NAME = attribute("service.name", "string", "the service that the worker belongs to")
SERVICE_NAMESPACE = attribute("service.namespace", "string", "the service's namespace")
SERVICE_VERSION = attribute("service.version", "string", "the deployed version")
SERVICE_INSTANCE_ID = attribute("service.instance.id", "string", "one process of the service")
ENVIRONMENT = attribute("deployment.environment.name", "string", "production, staging, …")
ENVIRONMENT_OLD = attribute("deployment.environment", "string", "the older name of deployment.environment.name")
HOST_NAME = attribute("host.name", "string", "the host of the process")
PID = attribute("process.pid", "int", "process id")
PARENT_PID = attribute("process.parent_pid", "int", "process id of the parent")
CONTAINER_ID = attribute("container.id", "string", "the container of the process")
K8S_POD = attribute("k8s.pod.name", "string", "the pod of the process")
K8S_NAMESPACE = attribute("k8s.namespace.name", "string", "the namespace of the pod")

# --- a span ------------------------------------------------------------------------------------------------------
SPAN_NAME = attribute("lastspan.span.name", "string", "name of the span")
SPAN_KIND = attribute("lastspan.span.kind", "string", "INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER")
SPAN_PARENT_ID = attribute("lastspan.span.parent_id", "string", "span id of the parent, 16 hex digits; absent: a root")
SPAN_AGE = attribute("lastspan.span.age", "double", "how long it is open, by a monotonic clock", unit="s")
SPAN_DURATION = attribute("lastspan.span.duration", "double", "how long it was open", unit="s")
SPAN_IS_JOB = attribute("lastspan.span.is_job", "boolean", "the span is a job")
SPAN_EXPECTED_DURATION = attribute("lastspan.span.expected_duration", "double", "how long it may take", unit="s")
SPAN_OPEN_COUNT = attribute("lastspan.span.open_count", "int", "announced spans that are open", unit="{span}")
OUTCOME = attribute(
    "lastspan.outcome", "string", "ok, error, retry, killed, timeout, revoked, shutdown, lost or unknown"
)
REASON = attribute("lastspan.reason", "string", "the outcome in the framework's words")

# --- a job -------------------------------------------------------------------------------------------------------
JOB_SPAN_ID = attribute("lastspan.job.span_id", "string", "span id of the nearest enclosing job, 16 hex digits")
JOB_OUTER_SPAN_ID = attribute("lastspan.job.outer_span_id", "string", "of a job inside a job: the outer one's span id")
JOB_NAME = attribute("lastspan.job.name", "string", "task or function name")
JOB_ID = attribute("lastspan.job.id", "string", "the framework's id; of plain code: the span id")
JOB_ATTEMPT = attribute("lastspan.job.attempt", "int", "from 1")
JOB_QUEUE = attribute("lastspan.job.queue", "string", "the queue that gave it out")
JOB_SYSTEM = attribute("lastspan.job.system", "string", "celery, rq, …; python for plain code")
JOB_TIMEOUT = attribute("lastspan.job.timeout", "double", "the limit that is enforced; absent: none", unit="s")
JOB_REDELIVERY_AFTER = attribute(
    "lastspan.job.redelivery.after", "double", "visibility or consumer timeout of the queue; absent: none", unit="s"
)
JOB_ACKS_LATE = attribute("lastspan.job.acks_late", "boolean", "the message is acknowledged after the job")
JOB_ON_LOST = attribute(
    "lastspan.job.on_lost",
    "string",
    "what the worker does with the message of a job whose process was killed: ack, reject, requeue or retry",
)
JOB_ON_TIMEOUT = attribute(
    "lastspan.job.on_timeout", "string", "the same, of a job that was killed beyond the limit that is enforced"
)
JOB_BROKER = attribute("lastspan.job.broker", "string", "whose queue it is: redis, amqp, sqs, …")
JOB_MAX_ATTEMPTS = attribute("lastspan.job.max_attempts", "int", "attempts that the framework makes; absent: no limit")
JOB_MOVEMENT_AGE = attribute("lastspan.job.movement.age", "double", "since it last did something new", unit="s")
JOB_PROGRESS_DONE = attribute("lastspan.job.progress.done", "double", "as told by progress()")
JOB_PROGRESS_TOTAL = attribute("lastspan.job.progress.total", "double", "as told by progress()")
JOB_PROGRESS_MESSAGE = attribute("lastspan.job.progress.message", "string", "as told by progress()")
JOB_PROGRESS_AGE = attribute("lastspan.job.progress.age", "double", "since progress() was last called", unit="s")

REPEAT_CALL = attribute(
    "lastspan.repeat.call",
    "string",
    "the call that the job makes again and again: span name, host and path, without what may be a key in it",
)
REPEAT_VARIES = attribute(
    "lastspan.repeat.varies", "boolean", "its paths differ from call to call: … stands for where they do"
)
REPEAT_PEER = attribute("lastspan.repeat.peer", "string", "host:port that it calls")
REPEAT_COUNT = attribute(
    "lastspan.repeat.count",
    "int",
    "how often, since it last did something new; absent: looks alone tell",
    unit="{call}",
)
REPEAT_WINDOW = attribute("lastspan.repeat.window", "double", "since the first of these", unit="s")
REPEAT_ERRORS = attribute("lastspan.repeat.errors", "int", "how many of these failed", unit="{call}")
REPEAT_ERROR = attribute("lastspan.repeat.error", "string", "how: the HTTP status, or the type of the error")

# --- evidence, on the leaf ---------------------------------------------------------------------------------------
THREAD_ID = attribute("thread.id", "int", "native id of the thread that runs the span")
THREAD_NAME = attribute("thread.name", "string", "its name")
CODE_FUNCTION = attribute("code.function.name", "string", "innermost application function")
CODE_FILE = attribute("code.file.path", "string", "its file")
CODE_LINE = attribute("code.line.number", "int", "the line where it stands")
CODE_STACKTRACE = attribute("code.stacktrace", "string", "the stack, innermost last")
STACK_AGE = attribute("lastspan.stack.age", "double", "since the stack last moved", unit="s")
STACK_UNSEEN = attribute("lastspan.stack.unseen", "string", "why no stack can be seen")
CODE_FIRST_LINE = attribute("lastspan.code.line.first", "int", "the first of the lines seen of a loop that repeats")
CODE_LAST_LINE = attribute("lastspan.code.line.last", "int", "the last of them")
THREAD_CPU_RATIO = attribute("lastspan.thread.cpu_ratio", "double", "share of a core, 0…1", unit="1")
THREAD_RUNQUEUE_RATIO = attribute(
    "lastspan.thread.runqueue_ratio", "double", "share of the time that it could have run and got no core", unit="1"
)
THREAD_STATE = attribute("lastspan.thread.state", "string", "R, S, D, T … as the kernel says")
THREAD_SYSCALL = attribute("lastspan.thread.syscall", "string", "the system call in which it waits")
WAIT_KIND = attribute("lastspan.wait.kind", "string", "what the thread waits for; see the list below")
WAIT_CALL = attribute("lastspan.wait.call", "string", "the call that waits, as the library names it: Queue.get")
WAIT_PURPOSE = attribute(
    "lastspan.wait.purpose", "string", "what the call is for, where its kind does not say; see the list below"
)
WAIT_PEER = attribute("lastspan.wait.peer", "string", "host:port or path that it waits for")
WAIT_LOCAL = attribute("lastspan.wait.local", "string", "host:port of our own end of that connection")
WAIT_IDLE = attribute("lastspan.wait.idle", "double", "since the peer last sent a byte", unit="s")
WAIT_TIMEOUT = attribute("lastspan.wait.timeout", "double", "the timeout that the wait was given", unit="s")
WAIT_UNBOUNDED = attribute("lastspan.wait.unbounded", "boolean", "the wait has no timeout")
WAIT_JOB_ID = attribute("lastspan.wait.job_id", "string", "id of the job whose end it waits for")
WAIT_JOB_IDS = attribute("lastspan.wait.job_ids", "string[]", "of several jobs: the first few that have not ended")
WAIT_TARGET = attribute(
    "lastspan.wait.target.name", "string", "thread, task, process, queue, channel or file that it waits for, by name"
)
WAIT_PIDS = attribute("lastspan.wait.process.pids", "int[]", "processes that it waits for")
WAIT_PROGRAMS = attribute("lastspan.wait.process.names", "string[]", "their programs")
WAIT_PROCESS_STATES = attribute("lastspan.wait.process.states", "string[]", "their states, as those of children")
LOCK_NAME = attribute("lastspan.lock.name", "string", "the lock that it waits for, as the code names it")
LOCK_FILE = attribute("lastspan.lock.code.file.path", "string", "where the code takes it: the file")
LOCK_LINE = attribute("lastspan.lock.code.line.number", "int", "the line")
LOCK_KIND = attribute("lastspan.lock.kind", "string", "its type: threading.Lock, asyncio.Lock, redis, flock …")
LOCK_KEY = attribute("lastspan.lock.key", "string", "the lock's name for everybody: redis:host:6379/0:name")
LOCK_HOLDER_JOB_ID = attribute("lastspan.lock.holder.job_id", "string", "the job that holds the lock")
LOCK_HOLDER_SPAN_ID = attribute("lastspan.lock.holder.span_id", "string", "span id of that job, 16 hex digits")
LOCK_HOLDER_TRACE_ID = attribute("lastspan.lock.holder.trace_id", "string", "trace of that job, 32 hex digits")
LOCK_HOLDER_THREAD = attribute("lastspan.lock.holder.thread", "string", "the thread or task that holds the lock")
LOCK_HOLDER_PID = attribute("lastspan.lock.holder.pid", "int", "the process that holds the lock, if not its own")
LOCK_HOLDER_FUNCTION = attribute("lastspan.lock.holder.code.function.name", "string", "where the holder stands")
LOCK_HOLDER_FILE = attribute("lastspan.lock.holder.code.file.path", "string", "its file")
LOCK_HOLDER_LINE = attribute("lastspan.lock.holder.code.line.number", "int", "the line")
LOCK_HOLDER_CERTAINTY = attribute(
    "lastspan.lock.holder.certainty", "string", "certain, likely, nobody (leaked: its holder has ended) or unknown"
)
LOCK_CYCLE = attribute("lastspan.lock.cycle", "string[]", "a deadlock: each holder and what it waits for, in turn")
JOB_HOLDS = attribute("lastspan.job.holds", "string[]", "keys of the locks that the job holds")
LOOP_LAG = attribute("lastspan.loop.lag", "double", "for how long the job's event loop has not run", unit="s")
LOOP_CULPRIT = attribute("lastspan.loop.culprit", "boolean", "the job itself keeps the event loop from running")
LOOP_JOB_ID = attribute("lastspan.loop.job_id", "string", "the job that keeps it from running")
LOOP_JOB_NAME = attribute("lastspan.loop.job_name", "string", "the name of that job")
LOOP_TASK = attribute("lastspan.loop.task.name", "string", "the asyncio task that keeps it from running, if no job's")
LOOP_FUNCTION = attribute("lastspan.loop.code.function.name", "string", "where that job or task stands")
LOOP_FILE = attribute("lastspan.loop.code.file.path", "string", "its file")
LOOP_LINE = attribute("lastspan.loop.code.line.number", "int", "the line")
DB_SESSION = attribute("lastspan.db.session", "string", "the database session that waits: its id at the server")
JOB_DB_SYSTEMS = attribute(
    "lastspan.job.db.session.systems",
    "string[]",
    "database sessions that the job has used: their systems; empty: not known",
)
JOB_DB_SERVERS = attribute("lastspan.job.db.session.servers", "string[]", "their servers, host:port; empty: not known")
JOB_DB_IDS = attribute("lastspan.job.db.session.ids", "string[]", "their ids at the server; empty: not known")
JOB_DB_LOCALS = attribute("lastspan.job.db.session.locals", "string[]", "host:port of our own ends; empty: not known")
EVIDENCE_UNSEEN = attribute("lastspan.evidence.unseen", "string", "what could not be looked at here, and why")
SPAN_START_ESTIMATED = attribute(
    "lastspan.span.start.estimated", "boolean", "made by the watcher: it began between two looks"
)
CALL_TIMEOUT = attribute("lastspan.call.timeout", "double", "the timeout in force for the call", unit="s")
CALL_UNBOUNDED = attribute("lastspan.call.unbounded", "boolean", "the call has no timeout")

# --- live attributes of a call: read under both names, sent under the stable one only -----------------------------
STABLE_NAMES: dict[str, str] = {
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.url": "url.full",
    "http.route": "http.route",
    "http.host": "server.address",
    "net.peer.name": "server.address",
    "net.peer.port": "server.port",
    "net.peer.ip": "network.peer.address",
    "net.sock.peer.addr": "network.peer.address",
    "net.sock.peer.port": "network.peer.port",
    "db.system": "db.system.name",
    "db.name": "db.namespace",
    "db.operation": "db.operation.name",
    "db.statement": "db.query.text",
    "db.sql.table": "db.collection.name",
    "messaging.destination": "messaging.destination.name",
    "messaging.message_id": "messaging.message.id",
    "messaging.operation": "messaging.operation.type",
}
"""Older generation → stable name."""

CALL_ATTRIBUTES: frozenset[str] = frozenset(
    {
        *STABLE_NAMES.values(),
        "db.collection.name",
        "db.query.summary",
        "db.stored_procedure.name",
        "messaging.system",
        "messaging.operation.name",
        "network.peer.address",
        "network.peer.port",
        "rpc.method",
        "rpc.service",
        "rpc.system",
        "server.address",
        "server.port",
        "url.template",
    }
)
"""What may leave the worker of a span's own attributes, and nothing else."""

# --- a process ---------------------------------------------------------------------------------------------------
PROCESS_STATUS = attribute("lastspan.process.status", "string", "running, stopping or stopped")
PROCESS_LOOP_LAG = attribute("lastspan.process.loop_lag", "double", "how late the watcher itself woke", unit="s")
PROCESS_CPU_TIME = attribute("lastspan.process.cpu_time", "double", "user and system time since its start", unit="s")
PROCESS_RSS = attribute("lastspan.process.rss", "int", "resident memory", unit="By")
PROCESS_DESCRIPTORS = attribute("lastspan.process.descriptors", "int", "open file descriptors", unit="{descriptor}")
PROCESS_CHILD_PIDS = attribute("lastspan.process.child.pids", "int[]", "children that run jobs")
PROCESS_CHILD_STATES = attribute("lastspan.process.child.states", "string[]", "their states, R, S, D, T, Z or X (gone)")
PROCESS_CHILD_CPU_RATIOS = attribute(
    "lastspan.process.child.cpu_ratios", "double[]", "their shares of a core; -1: not known", unit="1"
)
PROCESS_CHILD_WAITS = attribute(
    "lastspan.process.child.waits", "string[]", "where the kernel lets them wait, or cgroup_frozen; empty: not known"
)
PROCESS_OVERSLEPT = attribute(
    "lastspan.process.overslept", "double", "the watcher itself could not run for so long, just now", unit="s"
)
PROCESS_OVERSLEPT_FUNCTION = attribute(
    "lastspan.process.overslept.code.function.name", "string", "where the job stood when it could again"
)
PROCESS_OVERSLEPT_FILE = attribute("lastspan.process.overslept.code.file.path", "string", "its file")
PROCESS_OVERSLEPT_LINE = attribute("lastspan.process.overslept.code.line.number", "int", "the line")
PROCESS_DROPPED = attribute(
    "lastspan.process.dropped", "int", "records that this process could not send", unit="{record}"
)
PROCESS_FRAMEWORKS = attribute(
    "lastspan.process.frameworks", "string[]", "job frameworks whose jobs are not seen, and that are loaded in it"
)
EXIT_SIGNAL = attribute("lastspan.exit.signal", "int", "the signal that ended the process")
EXIT_CODE = attribute("lastspan.exit.code", "int", "its exit code")

# --- durations ---------------------------------------------------------------------------------------------------
CALL_PEER = attribute(
    "lastspan.call.peer", "string", "whom the spans of a row call, without ids: http api.example, db redis cache-{id}"
)
COUNT_STARTED = attribute("lastspan.count.started", "int", "started since the process began", unit="{span}")
COUNT_ENDED = attribute("lastspan.count.ended", "int", "ended with this outcome since the process began", unit="{span}")
SKETCH_FORMAT = attribute("lastspan.sketch.format", "string", "how the body is to be read: otlp.exponential_histogram")

# --- what workers of before sent as text for people; still read, in `decode/older.py` ------------------------------
OLDER_NAMES: dict[str, str] = {
    "lastspan.code.lines": "the lines of a loop, as 97-109",
    "lastspan.job.db.sessions": "sessions: system, server, id, own address, a space between, - for not known",
    "lastspan.lock.holder.code": "function, file:line",
    "lastspan.loop.code": "function, file:line",
    "lastspan.loop.task": "the name of a task, or: job, its name and its id",
    "lastspan.process.overslept.code": "function, file:line",
    "lastspan.wait.target": "a name; pids, as `pid 31` or `gzip (pid 31, S)`; ids of jobs; or what the call is for",
}
"""Name → what the text holds. A name never changes its meaning: what is sent now has names of its own."""
