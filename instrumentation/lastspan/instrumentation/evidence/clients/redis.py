"""Redis: redis-py, and what builds locks on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .page import KnownCall, Page, TimeoutSource, each

_BLOCKING: Final = KnownCall("queue", "timeout", is_zero_never=True)
_SUBSCRIBED: Final = {
    "PubSub.get_message": KnownCall("queue", "timeout", "{self.channels|self.patterns}"),
    **each("PubSub.listen PubSub.parse_response", KnownCall("queue", target="{self.channels|self.patterns}")),
}
_POOL: Final = {
    "BlockingConnectionPool.get_connection": KnownCall("pool", "self.timeout", is_final=True),
}
_LOCK: Final = {"Lock.acquire": KnownCall("redis_lock", "blocking_timeout", "{self.name}")}
_TIMEOUT: Final = TimeoutSource(
    ("timeout", "self._socket_timeout", "self.socket_timeout"), "{self.host|self._host}:{self.port}"
)

PAGE: Final = Page(
    calls={
        "redis.commands.core": {
            **each(
                "ListCommands.blpop ListCommands.brpop ListCommands.blmpop SortedSetCommands.bzpopmin "
                "SortedSetCommands.bzpopmax SortedSetCommands.bzmpop",
                replace(_BLOCKING, target="{keys}"),
            ),
            **each("ListCommands.brpoplpush ListCommands.blmove", replace(_BLOCKING, target="{src|first_list}")),
            **each(
                "StreamCommands.xread StreamCommands.xreadgroup",
                replace(_BLOCKING, timeout="block", target="{streams}", unit=0.001),
            ),
        },
        "redis.client": _SUBSCRIBED,
        "redis.asyncio.client": _SUBSCRIBED,
        "redis.connection": _POOL,
        "redis.asyncio.connection": _POOL,
        "redis.lock": _LOCK,
        "redis.asyncio.lock": _LOCK,
        "redis_lock": {"Lock.acquire": KnownCall("redis_lock", "timeout", "{self._name}")},  # python-redis-lock
        "redlock": {"RedLock.acquire": KnownCall("redis_lock", target="{self.resource}")},
        "pottery.redlock": {"Redlock.acquire": KnownCall("redis_lock", "timeout", "{self.key}")},
    },
    packages=each("redis valkey", "db"),
    timeouts={
        "redis.connection": each("read_response send_packed_command can_read", _TIMEOUT),
        "redis.asyncio.connection": each(
            "read_response send_packed_command", replace(_TIMEOUT, transport="self._writer._transport")
        ),
    },
    pooled={"redis.PubSub": "connection_pool"},
)
