"""The Jaeger query API over open spans: what no trace backend has, for Jaeger's UI and Grafana."""

from .routes import routes

__all__ = ["routes"]
