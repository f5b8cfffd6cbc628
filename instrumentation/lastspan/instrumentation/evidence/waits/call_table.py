"""The calls that are known to wait: by module and function, what they wait for.

To teach it another call, add a row. The module is the one that defines the function (its `__module__`), the name is
the function's `__qualname__`. Of several known calls on a stack the one nearest to the application counts: it is what
the application called. What stands in braces is read from the variables of that very function: `{self.name}`, the first
of several that is there, `{src|first_list}`, or by a word of `waits.WORDS`, `{thread of self}`. Only text, numbers, and
the first few texts of a list or the keys of a dictionary, ever leave; so name nothing that may hold a payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Waiter:
    """What a function waits for."""

    kind: str
    """A word of `semconv.vocabulary.WAITS`."""
    timeout: str = ""
    """The variable that holds its timeout: None or a negative number is none. Empty: it cannot be read here."""
    target: str = ""
    """The name of what it waits for."""
    peer: str = ""
    """host:port or path of that."""
    job: str = ""
    """The variable that holds the id of the job that it waits for."""
    system: str = ""
    """The framework of that job."""
    unit: float = 1.0
    """Seconds in one unit of the timeout."""
    is_zero_never: bool = False
    """A timeout of 0 is none."""
    is_final: bool = False
    """It is what is waited for, whoever called it: a free connection, not the query for which one is needed."""
    is_weak: bool = False
    """Only if nothing else is known: it hands the waiting on."""
    pid: str = ""
    """The variable that holds the number of the process that it waits for."""
    jobs: str = ""
    """The variable that holds several jobs, of which those are told that have not ended."""
    purpose: str = ""
    """A word of `semconv.vocabulary.PURPOSES`."""


def _many(names: str, waiter: Waiter) -> dict[str, Waiter]:
    return dict.fromkeys(names.split(), waiter)


_TIMED: Final = "timeout"
NONE: Final = "none"
"""As a timeout: the call cannot be given one."""
_PID: Final = "self.pid"
_THREAD: Final = "{self._name}"

_QUEUE: Final = Waiter("queue", _TIMED)
_LOCK: Final = Waiter("lock", _TIMED)
_SEMAPHORE: Final = Waiter("semaphore", _TIMED)
_CONDITION: Final = Waiter("condition", _TIMED)
_EVENT: Final = Waiter("event", _TIMED)
_BARRIER: Final = Waiter("barrier", _TIMED)
_FUTURE: Final = Waiter("future", _TIMED)
_POOL: Final = Waiter("pool", _TIMED, is_final=True)
_SLEEP: Final = Waiter("sleep")
_SOCKET: Final = Waiter("socket")
_FILE_LOCK: Final = Waiter("file_lock", _TIMED)

# --- the standard library ---------------------------------------------------------------------------------------------

_THREADS: Final[dict[str, dict[str, Waiter]]] = {
    "threading": {
        **_many("Condition.wait Condition.wait_for", _CONDITION),
        "Event.wait": _EVENT,
        "Semaphore.acquire": _SEMAPHORE,
        "Barrier.wait": _BARRIER,
        "_RLock.acquire": _LOCK,
        "Thread.join": Waiter("thread", _TIMED, _THREAD),
    },
    "queue": _many("Queue.get Queue.put Queue.join _PySimpleQueue.get", _QUEUE),
    "concurrent.futures._base": {
        **_many("Future.result Future.exception", Waiter("future", _TIMED, "{thread of self}")),
        **_many("wait as_completed", _FUTURE),
        "Executor.map.<locals>.result_iterator": Waiter("future"),
    },
    "concurrent.futures.thread": {"ThreadPoolExecutor.shutdown": Waiter("thread", NONE)},
    "concurrent.futures.process": {"ProcessPoolExecutor.shutdown": Waiter("process", NONE)},
    "subprocess": _many("Popen.wait Popen.communicate", Waiter("process", _TIMED, pid=_PID)),
    "sched": {"scheduler.run": _SLEEP},
    "socketserver": _many("BaseServer.serve_forever BaseServer.handle_request", Waiter("accept")),
}

_PROCESSES: Final[dict[str, dict[str, Waiter]]] = {
    "process": {"BaseProcess.join": Waiter("process", _TIMED, _THREAD, pid="self._popen.pid")},
    "popen_fork": _many("Popen.wait Popen.poll", Waiter("process", _TIMED, pid=_PID)),
    "queues": _many("Queue.get Queue.put SimpleQueue.get SimpleQueue.put JoinableQueue.join", _QUEUE),
    "pool": {
        **_many("ApplyResult.get ApplyResult.wait", _FUTURE),
        **_many("Pool.apply Pool.map Pool.starmap IMapIterator.next", _FUTURE),
        "Pool.join": Waiter("process", NONE),
    },
    "connection": {
        **_many("_ConnectionBase.recv _ConnectionBase.recv_bytes _ConnectionBase.send", Waiter("pipe", NONE)),
        "_ConnectionBase.poll": Waiter("pipe", _TIMED),
        "wait": Waiter("process", _TIMED),
        "Listener.accept": Waiter("accept"),
    },
    "synchronize": {
        "SemLock.__enter__": Waiter("lock", NONE),
        **_many("Condition.wait Condition.wait_for", _CONDITION),
        "Event.wait": _EVENT,
    },
    "managers": {
        "BaseProxy._callmethod": Waiter("process", NONE, "{methodname}()"),
        **_many("AcquirerProxy.acquire AcquirerProxy.__enter__ ConditionProxy.acquire", _LOCK),
        **_many("ConditionProxy.wait ConditionProxy.wait_for", _CONDITION),
        "EventProxy.wait": _EVENT,
        "BarrierProxy.wait": _BARRIER,
    },
}
"""Of `multiprocessing`, and of Celery's copy of it."""

