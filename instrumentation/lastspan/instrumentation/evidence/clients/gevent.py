"""gevent."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, TimeoutSource, each

_QUEUE: Final = KnownCall("queue", "timeout")
_LOCK: Final = KnownCall("lock", "timeout")
_FUTURE: Final = KnownCall("future", "timeout")
_SOCKET: Final = KnownCall("socket")
_CONNECT: Final = KnownCall("connect")
_OF_SOCKET: Final = TimeoutSource(("self.timeout",), transport="self._sock")

PAGE: Final = Page(
    calls={
        "gevent.hub": {"sleep": KnownCall("sleep")},
        "gevent._hub_primitives": each("iwait_on_objects wait_on_objects", KnownCall("task")),
        "gevent.greenlet": each("joinall Greenlet.join", KnownCall("task", "timeout")),
        "gevent.event": {
            "Event.wait": KnownCall("event", "timeout"),
            **each("AsyncResult.get AsyncResult.wait", _FUTURE),
        },
        "gevent.queue": each(
            "Queue.get Queue.put Queue.__next__ SimpleQueue.get SimpleQueue.put SimpleQueue.__next__ "
            "JoinableQueue.join",
            _QUEUE,
        ),
        "gevent.lock": each("RLock.acquire DummySemaphore.acquire", _LOCK),
        "gevent.thread": {"LockType.acquire": _LOCK},
        "gevent._semaphore": {"Semaphore.acquire": KnownCall("semaphore", "timeout")},
        "gevent.subprocess": each("Popen.wait Popen.communicate", KnownCall("process", "timeout", pid="self.pid")),
        "gevent.select": each("select poll.poll", _SOCKET),
        "gevent._socket3": {
            **each("socket.recv socket.recv_into socket.recvfrom socket.send socket.sendall", _SOCKET),
            "socket.accept": KnownCall("accept"),
            **each("socket.connect socket._internal_connect", _CONNECT),
        },
        "gevent._socketcommon": {
            "getaddrinfo": KnownCall("dns", peer="{host}:{port}", is_final=True),
            **each("SocketMixin.recv SocketMixin.recvfrom SocketMixin.recv_into SocketMixin.recvfrom_into", _SOCKET),
            **each("SocketMixin.send SocketMixin.sendall SocketMixin.sendto", _SOCKET),
            **each("SocketMixin.connect SocketMixin._internal_connect", _CONNECT),
        },
        "gevent.ssl": {
            **each("SSLSocket.read SSLSocket.write SSLSocket.recv SSLSocket.recv_into SSLSocket.send", _SOCKET),
            "SSLSocket.sendall": _SOCKET,
            **each("SSLSocket.do_handshake SSLSocket.connect", _CONNECT),
        },
        "gevent.socket": {"create_connection": KnownCall("connect", "timeout", peer="{address.0}:{address.1}")},
        "gevent.threadpool": each("ThreadPool.apply ThreadResult.get", _FUTURE),
    },
    timeouts={
        "gevent._socketcommon": each(
            "recv recvfrom recv_into recvfrom_into send sendall sendto _internal_connect", _OF_SOCKET
        ),
        "gevent._socket3": each("accept recvmsg sendmsg", _OF_SOCKET),
        "gevent.ssl": each("read write do_handshake", _OF_SOCKET),
    },
)
