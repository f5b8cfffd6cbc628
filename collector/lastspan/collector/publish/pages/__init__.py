"""Pages that need no Grafana: `/`, what is stuck now; `/jobs/{ref}`, one job in reading order; runbooks."""

from .external_links import NO_LINKS, ExternalLinks
from .routes import routes

__all__ = ["NO_LINKS", "ExternalLinks", "routes"]
