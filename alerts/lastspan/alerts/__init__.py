"""Alerts for Prometheus, pages for Alertmanager, runbooks: generated from the metrics that `semconv` declares.

Start with `jobs` (what is alerted on) and `hold` (why nothing resolves while the collector is down). Nothing of it is
loaded by workers; the collector reads `runbooks/`, and for its direct mode the settings.
"""
