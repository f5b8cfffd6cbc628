"""Bytes to signals: OTLP's logs, traces and metrics, and what other programs say of open spans."""
