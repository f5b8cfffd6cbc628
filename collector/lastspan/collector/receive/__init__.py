"""OTLP over HTTP and gRPC. Transport only: what a body means is decided behind `Sink`."""
