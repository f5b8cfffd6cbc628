"""From records to OTLP over HTTP."""
