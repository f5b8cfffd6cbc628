"""A database session that a job has at hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """A session at a database server."""

    system: str
    """postgresql, mysql, sqlite."""
    id: str = ""
    """Backend pid or connection id; through a pooler, the pooler's."""
    server: str = ""
    """host:port."""
    local: str = ""
    """host:port of our end."""
    state: str = ""
    """idle, active, in transaction, in failed transaction; empty: not known, as of SQLite."""