_NETWORK: Final[dict[str, dict[str, Waiter]]] = {
    "socket": {
        "getaddrinfo": Waiter("dns", peer="{host}:{port}", is_final=True),
        "create_connection": Waiter("connect", _TIMED, peer="{address.0}:{address.1}"),
        "socket.accept": Waiter("accept"),
        **_many("SocketIO.readinto SocketIO.write", _SOCKET),
    },
    "ssl": {
        **_many("SSLSocket.read SSLSocket.write SSLSocket.recv SSLSocket.recv_into SSLSocket.send", _SOCKET),
        **_many("SSLSocket.sendall", _SOCKET),
        **_many("SSLSocket.do_handshake SSLSocket.connect", Waiter("connect")),
    },
    "selectors": _many(
        "SelectSelector.select PollSelector.select _PollLikeSelector.select EpollSelector.select", _SOCKET
    ),
}

_ASYNCIO: Final[dict[str, dict[str, Waiter]]] = {
    "asyncio.locks": {
        "Lock.acquire": Waiter("lock"),
        "Event.wait": Waiter("event"),
        **_many("Condition.wait Condition.wait_for", Waiter("condition")),
        "Semaphore.acquire": Waiter("semaphore"),
        "Barrier.wait": Waiter("barrier"),
    },
    "asyncio.queues": _many("Queue.get Queue.put Queue.join", Waiter("queue")),
    "asyncio.subprocess": _many("Process.wait Process.communicate", Waiter("process", "", pid=_PID)),
    "asyncio.streams": {
        **_many("StreamReader.read StreamReader.readline StreamReader.readexactly StreamReader.readuntil", _SOCKET),
        **_many("StreamWriter.drain StreamWriter.wait_closed", _SOCKET),
        "open_connection": Waiter("connect", peer="{host}:{port}"),
    },
    "asyncio.base_events": {
        "BaseEventLoop.getaddrinfo": Waiter("dns", peer="{host}:{port}", is_final=True),
        **_many("BaseEventLoop.create_connection", Waiter("connect", peer="{host}:{port}")),
        **_many("BaseEventLoop.run_until_complete BaseEventLoop.run_forever", Waiter("task", is_weak=True)),
    },
    "asyncio.selector_events": {
        **_many("BaseSelectorEventLoop.sock_recv BaseSelectorEventLoop.sock_recv_into", _SOCKET),
        **_many("BaseSelectorEventLoop.sock_sendall BaseSelectorEventLoop.sock_recvfrom", _SOCKET),
        "BaseSelectorEventLoop.sock_accept": Waiter("accept"),
        "BaseSelectorEventLoop.sock_connect": Waiter("connect"),
    },
    "asyncio.tasks": {
        "sleep": Waiter("sleep", "delay"),
        **_many("wait_for _wait wait as_completed.<locals>._wait_for_one", Waiter("future", _TIMED, is_weak=True)),
        "_AsCompletedIterator._wait_for_one": Waiter("future", is_weak=True),
    },
    "asyncio.taskgroups": _many("TaskGroup.__aexit__ TaskGroup._aexit", Waiter("task", is_weak=True)),
    "asyncio.threads": {"to_thread": Waiter("future", is_weak=True)},
    "asyncio.runners": _many("run Runner.run", Waiter("task", is_weak=True)),
    "anyio._core._synchronization": _many("Lock.acquire", Waiter("lock")),
    "anyio._backends._asyncio": {
        **_many("Lock.acquire", Waiter("lock")),
        **_many("Semaphore.acquire CapacityLimiter.acquire_on_behalf_of", Waiter("semaphore")),
        "Event.wait": Waiter("event"),
        "AsyncIOBackend.run_sync_in_worker_thread": Waiter("future", is_weak=True),
        "TaskGroup.__aexit__": Waiter("task", is_weak=True),
    },
    "anyio.streams.memory": _many("MemoryObjectReceiveStream.receive MemoryObjectSendStream.send", Waiter("queue")),
}

