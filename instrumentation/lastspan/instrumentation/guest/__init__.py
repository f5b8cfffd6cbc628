"""How lastspan behaves as a guest in the host's process: its log, its exits, its secrets, its GIL."""
