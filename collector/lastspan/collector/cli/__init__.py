"""The command line, a client of the collector's API."""