_GEVENT: Final[dict[str, dict[str, Waiter]]] = {
    "gevent.hub": {"sleep": _SLEEP},
    "gevent._hub_primitives": {"iwait_on_objects": Waiter("task"), "wait_on_objects": Waiter("task")},
    "gevent.greenlet": {"joinall": Waiter("task", _TIMED), "Greenlet.join": Waiter("task", _TIMED)},
    "gevent.event": {"Event.wait": _EVENT, "AsyncResult.get": _FUTURE, "AsyncResult.wait": _FUTURE},
    "gevent.queue": _many(
        "Queue.get Queue.put Queue.__next__ SimpleQueue.get SimpleQueue.put SimpleQueue.__next__ JoinableQueue.join",
        _QUEUE,
    ),
    "gevent.lock": _many("RLock.acquire DummySemaphore.acquire", _LOCK),
    "gevent.thread": _many("LockType.acquire", _LOCK),
    "gevent._semaphore": _many("Semaphore.acquire", _SEMAPHORE),
    "gevent.subprocess": _many("Popen.wait Popen.communicate", Waiter("process", _TIMED, pid=_PID)),
    "gevent.select": _many("select poll.poll", _SOCKET),
    "gevent._socket3": {
        **_many("socket.recv socket.recv_into socket.recvfrom socket.send socket.sendall", _SOCKET),
        "socket.accept": Waiter("accept"),
        **_many("socket.connect socket._internal_connect", Waiter("connect")),
    },
    "gevent._socketcommon": {
        "getaddrinfo": Waiter("dns", peer="{host}:{port}", is_final=True),
        **_many("SocketMixin.recv SocketMixin.recvfrom SocketMixin.recv_into SocketMixin.recvfrom_into", _SOCKET),
        **_many("SocketMixin.send SocketMixin.sendall SocketMixin.sendto", _SOCKET),
        **_many("SocketMixin.connect SocketMixin._internal_connect", Waiter("connect")),
    },
    "gevent.ssl": {
        **_many("SSLSocket.read SSLSocket.write SSLSocket.recv SSLSocket.recv_into SSLSocket.send", _SOCKET),
        "SSLSocket.sendall": _SOCKET,
        **_many("SSLSocket.do_handshake SSLSocket.connect", Waiter("connect")),
    },
    "gevent.socket": {"create_connection": Waiter("connect", _TIMED, peer="{address.0}:{address.1}")},
    "gevent.threadpool": _many("ThreadPool.apply ThreadResult.get", _FUTURE),
}

