"""For grafana-dashboard-builder's own command: `grafana-dashboard-builder --plugins …/lastspan/dashboards/plugin.py`.

It drops what it loads from here (Python 3.12 and later), and with it classes that are defined here: so none is.
"""

import lastspan.dashboards.layout  # noqa: F401
