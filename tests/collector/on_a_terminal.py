"""Runs a command on a terminal of its own, and writes what it wrote there."""

from __future__ import annotations

import os
import pty
import sys

if __name__ == "__main__":
    status = pty.spawn(sys.argv[1:], lambda descriptor: os.read(descriptor, 65536))
    sys.exit(os.waitstatus_to_exitcode(status))