# --- locks ------------------------------------------------------------------------------------------------------------

_LOCK_FILE: Final = "{canonical_path|canonical|lock_filename|self._context.lock_file}"
_FILELOCK: Final = Waiter("file_lock", _TIMED, _LOCK_FILE, _LOCK_FILE)
_REDIS_LOCK: Final = Waiter("redis_lock", "blocking_timeout", "{self.name}")

_LOCKS: Final[dict[str, dict[str, Waiter]]] = {
    "redis.lock": {"Lock.acquire": _REDIS_LOCK},
    "redis.asyncio.lock": {"Lock.acquire": _REDIS_LOCK},
    "redis_lock": {"Lock.acquire": Waiter("redis_lock", _TIMED, "{self._name}")},  # python-redis-lock
    "redlock": {"RedLock.acquire": Waiter("redis_lock", "", "{self.resource}")},
    "pottery.redlock": {"Redlock.acquire": Waiter("redis_lock", _TIMED, "{self.key}")},
    **dict.fromkeys(  # the second of each: from 4.1 on
        ("filelock._api", "filelock._core._lock", "filelock.asyncio", "filelock._async_lock._lock"),
        _many("BaseFileLock.acquire BaseAsyncFileLock.acquire", _FILELOCK),
    ),
    **dict.fromkeys(
        ("filelock._read_write", "filelock._sqlite._lock", "filelock._soft._read_write._lock"),
        _many("ReadWriteLock.acquire_read ReadWriteLock.acquire_write", _FILE_LOCK)
        | _many("SoftReadWriteLock.acquire_read SoftReadWriteLock.acquire_write", _FILE_LOCK),
    ),
    "fasteners.process_lock": {
        "_InterProcessLock.acquire": Waiter("file_lock", _TIMED, "{self.path}", "{self.path}"),
        **_many(
            "_InterProcessReaderWriterLock.acquire_read_lock _InterProcessReaderWriterLock.acquire_write_lock",
            Waiter("file_lock", _TIMED, "{self.path}", "{self.path}"),
        ),
    },
    "fasteners.lock": _many("ReaderWriterLock.acquire_read_lock ReaderWriterLock.acquire_write_lock", Waiter("lock")),
    "portalocker.utils": {
        **_many("Lock.acquire RLock.acquire", Waiter("file_lock", _TIMED, "{self.filename}", "{self.filename}")),
        **_many("BoundedSemaphore.acquire NamedBoundedSemaphore.acquire", _SEMAPHORE),
    },
    "portalocker.portalocker": {"lock": Waiter("file_lock")},
    "portalocker.redis": {"RedisLock.acquire": Waiter("redis_lock", _TIMED, "{self.channel}")},
    "oslo_concurrency.lockutils": {"external_lock": Waiter("file_lock", "", "{name}")},
}

# --- jobs -------------------------------------------------------------------------------------------------------------

_CELERY: Final = Waiter("job", _TIMED, job="{next of self}", jobs="self", system="celery")
_RQ: Final = Waiter("job", _TIMED, job="{self._id}", system="rq")

