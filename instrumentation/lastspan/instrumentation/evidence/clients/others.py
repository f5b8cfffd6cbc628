"""Libraries of which a line or two is known: what they wait for, who sleeps between tries, who wraps whom."""

from __future__ import annotations

from typing import Final

from .page import KnownCall, Page, each

_SLEEP: Final = KnownCall("sleep")
_TENACITY: Final = KnownCall("sleep", "seconds")

PAGE: Final = Page(
    calls={
        "pymongo.synchronous.pool": {"Pool._get_conn": KnownCall("pool", is_weak=True)},
        "dbutils.pooled_db": {"PooledDB.connection": KnownCall("pool", is_weak=True)},
        "tenacity.nap": {"sleep": _TENACITY},
        "tenacity.asyncio": {"_portable_async_sleep": _TENACITY},
        **each("backoff._sync backoff._async", each("retry_target retry_exception", _SLEEP)),
        "retry.api": {"__retry_internal": _SLEEP},
        "retrying": {"Retrying.call": KnownCall("sleep", is_weak=True)},
    },
    packages={
        **each("botocore boto3 aiobotocore s3transfer google.api_core google.auth", "http"),
        **each("httplib2 pycurl treq tornado.httpclient tornado.simple_httpclient zeep suds", "http"),
        **each("pymongo motor cassandra pymssql pyodbc oracledb cx_Oracle peewee django.db", "db"),
        **each("elasticsearch opensearchpy pymemcache clickhouse_driver", "db"),
        **each("websockets websocket paramiko asyncssh ldap3", "socket"),
    },
    wraps={
        "django": ("cursor", "connection", "db"),
        **each("wrapt _wrappers", ("__wrapped__",)),  # the second: what wrapt calls its module in C, from 2.0 on
    },
)
