"""Pages that need no Grafana: `/`, what is stuck now; `/jobs/{ref}`, one job in reading order; runbooks."""

from .elsewhere import NOWHERE, Elsewhere
from .routes import routes

__all__ = ["NOWHERE", "Elsewhere", "routes"]