_JOBS: Final[dict[str, dict[str, Waiter]]] = {
    "celery.backends.base": _many(
        "Backend.store_result Backend.on_chord_part_return", Waiter("socket", purpose="result_backend")
    ),
    "kombu.messaging": _many("Producer.publish", Waiter("socket", purpose="broker")),
    "celery.result": {
        "AsyncResult.get": Waiter("job", _TIMED, job="{self.id}", system="celery"),
        **_many("ResultSet.get ResultSet.join ResultSet.join_native ResultSet.iter_native", _CELERY),
        **_many("AsyncResult._get_task_meta", Waiter("job", "", job="{self.id}", system="celery")),
    },
    "rq.job": {
        "Job.latest_result": _RQ,
        **_many("Job.get_status Job.return_value Job.refresh", Waiter("job", job="{self._id}", system="rq")),
    },
    "rq.results": {"Result.fetch_latest": Waiter("job", _TIMED, job="{job._id}", system="rq")},
    "dramatiq.message": {
        "Message.get_result": Waiter("job", _TIMED, job="{self.message_id}", system="dramatiq", unit=0.001),
    },
    "dramatiq.results.backend": {
        "ResultBackend.get_result": Waiter("job", _TIMED, job="{message.message_id}", system="dramatiq", unit=0.001),
    },
    "dramatiq.composition": {
        **_many(
            "group.get_results group.wait",
            Waiter("job", _TIMED, job="{self.children.0.message_id}", system="dramatiq", unit=0.001),
        ),
        "pipeline.get_result": Waiter(
            "job", _TIMED, job="{self.messages.-1.message_id}", system="dramatiq", unit=0.001
        ),
    },
    "huey.api": {
        **_many("Result.get Result.get_raw_result", Waiter("job", _TIMED, job="{self.task.id}", system="huey")),
        "ResultGroup.get": Waiter("job", "", job="{self._results.0.task.id}", system="huey"),
    },
    "arq.jobs": {"Job.result": Waiter("job", _TIMED, job="{self.job_id}", system="arq")},
    "taskiq.task": {
        "AsyncTaskiqTask.wait_result": Waiter("job", _TIMED, job="{self.task_id}", system="taskiq"),
    },
    "taskiq.funcs": {"gather": Waiter("job", _TIMED, job="{tasks.0.task_id}", system="taskiq")},
}

# --- pools ------------------------------------------------------------------------------------------------------------

_POOLS: Final[dict[str, dict[str, Waiter]]] = {
    "sqlalchemy.util.queue": _many("Queue.get AsyncAdaptedQueue.get", _QUEUE),
    "sqlalchemy.pool.impl": {"QueuePool._do_get": Waiter("pool", "self._timeout", is_final=True)},
    "psycopg_pool.pool": _many(
        "ConnectionPool.getconn ConnectionPool._getconn", Waiter("pool", _TIMED, "{self.name}", is_final=True)
    )
    | {"ConnectionPool.wait": _POOL},
    "psycopg_pool.pool_async": _many(
        "AsyncConnectionPool.getconn AsyncConnectionPool._getconn",
        Waiter("pool", _TIMED, "{self.name}", is_final=True),
    )
    | {"AsyncConnectionPool.wait": _POOL},
    "asyncpg.pool": {
        "Pool._acquire": _POOL,
        "Pool._acquire.<locals>._acquire_impl": Waiter("pool", is_final=True),
    },
    "aiomysql.pool": {"Pool._acquire": Waiter("pool", is_final=True)},
    "aiopg.pool": {"Pool._acquire": Waiter("pool", is_final=True)},
    "redis.connection": {"BlockingConnectionPool.get_connection": Waiter("pool", "self.timeout", is_final=True)},
    "redis.asyncio.connection": {
        "BlockingConnectionPool.get_connection": Waiter("pool", "self.timeout", is_final=True),
    },
    "urllib3.connectionpool": {
        "HTTPConnectionPool._get_conn": Waiter("pool", _TIMED, peer="{self.host}:{self.port}", is_final=True),
    },
    **dict.fromkeys(
        ("httpcore._sync.connection_pool", "httpcore._async.connection_pool"),
        _many("PoolRequest.wait_for_connection AsyncPoolRequest.wait_for_connection", _POOL),
    ),
    "aiohttp.connector": {"BaseConnector._wait_for_available_connection": Waiter("pool", is_final=True)},
    "pymongo.synchronous.pool": {"Pool._get_conn": Waiter("pool", is_weak=True)},
    "dbutils.pooled_db": {"PooledDB.connection": Waiter("pool", is_weak=True)},
}

# --- databases, HTTP, messages ----------------------------------------------------------------------------------------

