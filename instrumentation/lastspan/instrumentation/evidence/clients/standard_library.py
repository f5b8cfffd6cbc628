"""The standard library: threads, processes, sockets, HTTP, mail. `multiprocessing` has a copy, Celery's billiard."""

from __future__ import annotations

from typing import Final

from .page import NONE, Calls, KnownCall, Page, TimeoutSource, each

_CHILD: Final = KnownCall("process", "timeout", pid="self.pid")
_QUEUE: Final = KnownCall("queue", "timeout")
_LOCK: Final = KnownCall("lock", "timeout")
_CONDITION: Final = KnownCall("condition", "timeout")
_EVENT: Final = KnownCall("event", "timeout")
_BARRIER: Final = KnownCall("barrier", "timeout")
_FUTURE: Final = KnownCall("future", "timeout")
_SLEEP: Final = KnownCall("sleep")
_SOCKET: Final = KnownCall("socket")

_THREADS: Final[Calls] = {
    "threading": {
        **each("Condition.wait Condition.wait_for", _CONDITION),
        "Condition.__enter__": KnownCall("lock", NONE, is_weak=True),
        "Event.wait": _EVENT,
        "Semaphore.acquire": KnownCall("semaphore", "timeout"),
        "Barrier.wait": _BARRIER,
        "_RLock.acquire": _LOCK,
        "Thread.join": KnownCall("thread", "timeout", "{self._name}"),
    },
    "queue": each("Queue.get Queue.put Queue.join _PySimpleQueue.get", _QUEUE),
    "concurrent.futures._base": {
        **each("Future.result Future.exception", KnownCall("future", "timeout", "{thread of self}")),
        **each("wait as_completed", _FUTURE),
        "Executor.map.<locals>.result_iterator": KnownCall("future"),
    },
    "concurrent.futures.thread": {"ThreadPoolExecutor.shutdown": KnownCall("thread", NONE)},
    "concurrent.futures.process": {"ProcessPoolExecutor.shutdown": KnownCall("process", NONE)},
    "subprocess": each("Popen.wait Popen.communicate", _CHILD),
    "sched": {"scheduler.run": _SLEEP},
    "socketserver": each("BaseServer.serve_forever BaseServer.handle_request", KnownCall("accept")),
}

_MULTIPROCESSING: Final[Calls] = {
    "process": {"BaseProcess.join": KnownCall("process", "timeout", "{self._name}", pid="self._popen.pid")},
    "popen_fork": each("Popen.wait Popen.poll", _CHILD),
    "queues": each("Queue.get Queue.put SimpleQueue.get SimpleQueue.put JoinableQueue.join", _QUEUE),
    "pool": {
        **each("ApplyResult.get ApplyResult.wait", _FUTURE),
        **each("Pool.apply Pool.map Pool.starmap IMapIterator.next", _FUTURE),
        "Pool.join": KnownCall("process", NONE),
    },
    "connection": {
        **each("_ConnectionBase.recv _ConnectionBase.recv_bytes _ConnectionBase.send", KnownCall("pipe", NONE)),
        "_ConnectionBase.poll": KnownCall("pipe", "timeout"),
        "wait": KnownCall("process", "timeout"),
        "Listener.accept": KnownCall("accept"),
    },
    "synchronize": {
        "SemLock.__enter__": KnownCall("lock", NONE),
        "Condition.__enter__": KnownCall("lock", NONE, is_weak=True),
        **each("Condition.wait Condition.wait_for", _CONDITION),
        "Event.wait": _EVENT,
    },
    "managers": {
        "BaseProxy._callmethod": KnownCall("process", NONE, "{methodname}()"),
        **each("AcquirerProxy.acquire AcquirerProxy.__enter__ ConditionProxy.acquire", _LOCK),
        **each("ConditionProxy.wait ConditionProxy.wait_for", _CONDITION),
        "EventProxy.wait": _EVENT,
        "BarrierProxy.wait": _BARRIER,
    },
}

_NETWORK: Final[Calls] = {
    "socket": {
        "getaddrinfo": KnownCall("dns", peer="{host}:{port}", is_final=True),
        "create_connection": KnownCall("connect", "timeout", peer="{address.0}:{address.1}"),
        "socket.accept": KnownCall("accept"),
        **each("SocketIO.readinto SocketIO.write", _SOCKET),
    },
    "ssl": {
        **each("SSLSocket.read SSLSocket.write SSLSocket.recv SSLSocket.recv_into SSLSocket.send", _SOCKET),
        **each("SSLSocket.sendall", _SOCKET),
        **each("SSLSocket.do_handshake SSLSocket.connect", KnownCall("connect")),
    },
    "selectors": each(
        "SelectSelector.select PollSelector.select _PollLikeSelector.select EpollSelector.select", _SOCKET
    ),
    "http.client": each(
        "HTTPConnection.request HTTPConnection.getresponse HTTPConnection.connect HTTPSConnection.connect "
        "HTTPResponse.read HTTPResponse.readinto HTTPResponse.readline HTTPResponse.begin HTTPConnection.send",
        KnownCall("http", peer="{self.host}:{self.port}"),
    ),
    "urllib.request": {
        "urlopen": KnownCall("http", "timeout"),
        "OpenerDirector.open": KnownCall("http", "timeout"),
        "AbstractHTTPHandler.do_open": KnownCall("http", peer="{req.host}"),
    },
}

PAGE: Final = Page(
    calls={
        **_THREADS,
        **{
            f"{package}.{name}": rows
            for package in ("multiprocessing", "billiard")
            for name, rows in _MULTIPROCESSING.items()
        },
        **_NETWORK,
    },
    native={
        "time.sleep": _SLEEP,
        "builtins.input": KnownCall("input"),
        "_queue.SimpleQueue.get": KnownCall("queue"),
        **each("_thread.lock.acquire _thread.RLock.acquire _thread.lock.__enter__ _thread.RLock.__enter__", _LOCK),
        **each("_multiprocessing.SemLock.acquire _multiprocessing.SemLock.__enter__", KnownCall("lock")),
        **each("signal.pause signal.sigwait signal.sigwaitinfo signal.sigtimedwait", KnownCall("signal")),
        **each("posix.wait posix.waitpid posix.wait3 posix.wait4 posix.waitid", KnownCall("process")),
        **each("fcntl.flock fcntl.lockf", KnownCall("file_lock")),
        **each("select.select select.poll.poll select.epoll.poll", _SOCKET),
        **each("_socket.socket.recv _socket.socket.recv_into _socket.socket.recvfrom _socket.socket.send", _SOCKET),
        **each("_socket.socket.sendall", _SOCKET),
        "_socket.socket.connect": KnownCall("connect"),
        "_socket.socket.accept": KnownCall("accept"),
        **each("_socket.getaddrinfo _socket.gethostbyname _socket.gethostbyaddr", KnownCall("dns")),
        **each("_io.TextIOWrapper.readline _io.TextIOWrapper.read", KnownCall("input", target="{name}")),
    },
    packages=each("http.client urllib.request", "http") | each("smtplib ftplib imaplib telnetlib", "socket"),
    timeouts={
        "http.client": each("getresponse request connect", TimeoutSource(("self.timeout",), "{self.host}:{self.port}")),
    },
)
