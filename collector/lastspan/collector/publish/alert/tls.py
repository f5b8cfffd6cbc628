"""How Alertmanagers are known, and we to them: the files that a target names."""

from __future__ import annotations

import ssl

from .target import AlertmanagerTarget


def tls(target: AlertmanagerTarget) -> ssl.SSLContext:
    """Return how servers are known, and we to them; OSError if a file is not what it should be."""
    context = ssl.create_default_context(cafile=target.ca_file)
    if target.cert_file is not None:
        context.load_cert_chain(target.cert_file, target.key_file)
    return context