_KEYS: Final = "{keys}"
_BLOCKING_REDIS: Final = {
    **_many(
        "ListCommands.blpop ListCommands.brpop ListCommands.blmpop SortedSetCommands.bzpopmin "
        "SortedSetCommands.bzpopmax SortedSetCommands.bzmpop",
        Waiter("queue", _TIMED, _KEYS, is_zero_never=True),
    ),
    **_many(
        "ListCommands.brpoplpush ListCommands.blmove", Waiter("queue", _TIMED, "{src|first_list}", is_zero_never=True)
    ),
    **_many(
        "StreamCommands.xread StreamCommands.xreadgroup",
        Waiter("queue", "block", "{streams}", unit=0.001, is_zero_never=True),
    ),
}
_SUBSCRIBED: Final = {
    **_many("PubSub.get_message", Waiter("queue", _TIMED, "{self.channels|self.patterns}")),
    **_many("PubSub.listen PubSub.parse_response", Waiter("queue", "", "{self.channels|self.patterns}")),
}
_MESSAGES: Final[dict[str, dict[str, Waiter]]] = {
    "redis.commands.core": _BLOCKING_REDIS,
    "redis.client": _SUBSCRIBED,
    "redis.asyncio.client": _SUBSCRIBED,
    "kombu.connection": {"Connection.drain_events": Waiter("queue", "timeout")},
    "kombu.simple": {"SimpleBase.get": _QUEUE},
    "amqp.connection": {"Connection.drain_events": _QUEUE},
    "kafka.consumer.group": {
        "KafkaConsumer.poll": Waiter("queue", "timeout_ms", unit=0.001),
        **_many("KafkaConsumer.__next__ KafkaConsumer._message_generator", Waiter("queue")),
    },
    "kafka.producer.future": {"FutureRecordMetadata.get": _FUTURE},
    "kafka.producer.kafka": {"KafkaProducer.flush": _QUEUE},
    "pika.adapters.blocking_connection": {
        **_many("BlockingConnection.__init__ BlockingConnection._create_connection", Waiter("connect")),
        "BlockingConnection.process_data_events": Waiter("queue", "time_limit"),
        "BlockingConnection.sleep": _SLEEP,
        **_many("BlockingChannel.start_consuming", Waiter("queue")),
        "BlockingChannel.consume": Waiter("queue", "inactivity_timeout", "{queue}"),
    },
    "procrastinate.manager": {"JobManager.listen_for_jobs": Waiter("queue")},
}

_CALLS: Final[dict[str, dict[str, Waiter]]] = {
    "http.client": _many(
        "HTTPConnection.request HTTPConnection.getresponse HTTPConnection.connect HTTPSConnection.connect "
        "HTTPResponse.read HTTPResponse.readinto HTTPResponse.readline HTTPResponse.begin HTTPConnection.send",
        Waiter("http", peer="{self.host}:{self.port}"),
    ),
    "urllib.request": {
        "urlopen": Waiter("http", _TIMED),
        "OpenerDirector.open": Waiter("http", _TIMED),
        "AbstractHTTPHandler.do_open": Waiter("http", peer="{req.host}"),
    },
    "aiohttp.client_ws": _many(  # no call with an answer: a peer that speaks when it likes
        "ClientWebSocketResponse.receive ClientWebSocketResponse.receive_str ClientWebSocketResponse.receive_bytes "
        "ClientWebSocketResponse.receive_json ClientWebSocketResponse.__anext__",
        _SOCKET,
    ),
    "psycopg2": {"connect": Waiter("db")},
    "psycopg.connection": {"Connection.connect": Waiter("db")},
    "psycopg.connection_async": {"AsyncConnection.connect": Waiter("db")},
    "asyncpg.connect_utils": _many("_connect _connect_addr", Waiter("db", _TIMED)),
    "asyncpg.connection": {"connect": Waiter("db", _TIMED)},
    "pymysql.connections": _many(
        "Connection.connect Connection.__init__", Waiter("db", peer="{self.host}:{self.port}")
    ),
    "aiomysql.connection": _many("_connect Connection._connect", Waiter("db", peer="{self._host}:{self._port}")),
    "tenacity.nap": {"sleep": Waiter("sleep", "seconds")},
    "tenacity.asyncio": {"_portable_async_sleep": Waiter("sleep", "seconds")},
    **dict.fromkeys(("backoff._sync", "backoff._async"), _many("retry_target retry_exception", _SLEEP)),
    "retry.api": {"__retry_internal": _SLEEP},
    "retrying": {"Retrying.call": Waiter("sleep", is_weak=True)},
}


