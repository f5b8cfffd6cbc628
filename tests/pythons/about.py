"""Says as one line of JSON which Python this is, with which OpenTelemetry, on which system."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version


def main() -> None:
    """Print it."""
    name = platform.freedesktop_os_release()["PRETTY_NAME"].replace(" GNU/Linux", "")
    about = {
        "python": platform.python_version(),
        "sdk": version("opentelemetry-sdk"),
        "instrumentation": version("opentelemetry-instrumentation"),
        "os": f"{name}, {platform.machine()}",
    }
    print(json.dumps(about))


if __name__ == "__main__":
    main()
