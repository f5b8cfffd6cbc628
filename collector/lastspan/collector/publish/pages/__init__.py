"""Pages that need no Grafana: `/`, what is stuck now; `/jobs/{ref}`, one job in reading order."""

from .routes import routes

__all__ = ["routes"]