def _packages(kind: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


PACKAGES: Final[Mapping[str, str]] = {
    **_packages("http", "requests urllib3 httpx httpcore aiohttp botocore boto3 aiobotocore grpc httplib2"),
    **_packages("http", "pycurl treq tornado.httpclient tornado.simple_httpclient google.api_core google.auth"),
    **_packages("http", "s3transfer zeep suds"),
    **_packages("db", "psycopg2 psycopg asyncpg pg8000 pymysql MySQLdb mysql aiomysql asyncmy sqlite3 aiosqlite"),
    **_packages("db", "sqlalchemy redis valkey pymongo motor cassandra pymssql pyodbc oracledb cx_Oracle"),
    **_packages("db", "aiopg peewee elasticsearch opensearchpy pymemcache clickhouse_driver"),
    **_packages("queue", "kafka aiokafka confluent_kafka pika aio_pika aiormq amqp kombu nats stomp"),
    "django.db": "db",
    "http.client": "http",
    "urllib.request": "http",
    "smtplib": "socket",
    "ftplib": "socket",
    "imaplib": "socket",
    "telnetlib": "socket",
    "websockets": "socket",
    "websocket": "socket",
    "paramiko": "socket",
    "asyncssh": "socket",
    "ldap3": "socket",
}
"""Of packages whose functions wait for nothing else: the kind, where no row says more."""


PURPOSES: Final[Mapping[str, str]] = {"do_handshake": "tls_handshake", "notifies": "notification"}
"""By the name of a function, whatever its library: what the call is for. psycopg has a generator of notifications."""


def _multiprocessing() -> dict[str, dict[str, Waiter]]:
    return {
        f"{package}.{name}": rows for package in ("multiprocessing", "billiard") for name, rows in _PROCESSES.items()
    }


TABLE: Final[Mapping[str, Mapping[str, Waiter]]] = {
    **_THREADS,
    **_multiprocessing(),
    **_NETWORK,
    **_ASYNCIO,
    **_GEVENT,
    **_LOCKS,
    **_JOBS,
    **_POOLS,
    **_MESSAGES,
    **_CALLS,
}
"""By module, by qualified name."""

NATIVE: Final[Mapping[str, Waiter]] = {
    "time.sleep": _SLEEP,
    "builtins.input": Waiter("input"),
    "_queue.SimpleQueue.get": Waiter("queue"),
    **_many("_thread.lock.acquire _thread.RLock.acquire _thread.lock.__enter__ _thread.RLock.__enter__", _LOCK),
    **_many("_multiprocessing.SemLock.acquire _multiprocessing.SemLock.__enter__", Waiter("lock")),
    **_many("signal.pause signal.sigwait signal.sigwaitinfo signal.sigtimedwait", Waiter("signal")),
    **_many("posix.wait posix.waitpid posix.wait3 posix.wait4 posix.waitid", Waiter("process")),
    **_many("fcntl.flock fcntl.lockf", Waiter("file_lock")),
    **_many("select.select select.poll.poll select.epoll.poll", _SOCKET),
    **_many("_socket.socket.recv _socket.socket.recv_into _socket.socket.recvfrom _socket.socket.send", _SOCKET),
    **_many("_socket.socket.sendall", _SOCKET),
    "_socket.socket.connect": Waiter("connect"),
    "_socket.socket.accept": Waiter("accept"),
    **_many("_socket.getaddrinfo _socket.gethostbyname _socket.gethostbyaddr", Waiter("dns")),
    **_many("_io.TextIOWrapper.readline _io.TextIOWrapper.read", Waiter("input", target="{name}")),
}
"""Native functions, whose frames are not seen: by module, type and name, as the calling line has them."""
