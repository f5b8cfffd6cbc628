"""Text that may be told on: short, valid UTF-8, and of a query no literal.

Workers clean by it what they send, and the collector's probes what databases tell them.
"""

from __future__ import annotations

import functools
import re
from typing import Final

TEXT_MAX: Final = 256
"""Characters of a name, address or message."""
STATEMENT_MAX: Final = 1024
STATEMENT_READ_MAX: Final = 8 * STATEMENT_MAX

SQL: Final = frozenset(
    {
        *(
            "postgresql",
            "postgres",
            "mysql",
            "mariadb",
            "sqlite",
            "mssql",
            "microsoft.sql_server",
            "oracle",
            "oracle.db",
        ),
        *("redshift", "aws.redshift", "cockroachdb", "clickhouse", "snowflake", "db2", "ibm.db2", "h2", "hsqldb"),
        *("hive", "trino", "presto", "gcp.spanner", "other_sql"),
    }
)
_NAMES_IN_DOUBLE_QUOTES: Final = frozenset(
    {"postgresql", "postgres", "redshift", "aws.redshift", "cockroachdb", "oracle", "oracle.db"}
)
_NAMES_IN_BRACKETS: Final = frozenset({"mssql", "microsoft.sql_server", "sqlite"})
_MYSQL: Final = frozenset({"mysql", "mariadb"})
UNKNOWN_SQL: Final = "other_sql"

_BLOCK: Final = r"/\*.*?(?:\*/|\Z)"
_UNSURE: Final = r"/\*!|/\*(?:(?!\*/).)*/\*|\b[nN]?[qQ]'"
"""Code in a comment, comments in comments, Oracle's q'[…]': the servers disagree on where these end."""
_LITERAL: Final = (
    r"(?:\b[eEbBxXnNuU]&?)?'(?:[^']|'')*(?:'|\Z)"  # '…' and its prefixed kinds; unclosed: to the end
    r"|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"  # $tag$…$tag$
    r"|(?<![\w.$])[-+]?\.?\d[\w.]*(?:(?<=[eE])[-+]\d+)?"  # numbers, and whatever else begins with a digit
)


@functools.cache
def _tokens(system: str) -> re.Pattern[str]:
    """What a query is made of, as far as it matters here, in the dialect of *system*."""
    comments, names, literals, unsure = [_BLOCK], [], [_LITERAL], [_UNSURE]
    if system in _MYSQL:
        comments += [r"--(?=\s|\Z)[^\n]*", r"\#[^\n]*"]
    else:
        comments += [r"--[^\n]*"]
    if system in _NAMES_IN_DOUBLE_QUOTES:
        names += ['"(?:[^"]|"")*"']
        unsure += ['"']  # unclosed
    else:
        literals += ['"(?:[^"]|"")*(?:"|\\Z)']
        names += ["`(?:[^`]|``)*`"]
        unsure += ["`"]
    if system in _NAMES_IN_BRACKETS:
        names += [r"\[[^\]]*\]"]
    elif system not in _MYSQL | _NAMES_IN_DOUBLE_QUOTES:
        unsure += [r"\[|\#|//|--(?!\s)"]  # names, comments, operators: each where another server has something else
    kinds = {"name": names, "unsure": [f"(?:{'|'.join(unsure)}).*"], "comment": comments, "literal": literals}
    return re.compile("|".join(f"(?P<{kind}>{'|'.join(of)})" for kind, of in kinds.items()), re.DOTALL)


def text(value: object, limit: int = TEXT_MAX) -> str:
    """Return *value* as valid UTF-8 text of at most *limit* characters; never raises."""
    try:
        cut = str(value)[:limit]
    except Exception:  # the host's own __str__
        return "?"
    return cut.encode("utf-8", "replace").decode("utf-8")


def statement(value: object, system: str) -> str:
    """Return a query with its literals as `?` and without comments.

    A backslash may or may not escape the quote behind it, by the server's settings: the text ends there.
    Of what is not SQL only the first word leaves.
    """
    query = str(value)[:STATEMENT_READ_MAX]
    system = system.lower()
    if system not in SQL:
        return text((query.split(None, 1) or [""])[0], 64)
    scrubbed = _tokens(system).sub(_scrub, query.split("\\", 1)[0])
    return text(" ".join(scrubbed.split()), STATEMENT_MAX)


def _scrub(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "name":
            return token.group()
        case "unsure":
            return "…"
        case "comment":
            return " "
        case _:
            return "?"
