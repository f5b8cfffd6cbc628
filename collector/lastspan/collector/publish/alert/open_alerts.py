"""Which alerts are active, which are due to be posted again, and which have ended. Pure: the time is an argument.

An alert is told when it comes, again every `resend`, at once (but not more often than every few seconds) when its line
has changed, and when it is over: it has been right for `keep`, so that a job that recovers and hangs again is one page.
What is told ends `hold` ahead: Alertmanager keeps it for so long while the collector is away, and drops it then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from .model import ActiveAlert, Labels, Post
from .target import SECOND_NS

MAX_OPEN: Final = 2000
"""Alerts beyond it are not posted: there are at most a few hundred at a time, and those that are kept."""
_NEWS_NS: Final = 5 * SECOND_NS
_OURS_TIMES: Final = 4


class _OpenAlert(msgspec.Struct):
    alert: ActiveAlert
    starts_ns: int
    first_ns: int
    """When it was seen first."""
    true_ns: int
    """When it was seen last."""
    sent_ns: int | None = None
    sent_summary: str = ""
    """The summary that was posted."""


class OpenAlerts:
    """The alerts that are on; state of one owner."""

    def __init__(self, *, resend_ns: int, hold_ns: int, keep_ns: int) -> None:
        self._resend_ns, self._hold_ns, self._keep_ns = resend_ns, hold_ns, keep_ns
        self._rows: dict[Labels, _OpenAlert] = {}
        self.refused = 0
        """Alerts that there was no room for; counted at each look."""

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, alerts: Iterable[ActiveAlert], now_ns: int) -> list[Post]:
        """Take the active alerts; return what is due to be posted, in the order of *alerts*, ended ones last."""
        for alert in alerts:
            self._take(alert, now_ns)
        gone = [self._rows.pop(labels) for labels in self._drop_unsent(now_ns)]
        on = [self._on(row, now_ns) for row in self._rows.values() if self._is_due(row, now_ns)]
        return [*on, *(self._over(row, now_ns) for row in gone if row.sent_ns is not None)]

    def _drop_unsent(self, now_ns: int) -> list[Labels]:
        """An alert that was never posted is not kept: it starts again."""
        return [
            labels
            for labels, row in self._rows.items()
            if now_ns - row.true_ns > (self._keep_ns if row.sent_ns is not None else 0)
        ]

    def _take(self, alert: ActiveAlert, now_ns: int) -> None:
        row = self._rows.get(alert.labels)
        if row is not None:
            row.alert, row.true_ns = alert, now_ns
            row.starts_ns = min(row.starts_ns, alert.since_ns)
        elif len(self._rows) < MAX_OPEN:
            self._rows[alert.labels] = _OpenAlert(alert, min(alert.since_ns, now_ns), now_ns, now_ns)
        else:
            self.refused += 1

    def _is_due(self, row: _OpenAlert, now_ns: int) -> bool:
        if row.sent_ns is None:
            return row.true_ns == now_ns and now_ns - row.first_ns >= row.alert.wait_ns
        is_news = row.alert.annotations.get("summary", "") != row.sent_summary
        return now_ns - row.sent_ns >= (min(_NEWS_NS, self._resend_ns) if is_news else self._resend_ns)

    def _on(self, row: _OpenAlert, now_ns: int) -> Post:
        alert = row.alert
        row.sent_ns, row.sent_summary = now_ns, alert.annotations.get("summary", "")
        hold_ns = min(self._hold_ns, _OURS_TIMES * self._resend_ns) if alert.ours else self._hold_ns
        return Post(alert.labels, alert.annotations, row.starts_ns, now_ns + hold_ns)

    def _over(self, row: _OpenAlert, now_ns: int) -> Post:
        return Post(row.alert.labels, row.alert.annotations, row.starts_ns, now_ns, over=True)
