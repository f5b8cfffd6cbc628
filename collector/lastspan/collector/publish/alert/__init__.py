"""Direct mode, off by default: the collector posts alerts to Alertmanager itself, for sites without Prometheus.

    what is seen ──▶ wrong ──alerts──▶ open ──posts──▶ outbox ──batches──▶ client
    pager             pure              pure            pure, one a server   HTTP

`wrong` says what is wrong now: the alerts that need no history, with the names, labels and texts that the rules for
Prometheus have. `open` knows which of them are on, what is to be said again, and what is over. `pager` runs it all
beside the tick; it is loaded only where it is wanted. Nothing is kept on disk: after a restart the same jobs make the
same alerts.
"""

from lastspan.alerts.settings import SettingError

from .setting import AlertmanagerSetting, target
from .target import AlertmanagerTarget

__all__ = ["AlertmanagerSetting", "AlertmanagerTarget", "SettingError", "target"]
